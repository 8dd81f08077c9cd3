/*
 * Any file, as a VHD of either kind: it is refused, or it can be read, written, closed, and opened
 * again with the same size. Tried as it is, and once more with its checksums put right, for a
 * checksum is what a mutation breaks first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/bytes.h"
#include "disk/backend/sync.h"
#include "disk/create.h"
#include "disk/engine.h"
#include "tests/fuzz/fuzz.h"

static void on_done(struct blk_req *req, int err)
{
    (void)req;
    (void)err;
}

static void use(struct chain *chain)
{
    static uint8_t bytes[65536];
    struct sync_backend backend = {0};
    sync_backend_init(&backend);
    struct engine *e = engine_new(chain, &backend.backend, NULL, NULL);
    uint64_t size = chain->size < sizeof(bytes) ? chain->size : sizeof(bytes);
    uint64_t places[] = {0, chain->size - size, chain->size / 2 / 512 * 512};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (size > chain->size - places[i])
            continue;
        for (int op = BLK_READ; op <= BLK_ZEROES; op++) {
            struct iovec iov = {bytes, (size_t)size};
            struct blk_req req = {.op = (enum blk_op)op, .offset = places[i], .size = size};
            req.iov = &iov;
            req.n_iov = 1;
            req.done = on_done;
            engine_submit(e, &req);
        }
    }
    if (!engine_is_idle(e))
        abort();
    engine_free(e);
    sync_backend_done(&backend);
}

static void put_sum(uint8_t *p, size_t size, size_t at)
{
    put_be32(p + at, 0);
    put_be32(p + at, vhd_checksum(p, size));
}

static void try_file(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct image_info info;
    struct image_why why = {""};
    (void)image_info(path, NULL, &info, &why);
    for (int format = IMAGE_VHD; format <= IMAGE_VHD_FIXED; format++) {
        struct chain_item item = {path, (enum image_format)format};
        struct chain *chain;
        if (chain_open(&item, 1, false, &chain, &why) < 0)
            continue;
        uint64_t before = chain->size;
        use(chain);
        if (chain_close(chain, &why) < 0)
            continue;
        if (chain_open(&item, 1, true, &chain, &why) < 0 || chain->size != before)
            abort();
        (void)chain_close(chain, NULL);
    }
    (void)close(fd);
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
    free(copy);
    return 0;
}
