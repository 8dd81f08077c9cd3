/* io.c: the two ends of a stream; see portable_impl.h. */
#include <stdarg.h>
#include <string.h>

#include "op/portable/portable_impl.h"

struct err *source_fill(struct source *s, void *p, size_t size, size_t *ret)
{
    struct err *e = NULL;
    size_t have = 0;
    while (!e && have < size && !s->ended) {
        size_t n = 0;
        e = s->io->read(s->io->arg, (char *)p + have, size - have, &n);
        s->ended = !e && n == 0;
        have += n;
        s->at += n;
    }
    *ret = have;
    return e;
}

struct err *source_take(struct source *s, void *p, size_t size)
{
    size_t n = 0;
    TRY(source_fill(s, p, size, &n));
    return n == size ? NULL : err_IMPORT_ERROR_PREMATURE_EOF();
}

struct err *source_skip_to(struct source *s, uint64_t at)
{
    char room[16384];
    if (at < s->at)
        return import_error("the parts of the image are not in their order");
    while (s->at < at) {
        uint64_t left = at - s->at;
        TRY(source_take(s, room, left < sizeof(room) ? (size_t)left : sizeof(room)));
    }
    return NULL;
}

#define DRAIN_MAX (16 * MIB) /* more than that is no rest */

void source_drain(struct source *s)
{
    char room[16384];
    uint64_t end = s->at + DRAIN_MAX;
    while (!s->ended && s->at < end) {
        size_t n = 0;
        struct err *e = s->io->read(s->io->arg, room, sizeof(room), &n);
        s->ended = e || n == 0;
        s->at += n;
        err_free(e);
    }
}

struct err *sink_put(const struct portable_io *io, const void *p, size_t size)
{
    return io->write(io->arg, p, size);
}

struct err *sink_zeroes(const struct portable_io *io, uint64_t size)
{
    static char zeroes[MIB]; /* one page of the system's, however many it has */
    while (size) {
        size_t n = size < sizeof(zeroes) ? (size_t)size : sizeof(zeroes);
        TRY(io->write(io->arg, zeroes, n));
        size -= n;
    }
    return NULL;
}

bool is_all_zero(const void *p, size_t size)
{
    const char *c = p;
    return size == 0 || (c[0] == 0 && memcmp(c, c + 1, size - 1) == 0);
}

struct err *import_error(const char *fmt, ...)
{
    struct buf b;
    va_list ap;
    buf_init(&b, 4096);
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    struct err *e = err_IMPORT_ERROR(buf_str(&b));
    buf_done(&b);
    return e;
}
