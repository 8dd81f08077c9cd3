/*
 * qemu_vm.c: the hypervisor's vtable over QEMU.
 *
 * Called through host.c on operation threads; verbs on one guest come one at a time, but kill,
 * query and list at any moment. A guest is listed from the moment its process exists until its
 * files are removed, by kill or, for one that went by itself, by the kill that follows its fact.
 * Mutex: qemu->lock, a leaf.
 */
#include "host/qemu_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "gen/error.h"
#include "host/caps.h"
#include "host/mon.h"
#include "host/proc.h"
#include "host/qemu_argv.h"

#undef LOG_MODULE
#define LOG_MODULE "qemu"

#define RECORD_MAX (1U << 20)
#define NVRAM_MAX  (16U << 20)
#define WAIT_SLICE (100 * USEC_PER_MSEC)
#define END_WAIT   (30 * USEC_PER_SEC)
#define TAKE_UP    (5 * USEC_PER_SEC)

char *guest_path(const struct guest *g, const char *name)
{
    return host_vm_path(g->qemu->host, g->vm, name);
}

/* --- the list --- */

static struct guest *find_locked(struct qemu *q, const char *vm)
{
    vec_each (g, &q->guests)
        if (str_eq((*g)->vm, vm))
            return *g;
    return NULL;
}

struct guest *guest_find(struct qemu *q, const char *vm)
{
    pthread_mutex_lock(&q->lock);
    struct guest *g = find_locked(q, vm);
    if (g)
        g->refs++;
    pthread_mutex_unlock(&q->lock);
    return g;
}

/* NULL while it has none. */
static struct qmp *monitor_of(const struct guest *g)
{
    pthread_mutex_lock(&g->qemu->lock);
    struct qmp *qmp = g->qmp;
    pthread_mutex_unlock(&g->qemu->lock);
    return qmp;
}

struct err *guest_get(struct qemu *q, const char *vm, struct guest **ret)
{
    _cleanup_(guest_unrefp) struct guest *g = guest_find(q, vm);
    if (!g || guest_state(g) == GUEST_ABSENT)
        return err_internal("guest '%s' is absent", vm);
    TRY(guest_meet(g));
    *ret = steal(&g);
    return NULL;
}

enum guest_state guest_state(const struct guest *g)
{
    pthread_mutex_lock(&g->qemu->lock);
    enum guest_state state = g->gone ? GUEST_ABSENT : g->state;
    pthread_mutex_unlock(&g->qemu->lock);
    return state;
}

void guest_unrefp(struct guest **slot)
{
    struct guest *g = steal(slot);
    if (!g)
        return;
    pthread_mutex_lock(&g->qemu->lock);
    bool last = --g->refs == 0;
    pthread_mutex_unlock(&g->qemu->lock);
    if (!last)
        return;
    guest_let_go(g);
    qmp_close(g->qmp);
    boot_free(g->boot);
    vec_each (id, &g->deleted)
        free(*id);
    vec_done(&g->deleted);
    free(g->shutdown);
    free(g->sampling.threads);
    free(g->vm);
    free(g);
}

static void list_add(struct guest *g)
{
    pthread_mutex_lock(&g->qemu->lock);
    g->refs++;
    vec_push(&g->qemu->guests, g);
    pthread_mutex_unlock(&g->qemu->lock);
}

static void list_remove(struct guest *g)
{
    bool found = false;
    pthread_mutex_lock(&g->qemu->lock);
    for (size_t i = 0; !found && i < g->qemu->guests.n; i++) {
        if (g->qemu->guests.v[i] == g) {
            vec_remove(&g->qemu->guests, i);
            found = true;
        }
    }
    pthread_mutex_unlock(&g->qemu->lock);
    if (found)
        guest_unrefp(&g);
}

/* --- tools for verbs --- */

struct err *guest_write_record(struct guest *g)
{
    _cleanup_(freep) char *path = guest_path(g, "boot.json");
    _cleanup_(freep) char *json = boot_format(g->boot);
    int r = fd_replace_file(path, json, strlen(json), 0600);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

struct err *guest_qmp(struct guest *g, const struct verb *v, const char *command, struct val *args,
                      struct val **ret)
{
    return guest_qmp_fd(g, v, command, args, -1, ret);
}

struct err *guest_qmp_fd(struct guest *g, const struct verb *v, const char *command,
                         struct val *args, int fd, struct val **ret)
{
    struct qmp *qmp = monitor_of(g);
    if (qmp)
        return qmp_call(qmp, command, args, fd, verb_deadline(v), ret);
    val_unref(args);
    return err_internal("guest '%s' has no monitor yet", g->vm);
}

struct err *guest_wait(struct guest *g, const struct verb *v, const char *what,
                       bool (*fn)(const struct guest *g, const void *arg), const void *arg)
{
    struct verb late = *v;
    late.deadline = verb_deadline(v);
    for (;;) {
        usec_t until = clock_now() + WAIT_SLICE;
        pthread_mutex_lock(&g->qemu->lock);
        bool holds = fn(g, arg), gone = g->gone;
        if (!holds && !gone)
            (void)clock_wait(&g->qemu->changed, &g->qemu->lock,
                             until < late.deadline ? until : late.deadline);
        pthread_mutex_unlock(&g->qemu->lock);
        if (holds)
            return NULL;
        if (gone)
            return err_internal("%s: guest '%s' has ended", what, g->vm);
        TRY(verb_check(&late, what));
    }
}

static void do_signal(void *arg)
{
    struct guest *g = arg;
    if (g->child)
        (void)child_kill(g->child, SIGKILL);
}

static void remove_files(const struct guest *g)
{
    _cleanup_(freep) char *dir = mem_printf("%s/vm/%s", g->qemu->host->run_dir, g->vm);
    (void)fd_remove_tree(dir);
}

struct err *guest_end(struct guest *g)
{
    struct qemu *q = g->qemu;
    pthread_mutex_lock(&q->lock);
    g->killing = true;
    pthread_mutex_unlock(&q->lock);
    mon_run(q->host->mon, do_signal, g);
    usec_t end = clock_now() + END_WAIT;
    pthread_mutex_lock(&q->lock);
    bool in_time = true;
    while (!g->gone && g->pid && in_time)
        in_time = clock_wait(&q->changed, &q->lock, end);
    pthread_mutex_unlock(&q->lock);
    if (!in_time)
        return err_errno(ETIMEDOUT, "QEMU of guest '%s' does not die", g->vm);
    remove_files(g);
    list_remove(g);
    return NULL;
}

/* --- build --- */

static struct err *make_nvram(const struct host *h, const struct boot *b, const char *path)
{
    if (access(path, F_OK) == 0)
        return NULL;
    _cleanup_(freep) char *blank = caps_firmware(b->secure_boot, true);
    _cleanup_(freep) char *dir = mem_printf("%s/nvram", h->state_dir);
    _cleanup_(buf_done) struct buf bytes;
    buf_init(&bytes, NVRAM_MAX);
    int r = fd_mkdirs(dir, 0700);
    if (r == 0)
        r = fd_read_file(blank, NVRAM_MAX, &bytes);
    if (r == 0)
        r = fd_replace_file(path, bytes.data, bytes.size, 0600);
    return r < 0 ? err_errno(-r, "cannot make the UEFI variables '%s'", path) : NULL;
}

static struct err *start_process(struct guest *g, bool restore)
{
    const struct host *h = g->qemu->host;
    _cleanup_(freep) char *dir = mem_printf("%s/vm/%s", h->run_dir, g->vm);
    _cleanup_(freep) char *disk_dir = mem_printf("%s/disk/%s", h->run_dir, g->vm);
    _cleanup_(freep) char *firmware = caps_firmware(g->boot->secure_boot, false);
    _cleanup_(freep) char *nvram = mem_printf("%s/nvram/%s.fd", h->state_dir, g->vm);
    struct qemu_paths paths = {.program = h->qemu,
                               .dir = dir,
                               .disk_dir = disk_dir,
                               .firmware = firmware,
                               .nvram = nvram,
                               .now_s = (int64_t)(clock_wall() / USEC_PER_SEC),
                               .restore = restore};
    if (g->boot->firmware == BOOT_UEFI && !firmware[0])
        return err_internal("UEFI firmware (package ovmf) is not installed");
    if (g->boot->firmware == BOOT_UEFI)
        TRY(make_nvram(h, g->boot, nvram));
    char **argv = qemu_argv(g->boot, &paths);
    struct err *e = guest_spawn(g, argv);
    qemu_argv_free(argv);
    return e;
}

/* QEMU would wait for the socket of a disk that nobody serves, and say nothing meanwhile. */
static struct err *check_disks(const struct guest *g)
{
    for (size_t i = 0; i < g->boot->n_disks; i++) {
        const struct boot_disk *d = &g->boot->disks[i];
        bool nbd = d->cd || d->bus == BOOT_EMULATED;
        _cleanup_(freep) char *path =
            host_disk_path(g->qemu->host, g->vm, d->device, nbd ? "nbd" : "vu");
        if (d->image.path[0] && access(path, F_OK) < 0)
            return err_internal("disk %u of guest '%s' is not attached", d->device, g->vm);
    }
    return NULL;
}

static struct err *bring_up(struct guest *g, const struct verb *v, const struct image *from)
{
    TRY(check_disks(g));
    TRY(guest_write_record(g));
    TRY(start_process(g, from != NULL));
    TRY(guest_connect(g, v));
    if (from) {
        TRY(qemu_restore(g, v, from));
        qemu_learn_memory(g, v);
    }
    TRY(qemu_set_target(g, v));
    qemu_pin_cpus(g, v);
    return qemu_set_links(g, v);
}

static struct err *qemu_build(void *hv, const struct verb *verb, const struct boot *b,
                              const struct image *from)
{
    struct qemu *q = hv;
    struct verb v = *verb;
    v.deadline = verb_deadline(verb);
    _cleanup_(guest_unrefp) struct guest *old = guest_find(q, b->vm);
    if (old && guest_state(old) != GUEST_ABSENT)
        return err_internal("guest '%s' exists already", b->vm);
    if (old)
        TRY(guest_end(old));
    _cleanup_(guest_unrefp) struct guest *g = guest_new(q, b->vm, b);
    _cleanup_(freep) char *dir = guest_path(g, ".");
    int r = fd_mkdirs(dir, 0700);
    if (r < 0)
        return err_errno(-r, "cannot make '%s'", dir);
    g->killing = true; /* until it is complete, its death is this verb's failure and no fact */
    list_add(g);
    struct err *e = bring_up(g, &v, from);
    if (e)
        return err_first(e, guest_end(g));
    pthread_mutex_lock(&q->lock);
    g->killing = false;
    bool gone = g->gone;
    pthread_mutex_unlock(&q->lock);
    if (gone)
        return err_first(err_internal("QEMU of guest '%s' ended", b->vm), guest_end(g));
    log_info("event=built vm=%s domid=%lld pid=%d", b->vm, (long long)b->domid, (int)g->pid);
    return NULL;
}

/* --- running, pausing, ending --- */

static bool in_state(const struct guest *g, const void *arg)
{
    return g->state == *(const enum guest_state *)arg;
}

static struct err *switch_to(void *hv, const struct verb *v, const char *vm, const char *command,
                             enum guest_state state)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    TRY(guest_qmp(g, v, command, NULL, NULL));
    return guest_wait(g, v, command, in_state, &state);
}

static struct err *qemu_unpause(void *hv, const struct verb *v, const char *vm)
{
    return switch_to(hv, v, vm, "cont", GUEST_RUNNING);
}

/* One that has stopped by itself says nothing when it is told to. */
static struct err *qemu_pause(void *hv, const struct verb *v, const char *vm)
{
    struct qemu *q = hv;
    enum guest_state paused = GUEST_PAUSED;
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(q, vm, &g));
    TRY(guest_qmp(g, v, "stop", NULL, NULL));
    pthread_mutex_lock(&q->lock);
    if (g->halted && g->state == GUEST_RUNNING)
        g->state = GUEST_PAUSED;
    pthread_mutex_unlock(&q->lock);
    return guest_wait(g, v, "stop", in_state, &paused);
}

static bool qemu_is_halted(void *hv, const char *vm)
{
    struct qemu *q = hv;
    _cleanup_(guest_unrefp) struct guest *g = guest_find(q, vm);
    pthread_mutex_lock(&q->lock);
    bool halted = g && g->halted && g->state == GUEST_RUNNING && !g->gone;
    pthread_mutex_unlock(&q->lock);
    return halted;
}

static struct err *qemu_go_on(void *hv, const struct verb *v, const char *vm)
{
    struct qemu *q = hv;
    if (!qemu_is_halted(q, vm))
        return NULL;
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(q, vm, &g));
    if (q->host->disks->again)
        q->host->disks->again(q->host->disks_data, vm);
    return guest_qmp(g, v, "cont", NULL, NULL);
}

static struct err *qemu_shutdown(void *hv, const struct verb *v, const char *vm,
                                 enum shutdown_how how, bool reboot)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    if (guest_state(g) != GUEST_RUNNING)
        return err_internal("guest '%s' is %s", vm, guest_state_name(guest_state(g)));
    if (how == SHUTDOWN_AGENT)
        return guest_ask_shutdown(g, reboot);
    if (reboot)
        return err_internal("ACPI has no button for a reboot");
    return guest_qmp(g, v, "system_powerdown", NULL, NULL);
}

static struct err *qemu_ask_agent(void *hv, const struct verb *v, const char *vm,
                                  const char *command, const struct val *args, struct val **ret)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    return guest_ask_agent(g, v, command, args, ret);
}

static struct err *store_domid(struct guest *g, int64_t domid)
{
    pthread_mutex_lock(&g->qemu->lock);
    g->domid = g->boot->domid = domid;
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

static struct err *qemu_set_domid(void *hv, const struct verb *v, const char *vm, int64_t domid)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    return store_domid(g, domid);
}

static struct err *qemu_kill(void *hv, const struct verb *v, const char *vm)
{
    struct qemu *q = hv;
    _cleanup_(guest_unrefp) struct guest *g = guest_find(q, vm);
    if (g)
        return guest_end(g);
    _cleanup_(freep) char *dir = mem_printf("%s/vm/%s", q->host->run_dir, vm);
    (void)fd_remove_tree(dir);
    return NULL;
}

/* --- asking --- */

/* With the lock held. */
static void describe(const struct guest *g, struct guest_info *ret)
{
    *ret = (struct guest_info){.state = g->state,
                               .domid = g->domid,
                               .pid = g->gone ? 0 : g->pid,
                               .memory_bytes = g->memory_bytes,
                               .cpus = g->boot->cpus,
                               .start_time = g->start_time,
                               .is_silent = !g->met,
                               .agent = g->agent_alive};
}

static struct err *qemu_query(void *hv, const char *vm, struct guest_info *ret)
{
    struct qemu *q = hv;
    *ret = (struct guest_info){.state = GUEST_ABSENT};
    pthread_mutex_lock(&q->lock);
    const struct guest *g = find_locked(q, vm);
    if (g && !g->gone)
        describe(g, ret);
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static struct err *qemu_list(void *hv, struct guest_item **ret, size_t *ret_n)
{
    struct qemu *q = hv;
    size_t n = 0;
    pthread_mutex_lock(&q->lock);
    struct guest_item *items = mem_new_n(struct guest_item, q->guests.n + 1);
    vec_each (g, &q->guests) {
        if ((*g)->gone)
            continue;
        describe(*g, &items[n].info);
        items[n].vm = mem_strdup((*g)->vm);
        items[n].boot = boot_copy((*g)->boot);
        n++;
    }
    pthread_mutex_unlock(&q->lock);
    *ret = items;
    *ret_n = n;
    return NULL;
}

static char *qemu_vnc_path(void *hv, const char *vm)
{
    _cleanup_(guest_unrefp) struct guest *g = guest_find(hv, vm);
    return g && guest_state(g) != GUEST_ABSENT && g->boot->vnc ? guest_path(g, "vnc.sock") : NULL;
}

static struct err *qemu_serial_open(void *hv, const char *vm, int *ret_fd)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    return guest_attach_console(g, ret_fd);
}

/* --- what runs already --- */

static struct err *read_record(struct guest *g)
{
    _cleanup_(freep) char *path = guest_path(g, "boot.json");
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, RECORD_MAX);
    struct boot *b = NULL;
    int r = fd_read_file(path, RECORD_MAX, &text);
    if (r < 0)
        return err_errno(-r, "cannot read '%s'", path);
    TRY(boot_parse(buf_str(&text), &b));
    boot_free(g->boot);
    g->boot = b;
    g->domid = b->domid;
    g->memory_bytes = b->memory_bytes;
    return NULL;
}

/* A process is the guest's if it has the guest's pid file among its arguments. */
static void take_up(struct qemu *q, const char *vm)
{
    struct verb v = {.deadline = clock_now() + TAKE_UP};
    _cleanup_(guest_unrefp) struct guest *g = guest_new(q, vm, NULL);
    _cleanup_(freep) char *pid_file = guest_path(g, "pid");
    pid_t pid;
    uint64_t start;
    if (!proc_find(pid_file, &pid, &start)) {
        remove_files(g);
        return;
    }
    _cleanup_(err_freep) struct err *e = read_record(g);
    if (!e)
        e = guest_adopt(g, pid, start);
    if (!e)
        e = guest_connect(g, &v);
    if (!e)
        qemu_learn_memory(g, &v);
    _cleanup_(freep) char *text = e ? err_text(e) : mem_strdup("");
    log_info("event=found vm=%s pid=%d state=%s problem=\"%s\"", vm, (int)pid,
             guest_state_name(guest_state(g)), text);
    list_add(g);
}

static struct err *find_guests(struct qemu *q)
{
    _cleanup_(freep) char *dir = mem_printf("%s/vm", q->host->run_dir);
    char **names = NULL;
    size_t n = 0;
    TRY(proc_folders(dir, &names, &n));
    for (size_t i = 0; i < n; i++) {
        take_up(q, names[i]);
        free(names[i]);
    }
    free(names);
    return NULL;
}

static struct err *qemu_start(void *hv)
{
    return find_guests(hv);
}

static void qemu_free(void *hv)
{
    struct qemu *q = hv;
    while (q->guests.n)
        list_remove(q->guests.v[0]);
    vec_done(&q->guests);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static const struct hypervisor_ops qemu_ops = {
    .name = "qemu",
    .start = qemu_start,
    .build = qemu_build,
    .unpause = qemu_unpause,
    .pause = qemu_pause,
    .is_halted = qemu_is_halted,
    .go_on = qemu_go_on,
    .shutdown = qemu_shutdown,
    .kill = qemu_kill,
    .plug_disk = qemu_plug_disk,
    .unplug_disk = qemu_unplug_disk,
    .insert_cd = qemu_insert_cd,
    .eject_cd = qemu_eject_cd,
    .plug_nic = qemu_plug_nic,
    .unplug_nic = qemu_unplug_nic,
    .set_cpus = qemu_set_cpus,
    .set_cpu_mask = qemu_set_cpu_mask,
    .ask_agent = qemu_ask_agent,
    .set_memory = qemu_set_memory,
    .trigger = qemu_trigger,
    .save = qemu_save,
    .save_size = qemu_save_size,
    .set_domid = qemu_set_domid,
    .query = qemu_query,
    .list = qemu_list,
    .sample = qemu_sample,
    .vnc_path = qemu_vnc_path,
    .serial_open = qemu_serial_open,
    .free = qemu_free,
};

struct err *qemu_new(struct host *h)
{
    struct qemu *q = mem_new(struct qemu);
    q->host = h;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    h->hv = &qemu_ops;
    h->hv_data = q;
    return NULL;
}
