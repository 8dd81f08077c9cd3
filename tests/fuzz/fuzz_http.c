/* Any bytes as a request, a response, a chunked body; what is accepted is looked at in full. */
#include <stdlib.h>

#include "http/http.h"
#include "tests/fuzz/fuzz.h"

/* A value of a cookie ends at a semicolon, unless that was written as an escape. */
static bool is_escaped(const struct http_head *h)
{
    for (unsigned i = 0; i < h->n_headers; i++)
        if (memchr(h->headers[i].value.p, '%', h->headers[i].value.size))
            return true;
    return false;
}

static void look_inside(const struct http_head *h)
{
    _cleanup_(freep) char *path = http_decode(h->path, false);
    _cleanup_(freep) char *session = http_cookie_get(h, "session_id");
    if ((path && strlen(path) > h->path.size) ||
        (session && strchr(session, ';') && !is_escaped(h)))
        abort();
    struct view query = h->query;
    for (char *name, *value; http_query_next(&query, &name, &value);) {
        free(name);
        free(value);
    }
    char *user, *password;
    if (http_basic_auth(h, &user, &password)) {
        free(user);
        free(password);
    }
    (void)http_has_token(h, "upgrade", "websocket");
    if (h->has_length && h->chunked)
        abort(); /* two ways to read it */
}

static void unchunk(struct view v)
{
    struct http_chunks c = {0};
    _cleanup_(buf_done) struct buf whole;
    _cleanup_(buf_done) struct buf parts;
    buf_init(&whole, 1 << 20);
    buf_init(&parts, 1 << 20);
    bool done = false;
    ssize_t used = http_chunks_feed(&c, v, &whole, &done);
    c = (struct http_chunks){0};
    done = false;
    ssize_t at = 0, n = 1;
    for (size_t i = 0; i < v.size && n >= 0 && !done; i++) {
        n = http_chunks_feed(&c, (struct view){v.p + i, 1}, &parts, &done);
        at += n > 0 ? n : 0;
    }
    if ((used < 0) != (n < 0) || (used >= 0 && (used != at || whole.size != parts.size)))
        abort(); /* it matters how the bytes come */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view in = {(const char *)data, size};
    static struct http_head h;
    size_t scanned = 0;
    ssize_t n = http_head_end(in, &scanned);
    if (n > 0 && http_parse_request((struct view){in.p, (size_t)n}, &h) == 0)
        look_inside(&h);
    if (http_parse_response(in, &h) == 0)
        look_inside(&h);
    unchunk(in);
    return 0;
}
