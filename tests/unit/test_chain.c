/*
 * test_chain.c: an image and its ancestors: reading through, writing the leaf, what a child says of
 * its parent and how that is changed.
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
#include "disk/full.h"
#include "disk/keeper.h"
#include "disk/layout.h"
#include "tests/unit/disk_fixture.h"

/* Parent with 4s, child with one sector of 9s and one block of its own. */
static void make_chain(void)
{
    struct disk d;
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 512, 9), 0);
    assert_int_equal(write_bytes(&d, 4 * MIB, 2 * MIB, 9), 0);
    const struct image *im = chain_leaf(d.chain);
    off_t bitmap = (off_t)blockmap_bitmap_at(&im->map, 0), batmap = (off_t)im->batmap_at;
    close_disk(&d);
    assert_int_equal(rename(path, child_path), 0);
    new_disk(&d, IMAGE_VHD, 6 * MIB);
    assert_int_equal(write_bytes(&d, 0, 6 * MIB, 4), 0);
    uint8_t uuid[16], type[4], bits[512] = {0x80};
    memcpy(uuid, chain_leaf(d.chain)->footer.uuid, 16);
    close_disk(&d);
    put_be32(type, VHD_DIFFERENCING);
    patch(child_path, 60, type, 4);
    patch(child_path, 512 + 40, uuid, 16);
    patch(child_path, bitmap, bits, sizeof(bits));
    patch(child_path, batmap, "xxxxxxxx", 8);
}

static void test_chain_reads(void **state)
{
    struct disk d = {0};
    struct image_why why;
    make_chain();
    struct chain_item items[] = {{child_path, IMAGE_VHD}, {path, IMAGE_VHD}};
    assert_int_equal(chain_open(items, 1, true, &d.chain, &why), -EINVAL);
    assert_int_equal(chain_open(items, 2, true, &d.chain, &why), 0);
    sync_backend_init(&d.backend);
    d.engine = engine_new(d.chain, &d.backend.backend, NULL, NULL);
    expect(&d, 0, 512, 9);
    expect(&d, 512, 2 * MIB, 4);
    expect(&d, 4 * MIB, 2 * MIB, 9);
    expect(&d, 6 * MIB, 2 * MIB, 0); /* behind the parent's end */
    close_disk(&d);
    patch(child_path, 512 + 40, (uint8_t[16]){0}, 16); /* nobody's uuid */
    assert_int_equal(chain_open(items, 2, true, &d.chain, &why), -EINVAL);
    assert_non_null(strstr(why.text, "is not the parent"));
}

static void open_child(struct disk *d, bool readonly)
{
    struct chain_item items[] = {{child_path, IMAGE_VHD}, {path, IMAGE_VHD}};
    struct image_why why = {""};
    memset(d, 0, sizeof(*d));
    if (chain_open(items, 2, readonly, &d->chain, &why) < 0)
        fail_msg("%s", why.text);
    sync_backend_init(&d->backend);
    d->engine = engine_new(d->chain, &d->backend.backend, NULL, NULL);
}

static void peek(const char *file, off_t at, void *p, size_t size)
{
    _cleanup_(fd_closep) int fd = open(file, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fd_pread_all(fd, p, size, at), 0);
}

static int no_bitmaps(const struct io *io, void *arg)
{
    return io->op == IO_WRITE && !io->is_data ? -ENOSPC : 0;
}

/* A parent with 4s in its first 6 MiB, and a child, empty and larger. */
static void new_child(uint64_t size)
{
    struct disk d;
    struct image_made made;
    struct image_parent parent = {path, IMAGE_VHD};
    (void)unlink(child_path);
    new_disk(&d, IMAGE_VHD, 8 * MIB);
    assert_int_equal(write_bytes(&d, 0, 6 * MIB, 4), 0);
    close_disk(&d);
    assert_int_equal(image_create(child_path, IMAGE_VHD, size, &parent, &made, NULL), 0);
    assert_int_equal(made.size, size ? size : 8 * MIB);
}

/* A first write over the parent's data waits for no sync, and outlives a death without a flush. */
static void test_bits_go_ahead(void **state)
{
    struct disk d;
    new_child(0);
    assert_int_equal(keeper_start(false, NULL), 0);
    open_child(&d, false);
    int held = keeper_hold(chain_leaf(d.chain)->file);
    assert_true(held >= 0);
    engine_keep_ahead(d.engine, held);
    assert_int_equal(write_bytes(&d, 512, 1024, 9), 0);
    assert_int_equal(write_bytes(&d, 4 * MIB - 512, 1024, 8), 0);
    assert_int_equal(write_bytes(&d, 4096, 512, 7), 0);
    assert_int_equal(d.backend.n_done[IO_SYNC], 0);
    assert_true(engine_is_ahead(d.engine));
    uint8_t bits[512];
    off_t at = (off_t)blockmap_bitmap_at(&chain_leaf(d.chain)->map, 0);
    peek(child_path, at, bits, sizeof(bits));
    assert_int_equal(bits[0], 0); /* not before its data is durable */
    keeper_stop();                /* as our death */
    kill_disk(&d);
    peek(child_path, at, bits, sizeof(bits));
    assert_int_equal(bits[0], 0x60);
    open_child(&d, false);
    expect(&d, 0, 512, 4);
    expect(&d, 512, 1024, 9);
    expect(&d, 1536, 2560, 4);
    expect(&d, 4096, 512, 7);
    expect(&d, 4 * MIB - 512, 1024, 8);
    close_disk(&d);
}

/* A flush takes along what is ahead; what cannot be written stays there for the next one. */
static void test_a_flush_catches_up(void **state)
{
    struct disk d;
    new_child(0);
    assert_int_equal(keeper_start(false, NULL), 0);
    open_child(&d, false);
    int held = keeper_hold(chain_leaf(d.chain)->file);
    engine_keep_ahead(d.engine, held);
    assert_int_equal(write_bytes(&d, 512, 1024, 9), 0);
    d.backend.fault = no_bitmaps;
    assert_int_equal(run(&d, BLK_FLUSH, 0, NULL, 0), -ENOSPC);
    assert_true(engine_is_ahead(d.engine));
    d.backend.fault = NULL;
    assert_int_equal(run(&d, BLK_FLUSH, 0, NULL, 0), 0);
    assert_false(engine_is_ahead(d.engine));
    keeper_drop(held);
    keeper_stop();
    kill_disk(&d);
    open_child(&d, false);
    expect(&d, 0, 512, 4);
    expect(&d, 512, 1024, 9);
    close_disk(&d);
}

static void test_child_is_written(void **state)
{
    struct disk d;
    new_child(10 * MIB);
    open_child(&d, false);
    assert_int_equal(write_bytes(&d, 512, 1024, 9), 0);
    assert_int_equal(write_bytes(&d, 4 * MIB - 512, 1024, 8), 0);
    assert_int_equal(write_bytes(&d, 8 * MIB + 512, 512, 7), 0);
    for (int round = 0; round < 2; round++) {
        expect(&d, 0, 512, 4);
        expect(&d, 512, 1024, 9);
        expect(&d, 1536, 4 * MIB - 2048, 4);
        expect(&d, 4 * MIB - 512, 1024, 8);
        expect(&d, 4 * MIB + 512, 2 * MIB - 512, 4);
        expect(&d, 6 * MIB, 2 * MIB + 512, 0);
        expect(&d, 8 * MIB + 512, 512, 7);
        expect(&d, 8 * MIB + 1024, 2 * MIB - 1024, 0);
        close_disk(&d);
        open_child(&d, true);
    }
    close_disk(&d);
    open_disk(&d, IMAGE_VHD, true);
    expect(&d, 0, 6 * MIB, 4);
    close_disk(&d);
}

/* Where the parent has nothing a block costs as little as without a parent; elsewhere the data is
 * made durable before its bit. */
static void test_child_syncs_where_it_hides(void **state)
{
    struct disk d;
    new_child(0);
    open_child(&d, false);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(write_bytes(&d, 6 * MIB + i * 4096, 4096, 9), 0);
    assert_int_equal(engine_get_stats(d.engine)->metadata_writes, 3); /* bitmap, footer, BAT */
    assert_int_equal(d.backend.n_done[IO_SYNC], 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_bytes(&d, i * 4096, 4096, 9), 0);
    assert_int_equal(d.backend.n_done[IO_SYNC], 4);
    expect(&d, 6 * MIB + 64 * 4096, MIB, 0);
    expect(&d, 16384, MIB, 4);
    close_disk(&d);
}

static void test_child_hides_by_zeroes(void **state)
{
    struct disk d;
    new_child(0);
    open_child(&d, false);
    assert_int_equal(run(&d, BLK_DISCARD, 0, NULL, MIB), 0);
    assert_int_equal(run(&d, BLK_ZEROES, 6 * MIB, NULL, 2 * MIB), 0);
    assert_int_equal(engine_get_stats(d.engine)->blocks_allocated, 0); /* nothing to hide */
    expect(&d, 0, MIB, 4);
    assert_int_equal(run(&d, BLK_ZEROES, MIB, NULL, 2 * MIB), 0);
    assert_int_equal(write_bytes(&d, 4 * MIB, 4096, 9), 0);
    assert_int_equal(run(&d, BLK_ZEROES, 4 * MIB + 512, NULL, 8192), 0);
    close_disk(&d);
    open_child(&d, true);
    expect(&d, 0, MIB, 4);
    expect(&d, MIB, 2 * MIB, 0);
    expect(&d, 3 * MIB, MIB, 4);
    expect(&d, 4 * MIB, 512, 9);
    expect(&d, 4 * MIB + 512, 8192, 0);
    expect(&d, 4 * MIB + 8704, MIB, 4);
    close_disk(&d);
}

static void test_child_grows(void **state)
{
    struct disk d;
    uint64_t size;
    new_child(0);
    open_child(&d, false);
    assert_int_equal(write_bytes(&d, 7 * MIB, 512, 9), 0);
    close_disk(&d);
    assert_int_equal(image_resize(child_path, IMAGE_VHD, 3000 * MIB, &size, NULL), 0);
    open_child(&d, false);
    assert_int_equal(d.chain->size, 3000 * MIB);
    assert_int_equal(write_bytes(&d, 2999 * MIB, 512, 8), 0);
    expect(&d, 7 * MIB, 512, 9);
    expect(&d, 5 * MIB, MIB, 4);
    expect(&d, 8 * MIB, MIB, 0);
    close_disk(&d);
}

static void test_child_says_its_parent(void **state)
{
    struct image_info info, parent;
    struct image_why why;
    struct image_made made;
    struct image_parent small = {path, IMAGE_VHD};
    new_child(0);
    assert_int_equal(image_info(path, NULL, &parent, NULL), 0);
    assert_int_equal(image_info(child_path, NULL, &info, NULL), 0);
    assert_int_equal(info.footer.type, VHD_DIFFERENCING);
    assert_memory_equal(info.parent_uuid, parent.footer.uuid, 16);
    assert_string_equal(info.parent_name, strrchr(path, '/') + 1);
    assert_memory_equal(info.parent_path, "./", 2);
    assert_string_equal(info.parent_path + 2, info.parent_name);
    (void)unlink(child_path);
    assert_int_equal(image_create(child_path, IMAGE_VHD, 4 * MIB, &small, &made, &why), -EINVAL);
    assert_non_null(strstr(why.text, "smaller"));
    assert_int_equal(access(child_path, F_OK), -1);
    assert_int_equal(image_create(child_path, IMAGE_RAW, 0, &small, &made, &why), -EINVAL);
}

/* The parent's parent takes its place: an empty image in between goes away. */
static void test_hidden_and_new_parent(void **state)
{
    struct disk d, reader;
    struct image_info info;
    struct image_made made;
    char middle[80];
    (void)snprintf(middle, sizeof(middle), "%s.middle", path);
    new_child(0);
    (void)unlink(child_path);
    struct image_parent root = {path, IMAGE_VHD}, between = {middle, IMAGE_VHD};
    assert_int_equal(image_create(middle, IMAGE_VHD, 0, &root, &made, NULL), 0);
    assert_int_equal(image_create(child_path, IMAGE_VHD, 0, &between, &made, NULL), 0);
    struct chain_item items[] = {{child_path, IMAGE_VHD}, {middle, IMAGE_VHD}, {path, IMAGE_VHD}};
    memset(&reader, 0, sizeof(reader));
    assert_int_equal(chain_open(items, 3, true, &reader.chain, NULL), 0);
    struct image_change hide = {.hidden = 1}, relink = {.hidden = -1, .parent = &root};
    assert_int_equal(image_modify(middle, IMAGE_VHD, &hide, NULL), 0);
    assert_int_equal(image_modify(child_path, IMAGE_VHD, &relink, NULL), 0);
    assert_int_equal(chain_close(reader.chain, NULL), 0);
    assert_int_equal(image_info(middle, NULL, &info, NULL), 0);
    assert_true(info.footer.hidden && info.has_end_footer);
    assert_int_equal(image_info(child_path, NULL, &info, NULL), 0);
    assert_string_equal(info.parent_path + 2, strrchr(path, '/') + 1);
    assert_int_equal(info.footer.data_offset, 512);
    open_child(&d, false);
    assert_int_equal(image_modify(child_path, IMAGE_VHD, &relink, NULL), -EBUSY);
    assert_int_equal(write_bytes(&d, 0, 512, 1), 0);
    expect(&d, 512, MIB, 4);
    close_disk(&d);
    assert_int_equal(unlink(middle), 0);
}

/* So it is made before its parent has its name. */
static void test_parent_that_will_be_called_otherwise(void **state)
{
    struct image_info info;
    char other[80];
    new_child(0);
    (void)snprintf(other, sizeof(other), "%s.other", path);
    struct image_parent parent = {path, IMAGE_VHD};
    struct image_change named = {.hidden = -1, .parent = &parent, .called = other};
    assert_int_equal(image_modify(child_path, IMAGE_VHD, &named, NULL), 0);
    assert_int_equal(image_info(child_path, NULL, &info, NULL), 0);
    assert_string_equal(info.parent_path + 2, strrchr(other, '/') + 1);
    struct chain_item items[] = {{child_path, IMAGE_VHD}, {other, IMAGE_VHD}};
    struct chain *c = NULL;
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(chain_open(items, 2, true, &c, NULL), 0);
    assert_int_equal(chain_close(c, NULL), 0);
    assert_int_equal(rename(other, path), 0);
}

/* What is written whole, and grew before, fits. */
static void test_full_size(void **state)
{
    static const uint64_t sizes[] = {512, 2 * MIB, 2 * MIB + 512, 8ull << 30, 2040ull << 30};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t n = (sizes[i] + 2 * MIB - 1) / (2 * MIB), used = 3 * MIB;
        struct layout l = layout_of(sizes[i], used, true);
        uint64_t end = l.end + n * (2 * MIB + 4096) + 512;
        assert_true(full_size(IMAGE_VHD, used, sizes[i]) >= end);
        assert_true(full_size(IMAGE_VHD, used, sizes[i]) < end + 16 * MIB);
        assert_true(full_size(IMAGE_QCOW2, used, sizes[i]) > used + sizes[i] + sizes[i] / 8192);
        assert_int_equal(full_size(IMAGE_RAW, used, sizes[i]), sizes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_reads),
        cmocka_unit_test(test_child_is_written),
        cmocka_unit_test(test_bits_go_ahead),
        cmocka_unit_test(test_a_flush_catches_up),
        cmocka_unit_test(test_child_syncs_where_it_hides),
        cmocka_unit_test(test_child_hides_by_zeroes),
        cmocka_unit_test(test_child_grows),
        cmocka_unit_test(test_child_says_its_parent),
        cmocka_unit_test(test_hidden_and_new_parent),
        cmocka_unit_test(test_parent_that_will_be_called_otherwise),
        cmocka_unit_test(test_full_size),
    };
    return cmocka_run_group_tests(tests, disk_set_up, disk_tear_down);
}
