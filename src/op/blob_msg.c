/* blob_msg.c: messages that make and end blobs. */
#include <unistd.h>

#include "gen/msg.h"
#include "op/blob.h"
#include "op/world.h"

#define ANY_TYPE "application/octet-stream"

struct blob_new {
    int cls;           /* of what it hangs off; -1: nothing */
    const char *owner; /* ref */
    const char *name, *mime_type, *ref;
    bool public;
};

/* Its map of names to blobs; HANDLE_INVALID. */
static struct err *enter(struct txn *t, const struct blob_new *a)
{
    struct row *owner = txn_edit(t, a->cls, a->owner);
    const struct class_desc *cls = desc_classes[a->cls];
    if (!owner)
        return err_HANDLE_INVALID(cls->name, a->owner);
    const struct field_desc *f = desc_field(cls, "blobs");
    _cleanup_(val_unrefp) struct val *blobs = row_get(owner, f);
    if (val_map_get(blobs, a->name))
        return err_MAP_DUPLICATE_KEY(cls->name, "blobs", a->owner, a->name);
    _cleanup_(val_unrefp) struct val *with = val_with(blobs, a->name, a->ref);
    return row_set(owner, f, with) < 0 ? err_internal("no blobs on %s", cls->name) : NULL;
}

static struct err *create_txn(struct txn *t, void *arg)
{
    const struct blob_new *a = arg;
    struct rec_blob *blob = (struct rec_blob *)txn_add(t, CLASS_blob, a->ref, NULL);
    rstr_set(&blob->name_label, a->name);
    rstr_set(&blob->mime_type, *a->mime_type ? a->mime_type : ANY_TYPE);
    blob->public = a->public;
    return a->cls >= 0 ? enter(t, a) : NULL;
}

static struct err *create(struct op *op, struct blob_new a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    a.ref = ref;
    TRY(op_write(op, "create blob", create_txn, &a));
    *ret = val_rstr(ref);
    return NULL;
}

struct err *msg_blob_create(struct op *op, const struct args_blob_create *a, struct val **ret)
{
    return create(op, (struct blob_new){-1, REF_NULL, "", a->mime_type, NULL, a->public}, ret);
}

struct err *msg_VM_create_new_blob(struct op *op, const struct args_VM_create_new_blob *a,
                                   struct val **ret)
{
    return create(op, (struct blob_new){CLASS_VM, a->vm, a->name, a->mime_type, NULL, a->public},
                  ret);
}

struct err *msg_host_create_new_blob(struct op *op, const struct args_host_create_new_blob *a,
                                     struct val **ret)
{
    return create(
        op, (struct blob_new){CLASS_host, a->host, a->name, a->mime_type, NULL, a->public}, ret);
}

struct err *msg_pool_create_new_blob(struct op *op, const struct args_pool_create_new_blob *a,
                                     struct val **ret)
{
    return create(
        op, (struct blob_new){CLASS_pool, a->pool, a->name, a->mime_type, NULL, a->public}, ret);
}

struct err *msg_SR_create_new_blob(struct op *op, const struct args_SR_create_new_blob *a,
                                   struct val **ret)
{
    return create(op, (struct blob_new){CLASS_SR, a->sr, a->name, a->mime_type, NULL, a->public},
                  ret);
}

struct err *msg_network_create_new_blob(struct op *op, const struct args_network_create_new_blob *a,
                                        struct val **ret)
{
    return create(
        op, (struct blob_new){CLASS_network, a->network, a->name, a->mime_type, NULL, a->public},
        ret);
}

struct blob_end {
    const char *ref;
    const char *uuid; /* rstr, out */
};

static struct err *destroy_txn(struct txn *t, void *arg)
{
    struct blob_end *a = arg;
    const struct rec_blob *blob = txn_blob(t, a->ref);
    if (!blob)
        return err_HANDLE_INVALID("blob", a->ref);
    rstr_unref(a->uuid);
    a->uuid = rstr_ref(blob->uuid);
    txn_delete(t, CLASS_blob, a->ref);
    return NULL;
}

/* A file that stays behind because we die in between is swept up at the next start. */
struct err *msg_blob_destroy(struct op *op, const struct args_blob_destroy *a, struct val **ret)
{
    struct blob_end end = {.ref = a->self};
    struct ops *ops = ops_of(op);
    struct err *e = op_write(op, "destroy blob", destroy_txn, &end);
    _cleanup_(rstr_unrefp) const char *uuid = end.uuid;
    if (!e && ops->cfg.state_dir) {
        _cleanup_(freep) char *path = mem_printf("%s/blobs/%s", ops->cfg.state_dir, uuid);
        (void)unlink(path);
    }
    return e;
}
