/*
 * Any file, as a VHD of either kind: it is refused, or it can be read, written, closed, and opened
 * again with the same size. Tried as it is, and once more with its checksums put right, for a
 * checksum is what a mutation breaks first; and as a child of a raw image, which it is merged into
 * and given as a new parent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/bytes.h"
#include "disk/backend/sync.h"
#include "disk/create.h"
#include "disk/merge.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_chain.h"

static void put_sum(uint8_t *p, size_t size, size_t at)
{
    put_be32(p + at, 0);
    put_be32(p + at, vhd_checksum(p, size));
}

static int memory_file(const void *data, size_t size, char path[64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* Opens, uses, closes and opens again. */
static void try_chain(const struct chain_item *items, unsigned n)
{
    struct image_why why = {""};
    struct chain *chain;
    if (chain_open(items, n, false, &chain, &why) < 0)
        return;
    uint64_t before = chain->size;
    use_chain(chain);
    if (chain_close(chain, &why) < 0)
        return;
    if (chain_open(items, n, true, &chain, &why) < 0 || chain->size != before)
        abort();
    (void)chain_close(chain, NULL);
}

static void try_file(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memory_file(data, size, path);
    struct image_info info;
    struct image_why why = {""};
    (void)image_info(path, NULL, &info, &why);
    for (int format = IMAGE_VHD; format <= IMAGE_VHD_FIXED; format++) {
        struct chain_item item = {path, (enum image_format)format};
        try_chain(&item, 1);
    }
    (void)close(fd);
}

static void on_end(void *arg, int err)
{
    *(bool *)arg = true;
    (void)err;
}

static void try_merge(const struct chain_item *items)
{
    struct sync_backend backend = {0};
    struct image *child, *parent;
    struct merge m;
    bool is_ended = false;
    if (image_open(items[0].path, items[0].format, IMAGE_READ, &child, NULL) < 0)
        return;
    if (image_open(items[1].path, items[1].format, IMAGE_MERGE, &parent, NULL) < 0)
        abort();
    sync_backend_init(&backend);
    if (child->size <= parent->size) {
        merge_init(&m, child, parent, &backend.backend);
        m.on_end = on_end;
        m.arg = &is_ended;
        merge_go_on(&m);
        if (!is_ended)
            abort();
        merge_done(&m);
    }
    sync_backend_done(&backend);
    (void)image_close(parent, NULL);
    (void)image_close(child, NULL);
}

/* The parent reads as ones; the child may be of any size. */
static void try_child(const uint8_t *data, size_t size)
{
    static const uint8_t ones[65536] = {1, 1, 1, 1};
    char path[64], parent_path[64];
    int fd = memory_file(data, size, path);
    int parent_fd = memory_file(ones, sizeof(ones), parent_path);
    if (ftruncate(parent_fd, 64 << 20) < 0)
        abort();
    struct chain_item items[] = {{path, IMAGE_VHD}, {parent_path, IMAGE_RAW}};
    struct image_parent parent = {parent_path, IMAGE_RAW};
    struct image_change change = {.hidden = 1, .parent = &parent};
    try_chain(items, 2);
    (void)image_modify(path, IMAGE_VHD, &change, NULL);
    try_chain(items, 2);
    try_merge(items);
    (void)close(fd);
    (void)close(parent_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_file(data, size);
    if (size < 2048)
        return 0;
    uint8_t *copy = mem_dup(data, size);
    put_sum(copy, VHD_FOOTER_SIZE, 64);
    put_sum(copy + VHD_HEADER_AT, VHD_HEADER_SIZE, 36);
    put_sum(copy + size - VHD_FOOTER_SIZE, VHD_FOOTER_SIZE, 64);
    try_file(copy, size);
    put_be32(copy + 60, VHD_DIFFERENCING);
    memset(copy + VHD_HEADER_AT + 40, 0, 16);
    put_sum(copy, VHD_FOOTER_SIZE, 64);
    put_sum(copy + VHD_HEADER_AT, VHD_HEADER_SIZE, 36);
    try_child(copy, size);
    free(copy);
    return 0;
}
