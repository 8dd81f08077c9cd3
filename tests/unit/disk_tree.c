/*
 * disk_tree.c: see disk_tree.h. A sector's content is a number, repeated; zero is zeroes.
 */
#include "tests/unit/disk_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "disk/create.h"
#include "disk/engine.h"
#include "disk/merge.h"
#include "tests/unit/disk_call.h"
#include "tests/unit/mem_file.h"

#define MIB        (1ull << 20)
#define SIZE_FIRST (6 * MIB)
#define SIZE_MAX_  (12 * MIB)
#define SECTORS    (SIZE_MAX_ / SECTOR)
#define NODES_MAX  60
#define DEPTH_MAX  30
#define BATCH_MAX  6

struct node {
    char name[24];
    int parent; /* -1: the root */
    bool is_used, is_hidden, is_raw;
    uint64_t size;
    uint32_t *content; /* of a leaf: what it must read */
};

/* A change of the open leaf that a power cut may undo. */
struct past {
    uint32_t at, n;
    uint32_t *values;
    bool is_answered, is_flushing;
};

static struct tree {
    struct tree_options o;
    struct tree_counts counts;
    struct node nodes[NODES_MAX];
    int leaf; /* the open one */
    unsigned n_named;
    uint32_t next_value;
    struct chain *chain;
    struct engine *engine;
    uint32_t stable[SECTORS]; /* of the open leaf: what a flush has made durable */
    VEC(struct past *) past;
    uint8_t bytes[SIZE_MAX_];
} t;

static _Noreturn void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void wrong(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fprintf(stderr, "seed %llu, step %llu, leaf '%s': ", (unsigned long long)t.o.seed,
                  (unsigned long long)t.counts.steps, t.nodes[t.leaf].name);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    exit(EXIT_FAILURE);
}

/* ---- nodes ---- */

static int node_new(int parent, uint64_t size)
{
    int i = 0;
    while (i < NODES_MAX && t.nodes[i].is_used)
        i++;
    if (i == NODES_MAX)
        wrong("there are too many nodes");
    struct node *n = &t.nodes[i];
    *n = (struct node){.parent = parent, .is_used = true, .size = size};
    (void)snprintf(n->name, sizeof(n->name), "mem:%u", t.n_named++);
    return i;
}

static void node_gone(int i)
{
    free(t.nodes[i].content);
    t.nodes[i] = (struct node){0};
}

static unsigned children_of(int i)
{
    unsigned count = 0;
    for (int k = 0; k < NODES_MAX; k++)
        count += t.nodes[k].is_used && t.nodes[k].parent == i;
    return count;
}

static unsigned used_nodes(void)
{
    unsigned count = 0;
    for (int k = 0; k < NODES_MAX; k++)
        count += t.nodes[k].is_used;
    return count;
}

static unsigned depth_of(int i)
{
    unsigned depth = 0;
    for (; i >= 0; i = t.nodes[i].parent)
        depth++;
    return depth;
}

static struct image_parent as_parent(int i)
{
    return (struct image_parent){t.nodes[i].name, t.nodes[i].is_raw ? IMAGE_RAW : t.o.format};
}

static struct chain *open_chain(int i, bool readonly)
{
    struct chain_item items[CHAIN_MAX];
    struct image_why why = {""};
    struct chain *c;
    unsigned n = 0;
    for (; i >= 0; i = t.nodes[i].parent) {
        struct image_parent p = as_parent(i);
        items[n++] = (struct chain_item){p.path, p.format};
    }
    if (chain_open(items, n, readonly, &c, &why) < 0)
        wrong("cannot open: %s", why.text);
    return c;
}

static int random_leaf(void)
{
    int pick = -1;
    uint32_t seen = 0;
    for (int k = 0; k < NODES_MAX; k++)
        if (t.nodes[k].is_used && !t.nodes[k].is_hidden && mem_below(++seen) == 0)
            pick = k;
    return pick;
}

/* ---- requests ---- */

static int run(struct engine *e, enum blk_op op, uint32_t at, uint32_t n, void *p)
{
    int r = call_run(e, op, at, n, p);
    if (r == -ETIME)
        wrong("a request is never answered");
    return r;
}

static uint32_t value_at(const uint8_t *p)
{
    uint32_t v;
    if (!sector_value(p, &v))
        wrong("a sector is torn: it begins with %u", v);
    return v;
}

static void random_range(uint32_t *ret_at, uint32_t *ret_n)
{
    uint32_t sectors = (uint32_t)(t.nodes[t.leaf].size / SECTOR), roll = mem_below(20);
    uint32_t n = 1 + mem_below(roll == 0 ? 5000 : roll < 4 ? 300 : 16);
    uint32_t at = mem_below(sectors);
    if (mem_below(4) == 0)
        at = at / 4096 * 4096; /* a block's begin */
    *ret_at = at;
    *ret_n = n < sectors - at ? n : sectors - at;
}

/* ---- the open leaf and its past ---- */

static struct past *past_new(uint32_t at, uint32_t n)
{
    struct past *p = mem_new(struct past);
    p->at = at;
    p->n = n;
    p->values = mem_new_n(uint32_t, n);
    vec_push(&t.past, p);
    return p;
}

static void past_remove(size_t i)
{
    free(t.past.v[i]->values);
    free(t.past.v[i]);
    vec_remove(&t.past, i);
}

static void past_clear(void)
{
    while (t.past.n)
        past_remove(t.past.n - 1);
}

/* An answered flush: what was answered when it came is durable. */
static void past_flushed(void)
{
    for (size_t i = 0; i < t.past.n;) {
        struct past *p = t.past.v[i];
        if (!p->is_flushing) {
            i++;
            continue;
        }
        memcpy(t.stable + p->at, p->values, p->n * sizeof(*p->values));
        past_remove(i);
    }
}

static void reopen_leaf(void)
{
    t.chain = open_chain(t.leaf, false);
    t.engine = engine_new(t.chain, NULL, NULL, NULL);
    if (t.chain->size != t.nodes[t.leaf].size)
        wrong("the size is %llu", (unsigned long long)t.chain->size);
}

static void open_leaf(int i)
{
    t.leaf = i;
    reopen_leaf();
    memcpy(t.stable, t.nodes[i].content, sizeof(t.stable));
    past_clear();
    unsigned depth = depth_of(i);
    if (depth > t.counts.deepest)
        t.counts.deepest = depth;
}

static void close_leaf(void)
{
    struct image_why why = {""};
    engine_free(t.engine);
    if (chain_close(t.chain, &why) < 0)
        wrong("cannot close: %s", why.text);
    t.engine = NULL;
    past_clear();
}

/* After death: transfers that wait fail, and nothing is written any more. */
static void bury_leaf(void)
{
    for (unsigned i = 0; i < t.chain->n; i++)
        mem_kill(t.chain->image[i]->file);
    while (!engine_is_idle(t.engine) && mem_step()) {
    }
    engine_free(t.engine);
    (void)chain_close(t.chain, NULL);
    t.engine = NULL;
}

static void verify(int leaf, struct engine *e, uint32_t at, uint32_t n)
{
    memset(t.bytes, 0x5a, (size_t)n * SECTOR);
    if (run(e, BLK_READ, at, n, t.bytes) != 0)
        wrong("reading failed");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = value_at(t.bytes + (size_t)i * SECTOR);
        if (v != t.nodes[leaf].content[at + i])
            wrong("'%s' sector %u is %u, not %u", t.nodes[leaf].name, at + i, v,
                  t.nodes[leaf].content[at + i]);
    }
}

static void verify_leaf(int i)
{
    uint32_t sectors = (uint32_t)(t.nodes[i].size / SECTOR);
    if (i == t.leaf && t.engine) {
        verify(i, t.engine, 0, sectors);
        return;
    }
    struct chain *c = open_chain(i, true);
    struct engine *e = engine_new(c, NULL, NULL, NULL);
    verify(i, e, 0, sectors);
    engine_free(e);
    (void)chain_close(c, NULL);
}

static bool could_be(uint32_t sector, uint32_t v, bool power)
{
    const uint32_t *content = t.nodes[t.leaf].content;
    if (v == (power ? t.stable[sector] : content[sector]))
        return true;
    for (size_t i = t.past.n; i-- > 0;) {
        const struct past *p = t.past.v[i];
        bool counts = power || !p->is_answered;
        if (counts && sector - p->at < p->n && p->values[sector - p->at] == v)
            return true;
    }
    return false;
}

/* What is there after a death becomes what must be there. */
static void settle(bool power)
{
    uint32_t *content = t.nodes[t.leaf].content;
    uint32_t sectors = (uint32_t)(t.nodes[t.leaf].size / SECTOR);
    if (run(t.engine, BLK_READ, 0, sectors, t.bytes) != 0)
        wrong("reading failed after a crash");
    for (uint32_t i = 0; i < sectors; i++) {
        uint32_t v = value_at(t.bytes + (size_t)i * SECTOR);
        if (!could_be(i, v, power))
            wrong("after a %s sector %u is %u; stable %u, answered %u",
                  power ? "power cut" : "kill", i, v, t.stable[i], content[i]);
        content[i] = v;
        if (power)
            t.stable[i] = v;
    }
    if (power)
        past_clear();
    vec_each (p, &t.past) {
        if (!(*p)->is_answered)
            memcpy((*p)->values, content + (*p)->at, (*p)->n * sizeof(*content));
        (*p)->is_answered = true;
    }
}

/* ---- operations ---- */

static bool overlaps(const struct call *calls, unsigned n, uint32_t at, uint32_t size)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t a = calls[i].req.offset / SECTOR, s = calls[i].iov.iov_len / SECTOR;
        if (at < a + s && a < (uint64_t)at + size)
            return true;
    }
    return false;
}

/* Some writes at once, perhaps with a flush in between; `steps` transfers, then whatever is left
 * stays in flight. */
static unsigned begin_writes(struct call *calls, struct past **past, struct call *flush,
                             uint8_t **bytes)
{
    unsigned n = 0, wanted = 1 + mem_below(BATCH_MAX);
    for (unsigned k = 0; k < wanted; k++) {
        uint32_t at, size;
        random_range(&at, &size);
        if (overlaps(calls, n, at, size))
            continue;
        struct past *p = past[n] = past_new(at, size);
        bool zero = mem_below(6) == 0;
        uint32_t value = zero ? 0 : ++t.next_value;
        for (uint32_t i = 0; i < size; i++)
            p->values[i] = value;
        bytes[n] = mem_new_n(uint8_t, (size_t)size * SECTOR);
        sector_fill(bytes[n], size, value);
        calls[n].is_answered = &p->is_answered;
        call_submit(t.engine, &calls[n], zero ? BLK_ZEROES : BLK_WRITE, at, size, bytes[n]);
        n++;
        if (mem_below(3) == 0)
            (void)mem_step();
        if (mem_below(8) == 0 && flush->is_done) {
            vec_each (q, &t.past)
                (*q)->is_flushing = (*q)->is_answered;
            call_submit(t.engine, flush, BLK_FLUSH, 0, 0, NULL);
        }
    }
    return n;
}

static void writes(bool dies)
{
    struct call calls[BATCH_MAX], flush = {.is_done = true};
    struct past *past[BATCH_MAX];
    uint8_t *bytes[BATCH_MAX];
    memset(calls, 0, sizeof(calls));
    unsigned n = begin_writes(calls, past, &flush, bytes);
    bool had_flush = !flush.is_done;
    unsigned steps = dies ? mem_below(4 * n + 4) : UINT32_MAX;
    while (steps-- && mem_step()) {
    }
    if (!dies && (!engine_is_idle(t.engine) || !flush.is_done))
        wrong("writes are never answered");
    for (unsigned i = 0; i < n; i++) {
        struct past *p = past[i];
        if (calls[i].is_done && calls[i].err)
            wrong("a write failed: %s", strerror(-calls[i].err));
        if (p->is_answered)
            memcpy(t.nodes[t.leaf].content + p->at, p->values, p->n * sizeof(*p->values));
    }
    if (had_flush && flush.is_done) {
        if (flush.err)
            wrong("a flush failed");
        past_flushed();
    }
    for (unsigned i = 0; i < n; i++)
        calls[i].is_answered = NULL; /* the dead answer nobody */
    if (dies)
        bury_leaf();
    for (unsigned i = 0; i < n; i++)
        free(bytes[i]);
}

static void flush(void)
{
    vec_each (p, &t.past)
        (*p)->is_flushing = true;
    if (run(t.engine, BLK_FLUSH, 0, 0, NULL) != 0)
        wrong("a flush failed");
    past_flushed();
}

static void flush_some(void)
{
    if (mem_below(2))
        flush();
}

/* Each sector is as it was or zero, and stays what it is. */
static void discard(void)
{
    uint32_t at, n, *content = t.nodes[t.leaf].content;
    random_range(&at, &n);
    struct past *p = past_new(at, n);
    memcpy(p->values, content + at, n * sizeof(*content));
    if (run(t.engine, BLK_DISCARD, at, n, NULL) != 0 ||
        run(t.engine, BLK_READ, at, n, t.bytes) != 0)
        wrong("a discard failed");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = value_at(t.bytes + (size_t)i * SECTOR);
        if (v != 0 && v != content[at + i])
            wrong("after a discard sector %u is %u, not %u", at + i, v, content[at + i]);
        p->values[i] = content[at + i] = v;
    }
    p->is_answered = true;
}

static void check_some(void)
{
    uint32_t at, n;
    random_range(&at, &n);
    verify(t.leaf, t.engine, at, n);
}

static void grow(void)
{
    struct node *n = &t.nodes[t.leaf];
    struct image_why why = {""};
    if (n->size >= SIZE_MAX_ || n->is_raw)
        return;
    close_leaf();
    if (image_resize(n->name, t.o.format, n->size + 2 * MIB, &n->size, &why) < 0)
        wrong("cannot grow: %s", why.text);
    open_leaf(t.leaf);
}

static int new_child(int parent)
{
    struct image_parent p = as_parent(parent);
    struct image_made made;
    struct image_why why = {""};
    int i = node_new(parent, t.nodes[parent].size);
    if (image_create(t.nodes[i].name, t.o.format, 0, &p, &made, &why) < 0)
        wrong("cannot make a child: %s", why.text);
    return i;
}

static uint32_t *content_like(const uint32_t *content)
{
    return mem_dup(content, SECTORS * sizeof(*content));
}

static void modify(int i, int hidden, int parent)
{
    struct image_parent p = parent < 0 ? (struct image_parent){0} : as_parent(parent);
    struct image_change change = {.hidden = hidden, .parent = parent < 0 ? NULL : &p};
    struct image_why why = {""};
    if (t.nodes[i].is_raw)
        return;
    if (image_modify(t.nodes[i].name, t.o.format, &change, &why) < 0)
        wrong("cannot modify: %s", why.text);
}

/* The leaf becomes a hidden base of two children; one goes on being written. */
static void snapshot(void)
{
    if (depth_of(t.leaf) >= DEPTH_MAX || used_nodes() > NODES_MAX - 4)
        return;
    int base = t.leaf;
    close_leaf();
    modify(base, 1, -1);
    t.nodes[base].is_hidden = true;
    int child = new_child(base);
    t.nodes[child].content = t.nodes[base].content;
    t.nodes[base].content = NULL;
    if (mem_below(3)) {
        int other = new_child(base);
        t.nodes[other].content = content_like(t.nodes[child].content);
    }
    t.counts.snapshots++;
    open_leaf(child);
}

static void switch_leaf(void)
{
    close_leaf();
    open_leaf(random_leaf());
}

static void remove_leaf(void)
{
    int i = random_leaf();
    if (i == t.leaf || i < 0)
        return;
    int parent = t.nodes[i].parent;
    if (file_remove(t.nodes[i].name) < 0)
        wrong("cannot remove");
    node_gone(i);
    /* A hidden node that nobody needs any more goes with it. */
    while (parent >= 0 && children_of(parent) == 0) {
        int next = t.nodes[parent].parent;
        if (file_remove(t.nodes[parent].name) < 0)
            wrong("cannot remove a base");
        node_gone(parent);
        parent = next;
    }
}

struct end {
    bool is_ended;
    int err;
};

static void on_end(void *arg, int err)
{
    struct end *e = arg;
    e->is_ended = true;
    e->err = err;
}

/* Merges i into its parent; `steps` transfers, then it is killed. True when it came to its end. */
static bool merge(int i, int parent, uint64_t steps)
{
    struct image_parent p = as_parent(parent);
    struct image_why why = {""};
    struct image *child, *into;
    struct merge m;
    struct end end = {false, 0};
    if (image_open(t.nodes[i].name, t.o.format, IMAGE_READ, &child, &why) < 0)
        wrong("cannot open to merge: %s", why.text);
    if (t.nodes[parent].size < t.nodes[i].size &&
        image_grow(p.path, p.format, IMAGE_MERGE, t.nodes[i].size, &t.nodes[parent].size, &why) < 0)
        wrong("cannot grow to merge: %s", why.text);
    if (image_open(p.path, p.format, IMAGE_MERGE, &into, &why) < 0)
        wrong("cannot open to merge into: %s", why.text);
    merge_init(&m, child, into, NULL);
    m.on_end = on_end;
    m.arg = &end;
    merge_go_on(&m);
    while (!end.is_ended && steps-- && mem_step()) {
    }
    bool is_whole = end.is_ended;
    if (end.is_ended && end.err)
        wrong("a merge failed: %s", strerror(-end.err));
    if (!is_whole) {
        mem_kill(child->file);
        mem_kill(into->file);
        while (!end.is_ended && mem_step()) {
        }
    }
    merge_done(&m);
    if ((image_close(into, &why) < 0) == is_whole || (image_close(child, NULL) < 0 && is_whole))
        wrong("closing after a merge: %s", why.text);
    return is_whole;
}

static bool is_above(int i, int leaf)
{
    for (; leaf >= 0; leaf = t.nodes[leaf].parent)
        if (leaf == i)
            return true;
    return false;
}

/* An inner node goes into its parent while the open leaf may read through both; its children are
 * told their new parent. */
static void coalesce_inner(void)
{
    int picks[NODES_MAX];
    uint32_t n = 0;
    for (int i = 0; i < NODES_MAX; i++)
        if (t.nodes[i].is_used && t.nodes[i].is_hidden && t.nodes[i].parent >= 0 &&
            children_of(t.nodes[i].parent) == 1)
            picks[n++] = i;
    if (n == 0)
        return;
    int i = picks[mem_below(n)], parent = t.nodes[i].parent;
    if (!merge(i, parent, mem_below(3) ? UINT64_MAX : mem_below(60)))
        return;
    bool reopens = is_above(i, t.leaf);
    int leaf = t.leaf;
    if (reopens)
        close_leaf();
    for (int k = 0; k < NODES_MAX; k++)
        if (t.nodes[k].is_used && t.nodes[k].parent == i) {
            modify(k, -1, parent);
            t.nodes[k].parent = parent;
        }
    if (file_remove(t.nodes[i].name) < 0)
        wrong("cannot remove a merged node");
    node_gone(i);
    t.counts.merges++;
    if (reopens)
        open_leaf(leaf);
}

/* A closed leaf that is its parent's only child becomes its parent. */
static void coalesce_leaf(void)
{
    int i = t.leaf, parent = t.nodes[i].parent;
    if (parent < 0 || children_of(parent) != 1 || t.nodes[parent].is_raw)
        return;
    close_leaf();
    if (!merge(i, parent, mem_below(3) ? UINT64_MAX : mem_below(60))) {
        open_leaf(i);
        return;
    }
    mem_rename(t.nodes[parent].name, t.nodes[i].name);
    memcpy(t.nodes[parent].name, t.nodes[i].name, sizeof(t.nodes[i].name));
    t.nodes[parent].content = steal(&t.nodes[i].content);
    t.nodes[parent].is_hidden = false;
    node_gone(i);
    modify(parent, 0, -1);
    t.counts.merges++;
    open_leaf(parent);
}

/* ---- deaths ---- */

/* Requests that were in flight are settled by what is there. */
static void kill_process(void)
{
    writes(true);
    reopen_leaf();
    settle(false);
    t.counts.kills++;
}

static void die_growing(void)
{
    struct node *n = &t.nodes[t.leaf];
    struct image_info info;
    uint64_t size;
    if (n->size >= SIZE_MAX_ || n->is_raw)
        return;
    close_leaf();
    memcpy(t.stable, n->content, sizeof(t.stable));
    mem_fuse(1 + mem_below(10));
    (void)image_resize(n->name, t.o.format, n->size + 2 * MIB, &size, NULL);
    mem_power_cut();
    struct image_why why = {""};
    enum image_format format = t.o.format;
    if (image_info(n->name, &format, &info, &why) < 0)
        wrong("after a crash while growing: %s", why.text);
    if (info.size != n->size && info.size != n->size + 2 * MIB)
        wrong("after a crash while growing the size is %llu", (unsigned long long)info.size);
    n->size = info.size;
}

static void die_modifying(void)
{
    struct node *n = &t.nodes[t.leaf];
    if (n->is_raw)
        return;
    close_leaf();
    memcpy(t.stable, n->content, sizeof(t.stable));
    struct image_parent p = n->parent < 0 ? (struct image_parent){0} : as_parent(n->parent);
    struct image_change change = {.hidden = 0, .parent = n->parent < 0 ? NULL : &p};
    mem_fuse(1 + mem_below(14));
    (void)image_modify(n->name, t.o.format, &change, NULL);
}

static void die_closing(void)
{
    flush_some();
    mem_fuse(1 + mem_below(5));
    engine_free(t.engine);
    (void)chain_close(t.chain, NULL);
    t.engine = NULL;
}

static void power_cut(void)
{
    switch (mem_below(8)) {
    case 0:
        die_growing();
        break;
    case 1:
        die_modifying();
        break;
    case 2:
        die_closing();
        break;
    case 3:
        coalesce_inner();
        break;
    default:
        writes(true);
    }
    mem_power_cut();
    if (t.engine)
        bury_leaf();
    reopen_leaf();
    settle(true);
    t.counts.power_cuts++;
}

/* ---- the run ---- */

static void step(void)
{
    uint32_t roll = mem_below(1000);
    if (t.o.crash_each && mem_below(t.o.crash_each) == 0)
        power_cut();
    else if (roll < 550)
        writes(false);
    else if (roll < 800)
        check_some();
    else if (roll < 860)
        flush();
    else if (roll < 900)
        discard();
    else if (roll < 915)
        kill_process();
    else if (roll < 930)
        switch_leaf();
    else if (roll < 933)
        grow();
    else if (roll < 960)
        snapshot();
    else if (roll < 972)
        coalesce_inner();
    else if (roll < 976)
        coalesce_leaf();
    else if (roll < 990)
        remove_leaf();
    else
        verify_leaf(random_leaf());
}

static void begin(void)
{
    struct image_made made;
    struct image_why why = {""};
    mem_store_reset(t.o.seed);
    if (t.o.devices)
        mem_store_devices(20 * MIB);
    int root = node_new(-1, SIZE_FIRST);
    t.nodes[root].is_raw = t.o.raw_root && !t.o.devices;
    t.nodes[root].content = mem_new_n(uint32_t, SECTORS);
    enum image_format format = t.nodes[root].is_raw ? IMAGE_RAW : t.o.format;
    if (image_create(t.nodes[root].name, format, SIZE_FIRST, NULL, &made, &why) < 0)
        wrong("cannot create: %s", why.text);
    open_leaf(root);
}

static void finish(void)
{
    for (int i = 0; i < NODES_MAX; i++)
        if (t.nodes[i].is_used && !t.nodes[i].is_hidden)
            verify_leaf(i);
    close_leaf();
    vec_done(&t.past);
    for (int i = 0; i < NODES_MAX; i++)
        node_gone(i);
}

struct tree_counts tree_run(const struct tree_options *o)
{
    memset(&t, 0, offsetof(struct tree, bytes));
    t.o = *o;
    begin();
    for (; t.counts.steps < o->steps; t.counts.steps++)
        step();
    finish();
    return t.counts;
}
