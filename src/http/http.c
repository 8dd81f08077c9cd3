/* http.c: header blocks; see http.h. */
#include "http/http.h"

#include <errno.h>
#include <string.h>

#define BLANK_LINES_MAX 4 /* bytes of empty lines in front of a request */

/* Letters, digits and !#$%&'*+-.^_`|~ : what a method or a header's name is made of. */
static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool view_is_token(struct view v)
{
    for (size_t i = 0; i < v.size; i++)
        if (!is_token((unsigned char)v.p[i]))
            return false;
    return v.size > 0;
}

static size_t blank_lines(struct view in)
{
    size_t n = 0;
    while (n + 1 < in.size && n < BLANK_LINES_MAX && in.p[n] == '\r' && in.p[n + 1] == '\n')
        n += 2;
    return n;
}

ssize_t http_head_end(struct view in, size_t *scanned)
{
    size_t from = *scanned < 3 ? 0 : *scanned - 3, start = blank_lines(in);
    if (start < in.size && in.p[start] != '\r' && !is_token((unsigned char)in.p[start]))
        return -400; /* a TLS greeting, most likely */
    if (from < start)
        from = start;
    struct view rest = view_cut(in, from);
    const char *at = rest.size ? memmem(rest.p, rest.size, "\r\n\r\n", 4) : NULL;
    size_t size = at ? (size_t)(at - in.p) + 4 : in.size;
    if (size > HTTP_HEAD_MAX)
        return -431;
    *scanned = in.size;
    return at ? (ssize_t)size : 0;
}

/* Takes the next line off; it must end in CR LF and hold no other CR, LF or NUL. */
static bool take_line(struct view *rest, struct view *line)
{
    if (!view_split(rest, '\n', line) || !line->size || line->p[line->size - 1] != '\r')
        return false;
    line->size--;
    return !memchr(line->p, '\r', line->size) && !memchr(line->p, '\0', line->size);
}

static bool is_value(struct view v)
{
    for (size_t i = 0; i < v.size; i++)
        if (((unsigned char)v.p[i] < 0x20 && v.p[i] != '\t') || v.p[i] == 0x7f)
            return false;
    return true;
}

static bool has_token(struct view list, const char *token)
{
    struct view item;
    for (bool more = true; more;) {
        more = view_split(&list, ',', &item);
        if (view_ieq(view_trim(item), token))
            return true;
    }
    return false;
}

static unsigned take_length(struct http_head *h, struct view value)
{
    uint64_t n;
    if (str_u64(value, 0, INT64_MAX, &n) < 0 || (h->has_length && h->length != n))
        return 400;
    h->has_length = true;
    h->length = n;
    return 0;
}

static unsigned take_coding(struct http_head *h, struct view value)
{
    if (h->chunked)
        return 400;
    if (!view_ieq(value, "chunked"))
        return 501;
    h->chunked = true;
    return 0;
}

/* Headers that change how the message is read. */
static unsigned note_header(struct http_head *h, const struct http_header *e)
{
    if (view_ieq(e->name, "content-length"))
        return take_length(h, e->value);
    if (view_ieq(e->name, "transfer-encoding"))
        return take_coding(h, e->value);
    if (view_ieq(e->name, "connection")) {
        if (has_token(e->value, "close"))
            h->keep_alive = false;
        else if (has_token(e->value, "keep-alive"))
            h->keep_alive = true;
        h->upgrade |= has_token(e->value, "upgrade");
    } else if (view_ieq(e->name, "expect")) {
        h->expect_continue |= view_ieq(e->value, "100-continue");
    }
    return 0;
}

static unsigned parse_headers(struct view rest, struct http_head *h)
{
    struct view line;
    while (take_line(&rest, &line)) {
        if (!line.size)
            return rest.size || (h->chunked && h->has_length) ? 400 : 0;
        if (h->n_headers == HTTP_HEADERS_MAX)
            return 431;
        struct http_header *e = &h->headers[h->n_headers];
        e->value = line;
        if (!view_split(&e->value, ':', &e->name) || !view_is_token(e->name))
            return 400;
        e->value = view_trim(e->value);
        if (!is_value(e->value))
            return 400;
        h->n_headers++;
        unsigned status = note_header(h, e);
        if (status)
            return status;
    }
    return 400;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static bool take_version(struct view v, struct http_head *h)
{
    if (!view_eq(v, "HTTP/1.0") && !view_eq(v, "HTTP/1.1"))
        return false;
    h->minor = v.p[7] == '1';
    h->keep_alive = h->minor == 1;
    return true;
}

static bool is_visible(struct view v)
{
    for (size_t i = 0; i < v.size; i++)
        if ((unsigned char)v.p[i] <= 0x20 || v.p[i] == 0x7f)
            return false;
    return v.size > 0;
}

/* The size of "http://authority" in front of a path; 0 if there is none. */
static size_t origin_size(struct view v)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (v.size <= n || !view_ieq((struct view){v.p, n}, schemes[i]) || v.p[n] == '/')
            continue;
        const char *slash = memchr(v.p + n, '/', v.size - n);
        return slash ? (size_t)(slash - v.p) : v.size;
    }
    return 0;
}

/* "host:port" */
static bool is_authority(struct view v)
{
    const char *colon = memrchr(v.p, ':', v.size);
    uint64_t port;
    if (!colon || colon == v.p ||
        str_u64(view_cut(v, (size_t)(colon - v.p) + 1), 0, 65535, &port) < 0)
        return false;
    for (const char *at = v.p; at < colon; at++)
        if (!is_token((unsigned char)*at) && !strchr("[]:", *at))
            return false;
    return true;
}

/* "/path?query", also with scheme and authority in front, which say nothing to us; "*"; for a
 * tunnel "host:port". What follows '#' does not belong into a request and is dropped. */
static bool split_target(struct http_head *h)
{
    struct view v = h->target, before;
    if (!is_visible(v))
        return false;
    size_t origin = origin_size(v);
    v = origin == v.size ? view_of("/") : view_cut(v, origin);
    bool tunnel = view_eq(h->method, "CONNECT") && is_authority(v);
    if (v.p[0] != '/' && !view_eq(v, "*") && !tunnel)
        return false;
    view_split(&v, '#', &before);
    h->query = before;
    view_split(&h->query, '?', &h->path);
    return true;
}

unsigned http_parse_request(struct view head, struct http_head *h)
{
    *h = (struct http_head){0};
    struct view rest = view_cut(head, blank_lines(head)), line, version;
    if (!take_line(&rest, &line))
        return 400;
    version = line;
    if (!view_split(&version, ' ', &h->method) || !view_split(&version, ' ', &h->target) ||
        !view_is_token(h->method) || !split_target(h) || !take_version(version, h))
        return 400;
    return parse_headers(rest, h);
}

unsigned http_parse_response(struct view head, struct http_head *h)
{
    *h = (struct http_head){0};
    struct view rest = head, line, version, code;
    if (!take_line(&rest, &line))
        return 400;
    view_split(&line, ' ', &version);
    view_split(&line, ' ', &code);
    uint64_t status;
    if (!take_version(version, h) || code.size != 3 || str_u64(code, 100, 999, &status) < 0 ||
        !is_value(line))
        return 400;
    h->status = (unsigned)status;
    return parse_headers(rest, h);
}

struct view http_find(const struct http_head *h, const char *name)
{
    for (unsigned i = 0; i < h->n_headers; i++)
        if (view_ieq(h->headers[i].name, name))
            return h->headers[i].value;
    return (struct view){0};
}

bool http_has_token(const struct http_head *h, const char *name, const char *token)
{
    for (unsigned i = 0; i < h->n_headers; i++)
        if (view_ieq(h->headers[i].name, name) && has_token(h->headers[i].value, token))
            return true;
    return false;
}

/* chunk = size [";" extension] CRLF data CRLF; the last has size 0; then trailer lines, then an
 * empty line. */
enum { C_SIZE, C_EXTENSION, C_SIZE_LF, C_DATA, C_DATA_CR, C_DATA_LF, C_TRAILER, C_TRAILER_LF };
#define CHUNK_DIGITS_MAX 15
#define CHUNK_LINE_MAX   1024

static int hex(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

static int size_byte(struct http_chunks *c, char byte)
{
    int digit = hex(byte);
    if (digit >= 0) {
        if (c->n_line++ == CHUNK_DIGITS_MAX)
            return -EINVAL;
        c->left = c->left << 4 | (unsigned)digit;
        return C_SIZE;
    }
    if (!c->n_line)
        return -EINVAL;
    return byte == '\r' ? C_SIZE_LF : byte == ';' ? C_EXTENSION : -EINVAL;
}

/* One byte that is not data: the next state, or -EINVAL. */
static int chunk_byte(struct http_chunks *c, char byte, bool *ret_done)
{
    switch (c->state) {
    case C_SIZE:
        return size_byte(c, byte);
    case C_EXTENSION:
        if (byte == '\n' || c->n_line++ == CHUNK_LINE_MAX)
            return -EINVAL;
        return byte == '\r' ? C_SIZE_LF : C_EXTENSION;
    case C_SIZE_LF:
        c->n_line = 0;
        return byte != '\n' ? -EINVAL : c->left ? C_DATA : C_TRAILER;
    case C_DATA_CR:
        return byte == '\r' ? C_DATA_LF : -EINVAL;
    case C_DATA_LF:
        return byte == '\n' ? C_SIZE : -EINVAL;
    case C_TRAILER:
        if (byte == '\r')
            return C_TRAILER_LF;
        return byte == '\n' || c->n_line++ == CHUNK_LINE_MAX ? -EINVAL : C_TRAILER;
    default: /* C_TRAILER_LF; an empty line is the end */
        if (byte != '\n')
            return -EINVAL;
        *ret_done = !c->n_line;
        c->n_line = 0;
        return C_TRAILER;
    }
}

ssize_t http_chunks_feed(struct http_chunks *c, struct view in, struct buf *out, bool *ret_done)
{
    size_t at = 0;
    *ret_done = false;
    while (at < in.size && !*ret_done) {
        if (c->state == C_DATA) {
            size_t n = in.size - at < c->left ? in.size - at : (size_t)c->left;
            buf_put(out, in.p + at, n);
            if (!buf_ok(out))
                return -E2BIG;
            at += n;
            c->left -= n;
            if (!c->left)
                c->state = C_DATA_CR;
            continue;
        }
        c->state = chunk_byte(c, in.p[at++], ret_done);
        if (c->state < 0)
            return -EINVAL;
    }
    return (ssize_t)at;
}

const char *http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Request Entity Too Large"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Method Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Error";
}
