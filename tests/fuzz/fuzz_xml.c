/* Any text as a call, a value, a response; what can be read is written and read again, equal. */
#include <stdlib.h>

#include "codec/rpc.h"
#include "codec/xml.h"
#include "tests/fuzz/fuzz.h"

static void write_and_read(const struct val *v)
{
    _cleanup_(buf_done) struct buf once;
    _cleanup_(buf_done) struct buf twice;
    buf_init(&once, 64 << 20);
    buf_init(&twice, 64 << 20);
    struct rpc_out o = {.b = &once, .format = RPC_XML};
    rpc_put_val(&o, v);
    _cleanup_(val_unrefp) struct val *again = NULL;
    if (xml_parse_value((struct view){once.data, once.size}, &again) < 0)
        abort(); /* we wrote what we cannot read */
    o.b = &twice;
    rpc_put_val(&o, again);
    if (!str_eq(buf_str(&once), buf_str(&twice)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view in = {(const char *)data, size};
    struct val *v = NULL;
    if (xml_parse_value(in, &v) == 0 || xml_parse_response(in, &v) == 0) {
        write_and_read(v);
        val_unref(v);
    }
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    if (rpc_parse(RPC_XML, in, &req) == 0)
        write_and_read(req.params);
    return 0;
}
