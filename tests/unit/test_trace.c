/* test_trace.c: spans of what somebody wants, and of nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "task/trace.h"

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void span(enum trace_part part, const char *name)
{
    struct trace_span s;
    trace_begin(&s, part, NULL);
    trace_end(&s, name, "", NULL);
    trace_end(&s, "again", "", NULL);
}

static void what_nobody_wants_leaves_nothing(void **state)
{
    uint64_t lost;
    trace_want(0);
    span(TRACE_CALLS, "a");
    trace_want(1u << TRACE_DISKS);
    span(TRACE_CALLS, "b");
    assert_null(trace_take(&lost));
    span(TRACE_DISKS, "c");
    struct trace_done *list = trace_take(&lost);
    assert_string_equal(list->name, "c");
    assert_null(list->next);
    assert_null(list->error);
    assert_int_equal(lost, 0);
    trace_done_free(list);
}

static void spans_know_their_parents(void **state)
{
    struct trace_id far = {0}, fresh;
    struct trace_span upper, lower;
    uint64_t lost;
    trace_want(1u << TRACE_CALLS);
    assert_true(trace_id_parse(PARENT, &far));
    trace_begin(&upper, TRACE_CALLS, &far);
    trace_begin(&lower, TRACE_CALLS, &upper.id);
    assert_memory_equal(upper.parent, far.span, sizeof(far.span));
    assert_memory_equal(lower.parent, upper.id.span, sizeof(far.span));
    assert_memory_equal(lower.id.trace, far.trace, sizeof(far.trace));
    assert_memory_not_equal(lower.id.span, upper.id.span, sizeof(far.span));
    struct err *e = err_internal("broken");
    trace_end(&lower, "lower", "OpaqueRef:task", e);
    trace_end(&upper, "upper", "", NULL);
    err_free(e);
    struct trace_done *list = trace_take(&lost);
    assert_string_equal(list->error, "INTERNAL_ERROR");
    assert_string_equal(list->task, "OpaqueRef:task");
    assert_string_equal(list->next->name, "upper");
    trace_done_free(list);
    trace_id_new(&fresh);
    assert_true(trace_id_is_set(&fresh));
    trace_want(0);
    trace_id_new(&fresh);
    assert_false(trace_id_is_set(&fresh));
}

static void headers_are_read_strictly(void **state)
{
    static const char *const bad[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319cxb7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        PARENT "0",
    };
    struct trace_id id = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(trace_id_parse(bad[i], &id));
    assert_false(trace_id_is_set(&id));
}

static void what_does_not_fit_is_counted(void **state)
{
    uint64_t lost;
    trace_want(1u << TRACE_CALLS);
    for (unsigned i = 0; i < TRACE_QUEUE_MAX + 3; i++)
        span(TRACE_CALLS, "many");
    struct trace_done *list = trace_take(&lost);
    assert_int_equal(lost, 3);
    trace_done_free(list);
    span(TRACE_CALLS, "then");
    list = trace_take(&lost);
    assert_string_equal(list->name, "then");
    assert_int_equal(lost, 0);
    trace_done_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_wants_leaves_nothing),
        cmocka_unit_test(spans_know_their_parents),
        cmocka_unit_test(headers_are_read_strictly),
        cmocka_unit_test(what_does_not_fit_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
