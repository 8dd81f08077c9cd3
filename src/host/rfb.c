/* rfb.c: see rfb.h. Version 3.8, security none, raw rectangles of 32 bits a pixel. */
#include "host/rfb.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/fd.h"
#include "codec/bytes.h"
#include "loop/loop.h"

#define WAIT       (5 * USEC_PER_SEC)
#define WIDTH_MAX  8192
#define PIXELS_MAX (32u << 20)
#define TEXT_MAX   (1u << 20)

struct session {
    int fd;
    usec_t end;
    struct picture p;
    uint64_t covered; /* pixels that were told */
};

void picture_done(struct picture *p)
{
    free(p->pixels);
    *p = (struct picture){0};
}

static struct err *broken(const char *what)
{
    return err_internal("the guest's screen cannot be read: %s", what);
}

static struct err *get(struct session *s, void *p, size_t size)
{
    if (clock_now() > s->end)
        return broken("it takes too long");
    int r = fd_read_all(s->fd, p, size);
    return r < 0 ? err_errno(-r, "the guest's screen does not answer") : NULL;
}

static struct err *put(struct session *s, const void *p, size_t size)
{
    int r = fd_write_all(s->fd, p, size);
    return r < 0 ? err_errno(-r, "the guest's screen does not listen") : NULL;
}

static struct err *skip(struct session *s, uint64_t size)
{
    char chunk[4096];
    if (size > TEXT_MAX)
        return broken("it says too much");
    while (size) {
        size_t n = size < sizeof(chunk) ? (size_t)size : sizeof(chunk);
        TRY(get(s, chunk, n));
        size -= n;
    }
    return NULL;
}

/* ---- the greeting ---- */

static struct err *agree_on_security(struct session *s)
{
    uint8_t n, kinds[255], result[4];
    TRY(get(s, &n, 1));
    if (!n)
        return broken("it refuses");
    TRY(get(s, kinds, n));
    if (!memchr(kinds, 1, n))
        return broken("it wants a password");
    TRY(put(s, "\1", 1));
    TRY(get(s, result, sizeof(result)));
    return get_be32(result) ? broken("it refuses") : NULL;
}

static struct err *take_size(struct session *s)
{
    uint8_t init[24];
    TRY(put(s, "\1", 1)); /* others may look too */
    TRY(get(s, init, sizeof(init)));
    s->p.width = get_be16(init);
    s->p.height = get_be16(init + 2);
    uint64_t n = (uint64_t)s->p.width * s->p.height;
    if (!n || s->p.width > WIDTH_MAX || n > PIXELS_MAX)
        return broken("its size is out of bounds");
    TRY(skip(s, get_be32(init + 20)));
    s->p.pixels = mem_new_n(uint8_t, n * 3);
    return NULL;
}

static struct err *greet(struct session *s)
{
    char version[12];
    TRY(get(s, version, sizeof(version)));
    if (memcmp(version, "RFB 003.", 8) != 0)
        return broken("it speaks another protocol");
    TRY(put(s, "RFB 003.008\n", 12));
    TRY(agree_on_security(s));
    return take_size(s);
}

/* ---- the picture ---- */

static struct err *ask(struct session *s)
{
    static const uint8_t format[20] = {0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};
    static const uint8_t encodings[8] = {2, 0, 0, 1, 0, 0, 0, 0};
    uint8_t whole[10] = {3, 0, 0, 0, 0, 0};
    put_be16(whole + 6, (uint16_t)s->p.width);
    put_be16(whole + 8, (uint16_t)s->p.height);
    TRY(put(s, format, sizeof(format)));
    TRY(put(s, encodings, sizeof(encodings)));
    return put(s, whole, sizeof(whole));
}

static struct err *take_rectangle(struct session *s)
{
    uint8_t head[12], row[WIDTH_MAX * 4];
    TRY(get(s, head, sizeof(head)));
    unsigned x = get_be16(head), y = get_be16(head + 2), w = get_be16(head + 4),
             h = get_be16(head + 6);
    if (get_be32(head + 8) != 0)
        return broken("it draws in a way that was not asked for");
    if (x + w > s->p.width || y + h > s->p.height)
        return broken("it draws beyond its edges");
    for (unsigned line = 0; line < h; line++) {
        TRY(get(s, row, (size_t)w * 4));
        uint8_t *to = s->p.pixels + ((size_t)(y + line) * s->p.width + x) * 3;
        for (unsigned i = 0; i < w; i++, to += 3) {
            to[0] = row[i * 4 + 2];
            to[1] = row[i * 4 + 1];
            to[2] = row[i * 4];
        }
    }
    s->covered += (uint64_t)w * h;
    return NULL;
}

static struct err *take_update(struct session *s)
{
    uint8_t head[3];
    TRY(get(s, head, sizeof(head)));
    for (unsigned n = get_be16(head + 1); n; n--)
        TRY(take_rectangle(s));
    return NULL;
}

static struct err *take_message(struct session *s)
{
    uint8_t kind, head[7];
    TRY(get(s, &kind, 1));
    switch (kind) {
    case 0:
        return take_update(s);
    case 1: /* colours of a palette, which ours has not */
        TRY(get(s, head, 5));
        return skip(s, get_be16(head + 3) * 6ull);
    case 2: /* a bell */
        return NULL;
    case 3: /* the guest's clipboard */
        TRY(get(s, head, 7));
        return skip(s, get_be32(head + 3));
    default:
        return broken("it says what nobody knows");
    }
}

static struct err *look(struct session *s)
{
    TRY(greet(s));
    TRY(ask(s));
    while (s->covered < (uint64_t)s->p.width * s->p.height)
        TRY(take_message(s));
    return NULL;
}

struct err *rfb_snapshot(int fd, struct picture *ret)
{
    struct session s = {.fd = fd, .end = clock_now() + WAIT};
    struct timeval patience = {.tv_sec = WAIT / USEC_PER_SEC};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    struct err *e = look(&s);
    if (e)
        picture_done(&s.p);
    else
        *ret = s.p;
    return e;
}
