/* What a feed is told of, and what event.next makes of it. */
#include "state_fixture.h"

#include "api/feed.h"
#include "base/str.h"
#include "loop/loop.h"

static void free_feed(struct feed **f)
{
    feed_free(*f);
}

static struct watch_set vms(void)
{
    struct watch_set set;
    watch_set_init(&set);
    watch_set_add_class(&set, CLASS_VM);
    return set;
}

/* "add:a mod:b" of what is new; "lost". The caller frees. */
static char *told(struct fixture *fx, struct feed *f, uint64_t *cursor)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    _cleanup_(watch_set_done) struct watch_set set = vms();
    _cleanup_(snap_unrefp) struct snap *s = snap_get(fx->db);
    _cleanup_(val_unrefp) struct val *events = feed_collect(f, s, &set, cursor);
    if (!events)
        buf_puts(&b, "lost");
    for (size_t i = 0; events && i < val_count(events); i++) {
        const struct val *e = val_at(events, i);
        buf_printf(&b, "%s%s:%s", i ? " " : "", val_map_str(e, "operation", ""),
                   val_map_str(val_map_get(e, "snapshot"), "name_label", ""));
    }
    buf_puts(&b, "");
    return b.size ? buf_take(&b) : (buf_done(&b), mem_strdup(""));
}

static void expect(struct fixture *fx, struct feed *f, uint64_t *cursor, const char *wanted)
{
    _cleanup_(freep) char *got = told(fx, f, cursor);
    assert_string_equal(got, wanted);
}

static void every_change_is_told(void **state)
{
    struct fixture *fx = *state;
    _cleanup_(free_feed) struct feed *f = feed_new(fx->db);
    WRITE(fx, make_vm, .vm = "OpaqueRef:0", .name = "before");
    uint64_t cursor = feed_listen(f);
    WRITE(fx, make_vm, .vm = "OpaqueRef:1", .name = "a");
    WRITE(fx, rename_vm, .vm = "OpaqueRef:1", .name = "b");
    WRITE(fx, rename_vm, .vm = "OpaqueRef:1", .name = "b"); /* no change */
    WRITE(fx, allow_start, .vm = "OpaqueRef:1");            /* volatile */
    WRITE(fx, delete_vm, .vm = "OpaqueRef:1");
    expect(fx, f, &cursor, "add:a mod:b mod:b del:b");
    expect(fx, f, &cursor, "");
    WRITE(fx, rename_vm, .vm = "OpaqueRef:0", .name = "after");
    expect(fx, f, &cursor, "mod:after");
    feed_unlisten(f);
}

/* What could not be made durable was never seen, so it is not told. */
static void a_failing_store_takes_changes_back(void **state)
{
    struct fixture *fx = *state;
    _cleanup_(free_feed) struct feed *f = feed_new(fx->db);
    WRITE(fx, make_vm, .vm = "OpaqueRef:1", .name = "good");
    uint64_t cursor = feed_listen(f);
    store_disk_fail(fx->disk, 0, 1);
    struct ask bad = {.vm = "OpaqueRef:1", .name = "bad"};
    write_fails(fx, rename_vm, &bad, "INTERNAL_ERROR");
    expect(fx, f, &cursor, "");
    WRITE(fx, rename_vm, .vm = "OpaqueRef:1", .name = "better");
    expect(fx, f, &cursor, "mod:better");
    feed_unlisten(f);
}

static void who_falls_behind_is_told(void **state)
{
    struct fixture *fx = *state;
    _cleanup_(free_feed) struct feed *f = feed_new(fx->db);
    WRITE(fx, make_vm, .vm = "OpaqueRef:1", .name = "x");
    uint64_t slow = feed_listen(f), last = feed_last(f);
    for (int i = 0; i < 8000; i++) {
        _cleanup_(freep) char *name = mem_printf("%d", i);
        WRITE(fx, rename_vm, .vm = "OpaqueRef:1", .name = name);
    }
    assert_int_equal(feed_last(f), last + 8000);
    expect(fx, f, &slow, "lost");
    expect(fx, f, &slow, "");
    WRITE(fx, rename_vm, .vm = "OpaqueRef:1", .name = "y");
    expect(fx, f, &slow, "mod:y");
    feed_unlisten(f);
}

static void nothing_is_kept_for_nobody(void **state)
{
    struct fixture *fx = *state;
    _cleanup_(free_feed) struct feed *f = feed_new(fx->db);
    WRITE(fx, make_vm, .vm = "OpaqueRef:1", .name = "x");
    uint64_t first = feed_listen(f);
    WRITE(fx, rename_vm, .vm = "OpaqueRef:1", .name = "y");
    feed_unlisten(f);
    uint64_t second = feed_listen(f);
    expect(fx, f, &first, "lost");
    expect(fx, f, &second, "");
    feed_unlisten(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_change_is_told), CASE(a_failing_store_takes_changes_back),
        CASE(who_falls_behind_is_told), CASE(nothing_is_kept_for_nobody),
        THREADED(every_change_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
