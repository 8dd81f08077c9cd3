/* inflate.c: see inflate.h. */
#include "op/portable/inflate.h"

#include <zlib.h>
#include <zstd.h>

#include "op/portable/portable_impl.h"

static bool inflate_zlib(int window, const void *from, size_t from_size, void *to, size_t to_size)
{
    z_stream z = {.next_in = (Bytef *)from,
                  .avail_in = (uInt)from_size,
                  .next_out = to,
                  .avail_out = (uInt)to_size};
    if (inflateInit2(&z, window) != Z_OK)
        return false;
    int r = inflate(&z, Z_FINISH);
    bool full = z.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK);
    (void)inflateEnd(&z);
    return full;
}

static bool inflate_zstd(const void *from, size_t from_size, void *to, size_t to_size)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_inBuffer in = {from, from_size, 0};
    ZSTD_outBuffer out = {to, to_size, 0};
    size_t left = z ? 1 : 0;
    while (left && out.pos < out.size) {
        size_t before = in.pos + out.pos;
        left = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(left) || in.pos + out.pos == before)
            break;
    }
    (void)ZSTD_freeDStream(z);
    return out.pos == out.size;
}

struct err *inflate_piece(enum inflate_how how, const void *from, size_t from_size, void *to,
                          size_t to_size)
{
    bool ok = how == INFLATE_ZSTD
                  ? inflate_zstd(from, from_size, to, to_size)
                  : inflate_zlib(how == INFLATE_BARE ? -15 : 15, from, from_size, to, to_size);
    return ok ? NULL : import_error("a compressed part of the image cannot be unpacked");
}
