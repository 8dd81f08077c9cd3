/*
 * scatter.h: an image whose parts stand in any order, read from front to back. Private to src/op.
 *
 * A format adds the parts that it knows of (its first table), and for each part that comes, takes
 * it, which may add more: those further on are met on the way, those that have passed come from the
 * scratch (scratch.h), where everything goes that nobody had asked for. So an image as exporters
 * write them flows through, and any other one costs the room of what had to be kept.
 *
 *     struct scatter s = {.in = in, .scratch = &sc, .take = take, .arg = image, .part_max = 65536};
 *     TRY(scatter_add(&s, (struct part){.at = h.l1_at, .size = n, .kind = TABLE}));
 *     struct err *e = scatter_run(&s);
 *     scatter_done(&s);
 *
 * Parts may not overlap but for those added with `keep`, which are taken at the end, and may reach
 * behind it. Memory: 24 bytes a part that is known and has not come.
 */
#pragma once

#include "base/vec.h"
#include "op/portable/scratch.h"

struct part {
    uint64_t at;
    uint64_t arg; /* the format's */
    uint32_t size;
    uint16_t kind; /* the format's */
    bool keep;
};

struct scatter {
    struct disk_in *in;
    struct scratch *scratch;
    struct err *(*take)(struct scatter *s, const struct part *p, const char *bytes);
    void *arg;
    uint32_t part_max; /* bytes of the largest part */

    /* private */
    VEC(struct part) heap, late;
    char *room;
};
struct err *scatter_add(struct scatter *s, struct part p) _must_use_;
struct err *scatter_run(struct scatter *s) _must_use_;
void scatter_done(struct scatter *s);
/* For formats: bytes of the guest's disk, what is behind its end left out. */
struct err *scatter_put(struct scatter *s, const char *p, size_t size, uint64_t at) _must_use_;
