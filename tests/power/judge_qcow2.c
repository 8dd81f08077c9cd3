/* judge_qcow2.c: see judge_qcow2.h. Called by replay.c. */
#include "judge_qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define CLUSTER  65536u
#define CLUSTERS 4096u /* of the file, at most */
#define PLACE    0x00fffffffffffe00ull

struct judge {
    struct file *file;
    struct image_why *why;
    uint64_t size; /* of the file */
    uint32_t users[CLUSTERS];
    uint8_t cluster[CLUSTER]; /* an L1 or L2 table, or a block of counts */
};

static uint64_t number(const uint8_t *p, unsigned bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

static int wrong(struct judge *j, const char *what, uint64_t at)
{
    why_set(j->why, "%s at byte %llu", what, (unsigned long long)at);
    return -EILSEQ;
}

static int use(struct judge *j, uint64_t at)
{
    if (at % CLUSTER || at / CLUSTER >= CLUSTERS)
        return wrong(j, "no cluster can be", at);
    if (j->users[at / CLUSTER]++)
        return wrong(j, "two users of the cluster", at);
    return 0;
}

/* What the file does not reach reads as zeroes. */
static int fetch(struct judge *j, uint64_t at, uint8_t *out)
{
    uint64_t left = at < j->size ? j->size - at : 0;
    size_t n = left < CLUSTER ? (size_t)left : CLUSTER;
    memset(out, 0, CLUSTER);
    return n ? file_pread(j->file, out, n, at) : 0;
}

static int walk_l2(struct judge *j, uint64_t at)
{
    int r = use(j, at);
    if (r == 0)
        r = fetch(j, at, j->cluster);
    for (unsigned i = 0; r == 0 && i < CLUSTER / 8; i++) {
        uint64_t entry = number(j->cluster + i * 8, 8);
        if (entry >> 62 & 1)
            r = wrong(j, "an unknown kind of cluster in the table", at);
        else if (entry & PLACE)
            r = use(j, entry & PLACE);
    }
    return r;
}

/* Both tables of such small images are one cluster. */
static int walk(struct judge *j, const uint8_t *l1, uint64_t l1_at, const uint8_t *counts,
                uint64_t counts_at)
{
    int r = use(j, 0);
    if (r == 0)
        r = use(j, l1_at);
    if (r == 0)
        r = use(j, counts_at);
    for (unsigned i = 0; r == 0 && i < CLUSTER / 8; i++)
        if (number(counts + i * 8, 8))
            r = use(j, number(counts + i * 8, 8));
    for (unsigned i = 0; r == 0 && i < CLUSTER / 8; i++)
        if (number(l1 + i * 8, 8) & PLACE)
            r = walk_l2(j, number(l1 + i * 8, 8) & PLACE);
    return r;
}

static int check_counts(struct judge *j, const uint8_t *counts)
{
    uint64_t at = number(counts, 8);
    int r = at ? fetch(j, at, j->cluster) : 0;
    if (!at)
        memset(j->cluster, 0, CLUSTER);
    for (unsigned i = 0; r == 0 && i < CLUSTERS; i++)
        if (number(j->cluster + i * 2, 2) != j->users[i])
            r = wrong(j, "a wrong count of the cluster", (uint64_t)i * CLUSTER);
    return r;
}

static int look(struct judge *j, bool closed, uint8_t tables[2][CLUSTER])
{
    int r = fetch(j, 0, j->cluster);
    uint64_t l1_at = number(j->cluster + 40, 8), counts_at = number(j->cluster + 48, 8);
    bool is_dirty = j->cluster[79] & 1;
    if (r == 0 && memcmp(j->cluster, "QFI\xfb\0\0\0\3", 8) != 0)
        return wrong(j, "no header", 0);
    if (r == 0 && closed && is_dirty)
        return wrong(j, "the mark of an open image", 72);
    if (r == 0)
        r = fetch(j, l1_at, tables[0]);
    if (r == 0)
        r = fetch(j, counts_at, tables[1]);
    if (r == 0)
        r = walk(j, tables[0], l1_at, tables[1], counts_at);
    return r < 0 || is_dirty ? r : check_counts(j, tables[1]);
}

int judge_qcow2(const char *path, bool closed, struct image_why *why)
{
    static uint8_t tables[2][CLUSTER];
    struct judge *j = mem_new(struct judge);
    struct file_stat st;
    j->why = why;
    int r = file_open(path, FILE_READ, &j->file);
    if (r == 0)
        r = file_stat(j->file, &st);
    if (r == 0) {
        j->size = st.size;
        r = look(j, closed, tables);
    }
    file_close(j->file);
    free(j);
    return r;
}
