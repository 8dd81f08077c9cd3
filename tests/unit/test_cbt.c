/*
 * test_cbt.c: the log of changed blocks: its bytes as XenServer has them, who is believed after a
 * crash, and what a power cut leaves of a log whose storage cannot be mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "codec/bytes.h"
#include "codec/cbtlog.h"
#include "disk/cbt.h"
#include "mem_file.h"

#define MIB  (1ull << 20)
#define SIZE (CBTLOG_HEADER + 4)

static char path[64];

static int make_path(void **state)
{
    (void)snprintf(path, sizeof(path), "/tmp/cairn-cbt-XXXXXX");
    int fd = mkstemp(path);
    (void)close(fd);
    return fd < 0;
}

static int remove_path(void **state)
{
    return unlink(path);
}

static void put_file(const void *p, size_t size)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, p, size), size);
    (void)close(fd);
}

static size_t get_file(uint8_t *p, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, p, size);
    (void)close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static void put_log(uint64_t disk_size, bool is_whole, uint32_t boot)
{
    uint8_t b[SIZE] = {0};
    cbtlog_format(
        &(struct cbtlog_header){.is_whole = is_whole, .boot = boot, .disk_size = disk_size}, b);
    put_file(b, CBTLOG_HEADER + cbtlog_bitmap_size(disk_size));
}

static void bytes_are_those_of_the_format(void **state)
{
    struct cbtlog_header h = {.is_whole = true, .disk_size = 5 * MIB}, back;
    uint8_t b[CBTLOG_HEADER + 10];
    assert_int_equal(cbtlog_uuid_parse("01020304-0506-0708-090a-0b0c0d0e0f10", h.parent), 0);
    cbtlog_format(&h, b);
    assert_memory_equal(b, "\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20", 16);
    assert_memory_equal(b + 32, "\1\0\0\0\0\0\0\0\0\0\x50\0\0\0\0\0", 16);
    assert_int_equal(cbtlog_bitmap_size(5 * MIB), 10);
    assert_int_equal(cbtlog_bitmap_size(1), 1);
    assert_int_equal(cbtlog_bitmap_size(8 * CBTLOG_BLOCK + 1), 2);
    assert_int_equal(cbtlog_parse(b, sizeof(b), &back), 0);
    assert_true(back.is_whole && back.disk_size == 5 * MIB);
    char text[37];
    cbtlog_uuid_text(back.parent, text);
    assert_string_equal(text, "01020304-0506-0708-090a-0b0c0d0e0f10");
    cbtlog_uuid_text(back.child, text);
    assert_string_equal(text, "");
}

static void what_is_no_log_is_refused(void **state)
{
    struct cbtlog_header h = {.is_whole = true, .disk_size = 5 * MIB};
    uint8_t b[CBTLOG_HEADER + 10] = {0}, id[16];
    cbtlog_format(&h, b);
    assert_int_equal(cbtlog_parse(b, sizeof(b) - 1, &h), -EINVAL); /* cut off */
    assert_int_equal(cbtlog_parse(b, CBTLOG_HEADER - 1, &h), -EINVAL);
    b[32] = 2;
    assert_int_equal(cbtlog_parse(b, sizeof(b), &h), -EINVAL);
    b[32] = 0;
    put_le64(b + 40, UINT64_MAX);
    assert_int_equal(cbtlog_parse(b, UINT64_MAX, &h), -EINVAL);
    assert_int_equal(cbtlog_uuid_parse("01020304", id), -EINVAL);
    assert_int_equal(cbtlog_uuid_parse("01020304-0506-0708-090a-0b0c0d0e0f1g", id), -EINVAL);
    assert_int_equal(cbtlog_uuid_parse("01020304-0506-0708-090a-0b0c0d0e0f1011", id), -EINVAL);
}

static void marks_cover_what_is_written(void **state)
{
    uint8_t b[3] = {0}, turned[3];
    uint64_t size = 17 * CBTLOG_BLOCK;
    assert_true(cbtlog_mark(b, size, 0, 1));
    assert_true(cbtlog_mark(b, size, 9 * CBTLOG_BLOCK - 1, 2));
    assert_true(cbtlog_mark(b, size, 16 * CBTLOG_BLOCK, CBTLOG_BLOCK));
    assert_true(cbtlog_mark(b, size, 4 * CBTLOG_BLOCK, 0));
    assert_memory_equal(b, "\1\3\1", 3);
    assert_true(cbtlog_is_marked(b, 8) && !cbtlog_is_marked(b, 10));
    memcpy(turned, b, 3);
    cbtlog_turn(turned, 3);
    assert_memory_equal(turned, "\x80\xc0\x80", 3);
    assert_false(cbtlog_mark(b, size, 16 * CBTLOG_BLOCK, CBTLOG_BLOCK + 1));
    assert_false(cbtlog_mark(b, size, size, 1));
    assert_false(cbtlog_mark(b, size, UINT64_MAX, UINT64_MAX));
    cbtlog_merge(b, (const uint8_t *)"\2\0\0", 3);
    assert_memory_equal(b, "\3\3\1", 3);
}

static void a_log_is_open_while_the_disk_is(void **state)
{
    struct cbt *c;
    struct image_why why;
    uint8_t b[SIZE];
    put_log(2 * MIB, true, 0);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), 0);
    assert_int_equal(get_file(b, SIZE), SIZE);
    assert_int_equal(b[32], 0);
    cbt_mark(c, 3 * CBTLOG_BLOCK, 512);
    assert_int_equal(get_file(b, SIZE), SIZE);
    assert_int_equal(b[CBTLOG_HEADER], 8); /* before the write begins */
    assert_int_equal(cbt_close(c), 0);
    assert_int_equal(get_file(b, SIZE), SIZE);
    assert_memory_equal(b + 32, "\1\0\0\0\0\0\0\0", 8);
    assert_memory_equal(b + CBTLOG_HEADER, "\10\0\0\0", 4);
}

static void who_is_believed(void **state)
{
    struct cbt *c;
    struct image_why why;
    uint8_t b[SIZE];
    assert_int_equal(cbt_open("/tmp/cairn-cbt-none", 2 * MIB, &c, &why), -ENOENT);
    put_log(2 * MIB, false, 0); /* left open by another program */
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), -ESTALE);
    put_log(2 * MIB, true, 0); /* left open in this boot of the machine: its process was killed */
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), 0);
    cbt_mark(c, 0, 512);
    assert_int_equal(get_file(b, SIZE), SIZE);
    assert_int_equal(cbt_close(c), 0);
    put_file(b, SIZE);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), 0);
    assert_int_equal(cbt_close(c), 0);
    assert_int_equal(get_file(b, SIZE), SIZE);
    assert_int_equal(b[CBTLOG_HEADER], 1);
    put_le32(b + 32, 0); /* and in an earlier one */
    put_le32(b + 36, get_le32(b + 36) + 1);
    put_file(b, SIZE);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), -ESTALE);
    assert_non_null(strstr(why.text, "not closed"));
    put_file("no log", 6);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), -ESTALE);
}

static void a_log_grows_with_its_disk(void **state)
{
    struct cbt *c;
    struct image_why why;
    uint8_t b[64 + CBTLOG_HEADER];
    put_log(2 * MIB, true, 0);
    assert_int_equal(cbt_open(path, 4 * MIB, &c, &why), 0);
    cbt_mark(c, 4 * MIB - 512, 512);
    assert_int_equal(cbt_close(c), 0);
    assert_int_equal(get_file(b, sizeof(b)), CBTLOG_HEADER + 8);
    assert_memory_equal(b + CBTLOG_HEADER, "\0\0\0\0\0\0\0\x80", 8);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), -ESTALE); /* of a larger disk */
}

static void what_has_no_bit_makes_it_worthless(void **state)
{
    struct cbt *c;
    struct image_why why;
    put_log(2 * MIB, true, 0);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), 0);
    cbt_mark(c, 2 * MIB, 512);
    assert_int_equal(cbt_close(c), 0);
    assert_int_equal(cbt_open(path, 2 * MIB, &c, &why), -ESTALE);
}

static void put_mem_log(void)
{
    uint8_t b[SIZE] = {0};
    struct file *f;
    cbtlog_format(&(struct cbtlog_header){.is_whole = true, .disk_size = 2 * MIB}, b);
    assert_int_equal(file_create("mem:log", &f), 0);
    assert_int_equal(file_pwrite(f, b, SIZE, 0), 0);
    assert_int_equal(file_sync(f), 0);
    file_close(f);
}

/* A log that says it is whole has all its bits, wherever the power is cut. */
static void a_power_cut_leaves_no_lie(void **state)
{
    struct image_why why;
    unsigned n_whole = 0, n_open = 0;
    for (uint32_t fuse = 0; fuse < 400; fuse++) {
        struct cbt *c = NULL;
        mem_store_reset(fuse);
        put_mem_log();
        mem_fuse(fuse % 16);
        bool is_marked = cbt_open("mem:log", 2 * MIB, &c, &why) == 0;
        if (is_marked)
            cbt_mark(c, 5 * CBTLOG_BLOCK, 512);
        bool is_closed = is_marked && cbt_close(c) == 0;
        mem_power_cut();
        struct file *f;
        struct cbtlog_header h;
        uint8_t b[SIZE];
        assert_int_equal(file_open("mem:log", FILE_READ, &f), 0);
        assert_int_equal(file_pread(f, b, SIZE, 0), 0);
        file_close(f);
        assert_int_equal(cbtlog_parse(b, SIZE, &h), 0);
        assert_true(h.is_whole || !is_closed);
        assert_true(!h.is_whole || !is_marked || cbtlog_is_marked(b + CBTLOG_HEADER, 5));
        n_whole += is_marked && h.is_whole;
        n_open += !h.is_whole;
    }
    assert_true(n_whole > 0 && n_open > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_format),
        cmocka_unit_test(what_is_no_log_is_refused),
        cmocka_unit_test(marks_cover_what_is_written),
        cmocka_unit_test_setup_teardown(a_log_is_open_while_the_disk_is, make_path, remove_path),
        cmocka_unit_test_setup_teardown(who_is_believed, make_path, remove_path),
        cmocka_unit_test_setup_teardown(a_log_grows_with_its_disk, make_path, remove_path),
        cmocka_unit_test_setup_teardown(what_has_no_bit_makes_it_worthless, make_path, remove_path),
        cmocka_unit_test(a_power_cut_leaves_no_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
