/* Tests of state/watch, and of what a database says of itself. */
#include "state_fixture.h"

#include <errno.h>
#include <string.h>

static void collect(struct fixture *f, struct token since, struct changes *ret)
{
    struct watch_set all;
    watch_set_init(&all);
    watch_set_add_all(&all);
    struct snap *s = snap_get(f->db);
    changes_done(ret);
    assert_int_equal(watch_changes(s, since, &all, ret), 0);
    snap_unref(s);
    watch_set_done(&all);
}

static struct token token_of(struct fixture *f)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    return snap_token(s);
}

static void changes_come_in_order_and_once(void **state)
{
    struct fixture *f = *state;
    struct changes c = {0};
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    WRITE(f, make_vm, .vm = "OpaqueRef:2");
    struct token t = token_of(f);
    WRITE(f, make_vm, .vm = "OpaqueRef:3");
    WRITE(f, make_vm, .vm = "OpaqueRef:4");
    WRITE(f, rename_vm, .vm = "OpaqueRef:1", .name = "y");
    WRITE(f, allow_start, .vm = "OpaqueRef:3");
    WRITE(f, delete_vm, .vm = "OpaqueRef:4");
    WRITE(f, delete_vm, .vm = "OpaqueRef:2");
    collect(f, t, &c);
    assert_int_equal(c.n, 3);
    assert_string_equal(c.v[0].ref, "OpaqueRef:1");
    assert_false(c.v[0].added);
    assert_string_equal(c.v[1].ref, "OpaqueRef:3");
    assert_true(c.v[1].added && c.v[1].row);
    assert_string_equal(c.v[2].ref, "OpaqueRef:2");
    assert_null(c.v[2].row);
    collect(f, (struct token){0}, &c);
    assert_int_equal(c.n, 2);
    assert_true(c.v[0].added && c.v[1].added);
    collect(f, token_of(f), &c);
    assert_int_equal(c.n, 0);
    changes_done(&c);
}

static void a_row_that_comes_back_is_told_once(void **state)
{
    struct fixture *f = *state;
    struct changes c = {0};
    WRITE(f, make_vdi, .vdi = "OpaqueRef:1");
    struct token t = token_of(f);
    WRITE(f, delete_vdi, .vdi = "OpaqueRef:1");
    WRITE(f, make_vdi, .vdi = "OpaqueRef:1");
    for (int round = 0; round < 2; round++) {
        struct watch_set vdi;
        watch_set_init(&vdi);
        watch_set_add_class(&vdi, CLASS_VDI);
        _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
        assert_int_equal(watch_changes(s, t, &vdi, &c), 0);
        assert_int_equal(c.n, 1);
        assert_non_null(c.v[0].row);
        changes_done(&c);
        snap_unref(steal(&s));
        restart(f);
    }
}

static void tokens_of_another_process_count_by_generation(void **state)
{
    struct fixture *f = *state;
    struct changes c = {0};
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    WRITE(f, make_vdi, .vdi = "OpaqueRef:2");
    WRITE(f, make_vdi, .vdi = "OpaqueRef:3");
    struct token t = token_of(f);
    WRITE(f, delete_vdi, .vdi = "OpaqueRef:3");
    restart(f);
    collect(f, t, &c);
    assert_string_equal(c.v[c.n - 1].ref, "OpaqueRef:3");
    assert_null(c.v[c.n - 1].row);
    bool vm = false;
    for (size_t i = 0; i < c.n; i++)
        vm |= strcmp(c.v[i].ref, "OpaqueRef:1") == 0 && !c.v[i].added;
    assert_true(vm);
    t.gen += 100;
    struct watch_set none;
    watch_set_init(&none);
    struct snap *s = snap_get(f->db);
    assert_int_equal(watch_changes(s, t, &none, &c), -ESTALE);
    snap_unref(s);
    changes_done(&c);
}

static void old_marks_are_forgotten_and_their_tokens_refused(void **state)
{
    struct fixture *f = *state;
    clock_fake(1000 * USEC_PER_SEC);
    restart(f);
    WRITE(f, make_vdi, .vdi = "OpaqueRef:1");
    struct token old = token_of(f);
    WRITE(f, delete_vdi, .vdi = "OpaqueRef:1");
    struct token t = token_of(f);
    clock_advance(24 * 3600 * USEC_PER_SEC);
    WRITE(f, make_vdi, .vdi = "OpaqueRef:2");
    struct changes c = {0};
    collect(f, t, &c);
    assert_int_equal(c.n, 1);
    struct watch_set none;
    watch_set_init(&none);
    for (int round = 0; round < 2; round++) {
        struct snap *s = snap_get(f->db);
        assert_int_equal(watch_changes(s, old, &none, &c), -ESTALE);
        assert_int_equal(watch_changes(s, t, &none, &c), 0);
        snap_unref(s);
        restart(f);
    }
    clock_real();
    changes_done(&c);
}

static struct err *come_and_go(struct txn *t, void *arg)
{
    const char **last = arg;
    if (*last)
        txn_delete(t, CLASS_task, *last);
    rstr_assign(last, txn_add(t, CLASS_task, NULL, NULL)->ref);
    return NULL;
}

static void marks_of_volatile_rows_are_few(void **state)
{
    struct fixture *f = *state;
    const char *last = NULL;
    WRITE(f, make_vdi, .vdi = "OpaqueRef:1");
    struct token old = token_of(f);
    WRITE(f, delete_vdi, .vdi = "OpaqueRef:1");
    struct changes c = {0};
    for (int i = 0; i < 8192; i++)
        assert_null(db_write(f->db, "test", come_and_go, &last));
    collect(f, old, &c);
    assert_int_equal(c.n, 2);
    for (int i = 0; i < 10; i++)
        assert_null(db_write(f->db, "test", come_and_go, &last));
    struct watch_set none;
    watch_set_init(&none);
    struct snap *s = snap_get(f->db);
    assert_int_equal(watch_changes(s, old, &none, &c), -ESTALE);
    snap_unref(s);
    assert_int_equal(store_disk_commits(f->disk), 2);
    changes_done(&c);
    rstr_unref(last);
}

static void note(void *arg, enum watch_why why)
{
    *(int *)arg = (int)why + 1;
}

static void parked_watches_wake_once(void **state)
{
    struct fixture *f = *state;
    int vm = 0, vdi = 0, one = 0, late = 0;
    struct watch_set vms, vdis, first;
    watch_set_init(&vms);
    watch_set_init(&vdis);
    watch_set_init(&first);
    watch_set_add_class(&vms, CLASS_VM);
    watch_set_add_class(&vdis, CLASS_VDI);
    watch_set_add_object(&first, CLASS_VM, "OpaqueRef:1");
    clock_fake(1000 * USEC_PER_SEC);
    struct token t = token_of(f);
    assert_true(watch_park(f->db, t, &vms, USEC_NEVER, note, &vm));
    uint64_t id = watch_park(f->db, t, &vdis, USEC_NEVER, note, &vdi);
    assert_true(watch_park(f->db, t, &first, clock_now() + 10, note, &late));
    assert_true(watch_park(f->db, t, &first, USEC_NEVER, note, &one));
    WRITE(f, make_vm, .vm = "OpaqueRef:2");
    assert_int_equal(vm, WATCH_CHANGED + 1);
    assert_int_equal(one, 0);
    clock_advance(10);
    watch_run_due(f->db);
    assert_int_equal(late, WATCH_TIMEOUT + 1);
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    assert_int_equal(one, WATCH_CHANGED + 1);
    assert_int_equal(watch_park(f->db, t, &vms, USEC_NEVER, note, &vm), 0);
    assert_true(watch_cancel(f->db, id));
    assert_false(watch_cancel(f->db, id));
    assert_int_equal(vdi, 0);
    assert_true(watch_park(f->db, token_of(f), &vdis, USEC_NEVER, note, &vdi));
    restart(f);
    assert_int_equal(vdi, WATCH_CLOSED + 1);
    clock_real();
    watch_set_done(&first);
}

static void count(void *arg, enum watch_why why)
{
    ((int *)arg)[why]++;
}

/* Many waiters for the same classes, some of whom leave or are late, beside others. */
static void many_wait_for_the_same(void **state)
{
    enum { N = 300 };
    struct fixture *f = *state;
    int vm[3] = {0}, vdi[3] = {0};
    uint64_t ids[N];
    struct watch_set vms = {0}, vdis = {0};
    watch_set_add_class(&vms, CLASS_VM);
    watch_set_add_class(&vdis, CLASS_VDI);
    clock_fake(1000 * USEC_PER_SEC);
    struct token t = token_of(f);
    for (usec_t i = 0; i < N; i++) {
        bool late = i % 3 == 0;
        /* The deadlines of the late ones come in another order than they did. */
        usec_t deadline = late ? clock_now() + 1 + i * 7 % N : USEC_NEVER;
        ids[i] = watch_park(f->db, t, i % 2 ? &vms : &vdis, deadline, count, i % 2 ? vm : vdi);
        assert_true(ids[i]);
    }
    for (size_t i = 0; i < N; i += 10)
        assert_true(watch_cancel(f->db, ids[i]));
    for (usec_t i = 0; i < N / 2; i++) {
        clock_advance(1);
        watch_run_due(f->db);
    }
    int late = vm[WATCH_TIMEOUT] + vdi[WATCH_TIMEOUT];
    assert_in_range(late, 30, 60); /* half of 100, less those who left */
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    assert_int_equal(vm[WATCH_CHANGED] + vm[WATCH_TIMEOUT], N / 2);
    assert_int_equal(vdi[WATCH_CHANGED], 0);
    WRITE(f, make_vm, .vm = "OpaqueRef:2");
    clock_advance(N);
    watch_run_due(f->db);
    assert_int_equal(vm[WATCH_CHANGED] + vm[WATCH_TIMEOUT], N / 2);
    WRITE(f, make_vdi, .vdi = "OpaqueRef:3");
    assert_int_equal(vdi[WATCH_CHANGED] + vdi[WATCH_TIMEOUT], N / 2 - N / 10);
    clock_real();
}

struct follow {
    int calls;
    size_t changes;
    struct watch_set set;
};

static void follow(void *arg, const struct snap *s, struct token since)
{
    struct follow *f = arg;
    struct changes c = {0};
    assert_int_equal(watch_changes(s, since, &f->set, &c), 0);
    f->calls++;
    f->changes += c.n;
    changes_done(&c);
}

static void followers_see_every_change(void **state)
{
    struct fixture *f = *state;
    struct follow w = {0};
    watch_set_add_class(&w.set, CLASS_VM);
    uint64_t id = watch_follow(f->db, &w.set, follow, &w);
    WRITE(f, make_vm, .vm = "OpaqueRef:1");
    WRITE(f, make_vdi, .vdi = "OpaqueRef:2");
    WRITE(f, allow_start, .vm = "OpaqueRef:1");
    assert_int_equal(w.calls, 2);
    assert_int_equal(w.changes, 2);
    watch_unfollow(f->db, id);
    WRITE(f, rename_vm, .vm = "OpaqueRef:1", .name = "y");
    assert_int_equal(w.calls, 2);
}

static void it_says_what_it_does(void **state)
{
    struct fixture *f = *state;
    int woken = 0;
    struct watch_set set;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 10000);
    watch_set_init(&set);
    watch_set_add_class(&set, CLASS_VM);
    WRITE(f, make_vdi, .vdi = "OpaqueRef:1");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(f->db);
    uint64_t id = watch_park(f->db, snap_token(s), &set, USEC_NEVER, note, &woken);
    db_dump(f->db, &b);
    assert_non_null(strstr(buf_str(&b), "store=memory epoch=1 generation=1 volatile=0\n"));
    assert_non_null(strstr(buf_str(&b), "commits=1 failures=0 lost=no\n"));
    assert_non_null(strstr(buf_str(&b), "class=VDI rows=1\n"));
    watch_dump(f->db, &b);
    assert_non_null(strstr(buf_str(&b), "parked id=1 classes=1 objects=0\n"));
    assert_true(watch_cancel(f->db, id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_says_what_it_does),
        CASE(many_wait_for_the_same),
        CASE(changes_come_in_order_and_once),
        CASE(a_row_that_comes_back_is_told_once),
        CASE(tokens_of_another_process_count_by_generation),
        CASE(old_marks_are_forgotten_and_their_tokens_refused),
        CASE(marks_of_volatile_rows_are_few),
        CASE(parked_watches_wake_once),
        CASE(followers_see_every_change),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
