/*
 * test_vring.c: a ring in shared memory: what is taken, what is returned, what a death leaves in
 * the in-flight area, what is logged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/vring.h"

enum { SIZE = 8, MEM = 1 << 16, UVA = 1 << 20, AVAIL = 0x400, USED = 0x800, INFLIGHT = 0xc00 };

struct fixture {
    struct vhost_mem m;
    uint8_t *p;
    struct vring r;
    struct vring_chain c;
};

static void start(struct fixture *f)
{
    f->r = (struct vring){.size = SIZE, .addr = {UVA, UVA + AVAIL, UVA + USED, USED, true}};
    assert_int_equal(vring_start(&f->r, &f->m, f->p + INFLIGHT), 0);
}

static int set_up(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    struct vhost_region region = {.size = MEM, .uva = UVA};
    int fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, MEM), 0);
    assert_int_equal(vhost_mem_set(&f->m, &region, 1, &fd), 0);
    fd_close(fd);
    f->p = f->m.region[0].map;
    start(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    vring_stop(&f->r);
    vhost_mem_done(&f->m);
    free(f);
    return 0;
}

/* One descriptor of 16 bytes at place i, offered. */
static void offer(struct fixture *f, uint16_t i)
{
    uint16_t idx = get_le16(f->p + AVAIL + 2);
    put_le64(f->p + i * 16, 0x4000);
    put_le32(f->p + i * 16 + 8, 16);
    put_le16(f->p + AVAIL + 4 + idx % SIZE * 2, i);
    put_le16(f->p + AVAIL + 2, (uint16_t)(idx + 1));
}

static int pop(struct fixture *f)
{
    return vring_pop(&f->r, &f->m, &f->c);
}

static void test_taken_and_returned(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pop(f), 0);
    offer(f, 3);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->c.head, 3);
    assert_int_equal(f->c.n_out, 1);
    assert_ptr_equal(f->c.iov[0].iov_base, f->p + 0x4000);
    assert_int_equal(pop(f), 0);
    vring_push(&f->r, &f->m, 3, 7);
    assert_int_equal(get_le16(f->p + USED + 2), 1);
    assert_int_equal(get_le32(f->p + USED + 4), 3);
    assert_int_equal(get_le32(f->p + USED + 8), 7);
}

static void test_wraps(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 70000; i++) {
        offer(f, (uint16_t)(i % SIZE));
        assert_int_equal(pop(f), 1);
        vring_push(&f->r, &f->m, f->c.head, 0);
    }
    assert_int_equal(get_le16(f->p + USED + 2), (uint16_t)70000);
}

/* Taken 5, 1, 4, returned 1; after death 5 and 4 come again, in that order, then the new one. */
static void test_death_gives_again(void **state)
{
    struct fixture *f = *state;
    offer(f, 5);
    offer(f, 1);
    offer(f, 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pop(f), 1);
    vring_push(&f->r, &f->m, 1, 0);
    vring_stop(&f->r);
    offer(f, 2);
    start(f);
    static const uint16_t expected[] = {5, 4, 2};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pop(f), 1);
        assert_int_equal(f->c.head, expected[i]);
    }
    assert_int_equal(pop(f), 0);
}

/* Dead between telling the guest and noting it: the answered chain does not come again. */
static void test_death_in_push(void **state)
{
    struct fixture *f = *state;
    offer(f, 6);
    assert_int_equal(pop(f), 1);
    put_le32(f->p + USED + 4, 6);
    put_le16(f->p + INFLIGHT + 12, 6);
    put_le16(f->p + USED + 2, 1);
    vring_stop(&f->r);
    start(f);
    assert_int_equal(pop(f), 0);
}

static void test_hostile_indices(void **state)
{
    struct fixture *f = *state;
    offer(f, SIZE); /* no such descriptor */
    assert_int_equal(pop(f), -EINVAL);
    assert_int_equal(pop(f), 0); /* broken for good */
    vring_stop(&f->r);
    memset(f->p, 0, MEM);
    start(f);
    put_le16(f->p + AVAIL + 2, SIZE + 1); /* more than the ring holds */
    assert_int_equal(pop(f), -EINVAL);
}

static void test_hostile_inflight(void **state)
{
    struct fixture *f = *state;
    vring_stop(&f->r);
    put_le16(f->p + INFLIGHT + 12, SIZE);
    f->r.size = SIZE;
    assert_int_equal(vring_start(&f->r, &f->m, f->p + INFLIGHT), -EINVAL);
    f->r.addr.used = UVA + MEM - 8;
    assert_int_equal(vring_start(&f->r, &f->m, NULL), -EINVAL);
}

static void test_signals(void **state)
{
    struct fixture *f = *state;
    f->r.has_event_idx = true;
    for (uint16_t i = 0; i < 3; i++)
        offer(f, i);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pop(f), 1);
    vring_push(&f->r, &f->m, 0, 0);
    assert_true(vring_wants_signal(&f->r)); /* the first always */
    put_le16(f->p + AVAIL + 4 + SIZE * 2, 2);
    vring_push(&f->r, &f->m, 1, 0);
    assert_false(vring_wants_signal(&f->r));
    vring_push(&f->r, &f->m, 2, 0);
    assert_true(vring_wants_signal(&f->r));
    assert_false(vring_rearm(&f->r, &f->m));
    assert_int_equal(get_le16(f->p + USED + 4 + SIZE * 8), 3);
    offer(f, 7);
    assert_true(vring_rearm(&f->r, &f->m));
}

static void test_log(void **state)
{
    struct fixture *f = *state;
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(vhost_mem_set_log(&f->m, fd, 8192, 0), -EINVAL); /* more than there is */
    assert_int_equal(vhost_mem_set_log(&f->m, fd, 2, 0), 0);
    fd_close(fd);
    offer(f, 0);
    assert_int_equal(pop(f), 1);
    vring_push(&f->r, &f->m, 0, 0);
    assert_int_equal(f->m.log[0], 0); /* not asked for */
    f->m.is_logging = true;
    offer(f, 0);
    assert_int_equal(pop(f), 1);
    vring_push(&f->r, &f->m, 0, 0);
    assert_int_equal(f->m.log[0], 1); /* the page of the ring */
    vhost_mem_mark(&f->m, 4096 * 9 - 1, 2);
    assert_int_equal(f->m.log[1], 3);
    vhost_mem_mark(&f->m, UINT64_MAX - 4096, 2); /* far behind the log */
}

static void test_regions(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[4];
    assert_null(vhost_mem_uva(&f->m, UVA + MEM - 8, 16));
    assert_null(vhost_mem_uva(&f->m, UINT64_MAX - 4, 16));
    assert_null(vhost_mem_gpa(&f->m, MEM, 1));
    assert_int_equal(vhost_mem_iov(&f->m, MEM - 16, 32, iov, 4), -EFAULT);
    int fd = memfd_create("two", MFD_CLOEXEC), fds[] = {fd, fd};
    assert_int_equal(ftruncate(fd, 8192), 0);
    struct vhost_region two[] = {{.gpa = 0, .size = 4096, .uva = UVA},
                                 {.gpa = 4096, .size = 4096, .uva = UVA * 2, .mmap_offset = 4096}};
    assert_int_equal(vhost_mem_set(&f->m, two, 2, fds), 0);
    assert_int_equal(vhost_mem_iov(&f->m, 4000, 200, iov, 4), 2);
    assert_true(iov[0].iov_len == 96 && iov[1].iov_len == 104);
    two[1].mmap_offset = 8192; /* behind the file's end */
    assert_int_equal(vhost_mem_set(&f->m, two, 2, fds), -EINVAL);
    fd_close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_taken_and_returned),
        T(test_wraps),
        T(test_death_gives_again),
        T(test_death_in_push),
        T(test_hostile_indices),
        T(test_hostile_inflight),
        T(test_signals),
        T(test_log),
        T(test_regions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
