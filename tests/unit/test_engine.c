/*
 * test_engine.c: requests against images on a temporary file, with short transfers, errors and
 * transfers held back: what is read, what the file then holds, what a crash leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "base/fd.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/backend/sync.h"
#include "disk/create.h"
#include "disk/engine.h"
#include "tests/unit/disk_fixture.h"

static void test_new_disk_is_zero(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    expect(&d, 0, 8 * MIB, 0);
    assert_int_equal(d.backend.n_done[IO_READ], 0);
    close_disk(&d);
}

static void test_write_across_blocks(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 2 * MIB - 1024, 4096, 7), 0);
    expect(&d, 2 * MIB - 1024, 4096, 7);
    expect(&d, 0, 2 * MIB - 1024, 0);
    expect(&d, 2 * MIB + 3072, 4 * MIB, 0);
    assert_int_equal(engine_get_stats(d.engine)->blocks_allocated, 2);
    close_disk(&d);
    open_disk(&d, IMAGE_VHD, true);
    expect(&d, 2 * MIB - 1024, 4096, 7);
    close_disk(&d);
}

static void test_metadata_once_a_block(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(write_bytes(&d, i * 4096, 4096, 1), 0);
    assert_int_equal(engine_get_stats(d.engine)->metadata_writes, 3); /* bitmap, footer, BAT */
    close_disk(&d);
}

static void test_data_is_aligned(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 512, 1), 0);
    assert_int_equal(write_bytes(&d, 6 * MIB, 512, 1), 0);
    const struct blockmap *m = &chain_leaf(d.chain)->map;
    assert_int_equal(blockmap_data_at(m, 0) % 4096, 0);
    assert_int_equal(m->bat[3] - m->bat[0], 4104);
    close_disk(&d);
}

static void test_commits_gather(void **state)
{
    struct disk d;
    struct call c[8];
    uint8_t p[8][4096];
    new_disk(&d, IMAGE_VHD, 64 * MIB);
    d.backend.hold = true;
    for (unsigned i = 0; i < 8; i++) {
        memset(p[i], (int)i + 1, 4096);
        start(&d, &c[i], BLK_WRITE, i * 4 * MIB, p[i], 4096);
    }
    while (sync_backend_step(&d.backend)) {
    }
    /* 8 bitmaps, one footer behind all; the BAT sector once for the first, once for the seven that
     * came meanwhile. */
    assert_int_equal(engine_get_stats(d.engine)->metadata_writes, 11);
    d.backend.hold = false;
    for (unsigned i = 0; i < 8; i++) {
        assert_true(c[i].is_done && c[i].err == 0);
        expect(&d, i * 4 * MIB, 4096, (uint8_t)(i + 1));
    }
    close_disk(&d);
}

/* What a killed process had in memory is gone with it; here it would count as leaked. */
static void forget_memory(bool on)
{
#ifdef __SANITIZE_ADDRESS__
    on ? __lsan_disable() : __lsan_enable();
#else
    (void)on;
#endif
}

/* For every moment: the answered writes, and only whole answers, are there after a crash. */
static void test_crash_anywhere(void **state)
{
    for (unsigned steps = 0; steps < 16; steps++) {
        struct disk d;
        struct call c[3];
        uint8_t p[8192];
        memset(p, 9, sizeof(p));
        forget_memory(true);
        new_disk(&d, IMAGE_VHD, 8 * MIB);
        d.backend.hold = true;
        start(&d, &c[0], BLK_WRITE, 0, p, 4096);
        start(&d, &c[1], BLK_WRITE, 2 * MIB - 4096, p, 8192);
        start(&d, &c[2], BLK_WRITE, 6 * MIB, p, 4096);
        for (unsigned i = 0; i < steps; i++)
            (void)sync_backend_step(&d.backend);
        bool done[3] = {c[0].is_done, c[1].is_done, c[2].is_done};
        kill_disk(&d);
        forget_memory(false);
        memset(&d, 0, sizeof(d));
        open_disk(&d, IMAGE_VHD, false);
        if (done[0])
            expect(&d, 0, 4096, 9);
        if (done[1])
            expect(&d, 2 * MIB - 4096, 8192, 9);
        if (done[2])
            expect(&d, 6 * MIB, 4096, 9);
        expect(&d, 4 * MIB, 2 * MIB, 0);
        assert_int_equal(write_bytes(&d, 4 * MIB, 512, 3), 0);
        expect(&d, 4 * MIB + 512, 2 * MIB - 512, 0);
        close_disk(&d);
    }
}

static void test_crash_leaves_a_tail(void **state)
{
    struct disk d;
    uint8_t junk[4096];
    memset(junk, 0xee, sizeof(junk));
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 512, 1), 0);
    uint64_t end = chain_leaf(d.chain)->map.next_free * 512;
    kill_disk(&d);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(fd_pwrite_all(fd, junk, sizeof(junk), (off_t)(end + i * 4096)), 0);
    fd_close(fd);
    memset(&d, 0, sizeof(d));
    open_disk(&d, IMAGE_VHD, false);
    assert_int_equal(write_bytes(&d, 2 * MIB, 512, 2), 0);
    expect(&d, 2 * MIB + 512, 2 * MIB - 512, 0);
    close_disk(&d);
}

static int fail_nth(const struct io *io, void *arg)
{
    unsigned *left = arg;
    if (io->op != IO_WRITE)
        return 0;
    return (*left)-- == 0 ? -ENOSPC : 0;
}

static void test_every_write_fails_once(void **state)
{
    for (unsigned n = 0; n < 5; n++) {
        struct disk d;
        unsigned left = n;
        new_disk(&d, IMAGE_VHD, 8 * MIB);
        d.backend.fault = fail_nth;
        d.backend.arg = &left;
        int r = write_bytes(&d, 0, 4096, 5);
        assert_int_equal(r, n == 2 || n == 4 ? 0 : -ENOSPC); /* data, bitmap, footer, BAT */
        d.backend.fault = NULL;
        assert_int_equal(write_bytes(&d, 4096, 4096, 6), 0);
        expect(&d, 4096, 4096, 6);
        close_disk(&d);
        open_disk(&d, IMAGE_VHD, true);
        expect(&d, 4096, 4096, 6);
        expect(&d, 8192, 2 * MIB, 0);
        close_disk(&d);
    }
}

static int fail_op(const struct io *io, void *arg)
{
    const int *wanted = arg;
    return (int)io->op == wanted[0] ? wanted[1] : 0;
}

static void test_errors_reach_the_request(void **state)
{
    struct disk d;
    uint8_t p[512] = {0};
    int fault[2] = {IO_READ, -EIO};
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 512, 5), 0);
    d.backend.fault = fail_op;
    d.backend.arg = fault;
    assert_int_equal(run(&d, BLK_READ, 0, p, 512), -EIO);
    assert_int_equal(run(&d, BLK_READ, 4 * MIB, p, 512), 0);
    d.backend.fault = NULL;
    assert_int_equal(run(&d, BLK_READ, 8 * MIB, p, 512), -EINVAL);
    assert_int_equal(run(&d, BLK_READ, UINT64_MAX - 511, p, 512), -EINVAL);
    assert_int_equal(run(&d, BLK_READ, 1, p, 512), -EINVAL);
    close_disk(&d);
}

static void test_failed_sync_is_final(void **state)
{
    struct disk d;
    int fault[2] = {IO_SYNC, -EIO};
    new_disk(&d, IMAGE_RAW, MIB);
    assert_int_equal(run(&d, BLK_FLUSH, 0, NULL, 0), 0);
    d.backend.fault = fail_op;
    d.backend.arg = fault;
    assert_int_equal(run(&d, BLK_FLUSH, 0, NULL, 0), -EIO);
    d.backend.fault = NULL;
    assert_int_equal(run(&d, BLK_FLUSH, 0, NULL, 0), -EIO);
    assert_int_equal(write_bytes(&d, 0, 512, 5), 0);
    close_disk(&d);
}

static void test_fua_syncs(void **state)
{
    struct disk d;
    uint8_t p[512] = {1};
    struct iovec iov = {p, sizeof(p)};
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    struct call c = {.req = {.op = BLK_WRITE, .fua = true, .size = 512, .done = on_done}};
    c.req.iov = &iov;
    c.req.n_iov = 1;
    engine_submit(d.engine, &c.req);
    assert_true(c.is_done && c.err == 0);
    assert_int_equal(d.backend.n_done[IO_SYNC], 1);
    close_disk(&d);
}

static void test_flushes_share(void **state)
{
    struct disk d;
    struct call c[5];
    new_disk(&d, IMAGE_RAW, MIB);
    d.backend.hold = true;
    for (unsigned i = 0; i < 5; i++)
        start(&d, &c[i], BLK_FLUSH, 0, NULL, 0);
    while (sync_backend_step(&d.backend)) {
    }
    for (unsigned i = 0; i < 5; i++)
        assert_true(c[i].is_done && c[i].err == 0);
    assert_int_equal(d.backend.n_done[IO_SYNC], 2);
    close_disk(&d);
}

static void test_short_transfers(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    d.backend.max_transfer = 1000;
    assert_int_equal(write_bytes(&d, 2 * MIB - 512, 10240, 3), 0);
    expect(&d, 2 * MIB - 512, 10240, 3);
    expect(&d, 2 * MIB + 9728, 4096, 0);
    close_disk(&d);
}

static void test_discard_and_zeroes(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 4 * MIB, 8), 0);
    assert_int_equal(run(&d, BLK_DISCARD, 512, NULL, MIB), 0);
    expect(&d, 0, 512, 8);
    expect(&d, 512, MIB, 0);
    expect(&d, MIB + 512, 512, 8);
    assert_int_equal(run(&d, BLK_ZEROES, 2 * MIB - 4096, NULL, 8192), 0);
    expect(&d, 2 * MIB - 4096, 8192, 0);
    expect(&d, 2 * MIB + 4096, 4096, 8);
    unsigned before = d.backend.n_done[IO_PUNCH];
    assert_int_equal(run(&d, BLK_ZEROES, 4 * MIB, NULL, 4 * MIB), 0);
    assert_int_equal(d.backend.n_done[IO_PUNCH], before); /* absent blocks stay absent */
    close_disk(&d);
}

static void test_zeroes_without_punch(void **state)
{
    struct disk d;
    int fault[2] = {IO_PUNCH, -EOPNOTSUPP};
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    d.backend.fault = fail_op;
    d.backend.arg = fault;
    assert_int_equal(write_bytes(&d, 0, 2 * MIB, 8), 0);
    assert_int_equal(run(&d, BLK_ZEROES, 512, NULL, MIB), 0);
    expect(&d, 512, MIB, 0);
    expect(&d, MIB + 512, 512, 8);
    assert_int_equal(run(&d, BLK_DISCARD, 0, NULL, 512), 0);
    close_disk(&d);
}

static void test_readonly(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    close_disk(&d);
    open_disk(&d, IMAGE_VHD, true);
    assert_int_equal(write_bytes(&d, 0, 512, 1), -EROFS);
    assert_int_equal(run(&d, BLK_DISCARD, 0, NULL, 512), -EROFS);
    assert_int_equal(run(&d, BLK_FLUSH, 0, NULL, 0), 0);
    close_disk(&d);
}

static void test_one_writer(void **state)
{
    struct disk d;
    struct image *im;
    struct image_why why;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(image_open(path, IMAGE_VHD, IMAGE_WRITE, &im, &why), -EBUSY);
    assert_int_equal(image_open(path, IMAGE_VHD, IMAGE_READ, &im, &why), -EBUSY);
    assert_non_null(strstr(why.text, path));
    close_disk(&d);
    open_disk(&d, IMAGE_VHD, true);
    assert_int_equal(image_open(path, IMAGE_VHD, IMAGE_WRITE, &im, &why), -EBUSY);
    assert_int_equal(image_open(path, IMAGE_VHD, IMAGE_READ, &im, &why), 0);
    assert_int_equal(image_close(im, &why), 0);
    close_disk(&d);
}

static void test_grow(void **state)
{
    static const enum image_format formats[] = {IMAGE_VHD, IMAGE_VHD_FIXED, IMAGE_RAW};
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct disk d;
        uint64_t size;
        new_disk(&d, formats[i], 8 * MIB);
        assert_int_equal(write_bytes(&d, 6 * MIB, 2 * MIB, 4), 0);
        close_disk(&d);
        assert_int_equal(image_resize(path, formats[i], 6 * MIB, &size, NULL), -EINVAL);
        assert_int_equal(image_resize(path, formats[i], 2100 * MIB, &size, NULL), 0);
        assert_int_equal(size, 2100 * MIB);
        open_disk(&d, formats[i], false);
        assert_int_equal(d.chain->size, 2100 * MIB);
        expect(&d, 6 * MIB, 2 * MIB, 4);
        expect(&d, 8 * MIB, 2 * MIB, 0);
        assert_int_equal(write_bytes(&d, 2098 * MIB, 2 * MIB, 5), 0);
        close_disk(&d);
        open_disk(&d, formats[i], true);
        expect(&d, 2098 * MIB, 2 * MIB, 5);
        expect(&d, 6 * MIB, 2 * MIB, 4);
        close_disk(&d);
    }
}

static int reopen(bool readonly, struct image_why *why)
{
    struct image *im = NULL;
    int r = image_open(path, IMAGE_VHD, readonly ? IMAGE_READ : IMAGE_WRITE, &im, why);
    if (r == 0)
        (void)image_close(im, NULL);
    return r;
}

static void test_hostile_tables(void **state)
{
    struct disk d;
    struct image_why why;
    uint8_t be[8];
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 4 * MIB, 4), 0);
    uint32_t second = chain_leaf(d.chain)->map.bat[1];
    close_disk(&d);
    put_be32(be, second + 8);
    patch(path, 1536, be, 4); /* two blocks overlap */
    assert_int_equal(reopen(false, &why), -EINVAL);
    put_be32(be, 2);
    patch(path, 1536, be, 4); /* a block in the header */
    assert_int_equal(reopen(true, &why), -EINVAL);
    put_be32(be, 0xfffffff0);
    patch(path, 1536, be, 4); /* a block behind the end */
    assert_int_equal(reopen(false, &why), -EINVAL);
    assert_non_null(strstr(why.text, "behind the end"));
    put_be32(be, VHD_UNALLOCATED);
    patch(path, 1536, be, 4);
    assert_int_equal(reopen(false, &why), 0);
    put_be32(be, 3);
    patch(path, 512 + 28, be, 4); /* a table of three blocks for a disk of four */
    assert_int_equal(reopen(true, &why), -EINVAL);
    put_be32(be, 0xffffffff);
    patch(path, 512 + 28, be, 4); /* one that would need 16 GiB */
    (void)reopen(true, &why);
    put_be64(be, 1ull << 40);
    patch(path, 512 + 16, be, 8);
    assert_int_equal(reopen(true, &why), -EINVAL);
}

static void test_guest_data_is_no_footer(void **state)
{
    struct disk d;
    uint8_t fake[2048] = {0};
    struct vhd_footer f = {.data_offset = UINT64_MAX, .creator = "tap", .current_size = 512};
    f.type = VHD_FIXED;
    vhd_footer_put(&f, fake + 1536);
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(run(&d, BLK_WRITE, 2 * MIB - 2048, fake, 2048), 0);
    kill_disk(&d); /* the file now ends with the guest's footer */
    memset(&d, 0, sizeof(d));
    open_disk(&d, IMAGE_VHD, false);
    assert_int_equal(d.chain->size, 8 * MIB);
    assert_int_equal(write_bytes(&d, 4 * MIB, 512, 1), 0);
    uint8_t back[2048];
    assert_int_equal(run(&d, BLK_READ, 2 * MIB - 2048, back, 2048), 0);
    assert_memory_equal(back, fake, sizeof(fake));
    close_disk(&d);
}

/* A partial bitmap as another writer leaves it: the sectors it does not name read as zeroes. */
static void test_partial_bitmap(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 2 * MIB, 4), 0);
    const struct image *im = chain_leaf(d.chain);
    off_t bitmap = (off_t)blockmap_bitmap_at(&im->map, 0), batmap = (off_t)im->batmap_at;
    close_disk(&d);
    uint8_t bits[512] = {0x40};
    patch(path, bitmap, bits, sizeof(bits));
    patch(path, batmap, "xxxxxxxx", 8);
    open_disk(&d, IMAGE_VHD, false);
    expect(&d, 0, 512, 0);
    expect(&d, 512, 512, 4);
    expect(&d, 1024, MIB, 0);
    assert_int_equal(write_bytes(&d, 4096, 1024, 9), 0);
    expect(&d, 4096, 1024, 9);
    close_disk(&d);
    open_disk(&d, IMAGE_VHD, true);
    expect(&d, 512, 512, 4);
    expect(&d, 1024, 3072, 0);
    expect(&d, 4096, 1024, 9);
    expect(&d, 5120, MIB, 0);
    close_disk(&d);
}

static void test_status(void **state)
{
    struct disk d;
    uint64_t size;
    bool is_hole;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 2 * MIB, 2 * MIB, 4), 0);
    engine_status(d.engine, 0, 8 * MIB, &size, &is_hole);
    assert_true(is_hole && size == 2 * MIB);
    engine_status(d.engine, 2 * MIB, 6 * MIB, &size, &is_hole);
    assert_true(!is_hole && size == 2 * MIB);
    engine_status(d.engine, 7 * MIB, MIB, &size, &is_hole);
    assert_true(is_hole && size == MIB);
    close_disk(&d);
}

static void test_full_file(void **state)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    chain_leaf(d.chain)->map.next_free = VHD_UNALLOCATED - 3ull;
    assert_int_equal(write_bytes(&d, 0, 512, 1), -ENOSPC);
    close_disk(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_disk_is_zero),
        cmocka_unit_test(test_write_across_blocks),
        cmocka_unit_test(test_metadata_once_a_block),
        cmocka_unit_test(test_data_is_aligned),
        cmocka_unit_test(test_commits_gather),
        cmocka_unit_test(test_crash_anywhere),
        cmocka_unit_test(test_crash_leaves_a_tail),
        cmocka_unit_test(test_every_write_fails_once),
        cmocka_unit_test(test_errors_reach_the_request),
        cmocka_unit_test(test_failed_sync_is_final),
        cmocka_unit_test(test_fua_syncs),
        cmocka_unit_test(test_flushes_share),
        cmocka_unit_test(test_short_transfers),
        cmocka_unit_test(test_discard_and_zeroes),
        cmocka_unit_test(test_zeroes_without_punch),
        cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_one_writer),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_hostile_tables),
        cmocka_unit_test(test_guest_data_is_no_footer),
        cmocka_unit_test(test_partial_bitmap),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_full_file),
    };
    return cmocka_run_group_tests(tests, disk_set_up, disk_tear_down);
}
