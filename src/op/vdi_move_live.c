/*
 * vdi_move_live.c: VDI.pool_migrate of a disk that a guest writes to.
 *
 *     make volume there - copy its snapshots - copy while the guest writes - the guest waits, the
 * rest is copied - its data path is told of the other image - (devices show it, the old record
 * goes) - the guest goes on - delete
 *
 * Between telling and going on the disk is held (host.h): nothing is written to either image, so
 * both are good, whichever the commit decides for. Everything before has an undo that leaves the
 * guest on the old image: a target that is full or gone, and processes that die, are no error of
 * the guest's.
 */
#include "op/vdi_move.h"
#include "op/vm_ops.h"

#define COPY_TIME (24 * 3600 * USEC_PER_SEC)

/* What a mirror writes to does not grow. */
static struct err *fill_volume(struct op *op)
{
    struct image to = {0};
    TRY(move_image(op, op_get(op, "result"), &to));
    struct err *e = host_disk_fill(op->host, to.path, to.size_bytes);
    image_done(&to);
    return e;
}

/* For undo, which may run in another process. */
static struct err *name_images(struct op *op)
{
    struct image from = {0}, to = {0};
    struct err *e = move_image(op, op->self, &from);
    if (!e)
        e = move_image(op, op_get(op, "result"), &to);
    if (!e) {
        op_put(op, "from.path", from.path);
        op_put(op, "to.path", to.path);
    }
    image_done(&from);
    image_done(&to);
    return e;
}

static struct err *copy_live(struct op *op)
{
    struct image to = {0};
    TRY(move_image(op, op_get(op, "result"), &to));
    struct verb v = op_verb(op, COPY_TIME);
    struct err *e = host_disk_mirror(op->host, &v, op_get(op, "from.path"), &to);
    image_done(&to);
    return e;
}

static struct err *drop_copy(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME);
    return host_disk_mirror_drop(op->host, &v, op_get(op, "from.path"), op_get(op, "to.path"));
}

static struct err *finish_copy(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME);
    return host_disk_mirror_finish(op->host, &v, op_get(op, "from.path"), op_get(op, "to.path"));
}

static struct err *open_old(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME);
    return host_disk_resume(op->host, &v, op_get(op, "from.path"));
}

static struct err *hold_new(struct op *op)
{
    struct image to = {0};
    TRY(move_image(op, op_get(op, "result"), &to));
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = host_disk_switch(op->host, &v, op_get(op, "from.path"), &to, true);
    image_done(&to);
    return e;
}

static struct err *back_to_old(struct op *op)
{
    struct image from = {0};
    TRY(move_image(op, op->self, &from));
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = host_disk_switch(op->host, &v, op_get(op, "to.path"), &from, false);
    image_done(&from);
    return e;
}

static struct err *open_new(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME), old = op_verb(op, VERB_TIME);
    TRY(host_disk_go_on(op->host, &v, op_get(op, "to.path")));
    return host_disk_resume(op->host, &old, op_get(op, "from.path"));
}

static const struct step live_steps[] = {
    {"name volumes", move_note, NULL, .weight = 1},
    {"make volume", move_make, move_unmake, .weight = 1},
    {"copy snapshots", move_copy_snapshots, move_drop_snapshots, .weight = 10},
    {"fill volume", fill_volume, NULL, .weight = 1},
    {"name images", name_images, NULL, .weight = 1},
    {"copy content", copy_live, drop_copy, .weight = 20},
    {"copy the rest", finish_copy, open_old, .weight = 1},
    {"hold image", hold_new, back_to_old, .weight = 1},
    {"switch over", move_commit, NULL, .weight = 1, .commit = true},
    {"open image", open_new, NULL, .weight = 1},
    {"delete old volumes", move_delete_old, NULL, .weight = 1},
};
const struct op_kind kind_vdi_move_live = OP_KIND(MOVE_LIVE, live_steps);
