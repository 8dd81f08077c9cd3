/*
 * cli.c: POST /cli, the command line. src/cli speaks the protocol; here the body is read and the
 * connection lent. There is no HTTP answer: the protocol begins at once. Stream threads.
 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

#include "gen/http.h"
#include "handler/handler.h"
#include "handler/http.h"

static ssize_t read_some(void *arg, void *p, size_t size)
{
    return net_stream_read(arg, p, size);
}

static int write_all(void *arg, const void *p, size_t size)
{
    return net_stream_write(arg, p, size);
}

static void be_patient(void *arg)
{
    net_stream_known(arg);
    net_stream_set_patience(arg, USEC_NEVER);
}

static int read_body(const struct net_request *req, struct net_stream *s, struct buf *ret)
{
    if (!req->head->has_length || req->head->length > HANDLER_CLI_MAX) {
        (void)net_stream_error(s, 400, "a command needs a Content-Length of at most 200 KiB");
        return -E2BIG;
    }
    size_t size = (size_t)req->head->length;
    char *at = buf_reserve(ret, size);
    int r = at ? net_stream_read_all(s, at, size) : -E2BIG;
    if (r == 0)
        buf_added(ret, size);
    return r;
}

static bool serves(const char *handler)
{
    for (unsigned i = 0; i < HTTP_N; i++)
        if (strcmp(http_descs[i].name, handler) == 0)
            return !(http_descs[i].flags & HTTP_UNIMPLEMENTED);
    return false;
}

void http_post_cli(void *arg, const struct net_request *req, struct net_stream *s)
{
    struct handlers *h = arg;
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, HANDLER_CLI_MAX);
    if (read_body(req, s, &body) == 0) {
        struct cli_backend backend = cli_backend_api(h->api);
        backend.serves = serves;
        cli_serve(&backend, &(struct cli_conn){
                                .peer = handler_peer(h, req),
                                .body = {buf_str(&body), body.size},
                                .stream = {s, read_some, write_all, be_patient},
                            });
    }
    net_stream_close(s);
}
