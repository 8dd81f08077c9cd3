/* Tests of state/txn and db over the store in memory. */
#include "state_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- transactions --- */

static void snapshots_never_change(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:1", .name = "old");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    WRITE(f, rename_vm, .vm = "OpaqueRef:1", .name = "new");
    WRITE(f, delete_vm, .vm = "OpaqueRef:1");
    _cleanup_(snap_unrefp) struct snap *now = snap_get(f->db);
    assert_string_equal(vm_of(s, "OpaqueRef:1")->name_label, "old");
    assert_null(vm_of(now, "OpaqueRef:1"));
    assert_int_equal(snap_count(s, CLASS_VM), 1);
    assert_int_equal(snap_generation(now), snap_generation(s) + 2);
}

static void indexes_follow(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:1", .name = "a");
    WRITE(f, make_vm, .vm = "OpaqueRef:2", .name = "b");
    WRITE(f, make_vm, .vm = "OpaqueRef:3", .name = "a");
    WRITE(f, rename_vm, .vm = "OpaqueRef:2", .name = "a");
    WRITE(f, rename_vm, .vm = "OpaqueRef:1", .name = "c");
    for (int round = 0; round < 2; round++) {
        _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
        _cleanup_(val_unrefp) struct val *a = snap_by_name(s, CLASS_VM, "a");
        _cleanup_(val_unrefp) struct val *b = snap_by_name(s, CLASS_VM, "b");
        assert_int_equal(val_count(a), 2);
        assert_string_equal(val_str_at(a, 0), "OpaqueRef:2");
        assert_int_equal(val_count(b), 0);
        const char *uuid = vm_of(s, "OpaqueRef:3")->uuid;
        assert_string_equal(snap_by_uuid(s, CLASS_VM, uuid)->ref, "OpaqueRef:3");
        int n = 0;
        snap_each (r, s, CLASS_VM)
            assert_int_equal(r->ref[strlen("OpaqueRef:")], '1' + n++);
        assert_int_equal(n, 3);
        snap_unref(steal(&s));
        restart(f);
    }
}

static struct err *same_uuid(struct txn *t, void *arg)
{
    struct ask *a = arg;
    const struct rec_VM *vm = (const struct rec_VM *)txn_row(t, CLASS_VM, a->vm);
    txn_add(t, CLASS_VM, NULL, vm->uuid);
    return NULL;
}

static void references_are_checked(void **state)
{
    struct fixture *f = *state;
    struct ask bad = {.vbd = "OpaqueRef:b", .vm = "OpaqueRef:nobody"};
    write_fails(f, make_vbd, &bad, "HANDLE_INVALID");
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    WRITE(f, make_vbd, .vbd = "OpaqueRef:b", .vm = "OpaqueRef:v");
    struct ask again = {.vm = "OpaqueRef:v"};
    write_fails(f, make_vm, &again, "DB_UNIQUENESS_CONSTRAINT_VIOLATION");
    write_fails(f, same_uuid, &again, "DB_UNIQUENESS_CONSTRAINT_VIOLATION");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    assert_int_equal(snap_count(s, CLASS_VM), 1);
    assert_int_equal(snap_count(s, CLASS_VBD), 1);
}

static struct err *move_vbd(struct txn *t, void *arg)
{
    struct ask *a = arg;
    rstr_set(&((struct rec_VBD *)txn_edit(t, CLASS_VBD, a->vbd))->VM, a->vm);
    return NULL;
}

static void check_vbds(struct fixture *f, const char *vm, unsigned n, const char *const *refs)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    const struct val *set = vm_of(s, vm)->VBDs;
    assert_int_equal(val_count(set), n);
    for (unsigned i = 0; i < n; i++)
        assert_string_equal(val_str_at(set, i), refs[i]);
}

static void derived_sets_follow_in_order_of_creation(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"OpaqueRef:a", "OpaqueRef:b", "OpaqueRef:c"};
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    WRITE(f, make_vm, .vm = "OpaqueRef:2");
    for (int i = 0; i < 3; i++)
        WRITE(f, make_vbd, .vbd = all[i], .vm = "OpaqueRef:1");
    check_vbds(f, "OpaqueRef:1", 3, all);
    WRITE(f, move_vbd, .vbd = all[1], .vm = "OpaqueRef:2");
    check_vbds(f, "OpaqueRef:2", 1, all + 1);
    WRITE(f, move_vbd, .vbd = all[1], .vm = "OpaqueRef:1");
    check_vbds(f, "OpaqueRef:1", 3, all);
    check_vbds(f, "OpaqueRef:2", 0, NULL);
    restart(f);
    check_vbds(f, "OpaqueRef:1", 3, all);
}

static struct err *swap_vbds(struct txn *t, void *arg)
{
    struct ask *a = arg;
    rstr_set(&((struct rec_VBD *)txn_edit(t, CLASS_VBD, a->vbd))->VM, a->vm);
    txn_delete(t, CLASS_VBD, a->name);
    return NULL;
}

static void the_order_survives_that_the_last_goes(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"OpaqueRef:a", "OpaqueRef:b", "OpaqueRef:c"};
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    for (int i = 0; i < 3; i++)
        WRITE(f, make_vbd, .vbd = all[i], .vm = i ? "OpaqueRef:1" : REF_NULL);
    WRITE(f, swap_vbds, .vbd = all[0], .vm = "OpaqueRef:1", .name = all[2]);
    check_vbds(f, "OpaqueRef:1", 2, all);
}

static struct err *write_derived(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_edit_VM(t, ((struct ask *)arg)->vm);
    val_assign(&vm->VBDs, val_set_with(vm->VBDs, "OpaqueRef:nobody"));
    return NULL;
}

static void derived_sets_cannot_be_written(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"OpaqueRef:a"};
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    WRITE(f, make_vbd, .vbd = all[0], .vm = "OpaqueRef:1");
    WRITE(f, write_derived, .vm = "OpaqueRef:1");
    check_vbds(f, "OpaqueRef:1", 1, all);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    assert_int_equal(snap_generation(s), 2);
}

static struct err *suspend_to(struct txn *t, void *arg)
{
    struct ask *a = arg;
    rstr_set(&((struct rec_VM *)txn_edit(t, CLASS_VM, a->vm))->suspend_VDI, a->vdi);
    return NULL;
}

static void deletion_takes_references_along(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    WRITE(f, make_vdi, .vdi = "OpaqueRef:d");
    WRITE(f, make_vbd, .vbd = "OpaqueRef:b", .vm = "OpaqueRef:v", .vdi = "OpaqueRef:d");
    WRITE(f, suspend_to, .vm = "OpaqueRef:v", .vdi = "OpaqueRef:d");
    restart(f);
    WRITE(f, delete_vdi, .vdi = "OpaqueRef:d");
    for (int round = 0; round < 2; round++) {
        _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
        const struct rec_VBD *vbd = (const void *)snap_row(s, CLASS_VBD, "OpaqueRef:b");
        assert_string_equal(vbd->VDI, REF_NULL);
        assert_string_equal(vm_of(s, "OpaqueRef:v")->suspend_VDI, REF_NULL);
        assert_int_equal(vbd->row.modified, snap_generation(s));
        snap_unref(steal(&s));
        restart(f);
    }
    WRITE(f, delete_vm, .vm = "OpaqueRef:v");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    const struct rec_VBD *vbd = (const void *)snap_row(s, CLASS_VBD, "OpaqueRef:b");
    assert_string_equal(vbd->VM, REF_NULL);
}

static struct err *group_vm(struct txn *t, void *arg)
{
    struct ask *a = arg;
    struct row *g = txn_add(t, CLASS_VM_group, "OpaqueRef:g", NULL);
    struct rec_VM *vm = (struct rec_VM *)txn_edit(t, CLASS_VM, a->vm);
    val_assign(&vm->groups, val_set_with(vm->groups, g->ref));
    return NULL;
}

static void two_sided_relations_are_kept_equal(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    WRITE(f, group_vm, .vm = "OpaqueRef:v");
    restart(f);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    const struct rec_VM_group *g = (const void *)snap_row(s, CLASS_VM_group, "OpaqueRef:g");
    assert_true(val_set_has(g->VMs, "OpaqueRef:v"));
    WRITE(f, delete_vm, .vm = "OpaqueRef:v");
    _cleanup_(snap_unrefp) struct snap *now = snap_get(f->db);
    g = (const void *)snap_row(now, CLASS_VM_group, "OpaqueRef:g");
    assert_int_equal(val_count(g->VMs), 0);
    snap_unref(steal(&s));
}

static struct err *nothing(struct txn *t, void *arg)
{
    struct ask *a = arg;
    struct rec_VM *vm = (struct rec_VM *)txn_edit(t, CLASS_VM, a->vm);
    rstr_set(&vm->name_label, "other");
    rstr_set(&vm->name_label, a->name);
    txn_delete(t, CLASS_VM, txn_add(t, CLASS_VM, NULL, NULL)->ref);
    return NULL;
}

static void an_empty_transaction_makes_no_generation(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:v", .name = "x");
    _cleanup_(snap_unrefp) struct snap *a = snap_get(f->db);
    WRITE(f, nothing, .vm = "OpaqueRef:v", .name = "x");
    _cleanup_(snap_unrefp) struct snap *b = snap_get(f->db);
    assert_int_equal(snap_token(a).gen, snap_token(b).gen);
    assert_int_equal(snap_token(a).vol, snap_token(b).vol);
    assert_int_equal(store_disk_commits(f->disk), 1);
}

static void volatile_changes_are_not_stored(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    _cleanup_(snap_unrefp) struct snap *a = snap_get(f->db);
    WRITE(f, allow_start, .vm = "OpaqueRef:v");
    _cleanup_(snap_unrefp) struct snap *b = snap_get(f->db);
    assert_true(val_set_has(vm_of(b, "OpaqueRef:v")->allowed_operations, "start"));
    assert_int_equal(snap_token(a).gen, snap_token(b).gen);
    assert_int_equal(snap_token(a).vol + 1, snap_token(b).vol);
    assert_int_equal(store_disk_commits(f->disk), 1);
    snap_unref(steal(&a));
    snap_unref(steal(&b));
    restart(f);
    a = snap_get(f->db);
    assert_int_equal(val_count(vm_of(a, "OpaqueRef:v")->allowed_operations), 0);
}

static struct err *make_many(struct txn *t, void *arg)
{
    for (size_t i = 0; i < *(size_t *)arg; i++)
        txn_add(t, CLASS_VM, NULL, NULL);
    return NULL;
}

static struct err *make_large(struct txn *t, void *arg)
{
    struct rec_VM *vm = (struct rec_VM *)txn_add(t, CLASS_VM, NULL, NULL);
    _cleanup_(freep) char *text = mem_zalloc(1, *(size_t *)arg + 1);
    memset(text, 'x', *(size_t *)arg);
    rstr_set(&vm->name_description, text);
    return NULL;
}

static void too_large_transactions_are_refused(void **state)
{
    struct fixture *f = *state;
    size_t n = 1000, over = 1001, size = 1000 * 1000, too_large = 1 << 20;
    assert_null(db_write(f->db, "test", make_many, &n));
    assert_null(db_write(f->db, "test", make_large, &size));
    write_fails(f, make_many, (void *)&over, "INTERNAL_ERROR");
    write_fails(f, make_large, (void *)&too_large, "INTERNAL_ERROR");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    assert_int_equal(snap_count(s, CLASS_VM), 1001);
}

static struct err *forbid_bad_names(struct txn *t, void *arg)
{
    struct txn_change c;
    ++*(int *)arg;
    for (size_t i = 0; txn_change(t, i, &c); i++) {
        if (c.cls != CLASS_VM || !c.after)
            continue;
        if (strcmp(((const struct rec_VM *)c.after)->name_label, "bad") == 0)
            return err_make("VALUE_NOT_SUPPORTED", __FILE__, __LINE__, 0);
        struct rec_VM *vm = (struct rec_VM *)txn_edit(t, CLASS_VM, c.ref);
        val_assign(&vm->allowed_operations, val_set_with(vm->allowed_operations, "start"));
    }
    return NULL;
}

static void hooks_derive_and_refuse(void **state)
{
    struct fixture *f = *state;
    int calls = 0;
    db_add_hook(f->db, forbid_bad_names, &calls);
    WRITE(f, make_vm, .vm = "OpaqueRef:v", .name = "good");
    struct ask bad = {.vm = "OpaqueRef:w", .name = "bad"};
    write_fails(f, make_vm, &bad, "VALUE_NOT_SUPPORTED");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    assert_true(val_set_has(vm_of(s, "OpaqueRef:v")->allowed_operations, "start"));
    assert_null(vm_of(s, "OpaqueRef:w"));
    assert_int_equal(calls, 2);
}

/* --- persist, then publish --- */

static void a_failing_store_drops_what_nobody_saw(void **state)
{
    struct fixture *f = *state;
    WRITE(f, make_vm, .vm = "OpaqueRef:v", .name = "old");
    store_disk_fail(f->disk, 0, 1);
    struct ask a = {.vm = "OpaqueRef:v", .name = "new"};
    write_fails(f, rename_vm, &a, "INTERNAL_ERROR");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    assert_string_equal(vm_of(s, "OpaqueRef:v")->name_label, "old");
    assert_int_equal(snap_generation(s), 1);
    write_ok(f, rename_vm, &a);
    _cleanup_(snap_unrefp) struct snap *now = snap_get(f->db);
    assert_string_equal(vm_of(now, "OpaqueRef:v")->name_label, "new");
    assert_int_equal(snap_generation(now), 2);
}

struct async {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned done, failed;
    bool passed;
};

static void on_done(void *arg, struct err *e, uint64_t generation)
{
    (void)generation;
    struct async *a = arg;
    pthread_mutex_lock(&a->lock);
    a->done++;
    a->failed += e != NULL;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
    err_free(e);
}

static void wait_done(struct async *a, unsigned n)
{
    pthread_mutex_lock(&a->lock);
    while (a->done < n)
        pthread_cond_wait(&a->cond, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static struct err *post_vm(struct txn *t, void *arg)
{
    (void)arg;
    txn_add(t, CLASS_VM, NULL, NULL);
    return NULL;
}

/* Changes nothing; when it runs, all transactions posted before it wait for the store. */
static struct err *pass_by(struct txn *t, void *arg)
{
    (void)t;
    struct async *a = arg;
    pthread_mutex_lock(&a->lock);
    a->passed = true;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void post_vms(struct fixture *f, struct async *a)
{
    for (int i = 0; i < 50; i++)
        db_write_async(f->db, "test", post_vm, a, on_done);
    db_write_async(f->db, "test", pass_by, a, on_done);
    pthread_mutex_lock(&a->lock);
    while (!a->passed)
        pthread_cond_wait(&a->cond, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static void waiting_transactions_share_a_commit(void **state)
{
    struct fixture *f = *state;
    struct async a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, false};
    store_disk_hold(f->disk, true);
    post_vms(f, &a);
    _cleanup_(snap_unrefp) struct snap *before = snap_get(f->db);
    assert_int_equal(snap_count(before, CLASS_VM), 0);
    store_disk_hold(f->disk, false);
    wait_done(&a, 51);
    _cleanup_(snap_unrefp) struct snap *after = snap_get(f->db);
    assert_int_equal(snap_count(after, CLASS_VM), 50);
    assert_int_equal(a.failed, 0);
    assert_in_range(store_disk_commits(f->disk), 1, 10);
}

static void a_failing_commit_takes_the_later_ones_along(void **state)
{
    struct fixture *f = *state;
    struct async a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, false};
    store_disk_hold(f->disk, true);
    store_disk_fail(f->disk, 0, 1);
    post_vms(f, &a);
    store_disk_hold(f->disk, false);
    wait_done(&a, 51);
    assert_in_range(a.failed, 50,
                    51); /* the one that changed nothing may have had nothing to lose */
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    assert_int_equal(snap_count(s, CLASS_VM), 1);
    snap_unref(steal(&s));
    restart(f);
    s = snap_get(f->db);
    assert_int_equal(snap_count(s, CLASS_VM), 1);
}

static void on_lost(void *arg)
{
    *(bool *)arg = true;
}

static void a_second_writer_ends_the_first(void **state)
{
    struct fixture *f = *state;
    bool lost = false;
    struct db *first;
    struct store *store;
    assert_null(store_memory_open(f->disk, STORE_WRITE, &store));
    struct db_config config = {.store = store, .single = true, .lost = on_lost, .lost_arg = &lost};
    assert_null(db_open(&config, &first));
    restart(f);
    _cleanup_(err_freep) struct err *e = db_write(first, "test", post_vm, NULL);
    assert_non_null(e);
    assert_true(lost);
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    db_close(first);
}

/* A VM's VBDs as its set says, against those that say they are the VM's. */
static void check_owned(struct fixture *f)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    const struct val *set = vm_of(s, "OpaqueRef:v")->VBDs;
    size_t n = 0;
    snap_each (r, s, CLASS_VBD) {
        if (strcmp(((const struct rec_VBD *)r)->VM, "OpaqueRef:v") != 0)
            continue;
        assert_true(n < val_count(set));
        assert_string_equal(val_str_at(set, n++), r->ref);
    }
    assert_int_equal(n, val_count(set));
}

static struct err *delete_vbd(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_VBD, ((struct ask *)arg)->vbd);
    return NULL;
}

static struct err *make_vbd_in_vain(struct txn *t, void *arg)
{
    err_free(make_vbd(t, arg));
    return err_make("OPERATION_NOT_ALLOWED", __FILE__, __LINE__, 0);
}

/* Large sets grow and shrink; what a snapshot saw of them stays. */
static void large_sets_are_kept_in_order(void **state)
{
    struct fixture *f = *state;
    char ref[32];
    WRITE(f, make_vm, .vm = "OpaqueRef:v");
    for (int i = 0; i < 60; i++) {
        _cleanup_(snap_unrefp) struct snap *before = snap_get(f->db);
        snprintf(ref, sizeof(ref), "OpaqueRef:%d", i);
        struct ask lost = {.vbd = "OpaqueRef:lost", .vm = "OpaqueRef:v"};
        write_fails(f, make_vbd_in_vain, &lost, "OPERATION_NOT_ALLOWED");
        WRITE(f, make_vbd, .vbd = ref, .vm = "OpaqueRef:v");
        assert_int_equal(val_count(vm_of(before, "OpaqueRef:v")->VBDs), i);
    }
    check_owned(f);
    WRITE(f, delete_vbd, .vbd = "OpaqueRef:30");
    WRITE(f, delete_vbd, .vbd = "OpaqueRef:59");
    WRITE(f, make_vbd, .vbd = "OpaqueRef:30", .vm = "OpaqueRef:v");
    check_owned(f);
    WRITE(f, move_vbd, .vbd = "OpaqueRef:20", .vm = REF_NULL);
    check_owned(f);
    WRITE(f, move_vbd, .vbd = "OpaqueRef:20", .vm = "OpaqueRef:v"); /* into the middle */
    check_owned(f);
    restart(f);
    WRITE(f, make_vbd, .vbd = "OpaqueRef:last", .vm = "OpaqueRef:v");
    check_owned(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(snapshots_never_change),
        CASE(large_sets_are_kept_in_order),
        CASE(indexes_follow),
        THREADED(indexes_follow),
        CASE(references_are_checked),
        CASE(derived_sets_follow_in_order_of_creation),
        CASE(the_order_survives_that_the_last_goes),
        CASE(derived_sets_cannot_be_written),
        CASE(deletion_takes_references_along),
        THREADED(deletion_takes_references_along),
        CASE(two_sided_relations_are_kept_equal),
        CASE(an_empty_transaction_makes_no_generation),
        CASE(volatile_changes_are_not_stored),
        THREADED(volatile_changes_are_not_stored),
        CASE(too_large_transactions_are_refused),
        CASE(hooks_derive_and_refuse),
        CASE(a_failing_store_drops_what_nobody_saw),
        THREADED(a_failing_store_drops_what_nobody_saw),
        THREADED(waiting_transactions_share_a_commit),
        THREADED(a_failing_commit_takes_the_later_ones_along),
        CASE(a_second_writer_ends_the_first),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
