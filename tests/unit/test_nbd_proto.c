/*
 * test_nbd_proto.c: the NBD handshake as bytes, option by option.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "codec/nbd.h"
#include "disk/nbd_proto.h"

struct talk {
    struct nbd_handshake h;
    struct buf out;
};

static int begin(void **state)
{
    struct talk *t = mem_new(struct talk);
    t->h = (struct nbd_handshake){.export_name = "disk", .size = 4096, .flags = NBD_FLAG_HAS_FLAGS};
    buf_init(&t->out, 65536);
    nbd_greet(&t->h, &t->out);
    assert_int_equal(t->out.size, 18);
    size_t used;
    assert_int_equal(nbd_handshake_step(&t->h, (const uint8_t *)"\0\0\0\3", 4, &used, &t->out),
                     NBD_AGAIN);
    buf_clear(&t->out);
    *state = t;
    return 0;
}

static int end(void **state)
{
    struct talk *t = *state;
    buf_done(&t->out);
    free(t);
    return 0;
}

/* Sends an option; afterwards `out` holds the replies to it alone. */
static enum nbd_step option(struct talk *t, uint32_t opt, const void *data, size_t size)
{
    uint8_t bytes[512];
    size_t used;
    memcpy(bytes, "IHAVEOPT", 8);
    put_be32(bytes + 8, opt);
    put_be32(bytes + 12, (uint32_t)size);
    if (size)
        memcpy(bytes + 16, data, size);
    buf_clear(&t->out);
    assert_int_equal(nbd_handshake_step(&t->h, bytes, 15 + size, &used, &t->out), NBD_MORE);
    assert_int_equal(used, 0);
    enum nbd_step step = nbd_handshake_step(&t->h, bytes, 16 + size, &used, &t->out);
    assert_int_equal(used, 16 + size);
    return step;
}

/* The type of the n-th reply in `out`. */
static uint32_t reply(const struct talk *t, unsigned n, const char **ret_data)
{
    size_t at = 0;
    for (;; n--) {
        assert_true(at + 20 <= t->out.size);
        if (ret_data)
            *ret_data = t->out.data + at + 20;
        if (n == 0)
            return get_be32(t->out.data + at + 12);
        at += 20 + get_be32(t->out.data + at + 16);
    }
}

static void test_go(void **state)
{
    struct talk *t = *state;
    const char *data;
    assert_int_equal(option(t, 7, "\0\0\0\4disk\0\1\0\3", 12), NBD_TRANSMIT);
    assert_int_equal(reply(t, 0, &data), 3);
    assert_int_equal(get_be64(data + 2), 4096);
    assert_int_equal(get_be16(data + 10), NBD_FLAG_HAS_FLAGS);
    assert_int_equal(reply(t, 1, &data), 3);
    assert_int_equal(get_be32(data + 2), 512);
    assert_int_equal(get_be32(data + 10), NBD_MAX_DATA);
    assert_int_equal(reply(t, 2, NULL), 1);
}

static void test_empty_name_is_ours(void **state)
{
    assert_int_equal(option(*state, 7, "\0\0\0\0\0\0", 6), NBD_TRANSMIT);
}

static void test_other_name(void **state)
{
    assert_int_equal(option(*state, 7, "\0\0\0\4risk\0\0", 10), NBD_AGAIN);
    assert_int_equal(reply(*state, 0, NULL), 0x80000006);
    assert_int_equal(option(*state, 1, "risk", 4), NBD_END);
}

static void test_malformed(void **state)
{
    static const struct {
        uint32_t opt;
        const char *data;
        size_t size;
    } bad[] = {{7, "", 0},
               {7, "\0\0\0\4disk", 8},
               {7, "\0\0\0\4disk\0\1", 10},
               {3, "x", 1},
               {8, "x", 1},
               {7, "\377\377\377\377disk", 8},
               {9, "", 0},
               {9, "\0\0\0\0\0\0\0\1", 8}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(option(*state, bad[i].opt, bad[i].data, bad[i].size), NBD_AGAIN);
        assert_int_equal(reply(*state, 0, NULL), 0x80000003);
    }
    assert_int_equal(option(*state, 5, "", 0), NBD_AGAIN); /* TLS */
    assert_int_equal(reply(*state, 0, NULL), 0x80000001);
}

static void test_too_large_ends(void **state)
{
    struct talk *t = *state;
    uint8_t head[16] = "IHAVEOPT\0\0\0\7";
    size_t used;
    put_be32(head + 12, NBD_OPTION_MAX + 1);
    assert_int_equal(nbd_handshake_step(&t->h, head, 16, &used, &t->out), NBD_END);
    assert_int_equal(
        nbd_handshake_step(&t->h, (const uint8_t *)"GET / HTTP/1.1\r\n", 16, &used, &t->out),
        NBD_END);
}

static const char set_context[] = "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation";

static void test_context_needs_structured(void **state)
{
    struct talk *t = *state;
    (void)option(t, 10, set_context, sizeof(set_context) - 1);
    assert_int_equal(reply(t, 0, NULL), 0x80000003);
    assert_false(t->h.has_context);
    (void)option(t, 8, "", 0);
    assert_int_equal(reply(t, 0, NULL), 1);
    (void)option(t, 10, set_context, sizeof(set_context) - 1);
    const char *data;
    assert_int_equal(reply(t, 0, &data), 4);
    assert_memory_equal(data, "\0\0\0\1base:allocation", 19);
    assert_true(t->h.has_context);
    (void)option(t, 10, "\0\0\0\4disk\0\0\0\1\0\0\0\5other", 21);
    assert_int_equal(reply(t, 0, NULL), 1);
    assert_false(t->h.has_context);
}

static void test_list(void **state)
{
    const char *data;
    assert_int_equal(option(*state, 3, "", 0), NBD_AGAIN);
    assert_int_equal(reply(*state, 0, &data), 2);
    assert_memory_equal(data, "\0\0\0\4disk", 8);
    assert_int_equal(reply(*state, 1, NULL), 1);
}

static void test_request(void **state)
{
    uint8_t b[NBD_REQUEST_SIZE] = {0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1};
    struct nbd_request r;
    put_be64(b + 8, 77);
    put_be64(b + 16, 4096);
    put_be32(b + 24, 512);
    assert_int_equal(nbd_request_parse(b, &r), 0);
    assert_true(r.flags == NBD_CMD_FLAG_FUA && r.type == NBD_CMD_WRITE && r.cookie == 77);
    assert_true(r.offset == 4096 && r.size == 512);
    b[3] = 0;
    assert_int_equal(nbd_request_parse(b, &r), -EINVAL);
}

static void test_errors(void **state)
{
    assert_int_equal(nbd_error_of(ENOSPC), 28);
    assert_int_equal(nbd_error_of(EROFS), 1);
    assert_int_equal(nbd_error_of(EUCLEAN), 5);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void test_bitmap_context(void **state)
{
    struct talk *t = *state;
    const char *data;
    static const char both[] = "\0\0\0\4disk\0\0\0\2\0\0\0\17base:allocation"
                               "\0\0\0\26qemu:dirty-bitmap:then";
    assert_int_equal(option(t, 8, NULL, 0), NBD_AGAIN);
    assert_int_equal(option(t, 10, both, sizeof(both) - 1), NBD_AGAIN);
    assert_int_equal(reply(t, 1, NULL), 1); /* nobody has such a bitmap */
    assert_true(t->h.has_context && !t->h.has_bitmap);
    t->h.bitmap = "then";
    assert_int_equal(option(t, 10, both, sizeof(both) - 1), NBD_AGAIN);
    assert_int_equal(reply(t, 0, &data), 4);
    assert_int_equal(get_be32(data), NBD_CONTEXT_ID);
    assert_int_equal(reply(t, 1, &data), 4);
    assert_int_equal(get_be32(data), NBD_BITMAP_ID);
    assert_memory_equal(data + 4, "qemu:dirty-bitmap:then", 22);
    assert_int_equal(reply(t, 2, NULL), 1);
    assert_true(t->h.has_context && t->h.has_bitmap);
    assert_int_equal(option(t, 10, "\0\0\0\4disk\0\0\0\1\0\0\0\26qemu:dirty-bitmap:thin", 38),
                     NBD_AGAIN);
    assert_int_equal(reply(t, 0, NULL), 1);
    assert_true(!t->h.has_context && !t->h.has_bitmap);
    assert_int_equal(option(t, 9, "\0\0\0\4disk\0\0\0\1\0\0\0\5qemu:", 21), NBD_AGAIN);
    assert_int_equal(reply(t, 0, &data), 4);
    assert_int_equal(get_be32(data), 0);
    assert_int_equal(reply(t, 1, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_go),
        T(test_empty_name_is_ours),
        T(test_other_name),
        T(test_malformed),
        T(test_too_large_ends),
        T(test_context_needs_structured),
        T(test_list),
        T(test_request),
        T(test_errors),
        T(test_bitmap_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
