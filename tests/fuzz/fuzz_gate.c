/*
 * fuzz_gate.c: what a stranger says to the port for NBD before he has named an export: options and
 * names; what is passed on is an option of the same kind that names nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/bytes.h"
#include "fuzz.h"
#include "handler/nbd_door.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct nbd_option o;
    struct view name;
    char *uuid, *session;
    if (nbd_export_parse((struct view){(const char *)data, size}, &uuid, &session)) {
        free(uuid);
        free(session);
    }
    if (size < 1 || size - 1 > NBD_OPTION_MAX)
        return 0;
    o.kind = data[0] % 16;
    o.size = (uint32_t)(size - 1);
    memcpy(o.data, data + 1, size - 1);
    if (!nbd_option_name(&o, &name))
        return 0;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, NBD_OPTION_MAX + 64);
    nbd_option_put_nameless(&o, &out);
    if (!buf_ok(&out) || out.size != 16 + o.size - name.size ||
        get_be32(out.data + 12) != out.size - 16 || get_be32(out.data + 8) != o.kind)
        abort();
    return 0;
}
