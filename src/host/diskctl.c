/*
 * diskctl.c: cairn-diskd processes, one for each owner of disks, and what is said to them.
 *
 *     <run_dir>/disk/<owner>/   ctl.sock  <device>.vu  <device>.nbd  disks.json  pid
 *
 * disks.json says what the owner should have; it is written before diskd is told, so whoever finds
 * a dead diskd, we or our successor, can start another and tell it the same again. Processes live
 * on the mon loop (child.h): when one dies uncalled for, it is started again there and told
 * everything in one go (disk_revive.c), while its guest's requests wait. Verbs run on operation
 * threads and speak over a connection of their own. The protocol is docs/diskd.md.
 *
 * Mutex: of the list of sets and their disks; a leaf.
 */
#include "host/diskctl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/disk_format.h"
#include "host/disk_room.h"
#include "host/lvm_group.h"
#include "host/lvm_unit.h"
#include "host/mon.h"
#include "host/proc.h"

#undef LOG_MODULE
#define LOG_MODULE "disk"

#define START_WAIT (10 * USEC_PER_SEC)
#define END_WAIT   (30 * USEC_PER_SEC)
#define DRAIN_WAIT (2 * USEC_PER_SEC)
#define POLL_US    20000
#define MODULES    8 /* kinds of storage on servers at most */
#define TOOL_WAIT  (60 * USEC_PER_SEC)
#define RECORD_MAX (1U << 20)

static char *set_path(const struct diskctl *dc, const char *owner, const char *name)
{
    return mem_printf("%s/disk/%s/%s", dc->host->run_dir, owner, name);
}

/* --- sets: found, made, written down, forgotten --- */

static struct disk_set *find_locked(struct diskctl *dc, const char *owner)
{
    vec_each (s, &dc->sets)
        if (str_eq((*s)->owner, owner))
            return *s;
    return NULL;
}

struct disk_set *diskctl_find(struct diskctl *dc, const char *owner)
{
    pthread_mutex_lock(&dc->lock);
    struct disk_set *s = find_locked(dc, owner);
    if (s)
        s->refs++;
    pthread_mutex_unlock(&dc->lock);
    return s;
}

void disk_set_unrefp(struct disk_set **slot)
{
    struct disk_set *s = steal(slot);
    if (!s)
        return;
    pthread_mutex_lock(&s->dc->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->dc->lock);
    if (!last)
        return;
    boot_free(s->record);
    free(s->owner);
    free(s);
}

/* With a reference. */
static struct disk_set *find_or_make(struct diskctl *dc, const char *owner)
{
    pthread_mutex_lock(&dc->lock);
    struct disk_set *s = find_locked(dc, owner);
    if (!s) {
        s = mem_new(struct disk_set);
        s->dc = dc;
        s->refs = 1;
        s->owner = mem_strdup(owner);
        s->record = boot_new(owner, owner);
        s->record->memory_bytes = 1 << 20; /* what a record must have; it is no guest's */
        vec_push(&dc->sets, s);
    }
    s->refs++;
    pthread_mutex_unlock(&dc->lock);
    return s;
}

struct err *diskctl_write_record(struct disk_set *s)
{
    struct diskctl *dc = s->dc;
    _cleanup_(freep) char *path = set_path(dc, s->owner, "disks.json");
    pthread_mutex_lock(&dc->lock);
    _cleanup_(freep) char *json = s->is_gone ? NULL : boot_format(s->record);
    pthread_mutex_unlock(&dc->lock);
    int r = json ? fd_replace_file(path, json, strlen(json), 0600) : 0;
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

/* --- processes, on the mon loop --- */

void diskctl_post(struct disk_set *s, enum host_fact_kind kind, const char *reason)
{
    struct host_fact f = {.kind = kind, .vm = s->owner, .reason = reason};
    host_post(s->dc->host, &f);
}

static void on_end(void *arg, const struct child_exit *how)
{
    struct disk_set *s = arg;
    child_free(s->child);
    s->child = NULL;
    if (s->renewing && !s->ending) {
        s->renewing = false;
        disk_revive(s);
    } else if (!s->ending) {
        char reason[64];
        snprintf(reason, sizeof(reason), "cairn-diskd died (code %d, signal %d)", how->code,
                 how->signal);
        log_warn("event=died owner=%s code=%d signal=%d", s->owner, how->code, how->signal);
        diskctl_post(s, FACT_DISK_ERROR, reason);
        disk_revive(s);
    } else if (how->known && how->code != 0 && !s->killed) {
        log_warn("event=%s owner=%s code=%d signal=%d",
                 how->signal == SIGKILL ? "killed" : "ended-badly", s->owner, how->code,
                 how->signal);
    }
    host_poke(s->dc->host);
}

struct err *diskctl_spawn(struct disk_set *s)
{
    const struct host *h = s->dc->host;
    _cleanup_(freep) char *socket = set_path(s->dc, s->owner, "ctl.sock");
    _cleanup_(freep) char *control = mem_printf("--control=%s", socket);
    _cleanup_(freep) char *log = mem_printf("%s/diskd.log", h->log_dir);
    _cleanup_(freep) char *locks = mem_printf("--locks=%s/disk-locks", h->run_dir);
    char with[MODULES][32];
    const char *argv[4 + MODULES] = {s->dc->program, control, locks};
    unsigned n = 3;
    for (unsigned i = 0; i < MODULES && disk_schemes[i]; i++) {
        if (!(s->needs & 1u << i))
            continue;
        snprintf(with[i], sizeof(with[i]), "--with=%s", disk_schemes[i]);
        argv[n++] = with[i];
    }
    struct child_spec spec = {.argv = argv, .log_file = log, .new_session = true};
    (void)unlink(socket);
    s->spawned = clock_now();
    s->killed = false;
    s->has = s->needs;
    pthread_mutex_lock(&s->dc->lock);
    s->roused = false;
    pthread_mutex_unlock(&s->dc->lock);
    return child_spawn(h->mon, &spec, on_end, s, &s->child);
}

struct errand {
    struct disk_set *s;
    pid_t pid;
    uint64_t start;
    int sig;
    bool alive;
    struct err *e;
};

static bool is_gone(struct disk_set *s)
{
    pthread_mutex_lock(&s->dc->lock);
    bool gone = s->is_gone;
    pthread_mutex_unlock(&s->dc->lock);
    return gone;
}

/* A process cannot be given more modules: another takes its place, while its guest waits. */
static void do_spawn(void *arg)
{
    struct errand *d = arg;
    struct disk_set *s = d->s;
    if (is_gone(s)) {
        d->e = err_errno(ENOENT, "the disks of '%s' have been detached", s->owner);
        return;
    }
    s->ending = false;
    if (!s->child && !s->renewing)
        d->e = diskctl_spawn(s);
    d->alive = s->child && !(s->needs & ~s->has);
    if (d->alive || d->e || s->renewing || !s->child)
        return;
    s->renewing = true;
    (void)child_kill(s->child, SIGKILL);
}

static void do_adopt(void *arg)
{
    struct errand *d = arg;
    d->e = child_adopt(d->s->dc->host->mon, d->pid, d->start, on_end, d->s, &d->s->child);
}

static void do_revive(void *arg)
{
    struct errand *d = arg;
    disk_revive(d->s);
}

static void do_end(void *arg)
{
    struct errand *d = arg;
    d->s->ending = true;
    disk_revive_stop(d->s);
    if (d->s->child && d->sig) {
        d->s->killed = true;
        (void)child_kill(d->s->child, d->sig);
    }
    d->alive = d->s->child != NULL;
}

static void do_forget(void *arg)
{
    struct errand *d = arg;
    d->s->ending = true;
    disk_revive_stop(d->s);
    child_free(d->s->child);
    d->s->child = NULL;
}

static struct err *ensure_running(struct diskctl *dc, const struct verb *v, struct disk_set *s)
{
    _cleanup_(freep) char *dir = set_path(dc, s->owner, ".");
    int r = fd_mkdirs(dir, 0700);
    if (r < 0)
        return err_errno(-r, "cannot make '%s'", dir);
    struct errand d = {.s = s};
    usec_t end = clock_now() + START_WAIT;
    for (mon_run(dc->host->mon, do_spawn, &d); !d.alive && clock_now() < end;
         mon_run(dc->host->mon, do_spawn, &d)) {
        TRY(d.e);
        usleep(POLL_US / 10);
    }
    _cleanup_(freep) char *socket = set_path(dc, s->owner, "ctl.sock");
    for (;;) {
        _cleanup_(fd_closep) int fd = fd_connect_unix(socket);
        if (fd >= 0)
            return NULL;
        TRY(verb_check(v, "starting cairn-diskd"));
        if (clock_now() > end)
            return err_errno(ETIMEDOUT, "'%s' does not answer; see its log", dc->program);
        usleep(POLL_US / 10);
    }
}

struct err *diskctl_need_modules(struct diskctl *dc, const struct verb *v, const char *owner,
                                 const char *path)
{
    _cleanup_(disk_set_unrefp) struct disk_set *s = diskctl_find(dc, owner);
    unsigned needs = disk_needs(path);
    if (!s || !(needs & ~s->needs))
        return NULL;
    s->needs |= needs;
    return ensure_running(dc, v, s);
}

/* --- the protocol --- */

static struct err *talk(struct diskctl *dc, const char *owner, const struct val *request,
                        struct val **ret)
{
    _cleanup_(freep) char *socket = set_path(dc, owner, "ctl.sock");
    return disk_request(socket, request, ret);
}

static bool is_pending(const struct val *map)
{
    return map && val_kind(map) == VAL_MAP && val_map_get(map, "pending");
}

/* What may not be done twice is not asked for twice, it may have ended meanwhile: what became of it
 * is. Everything else can be repeated. */
static void ask_after(struct val **request)
{
    if (!str_eq(val_map_str(*request, "op", ""), "create"))
        return;
    struct val *job = val_map();
    val_put_str(job, "op", "job");
    val_put_str(job, "path", val_map_str(*request, "path", ""));
    val_put_str(job, "of", "create");
    val_unref(*request);
    *request = job;
}

struct err *diskctl_complete(struct diskctl *dc, const struct verb *v, const char *owner,
                             struct val *request_taken, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *request = request_taken;
    for (;;) {
        _cleanup_(val_unrefp) struct val *answer = NULL;
        TRY(talk(dc, owner, request, &answer));
        const struct val *result = val_map_get(answer, "result");
        if (!is_pending(answer) && !is_pending(result)) {
            if (ret)
                *ret = val_ref(result ? result : val_empty_map());
            return NULL;
        }
        TRY(verb_check(v, "waiting for storage"));
        ask_after(&request);
        usleep(POLL_US);
    }
}

/* --- verbs --- */

static struct err *dc_attach(void *data, const struct verb *v, const char *owner,
                             const struct boot_disk *d)
{
    struct diskctl *dc = data;
    _cleanup_(disk_set_unrefp) struct disk_set *s = find_or_make(dc, owner);
    s->needs |= disk_needs(d->image.path);
    TRY(ensure_running(dc, v, s));
    pthread_mutex_lock(&dc->lock);
    boot_set_disk(s->record, d);
    pthread_mutex_unlock(&dc->lock);
    TRY(diskctl_write_record(s));
    TRY(diskctl_complete(dc, v, owner, disk_attach_request(dc, owner, d), NULL));
    TRY(disk_open(s, v, d->device));
    if (d->image.quantum)
        disk_room_look(dc);
    return NULL;
}

/* Asks it to quit; one that has just been started does not listen yet, so again. */
static void quit_process(struct diskctl *dc, struct disk_set *s)
{
    _cleanup_(val_unrefp) struct val *quit = val_map();
    val_put_str(quit, "op", "quit");
    val_put_bool(quit, "force", true);
    usec_t end = clock_now() + END_WAIT;
    struct errand d = {.s = s};
    mon_run(dc->host->mon, do_end, &d); /* also marks its end as wanted */
    for (bool told = false; d.alive; mon_run(dc->host->mon, do_end, &d)) {
        struct err *e = told ? NULL : talk(dc, s->owner, quit, NULL);
        told = !e;
        err_free(e);
        usleep(2000);
        if (clock_now() > end && !d.sig) {
            log_warn("event=does-not-quit owner=%s action=kill", s->owner);
            d.sig = SIGKILL;
        }
    }
}

/* Who still has it cannot start a process for it any more. */
static void list_remove(struct diskctl *dc, struct disk_set *s)
{
    struct disk_set *listed = NULL;
    pthread_mutex_lock(&dc->lock);
    s->is_gone = true;
    for (size_t i = 0; !listed && i < dc->sets.n; i++) {
        if (dc->sets.v[i] != s)
            continue;
        listed = s;
        vec_remove(&dc->sets, i);
    }
    pthread_mutex_unlock(&dc->lock);
    disk_set_unrefp(&listed);
}

static struct err *end_process(struct diskctl *dc, struct disk_set *s)
{
    quit_process(dc, s);
    list_remove(dc, s);
    _cleanup_(freep) char *dir = mem_printf("%s/disk/%s", dc->host->run_dir, s->owner);
    int r = fd_remove_tree(dir);
    return r < 0 ? err_errno(-r, "cannot remove '%s'", dir) : NULL;
}

static void kill_process(struct diskctl *dc, struct disk_set *s)
{
    struct errand d = {.s = s, .sig = SIGKILL};
    log_warn("event=does-not-drain owner=%s action=kill", s->owner);
    for (mon_run(dc->host->mon, do_end, &d); d.alive; mon_run(dc->host->mon, do_end, &d))
        usleep(2000);
}

/* An absent disk or a dead process is what detaching wants. */
static struct err *close_and_detach(struct diskctl *dc, const struct verb *v, struct disk_set *s,
                                    unsigned device)
{
    struct err *e = diskctl_complete(dc, v, s->owner, diskctl_request("deactivate", device), NULL);
    int en = e ? err_get_errno(e) : 0;
    if (en == ENOENT || en == ECONNREFUSED) {
        err_free(e);
        return NULL;
    }
    struct val *detach = diskctl_request("detach", device);
    val_put_bool(detach, "force", true);
    return err_first(e, diskctl_complete(dc, v, s->owner, detach, NULL));
}

/* How many are left; one that is forgotten already is fine. */
static size_t forget_disk(struct diskctl *dc, struct disk_set *s, unsigned device)
{
    pthread_mutex_lock(&dc->lock);
    boot_del_disk(s->record, device);
    size_t left = s->record->n_disks;
    pthread_mutex_unlock(&dc->lock);
    return left;
}

/* Nobody makes its volume larger meanwhile, nor behind it: it is forgotten before it is let go. */
static struct err *detach_one(struct diskctl *dc, const struct verb *v, struct disk_set *s,
                              unsigned device)
{
    pthread_mutex_lock(&dc->lock);
    const struct boot_disk *d = boot_disk(s->record, device);
    _cleanup_(freep) char *path = mem_strdup(d ? d->image.path : "");
    pthread_mutex_unlock(&dc->lock);
    disk_hold(dc, path);
    struct err *e = close_and_detach(dc, v, s, device);
    if (!e)
        (void)forget_disk(dc, s, device);
    disk_let_go(dc, path);
    return e;
}

/* As detach_one(), but where storage does not answer, or takes nothing more, the process is ended:
 * nobody waits for its requests any more, and what was answered is safe. */
static struct err *detach_or_kill(struct diskctl *dc, const struct verb *v, struct disk_set *s,
                                  unsigned device)
{
    struct verb soon = *v;
    for (usec_t end = verb_deadline(v);;) {
        usec_t next = clock_now() + DRAIN_WAIT;
        soon.deadline = next < end ? next : end;
        struct err *e = detach_one(dc, &soon, s, device);
        if (!e || err_get_errno(e) != ETIMEDOUT || clock_now() >= end)
            return e;
        err_free(e);
        unsigned first;
        char code[24];
        if (disk_waits(dc, s->owner, &first, code, sizeof(code)))
            kill_process(dc, s);
    }
}

static struct err *dc_detach(void *data, const struct verb *v, const char *owner, unsigned device)
{
    struct diskctl *dc = data;
    _cleanup_(disk_set_unrefp) struct disk_set *s = diskctl_find(dc, owner);
    if (!s || !boot_disk(s->record, device))
        return NULL;
    TRY(detach_one(dc, v, s, device));
    return forget_disk(dc, s, device) ? diskctl_write_record(s) : end_process(dc, s);
}

static struct err *dc_detach_all(void *data, const struct verb *v, const char *owner)
{
    struct diskctl *dc = data;
    _cleanup_(disk_set_unrefp) struct disk_set *s = diskctl_find(dc, owner);
    if (!s) {
        _cleanup_(freep) char *dir = mem_printf("%s/disk/%s", dc->host->run_dir, owner);
        int r = fd_remove_tree(dir);
        return r < 0 ? err_errno(-r, "cannot remove '%s'", dir) : NULL;
    }
    struct err *e = NULL;
    while (!e && s->record->n_disks) {
        unsigned device = s->record->disks[0].device;
        e = detach_or_kill(dc, v, s, device);
        (void)forget_disk(dc, s, device);
    }
    return err_first(e, end_process(dc, s));
}

static struct err *dc_list(void *data, char ***ret, size_t *ret_n)
{
    struct diskctl *dc = data;
    VEC(char *) names = {0};
    pthread_mutex_lock(&dc->lock);
    vec_each (s, &dc->sets)
        vec_push(&names, mem_strdup((*s)->owner));
    pthread_mutex_unlock(&dc->lock);
    *ret = names.v;
    *ret_n = names.n;
    return NULL;
}

static char *dc_nbd_path(void *data, const char *owner, unsigned device)
{
    struct diskctl *dc = data;
    pthread_mutex_lock(&dc->lock);
    struct disk_set *s = find_locked(dc, owner);
    struct boot_disk *d = s ? boot_disk(s->record, device) : NULL;
    bool nbd = d && !disk_is_vhost(d);
    pthread_mutex_unlock(&dc->lock);
    return nbd ? host_disk_path(dc->host, owner, device, "nbd") : NULL;
}

/* --- images that nobody uses --- */

static struct err *run_tool(struct diskctl *dc, const char *const *argv, struct val **ret)
{
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    _cleanup_(buf_done) struct buf out, complaint;
    buf_init(&out, 65536);
    buf_init(&complaint, 4096);
    struct err *e = child_run(&spec, TOOL_WAIT, &out, &complaint, &how);
    _cleanup_(freep) char *text = buf_take(&complaint);
    TRY(e);
    if (how.code != 0) {
        text[strcspn(text, "\n")] = '\0';
        bool full = strstr(text, "No space") || strstr(text, "ENOSPC");
        return err_errno(full ? ENOSPC : EIO, "%s", text[0] ? text : "cairn-diskd failed");
    }
    if (json_parse(view_of(buf_str(&out)), ret) < 0 || val_kind(*ret) != VAL_MAP)
        return err_internal("'%s %s' printed no JSON object", dc->program, argv[1]);
    return NULL;
}

static struct err *dc_create(void *data, const struct verb *v, const char *path, const char *format,
                             uint64_t size)
{
    struct diskctl *dc = data;
    _cleanup_(freep) char *format_arg = mem_printf("--format=%s", format);
    _cleanup_(freep) char *size_arg = mem_printf("--size=%llu", (unsigned long long)size);
    const char *argv[] = {dc->program, "create", path, format_arg, size_arg, NULL};
    _cleanup_(val_unrefp) struct val *result = NULL;
    return run_tool(dc, argv, &result);
}

static int64_t number(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : -1;
}

/* The images of a chain stand side by side: in a folder, or in a volume group. */
static struct err *beside(const char *path, const char *name, char **ret)
{
    const char *slash = strrchr(path, '/');
    int r = 0;
    if (!name[0] || strchr(name, '/') || !slash)
        *ret = mem_strdup("");
    else if (lvm_group_is_path(path))
        r = lvm_group_beside(path, name, ret);
    else
        *ret = mem_printf("%.*s/%s", (int)(slash - path), path, name);
    return r < 0 ? err_errno(-r, "its parent '%s' cannot be found", name) : NULL;
}

struct err *diskctl_info(void *data, const struct verb *v, const char *path, struct disk_info *ret)
{
    struct diskctl *dc = data;
    const char *format = disk_format_of(path);
    /* Of what the name says to be VHD the footer says of which kind; the content of others is a
     * guest's, and not to be looked at for that. */
    bool is_certain = format && (!str_eq(format, "vhd") || lvm_group_is_path(path));
    _cleanup_(freep) char *format_arg = is_certain ? mem_printf("--format=%s", format) : NULL;
    const char *argv[] = {dc->program, "info", path, format_arg, NULL};
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(run_tool(dc, argv, &result));
    int64_t size = number(result, "size"), blocks = number(result, "blocks_allocated");
    int64_t end = number(result, "data_end");
    int64_t allocated = number(result, "allocated"), block = number(result, "block_size");
    const struct val *hidden = val_map_get(result, "hidden");
    _cleanup_(freep) char *parent = NULL;
    if (size < 0)
        return err_internal("cairn-diskd tells no size of '%s'", path);
    TRY(beside(path, val_map_str(result, "parent_name", ""), &parent));
    *ret = (struct disk_info){
        .image = {.vdi = mem_strdup(val_map_str(result, "uuid", "")),
                  .path = mem_strdup(path),
                  .format = mem_strdup(val_map_str(result, "format", "raw")),
                  .size_bytes = (uint64_t)size,
                  .parents = mem_strdup("")},
        .parent = steal(&parent),
        .hidden = hidden && val_kind(hidden) == VAL_BOOL && val_get_bool(hidden),
        .is_written = blocks != 0,
        .allocated_bytes = allocated > 0 ? (uint64_t)allocated : 0,
        .data_end = end > 0 ? (uint64_t)end : 0,
        .own_bytes = blocks >= 0 && block > 0 ? (uint64_t)blocks * (uint64_t)block
                     : allocated > 0          ? (uint64_t)allocated
                                              : 0,
    };
    return NULL;
}

struct err *diskctl_alone(struct diskctl *dc, const struct verb *v, struct val *request_taken)
{
    char owner[UUID_SIZE];
    str_uuid(owner);
    _cleanup_(disk_set_unrefp) struct disk_set *s = find_or_make(dc, owner);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 65536);
    json_put_val(&text, request_taken);
    s->needs = disk_needs(buf_str(&text));
    struct err *e = ensure_running(dc, v, s);
    if (e)
        val_unref(request_taken);
    else
        e = diskctl_complete(dc, v, owner, request_taken, NULL);
    return err_first(e, end_process(dc, s));
}

static struct err *dc_resize(void *data, const struct verb *v, const char *path, const char *format,
                             uint64_t size)
{
    struct val *request = val_map();
    val_put_str(request, "op", "resize");
    val_put_str(request, "path", path);
    val_put_str(request, "format", format);
    val_put_int(request, "size", (int64_t)size);
    return diskctl_alone(data, v, request);
}

/* --- what runs already --- */

static struct err *load_record(struct diskctl *dc, const char *owner, struct boot **ret)
{
    _cleanup_(freep) char *path = set_path(dc, owner, "disks.json");
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, RECORD_MAX);
    int r = fd_read_file(path, RECORD_MAX, &text);
    return r < 0 ? err_errno(-r, "cannot read '%s'", path) : boot_parse(buf_str(&text), ret);
}

/* Our predecessor may have died between starting it and telling it of its disks. One that knows of
 * some has been told of all. */
static bool is_told(struct diskctl *dc, const struct disk_set *s)
{
    _cleanup_(val_unrefp) struct val *query = val_map();
    _cleanup_(val_unrefp) struct val *answer = NULL;
    val_put_str(query, "op", "query");
    _cleanup_(err_freep) struct err *e = talk(dc, s->owner, query, &answer);
    const struct val *result = e ? NULL : val_map_get(answer, "result");
    const struct val *disks =
        result && val_kind(result) == VAL_MAP ? val_map_get(result, "disks") : NULL;
    return !s->record->n_disks || (disks && val_count(disks) > 0);
}

static void take_up(struct diskctl *dc, const char *owner)
{
    _cleanup_(boot_freep) struct boot *record = NULL;
    err_free(load_record(dc, owner, &record));
    _cleanup_(disk_set_unrefp) struct disk_set *s = find_or_make(dc, owner);
    if (record) {
        boot_free(s->record);
        s->record = steal(&record);
        disk_look_again(s);
    }
    s->needs = s->has = disk_needs_of(s);
    _cleanup_(freep) char *socket = set_path(dc, owner, "ctl.sock");
    _cleanup_(freep) char *control = mem_printf("--control=%s", socket);
    struct errand d = {.s = s};
    bool found = proc_find(control, &d.pid, &d.start);
    log_info("event=found owner=%s disks=%zu pid=%d", owner, s->record->n_disks,
             found ? (int)d.pid : 0);
    if (found)
        mon_run(dc->host->mon, do_adopt, &d);
    if (!found || d.e || !is_told(dc, s))
        mon_run(dc->host->mon, do_revive, &d);
    err_free(d.e);
}

static struct err *dc_start(void *data)
{
    struct diskctl *dc = data;
    _cleanup_(freep) char *dir = mem_printf("%s/disk", dc->host->run_dir);
    char **owners = NULL;
    size_t n = 0;
    TRY(proc_folders(dir, &owners, &n));
    for (size_t i = 0; i < n; i++) {
        take_up(dc, owners[i]);
        free(owners[i]);
    }
    free(owners);
    return disk_room_start(dc);
}

static void dc_free(void *data)
{
    struct diskctl *dc = data;
    disk_room_stop(dc);
    while (dc->sets.n) {
        struct errand d = {.s = dc->sets.v[0]};
        mon_run(dc->host->mon, do_forget, &d);
        list_remove(dc, d.s);
    }
    vec_done(&dc->sets);
    disk_chain_done(dc);
    pthread_mutex_destroy(&dc->lock);
    free(dc->program);
    free(dc);
}

static const struct disk_ops diskctl_ops = {
    .attach = dc_attach,
    .detach = dc_detach,
    .detach_all = dc_detach_all,
    .list = dc_list,
    .sample = disk_sample,
    .waits = disk_waits,
    .settled = disk_settled,
    .again = disk_retry_all,
    .nbd_path = dc_nbd_path,
    .create = dc_create,
    .resize = dc_resize,
    .info = diskctl_info,
    .child = disk_child,
    .at = disk_at,
    .set_hidden = disk_set_hidden,
    .set_parent = disk_set_parent,
    .name_parent = disk_name_parent,
    .coalesce = disk_coalesce,
    .pause = disk_pause,
    .resume = disk_resume,
    .reopen = disk_reopen,
    .fill = disk_fill,
    .mirror = disk_mirror,
    .mirror_finish = disk_mirror_finish,
    .mirror_drop = disk_mirror_drop,
    .copy_out = disk_copy_out,
    .switch_to = disk_switch,
    .go_on = disk_go_on,
    .start = dc_start,
    .free = dc_free,
};

struct err *diskctl_new(struct host *h)
{
    _cleanup_(freep) char *locks = mem_printf("%s/disk-locks", h->run_dir);
    int r = fd_mkdirs(locks, 0700);
    if (r < 0)
        return err_errno(-r, "cannot make '%s'", locks);
    struct diskctl *dc = mem_new(struct diskctl);
    dc->host = h;
    dc->program = h->diskd ? mem_strdup(h->diskd) : proc_beside("cairn-diskd");
    pthread_mutex_init(&dc->lock, NULL);
    lvm_unit_start(dc->program, h->run_dir);
    h->disks = &diskctl_ops;
    h->disks_data = dc;
    return NULL;
}
