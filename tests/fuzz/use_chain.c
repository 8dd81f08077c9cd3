/* use_chain.c: see use_chain.h. */
#include "tests/fuzz/use_chain.h"

#include <stdlib.h>

#include "disk/backend/sync.h"
#include "disk/engine.h"

static void on_done(struct blk_req *req, int err)
{
    (void)req;
    (void)err;
}

void use_chain(struct chain *chain)
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
