/*
 * vm_export.c: a VM as an archive: its description, then its disks one after the other.
 *
 * One step sends it all; a disk is attached for as long as it is sent. The VM is claimed with
 * `export`, its disks as if they were copied. Descriptions alone claim the VM with metadata_export.
 */
#include "op/portable/chunks.h"
#include "op/portable/ova.h"
#include "op/portable/portable_impl.h"
#include "op/portable/tar.h"
#include "op/vm_ops.h"

/* ---- what is sent ---- */

static struct ova_out *collect(const struct snap *s, const struct vm_out *what)
{
    struct ova_out *o = ova_out_new(s);
    struct ova_options opt = {.keep_state = what->keep_state || what->metadata,
                              .no_disks = what->no_disks,
                              .no_nics = what->no_nics,
                              .with_snapshots = what->snapshots};
    const struct rec_VM *one = what->vm ? snap_VM(s, what->vm) : NULL;
    if (one)
        ova_out_add_vm(o, one, &opt);
    if (what->vm)
        return o;
    snap_each (row, s, CLASS_VM) {
        const struct rec_VM *vm = rec_VM(row);
        if (!vm->is_default_template && (!vm->is_control_domain || what->with_control_domains) &&
            (!vm->is_a_snapshot || what->snapshots))
            ova_out_add_vm(o, vm, &opt);
    }
    return o;
}

static struct err *send_description(struct ova_out *o, struct tar_out *t)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, OVA_MAX);
    TRY(ova_out_write(o, &b));
    return tar_out_put(t, OVA_NAME, b.data, b.size);
}

/* ---- disks ---- */

struct sending {
    struct op *op;
    struct tar_out *tar;
    const struct portable_io *io;
    uint64_t total, done; /* bytes of all disks */
};

static void moved(void *arg, uint64_t size)
{
    struct sending *s = arg;
    s->done += size;
    if (s->total)
        op_progress(s->op, (double)s->done / (double)s->total);
}

static struct err *send_disk(struct sending *s, const char *vdi, const char *id)
{
    _cleanup_(diskio_freep) struct diskio *disk = NULL;
    TRY(portable_attach(s->op, vdi, 0, true, &disk));
    TRY(chunks_send(s->tar, id,
                    &(struct disk_out){.op = s->op,
                                       .disk = disk,
                                       .size = diskio_size(disk),
                                       .io = s->io,
                                       .moved = moved,
                                       .moved_arg = s}));
    diskio_freep(&disk);
    return portable_detach(s->op);
}

static struct err *send_disks(struct sending *s, const struct snap *snap, struct ova_out *o)
{
    const struct val *disks = ova_out_disks(o);
    val_each (ref, disks)
        s->total += (uint64_t)snap_VDI(snap, ref)->virtual_size;
    val_each (ref, disks)
        TRY(send_disk(s, ref, ova_out_id(o, ref)));
    return NULL;
}

static struct err *send_archive(struct op *op, const struct vm_out *what)
{
    static const enum tar_compression filters[] = {
        [PORTABLE_PLAIN] = TAR_PLAIN, [PORTABLE_GZIP] = TAR_GZIP, [PORTABLE_ZSTD] = TAR_ZSTD};
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(ova_out_freep) struct ova_out *o = collect(s, what);
    _cleanup_(tar_out_freep) struct tar_out *t = NULL;
    TRY(what->io->begin(what->io->arg));
    TRY(tar_out_new(what->io, filters[what->compression], &t));
    TRY(send_description(o, t));
    struct sending sending = {.op = op, .tar = t, .io = what->io};
    if (!what->metadata)
        TRY(send_disks(&sending, s, o));
    return tar_out_end(t);
}

static struct err *send(struct op *op)
{
    struct err *e = portable_error(op, send_archive(op, op_lent(op)), "");
    return err_first(e, portable_detach(op));
}

static const struct step export_steps[] = {
    {"send archive", send, portable_detach, .weight = 1},
    {"keep", step_keep, NULL, .weight = 0, .commit = true},
};
const struct op_kind kind_vm_export = OP_KIND("VM.export", export_steps);

/* ---- claims ---- */

/* The disks of a suspended VM count as used by it, so they cannot be copied; but the VM is claimed
 * and stays asleep, and whoever else uses them is seen here. */
static struct err *claim_in_use(struct op *op, const struct snap *s, const char *ref)
{
    TRY(op_claim(op, CLASS_VDI, ref, VDI_OPERATIONS_CLONE));
    val_each (vbd, snap_VDI(s, ref)->VBDs)
        if (snap_VBD(s, vbd) && snap_VBD(s, vbd)->currently_attached)
            return err_VDI_IN_USE(ref, "export");
    return NULL;
}

/* The disk of a suspended VM that travels, or its memory. */
static bool is_asleep(const struct snap *s, const struct ova_out *o, const char *ref)
{
    const struct rec_VDI *vdi = snap_VDI(s, ref);
    val_each (name, vdi->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, name);
        const struct rec_VM *vm = vbd && ova_out_id(o, vbd->VM) ? snap_VM(s, vbd->VM) : NULL;
        if (vm && vm->power_state == VM_POWER_STATE_SUSPENDED)
            return true;
    }
    return vdi->type == VDI_TYPE_SUSPEND;
}

static struct err *claim_disks(struct op *op, const struct snap *s, const struct vm_out *what)
{
    _cleanup_(ova_out_freep) struct ova_out *o = collect(s, what);
    const struct val *disks = ova_out_disks(o);
    val_each (ref, disks)
        TRY(is_asleep(s, o, ref) ? claim_in_use(op, s, ref)
                                 : op_claim(op, CLASS_VDI, ref, VDI_OPERATIONS_COPY));
    return NULL;
}

static struct err *claim_vms(struct op *op, const struct snap *s, const struct vm_out *what)
{
    int operation = what->metadata ? VM_OPERATIONS_METADATA_EXPORT : VM_OPERATIONS_EXPORT;
    TRY(op_claim(op, CLASS_VM, what->vm, operation));
    const struct rec_VM *vm = what->snapshots ? snap_VM(s, what->vm) : NULL;
    for (size_t i = 0; vm && i < val_count(vm->snapshots); i++)
        TRY(op_claim(op, CLASS_VM, val_str_at(vm->snapshots, i), operation));
    return NULL;
}

struct err *vm_export(struct op *op, const struct vm_out *what)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (what->vm)
        TRY(claim_vms(op, s, what));
    if (!what->metadata)
        TRY(claim_disks(op, s, what));
    op_lend(op, (void *)what);
    return op_run_steps(op, "VM.export");
}
