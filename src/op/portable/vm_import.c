/*
 * vm_import.c: VMs from an archive, or from a description alone.
 *
 *     read description - make volumes - receive disks - add records (commit) - put asleep
 *     - note sizes
 *
 * Until the commit there are volumes without a VM, which undo takes away; the records come all at
 * once. A description alone (metadata) has no volumes to make.
 */
#include <stdio.h>
#include <string.h>

#include "op/portable/chunks.h"
#include "op/portable/foreign.h"
#include "op/portable/importing.h"
#include "op/portable/portable_impl.h"
#include "op/vm_ops.h"
#include "task/permit.h"

#define DISKS_MAX 255

/* ---- the plan in the context ---- */

const char *import_disk(struct op *op, size_t i, const char *what)
{
    char key[40];
    snprintf(key, sizeof(key), "disk.%zu.%s", i, what);
    return op_get(op, key);
}

static void put_disk(struct op *op, size_t i, const char *what, const char *value)
{
    char key[40];
    snprintf(key, sizeof(key), "disk.%zu.%s", i, what);
    op_put(op, key, value);
}

static size_t n_disks(struct op *op)
{
    return (size_t)op_get_int(op, "disks");
}

static bool is_planned(struct op *op, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(import_disk(op, i, "id"), id))
            return true;
    return false;
}

/* The disk that an object is about, a VBD or a VM with its memory image. */
static struct err *disk_behind(const struct ova_in *o, const struct ova_object *obj,
                               struct ova_object *ret, bool *ret_any)
{
    *ret_any = import_disk_of(o, obj, ret);
    if (!import_is_asleep(obj))
        return NULL;
    const char *id = ova_text(obj->rec, "suspend_VDI");
    *ret_any = ova_find(o, "VDI", id, ret);
    return *ret_any ? import_check_asleep(obj) : err_IMPORT_ERROR_FAILED_TO_FIND_OBJECT(id);
}

static struct err *plan_disks(struct op *op, const struct importing *im)
{
    size_t n = 0;
    for (size_t i = 0; i < ova_count(&im->ova); i++) {
        struct ova_object obj = ova_at(&im->ova, i), vdi;
        char uuid[UUID_SIZE];
        bool any;
        TRY(disk_behind(&im->ova, &obj, &vdi, &any));
        if (!any || is_planned(op, n, vdi.id))
            continue;
        if (n == DISKS_MAX)
            return import_error("the archive has more than %u disks", DISKS_MAX);
        str_uuid(uuid);
        put_disk(op, n, "id", vdi.id);
        put_disk(op, n, "uuid", uuid);
        put_disk(op, n++, "sr", im->in->sr);
    }
    op_put_int(op, "disks", (int64_t)n);
    return NULL;
}

/* ---- the description ---- */

static struct err *read_text(struct tar_in *t, struct buf *ret)
{
    const char *name;
    uint64_t size;
    TRY(tar_in_peek(t, &name, &size));
    if (!name || !str_eq(name, OVA_NAME))
        return err_IMPORT_ERROR_UNEXPECTED_FILE(OVA_NAME, name ? name : "");
    char *room = size <= OVA_MAX ? buf_reserve(ret, (size_t)size) : NULL;
    if (!room)
        return import_error("the description of the VMs is too long");
    TRY(tar_in_take(t, room, (size_t)size));
    buf_added(ret, (size_t)size);
    return NULL;
}

static struct err *check_vms(struct op *op, const struct importing *im)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    size_t n = 0;
    for (size_t i = 0; i < ova_count(&im->ova); i++) {
        struct ova_object obj = ova_at(&im->ova, i);
        if (!import_takes_vm(&obj))
            continue;
        const struct rec_VM *same = snap_VM_by_uuid(s, ova_text(obj.rec, "uuid"));
        if (im->in->restore && same)
            return err_DUPLICATE_VM(same->row.ref);
        TRY(permit_new(&op->caller, desc_classes[CLASS_VM], obj.rec));
        n++;
    }
    return n ? NULL : import_error("the archive has no VM");
}

static struct err *read_own(struct importing *im)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, OVA_MAX);
    TRY(read_text(im->tar, &text));
    return ova_parse((struct view){text.data, text.size}, &im->ova);
}

static struct err *read_description(struct op *op)
{
    struct importing *im = op_lent(op);
    TRY(im->foreign->whole.io.begin(&im->foreign->whole));
    if (!im->in->metadata)
        TRY(foreign_describe(im->foreign, im->tar, &im->ova));
    if (im->foreign->kind != FOREIGN_NONE)
        scratch_plan(op, im->in->sr);
    else
        TRY(read_own(im));
    TRY(check_vms(op, im));
    return im->in->metadata ? NULL : plan_disks(op, im);
}

/* ---- volumes ---- */

static struct err *make_volume(struct op *op, const struct importing *im, size_t i)
{
    struct ova_object vdi;
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    if (!ova_find(&im->ova, "VDI", import_disk(op, i, "id"), &vdi))
        return err_IMPORT_ERROR_FAILED_TO_FIND_OBJECT(import_disk(op, i, "id"));
    int type = desc_enum_value(&enum_vdi_type, ova_text(vdi.rec, "type"));
    const struct val *oc = val_map_get(vdi.rec, "other_config");
    struct vdi_make m = {.sr = import_disk(op, i, "sr"),
                         .uuid = import_disk(op, i, "uuid"),
                         .name = ova_text(vdi.rec, "name_label"),
                         .description = ova_text(vdi.rec, "name_description"),
                         .type = type < 0 ? VDI_TYPE_USER : (enum vdi_type)type,
                         .size_bytes = (uint64_t)ova_int(vdi.rec, "virtual_size"),
                         .other_config = oc && val_kind(oc) == VAL_MAP ? oc : NULL,
                         .sharable = ova_bool(vdi.rec, "sharable")};
    TRY(portable_error(op, vdi_make(op, &m, &ref), m.sr));
    put_disk(op, i, "vdi", ref);
    return NULL;
}

static struct err *make_volumes(struct op *op)
{
    const struct importing *im = op_lent(op);
    for (size_t i = 0; i < n_disks(op); i++) {
        TRY(op_check(op));
        TRY(make_volume(op, im, i));
    }
    return NULL;
}

static struct err *unmake_volumes(struct op *op)
{
    struct err *e = NULL;
    for (size_t i = 0; i < n_disks(op); i++)
        e = err_first(e, vdi_unmake(op, import_disk(op, i, "uuid"), import_disk(op, i, "sr")));
    return err_first(e, scratch_undo(op));
}

/* ---- disks ---- */

struct receiving {
    struct op *op;
    struct importing *im;
    struct chunks_in chunks;
    uint64_t total, done; /* bytes of all disks, of those that are there */
    bool *received;
};

static void moved(void *arg, uint64_t at)
{
    struct receiving *r = arg;
    if (r->total)
        op_progress(r->op, (double)(r->done + at) / (double)r->total);
}

static uint64_t exported_size(const struct importing *im, const char *id)
{
    struct ova_object vdi;
    bool found = ova_find(&im->ova, "VDI", id, &vdi);
    return found ? (uint64_t)ova_int(vdi.rec, "virtual_size") : 0;
}

static struct err *receive_disk(struct receiving *r, size_t i)
{
    const char *id = import_disk(r->op, i, "id");
    const char *vdi = import_disk(r->op, i, "vdi");
    _cleanup_(diskio_freep) struct diskio *disk = NULL;
    TRY(portable_attach(r->op, vdi, 0, false, &disk));
    struct disk_in in = {.op = r->op, .disk = disk, .size = diskio_size(disk), .vdi = vdi};
    in.expected = r->im->in->force ? 0 : exported_size(r->im, id);
    TRY(chunks_receive(&r->chunks, id, &in));
    TRY(diskio_flush(disk));
    r->received[i] = true;
    r->done += in.size;
    diskio_freep(&disk);
    return portable_detach(r->op);
}

/* Which disk a member belongs to. */
static struct err *disk_of_member(struct receiving *r, const char *name, size_t *ret)
{
    size_t n = strcspn(name, "/");
    for (size_t i = 0; i < n_disks(r->op); i++) {
        const char *id = import_disk(r->op, i, "id");
        if (strlen(id) == n && strncmp(id, name, n) == 0 && name[n] == '/' && !r->received[i]) {
            *ret = i;
            return NULL;
        }
    }
    return err_IMPORT_ERROR_UNEXPECTED_FILE("Ref:…/00000000", name);
}

static struct err *receive_all(struct receiving *r)
{
    for (;;) {
        const char *name;
        uint64_t size;
        size_t i = 0;
        TRY(tar_in_peek(r->im->tar, &name, &size));
        if (!name)
            break;
        if (str_eq(name, "checksum.xml")) { /* the end of very old archives */
            tar_in_skip(r->im->tar);
            continue;
        }
        TRY(disk_of_member(r, name, &i));
        TRY(receive_disk(r, i));
    }
    for (size_t i = 0; i < n_disks(r->op); i++)
        if (!r->received[i] && !r->im->in->force)
            return err_IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND();
    return NULL;
}

static uint64_t total_size(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    uint64_t total = 0;
    for (size_t i = 0; i < n_disks(op); i++) {
        const struct rec_VDI *vdi = snap_VDI(s, import_disk(op, i, "vdi"));
        total += vdi ? (uint64_t)vdi->virtual_size : 0;
    }
    return total;
}

static struct err *receive_own(struct op *op, struct importing *im)
{
    struct receiving r = {.op = op, .im = im, .total = total_size(op)};
    r.received = mem_new_n(bool, n_disks(op) + 1);
    r.chunks =
        (struct chunks_in){.tar = im->tar, .force = im->in->force, .moved = moved, .moved_arg = &r};
    struct err *e = receive_all(&r);
    chunks_done(&r.chunks);
    free(r.received);
    return e;
}

static struct err *receive_disks(struct op *op)
{
    struct importing *im = op_lent(op);
    if (im->in->metadata)
        return NULL;
    bool own = im->foreign->kind == FOREIGN_NONE;
    struct err *e = own ? receive_own(op, im) : foreign_receive_disks(op, im->foreign);
    return err_first(portable_error(op, e, im->in->sr), portable_detach(op));
}

/* ---- records ---- */

static struct err *add_records(struct op *op)
{
    return op_commit(op, "import VMs", import_add_txn, op);
}

static struct err *note_sizes(struct op *op)
{
    for (size_t i = 0; i < n_disks(op); i++)
        TRY(vdi_note_size(op, import_disk(op, i, "vdi")));
    return NULL;
}

static const struct step import_steps[] = {
    {"read description", read_description, NULL, .weight = 0},
    {"make volumes", make_volumes, unmake_volumes, .weight = 1},
    {"receive disks", receive_disks, portable_detach, .weight = 20},
    {"add records", add_records, NULL, .weight = 1, .commit = true},
    {"put asleep", import_put_asleep, NULL, .weight = 1},
    {"note sizes", note_sizes, NULL, .weight = 1},
};
const struct op_kind kind_vm_import = OP_KIND("VM.import", import_steps);

/* ---- looking only ---- */

/* All of it in a transaction that is given up. */
struct trial {
    struct op *op;
    struct err *e;
};

static struct err *try_txn(struct txn *t, void *arg)
{
    struct trial *trial = arg;
    trial->e = import_add_txn(t, trial->op);
    return err_internal("only looked");
}

static struct err *look(struct op *op)
{
    struct trial trial = {.op = op};
    TRY(read_description(op));
    err_free(op_write(op, "look at an import", try_txn, &trial));
    return trial.e;
}

/* ---- the operation ---- */

static struct err *run(struct op *op, const struct vm_in *in, struct importing *im)
{
    op_lend(op, im);
    return in->dry_run ? look(op) : op_run_steps(op, "VM.import");
}

static struct err *choose_sr(struct op *op, const char *wanted, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_pool *pool = snap_pool(s, ops_of(op)->pool_ref);
    const char *ref = wanted ? wanted : pool ? pool->default_SR : REF_NULL;
    const struct rec_SR *sr = snap_SR(s, ref);
    if (!sr)
        return wanted ? err_HANDLE_INVALID("SR", ref) : err_DEFAULT_SR_NOT_FOUND(ref);
    if (str_eq(sr->content_type, "iso"))
        return err_SR_OPERATION_NOT_SUPPORTED(ref);
    *ret = rstr_new(ref);
    return NULL;
}

struct err *vm_import(struct op *op, const struct vm_in *in, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *sr = NULL;
    struct vm_in with_sr = *in;
    if (!in->metadata) {
        TRY(choose_sr(op, in->sr, &sr));
        TRY(op_claim(op, CLASS_SR, sr, STORAGE_OPERATIONS_VDI_CREATE));
        with_sr.sr = sr;
    }
    _cleanup_(foreign_done) struct foreign f;
    foreign_init(&f, &with_sr);
    _cleanup_(tar_in_freep) struct tar_in *t = tar_in_new(&f.whole.io);
    struct importing im = {.in = &with_sr, .tar = t, .foreign = &f, .vms = val_set()};
    struct err *e = run(op, in, &im);
    ova_in_done(&im.ova);
    if (e || in->dry_run)
        val_unref(im.vms);
    if (!e)
        *ret = in->dry_run ? val_set() : im.vms;
    return e;
}
