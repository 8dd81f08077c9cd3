/*
 * sr_space.c: how full the repositories of files are: looked at every minute, for nobody tells.
 *
 *     less than other-config:low-space percent left (5)  ──> alert, once
 *     a quarter more than that                           ──> the alert goes
 *
 * A thread of its own: a folder on a server that has gone answers late, or never. What is asked of
 * servers by cairn-diskd costs a process, and is asked less often. A repository that changes while
 * it is looked at is left for the next time: it may have been unmounted meanwhile.
 */
#include <string.h>

#include "base/log.h"
#include "base/vec.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define LOW_SPACE     "SR_LOW_SPACE"
#define LOW_PERCENT   5
#define PARTS         256 /* a change of less than that part of the whole is not written down */
#define REMOTE_ROUNDS 5   /* servers are asked every so often */

struct sr_space {
    VEC(const char *) low; /* rstr: repositories of which was told that little is left */
    unsigned round;
};

struct sr_space *sr_space_new(void)
{
    return mem_new(struct sr_space);
}

void sr_space_free(struct sr_space *sp)
{
    if (!sp)
        return;
    vec_each (ref, &sp->low)
        rstr_unref(*ref);
    vec_done(&sp->low);
    free(sp);
}

static bool is_told(const struct sr_space *sp, const char *sr)
{
    for (size_t i = 0; i < sp->low.n; i++)
        if (str_eq(sp->low.v[i], sr))
            return true;
    return false;
}

static void note_told(struct sr_space *sp, const char *sr, bool told)
{
    for (size_t i = 0; i < sp->low.n; i++) {
        if (!str_eq(sp->low.v[i], sr))
            continue;
        if (!told) {
            rstr_unref(sp->low.v[i]);
            vec_remove(&sp->low, i);
        }
        return;
    }
    if (told)
        vec_push(&sp->low, rstr_new(sr));
}

/* ---- what is found, into the records ---- */

struct found {
    const char *sr;
    struct sr_stat stat;
    uint64_t since; /* generation before the storage was asked */
    bool told;      /* in: before; out: now */
};

static uint64_t low_bytes(const struct rec_SR *sr, const struct sr_stat *stat)
{
    uint64_t percent = LOW_PERCENT;
    if (str_u64(view_of(val_map_str(sr->other_config, "low-space", "")), 0, 100, &percent) < 0)
        percent = LOW_PERCENT;
    return stat->size_bytes / 100 * percent;
}

static uint64_t left_bytes(const struct sr_stat *stat)
{
    return stat->used_bytes < stat->size_bytes ? stat->size_bytes - stat->used_bytes : 0;
}

static const char *find_alert(struct txn *t, const char *sr_uuid)
{
    txn_each (row, t, CLASS_message) {
        const struct rec_message *m = rec_message(row);
        if (str_eq(m->name, LOW_SPACE) && str_eq(m->obj_uuid, sr_uuid))
            return row->ref;
    }
    return NULL;
}

static void drop_alerts(struct txn *t, const char *sr_uuid)
{
    for (const char *ref; (ref = find_alert(t, sr_uuid));)
        txn_delete(t, CLASS_message, ref);
}

/* One who has been told and has put the alert away is not told again; one that was told by a
 * predecessor of this process neither, if the alert is still there. */
static void tell(struct txn *t, const struct rec_SR *sr, struct found *f)
{
    uint64_t low = low_bytes(sr, &f->stat), left = left_bytes(&f->stat);
    f->told = f->told || find_alert(t, sr->uuid);
    if (!f->told && left < low) {
        sr_low_alert(t, sr, left, f->stat.size_bytes);
        f->told = true;
    } else if (f->told && left >= low + low / 4) {
        drop_alerts(t, sr->uuid);
        f->told = false;
    }
}

static bool is_far(int64_t a, uint64_t b, uint64_t whole)
{
    uint64_t was = a > 0 ? (uint64_t)a : 0;
    return (was > b ? was - b : b - was) > whole / PARTS;
}

static struct err *note_txn(struct txn *t, void *arg)
{
    struct found *f = arg;
    const struct rec_SR *sr = txn_SR(t, f->sr);
    if (!sr || sr->row.modified > f->since)
        return NULL;
    tell(t, sr, f);
    if (!is_far(sr->physical_utilisation, f->stat.used_bytes, f->stat.size_bytes) &&
        (uint64_t)sr->physical_size == f->stat.size_bytes)
        return NULL;
    struct rec_SR *now = txn_edit_SR(t, f->sr);
    now->physical_size = (int64_t)f->stat.size_bytes;
    now->physical_utilisation = (int64_t)f->stat.used_bytes;
    return NULL;
}

/* ---- looking ---- */

static bool is_being_detached(const struct rec_SR *sr)
{
    for (size_t i = 0; i < val_count(sr->current_operations); i++)
        if (str_eq(val_str_at(sr->current_operations, i),
                   enum_storage_operations.values[STORAGE_OPERATIONS_UNPLUG]))
            return true;
    return false;
}

/* Of files that grow; *ret_remote: only cairn-diskd can tell. */
static bool is_of_files(struct ops *ops, const struct rec_SR *sr, const struct sr_ref *ref,
                        bool *ret_remote)
{
    const struct sr_kind *kind = sr_kind(sr->type);
    if (!kind || !kind->folder || !kind->location_of)
        return false;
    _cleanup_(freep) char *folder = kind->folder(ops->cfg.host, ref);
    *ret_remote = folder && strstr(folder, "://");
    return folder;
}

static struct err *look_at(struct ops *ops, const struct snap *s, const struct rec_SR *sr)
{
    struct found f = {.sr = sr->row.ref, .since = snap_generation(s)};
    struct sr_ref ref;
    bool remote = false;
    struct err *e = sr_ref_of(s, sr, true, &ref);
    bool attached = !e && !is_being_detached(sr);
    err_free(e);
    if (!attached || !is_of_files(ops, sr, &ref, &remote) ||
        (remote && ops->space->round % REMOTE_ROUNDS))
        return NULL;
    TRY(sr_stat(ops->cfg.host, &ref, &f.stat));
    f.told = is_told(ops->space, f.sr);
    TRY(db_write(ops->cfg.db, "look at an SR", note_txn, &f));
    note_told(ops->space, f.sr, f.told);
    return NULL;
}

/* One that does not answer keeps the others from nothing. */
struct err *ops_space(struct ops *ops)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    struct err *e = NULL;
    snap_each (row, s, CLASS_SR)
        e = err_first(e, look_at(ops, s, rec_SR(row)));
    ops->space->round++;
    return e;
}
