/*
 * sim.c: the simulated hypervisor.
 *
 * A back end like qemu_vm.c, called through host.c on operation threads. What it knows of guests is
 * in the world's files (sim_world.c) and nowhere else, so two processes, or one and its successor,
 * see the same. Facts are posted on the caller's thread after the world's lock was let go.
 */
#include "host/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "gen/error.h"
#include "host/sim_world.h"

#define SAVED_MAGIC "simulated guest "
#define SAVED_SLACK (4U << 20)

struct err *sim_new(struct host *h, const char *world_dir)
{
    struct sim *s = mem_new(struct sim);
    s->host = h;
    s->dir = mem_strdup(world_dir);
    pthread_mutex_init(&s->lock, NULL);
    h->hv = &sim_ops;
    h->hv_data = s;
    h->disks = &sim_disk_ops;
    h->disks_data = s;
    int r = fd_mkdirs(s->dir, 0700);
    return r < 0 ? err_errno(-r, "cannot make '%s'", s->dir) : NULL;
}

static void sim_free(void *hv)
{
    struct sim *s = hv;
    pthread_mutex_destroy(&s->lock);
    free(s->fail_verb);
    free(s->dir);
    free(s);
}

void sim_fail(struct host *h, const char *verb, unsigned n)
{
    struct sim *s = h->hv_data;
    pthread_mutex_lock(&s->lock);
    free(s->fail_verb);
    s->fail_verb = n ? mem_strdup(verb) : NULL;
    s->fail_in = n;
    pthread_mutex_unlock(&s->lock);
}

/* One visit to a guest: opens the world, finds it; `absent_ok` leaves g NULL. */
struct visit {
    int lock;
    struct sim_guest *g;
};

static void visit_end(struct visit *v)
{
    sim_guest_freep(&v->g);
    world_closep(&v->lock);
}

static struct err *visit(struct sim *s, const char *verb, const char *vm, struct visit *ret)
{
    TRY(sim_fault(s, verb));
    TRY(world_open(s, &ret->lock));
    TRY(world_guest(s, vm, &ret->g));
    return ret->g ? NULL : err_internal("guest '%s' is absent", vm);
}

#define VISIT(name) _cleanup_(visit_end) struct visit name = {.lock = -1}

static struct err *check_disks(struct sim *s, const struct boot *b)
{
    _cleanup_(val_unrefp) struct val *disks = NULL;
    TRY(world_disks(s, b->vm, &disks));
    for (size_t i = 0; i < b->n_disks; i++) {
        char key[12];
        snprintf(key, sizeof(key), "%u", b->disks[i].device);
        if (b->disks[i].image.path[0] && !val_map_get(disks, key))
            return err_internal("disk %s of guest '%s' is not attached", key, b->vm);
    }
    return NULL;
}

/* A saved guest is a line of text at the start of its image. */
static struct err *check_saved(const struct boot *b, const struct image *from)
{
    char text[80] = "", want[80];
    snprintf(want, sizeof(want), SAVED_MAGIC "%s\n", b->vm);
    _cleanup_(fd_closep) int fd = open(from->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(errno, "cannot open the saved guest '%s'", from->path);
    int r = fd_pread_all(fd, text, strlen(want), 0);
    if (r < 0 || strcmp(text, want) != 0)
        return err_internal("'%s' holds no saved guest '%s'", from->path, b->vm);
    return NULL;
}

static struct err *sim_build(void *hv, const struct verb *v, const struct boot *b,
                             const struct image *from)
{
    struct sim *s = hv;
    VISIT(at);
    TRY(sim_fault(s, "build"));
    TRY(verb_check(v, "building the guest"));
    TRY(world_open(s, &at.lock));
    TRY(world_guest(s, b->vm, &at.g));
    if (at.g)
        return err_internal("guest '%s' exists already", b->vm);
    TRY(check_disks(s, b));
    if (from)
        TRY(check_saved(b, from));
    struct sim_guest g = {.state = GUEST_PAUSED,
                          .start_time = (int64_t)(clock_wall() / USEC_PER_SEC),
                          .rtc_offset_s = b->rtc_offset_s,
                          .memory_bytes = boot_target(b),
                          .boot = (struct boot *)(uintptr_t)b};
    return world_put_guest(s, &g);
}

static struct err *change_state(struct sim *s, const char *verb, const char *vm,
                                enum guest_state from, enum guest_state to)
{
    VISIT(at);
    TRY(visit(s, verb, vm, &at));
    if (at.g->state == to)
        return NULL;
    if (at.g->state != from)
        return err_internal("guest '%s' is %s", vm, guest_state_name(at.g->state));
    at.g->state = to;
    return world_put_guest(s, at.g);
}

static struct err *sim_unpause(void *hv, const struct verb *v, const char *vm)
{
    return change_state(hv, "unpause", vm, GUEST_PAUSED, GUEST_RUNNING);
}

static struct err *sim_pause(void *hv, const struct verb *v, const char *vm)
{
    return change_state(hv, "pause", vm, GUEST_RUNNING, GUEST_PAUSED);
}

static void post(struct sim *s, enum host_fact_kind kind, const char *vm, int64_t domid,
                 const char *reason, int64_t rtc, const struct val *data)
{
    struct host_fact f = {.kind = kind,
                          .vm = vm,
                          .domid = domid,
                          .reason = reason,
                          .rtc_offset_s = rtc,
                          .data = data};
    host_post(s->host, &f);
}

static void post_memory(struct sim *s, const char *vm, int64_t domid, uint64_t bytes)
{
    struct host_fact f = {
        .kind = FACT_MEMORY, .vm = vm, .domid = domid, .reason = "", .memory_bytes = bytes};
    host_post(s->host, &f);
}

static void put_address(struct val *networks, int64_t last)
{
    char ip[24];
    snprintf(ip, sizeof(ip), "10.0.0.%lld", (long long)last);
    val_put_str(networks, "0/ip", ip);
    val_put_str(networks, "0/ipv4/0", ip);
}

static struct val *agent_data(int64_t last)
{
    struct val *data = val_map();
    if (!last)
        return data;
    struct val *os = val_map(), *networks = val_map(), *other = val_map();
    val_put_str(os, "name", "Simulated 1");
    val_put_str(os, "distro", "simulated");
    val_put_str(os, "major", "1");
    put_address(networks, last);
    val_put_str(other, "feature-shutdown", "1");
    val_put(data, "os_version", os);
    val_put(data, "networks", networks);
    val_put(data, "other", other);
    val_put_str(data, "version", "1.0");
    return data;
}

/* The guest goes by itself; the lock is let go before the fact is posted. */
static struct err *leave(struct sim *s, struct visit *at, enum host_fact_kind kind,
                         const char *reason)
{
    _cleanup_(freep) char *vm = mem_strdup(at->g->boot->vm);
    int64_t domid = at->g->boot->domid;
    TRY(world_del_guest(s, vm));
    visit_end(at);
    post(s, kind, vm, domid, reason, 0, NULL);
    return NULL;
}

static struct err *reboot_itself(struct sim *s, struct visit *at)
{
    if (at->g->boot->reboot_stops)
        return leave(s, at, FACT_REBOOT_STOPPED, "guest reboot");
    at->g->agent = 0;
    TRY(world_put_guest(s, at->g));
    _cleanup_(freep) char *vm = mem_strdup(at->g->boot->vm);
    int64_t domid = at->g->boot->domid;
    visit_end(at);
    post(s, FACT_REBOOT, vm, domid, "guest reboot", 0, NULL);
    return NULL;
}

static struct err *sim_shutdown(void *hv, const struct verb *v, const char *vm,
                                enum shutdown_how how, bool reboot)
{
    struct sim *s = hv;
    VISIT(at);
    TRY(visit(s, "shutdown", vm, &at));
    if (at.g->state != GUEST_RUNNING)
        return err_internal("guest '%s' is %s", vm, guest_state_name(at.g->state));
    if (how == SHUTDOWN_AGENT && !at.g->agent)
        return err_internal("guest '%s' has no agent", vm);
    if (how == SHUTDOWN_ACPI && reboot)
        return err_internal("ACPI has no button for a reboot");
    if (at.g->deaf)
        return NULL;
    if (reboot)
        return reboot_itself(s, &at);
    return leave(s, &at, FACT_SHUTDOWN, "guest shutdown");
}

static struct err *sim_set_domid(void *hv, const struct verb *v, const char *vm, int64_t domid)
{
    VISIT(at);
    TRY(visit(hv, "set_domid", vm, &at));
    at.g->boot->domid = domid;
    return world_put_guest(hv, at.g);
}

static struct err *sim_kill(void *hv, const struct verb *v, const char *vm)
{
    struct sim *s = hv;
    VISIT(at);
    TRY(sim_fault(s, "kill"));
    TRY(world_open(s, &at.lock));
    return world_del_guest(s, vm);
}

static struct err *sim_plug_disk(void *hv, const struct verb *v, const char *vm,
                                 const struct boot_disk *d)
{
    VISIT(at);
    TRY(visit(hv, "plug_disk", vm, &at));
    boot_set_disk(at.g->boot, d);
    TRY(check_disks(hv, at.g->boot));
    return world_put_guest(hv, at.g);
}

static struct err *sim_unplug_disk(void *hv, const struct verb *v, const char *vm, unsigned device,
                                   bool force)
{
    VISIT(at);
    TRY(visit(hv, "unplug_disk", vm, &at));
    boot_del_disk(at.g->boot, device);
    return world_put_guest(hv, at.g);
}

static struct err *sim_insert_cd(void *hv, const struct verb *v, const char *vm,
                                 const struct boot_disk *d)
{
    VISIT(at);
    TRY(visit(hv, "insert_cd", vm, &at));
    const struct boot_disk *drive = boot_disk(at.g->boot, d->device);
    if (!drive || !drive->cd)
        return err_internal("guest '%s' has no CD drive %u", vm, d->device);
    if (drive->image.path[0] && !str_eq(drive->image.path, d->image.path))
        return err_internal("CD drive %u of guest '%s' is not empty", d->device, vm);
    boot_set_disk(at.g->boot, d);
    TRY(check_disks(hv, at.g->boot));
    return world_put_guest(hv, at.g);
}

static struct err *sim_eject_cd(void *hv, const struct verb *v, const char *vm, unsigned device)
{
    VISIT(at);
    TRY(visit(hv, "eject_cd", vm, &at));
    struct boot_disk *drive = boot_disk(at.g->boot, device);
    if (!drive || !drive->cd)
        return err_internal("guest '%s' has no CD drive %u", vm, device);
    drive->image.path[0] = '\0';
    return world_put_guest(hv, at.g);
}

static struct err *sim_plug_nic(void *hv, const struct verb *v, const char *vm,
                                const struct boot_nic *n)
{
    VISIT(at);
    TRY(visit(hv, "plug_nic", vm, &at));
    boot_set_nic(at.g->boot, n);
    return world_put_guest(hv, at.g);
}

static struct err *sim_unplug_nic(void *hv, const struct verb *v, const char *vm, unsigned device,
                                  bool force)
{
    VISIT(at);
    TRY(visit(hv, "unplug_nic", vm, &at));
    boot_del_nic(at.g->boot, device);
    return world_put_guest(hv, at.g);
}

static struct err *sim_set_cpus(void *hv, const struct verb *v, const char *vm, unsigned cpus)
{
    VISIT(at);
    TRY(visit(hv, "set_cpus", vm, &at));
    if (cpus < at.g->boot->cpus || cpus > at.g->boot->cpus_max)
        return err_internal("guest '%s' has %u of %u virtual CPUs and cannot get %u", vm,
                            at.g->boot->cpus, at.g->boot->cpus_max, cpus);
    at.g->boot->cpus = cpus;
    return world_put_guest(hv, at.g);
}

static struct err *sim_set_cpu_mask(void *hv, const struct verb *v, const char *vm,
                                    const char *mask)
{
    VISIT(at);
    TRY(visit(hv, "set_cpu_mask", vm, &at));
    free(at.g->boot->cpu_mask);
    at.g->boot->cpu_mask = mem_strdup(mask);
    return world_put_guest(hv, at.g);
}

/* A deaf guest does not hear its balloon either. */
static struct err *sim_set_memory(void *hv, const struct verb *v, const char *vm, uint64_t bytes)
{
    struct sim *s = hv;
    VISIT(at);
    TRY(visit(s, "set_memory", vm, &at));
    if (!at.g->boot->balloon || bytes > at.g->boot->memory_bytes)
        return err_internal("guest '%s' cannot be given %llu bytes", vm, (unsigned long long)bytes);
    at.g->boot->target_bytes = bytes;
    bool obeys = !at.g->deaf;
    if (obeys)
        at.g->memory_bytes = bytes;
    TRY(world_put_guest(s, at.g));
    _cleanup_(freep) char *name = mem_strdup(vm);
    int64_t domid = at.g->boot->domid;
    visit_end(&at);
    if (obeys)
        post_memory(s, name, domid, bytes);
    return NULL;
}

static struct err *sim_trigger(void *hv, const struct verb *v, const char *vm,
                               enum guest_trigger what)
{
    if (what == TRIGGER_POWER)
        return sim_shutdown(hv, v, vm, SHUTDOWN_ACPI, false);
    VISIT(at);
    return visit(hv, "trigger", vm, &at);
}

static struct err *write_saved(const char *vm, const struct image *to)
{
    char text[80];
    snprintf(text, sizeof(text), SAVED_MAGIC "%s\n", vm);
    _cleanup_(fd_closep) int fd = open(to->path, O_WRONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : fd_pwrite_all(fd, text, strlen(text), 0);
    return r < 0 ? err_errno(-r, "cannot write to '%s'", to->path) : NULL;
}

static struct err *sim_save(void *hv, const struct verb *v, const char *vm, const struct image *to)
{
    struct sim *s = hv;
    VISIT(at);
    TRY(visit(s, "save", vm, &at));
    if (to->size_bytes < at.g->boot->memory_bytes + SAVED_SLACK)
        return err_internal("'%s' is too small for the memory of guest '%s'", to->path, vm);
    verb_progress(v, 0.5);
    TRY(verb_check(v, "saving the guest"));
    TRY(write_saved(vm, to));
    verb_progress(v, 1);
    return world_del_guest(s, vm);
}

static struct err *sim_save_size(void *hv, const char *vm, uint64_t *ret_bytes)
{
    VISIT(at);
    TRY(visit(hv, "save_size", vm, &at));
    *ret_bytes = at.g->boot->memory_bytes + SAVED_SLACK;
    return NULL;
}

static void describe(const struct sim_guest *g, struct guest_info *ret)
{
    *ret = (struct guest_info){.state = g->state,
                               .domid = g->boot->domid,
                               .memory_bytes = g->memory_bytes,
                               .cpus = g->boot->cpus,
                               .start_time = g->start_time,
                               .agent = g->agent != 0};
}

static struct err *sim_query(void *hv, const char *vm, struct guest_info *ret)
{
    VISIT(at);
    TRY(world_open(hv, &at.lock));
    TRY(world_guest(hv, vm, &at.g));
    *ret = (struct guest_info){.state = GUEST_ABSENT};
    if (at.g)
        describe(at.g, ret);
    return NULL;
}

static struct err *sim_list(void *hv, struct guest_item **ret, size_t *ret_n)
{
    struct sim *s = hv;
    VISIT(at);
    TRY(world_open(s, &at.lock));
    char **names = NULL;
    size_t n = 0;
    TRY(world_names(s->dir, ".guest", &names, &n));
    struct guest_item *items = mem_new_n(struct guest_item, n + 1);
    for (size_t i = 0; i < n; i++) {
        _cleanup_(sim_guest_freep) struct sim_guest *g = NULL;
        items[i].vm = names[i];
        err_free(world_guest(s, names[i], &g));
        if (g) {
            describe(g, &items[i].info);
            items[i].boot = steal(&g->boot);
        }
    }
    free(names);
    *ret = items;
    *ret_n = n;
    return NULL;
}

static char *sim_vnc_path(void *hv, const char *vm)
{
    return NULL;
}

/* A console that says who speaks and then nothing more. */
static struct err *sim_serial_open(void *hv, const char *vm, int *ret_fd)
{
    VISIT(at);
    TRY(visit(hv, "serial_open", vm, &at));
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(errno, "cannot make a socket pair");
    _cleanup_(freep) char *text = mem_printf("simulated console of %s\r\n", at.g->boot->name);
    int r = fd_write_all(pair[1], text, strlen(text));
    fd_close(pair[1]);
    if (r < 0) {
        fd_close(pair[0]);
        return err_errno(-r, "cannot write to the simulated console");
    }
    *ret_fd = pair[0];
    return NULL;
}

static struct err *set_agent(struct sim *s, struct visit *at, int64_t number)
{
    at->g->agent = number;
    TRY(world_put_guest(s, at->g));
    _cleanup_(freep) char *vm = mem_strdup(at->g->boot->vm);
    int64_t domid = at->g->boot->domid;
    visit_end(at);
    _cleanup_(val_unrefp) struct val *data = agent_data(number);
    post(s, FACT_AGENT, vm, domid, "", 0, data);
    return NULL;
}

static struct err *set_clock(struct sim *s, struct visit *at, int64_t number)
{
    at->g->rtc_offset_s = number;
    TRY(world_put_guest(s, at->g));
    _cleanup_(freep) char *vm = mem_strdup(at->g->boot->vm);
    int64_t domid = at->g->boot->domid;
    visit_end(at);
    post(s, FACT_RTC, vm, domid, "", number, NULL);
    return NULL;
}

static struct err *drop(struct sim *s, struct visit *at, enum host_fact_kind kind, unsigned device)
{
    const struct boot_disk *d = kind == FACT_DISK_GONE ? boot_disk(at->g->boot, device) : NULL;
    const struct boot_nic *n = kind == FACT_NIC_GONE ? boot_nic(at->g->boot, device) : NULL;
    if (!d && !n)
        return err_internal("guest '%s' has no device %u", at->g->boot->vm, device);
    _cleanup_(freep) char *id = mem_strdup(d ? d->id : n->id);
    _cleanup_(freep) char *vm = mem_strdup(at->g->boot->vm);
    int64_t domid = at->g->boot->domid;
    visit_end(at);
    post(s, kind, vm, domid, id, 0, NULL);
    return NULL;
}

struct err *sim_guest(struct host *h, const char *vm, enum sim_event what, int64_t number)
{
    struct sim *s = h->hv_data;
    VISIT(at);
    TRY(visit(s, "guest", vm, &at));
    switch (what) {
    case SIM_POWER_OFF:
        return leave(s, &at, FACT_SHUTDOWN, "guest shutdown");
    case SIM_CRASH:
        return leave(s, &at, FACT_CRASHED, "guest-panic");
    case SIM_LOSE:
        return leave(s, &at, FACT_LOST, "killed by signal 9");
    case SIM_REBOOT:
        return reboot_itself(s, &at);
    case SIM_RTC:
        return set_clock(s, &at, number);
    case SIM_AGENT:
        return set_agent(s, &at, number);
    case SIM_DEAF:
        at.g->deaf = number != 0;
        return world_put_guest(s, at.g);
    case SIM_DROP_DISK:
        return drop(s, &at, FACT_DISK_GONE, (unsigned)number);
    case SIM_DROP_NIC:
        return drop(s, &at, FACT_NIC_GONE, (unsigned)number);
    }
    return err_internal("unknown event %d of a simulated guest", what);
}

const struct hypervisor_ops sim_ops = {
    .name = "sim",
    .build = sim_build,
    .unpause = sim_unpause,
    .pause = sim_pause,
    .shutdown = sim_shutdown,
    .kill = sim_kill,
    .plug_disk = sim_plug_disk,
    .unplug_disk = sim_unplug_disk,
    .insert_cd = sim_insert_cd,
    .eject_cd = sim_eject_cd,
    .plug_nic = sim_plug_nic,
    .unplug_nic = sim_unplug_nic,
    .set_cpus = sim_set_cpus,
    .set_cpu_mask = sim_set_cpu_mask,
    .ask_agent = sim_ask_agent,
    .set_memory = sim_set_memory,
    .trigger = sim_trigger,
    .save = sim_save,
    .save_size = sim_save_size,
    .set_domid = sim_set_domid,
    .query = sim_query,
    .list = sim_list,
    .sample = sim_sample,
    .vnc_path = sim_vnc_path,
    .serial_open = sim_serial_open,
    .free = sim_free,
};
