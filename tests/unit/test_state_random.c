/*
 * Random transactions against what must always hold: derived sets and indexes agree with a scan, no
 * reference dangles, and somebody who folds the changes since his token sees what a snapshot shows.
 * The store fails and the host restarts now and then. A seed may be given to play one run again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gen/typed.h"
#include "state/store.h"
#include "state/txn.h"
#include "state/watch.h"

#define STEPS 3000

/* What a client knows: the rows he was told of. */
struct client {
    struct token token;
    VEC(const struct row *) rows; /* counted */
};

struct world {
    struct store_disk *disk;
    struct db *db;
    struct client client;
};

static unsigned seed;

static unsigned dice(unsigned n)
{
    return (unsigned)rand_r(&seed) % n;
}

static void open_db(struct world *w)
{
    struct db_config config = {.single = true};
    assert_null(store_memory_open(w->disk, STORE_WRITE, &config.store));
    assert_null(db_open(&config, &w->db));
}

/* --- random work --- */

static const char *pick(struct txn *t, int cls)
{
    size_t n = snap_count(txn_snap(t), cls);
    if (!n || dice(8) == 0)
        return REF_NULL;
    size_t at = dice((unsigned)n);
    txn_each (r, t, cls)
        if (!at--)
            return r->ref;
    return REF_NULL;
}

static const char *name_of(unsigned n)
{
    static const char *const names[] = {"a", "b", "c", "", "it's"};
    return names[n];
}

static void change_vm(struct txn *t)
{
    struct rec_VM *vm = txn_edit_VM(t, pick(t, CLASS_VM));
    if (!vm)
        return;
    switch (dice(4)) {
    case 0:
        rstr_set(&vm->name_label, name_of(dice(5)));
        break;
    case 1:
        rstr_set(&vm->suspend_VDI, pick(t, CLASS_VDI));
        break;
    case 2:
        val_assign(&vm->allowed_operations, val_set_with(vm->allowed_operations, "start"));
        break;
    case 3:
        val_assign(&vm->groups, val_set());
        const char *group = pick(t, CLASS_VM_group);
        if (!ref_is_null(group))
            val_assign(&vm->groups, val_set_with(vm->groups, group));
        break;
    }
}

static void change_vbd(struct txn *t)
{
    struct rec_VBD *vbd = txn_edit_VBD(t, pick(t, CLASS_VBD));
    if (vbd)
        rstr_set(dice(2) ? &vbd->VM : &vbd->VDI, REF_NULL);
    if (vbd && dice(4))
        rstr_set(&vbd->VM, pick(t, CLASS_VM));
    if (vbd && dice(4))
        rstr_set(&vbd->VDI, pick(t, CLASS_VDI));
}

static void change_task(struct txn *t)
{
    struct rec_task *task = txn_edit_task(t, pick(t, CLASS_task));
    if (task)
        rstr_set(&task->subtask_of, pick(t, CLASS_task));
}

static struct err *work(struct txn *t, void *arg)
{
    (void)arg;
    static const int classes[] = {CLASS_VM, CLASS_VBD, CLASS_VDI, CLASS_VM_group, CLASS_task};
    for (unsigned n = dice(6); n; n--) {
        int cls = classes[dice(5)];
        unsigned what = dice(10);
        if (what < 3)
            txn_add(t, cls, NULL, NULL);
        else if (what < 5)
            txn_delete(t, cls, pick(t, cls));
        else if (what < 7)
            change_vm(t);
        else if (what < 9)
            change_vbd(t);
        else
            change_task(t);
    }
    return dice(10) ? NULL : err_make("OPERATION_NOT_ALLOWED", __FILE__, __LINE__, 0);
}

/* --- what must hold --- */

static void check_set(const struct snap *s, const struct val *set, int cls, size_t member,
                      const char *owner)
{
    size_t n = 0;
    snap_each (r, s, cls) {
        if (strcmp(*(const char *const *)((const char *)r + member), owner) != 0)
            continue;
        assert_true(n < val_count(set));
        assert_string_equal(val_str_at(set, n), r->ref);
        n++;
    }
    assert_int_equal(n, val_count(set));
}

static void check_ref(const struct snap *s, int cls, const char *ref)
{
    if (!ref_is_null(ref))
        assert_non_null(snap_row(s, cls, ref));
}

static void check_names(const struct snap *s)
{
    for (unsigned i = 0; i < 5; i++) {
        _cleanup_(val_unrefp) struct val *found = snap_by_name(s, CLASS_VM, name_of(i));
        size_t n = 0;
        snap_each (r, s, CLASS_VM) {
            if (strcmp(((const struct rec_VM *)r)->name_label, name_of(i)) != 0)
                continue;
            assert_true(n < val_count(found));
            assert_string_equal(val_str_at(found, n++), r->ref);
        }
        assert_int_equal(n, val_count(found));
    }
}

static void check_vm(const struct snap *s, const struct rec_VM *vm)
{
    check_set(s, vm->VBDs, CLASS_VBD, offsetof(struct rec_VBD, VM), vm->row.ref);
    check_ref(s, CLASS_VDI, vm->suspend_VDI);
    assert_ptr_equal(snap_VM_by_uuid(s, vm->uuid), vm);
    val_each (ref, vm->groups)
        assert_true(val_set_has(snap_VM_group(s, ref)->VMs, vm->row.ref));
}

static void check(const struct snap *s)
{
    snap_each (r, s, CLASS_VM)
        check_vm(s, (const struct rec_VM *)r);
    snap_each (r, s, CLASS_VBD) {
        check_ref(s, CLASS_VM, ((const struct rec_VBD *)r)->VM);
        check_ref(s, CLASS_VDI, ((const struct rec_VBD *)r)->VDI);
    }
    snap_each (r, s, CLASS_VDI)
        check_set(s, ((const struct rec_VDI *)r)->VBDs, CLASS_VBD, offsetof(struct rec_VBD, VDI),
                  r->ref);
    snap_each (r, s, CLASS_VM_group)
        val_each (ref, ((const struct rec_VM_group *)r)->VMs)
            assert_true(val_set_has(snap_VM(s, ref)->groups, r->ref));
    snap_each (r, s, CLASS_task)
        check_set(s, ((const struct rec_task *)r)->subtasks, CLASS_task,
                  offsetof(struct rec_task, subtask_of), r->ref);
    check_names(s);
}

/* --- the client --- */

static size_t known(const struct client *c, const char *ref)
{
    size_t i = 0;
    while (i < c->rows.n && strcmp(c->rows.v[i]->ref, ref) != 0)
        i++;
    return i;
}

static void learn(struct client *c, const struct change *x)
{
    size_t i = known(c, x->ref);
    if (i < c->rows.n) {
        row_unref(c->rows.v[i]);
        vec_remove(&c->rows, i);
    } else {
        assert_true(x->added);
    }
    if (x->row)
        vec_push(&c->rows, row_ref(x->row));
}

static void fold(struct world *w)
{
    struct client *c = &w->client;
    struct changes changes = {0};
    struct watch_set all;
    watch_set_init(&all);
    watch_set_add_all(&all);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    assert_int_equal(watch_changes(s, c->token, &all, &changes), 0);
    for (size_t i = 0; i < changes.n; i++)
        learn(c, &changes.v[i]);
    changes_done(&changes);
    c->token = snap_token(s);
    size_t n = 0;
    for (unsigned cls = 0; cls < snap_n_classes(s); cls++)
        snap_each (r, s, (int)cls) {
            size_t i = known(c, r->ref);
            assert_true(i < c->rows.n);
            assert_true(row_is_equal(c->rows.v[i], r));
            n++;
        }
    assert_int_equal(n, c->rows.n);
}

static void forget(struct client *c)
{
    vec_each (r, &c->rows)
        row_unref(*r);
    vec_done(&c->rows);
}

/* What is not kept over a restart is gone without a word; the client's session is gone too. */
static void forget_volatile(struct client *c)
{
    for (size_t i = c->rows.n; i--;) {
        if (c->rows.v[i]->cls->flags & CLASS_PERSIST)
            continue;
        row_unref(c->rows.v[i]);
        vec_remove(&c->rows, i);
    }
}

static void restart(struct world *w)
{
    db_close(w->db);
    open_db(w);
    forget_volatile(&w->client);
}

static void play(struct world *w)
{
    for (unsigned i = 0; i < STEPS; i++) {
        if (dice(50) == 0)
            store_disk_fail(w->disk, dice(3), 1 + dice(2));
        err_free(db_write(w->db, "random", work, NULL)); /* a failing disk refuses some */
        if (dice(200) == 0)
            restart(w);
        _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
        check(s);
        snap_unref(steal(&s));
        if (dice(3) == 0)
            fold(w);
    }
}

/* The store fails on purpose here. */
static void ignore_line(enum log_level level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

static void everything_holds_whatever_happens(void **state)
{
    (void)state;
    struct world w = {.disk = store_disk_new()};
    log_set_sink(ignore_line, NULL);
    print_message("seed %u\n", seed);
    open_db(&w);
    play(&w);
    forget(&w.client);
    db_close(w.db);
    store_disk_free(w.disk);
}

/* --- many transactions in one commit --- */

static void on_done(void *arg, struct err *e, uint64_t generation)
{
    (void)generation;
    err_free(e);
    sem_post(arg);
}

static void encode_all(struct db *db, struct buf *ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    buf_printf(ret, "%" PRIu64 "\n", snap_generation(s));
    for (unsigned cls = 0; cls < snap_n_classes(s); cls++)
        snap_each (r, s, (int)cls) {
            if (!(r->cls->flags & CLASS_PERSIST))
                continue;
            buf_printf(ret, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " ", r->ref, r->seq, r->created,
                       r->modified);
            row_encode(r, ret);
            buf_putc(ret, '\n');
        }
}

/* Lets a burst of transactions wait behind a held commit, so that they share the next. */
static void burst(struct store_disk *disk, struct db *db)
{
    enum { N = 30 };
    sem_t done;
    sem_init(&done, 0, 0);
    store_disk_hold(disk, true);
    if (dice(4) == 0)
        store_disk_fail(disk, dice(2), 1);
    for (int i = 0; i < N; i++)
        db_write_async(db, "random", work, &done, on_done);
    store_disk_hold(disk, false);
    for (int i = 0; i < N; i++)
        sem_wait(&done);
    sem_destroy(&done);
}

static void what_shares_a_commit_is_found_again(void **state)
{
    (void)state;
    struct store_disk *disk = store_disk_new();
    for (int round = 0; round < 60; round++) {
        _cleanup_(buf_done) struct buf before;
        _cleanup_(buf_done) struct buf after;
        struct db_config config = {0};
        struct db *db = NULL;
        buf_init(&before, 64 << 20);
        buf_init(&after, 64 << 20);
        assert_null(store_memory_open(disk, STORE_WRITE, &config.store));
        assert_null(db_open(&config, &db));
        burst(disk, db);
        store_disk_fail(disk, 0, 0);
        encode_all(db, &before);
        db_close(db);
        config.single = true;
        assert_null(store_memory_open(disk, STORE_WRITE, &config.store));
        assert_null(db_open(&config, &db));
        encode_all(db, &after);
        assert_string_equal(buf_str(&before), buf_str(&after));
        _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
        check(s);
        snap_unref(steal(&s));
        db_close(db);
    }
    store_disk_free(disk);
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? (unsigned)atoi(argv[1]) : (unsigned)clock_wall();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_holds_whatever_happens),
        cmocka_unit_test(what_shares_a_commit_is_found_again),
    };
    return cmocka_run_group_tests_name("state_random", tests, NULL, NULL);
}
