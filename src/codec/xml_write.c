/* xml_write.c: the writing half of xml.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codec/xml.h"

/* Bytes that may not be copied as they are: markup, control characters but TAB and LF, and 0xef,
 * which begins U+FFFE and U+FFFF, which XML has not. A table, because every byte passes here. */
static const bool special[256] = {
    [0 ... '\t' - 1] = true,
    ['\n' + 1 ... 0x1f] = true,
    ['<'] = true,
    ['>'] = true,
    ['&'] = true,
    ['"'] = true,
    [0xef] = true,
};

/* Writes one special byte; returns how many bytes of the text that took. */
static size_t put_special(struct buf *b, struct view rest)
{
    switch ((unsigned char)rest.p[0]) {
    case '<':
        buf_put(b, "&lt;", 4);
        return 1;
    case '>':
        buf_put(b, "&gt;", 4);
        return 1;
    case '&':
        buf_put(b, "&amp;", 5);
        return 1;
    case '"':
        buf_put(b, "&quot;", 6);
        return 1;
    case '\r':
        buf_put(b, "&#13;", 5);
        return 1;
    case 0xef:
        if (rest.size >= 3 && (unsigned char)rest.p[1] == 0xbf && (unsigned char)rest.p[2] >= 0xbe)
            return 3;
        buf_put(b, rest.p, 1);
        return 1;
    default:
        return 1; /* a control character */
    }
}

void xml_put_text(struct buf *b, struct view text)
{
    while (text.size) {
        size_t plain = 0;
        while (plain < text.size && !special[(unsigned char)text.p[plain]])
            plain++;
        buf_put(b, text.p, plain);
        text = view_cut(text, plain);
        if (text.size)
            text = view_cut(text, put_special(b, text));
    }
}

#define PUT(b, literal) buf_put((b), (literal), sizeof(literal) - 1)

void xml_put_str(struct buf *b, struct view text)
{
    PUT(b, "<value>");
    xml_put_text(b, text);
    PUT(b, "</value>");
}

void xml_put_int(struct buf *b, int64_t i)
{
    PUT(b, "<value>");
    buf_put_int(b, i);
    PUT(b, "</value>");
}

void xml_put_i4(struct buf *b, int64_t i)
{
    PUT(b, "<value><i4>");
    buf_put_int(b, i);
    PUT(b, "</i4></value>");
}

void xml_put_bool(struct buf *b, bool v)
{
    buf_puts(b, v ? "<value><boolean>1</boolean></value>" : "<value><boolean>0</boolean></value>");
}

void xml_put_float(struct buf *b, double d)
{
    PUT(b, "<value><double>");
    if (isfinite(d))
        buf_printf(b, "%.16g", d);
    else
        buf_puts(b, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
    PUT(b, "</double></value>");
}

void xml_put_datetime(struct buf *b, int64_t seconds)
{
    char text[DATETIME_SIZE];
    str_datetime(seconds, text);
    PUT(b, "<value><dateTime.iso8601>");
    buf_put(b, text, strlen(text));
    PUT(b, "</dateTime.iso8601></value>");
}

void xml_begin_set(struct buf *b)
{
    PUT(b, "<value><array><data>");
}

void xml_end_set(struct buf *b)
{
    PUT(b, "</data></array></value>");
}

void xml_begin_map(struct buf *b)
{
    PUT(b, "<value><struct>");
}

/* Every value ends in </value>, so anything else than that is the beginning of the map. */
static void close_member(struct buf *b)
{
    static const char end[] = "</value>";
    size_t n = sizeof(end) - 1;
    if (b->size >= n && memcmp(b->data + b->size - n, end, n) == 0)
        PUT(b, "</member>");
}

void xml_put_key(struct buf *b, struct view key)
{
    close_member(b);
    PUT(b, "<member><name>");
    xml_put_text(b, key);
    PUT(b, "</name>");
}

void xml_end_map(struct buf *b)
{
    close_member(b);
    PUT(b, "</struct></value>");
}
