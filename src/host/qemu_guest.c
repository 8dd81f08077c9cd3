/*
 * qemu_guest.c: one QEMU process as the mon loop sees it.
 *
 * Starting and adopting it, its monitor's events, its end. Events become state (under the lock) and
 * facts. The order at the end is fixed: what the monitor still says is read first, for it tells a
 * guest that went by itself from a QEMU that was killed; then monitor, console and agent are
 * closed; then the state is absent; then the fact is posted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/rstr.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/mon.h"
#include "host/qemu_vm.h"

#undef LOG_MODULE
#define LOG_MODULE  "qemu"

#define CONNECT_US  2000
#define MEET_TIME   (2 * USEC_PER_SEC)
#define LOG_MAX     (4U << 20)
#define WORDS_MAX   300
#define REQUEST_MAX (64U << 10) /* to an agent */

static void on_event(void *arg, const char *event, const struct val *data);
static void on_end(void *arg, const struct child_exit *how);
static void on_agent(void *arg, const struct val *data);

struct guest *guest_new(struct qemu *q, const char *vm, const struct boot *b)
{
    struct guest *g = mem_new(struct guest);
    g->qemu = q;
    g->refs = 1;
    g->vm = mem_strdup(vm);
    g->boot = b ? boot_copy(b) : boot_new(vm, vm);
    g->domid = g->boot->domid;
    g->memory_bytes = g->boot->memory_bytes;
    g->state = GUEST_PAUSED;
    g->meeting = true;
    g->start_time = (int64_t)(clock_wall() / USEC_PER_SEC);
    return g;
}

void guest_post(struct guest *g, enum host_fact_kind kind, const char *reason, int64_t rtc,
                const struct val *data)
{
    struct host_fact f = {.kind = kind,
                          .vm = g->vm,
                          .domid = g->domid,
                          .reason = reason,
                          .rtc_offset_s = rtc,
                          .data = data};
    host_post(g->qemu->host, &f);
}

/* --- errands to the loop --- */

struct errand {
    struct guest *g;
    char *const *argv;
    pid_t pid;
    uint64_t start;
    int serial, agent; /* connected descriptors */
    bool open, reboot;
    int fd;
    struct err *e;
};

static struct loop *mon(const struct guest *g)
{
    return g->qemu->host->mon;
}

static void do_spawn(void *arg)
{
    struct errand *d = arg;
    struct guest *g = d->g;
    _cleanup_(freep) char *log = mem_printf("%s/vm-%s.log", g->qemu->host->log_dir, g->vm);
    struct child_spec spec = {
        .argv = (const char *const *)d->argv, .log_file = log, .new_session = true};
    d->e = child_spawn(mon(g), &spec, on_end, g, &g->child);
    g->pid = g->child ? child_pid(g->child) : 0;
}

static void do_adopt(void *arg)
{
    struct errand *d = arg;
    d->e = child_adopt(mon(d->g), d->pid, d->start, on_end, d->g, &d->g->child);
    d->g->pid = d->pid;
}

struct err *guest_spawn(struct guest *g, char *const *argv)
{
    struct errand d = {.g = g, .argv = argv};
    mon_run(mon(g), do_spawn, &d);
    return d.e;
}

struct err *guest_adopt(struct guest *g, pid_t pid, uint64_t start)
{
    struct errand d = {.g = g, .pid = pid, .start = start};
    mon_run(mon(g), do_adopt, &d);
    return d.e;
}

/* --- connecting, on the verb's thread --- */

static bool is_gone(struct guest *g)
{
    pthread_mutex_lock(&g->qemu->lock);
    bool gone = g->gone;
    pthread_mutex_unlock(&g->qemu->lock);
    return gone;
}

/* The last of its own lines that QEMU has left in its log, for the error. Owned by the caller. */
static char *last_words(const struct guest *g)
{
    _cleanup_(freep) char *path = mem_printf("%s/vm-%s.log", g->qemu->host->log_dir, g->vm);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, LOG_MAX);
    if (fd_read_file(path, LOG_MAX, &text) < 0)
        return mem_strdup("it left no log");
    struct view all = view_of(buf_str(&text)), line, last = view_of("it left no message");
    bool more = true;
    while (more) {
        more = view_split(&all, '\n', &line);
        if (memmem(line.p, line.size, ": ", 2))
            last = line;
    }
    return mem_printf("%.*s", last.size < WORDS_MAX ? (int)last.size : WORDS_MAX, last.p);
}

static struct err *connect_socket(struct guest *g, const struct verb *v, const char *name, int *ret)
{
    _cleanup_(freep) char *path = guest_path(g, name);
    for (;;) {
        int fd = fd_connect_unix(path);
        if (fd >= 0) {
            *ret = fd;
            return NULL;
        }
        if (is_gone(g)) {
            _cleanup_(freep) char *words = last_words(g);
            return err_internal("QEMU ended at once: %s", words);
        }
        TRY(verb_check(v, "connecting to QEMU"));
        usleep(CONNECT_US);
    }
}

static void on_root(void *arg, const char *device)
{
    guest_post(arg, FACT_ROOT_NAMED, device, 0, NULL);
}

static void do_connect(void *arg)
{
    struct errand *d = arg;
    struct guest *g = d->g;
    _cleanup_(freep) char *ring = guest_path(g, "console.ring");
    d->e = console_new(mon(g), fd_take(&d->serial), ring, &g->console);
    if (!d->e)
        console_watch_root(g->console, on_root, g);
    g->agent = agent_new(mon(g), fd_take(&d->agent), on_agent, g);
}

/* The port may have been opened before we were there to hear of it. */
static bool agent_port_is_open(const struct val *chardevs)
{
    for (size_t i = 0; val_kind(chardevs) == VAL_SET && i < val_count(chardevs); i++) {
        const struct val *c = val_at(chardevs, i);
        const struct val *open = val_kind(c) == VAL_MAP ? val_map_get(c, "frontend-open") : NULL;
        if (open && str_eq(val_map_str(c, "label", ""), "agent"))
            return val_kind(open) == VAL_BOOL && val_get_bool(open);
    }
    return false;
}

static void do_agent_open(void *arg)
{
    struct errand *d = arg;
    if (d->g->agent)
        agent_set_open(d->g->agent, d->open);
}

static struct err *read_state(struct guest *g, const struct verb *v)
{
    _cleanup_(val_unrefp) struct val *status = NULL;
    _cleanup_(val_unrefp) struct val *chardevs = NULL;
    TRY(guest_qmp(g, v, "query-status", NULL, &status));
    TRY(guest_qmp(g, v, "query-chardev", NULL, &chardevs));
    const struct val *running = val_kind(status) == VAL_MAP ? val_map_get(status, "running") : NULL;
    pthread_mutex_lock(&g->qemu->lock);
    bool runs = running && val_kind(running) == VAL_BOOL && val_get_bool(running);
    g->halted = !runs && val_kind(status) == VAL_MAP &&
                str_eq(val_map_str(status, "status", ""), "io-error");
    g->state = runs || g->halted ? GUEST_RUNNING : GUEST_PAUSED;
    pthread_mutex_unlock(&g->qemu->lock);
    struct errand d = {.g = g, .open = agent_port_is_open(chardevs)};
    mon_run(mon(g), do_agent_open, &d);
    return NULL;
}

static struct err *connect_monitor(struct guest *g, const struct verb *v)
{
    int fd = -1;
    struct qmp *qmp = NULL;
    TRY(connect_socket(g, v, "qmp.sock", &fd));
    TRY(qmp_open(mon(g), fd, on_event, NULL, g, verb_deadline(v), &qmp));
    pthread_mutex_lock(&g->qemu->lock);
    g->qmp = qmp;
    pthread_mutex_unlock(&g->qemu->lock);
    return NULL;
}

static struct err *connect_ports(struct guest *g, const struct verb *v)
{
    struct errand d = {.g = g, .serial = -1, .agent = -1};
    struct err *e = connect_socket(g, v, "serial.sock", &d.serial);
    if (!e)
        e = connect_socket(g, v, "agent.sock", &d.agent);
    if (e) {
        fd_close(d.serial);
        return e;
    }
    mon_run(mon(g), do_connect, &d);
    pthread_mutex_lock(&g->qemu->lock);
    g->has_ports = !d.e;
    pthread_mutex_unlock(&g->qemu->lock);
    return d.e;
}

static struct err *connect_all(struct guest *g, const struct verb *v)
{
    pthread_mutex_lock(&g->qemu->lock);
    bool has_monitor = g->qmp, has_ports = g->has_ports;
    pthread_mutex_unlock(&g->qemu->lock);
    if (!has_monitor)
        TRY(connect_monitor(g, v));
    if (!has_ports)
        TRY(connect_ports(g, v));
    return read_state(g, v);
}

struct err *guest_connect(struct guest *g, const struct verb *v)
{
    struct err *e = connect_all(g, v);
    pthread_mutex_lock(&g->qemu->lock);
    g->meeting = false;
    g->met = !e;
    pthread_cond_broadcast(&g->qemu->changed);
    pthread_mutex_unlock(&g->qemu->lock);
    return e;
}

static struct err *does_not_answer(const struct guest *g)
{
    return err_internal("QEMU of guest '%s' does not answer", g->vm);
}

struct err *guest_meet(struct guest *g)
{
    struct verb v = {.deadline = clock_now() + MEET_TIME};
    bool in_time = true;
    pthread_mutex_lock(&g->qemu->lock);
    while (!g->met && g->meeting && in_time)
        in_time = clock_wait(&g->qemu->changed, &g->qemu->lock, v.deadline);
    bool met = g->met, mine = !met && !g->meeting && !g->gone;
    g->meeting = g->meeting || mine;
    pthread_mutex_unlock(&g->qemu->lock);
    if (met)
        return NULL;
    if (!mine)
        return does_not_answer(g);
    _cleanup_(err_freep) struct err *e = guest_connect(g, &v);
    if (e)
        return does_not_answer(g);
    qemu_learn_memory(g, &v);
    log_info("event=met vm=%s state=%s", g->vm, guest_state_name(guest_state(g)));
    host_poke(g->qemu->host);
    return NULL;
}

static void do_let_go(void *arg)
{
    struct guest *g = arg;
    child_free(g->child);
    console_free(g->console);
    agent_free(g->agent);
    g->child = NULL;
    g->console = NULL;
    g->agent = NULL;
}

void guest_let_go(struct guest *g)
{
    mon_run(mon(g), do_let_go, g);
}

static void do_attach_console(void *arg)
{
    struct errand *d = arg;
    d->e = d->g->console ? console_attach(d->g->console, &d->fd)
                         : err_internal("guest '%s' has no console", d->g->vm);
}

struct err *guest_attach_console(struct guest *g, int *ret_fd)
{
    struct errand d = {.g = g, .fd = -1};
    mon_run(mon(g), do_attach_console, &d);
    TRY(d.e);
    *ret_fd = d.fd;
    return NULL;
}

static void do_ask_shutdown(void *arg)
{
    struct errand *d = arg;
    d->e = d->g->agent ? agent_shutdown(d->g->agent, d->reboot)
                       : err_internal("guest '%s' is gone", d->g->vm);
}

struct err *guest_ask_shutdown(struct guest *g, bool reboot)
{
    struct errand d = {.g = g, .reboot = reboot};
    mon_run(mon(g), do_ask_shutdown, &d);
    return d.e;
}

/* A request on its way; what came of it is under qemu->lock. */
struct question {
    struct guest *g;
    const char *line;
    bool answered;
    struct err *e;
    struct val *result;
};

static void on_answer(void *arg, struct err *e, const struct val *result)
{
    struct question *q = arg;
    pthread_mutex_lock(&q->g->qemu->lock);
    q->answered = true;
    q->e = e;
    q->result = result ? val_ref(result) : NULL;
    pthread_cond_broadcast(&q->g->qemu->changed);
    pthread_mutex_unlock(&q->g->qemu->lock);
}

static void do_ask(void *arg)
{
    struct question *q = arg;
    if (q->g->agent)
        agent_ask(q->g->agent, q->line, on_answer, q);
    else
        on_answer(q, err_internal("guest '%s' is gone", q->g->vm), NULL);
}

static void do_forget(void *arg)
{
    agent_forget(((struct question *)arg)->g->agent);
}

static bool is_answered(const struct guest *g, const void *arg)
{
    return ((const struct question *)arg)->answered;
}

struct err *guest_ask_agent(struct guest *g, const struct verb *v, const char *command,
                            const struct val *args, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *request = val_map();
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, REQUEST_MAX);
    val_put_str(request, "execute", command);
    val_put(request, "arguments", val_ref(args));
    json_put_val(&line, request);
    struct question q = {.g = g, .line = buf_str(&line)};
    mon_run(mon(g), do_ask, &q);
    struct err *late = guest_wait(g, v, "asking the guest's agent", is_answered, &q);
    mon_run(mon(g), do_forget, &q);
    *ret = q.result;
    if (late && !q.answered)
        return late;
    err_free(late);
    return q.e;
}

/* --- what happens, on the loop --- */

static void set_state(struct guest *g, enum guest_state state)
{
    pthread_mutex_lock(&g->qemu->lock);
    g->state = state;
    pthread_cond_broadcast(&g->qemu->changed);
    pthread_mutex_unlock(&g->qemu->lock);
    host_poke(g->qemu->host);
}

static void note_shutdown(struct guest *g, const struct val *data)
{
    pthread_mutex_lock(&g->qemu->lock);
    if (!g->shutdown)
        g->shutdown = mem_strdup(val_map_str(data, "reason", ""));
    pthread_mutex_unlock(&g->qemu->lock);
}

static void note_reset(struct guest *g, const struct val *data)
{
    const struct val *by_guest = val_map_get(data, "guest");
    if (by_guest && val_kind(by_guest) == VAL_BOOL && val_get_bool(by_guest))
        guest_post(g, FACT_REBOOT, val_map_str(data, "reason", ""), 0, NULL);
}

static void note_clock(struct guest *g, const struct val *data)
{
    const struct val *offset = val_map_get(data, "offset");
    if (offset && val_kind(offset) == VAL_INT)
        guest_post(g, FACT_RTC, "", g->boot->rtc_offset_s + val_get_int(offset), NULL);
}

/* The device that nobody waits for to go: the fact's kind and its id in the boot record, an rstr.
 */
static const char *late_device(struct guest *g, const char *device, enum host_fact_kind *ret)
{
    unsigned number;
    const struct boot_disk *d = NULL;
    const struct boot_nic *n = NULL;
    if (g->unplugging)
        return NULL;
    if (sscanf(device, "disk%u", &number) == 1)
        d = boot_disk(g->boot, number);
    else if (sscanf(device, "nic%u", &number) == 1)
        n = boot_nic(g->boot, number);
    *ret = d ? FACT_DISK_GONE : FACT_NIC_GONE;
    return d || n ? rstr_new(d ? d->id : n->id) : NULL;
}

static void note_deleted(struct guest *g, const struct val *data)
{
    const char *device = val_map_str(data, "device", "");
    enum host_fact_kind kind;
    if (!device[0])
        return;
    pthread_mutex_lock(&g->qemu->lock);
    vec_push(&g->deleted, mem_strdup(device));
    _cleanup_(rstr_unrefp) const char *id = late_device(g, device, &kind);
    pthread_cond_broadcast(&g->qemu->changed);
    pthread_mutex_unlock(&g->qemu->lock);
    if (id)
        guest_post(g, kind, id, 0, NULL);
}

static void note_port(struct guest *g, const struct val *data)
{
    const struct val *open = val_map_get(data, "open");
    if (g->agent && open && val_kind(open) == VAL_BOOL &&
        str_eq(val_map_str(data, "id", ""), "agentport"))
        agent_set_open(g->agent, val_get_bool(open));
}

static void note_balloon(struct guest *g, const struct val *data)
{
    const struct val *actual = val_map_get(data, "actual");
    if (!actual || val_kind(actual) != VAL_INT || val_get_int(actual) < 0)
        return;
    struct host_fact f = {.kind = FACT_MEMORY,
                          .vm = g->vm,
                          .domid = g->domid,
                          .reason = "",
                          .memory_bytes = (uint64_t)val_get_int(actual)};
    pthread_mutex_lock(&g->qemu->lock);
    g->memory_bytes = f.memory_bytes;
    pthread_mutex_unlock(&g->qemu->lock);
    host_post(g->qemu->host, &f);
}

static void set_halted(struct guest *g, bool halted)
{
    pthread_mutex_lock(&g->qemu->lock);
    g->halted = halted;
    pthread_mutex_unlock(&g->qemu->lock);
}

/* A disk that has no room: it stops now, keeps the request, and does it again when it goes on. */
static void note_io_error(struct guest *g, const struct val *data)
{
    if (!str_eq(val_map_str(data, "action", ""), "stop"))
        return;
    log_info("event=halted vm=%s disk=%s", g->vm, val_map_str(data, "node-name", ""));
    set_halted(g, true);
}

static void note_stop(struct guest *g, const struct val *data)
{
    pthread_mutex_lock(&g->qemu->lock);
    bool halted = g->halted;
    pthread_mutex_unlock(&g->qemu->lock);
    if (!halted)
        set_state(g, GUEST_PAUSED);
}

static void note_resume(struct guest *g, const struct val *data)
{
    set_halted(g, false);
    set_state(g, GUEST_RUNNING);
}

static void on_event(void *arg, const char *event, const struct val *data)
{
    static const struct {
        const char *name;
        void (*fn)(struct guest *g, const struct val *data);
    } handlers[] = {
        {"SHUTDOWN", note_shutdown},
        {"RESET", note_reset},
        {"STOP", note_stop},
        {"BLOCK_IO_ERROR", note_io_error},
        {"RESUME", note_resume},
        {"RTC_CHANGE", note_clock},
        {"BALLOON_CHANGE", note_balloon},
        {"DEVICE_DELETED", note_deleted},
        {"VSERPORT_CHANGE", note_port},
    };
    struct guest *g = arg;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (str_eq(handlers[i].name, event))
            handlers[i].fn(g, data);
}

static void on_agent(void *arg, const struct val *data)
{
    struct guest *g = arg;
    pthread_mutex_lock(&g->qemu->lock);
    g->agent_alive = val_count(data) > 0;
    pthread_mutex_unlock(&g->qemu->lock);
    guest_post(g, FACT_AGENT, "", 0, data);
}

static enum host_fact_kind kind_of_end(const char *shutdown)
{
    if (str_eq(shutdown, "guest-shutdown"))
        return FACT_SHUTDOWN;
    if (str_eq(shutdown, "guest-reset"))
        return FACT_REBOOT_STOPPED;
    return str_eq(shutdown, "guest-panic") ? FACT_CRASHED : FACT_LOST;
}

static char *reason_of_end(const char *shutdown, const struct child_exit *how)
{
    if (shutdown && str_starts(shutdown, "guest-"))
        return mem_strdup(shutdown);
    if (!how->known)
        return mem_printf("QEMU ended (%s)", shutdown ? shutdown : "nobody saw why");
    if (how->signal)
        return mem_printf("QEMU was killed by signal %d", how->signal);
    return mem_printf("QEMU ended with code %d (%s)", how->code, shutdown ? shutdown : "no event");
}

static void on_end(void *arg, const struct child_exit *how)
{
    struct guest *g = arg;
    struct qemu *q = g->qemu;
    pthread_mutex_lock(&q->lock);
    struct qmp *qmp = g->qmp;
    pthread_mutex_unlock(&q->lock);
    if (qmp) {
        qmp_drain(qmp);
        qmp_hangup(qmp, "QEMU has ended");
    }
    do_let_go(g);
    pthread_mutex_lock(&q->lock);
    g->gone = true;
    g->agent_alive = false;
    g->state = GUEST_ABSENT;
    bool wanted = g->killing;
    _cleanup_(freep) char *shutdown = g->shutdown ? mem_strdup(g->shutdown) : NULL;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    _cleanup_(freep) char *reason = reason_of_end(shutdown, how);
    log_info("event=ended vm=%s reason=\"%s\" wanted=%d", g->vm, reason, wanted);
    if (wanted)
        host_poke(q->host);
    else
        guest_post(g, kind_of_end(shutdown), reason, 0, NULL);
}
