/*
 * lvhd.c: LVHD.enable_thin_provisioning: a repository whose volumes were made full makes new ones
 * that grow (host/sr_thin.h). Those that are there stay as they are.
 */
#include <stdio.h>

#include "base/log.h"
#include "gen/msg.h"
#include "host/sr_thin.h"
#include "op/world.h"

#undef LOG_MODULE
#define LOG_MODULE "op"

struct thin_arg {
    const char *sr;
    int64_t initial, quantum;
};

static void keep_full(struct txn *t, const char *ref)
{
    char size[24];
    struct rec_VDI *vdi = txn_edit_VDI(t, ref);
    snprintf(size, sizeof(size), "%lld", (long long)vdi->virtual_size);
    val_assign(&vdi->sm_config, val_with(vdi->sm_config, "initial_allocation", size));
}

static struct val *config_for(const struct rec_SR *sr, int64_t initial, int64_t quantum)
{
    struct sr_thin thin;
    char text[24];
    _cleanup_(val_unrefp) struct val *on = val_with(sr->sm_config, "allocation", "xlvhd");
    snprintf(text, sizeof(text), "%lld", (long long)initial);
    _cleanup_(val_unrefp) struct val *half = val_with(on, "initial_allocation", text);
    snprintf(text, sizeof(text), "%lld", (long long)quantum);
    _cleanup_(val_unrefp) struct val *asked = val_with(half, "allocation_quantum", text);
    sr_thin_of(asked, NULL, (uint64_t)sr->physical_size, &thin);
    return sr_thin_note(asked, &thin);
}

static struct err *thin_txn(struct txn *t, void *arg)
{
    struct thin_arg *a = arg;
    struct rec_SR *sr = txn_edit_SR(t, a->sr);
    if (!sr)
        return err_HANDLE_INVALID("SR", a->sr);
    val_assign(&sr->sm_config, config_for(sr, a->initial, a->quantum));
    val_each (ref, sr->VDIs)
        keep_full(t, ref);
    return NULL;
}

static struct err *need_number(const char *name, int64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)n);
    return n < 0 ? err_INVALID_VALUE(name, text) : NULL;
}

/* Those in force. */
static void note_values(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr = snap_SR(s, ref);
    if (sr)
        log_info("event=thin sr=%s initial_allocation=%s allocation_quantum=%s", sr->uuid,
                 val_map_str(sr->sm_config, "initial_allocation", ""),
                 val_map_str(sr->sm_config, "allocation_quantum", ""));
}

struct err *msg_LVHD_enable_thin_provisioning(struct op *op,
                                              const struct args_LVHD_enable_thin_provisioning *a,
                                              struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr;
    if (!str_eq(a->host, ops_of(op)->host_ref))
        return err_HANDLE_INVALID("host", a->host);
    TRY(need_SR(s, a->SR, &sr));
    if (!str_starts(sr->type, "lvm"))
        return err_SR_OPERATION_NOT_SUPPORTED(sr->row.ref);
    TRY(need_number("initial_allocation", a->initial_allocation));
    TRY(need_number("allocation_quantum", a->allocation_quantum));
    TRY(op_claim(op, CLASS_SR, a->SR, STORAGE_OPERATIONS_UPDATE));
    struct thin_arg arg = {a->SR, a->initial_allocation, a->allocation_quantum};
    TRY(op_write(op, "SR made thin", thin_txn, &arg));
    note_values(op, a->SR);
    *ret = val_str("");
    return NULL;
}
