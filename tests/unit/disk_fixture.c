/*
 * disk_fixture.c: see disk_fixture.h.
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

char path[64], child_path[64];

void on_done(struct blk_req *req, int err)
{
    struct call *c = (struct call *)req;
    c->is_done = true;
    c->err = err;
}

void open_disk(struct disk *d, enum image_format format, bool readonly)
{
    struct chain_item item = {path, format};
    struct image_why why = {""};
    if (chain_open(&item, 1, readonly, &d->chain, &why) < 0)
        fail_msg("%s", why.text);
    sync_backend_init(&d->backend);
    d->engine = engine_new(d->chain, &d->backend.backend, NULL, NULL);
}

void new_disk(struct disk *d, enum image_format format, uint64_t size)
{
    struct image_made made;
    (void)unlink(path);
    assert_int_equal(image_create(path, format, size, NULL, &made, NULL), 0);
    memset(d, 0, sizeof(*d));
    open_disk(d, format, false);
}

void close_disk(struct disk *d)
{
    assert_true(engine_is_idle(d->engine));
    engine_free(d->engine);
    sync_backend_done(&d->backend);
    assert_int_equal(chain_close(d->chain, NULL), 0);
}

static int fail_all(const struct io *io, void *arg)
{
    return -EIO;
}

/* As kill -9 would: what was not written is lost. */
void kill_disk(struct disk *d)
{
    d->backend.fault = fail_all;
    while (sync_backend_step(&d->backend)) {
    }
    engine_free(d->engine);
    sync_backend_done(&d->backend);
    for (unsigned i = 0; i < d->chain->n; i++) {
        d->chain->image[i]->is_readonly = true;
    }
    assert_int_equal(chain_close(d->chain, NULL), 0);
}

void start(struct disk *d, struct call *c, enum blk_op op, uint64_t at, void *p, uint64_t size)
{
    *c = (struct call){.req = {.op = op, .offset = at, .size = size, .done = on_done}};
    size_t half = (size_t)(size / 2);
    c->iov[0] = (struct iovec){p, half};
    c->iov[1] = (struct iovec){(char *)p + half, (size_t)size - half};
    c->req.iov = c->iov;
    c->req.n_iov = 2;
    engine_submit(d->engine, &c->req);
}

int run(struct disk *d, enum blk_op op, uint64_t at, void *p, uint64_t size)
{
    struct call c;
    start(d, &c, op, at, p, size);
    assert_true(c.is_done);
    return c.err;
}

void expect(struct disk *d, uint64_t at, uint64_t size, uint8_t value)
{
    _cleanup_(freep) uint8_t *p = mem_new_n(uint8_t, (size_t)size);
    memset(p, 0x5a, (size_t)size);
    assert_int_equal(run(d, BLK_READ, at, p, size), 0);
    for (uint64_t i = 0; i < size; i++)
        if (p[i] != value)
            fail_msg("byte %llu is %u, not %u", (unsigned long long)(at + i), p[i], value);
}

int write_bytes(struct disk *d, uint64_t at, uint64_t size, uint8_t value)
{
    _cleanup_(freep) uint8_t *p = mem_new_n(uint8_t, (size_t)size);
    memset(p, value, (size_t)size);
    return run(d, BLK_WRITE, at, p, size);
}

/* Overwrites bytes of the file, with new checksums of footer copy and header. */
void patch(const char *file, off_t at, const void *p, size_t size)
{
    uint8_t b[1536];
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_int_equal(fd_pwrite_all(fd, p, size, at), 0);
    assert_int_equal(fd_pread_all(fd, b, sizeof(b), 0), 0);
    put_be32(b + 64, 0);
    put_be32(b + 64, vhd_checksum(b, 512));
    put_be32(b + 512 + 36, 0);
    put_be32(b + 512 + 36, vhd_checksum(b + 512, 1024));
    assert_int_equal(fd_pwrite_all(fd, b, sizeof(b), 0), 0);
    fd_close(fd);
}

int disk_set_up(void **state)
{
    (void)snprintf(path, sizeof(path), "/tmp/test_disk.%d.img", (int)getpid());
    (void)snprintf(child_path, sizeof(child_path), "/tmp/test_disk.%d.child", (int)getpid());
    return 0;
}

int disk_tear_down(void **state)
{
    (void)unlink(path);
    (void)unlink(child_path);
    return 0;
}
