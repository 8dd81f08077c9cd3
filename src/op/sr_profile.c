/*
 * sr_profile.c: how hard a repository's device is to be driven, for `cairnctl sr profile UUID`,
 * which measures it: where that is, and where the result is kept (sr_tune.h).
 */
#include <stdio.h>

#include "host/sr.h"
#include "op/world.h"

static struct err *find(const struct snap *s, const char *uuid, const struct rec_SR **ret)
{
    *ret = snap_SR_by_uuid(s, uuid);
    return *ret ? NULL : err_internal("there is no SR '%s'", uuid);
}

struct err *ops_sr_place(struct ops *ops, const char *uuid, struct buf *out)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_SR *sr;
    struct sr_ref ref;
    TRY(find(s, uuid, &sr));
    TRY(sr_ref_of(s, sr, true, &ref));
    const struct sr_kind *k = sr_kind(sr->type);
    _cleanup_(freep) char *folder = k && k->folder ? k->folder(ops->cfg.host, &ref) : NULL;
    if (!folder || folder[0] != '/')
        return err_internal("SR '%s' (%s) is not in a folder of this host: measure its device by "
                            "cairn-diskd profile DEVICE, and set other-config:io-split and "
                            "io-budget",
                            sr->name_label, sr->type);
    buf_printf(out, "%s\n", folder);
    return NULL;
}

struct tune {
    const char *uuid, *split, *budget;
};

static struct err *tune_txn(struct txn *t, void *arg)
{
    const struct tune *a = arg;
    const struct rec_SR *found = txn_SR_by_uuid(t, a->uuid);
    if (!found)
        return err_internal("there is no SR '%s'", a->uuid);
    struct rec_SR *sr = txn_edit_SR(t, found->row.ref);
    val_assign(&sr->other_config, val_with(sr->other_config, "io-split", a->split));
    val_assign(&sr->other_config, val_with(sr->other_config, "io-budget", a->budget));
    return NULL;
}

struct err *ops_sr_tune(struct ops *ops, const char *uuid, const char *split, const char *budget,
                        struct buf *out)
{
    uint64_t n;
    struct tune a = {uuid, split, budget};
    if (str_u64(view_of(split), 0, UINT32_MAX, &n) < 0 ||
        str_u64(view_of(budget), 0, INT64_MAX, &n) < 0)
        return err_internal("'%s' and '%s' are no numbers of bytes", split, budget);
    TRY(db_write(ops->cfg.db, "SR tune", tune_txn, &a));
    buf_puts(out, "kept on the repository; disks take it up when they are attached next\n");
    return NULL;
}
