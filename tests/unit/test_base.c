/* Tests of src/base. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/resident.h"
#include "base/rstr.h"
#include "base/str.h"
#include "base/turn.h"
#include "base/val.h"

static void numbers_keep_their_range(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i;
    assert_int_equal(str_u64(view_of("18446744073709551615"), 0, UINT64_MAX, &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(str_u64(view_of("18446744073709551616"), 0, UINT64_MAX, &u), -ERANGE);
    assert_int_equal(str_u64(view_of("12x"), 0, 99, &u), -EINVAL);
    assert_int_equal(str_u64(view_of(""), 0, 99, &u), -EINVAL);
    assert_int_equal(str_i64(view_of("-9223372036854775808"), INT64_MIN, INT64_MAX, &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(str_i64(view_of("9223372036854775808"), INT64_MIN, INT64_MAX, &i), -ERANGE);
    assert_int_equal(str_size(view_of("2MiB"), &u), 0);
    assert_int_equal(u, 2 << 20);
    assert_int_equal(str_size(view_of("16777216TiB"), &u), -ERANGE);
}

static void datetimes_round_trip(void **state)
{
    (void)state;
    static const char *const forms[] = {"20250319T04:16:24Z", "2025-03-19T04:16:24Z",
                                        "20250319T04:16:24.123Z", "20250319T04:16:24",
                                        "20250319T05:16:24+01:00"};
    for (size_t n = 0; n < ARRAY_LEN(forms); n++) {
        int64_t t;
        char text[DATETIME_SIZE];
        assert_int_equal(str_parse_datetime(view_of(forms[n]), &t), 0);
        str_datetime(t, text);
        assert_string_equal(text, "20250319T04:16:24Z");
    }
    int64_t t;
    assert_int_equal(str_parse_datetime(view_of("20251319T04:16:24Z"), &t), -EINVAL);
    assert_int_equal(str_parse_datetime(view_of("20250319T04:16:24Zx"), &t), -EINVAL);
}

static void utf8_is_judged_strictly(void **state)
{
    (void)state;
    assert_true(str_is_utf8(view_of("grüße €𝄞")));
    assert_false(str_is_utf8(view_of("\xc0\xaf")));
    assert_false(str_is_utf8(view_of("\xed\xa0\x80")));
    assert_false(str_is_utf8(view_of("\xe2\x82")));
}

static void buffers_never_pass_their_ceiling(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 8);
    buf_puts(&b, "12345678");
    assert_true(buf_ok(&b));
    buf_putc(&b, '9');
    assert_false(buf_ok(&b));
    assert_string_equal(buf_str(&b), "12345678");
}

static void maps_find_keys_small_and_large(void **state)
{
    (void)state;
    _cleanup_(val_unrefp) struct val *m = val_map();
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        val_put_int(m, key, i);
    }
    val_del(m, "k500");
    assert_null(val_map_get(m, "k500"));
    for (int i = 0; i < 1000; i += 7) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(val_get_int(val_map_get(m, key)), i);
    }
    _cleanup_(val_unrefp) struct val *n = val_with(m, "k1", "x");
    assert_int_equal(val_get_int(val_map_get(m, "k1")), 1);
    assert_string_equal(val_map_str(n, "k1", ""), "x");
    assert_false(val_equal(m, n));
}

static void errors_carry_code_and_parameters(void **state)
{
    (void)state;
    _cleanup_(err_freep) struct err *e =
        err_make("VM_BAD_POWER_STATE", __FILE__, __LINE__, 3, "r", "halted", "running");
    e = err_wrap(e, "starting '%s'", "demo");
    assert_true(err_is(e, "VM_BAD_POWER_STATE"));
    assert_string_equal(err_param(e, 2), "running");
    assert_string_equal(err_param(e, 3), "");
    _cleanup_(freep) char *text = err_text(e);
    assert_non_null(strstr(text, "starting 'demo': VM_BAD_POWER_STATE('r', 'halted', 'running')"));
}

static void files_are_replaced_whole(void **state)
{
    (void)state;
    char dir[] = "/tmp/cairn-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    _cleanup_(freep) char *deep = mem_printf("%s/a/b", dir);
    _cleanup_(freep) char *path = mem_printf("%s/f", deep);
    assert_int_equal(fd_mkdirs(deep, 0700), 0);
    assert_int_equal(fd_replace_file(path, "hello", 5, 0600), 0);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 100);
    assert_int_equal(fd_read_file(path, 100, &b), 0);
    assert_string_equal(buf_str(&b), "hello");
    buf_clear(&b);
    assert_int_equal(fd_read_file(path, 4, &b), -E2BIG);
    assert_int_equal(fd_remove_tree(dir), 0);
    assert_int_equal(access(dir, F_OK), -1);
}

/* As of a process that was stopped: nobody may wait for it for ever. */
static void a_listener_that_takes_nobody_is_not_waited_for(void **state)
{
    (void)state;
    char dir[] = "/tmp/test-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    _cleanup_(freep) char *path = mem_printf("%s/sock", dir);
    _cleanup_(fd_closep) int listener = fd_listen_unix(path, 0600);
    assert_true(listener >= 0);
    assert_int_equal(listen(listener, 0), 0);
    _cleanup_(fd_closep) int first = fd_connect_unix(path);
    assert_true(first >= 0);
    assert_int_equal(fd_connect_unix(path), -ETIMEDOUT);
    _cleanup_(fd_closep) int taken = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(taken >= 0);
    _cleanup_(fd_closep) int second = fd_connect_unix(path);
    assert_true(second >= 0);
    assert_int_equal(fd_remove_tree(dir), 0);
}

static void datetimes_agree_with_the_library(void **state)
{
    char text[DATETIME_SIZE], expected[64];
    for (int64_t s = -62135596800; s < 253402300800; s += 86400 * 17 + 4321) {
        time_t t = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        snprintf(expected, sizeof(expected), "%04d%02d%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        str_datetime(s, text);
        assert_string_equal(text, expected);
    }
    str_datetime(253402300800, text);
    assert_string_equal(text, "19700101T00:00:00Z");
}

static void integers_are_written_as_by_printf(void **state)
{
    static const int64_t values[] = {0, 7, -1, 10, 1234567890123, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        _cleanup_(buf_done) struct buf b;
        char expected[32];
        buf_init(&b, 100);
        buf_put_int(&b, values[i]);
        snprintf(expected, sizeof(expected), "%lld", (long long)values[i]);
        assert_string_equal(buf_str(&b), expected);
    }
}

static const struct val_shape *shapes[2];
static unsigned n_shapes;

static void maps_of_one_shape_share_their_keys(void **state)
{
    for (unsigned n = 2; n < 40; n += 19) { /* without and with an index */
        char names[40][8];
        const char *keys[40];
        struct val *items[40], *other[40];
        for (unsigned i = 0; i < n; i++) {
            snprintf(names[i], sizeof(names[i]), "k%u", i);
            keys[i] = names[i];
            items[i] = val_int(i);
            other[i] = val_int(i);
        }
        const struct val_shape *shape = val_shape_new(keys, n);
        struct val *a = val_shaped(shape, items), *b = val_shaped(shape, other);
        assert_ptr_equal(val_key_at(a, 1), val_key_at(b, 1));
        assert_true(val_equal(a, b));
        assert_int_equal(val_get_int(val_map_get(a, "k1")), 1);
        assert_null(val_map_get(a, "k99"));
        val_put_str(b, "more", "x"); /* on its own from here */
        val_del(b, "k0");
        assert_int_equal(val_count(b), n);
        assert_string_equal(val_map_str(b, "more", ""), "x");
        assert_null(val_map_get(b, "k0"));
        assert_non_null(val_map_get(a, "k0"));
        _cleanup_(val_unrefp) struct val *copy = val_copy(a);
        val_unref(a);
        assert_int_equal(val_get_int(val_map_get(copy, "k1")), 1);
        val_unref(b);
        shapes[n_shapes++] = shape; /* never freed, but not forgotten either */
    }
}

/* The kernel's view of a thread's turns: 0 where it does not tell. */
static uint64_t turn_ns(void)
{
    uint64_t attributes[6] = {0};
    assert_int_equal(syscall(SYS_sched_getattr, 0, attributes, sizeof(attributes), 0), 0);
    assert_int_equal(attributes[0] >> 32, SCHED_OTHER);
    return attributes[3];
}

static void *usual_turn(void *arg)
{
    *(uint64_t *)arg = turn_ns();
    return NULL;
}

static void *short_turn(void *arg)
{
    uint64_t *seen = arg;
    pthread_t t;
    turn_shorten();
    seen[0] = turn_ns();
    assert_int_equal(pthread_create(&t, NULL, usual_turn, &seen[1]), 0);
    pthread_join(t, NULL);
    return NULL;
}

static void short_turns_are_a_threads_own(void **state)
{
    uint64_t usual = turn_ns(), seen[2];
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, short_turn, seen), 0);
    pthread_join(t, NULL);
    assert_int_equal(turn_ns(), usual);
    assert_int_equal(seen[1], usual);
    if (usual)
        assert_true(seen[0] < usual);
}

#define GROWTH (32u << 20)

static void memory_is_given_back_after_growth_alone(void **state)
{
    struct resident r = {0};
    assert_true(resident_trim(&r, 1)); /* the first time, all is growth */
    uint64_t before = resident_bytes();
    assert_in_range(before, 1, r.least + GROWTH / 2);
    assert_false(resident_trim(&r, GROWTH));
    char *p = mmap(NULL, 2 * GROWTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    memset(p, 1, 2 * GROWTH);
    assert_true(resident_bytes() >= before + GROWTH);
    assert_true(resident_trim(&r, GROWTH));
    assert_false(resident_trim(&r, GROWTH)); /* what is in use stays, and is not tried again */
    munmap(p, 2 * GROWTH);
    assert_false(resident_trim(&r, GROWTH));
    assert_true(r.least <= before + GROWTH); /* from where it would be growth again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_keep_their_range),
        cmocka_unit_test(maps_of_one_shape_share_their_keys),
        cmocka_unit_test(datetimes_round_trip),
        cmocka_unit_test(short_turns_are_a_threads_own),
        cmocka_unit_test(datetimes_agree_with_the_library),
        cmocka_unit_test(integers_are_written_as_by_printf),
        cmocka_unit_test(utf8_is_judged_strictly),
        cmocka_unit_test(buffers_never_pass_their_ceiling),
        cmocka_unit_test(maps_find_keys_small_and_large),
        cmocka_unit_test(errors_carry_code_and_parameters),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(a_listener_that_takes_nobody_is_not_waited_for),
        cmocka_unit_test(memory_is_given_back_after_growth_alone),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
