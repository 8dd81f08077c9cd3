/* Any bytes, as what an NBD client sends: the handshake goes on or ends, requests are parsed. */
#include <stdlib.h>

#include "disk/nbd_proto.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nbd_handshake h = {.export_name = "disk", .size = 1 << 20, .flags = NBD_FLAG_HAS_FLAGS};
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    nbd_greet(&h, &out);
    enum nbd_step step = NBD_AGAIN;
    while (step == NBD_AGAIN) {
        size_t used;
        step = nbd_handshake_step(&h, data, size, &used, &out);
        if (used > size || (step == NBD_AGAIN && used == 0) || (step == NBD_MORE && used))
            abort();
        data += used;
        size -= used;
    }
    struct nbd_request r;
    for (; step == NBD_TRANSMIT && size >= NBD_REQUEST_SIZE; size -= NBD_REQUEST_SIZE) {
        if (nbd_request_parse(data, &r) < 0)
            break;
        data += NBD_REQUEST_SIZE;
    }
    return 0;
}
