/* foreign_vm.c: a machine in a file of another system's; see foreign.h. The operation's thread. */
#include <stdio.h>
#include <string.h>

#include "op/portable/foreign.h"
#include "op/portable/vhd_chain.h"

#define SLACK (64u << 20) /* beyond the disk's size, where the length of a file is not known */

void foreign_init(struct foreign *f, const struct vm_in *in)
{
    *f = (struct foreign){.in = in};
    ahead_init(&f->whole, in->io);
}

void foreign_done(struct foreign *f)
{
    ahead_done(&f->whole);
    ahead_done(&f->member);
    ovf_done(&f->ovf);
}

/* ---- members ---- */

static struct err *member_begin(void *arg)
{
    return NULL;
}

static struct err *member_read(void *arg, void *p, size_t size, size_t *ret_size)
{
    return tar_in_read(arg, p, size, ret_size);
}

/* The member that was peeked, as a stream of its own. */
static void open_member(struct foreign *f)
{
    ahead_done(&f->member);
    f->member_io = (struct portable_io){.arg = f->tar, .begin = member_begin, .read = member_read};
    ahead_init(&f->member, &f->member_io);
}

/* ---- what it is ---- */

static struct err *describe(const struct ova_vm *vm, struct ova_in *ret)
{
    return ova_adopt(foreign_document(vm), ret);
}

static struct err *describe_disk(struct foreign *f, struct ova_in *ret)
{
    return describe(
        &(struct ova_vm){
            .name = f->in->name ? f->in->name : "Imported VM",
            .description = "",
            .sizes = &f->size,
            .n_disks = 1,
        },
        ret);
}

static struct err *describe_single(struct foreign *f, const char *first, size_t size,
                                   struct ova_in *ret)
{
    struct err *e = foreign_measure(f->disk, first, size, f->in->length, &f->size);
    f->kind = FOREIGN_DISK;
    return e ? e : describe_disk(f, ret);
}

static struct err *describe_chain(struct foreign *f, uint64_t length, struct ova_in *ret)
{
    const char *first;
    size_t size;
    open_member(f);
    TRY(ahead_look(&f->member, &first, &size));
    TRY(foreign_look(first, size, &f->disk));
    if (f->disk != DISK_VHD)
        f->disk = DISK_RAW; /* of fixed size */
    TRY(foreign_measure(f->disk, first, size, length, &f->size));
    f->kind = FOREIGN_CHAIN;
    return describe_disk(f, ret);
}

static struct err *read_envelope(struct foreign *f, uint64_t size)
{
    const char *why = "";
    _cleanup_(freep) char *text = size <= OVF_MAX ? mem_zalloc((size_t)size + 1, 1) : NULL;
    if (!text)
        return import_error("the description in the OVA is too long");
    TRY(tar_in_take(f->tar, text, (size_t)size));
    if (ovf_parse((struct view){text, (size_t)size}, &f->ovf, &why) < 0)
        return import_error("the description in the OVA cannot be used: %s", why);
    vec_each (d, &f->ovf.disks)
        if (d->is_packed)
            return import_error("the disk '%s' of the OVA is compressed, or in pieces", d->href);
    return NULL;
}

static struct err *describe_ova(struct foreign *f, uint64_t size, struct ova_in *ret)
{
    uint64_t sizes[OVF_PARTS];
    TRY(read_envelope(f, size));
    for (size_t i = 0; i < f->ovf.disks.n; i++)
        sizes[i] = f->ovf.disks.v[i].size;
    f->kind = FOREIGN_OVA;
    const char *own = f->ovf.name && *f->ovf.name ? f->ovf.name : "Imported VM";
    return describe(&(struct ova_vm){.name = own,
                                     .description = f->ovf.description ? f->ovf.description : "",
                                     .memory = f->ovf.memory,
                                     .cpus = f->ovf.cpus,
                                     .is_uefi = f->ovf.is_uefi,
                                     .sizes = sizes,
                                     .n_disks = f->ovf.disks.n,
                                     .nics = f->ovf.nics.v,
                                     .n_nics = f->ovf.nics.n},
                    ret);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && view_ieq((struct view){name + n - m, m}, suffix);
}

static bool is_archive(const char *first, size_t size)
{
    return (size > 262 && memcmp(first + 257, "ustar", 5) == 0) ||
           (size > 4 && memcmp(first, "\x1f\x8b", 2) == 0) ||
           (size > 4 && memcmp(first, "\x28\xb5\x2f\xfd", 4) == 0);
}

static struct err *describe_archive(struct foreign *f, struct ova_in *ret)
{
    const char *name;
    uint64_t size;
    TRY(tar_in_peek(f->tar, &name, &size));
    if (name && has_suffix(name, ".ovf"))
        return describe_ova(f, size, ret);
    if (name && has_suffix(name, ".vhd"))
        return describe_chain(f, size, ret);
    return NULL;
}

struct err *foreign_describe(struct foreign *f, struct tar_in *tar, struct ova_in *ret)
{
    const char *first;
    size_t size;
    f->tar = tar;
    TRY(ahead_look(&f->whole, &first, &size));
    f->disk = DISK_RAW;
    if (f->in->raw)
        return describe_single(f, first, size, ret);
    if (is_archive(first, size))
        return describe_archive(f, ret);
    TRY(foreign_look(first, size, &f->disk));
    return f->disk == DISK_UNKNOWN ? NULL : describe_single(f, first, size, ret);
}

/* ---- the disks ---- */

struct filling {
    struct op *op;
    struct foreign *f;
    struct diskio *disk;
    struct scratch scratch;
    struct disk_in in;
};

static void filling_done(struct filling *x)
{
    diskio_freep(&x->disk);
    scratch_drop(&x->scratch);
}

/* Opens a volume of the plan for a file of that length (0: not known). */
static struct err *fill_begin(struct filling *x, size_t i, const struct portable_io *io,
                              uint64_t length)
{
    const char *vdi = import_disk(x->op, i, "vdi");
    TRY(portable_attach(x->op, vdi, 0, false, &x->disk));
    x->in = (struct disk_in){.op = x->op,
                             .disk = x->disk,
                             .size = diskio_size(x->disk),
                             .is_fresh = true,
                             .vdi = vdi,
                             .src = {.io = io}};
    x->scratch = (struct scratch){.op = x->op,
                                  .size = length ? length : x->in.size + x->in.size / 64 + SLACK};
    return NULL;
}

static struct err *fill_end(struct filling *x)
{
    TRY(diskio_flush(x->disk));
    diskio_freep(&x->disk);
    TRY(scratch_end(&x->scratch));
    return portable_detach(x->op);
}

static struct err *fill_disk(struct op *op, struct foreign *f, size_t i,
                             const struct portable_io *io, enum foreign_disk kind, uint64_t length)
{
    _cleanup_(filling_done) struct filling x = {.op = op, .f = f};
    TRY(fill_begin(&x, i, io, length));
    TRY(foreign_receive(kind, &x.in, &x.scratch));
    return fill_end(&x);
}

static struct err *receive_single(struct op *op, struct foreign *f)
{
    TRY(fill_disk(op, f, 0, &f->whole.io, f->disk, f->in->length));
    struct source rest = {.io = &f->whole.io};
    source_drain(&rest);
    return NULL;
}

/* ---- a chain ---- */

static struct err *receive_levels(struct filling *x, struct vhd_chain *chain)
{
    const char *name;
    uint64_t size;
    for (;;) {
        x->in.src = (struct source){.io = &x->f->member.io};
        TRY(vhd_chain_level(chain, &x->in));
        tar_in_skip(x->f->tar);
        TRY(tar_in_peek(x->f->tar, &name, &size));
        if (!name)
            return vhd_chain_check(chain);
        open_member(x->f);
    }
}

static struct err *receive_chain(struct op *op, struct foreign *f)
{
    const char *name;
    uint64_t size;
    TRY(tar_in_peek(f->tar, &name, &size));
    if (f->disk == DISK_RAW)
        return fill_disk(op, f, 0, &f->member.io, DISK_RAW, size);
    _cleanup_(filling_done) struct filling x = {.op = op, .f = f};
    TRY(fill_begin(&x, 0, &f->member.io, size));
    _cleanup_(vhd_chain_done) struct vhd_chain chain = {0};
    TRY(receive_levels(&x, &chain));
    return fill_end(&x);
}

/* ---- the members of an OVA ---- */

/* Names may have a "./" before them. */
static const char *plain(const char *name)
{
    return str_starts(name, "./") ? name + 2 : name;
}

static struct err *fill_from_member(struct op *op, struct foreign *f, size_t i, uint64_t length)
{
    const char *first;
    size_t size;
    uint64_t disk_size;
    enum foreign_disk kind;
    open_member(f);
    TRY(ahead_look(&f->member, &first, &size));
    TRY(foreign_look(first, size, &kind));
    TRY(foreign_measure(kind, first, size, length, &disk_size));
    return fill_disk(op, f, i, &f->member.io, kind, length);
}

static struct err *take_member(struct op *op, struct foreign *f, const char *name, uint64_t length,
                               bool *done)
{
    for (size_t i = 0; i < f->ovf.disks.n; i++) {
        if (done[i] || !str_eq(plain(f->ovf.disks.v[i].href), plain(name)))
            continue;
        done[i] = true;
        TRY(fill_from_member(op, f, i, length));
        break;
    }
    tar_in_skip(f->tar); /* sums, signatures, CD images */
    return NULL;
}

static struct err *receive_ova(struct op *op, struct foreign *f)
{
    bool done[OVF_PARTS] = {false};
    const char *name;
    uint64_t size;
    for (;;) {
        TRY(tar_in_peek(f->tar, &name, &size));
        if (!name)
            break;
        TRY(take_member(op, f, name, size, done));
    }
    for (size_t i = 0; i < f->ovf.disks.n; i++)
        if (!done[i] && *f->ovf.disks.v[i].href)
            return err_IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND();
    return NULL;
}

struct err *foreign_receive_disks(struct op *op, struct foreign *f)
{
    switch (f->kind) {
    case FOREIGN_CHAIN:
        return receive_chain(op, f);
    case FOREIGN_OVA:
        return receive_ova(op, f);
    case FOREIGN_DISK:
    case FOREIGN_NONE:
        break;
    }
    return receive_single(op, f);
}
