/* Tests of src/codec/thin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "codec/thin.h"

static void messages_have_the_known_bytes(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1024);
    thin_put_hello(&b);
    assert_int_equal(b.size, THIN_HELLO_SIZE);
    assert_memory_equal(b.data, "XenSource thin CLI protocol\0\0\0\0\2\0\0\0", THIN_HELLO_SIZE);
    buf_clear(&b);
    thin_put(&b, &(struct thin_msg){.tag = THIN_PRINT, .n = 1, .strings = {view_of("hi")}});
    assert_int_equal(b.size, 18);
    assert_memory_equal(b.data, "\x0e\0\0\0\x09\0\0\0\0\0\0\0\2\0\0\0hi", 18);
    buf_clear(&b);
    thin_put(&b, &(struct thin_msg){.tag = THIN_EXIT, .number = 1});
    assert_int_equal(b.size, 16);
    assert_memory_equal(b.data, "\x0c\0\0\0\x09\0\0\0\4\0\0\0\1\0\0\0", 16);
}

static void round_trip(const struct thin_msg *m)
{
    _cleanup_(buf_done) struct buf b;
    struct thin_msg got;
    uint32_t size;
    buf_init(&b, 4096);
    thin_put(&b, m);
    assert_int_equal(thin_get_size(b.data, &size), 0);
    assert_int_equal(size, b.size - 4);
    assert_int_equal(thin_get((struct view){b.data + 4, size}, &got), 0);
    assert_int_equal(got.tag, m->tag);
    assert_int_equal(got.number, m->number);
    assert_int_equal(got.n, m->n);
    for (unsigned i = 0; i < m->n; i++) {
        assert_int_equal(got.strings[i].size, m->strings[i].size);
        assert_memory_equal(got.strings[i].p, m->strings[i].p, m->strings[i].size);
    }
    /* Every proper prefix and any excess is refused. */
    for (uint32_t cut = 0; cut < size; cut++)
        assert_int_equal(thin_get((struct view){b.data + 4, cut}, &got), -EPROTO);
    buf_putc(&b, 'x');
    assert_int_equal(thin_get((struct view){b.data + 4, size + 1}, &got), -EPROTO);
}

static void messages_round_trip(void **state)
{
    (void)state;
    struct view a = view_of("file"), url = view_of("/export?x=1"), none = view_of("");
    round_trip(&(struct thin_msg){.tag = THIN_PRINT, .n = 1, .strings = {a}});
    round_trip(&(struct thin_msg){.tag = THIN_HTTP_GET, .n = 2, .strings = {a, url}});
    round_trip(&(struct thin_msg){.tag = THIN_HTTP_CONNECT, .n = 1, .strings = {url}});
    round_trip(&(struct thin_msg){.tag = THIN_ERROR, .n = 1, .strings = {a}});
    round_trip(&(struct thin_msg){.tag = THIN_ERROR, .n = 3, .strings = {a, url, none}});
    round_trip(&(struct thin_msg){.tag = THIN_CHUNK, .number = 0xfffffff0});
    round_trip(&(struct thin_msg){.tag = THIN_PROMPT});
    round_trip(&(struct thin_msg){.tag = THIN_OK});
    round_trip(&(struct thin_msg){.tag = THIN_WAIT});
}

static void strangers_are_refused(void **state)
{
    (void)state;
    uint32_t n;
    struct thin_msg m;
    char hello[THIN_HELLO_SIZE] = "XenSource thin CLI protocol\1\0\0\0\2\0\0";
    assert_int_equal(thin_get_hello(hello, &n), -EPROTO);
    hello[27] = 0;
    assert_int_equal(thin_get_hello(hello, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(thin_get_size("\xff\xff\xff\xff", &n), -EMSGSIZE);
    /* A response tag in the group of commands. */
    assert_int_equal(thin_get((struct view){"\x09\0\0\0\5\0\0\0", 8}, &m), -EPROTO);
    /* More strings than a message may have. */
    assert_int_equal(thin_get((struct view){"\x09\0\0\0\x0e\0\0\0\0\0\0\0\xff\0\0\0", 16}, &m),
                     -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_have_the_known_bytes),
        cmocka_unit_test(messages_round_trip),
        cmocka_unit_test(strangers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
