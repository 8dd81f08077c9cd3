/*
 * test_allowed.c: allowed_operations tell the truth. For every object of every class, on a host
 * with a VM in each power state: a call of an operation that is listed is let in, one of an
 * operation that is not listed is turned away, and nothing is listed that no message does. The
 * calls are the real ones up to the handler, in whose place stands one that does nothing.
 */
#include "../torture/lab_test.h"

#include "base/str.h"
#include "state/desc.h"
#include "task/claim.h"

static bool was_let_in;

static struct err *do_nothing(struct op *op, const void *args, struct val **ret)
{
    was_let_in = true;
    return NULL;
}

static bool let_in(const struct msg_desc *m, const char *ref)
{
    struct run_request rq = {.msg = m,
                             .fn = do_nothing,
                             .args = mem_zalloc(m->args_size + 1, 1),
                             .self = ref,
                             .caller = caller_internal};
    was_let_in = false;
    struct err *e = tasks_call(w.tasks, &rq, NULL);
    assert_int_equal(was_let_in, e == NULL);
    err_free(e);
    return was_let_in;
}

static bool is_done(const struct msg_desc *m, int operation)
{
    return m->op && m->op->op == operation && !(m->flags & (MSG_UNIMPLEMENTED | MSG_REMOVED));
}

/* Of one operation of one object; how many calls were tried. */
static unsigned check_operation(const struct class_desc *c, const struct row *row, int operation,
                                bool listed, const char *name)
{
    unsigned tried = 0, messages = 0;
    for (unsigned i = 0; i < c->n_msgs; i++) {
        messages += c->msgs[i]->op && c->msgs[i]->op->op == operation;
        if (!is_done(c->msgs[i], operation))
            continue;
        tried++;
        if (let_in(c->msgs[i], row->ref) != listed)
            fail_msg("%s.%s on %s: %s", c->name, c->msgs[i]->name, row->ref,
                     listed ? "listed and refused" : "not listed and accepted");
    }
    if (listed && messages > 0 && tried == 0)
        fail_msg("%s of %s is listed, but nothing does it", name, c->name);
    return tried;
}

/* Tasks say for themselves what may be done to them. */
static unsigned check_class(const struct snap *s, int cls)
{
    const struct class_desc *c = desc_classes[cls];
    unsigned tried = 0;
    if (c->n_ops == 0 || c->field_allowed < 0 || cls == CLASS_task)
        return 0;
    const struct field_desc *f = &c->fields[c->field_allowed];
    const struct enum_desc *e = f->type->elem->enm;
    snap_each (row, s, cls) {
        _cleanup_(val_unrefp) struct val *allowed = row_get(row, f);
        for (unsigned op = 0; op < e->n_values; op++)
            tried += check_operation(c, row, (int)op, val_set_has(allowed, e->values[op]),
                                     e->values[op]);
    }
    return tried;
}

static void check_all(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    unsigned tried = 0;
    for (unsigned cls = 0; cls < desc_n_classes; cls++)
        tried += check_class(s, (int)cls);
    assert_true(tried > 100);
}

static void while_halted(void **state)
{
    check_all();
}

static void while_running(void **state)
{
    START();
    check_all();
    assert_true(allows("changing_VCPUs_live") && allows("changing_memory_live"));
    assert_true(allows("snapshot") && allows("checkpoint"));
    assert_false(allows("pool_migrate"));
}

static void while_paused(void **state)
{
    ok(VM(start, .start_paused = true));
    check_all();
}

static void while_suspended(void **state)
{
    START();
    ok(VM(suspend));
    check_all();
}

static void as_a_template(void **state)
{
    ok(SET(is_a_template, .value = true));
    check_all();
}

static struct err *join_appliance(struct txn *t, void *arg)
{
    rstr_assign(&txn_edit_VM(t, w.vm)->appliance, txn_add_VM_appliance(t)->row.ref);
    return NULL;
}

static void in_an_appliance(void **state)
{
    ok(db_write(w.db, "appliance", join_appliance, NULL));
    check_all();
    START();
    check_all();
}

static void with_blocked_operations(void **state)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    val_put_str(map, "start", "no");
    val_put_str(map, "hard_shutdown", "no");
    ok(SET(blocked_operations, .value = map));
    check_all();
    assert_false(allows("start"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_test_begin, lab_test_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(while_halted),
        TEST(while_running),
        TEST(while_paused),
        TEST(while_suspended),
        TEST(as_a_template),
        TEST(in_an_appliance),
        TEST(with_blocked_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
