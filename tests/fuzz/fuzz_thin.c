/* Any bytes as a message of the thin protocol: what is accepted is written back the same. */
#include <stdlib.h>
#include <string.h>

#include "codec/thin.h"
#include "tests/fuzz/fuzz.h"

static void check_hello(const uint8_t *data, size_t size)
{
    char hello[THIN_HELLO_SIZE] = {0};
    uint32_t minor;
    memcpy(hello, data, size < sizeof(hello) ? size : sizeof(hello));
    if (thin_get_hello(hello, &minor) == 0 && size < THIN_HELLO_SIZE - 8)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct thin_msg m;
    _cleanup_(buf_done) struct buf again;
    buf_init(&again, size + 64);
    check_hello(data, size);
    if (thin_get((struct view){(const char *)data, size}, &m) < 0)
        return 0;
    thin_put(&again, &m);
    if (!buf_ok(&again) || again.size != size + 4 || memcmp(again.data + 4, data, size) != 0)
        abort();
    return 0;
}
