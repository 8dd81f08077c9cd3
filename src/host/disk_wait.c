/*
 * disk_wait.c: disks whose requests wait for their repository, and guests that do not find the way
 * back to a cairn-diskd that was started again.
 *
 * What `stats` and `query` say of a disk (docs/diskd.md): "parked" is null or {requests, since,
 * code}; "silent" that a client is connected and says nothing. disk_sample() has them looked at
 * whenever an owner's counters are read, on the thread of chores; each change is one fact.
 */
#include "host/disk_room.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/str.h"

#define ANSWER_S    2
#define SETTLE_WAIT (3 * USEC_PER_SEC)
#define POLL_US     20000

static const char *code_of(const struct val *disk)
{
    const struct val *parked = val_map_get(disk, "parked");
    return parked && val_kind(parked) == VAL_MAP ? val_map_str(parked, "code", "EIO") : "";
}

static bool device_of(const struct val *disk, unsigned *ret)
{
    uint64_t n;
    if (val_kind(disk) != VAL_MAP ||
        str_u64(view_of(val_map_str(disk, "id", "")), 0, BOOT_DISKS_MAX - 1, &n) < 0)
        return false;
    *ret = (unsigned)n;
    return true;
}

static void tell(struct diskctl *dc, enum host_fact_kind kind, const char *owner,
                 const char *reason)
{
    struct host_fact f = {.kind = kind, .vm = owner, .reason = reason};
    host_post(dc->host, &f);
}

/* With the lock held: the set of an owner may go at any time otherwise. */
static struct disk_set *find_locked(struct diskctl *dc, const char *owner)
{
    vec_each (s, &dc->sets)
        if (str_eq((*s)->owner, owner))
            return *s;
    return NULL;
}

/* True when it was otherwise until now. */
static bool turns(struct diskctl *dc, const char *owner, unsigned device, bool waits)
{
    uint8_t bit = (uint8_t)(1u << device % 8);
    pthread_mutex_lock(&dc->lock);
    struct disk_set *s = find_locked(dc, owner);
    bool changed = s && !(s->waiting[device / 8] & bit) == waits;
    if (changed)
        s->waiting[device / 8] ^= bit;
    pthread_mutex_unlock(&dc->lock);
    return changed;
}

/* Once for each process. */
static bool is_roused_now(struct diskctl *dc, const char *owner)
{
    pthread_mutex_lock(&dc->lock);
    struct disk_set *s = find_locked(dc, owner);
    bool now = s && !s->roused;
    if (s)
        s->roused = true;
    pthread_mutex_unlock(&dc->lock);
    return now;
}

static bool is_silent(const struct val *disk)
{
    const struct val *v = val_map_get(disk, "silent");
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

/* Who waits for his volume to grow, which happens now, need not worry anybody. */
static bool is_about_to_grow(struct diskctl *dc, const char *owner, unsigned device)
{
    pthread_mutex_lock(&dc->lock);
    const struct disk_set *s = find_locked(dc, owner);
    bool comes = s && disk_room_comes(s, device);
    pthread_mutex_unlock(&dc->lock);
    return comes;
}

void disk_notice(struct diskctl *dc, const char *owner, const struct val *disks)
{
    const struct host *h = dc->host;
    bool halted = h->hv->is_halted && h->hv->is_halted(h->hv_data, owner);
    bool silent = false;
    for (size_t i = 0; i < val_count(disks); i++) {
        const struct val *disk = val_at(disks, i);
        unsigned device;
        char reason[64];
        if (!device_of(disk, &device))
            continue;
        const char *code = code_of(disk);
        if (str_eq(code, "ENOSPC") && is_about_to_grow(dc, owner, device))
            code = "";
        snprintf(reason, sizeof(reason), "%u %s", device, code);
        silent |= is_silent(disk);
        if (halted && !*code) /* this cairn-diskd was started since, and has not been asked */
            continue;
        if (turns(dc, owner, device, *code != '\0'))
            tell(dc, *code ? FACT_DISK_WAITS : FACT_DISK_GOES_ON, owner, reason);
    }
    if (silent && is_roused_now(dc, owner))
        tell(dc, FACT_DISK_SILENT, owner, "");
}

static struct err *query(struct diskctl *dc, const char *owner, struct val **ret)
{
    _cleanup_(freep) char *socket = mem_printf("%s/disk/%s/ctl.sock", dc->host->run_dir, owner);
    _cleanup_(val_unrefp) struct val *request = val_map();
    val_put_str(request, "op", "query");
    return disk_request_within(socket, request, ANSWER_S, ret);
}

static const struct val *result_of(const struct val *answer, const char *key)
{
    const struct val *result = val_map_get(answer, "result");
    return result && val_kind(result) == VAL_MAP ? val_map_get(result, key) : NULL;
}

static int64_t number(const struct val *v)
{
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : 0;
}

static bool is_settled(const struct val *disk)
{
    return val_kind(disk) != VAL_MAP || (str_eq(val_map_str(disk, "state", ""), "active") &&
                                         !*code_of(disk) && !number(val_map_get(disk, "left")));
}

static bool all_settled(const struct val *answer)
{
    const struct val *disks = result_of(answer, "disks");
    bool settled = true;
    for (size_t i = 0; disks && val_kind(disks) == VAL_SET && i < val_count(disks); i++)
        settled &= is_settled(val_at(disks, i));
    return settled;
}

static bool has_disks(struct diskctl *dc, const char *owner)
{
    pthread_mutex_lock(&dc->lock);
    bool has = find_locked(dc, owner);
    pthread_mutex_unlock(&dc->lock);
    return has;
}

struct err *disk_settled(void *data, const struct verb *v, const char *owner, int64_t *ret_pid)
{
    struct diskctl *dc = data;
    usec_t end = clock_now() + SETTLE_WAIT;
    *ret_pid = 0;
    while (has_disks(dc, owner)) {
        _cleanup_(val_unrefp) struct val *answer = NULL;
        _cleanup_(err_freep) struct err *e = query(dc, owner, &answer);
        *ret_pid = e ? 0 : number(result_of(answer, "pid"));
        if (!e && all_settled(answer))
            return NULL;
        if (clock_now() > end)
            return err_errno(EAGAIN, "requests of a disk of guest '%s' wait for storage", owner);
        TRY(verb_check(v, "waiting for the disks"));
        usleep(POLL_US);
    }
    return NULL;
}

/* Its image is being opened, or that has just failed and is tried again. */
static bool cannot_open(const struct val *disk)
{
    const char *state = val_map_str(disk, "state", "");
    const struct val *error = val_map_get(disk, "error");
    return str_eq(state, "activating") ||
           (str_eq(state, "attached") && error && val_kind(error) == VAL_MAP);
}

bool disk_waits(void *data, const char *owner, unsigned *ret_device, char *ret_code, size_t size)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    _cleanup_(err_freep) struct err *e = query(data, owner, &answer);
    const struct val *disks = e ? NULL : result_of(answer, "disks");
    for (size_t i = 0; disks && val_kind(disks) == VAL_SET && i < val_count(disks); i++) {
        const struct val *disk = val_at(disks, i);
        if (!device_of(disk, ret_device))
            continue;
        bool closed = cannot_open(disk);
        if (!*code_of(disk) && !closed)
            continue;
        snprintf(ret_code, size, "%s", closed ? "ETIMEDOUT" : code_of(disk));
        return true;
    }
    return false;
}

void disk_retry_all(void *data, const char *owner)
{
    struct diskctl *dc = data;
    _cleanup_(freep) char *socket = mem_printf("%s/disk/%s/ctl.sock", dc->host->run_dir, owner);
    _cleanup_(val_unrefp) struct val *request = val_map();
    val_put_str(request, "op", "retry");
    err_free(disk_request_within(socket, request, ANSWER_S, NULL));
}
