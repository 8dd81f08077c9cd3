/* state_fixture.c: see state_fixture.h. */
#include "state_fixture.h"

#include <string.h>

void open_db(struct fixture *f)
{
    struct store *store = NULL;
    assert_null(store_memory_open(f->disk, STORE_WRITE, &store));
    struct db_config config = {.store = store, .single = !f->threads};
    assert_null(db_open(&config, &f->db));
}

void restart(struct fixture *f)
{
    db_close(f->db);
    open_db(f);
}

int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->disk = store_disk_new();
    open_db(f);
    *state = f;
    return 0;
}

int setup_threads(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->disk = store_disk_new();
    f->threads = true;
    open_db(f);
    *state = f;
    return 0;
}

int teardown(void **state)
{
    struct fixture *f = *state;
    db_close(f->db);
    store_disk_free(f->disk);
    free(f);
    return 0;
}

struct err *make_vm(struct txn *t, void *arg)
{
    struct ask *a = arg;
    struct row *r = txn_add(t, CLASS_VM, a->vm, NULL);
    rstr_set(&((struct rec_VM *)r)->name_label, a->name ? a->name : "x");
    if (!a->vm)
        a->made = mem_strdup(r->ref);
    return NULL;
}

struct err *make_vdi(struct txn *t, void *arg)
{
    struct ask *a = arg;
    txn_add(t, CLASS_VDI, a->vdi, NULL);
    return NULL;
}

struct err *make_vbd(struct txn *t, void *arg)
{
    struct ask *a = arg;
    struct rec_VBD *vbd = (struct rec_VBD *)txn_add(t, CLASS_VBD, a->vbd, NULL);
    rstr_set(&vbd->VM, a->vm);
    if (a->vdi)
        rstr_set(&vbd->VDI, a->vdi);
    return NULL;
}

struct err *rename_vm(struct txn *t, void *arg)
{
    struct ask *a = arg;
    rstr_set(&((struct rec_VM *)txn_edit(t, CLASS_VM, a->vm))->name_label, a->name);
    return NULL;
}

struct err *delete_vm(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_VM, ((struct ask *)arg)->vm);
    return NULL;
}

struct err *delete_vdi(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_VDI, ((struct ask *)arg)->vdi);
    return NULL;
}

struct err *allow_start(struct txn *t, void *arg)
{
    struct rec_VM *vm = (struct rec_VM *)txn_edit(t, CLASS_VM, ((struct ask *)arg)->vm);
    val_assign(&vm->allowed_operations, val_set_with(vm->allowed_operations, "start"));
    return NULL;
}

void write_ok(struct fixture *f, txn_fn fn, struct ask *a)
{
    struct err *e = db_write(f->db, "test", fn, a);
    if (e)
        fail_msg("%s", err_text(e));
}

void write_fails(struct fixture *f, txn_fn fn, struct ask *a, const char *code)
{
    _cleanup_(err_freep) struct err *e = db_write(f->db, "test", fn, a);
    assert_true(err_is(e, code));
}

const struct rec_VM *vm_of(struct snap *s, const char *ref)
{
    return (const struct rec_VM *)snap_row(s, CLASS_VM, ref);
}
