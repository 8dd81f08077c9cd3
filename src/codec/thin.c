/*
 * thin.c: encoding and decoding of the thin protocol; see thin.h. Used by src/cli (server) and xe
 * (client), pure.
 */
#include "codec/thin.h"

#include <errno.h>
#include <string.h>

#define HELLO "XenSource thin CLI protocol"
_Static_assert(sizeof(HELLO) - 1 + 8 == THIN_HELLO_SIZE, "the hello has a fixed size");

enum group { GROUP_COMMAND = 9, GROUP_RESPONSE = 10, GROUP_BLOB = 11 };

/* What follows a tag. */
static const struct shape {
    enum thin_tag tag;
    enum group group;
    unsigned strings;
    bool number, list;
} shapes[] = {
    {THIN_PRINT, GROUP_COMMAND, 1, false, false},
    {THIN_LOAD, GROUP_COMMAND, 1, false, false},
    {THIN_PROMPT, GROUP_COMMAND, 0, false, false},
    {THIN_EXIT, GROUP_COMMAND, 0, true, false},
    {THIN_OK, GROUP_RESPONSE, 0, false, false},
    {THIN_FAILED, GROUP_RESPONSE, 0, false, false},
    {THIN_CHUNK, GROUP_BLOB, 0, true, false},
    {THIN_END, GROUP_BLOB, 0, false, false},
    {THIN_HTTP_GET, GROUP_COMMAND, 2, false, false},
    {THIN_HTTP_PUT, GROUP_COMMAND, 2, false, false},
    {THIN_ERROR, GROUP_COMMAND, 1, false, true},
    {THIN_DEBUG, GROUP_COMMAND, 1, false, false},
    {THIN_PRINT_STDERR, GROUP_COMMAND, 1, false, false},
    {THIN_HTTP_CONNECT, GROUP_COMMAND, 1, false, false},
    {THIN_WAIT, GROUP_RESPONSE, 0, false, false},
};

static const struct shape *shape_of(uint32_t tag)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if ((uint32_t)shapes[i].tag == tag)
            return &shapes[i];
    return NULL;
}

static void put_u32(struct buf *b, uint32_t n)
{
    unsigned char bytes[4] = {(unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
                              (unsigned char)(n >> 24)};
    buf_put(b, bytes, sizeof(bytes));
}

static uint32_t get_u32(const char *bytes)
{
    const unsigned char *p = (const unsigned char *)bytes;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_string(struct buf *b, struct view s)
{
    put_u32(b, (uint32_t)s.size);
    buf_put(b, s.p, s.size);
}

void thin_put_hello(struct buf *b)
{
    buf_put(b, HELLO, sizeof(HELLO) - 1);
    put_u32(b, THIN_MAJOR);
    put_u32(b, THIN_MINOR);
}

int thin_get_hello(const char bytes[THIN_HELLO_SIZE], uint32_t *ret_minor)
{
    const char *numbers = bytes + sizeof(HELLO) - 1;
    if (memcmp(bytes, HELLO, sizeof(HELLO) - 1) != 0 || get_u32(numbers) != THIN_MAJOR)
        return -EPROTO;
    *ret_minor = get_u32(numbers + 4);
    return 0;
}

/* Bytes of the body of a message. */
static size_t body_size(const struct shape *s, const struct thin_msg *m)
{
    size_t size = 8 + (s->number ? 4 : 0) + (s->list ? 4 : 0);
    for (unsigned i = 0; i < m->n; i++)
        size += 4 + m->strings[i].size;
    return size;
}

void thin_put(struct buf *b, const struct thin_msg *m)
{
    const struct shape *s = shape_of(m->tag);
    put_u32(b, (uint32_t)body_size(s, m));
    put_u32(b, s->group);
    put_u32(b, m->tag);
    if (s->number)
        put_u32(b, m->number);
    for (unsigned i = 0; i < m->n; i++) {
        if (s->list && i == s->strings)
            put_u32(b, m->n - s->strings);
        put_string(b, m->strings[i]);
    }
    if (s->list && m->n == s->strings)
        put_u32(b, 0);
}

int thin_get_size(const char bytes[4], uint32_t *ret)
{
    uint32_t size = get_u32(bytes);
    if (size > THIN_MAX_BODY)
        return -EMSGSIZE;
    *ret = size;
    return 0;
}

static bool take_u32(struct view *v, uint32_t *ret)
{
    if (v->size < 4)
        return false;
    *ret = get_u32(v->p);
    *v = view_cut(*v, 4);
    return true;
}

static bool take_string(struct view *v, struct view *ret)
{
    uint32_t size;
    if (!take_u32(v, &size) || size > v->size)
        return false;
    *ret = (struct view){v->p, size};
    *v = view_cut(*v, size);
    return true;
}

static bool take_strings(struct view *v, const struct shape *s, struct thin_msg *m)
{
    uint32_t more = 0;
    for (unsigned i = 0; i < s->strings; i++)
        if (!take_string(v, &m->strings[m->n++]))
            return false;
    if (s->list && (!take_u32(v, &more) || more > THIN_STRINGS - m->n))
        return false;
    for (; more > 0; more--)
        if (!take_string(v, &m->strings[m->n++]))
            return false;
    return true;
}

int thin_get(struct view body, struct thin_msg *ret)
{
    struct thin_msg m = {0};
    uint32_t group, tag;
    if (!take_u32(&body, &group) || !take_u32(&body, &tag))
        return -EPROTO;
    const struct shape *s = shape_of(tag);
    if (!s || (uint32_t)s->group != group)
        return -EPROTO;
    m.tag = s->tag;
    if (s->number && !take_u32(&body, &m.number))
        return -EPROTO;
    if (!take_strings(&body, s, &m) || body.size)
        return -EPROTO;
    *ret = m;
    return 0;
}
