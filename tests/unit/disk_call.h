/*
 * disk_call.h: requests on images in memory (mem_file.h), by sectors, whose content is a number
 * repeated. Of disk_tree.c; one thread.
 */
#pragma once

#include "disk/engine.h"

#define SECTOR 512u

struct call {
    struct blk_req req;
    struct iovec iov;
    bool *is_answered; /* set when it succeeds; or NULL */
    bool is_done;
    int err;
};

void call_submit(struct engine *e, struct call *c, enum blk_op op, uint32_t at, uint32_t n,
                 void *p);
/* Until it is answered; -ETIME when that never happens. */
int call_run(struct engine *e, enum blk_op op, uint32_t at, uint32_t n, void *p);

void sector_fill(uint8_t *p, uint32_t n, uint32_t value);
/* False when the sector is not one number. */
bool sector_value(const uint8_t *p, uint32_t *ret);
