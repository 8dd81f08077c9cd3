/*
 * host.c: the front of the hands: makes the back ends, queues verbs, posts facts.
 *
 * Called by operations on their own threads, and at start and end by the program. Owns the back
 * ends and the mon loop. Lock: the host's one mutex, a leaf (see once.c).
 */
#include "host/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "gen/error.h"
#include "host/caps.h"
#include "host/host_impl.h"

#define VERB_TIMEOUT    (60 * USEC_PER_SEC)
#define SOCKET_PATH_MAX 107
#define WAIT_SLICE      (100 * USEC_PER_MSEC)

/* The longest is <run_dir>/vm/<uuid>/serial.sock. */
static struct err *check_sockets(const struct host *h)
{
    _cleanup_(freep) char *longest =
        host_vm_path(h, "00000000-0000-0000-0000-000000000000", "serial.sock");
    if (strlen(longest) > SOCKET_PATH_MAX)
        return err_internal("the run folder '%s' is too long: sockets below it would pass the "
                            "kernel's %d characters",
                            h->run_dir, SOCKET_PATH_MAX);
    return NULL;
}

static struct err *make_backends(struct host *h, const struct host_config *c)
{
    if (c->simulate) {
        _cleanup_(freep) char *world =
            c->world_dir ? mem_strdup(c->world_dir) : mem_printf("%s/world", c->run_dir);
        TRY(sim_new(h, world));
        return caps_simulated(h);
    }
    TRY(check_sockets(h));
    h->mon = loop_start("mon");
    TRY(caps_find(h, c->accel));
    TRY(diskctl_new(h));
    return qemu_new(h);
}

struct err *host_new(const struct host_config *c, struct host **ret)
{
    _cleanup_(host_freep) struct host *h = mem_new(struct host);
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->changed, &attr);
    pthread_condattr_destroy(&attr);
    h->once = once_new();
    h->run_dir = mem_strdup(c->run_dir);
    h->state_dir = mem_strdup(c->state_dir ? c->state_dir : c->run_dir);
    h->log_dir = mem_strdup(c->log_dir ? c->log_dir : c->run_dir);
    h->qemu = mem_strdup(c->qemu ? c->qemu : "qemu-system-x86_64");
    h->diskd = c->diskd ? mem_strdup(c->diskd) : NULL;
    h->privd = c->privd && c->privd[0] ? mem_strdup(c->privd) : NULL;
    h->plugins = c->plugins ? mem_strdup(c->plugins) : NULL;
    h->extensions = c->extensions ? mem_strdup(c->extensions) : NULL;
    h->machine_dir = c->machine_dir ? mem_strdup(c->machine_dir) : NULL;
    h->memory_bytes = c->memory_bytes;
    h->sim_speed = c->sim_speed;
    h->fact = c->fact;
    h->fact_arg = c->fact_arg;
    int r = fd_mkdirs(h->run_dir, 0700);
    if (r < 0)
        return err_errno(-r, "cannot make '%s'", h->run_dir);
    TRY(make_backends(h, c));
    *ret = steal(&h);
    return NULL;
}

struct err *host_start(struct host *h)
{
    if (h->mon && !h->privd && geteuid() == 0)
        privd_start(h);
    if (h->disks->start)
        TRY(h->disks->start(h->disks_data));
    return h->hv->start ? h->hv->start(h->hv_data) : NULL;
}

static void let_go(void *arg)
{
    sr_watches_free(arg);
    privd_end(arg);
}

void host_free(struct host *h)
{
    if (!h)
        return;
    if (h->hv)
        h->hv->free(h->hv_data);
    if (h->disks)
        h->disks->free(h->disks_data);
    if (h->mon) {
        loop_post(h->mon, let_go, h);
        loop_stop_join(h->mon);
    }
    caps_done(&h->caps);
    once_free(h->once);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h->run_dir);
    free(h->state_dir);
    free(h->log_dir);
    free(h->qemu);
    free(h->diskd);
    free(h->privd);
    free(h->plugins);
    free(h->extensions);
    free(h->machine_dir);
    free(h);
}

void host_poke(struct host *h)
{
    pthread_mutex_lock(&h->lock);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

void host_post(struct host *h, const struct host_fact *f)
{
    if (h->fact)
        h->fact(h->fact_arg, f);
    host_poke(h);
}

char *host_vm_path(const struct host *h, const char *vm, const char *name)
{
    return mem_printf("%s/vm/%s/%s", h->run_dir, vm, name);
}

char *host_disk_path(const struct host *h, const char *owner, unsigned device, const char *kind)
{
    return mem_printf("%s/disk/%s/%u.%s", h->run_dir, owner, device, kind);
}

/* --- verbs --- */

uint64_t verb_deadline(const struct verb *v)
{
    return v->deadline ? v->deadline : clock_now() + VERB_TIMEOUT;
}

struct err *verb_check(const struct verb *v, const char *what)
{
    if (v->cancelled && v->cancelled(v->arg))
        return err_TASK_CANCELLED("OpaqueRef:NULL");
    if (v->deadline && clock_now() >= v->deadline)
        return err_errno(ETIMEDOUT, "%s: no end in time", what);
    return NULL;
}

void verb_progress(const struct verb *v, double done)
{
    if (v->progress)
        v->progress(v->arg, done);
}

/* A verb on a VM: queued by it, executed once. */
#define VM_VERB(h, v, what, vm, call)                                                              \
    do {                                                                                           \
        _cleanup_(turn_end) struct turn turn = {0};                                                \
        if (turn_begin(&turn, (h), (v), (what), (vm)))                                             \
            turn_done(&turn, (call));                                                              \
        return turn_result(&turn);                                                                 \
    } while (0)

struct err *host_vm_build(struct host *h, const struct verb *v, const struct boot *b,
                          const struct image *from)
{
    TRY(boot_check(b));
    VM_VERB(h, v, "build", b->vm, h->hv->build(h->hv_data, v, b, from));
}

struct err *host_vm_unpause(struct host *h, const struct verb *v, const char *vm)
{
    VM_VERB(h, v, "unpause", vm, h->hv->unpause(h->hv_data, v, vm));
}

struct err *host_vm_pause(struct host *h, const struct verb *v, const char *vm)
{
    VM_VERB(h, v, "pause", vm, h->hv->pause(h->hv_data, v, vm));
}

struct err *host_vm_go_on(struct host *h, const struct verb *v, const char *vm)
{
    if (!h->hv->is_halted || !h->hv->is_halted(h->hv_data, vm))
        return NULL;
    VM_VERB(h, v, "go on", vm, h->hv->go_on(h->hv_data, v, vm));
}

struct err *host_vm_shutdown(struct host *h, const struct verb *v, const char *vm,
                             enum shutdown_how how, bool reboot)
{
    VM_VERB(h, v, "shutdown", vm, h->hv->shutdown(h->hv_data, v, vm, how, reboot));
}

/* Does not queue: it is what ends a verb that hangs. */
struct err *host_vm_kill(struct host *h, const struct verb *v, const char *vm)
{
    _cleanup_(turn_end) struct turn turn = {0};
    _cleanup_(freep) char *what = mem_printf("kill %s", vm);
    if (turn_begin(&turn, h, v, what, NULL))
        turn_done(&turn, h->hv->kill(h->hv_data, v, vm));
    host_poke(h);
    return turn_result(&turn);
}

/* Callers may leave out strings; back ends see none that is NULL. */
static void boot_disk_freep(struct boot_disk **d)
{
    boot_disk_free(*d);
}

static void boot_nic_freep(struct boot_nic **n)
{
    boot_nic_free(*n);
}

struct err *host_vm_plug_disk(struct host *h, const struct verb *v, const char *vm,
                              const struct boot_disk *d)
{
    _cleanup_(boot_disk_freep) struct boot_disk *own = boot_disk_copy(d);
    VM_VERB(h, v, "plug disk", vm, h->hv->plug_disk(h->hv_data, v, vm, own));
}

struct err *host_vm_unplug_disk(struct host *h, const struct verb *v, const char *vm,
                                unsigned device, bool force)
{
    VM_VERB(h, v, "unplug disk", vm, h->hv->unplug_disk(h->hv_data, v, vm, device, force));
}

struct err *host_vm_insert_cd(struct host *h, const struct verb *v, const char *vm,
                              const struct boot_disk *d)
{
    _cleanup_(boot_disk_freep) struct boot_disk *own = boot_disk_copy(d);
    VM_VERB(h, v, "insert CD", vm, h->hv->insert_cd(h->hv_data, v, vm, own));
}

struct err *host_vm_eject_cd(struct host *h, const struct verb *v, const char *vm, unsigned device)
{
    VM_VERB(h, v, "eject CD", vm, h->hv->eject_cd(h->hv_data, v, vm, device));
}

struct err *host_vm_plug_nic(struct host *h, const struct verb *v, const char *vm,
                             const struct boot_nic *n)
{
    _cleanup_(boot_nic_freep) struct boot_nic *own = boot_nic_copy(n);
    VM_VERB(h, v, "plug NIC", vm, h->hv->plug_nic(h->hv_data, v, vm, own));
}

struct err *host_vm_unplug_nic(struct host *h, const struct verb *v, const char *vm,
                               unsigned device, bool force)
{
    VM_VERB(h, v, "unplug NIC", vm, h->hv->unplug_nic(h->hv_data, v, vm, device, force));
}

struct err *host_vm_set_cpus(struct host *h, const struct verb *v, const char *vm, unsigned cpus)
{
    VM_VERB(h, v, "set CPUs", vm, h->hv->set_cpus(h->hv_data, v, vm, cpus));
}

struct err *host_vm_set_cpu_mask(struct host *h, const struct verb *v, const char *vm,
                                 const char *mask)
{
    if (*mask && !boot_mask_is_valid(mask))
        return err_internal("'%s' is no list of CPUs", mask);
    VM_VERB(h, v, "set CPU mask", vm, h->hv->set_cpu_mask(h->hv_data, v, vm, mask));
}

struct err *host_vm_set_memory(struct host *h, const struct verb *v, const char *vm, uint64_t bytes)
{
    VM_VERB(h, v, "set memory", vm, h->hv->set_memory(h->hv_data, v, vm, bytes));
}

struct err *host_vm_trigger(struct host *h, const struct verb *v, const char *vm,
                            enum guest_trigger what)
{
    VM_VERB(h, v, "trigger", vm, h->hv->trigger(h->hv_data, v, vm, what));
}

struct err *host_vm_ask_agent(struct host *h, const struct verb *v, const char *vm,
                              const char *command, const struct val *args, struct val **ret)
{
    VM_VERB(h, v, command, vm, h->hv->ask_agent(h->hv_data, v, vm, command, args, ret));
}

struct err *host_vm_save(struct host *h, const struct verb *v, const char *vm,
                         const struct image *to)
{
    VM_VERB(h, v, "save", vm, h->hv->save(h->hv_data, v, vm, to));
}

struct err *host_vm_save_size(struct host *h, const char *vm, uint64_t *ret_bytes)
{
    return h->hv->save_size(h->hv_data, vm, ret_bytes);
}

struct err *host_vm_set_domid(struct host *h, const struct verb *v, const char *vm, int64_t domid)
{
    VM_VERB(h, v, "set domid", vm, h->hv->set_domid(h->hv_data, v, vm, domid));
}

static struct err *remove_file(char *path_taken)
{
    _cleanup_(freep) char *path = path_taken;
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(errno, "cannot remove '%s'", path);
    return NULL;
}

static struct err *forget(const struct host *h, const char *vm)
{
    TRY(remove_file(mem_printf("%s/nvram/%s.fd", h->state_dir, vm)));
    return remove_file(mem_printf("%s/vm-%s.log", h->log_dir, vm));
}

struct err *host_vm_forget(struct host *h, const struct verb *v, const char *vm)
{
    VM_VERB(h, v, "forget", vm, forget(h, vm));
}

struct err *host_vm_query(struct host *h, const char *vm, struct guest_info *ret)
{
    return h->hv->query(h->hv_data, vm, ret);
}

struct err *host_vm_wait(struct host *h, const struct verb *v, const char *vm, unsigned states,
                         enum guest_state *ret)
{
    struct verb late = *v;
    late.deadline = verb_deadline(v);
    for (;;) {
        struct guest_info info;
        TRY(host_vm_query(h, vm, &info));
        if (states & (1U << info.state)) {
            *ret = info.state;
            return NULL;
        }
        TRY(verb_check(&late, "waiting for the guest"));
        usec_t until = clock_now() + WAIT_SLICE;
        pthread_mutex_lock(&h->lock);
        (void)clock_wait(&h->changed, &h->lock, until < late.deadline ? until : late.deadline);
        pthread_mutex_unlock(&h->lock);
    }
}

struct err *host_list(struct host *h, struct guest_item **ret, size_t *ret_n)
{
    return h->hv->list(h->hv_data, ret, ret_n);
}

char *host_vm_vnc_path(struct host *h, const char *vm)
{
    return h->hv->vnc_path(h->hv_data, vm);
}

struct err *host_vm_serial_open(struct host *h, const char *vm, int *ret_fd)
{
    return h->hv->serial_open(h->hv_data, vm, ret_fd);
}

/* --- disks --- */

void disk_info_done(struct disk_info *info)
{
    image_done(&info->image);
    free(info->parent);
    *info = (struct disk_info){0};
}

struct err *host_disk_attach(struct host *h, const struct verb *v, const char *owner,
                             const struct boot_disk *d)
{
    _cleanup_(freep) char *what = mem_printf("attach disk %u", d->device);
    _cleanup_(boot_disk_freep) struct boot_disk *own = boot_disk_copy(d);
    VM_VERB(h, v, what, owner, h->disks->attach(h->disks_data, v, owner, own));
}

struct err *host_disks_attach(struct host *h, const struct verb *v, const struct boot *b)
{
    for (size_t i = 0; i < b->n_disks; i++)
        if (b->disks[i].image.path[0])
            TRY(host_disk_attach(h, v, b->vm, &b->disks[i]));
    return NULL;
}

struct err *host_disk_detach(struct host *h, const struct verb *v, const char *owner,
                             unsigned device)
{
    _cleanup_(freep) char *what = mem_printf("detach disk %u", device);
    VM_VERB(h, v, what, owner, h->disks->detach(h->disks_data, v, owner, device));
}

struct err *host_disks_detach(struct host *h, const struct verb *v, const char *owner)
{
    VM_VERB(h, v, "detach disks", owner, h->disks->detach_all(h->disks_data, v, owner));
}

struct err *host_disks_list(struct host *h, char ***ret, size_t *ret_n)
{
    return h->disks->list(h->disks_data, ret, ret_n);
}

bool host_disk_waits(struct host *h, const char *owner, unsigned *ret_device, char *ret_code,
                     size_t size)
{
    return h->disks->waits && h->disks->waits(h->disks_data, owner, ret_device, ret_code, size);
}

struct err *host_disk_fill(struct host *h, const char *path, uint64_t size)
{
    return h->disks->fill ? h->disks->fill(h->disks_data, path, size) : NULL;
}

struct err *host_disk_mirror(struct host *h, const struct verb *v, const char *from,
                             const struct image *to)
{
    return h->disks->mirror(h->disks_data, v, from, to);
}

struct err *host_disk_copy(struct host *h, const struct verb *v, const char *owner, unsigned device,
                           const struct image *to)
{
    return h->disks->copy_out(h->disks_data, v, owner, device, to);
}

bool host_can_copy(const struct host *h)
{
    return h->disks->copy_out;
}

struct err *host_disk_mirror_finish(struct host *h, const struct verb *v, const char *from,
                                    const char *to)
{
    return h->disks->mirror_finish(h->disks_data, v, from, to);
}

struct err *host_disk_mirror_drop(struct host *h, const struct verb *v, const char *from,
                                  const char *to)
{
    return h->disks->mirror_drop(h->disks_data, v, from, to);
}

struct err *host_disk_resume(struct host *h, const struct verb *v, const char *path)
{
    return h->disks->resume(h->disks_data, v, path);
}

struct err *host_disk_switch(struct host *h, const struct verb *v, const char *from,
                             const struct image *to, bool held)
{
    return h->disks->switch_to(h->disks_data, v, from, to, held);
}

struct err *host_disk_go_on(struct host *h, const struct verb *v, const char *path)
{
    return h->disks->go_on(h->disks_data, v, path);
}

char *host_disk_nbd_path(struct host *h, const char *owner, unsigned device)
{
    return h->disks->nbd_path(h->disks_data, owner, device);
}

/* --- the host itself --- */

const struct host_caps *host_caps(const struct host *h)
{
    return &h->caps;
}

uint64_t host_guest_memory(const struct boot *b)
{
    /* QEMU's own: code, device state, a little per CPU; in software also the translated code. */
    uint64_t own = 48ULL << 20;
    uint64_t translated = str_eq(b->accel, "tcg") ? 32ULL << 20 : 0;
    return b->memory_bytes + b->memory_bytes / 128 + own + translated + b->cpus_max * (1ULL << 20);
}

/* --- listings --- */

void guest_items_free(struct guest_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(items[i].vm);
        boot_free(items[i].boot);
    }
    free(items);
}

const char *guest_state_name(enum guest_state s)
{
    static const char *const names[] = {"absent", "paused", "running", "stopped"};
    return names[s];
}
