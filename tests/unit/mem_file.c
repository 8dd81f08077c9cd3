/*
 * mem_file.c: see mem_file.h. A node is a file: what is read now, what is durable, and the changes
 * in between; a handle is one opening of it.
 */
#include "tests/unit/mem_file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/vec.h"
#include "disk/backend/backend.h"

#define ROOM   (256ull << 20) /* address space of a file */
#define SECTOR 512u

enum change_kind { CHANGE_WRITE, CHANGE_ZERO, CHANGE_SIZE };

struct change {
    enum change_kind kind;
    uint64_t at, size;
    uint8_t *bytes; /* WRITE */
};

struct node {
    char *name;
    uint8_t *now, *durable;
    uint64_t size, durable_size;
    bool is_device;
    VEC(struct change) changes; /* since the last sync, oldest first */
    uint64_t n_synced;          /* changes that were, so that a place in them has a number */
    unsigned readers, writers, mergers;
};

struct handle {
    struct file file;
    struct node *node;
    enum file_lock lock;
    bool is_locked, is_dead;
};

struct wait {
    struct io *io;
    uint64_t mark; /* of a sync: the changes before this number are durable after it */
};

static struct {
    VEC(struct node *) nodes;
    VEC(struct handle *) handles;
    VEC(struct wait) waiting;
    uint64_t random, clock, device_size;
    uint32_t fuse;
    bool is_known;
} store;

static void submit(struct backend *b, struct io *io);
static bool tick(void);
static void transfer(struct handle *h, struct io *io, uint64_t mark, int *ret_err);
static const struct backend_ops mem_backend_ops = {.submit = submit};
static struct backend mem_backend = {.ops = &mem_backend_ops};

uint64_t mem_random(void)
{
    uint64_t x = store.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (store.random = x) * 0x2545f4914f6cdd1dull >> 16;
}

uint64_t mem_clock(void)
{
    return store.clock;
}

/* ---- nodes ---- */

static void fill(uint8_t *p, uint64_t at, uint64_t size)
{
    if (size >= 65536) {
        uint64_t from = (at + 4095) / 4096 * 4096, to = (at + size) / 4096 * 4096;
        memset(p + at, 0, from - at);
        assert(madvise(p + from, to - from, MADV_DONTNEED) == 0);
        memset(p + to, 0, at + size - to);
        return;
    }
    memset(p + at, 0, size);
}

static struct node *find(const char *name)
{
    vec_each (n, &store.nodes)
        if (strcmp((*n)->name, name) == 0)
            return *n;
    return NULL;
}

static void drop_changes(struct node *n, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(n->changes.v[i].bytes);
    memmove(n->changes.v, n->changes.v + count, (n->changes.n - count) * sizeof(*n->changes.v));
    n->changes.n -= count;
    n->n_synced += count;
}

static void node_free(struct node *n)
{
    drop_changes(n, n->changes.n);
    vec_done(&n->changes);
    (void)munmap(n->now, ROOM);
    (void)munmap(n->durable, ROOM);
    free(n->name);
    free(n);
}

static struct node *node_new(const char *name)
{
    struct node *n = mem_new(struct node);
    n->name = mem_strdup(name);
    for (int i = 0; i < 2; i++) {
        uint8_t *p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert(p != MAP_FAILED);
        *(i ? &n->durable : &n->now) = p;
        if (store.device_size)
            memset(p, 0xa5, store.device_size);
    }
    n->is_device = store.device_size;
    n->size = n->durable_size = store.device_size;
    vec_push(&store.nodes, n);
    return n;
}

static void node_remove(struct node *n)
{
    for (size_t i = 0; i < store.nodes.n; i++)
        if (store.nodes.v[i] == n) {
            vec_remove(&store.nodes, i);
            break;
        }
    node_free(n);
}

void mem_rename(const char *from, const char *to)
{
    struct node *n = find(from), *old = find(to);
    assert(n);
    if (old)
        node_remove(old);
    free(n->name);
    n->name = mem_strdup(to);
}

void mem_store_devices(uint64_t size)
{
    store.device_size = size;
}

/* ---- changes ---- */

static void apply(uint8_t *bytes, uint64_t *size, const struct change *c)
{
    assert(c->at + c->size <= ROOM);
    if (c->kind == CHANGE_WRITE)
        memcpy(bytes + c->at, c->bytes, c->size);
    else if (c->kind == CHANGE_ZERO)
        fill(bytes, c->at, c->size);
    if (c->kind == CHANGE_WRITE && c->at + c->size > *size)
        *size = c->at + c->size;
    if (c->kind != CHANGE_SIZE)
        return;
    if (c->at < *size)
        fill(bytes, c->at, *size - c->at);
    *size = c->at;
}

void mem_fuse(uint32_t n)
{
    store.fuse = n;
}

/* False: everybody has just died. */
static bool tick(void)
{
    store.clock++;
    if (!store.fuse || --store.fuse)
        return true;
    vec_each (h, &store.handles)
        mem_kill(&(*h)->file);
    return false;
}

static void change(struct node *n, struct change c)
{
    if (c.kind == CHANGE_ZERO && c.at + c.size > n->size)
        c.size = c.at < n->size ? n->size - c.at : 0;
    apply(n->now, &n->size, &c);
    vec_push(&n->changes, c);
}

static void sync_to(struct node *n, uint64_t mark)
{
    size_t count = mark > n->n_synced ? (size_t)(mark - n->n_synced) : 0;
    for (size_t i = 0; i < count; i++)
        apply(n->durable, &n->durable_size, &n->changes.v[i]);
    drop_changes(n, count);
}

static uint64_t mark_of(const struct node *n)
{
    return n->n_synced + n->changes.n;
}

/* Some sectors of a change; `of` in 16. */
static void apply_part(struct node *n, const struct change *c, uint32_t of)
{
    if (c->kind == CHANGE_SIZE) {
        if (mem_below(16) < of)
            apply(n->durable, &n->durable_size, c);
        return;
    }
    for (uint64_t at = 0; at < c->size; at += SECTOR) {
        uint64_t size = c->size - at < SECTOR ? c->size - at : SECTOR;
        struct change part = {c->kind, c->at + at, size, c->bytes ? c->bytes + at : NULL};
        if (mem_below(16) < of)
            apply(n->durable, &n->durable_size, &part);
    }
    if (c->kind == CHANGE_WRITE && c->at + c->size > n->durable_size && mem_below(2))
        n->durable_size = c->at + c->size;
}

static void copy(uint8_t *to, const uint8_t *from, uint64_t size, uint64_t old_size)
{
    for (uint64_t at = 0; at < size; at += 65536) {
        uint64_t n = size - at < 65536 ? size - at : 65536;
        if (memcmp(to + at, from + at, n) != 0)
            memcpy(to + at, from + at, n);
    }
    if (old_size > size)
        fill(to, size, old_size - size);
}

void mem_power_cut(void)
{
    static const uint32_t parts[] = {0, 1, 4, 8, 12, 15, 16};
    store.fuse = 0;
    vec_each (h, &store.handles)
        mem_kill(&(*h)->file);
    vec_each (p, &store.nodes) {
        struct node *n = *p;
        uint64_t old = n->size;
        uint32_t of = parts[mem_below(ARRAY_LEN(parts))];
        for (size_t i = 0; i < n->changes.n; i++)
            apply_part(n, &n->changes.v[i], mem_below(4) ? of : mem_below(17));
        drop_changes(n, n->changes.n);
        n->size = n->durable_size;
        copy(n->now, n->durable, n->size, old);
    }
}

/* ---- transfers ---- */

static void submit(struct backend *b, struct io *io)
{
    struct handle *h = (struct handle *)io->file;
    vec_push(&store.waiting, ((struct wait){io, mark_of(h->node)}));
}

bool mem_step(void)
{
    if (store.waiting.n == 0)
        return false;
    size_t i = mem_below((uint32_t)store.waiting.n);
    struct wait w = store.waiting.v[i];
    vec_remove(&store.waiting, i);
    int err = 0;
    transfer((struct handle *)w.io->file, w.io, w.mark, &err);
    w.io->done(w.io, err);
    return true;
}

static uint8_t *gather(const struct io *io)
{
    uint8_t *bytes = mem_new_n(uint8_t, io->size);
    uint64_t at = 0;
    for (int i = 0; i < io->n_iov; i++) {
        memcpy(bytes + at, io->iov[i].iov_base, io->iov[i].iov_len);
        at += io->iov[i].iov_len;
    }
    assert(at == io->size);
    return bytes;
}

static void scatter(const struct node *n, const struct io *io)
{
    uint64_t at = io->offset;
    for (int i = 0; i < io->n_iov; i++) {
        memcpy(io->iov[i].iov_base, n->now + at, io->iov[i].iov_len);
        at += io->iov[i].iov_len;
    }
}

static void transfer(struct handle *h, struct io *io, uint64_t mark, int *ret_err)
{
    struct node *n = h->node;
    if (h->is_dead || io->offset + io->size > ROOM || (io->op != IO_READ && !tick())) {
        *ret_err = -EIO;
        return;
    }
    if (n->is_device && io->offset + io->size > n->size) {
        *ret_err = -ENOSPC;
        return;
    }
    if (io->op == IO_READ)
        scatter(n, io);
    else if (io->op == IO_SYNC)
        sync_to(n, mark);
    else if (io->op == IO_WRITE)
        change(n, (struct change){CHANGE_WRITE, io->offset, io->size, gather(io)});
    else
        change(n, (struct change){CHANGE_ZERO, io->offset, io->size, NULL});
}

/* What the kernel still does, or did in part, for a process that is gone. */
static void happen_in_part(struct handle *h, const struct io *io)
{
    uint8_t *bytes = io->op == IO_WRITE ? gather(io) : NULL;
    uint32_t of = mem_below(3) * 8;
    for (uint64_t at = 0; bytes && at < io->size; at += SECTOR)
        if (mem_below(16) < of && (!h->node->is_device || io->offset + at < h->node->size))
            change(h->node, (struct change){CHANGE_WRITE, io->offset + at, SECTOR,
                                            mem_dup(bytes + at, SECTOR)});
    free(bytes);
}

void mem_kill(struct file *f)
{
    struct handle *h = (struct handle *)f;
    if (h->is_dead)
        return;
    h->is_dead = true;
    for (size_t i = 0; i < store.waiting.n; i++)
        if (store.waiting.v[i].io->file == f)
            happen_in_part(h, store.waiting.v[i].io);
}

/* ---- files ---- */

static int mem_pread(struct file *f, void *p, size_t size, uint64_t at)
{
    struct handle *h = (struct handle *)f;
    if (h->is_dead)
        return -EIO;
    if (at + size > h->node->size)
        return -ENODATA;
    memcpy(p, h->node->now + at, size);
    return 0;
}

static int mem_pwrite(struct file *f, const void *p, size_t size, uint64_t at)
{
    struct handle *h = (struct handle *)f;
    if (h->is_dead || !tick())
        return -EIO;
    if (h->node->is_device && at + size > h->node->size)
        return -ENOSPC;
    change(h->node, (struct change){CHANGE_WRITE, at, size, mem_dup(p, size)});
    return 0;
}

static int mem_sync(struct file *f)
{
    struct handle *h = (struct handle *)f;
    if (h->is_dead || !tick())
        return -EIO;
    sync_to(h->node, mark_of(h->node));
    return 0;
}

static int mem_truncate(struct file *f, uint64_t size)
{
    struct handle *h = (struct handle *)f;
    if (h->is_dead || !tick())
        return -EIO;
    change(h->node, (struct change){CHANGE_SIZE, size, 0, NULL});
    return 0;
}

static int mem_reserve(struct file *f, uint64_t at, uint64_t size)
{
    return -EOPNOTSUPP;
}

static int mem_stat(struct file *f, struct file_stat *ret)
{
    const struct node *n = ((struct handle *)f)->node;
    *ret = (struct file_stat){
        .size = n->size, .allocated = n->size, .mtime = 1000000000, .is_device = n->is_device};
    return 0;
}

static int mem_lock(struct file *f, enum file_lock how)
{
    struct handle *h = (struct handle *)f;
    struct node *n = h->node;
    if (n->writers || (how == FILE_LOCK_WRITER && n->readers) ||
        (how != FILE_LOCK_READER && n->mergers))
        return -EBUSY;
    unsigned *counts[] = {&n->readers, &n->writers, &n->mergers};
    ++*counts[how];
    h->lock = how;
    h->is_locked = true;
    return 0;
}

static void mem_close(struct file *f)
{
    struct handle *h = (struct handle *)f;
    unsigned *counts[] = {&h->node->readers, &h->node->writers, &h->node->mergers};
    if (h->is_locked)
        --*counts[h->lock];
    for (size_t i = 0; i < store.handles.n; i++)
        if (store.handles.v[i] == h) {
            vec_remove(&store.handles, i);
            break;
        }
    free(h);
}

static const struct file_ops mem_ops = {.pread = mem_pread,
                                        .pwrite = mem_pwrite,
                                        .sync = mem_sync,
                                        .truncate = mem_truncate,
                                        .reserve = mem_reserve,
                                        .stat = mem_stat,
                                        .lock = mem_lock,
                                        .close = mem_close};

static int take(struct node *n, struct file **ret)
{
    if (!n)
        return -ENOENT;
    struct handle *h = mem_new(struct handle);
    h->file = (struct file){.ops = &mem_ops, .backend = &mem_backend, .fd = -1};
    h->node = n;
    vec_push(&store.handles, h);
    *ret = &h->file;
    return 0;
}

static int mem_open(const char *path, enum file_mode mode, struct file **ret)
{
    return take(find(path), ret);
}

static int mem_create(const char *path, struct file **ret)
{
    return find(path) ? -EEXIST : take(node_new(path), ret);
}

static int mem_remove(const char *path)
{
    struct node *n = find(path);
    if (!n)
        return -ENOENT;
    assert(n->readers + n->writers + n->mergers == 0);
    node_remove(n);
    return 0;
}

static const struct file_kind mem_kind = {
    .prefix = "mem:", .open = mem_open, .create = mem_create, .remove = mem_remove};

void mem_store_reset(uint64_t seed)
{
    assert(store.handles.n == 0 && store.waiting.n == 0);
    while (store.nodes.n)
        node_remove(store.nodes.v[0]);
    store.random = seed * 0x9e3779b97f4a7c15ull + 1;
    store.clock = store.device_size = store.fuse = 0;
    if (!store.is_known)
        file_kind_add(&mem_kind);
    store.is_known = true;
}
