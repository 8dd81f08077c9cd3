/*
 * test_sr_space.c: how full repositories of files are is looked at, and told of once. What is
 * little is set from everything to nothing, so that the tests do not depend on a disk's room.
 */
#include "op/world.h"

#include "../torture/lab_test.h"
#include "base/str.h"

static const char *the_pbd(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return rstr_new(val_str_at(snap_SR(s, w.sr)->PBDs, 0));
}

struct change {
    const char *low; /* NULL: as it is */
    int64_t used;    /* < 0: as it is */
};

static struct err *change_txn(struct txn *t, void *arg)
{
    const struct change *c = arg;
    struct rec_SR *r = txn_edit_SR(t, w.sr);
    if (c->low)
        val_assign(&r->other_config, val_with(r->other_config, "low-space", c->low));
    if (c->used >= 0)
        r->physical_utilisation = c->used;
    return NULL;
}

static void set_low(const char *percent)
{
    ok(db_write(w.db, "change", change_txn, &(struct change){percent, -1}));
}

static struct err *acknowledge_txn(struct txn *t, void *arg)
{
    txn_each (row, t, CLASS_message)
        if (str_eq(rec_message(row)->name, "SR_LOW_SPACE")) {
            txn_delete(t, CLASS_message, row->ref);
            break;
        }
    return NULL;
}

static void what_is_used_is_written_down(void **state)
{
    set_low("0");
    ok(db_write(w.db, "change", change_txn, &(struct change){NULL, INT64_MAX / 2}));
    ok(ops_space(w.ops));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    const struct rec_SR *sr = snap_SR(s, w.sr);
    assert_true(sr->physical_utilisation <= sr->physical_size && sr->physical_size > 0);
}

static void little_is_told_once_until_there_is_room(void **state)
{
    set_low("0");
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 0);
    set_low("100");
    ok(ops_space(w.ops));
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 1);
    set_low("0");
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 0);
    set_low("100");
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 1);
}

static void who_has_heard_is_left_alone(void **state)
{
    set_low("100");
    ok(ops_space(w.ops));
    ok(db_write(w.db, "acknowledge", acknowledge_txn, NULL));
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 0);
}

/* A process that comes after one which has told does not tell again. */
static void a_successor_knows(void **state)
{
    set_low("100");
    ok(ops_space(w.ops));
    sr_space_free(w.ops->space);
    w.ops->space = sr_space_new();
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 1);
}

static void what_is_not_attached_is_not_looked_at(void **state)
{
    set_low("100");
    _cleanup_(rstr_unrefp) const char *pbd = the_pbd();
    ok(lab_call(&w, PBD_unplug, pbd, .self = pbd));
    ok(ops_space(w.ops));
    assert_int_equal(alerts("SR_LOW_SPACE"), 0);
    ok(lab_call(&w, PBD_plug, pbd, .self = pbd));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_test_begin, lab_test_end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_is_used_is_written_down),          TEST(little_is_told_once_until_there_is_room),
        TEST(who_has_heard_is_left_alone),           TEST(a_successor_knows),
        TEST(what_is_not_attached_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
