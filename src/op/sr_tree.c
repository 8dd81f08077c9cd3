/*
 * sr_tree.c: the disks of a repository as a tree, for `cairnctl sr tree UUID`.
 *
 *     SR 5c1e… 'Local storage' (ext)
 *     base copy 8f0a…  8.0 GiB, takes 1.2 GiB
 *       disk 'system' 77aa…  8.0 GiB, takes 34.0 MiB: VM 'web' (Running), read cache 93 %
 *       snapshot 'system' 91bc…  8.0 GiB, takes 2.1 MiB: VM snapshot 'before the update'
 *     next: coalesce 8f0a… in 25 s
 */
#include <math.h>
#include <stdio.h>

#include "metrics/metrics.h"
#include "op/read_cache.h"
#include "op/tidy_work.h"
#include "op/vdi_chain.h"

static void put_size(struct buf *out, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t u = 0;
    for (; n >= 1024 && u + 1 < ARRAY_LEN(units); u++)
        n /= 1024;
    buf_printf(out, u ? "%.1f %s" : "%.0f %s", n, units[u]);
}

static const char *what_is(const struct rec_VDI *vdi)
{
    return !vdi->managed ? "base copy" : vdi->is_a_snapshot ? "snapshot" : "disk";
}

static void put_users(const struct snap *s, const struct rec_VDI *vdi, struct buf *out)
{
    const char *separator = ": ";
    val_each (ref, vdi->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct rec_VM *vm = vbd ? snap_VM(s, vbd->VM) : NULL;
        if (!vm)
            continue;
        if (vm->is_a_snapshot)
            buf_printf(out, "%sVM snapshot '%s'", separator, vm->name_label);
        else
            buf_printf(out, "%sVM '%s' (%s)", separator, vm->name_label,
                       enum_vm_power_state.values[vm->power_state]);
        separator = ", ";
    }
}

/* How much of what its VM read lately was in the host's memory, or why nothing can be. */
static void put_cache(struct ops *ops, const struct snap *s, const struct rec_VDI *vdi,
                      struct buf *out)
{
    val_each (ref, vdi->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct rec_VM *vm = vbd && vbd->currently_attached ? snap_VM(s, vbd->VM) : NULL;
        if (!vm)
            continue;
        const char *why = read_cache_why_not(s, vdi, vbd->mode == VBD_MODE_RW && !vdi->read_only);
        _cleanup_(freep) char *name = mem_printf("vbd_%s_read_cache_hits", vbd->device);
        double hits = (double)NAN;
        if (why)
            buf_printf(out, ", no read cache (%s)", why);
        else if (metrics_query(ops->metrics, OWNER_VM, vm->uuid, name, &hits) < 0 || isnan(hits))
            buf_puts(out, ", read cache");
        else
            buf_printf(out, ", read cache %.0f %%", 100 * hits);
        return;
    }
}

static void put_vdi(struct ops *ops, const struct snap *s, const struct rec_VDI *vdi,
                    unsigned level, struct buf *out)
{
    buf_printf(out, "%*s%s ", (int)(2 * level), "", what_is(vdi));
    if (vdi->managed)
        buf_printf(out, "'%s' ", vdi->name_label);
    buf_printf(out, "%s  ", vdi->uuid);
    put_size(out, vdi->virtual_size);
    buf_puts(out, ", takes ");
    put_size(out, vdi->physical_utilisation);
    if (vdi->missing)
        buf_puts(out, ", missing");
    put_users(s, vdi, out);
    put_cache(ops, s, vdi, out);
    buf_putc(out, '\n');
}

/* Everything that is built on `below` ("": on nothing that is there). */
static void put_level(struct ops *ops, const struct snap *s, const struct rec_SR *sr,
                      const char *below, unsigned level, struct buf *out)
{
    if (level > 2 * SR_CHAIN_MAX)
        return;
    val_each (ref, sr->VDIs) {
        const struct rec_VDI *vdi = snap_VDI(s, ref);
        const struct rec_VDI *parent = vdi ? chain_parent(s, vdi) : NULL;
        if (!vdi || !str_eq(parent ? parent->uuid : "", below))
            continue;
        put_vdi(ops, s, vdi, level, out);
        put_level(ops, s, sr, vdi->uuid, level + 1, out);
    }
}

/* What is being done at the moment; false: nothing. */
static bool put_work(const struct snap *s, const struct rec_SR *sr, struct buf *out)
{
    snap_each (row, s, CLASS_op) {
        const struct rec_op *o = rec_op(row);
        const struct rec_VDI *vdi = snap_VDI(s, o->object);
        if (!str_starts(o->kind, "tidy ") || !vdi || !str_eq(vdi->SR, sr->row.ref))
            continue;
        buf_printf(out, "now: %s %s\n", o->kind + sizeof("tidy ") - 1, vdi->uuid);
        return true;
    }
    return false;
}

static void put_next(struct ops *ops, const struct snap *s, const struct rec_SR *sr,
                     struct buf *out)
{
    struct tidy_step step;
    tidy_next(s, sr, &step);
    if (step.action == TIDY_NOTHING) {
        buf_puts(out, "next: nothing to do\n");
        return;
    }
    buf_printf(out, "next: %s %s", tidy_action_name(step.action), step.vdi->uuid);
    int64_t wait_s = tidy_wait_s(ops, sr, &step);
    _cleanup_(freep) char *failure = tidy_failure(ops, sr, &step);
    if (step.why)
        buf_printf(out, ", waits: %s\n", step.why);
    else if (tidy_is_stopped(ops, sr->row.ref))
        buf_puts(out, ", waits: the SR is being detached\n");
    else if (failure)
        buf_printf(out, " in %lld s again, it failed: %s\n", (long long)wait_s, failure);
    else
        buf_printf(out, " in %lld s\n", (long long)wait_s);
}

struct err *ops_sr_tree(struct ops *ops, const char *uuid, struct buf *out)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_SR *sr = snap_SR_by_uuid(s, uuid);
    if (!sr)
        return err_internal("there is no SR '%s'", uuid);
    buf_printf(out, "SR %s '%s' (%s)\n", sr->uuid, sr->name_label, sr->type);
    put_level(ops, s, sr, "", 0, out);
    if (!put_work(s, sr, out))
        put_next(ops, s, sr, out);
    return NULL;
}
