/* Any text as JSON and as a call; what can be read is written and read again, equal. */
#include <stdlib.h>

#include "codec/json.h"
#include "codec/rpc.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view in = {(const char *)data, size};
    _cleanup_(val_unrefp) struct val *v = NULL;
    _cleanup_(val_unrefp) struct val *again = NULL;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 64 << 20);
    if (json_parse(in, &v) == 0) {
        json_put_val(&b, v);
        if (json_parse((struct view){b.data, b.size}, &again) < 0)
            abort(); /* we wrote what we cannot read */
    }
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    if (rpc_parse(RPC_JSON, in, &req) == 0) {
        buf_clear(&b);
        struct rpc_out o = rpc_begin_success(&req, &b);
        rpc_put_val(&o, req.params);
        rpc_end_success(&req, &o);
        val_unrefp(&again);
        if (json_parse((struct view){b.data, b.size}, &again) < 0)
            abort();
    }
    return 0;
}
