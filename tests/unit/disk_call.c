/*
 * disk_call.c: see disk_call.h.
 */
#include "tests/unit/disk_call.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/mem_file.h"

static void on_done(struct blk_req *req, int err)
{
    struct call *c = (struct call *)req;
    c->is_done = true;
    c->err = err;
    if (c->is_answered && err == 0)
        *c->is_answered = true;
}

void call_submit(struct engine *e, struct call *c, enum blk_op op, uint32_t at, uint32_t n, void *p)
{
    c->iov = (struct iovec){p, (size_t)n * SECTOR};
    c->req = (struct blk_req){.op = op,
                              .offset = (uint64_t)at * SECTOR,
                              .size = (uint64_t)n * SECTOR,
                              .iov = &c->iov,
                              .n_iov = 1,
                              .done = on_done};
    c->is_done = false;
    engine_submit(e, &c->req);
}

int call_run(struct engine *e, enum blk_op op, uint32_t at, uint32_t n, void *p)
{
    struct call c = {.is_answered = NULL};
    call_submit(e, &c, op, at, n, p);
    while (!c.is_done)
        if (!mem_step())
            return -ETIME;
    return c.err;
}

void sector_fill(uint8_t *p, uint32_t n, uint32_t value)
{
    for (size_t i = 0; i < (size_t)n * SECTOR; i += sizeof(value))
        memcpy(p + i, &value, sizeof(value));
}

bool sector_value(const uint8_t *p, uint32_t *ret)
{
    memcpy(ret, p, sizeof(*ret));
    return memcmp(p, p + sizeof(*ret), SECTOR - sizeof(*ret)) == 0;
}
