/*
 * A request of /rest/v1 from its bytes to its answer: path, query, conditions, filter, body, the
 * model's types. The input is an HTTP request, with the path behind /rest/v1, in which @S stands
 * for a live session, @V for a VM's uuid and @R for its reference. Handlers do nothing here.
 */
#include <stdlib.h>
#include <string.h>

#include "rest/rest.h"
#include "tests/fuzz/api_world.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (64 << 10)

static struct {
    bool answered;
    size_t said; /* bytes of an answer without an end */
} seen;

/* ---- the answer: it has to hold together ---- */

static void on_send(void *arg, unsigned status, const char *content_type,
                    const struct rest_header *headers, unsigned n_headers, struct buf *body)
{
    if (seen.answered || status < 200 || status > 599)
        abort();
    for (unsigned i = 0; i < n_headers; i++)
        if (strpbrk(headers[i].value, "\r\n"))
            abort();
    seen.answered = true;
}

static void on_begin(void *arg, const char *content_type)
{
    seen.said = 0;
}

static void on_more(void *arg, const void *p, size_t size)
{
    seen.said += size;
}

static bool is_drained(void *arg)
{
    return true;
}

static void on_end(void *arg)
{
    seen.answered = true;
}

static const struct rest_sink sink = {on_send, on_begin, on_more, is_drained, on_end};

static void send_request(struct api_world *w, const struct http_head *head, struct view body)
{
    _cleanup_(freep) char *method = view_dup(head->method), *path = http_decode(head->path, false);
    if (!path)
        return;
    struct rest_request rq = {.loop = w->loop,
                              .peer = {.address = "192.0.2.1"},
                              .method = method,
                              .path = path,
                              .query = head->query,
                              .body = body,
                              .head = head};
    seen.answered = false;
    struct rest rest = {.api = w->api, .db = w->db};
    struct rest_call *call = rest_serve(&rest, &rq, &sink, NULL);
    api_world_step(w);
    if (call && !seen.answered)
        rest_drop(call);
    api_world_step(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_world *w = api_world();
    _cleanup_(buf_done) struct buf in;
    struct http_head head;
    size_t scanned = 0;
    buf_init(&in, INPUT_MAX);
    api_world_fill_in(w, data, size, w->uuid, &in);
    struct view all = {buf_str(&in), in.size};
    ssize_t n = http_head_end(all, &scanned);
    if (n <= 0 || http_parse_request((struct view){all.p, (size_t)n}, &head))
        return 0;
    send_request(w, &head, view_cut(all, (size_t)n));
    api_world_next(w);
    return 0;
}
