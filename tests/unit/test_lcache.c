/*
 * test_lcache.c: copies of parents: what fails falls back, what a guest changes is not kept, and
 * nothing is believed before it is there.
 */
#include "disk/backend/lcache.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/backend/sync.h"

#define SIZE 65536u

struct world {
    char folder[32], parent_path[48], copy_path[48];
    struct file *parent;
    struct sync_backend disk;
    struct lcache *lc;
    const struct file *broken; /* not this one: its transfers fail */
    enum io_op broken_op;
    const struct file *refused; /* it has a bad sector at its start, behind that not */
};

static int fault(const struct io *io, void *arg)
{
    struct world *w = arg;
    if (w->refused && io->file == w->refused && io->offset == 0)
        return -EIO;
    return w->broken && io->file != w->broken && io->op == w->broken_op ? -ENOSPC : 0;
}

static void open_both(struct world *w)
{
    assert_int_equal(file_open(w->parent_path, FILE_READ, &w->parent), 0);
    assert_int_equal(lcache_open(w->copy_path, w->parent, &w->disk.backend, &w->lc), 0);
}

static void close_both(struct world *w)
{
    assert_false(lcache_settles(w->lc, NULL, NULL));
    file_close(w->parent);
    lcache_close(w->lc);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint8_t data[SIZE];
    memset(data, 1, sizeof(data));
    strcpy(w->folder, "/tmp/lcache.XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    (void)snprintf(w->parent_path, sizeof(w->parent_path), "%s/parent", w->folder);
    (void)snprintf(w->copy_path, sizeof(w->copy_path), "%s/copy", w->folder);
    w->disk = (struct sync_backend){.fault = fault, .arg = w};
    sync_backend_init(&w->disk);
    assert_int_equal(file_create(w->parent_path, &w->parent), 0);
    assert_int_equal(file_pwrite(w->parent, data, sizeof(data), 0), 0);
    file_close(w->parent);
    open_both(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    close_both(w);
    sync_backend_done(&w->disk);
    (void)unlink(w->parent_path);
    (void)unlink(w->copy_path);
    (void)rmdir(w->folder);
    free(w);
    return 0;
}

struct call {
    struct io io;
    struct iovec iov;
    uint8_t data[SIZE];
    bool is_done;
    int err;
};

static void on_done(struct io *io, int err)
{
    struct call *c = (struct call *)io;
    c->is_done = true;
    c->err = err;
}

static void begin(struct world *w, struct call *c, uint64_t at, uint64_t size)
{
    memset(c, 0, sizeof(*c));
    c->iov = (struct iovec){c->data, size};
    c->io = (struct io){.op = IO_READ,
                        .file = w->parent,
                        .is_data = true,
                        .offset = at,
                        .size = size,
                        .iov = &c->iov,
                        .n_iov = 1,
                        .done = on_done};
    backend_submit(&w->disk.backend, &c->io);
}

/* Reads, and tells how many bytes came from the copy. */
static uint64_t look(struct world *w, uint64_t at, uint64_t size)
{
    static struct call c;
    uint64_t hit = lcache_get_stats(w->lc).hit;
    begin(w, &c, at, size);
    assert_true(c.is_done);
    assert_int_equal(c.err, 0);
    for (uint64_t i = 0; i < size; i++)
        assert_int_equal(c.data[i], 1);
    return lcache_get_stats(w->lc).hit - hit;
}

static void test_whole_units_are_kept(void **state)
{
    struct world *w = *state;
    assert_int_equal(look(w, 512, 4096), 0); /* of two units */
    assert_int_equal(look(w, 0, 8192), 8192);
    assert_int_equal(look(w, 7680, 512), 512);
    assert_int_equal(look(w, 4096, 8192), 0);
    assert_int_equal(look(w, 0, 12288), 12288);
    assert_int_equal(look(w, SIZE - 512, 512), 0);
    assert_int_equal(look(w, SIZE - 4096, 4096), 4096);
}

static void test_a_bit_waits_for_its_data(void **state)
{
    struct world *w = *state;
    static struct call a, b;
    w->disk.hold = true;
    begin(w, &a, 0, 4096);
    assert_true(sync_backend_step(&w->disk)); /* from the parent: answered, not yet kept */
    assert_true(a.is_done && a.err == 0 && a.data[0] == 1);
    begin(w, &b, 0, 4096);
    assert_int_equal(lcache_get_stats(w->lc).miss, 8192);
    while (sync_backend_step(&w->disk))
        ;
    w->disk.hold = false;
    assert_int_equal(look(w, 0, 4096), 4096);
}

static void test_what_the_guest_changes_is_not_kept(void **state)
{
    struct world *w = *state;
    static struct call c;
    w->disk.hold = true;
    begin(w, &c, 0, 4096);
    memset(c.data, 9, 4096);
    assert_true(sync_backend_step(&w->disk));
    memset(c.data, 9, 4096);
    while (sync_backend_step(&w->disk))
        ;
    w->disk.hold = false;
    assert_int_equal(look(w, 0, 4096), 4096);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void test_the_end_waits_for_what_is_kept(void **state)
{
    struct world *w = *state;
    static struct call c;
    int n = 0;
    w->disk.hold = true;
    begin(w, &c, 0, 4096);
    assert_true(sync_backend_step(&w->disk));
    assert_true(c.is_done);
    assert_true(lcache_settles(w->lc, count, &n));
    assert_int_equal(n, 0);
    while (sync_backend_step(&w->disk))
        ;
    assert_int_equal(n, 1);
    w->disk.hold = false;
}

static void test_a_full_one_still_gives(void **state)
{
    struct world *w = *state;
    assert_int_equal(look(w, 0, 8192), 0);
    w->broken = w->parent;
    w->broken_op = IO_WRITE;
    assert_int_equal(look(w, 8192, 8192), 0);
    assert_int_equal(look(w, 8192, 8192), 0);
    assert_int_equal(look(w, 0, 8192), 8192);
    assert_int_equal(lcache_get_stats(w->lc).unkept, 16384);
}

static void test_a_broken_one_is_left_alone(void **state)
{
    struct world *w = *state;
    assert_int_equal(look(w, 0, 8192), 0);
    w->broken = w->parent;
    w->broken_op = IO_READ;
    assert_int_equal(look(w, 0, 8192), 0);
    w->broken = NULL;
    assert_int_equal(look(w, 0, 8192), 0);
}

static void test_what_the_parent_refuses_is_asked_for_as_it_was(void **state)
{
    struct world *w = *state;
    static struct call c;
    w->refused = w->parent;
    begin(w, &c, 512, 512);
    assert_true(c.is_done);
    assert_int_equal(c.err, 0);
    assert_int_equal(c.data[0], 1);
    w->refused = NULL;
    assert_int_equal(look(w, 512, 512), 0);
    assert_int_equal(look(w, 512, 512), 512);
}

static void test_it_is_there_the_next_time(void **state)
{
    struct world *w = *state;
    assert_int_equal(look(w, 0, SIZE), 0);
    close_both(w);
    open_both(w);
    assert_int_equal(look(w, 0, SIZE), SIZE);
    close_both(w);
    assert_int_equal(truncate(w->parent_path, SIZE + 4096), 0);
    assert_int_equal(truncate(w->parent_path, SIZE - 4096), 0);
    open_both(w);
    assert_int_equal(look(w, 0, 8192), 0);
}

static void test_others_use_it_and_a_removed_one_is_made_again(void **state)
{
    struct world *w = *state;
    struct file *parent;
    struct lcache *other;
    assert_int_equal(look(w, 0, 8192), 0);
    assert_int_equal(file_open(w->parent_path, FILE_READ, &parent), 0);
    assert_int_equal(lcache_open(w->copy_path, parent, &w->disk.backend, &other), 0);
    static struct call c;
    c.iov = (struct iovec){c.data, 8192};
    c.io = (struct io){
        .op = IO_READ, .file = parent, .size = 8192, .iov = &c.iov, .n_iov = 1, .done = on_done};
    backend_submit(&w->disk.backend, &c.io);
    assert_int_equal(lcache_get_stats(other).hit, 8192);
    file_close(parent);
    lcache_close(other);
    assert_int_equal(unlink(w->copy_path), 0);
    assert_int_equal(look(w, 0, 8192), 8192);
    close_both(w);
    open_both(w);
    assert_int_equal(look(w, 0, 8192), 0);
}

/* As a hundred disks of one parent do when their host has started. */
static void *open_one(void *arg)
{
    struct world *w = arg;
    struct file *parent = NULL;
    struct lcache *lc = NULL;
    if (file_open(w->parent_path, FILE_READ, &parent) == 0)
        (void)lcache_open(w->copy_path, parent, &w->disk.backend, &lc);
    file_close(parent);
    return lc;
}

static void test_many_begin_at_once(void **state)
{
    struct world *w = *state;
    pthread_t threads[8];
    void *got[8];
    close_both(w);
    assert_int_equal(unlink(w->copy_path), 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_one, w), 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_join(threads[i], &got[i]), 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_non_null(got[i]);
        lcache_close(got[i]);
    }
    open_both(w);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_whole_units_are_kept),
        TEST(test_a_bit_waits_for_its_data),
        TEST(test_what_the_guest_changes_is_not_kept),
        TEST(test_the_end_waits_for_what_is_kept),
        TEST(test_a_full_one_still_gives),
        TEST(test_a_broken_one_is_left_alone),
        TEST(test_what_the_parent_refuses_is_asked_for_as_it_was),
        TEST(test_it_is_there_the_next_time),
        TEST(test_many_begin_at_once),
        TEST(test_others_use_it_and_a_removed_one_is_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
