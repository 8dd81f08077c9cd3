/*
 * vdi_cbt.c: changed-block tracking: VDI.enable_cbt, disable_cbt, data_destroy,
 * list_changed_blocks, and what other operations owe the logs; see vdi_cbt.h.
 *
 * While a log changes, the disk that writes it is paused: cairn-diskd closes it and opens what is
 * there afterwards. All changes among the logs of a disk and its snapshots happen with the disk
 * claimed.
 */
#include "op/vdi_cbt.h"

#include <stdio.h>

#include "base/log.h"
#include "codec/cbtlog.h"
#include "gen/msg.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"

#define CLAIM_TIME  (60 * USEC_PER_SEC)
#define CLAIM_PAUSE (20 * USEC_PER_MSEC)

/* ---- the disk and its repository, by the record ---- */

struct where {
    struct snap *s; /* what the rest is borrowed from */
    const struct rec_VDI *vdi;
    struct sr_ref sr;
};

static void where_done(struct where *w)
{
    snap_unref(w->s);
}

static struct err *where_of(struct op *op, const char *vdi, struct where *ret)
{
    const struct rec_SR *sr;
    ret->s = snap_get(op->db);
    TRY(need_VDI(ret->s, vdi, &ret->vdi));
    TRY(need_SR(ret->s, ret->vdi->SR, &sr));
    return sr_ref_of(ret->s, sr, true, &ret->sr);
}

struct err *cbt_need_data(const struct rec_VDI *vdi)
{
    if (vdi->type != VDI_TYPE_CBT_METADATA)
        return NULL;
    return err_VDI_INCOMPATIBLE_TYPE(vdi->row.ref, "cbt_metadata");
}

/* ---- what may record ---- */

static struct err *check_kind(struct op *op, const struct where *w)
{
    const struct rec_VDI *vdi = w->vdi;
    if (vdi->missing)
        return err_VDI_MISSING(vdi->SR, vdi->row.ref);
    if (vdi->is_a_snapshot)
        return err_OPERATION_NOT_ALLOWED("what changes is recorded of a disk, not of a snapshot");
    if (vdi->type != VDI_TYPE_USER && vdi->type != VDI_TYPE_SYSTEM)
        return err_VDI_INCOMPATIBLE_TYPE(vdi->row.ref, enum_vdi_type.values[vdi->type]);
    if (vdi->on_boot == ON_BOOT_RESET)
        return err_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION();
    _cleanup_(freep) char *at = sr_chain_location(w->sr.type, vdi->uuid, vdi->location);
    if (!at || !str_eq(at, vdi->location) || !sr_cbt_is_supported(op->host, &w->sr))
        return err_SR_OPERATION_NOT_SUPPORTED(vdi->SR);
    return NULL;
}

/* ---- steps ---- */

static struct err *pause_of(struct op *op, const char *vdi)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, vdi, &w));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_pause(op->host, &v, &w.sr, w.vdi->location);
}

static struct err *resume_of(struct op *op, const char *vdi)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, vdi, &w));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_resume(op->host, &v, &w.sr, w.vdi->location);
}

static struct err *pause_disk(struct op *op)
{
    return pause_of(op, op->self);
}

static struct err *resume_disk(struct op *op)
{
    return resume_of(op, op->self);
}

static struct err *begin_log(struct op *op)
{
    _cleanup_(where_done) struct where w = {0};
    struct sr_volume vol = {0};
    TRY(where_of(op, op->self, &w));
    TRY(sr_vdi_info(op->host, &w.sr, w.vdi->location, &vol));
    uint64_t size = vol.virtual_bytes;
    sr_volume_done(&vol);
    struct verb v = op_verb(op, VERB_TIME);
    return sr_cbt_begin(op->host, &v, &w.sr, w.vdi->uuid, size);
}

static struct err *end_log(struct op *op)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, op->self, &w));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_cbt_end(op->host, &v, &w.sr, w.vdi->uuid);
}

struct flag_arg {
    const char *ref;
    bool on;
};

static struct err *flag_txn(struct txn *t, void *arg)
{
    struct flag_arg *a = arg;
    struct rec_VDI *vdi = txn_edit_VDI(t, a->ref);
    if (vdi)
        vdi->cbt_enabled = a->on;
    return NULL;
}

static struct err *mark_on(struct op *op)
{
    struct flag_arg a = {op->self, true};
    return op_commit(op, "changed blocks are recorded", flag_txn, &a);
}

static struct err *mark_off(struct op *op)
{
    struct flag_arg a = {op->self, false};
    return op_commit(op, "changed blocks are not recorded", flag_txn, &a);
}

static const struct step enable_steps[] = {
    {"pause disk", pause_disk, resume_disk, .weight = 1},
    {"begin log", begin_log, end_log, .weight = 1},
    {"mark record", mark_on, NULL, .weight = 1, .commit = true},
    {"resume disk", resume_disk, NULL, .weight = 1},
};
const struct op_kind kind_cbt_enable = OP_KIND("VDI.enable_cbt", enable_steps);

static const struct step disable_steps[] = {
    {"pause disk", pause_disk, resume_disk, .weight = 1},
    {"mark record", mark_off, NULL, .weight = 1, .commit = true},
    {"end log", end_log, NULL, .weight = 1},
    {"resume disk", resume_disk, NULL, .weight = 1},
};
const struct op_kind kind_cbt_disable = OP_KIND("VDI.disable_cbt", disable_steps);

struct err *msg_VDI_enable_cbt(struct op *op, const struct args_VDI_enable_cbt *a, struct val **ret)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, op->self, &w));
    TRY(check_kind(op, &w));
    return w.vdi->cbt_enabled ? NULL : op_run_steps(op, "VDI.enable_cbt");
}

struct err *msg_VDI_disable_cbt(struct op *op, const struct args_VDI_disable_cbt *a,
                                struct val **ret)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, op->self, &w));
    TRY(check_kind(op, &w));
    return w.vdi->cbt_enabled ? op_run_steps(op, "VDI.disable_cbt") : NULL;
}

/* ---- VDI.data_destroy ---- */

static struct err *note_data(struct op *op)
{
    _cleanup_(where_done) struct where w = {0};
    struct sr_cbt_info info;
    TRY(where_of(op, op->self, &w));
    TRY(sr_cbt_info(op->host, &w.sr, w.vdi->uuid, &info));
    op_put_int(op, "log.bytes", (int64_t)info.file_bytes);
    return info.is_there ? NULL : err_VDI_NO_CBT_METADATA(op->self);
}

static struct err *metadata_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    struct rec_VDI *vdi = txn_edit_VDI(t, op->self);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", op->self);
    vdi->type = VDI_TYPE_CBT_METADATA;
    vdi->physical_utilisation = op_get_int(op, "log.bytes");
    chain_set_parent(vdi, "");
    return NULL;
}

static struct err *mark_metadata(struct op *op)
{
    return op_commit(op, "VDI has no data", metadata_txn, op);
}

static struct err *delete_data(struct op *op)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, op->self, &w));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_delete(op->host, &v, &w.sr, w.vdi->location);
}

static const struct step data_destroy_steps[] = {
    {"note log", note_data, NULL, .weight = 1},
    {"mark record", mark_metadata, NULL, .weight = 1, .commit = true},
    {"delete volume", delete_data, NULL, .weight = 8},
};
const struct op_kind kind_cbt_data_destroy = OP_KIND("VDI.data_destroy", data_destroy_steps);

struct err *msg_VDI_data_destroy(struct op *op, const struct args_VDI_data_destroy *a,
                                 struct val **ret)
{
    _cleanup_(where_done) struct where w = {0};
    TRY(where_of(op, op->self, &w));
    if (w.vdi->type == VDI_TYPE_CBT_METADATA)
        return NULL;
    if (!w.vdi->is_a_snapshot)
        return err_OPERATION_NOT_ALLOWED("only a snapshot can be without its data");
    if (!w.vdi->cbt_enabled)
        return err_VDI_NO_CBT_METADATA(op->self);
    if (val_count(w.vdi->VBDs) > 0)
        return err_VDI_IN_USE(op->self, "data_destroy");
    return op_run_steps(op, "VDI.data_destroy");
}

/* ---- VDI.list_changed_blocks ---- */

/* The log of a disk that is open for writing is not to be read. */
static struct err *check_closed(const struct snap *s, const struct rec_VDI *vdi)
{
    val_each (ref, vdi->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (vbd && vbd->currently_attached && vbd->mode == VBD_MODE_RW)
            return err_VDI_IN_USE(vdi->row.ref, "list_changed_blocks");
    }
    return NULL;
}

struct err *msg_VDI_list_changed_blocks(struct op *op, const struct args_VDI_list_changed_blocks *a,
                                        struct val **ret)
{
    _cleanup_(where_done) struct where w = {0};
    const struct rec_VDI *to;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 2 * CBTLOG_MAX);
    TRY(where_of(op, a->vdi_from, &w));
    TRY(need_VDI(w.s, a->vdi_to, &to));
    TRY(check_closed(w.s, to));
    TRY(sr_cbt_changes(op->host, &w.sr, w.vdi->uuid, to->uuid, &text));
    *ret = val_str(buf_str(&text));
    return NULL;
}

/* ---- what other operations owe the logs ---- */

/* Whose log, of a snapshot's disk, is behind it: all of them end there. */
static const struct rec_VDI *disk_of(const struct snap *s, const struct rec_VDI *vdi)
{
    const struct rec_VDI *disk = vdi->is_a_snapshot ? snap_VDI(s, vdi->snapshot_of) : NULL;
    return disk && disk->cbt_enabled ? disk : NULL;
}

static void key_of(const char *uuid, char out[48])
{
    snprintf(out, 48, "cbt.%s", uuid);
}

struct err *cbt_claim(struct op *op, const struct snap *s, const struct rec_VDI *vdi)
{
    const struct rec_VDI *disk = vdi->cbt_enabled ? disk_of(s, vdi) : NULL;
    usec_t end = clock_now() + CLAIM_TIME;
    char key[48];
    if (!disk)
        return NULL;
    for (;;) {
        struct err *e = chain_claim(op, disk->row.ref, VDI_OPERATIONS_SNAPSHOT);
        bool busy = err_is(e, "OTHER_OPERATION_IN_PROGRESS") && clock_now() < end;
        bool gone = err_is(e, "HANDLE_INVALID");
        if (e && !busy && !gone)
            return e;
        err_free(e);
        if (gone)
            return NULL;
        if (!busy)
            break;
        TRY(op_sleep(op, CLAIM_PAUSE));
    }
    key_of(vdi->uuid, key);
    op_put(op, key, disk->row.ref);
    return NULL;
}

struct err *cbt_forget(struct op *op, const struct snap *s, const struct sr_ref *sr,
                       const char *uuid)
{
    struct sr_cbt_info info;
    char key[48];
    if (!sr_cbt_is_supported(op->host, sr))
        return NULL;
    TRY(sr_cbt_info(op->host, sr, uuid, &info));
    key_of(uuid, key);
    const char *disk = op_get(op, key);
    bool pauses = *disk && snap_VDI(s, disk);
    if (!info.is_there) /* it has been done before, perhaps all but the last of it */
        return pauses ? resume_of(op, disk) : NULL;
    if (pauses)
        TRY(pause_of(op, disk));
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = sr_cbt_delete(op->host, &v, sr, uuid);
    return pauses ? err_first(e, resume_of(op, disk)) : e;
}

struct err *cbt_revert(struct op *op, const struct sr_ref *sr, const char *vdi,
                       const char *snapshot)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *disk = snap_VDI(s, vdi), *from = snap_VDI(s, snapshot);
    bool kept = false;
    if (!disk || !disk->cbt_enabled)
        return NULL;
    if (from && from->cbt_enabled) {
        struct verb v = op_verb(op, VERB_TIME);
        TRY(sr_cbt_revert(op->host, &v, sr, disk->uuid, from->uuid, &kept));
    }
    if (kept)
        return NULL;
    struct verb v = op_verb(op, VERB_TIME);
    TRY(sr_cbt_end(op->host, &v, sr, disk->uuid));
    struct flag_arg a = {vdi, false};
    return op_write(op, "changed blocks are not recorded", flag_txn, &a);
}

/* ---- a log that does not tell everything ---- */

static struct err *lost_txn(struct txn *t, void *arg)
{
    const struct rec_VDI *now = txn_VDI_by_uuid(t, arg);
    if (!now || !now->cbt_enabled)
        return NULL;
    struct rec_VDI *vdi = txn_edit_VDI(t, now->row.ref);
    vdi->cbt_enabled = false;
    _cleanup_(freep) char *body =
        mem_printf("The host ended while VDI '%s' was being written, so which blocks have changed "
                   "is not known "
                   "any more. Make a full backup, and enable the recording again.",
                   vdi->name_label);
    alert_add(t, "VDI_CBT_METADATA_INCONSISTENT", 3, CLS_VDI, vdi->uuid, body);
    return NULL;
}

static void lost_done(void *arg, struct err *e, uint64_t generation)
{
    if (e)
        log_warn("event=fact-lost vdi=%s", (const char *)arg);
    err_free(e);
    free(arg);
}

void cbt_lost(struct ops *ops, const char *uuid)
{
    db_write_async(ops->cfg.db, "changed blocks lost", lost_txn, mem_strdup(uuid), lost_done);
}
