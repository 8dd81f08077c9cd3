/* Any bytes on the public port: a server in this process, one connection an input. The server must
 * answer or close, and serve the next one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/net.h"
#include "tests/fuzz/fuzz.h"

static char path[64];

static void echo(void *arg, const struct net_request *req, struct net_reply *reply)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put(&b, req->body.p, req->body.size);
    net_reply_send(reply, 200, "text/xml", NULL, 0, &b);
}

static void swallow(void *arg, const struct net_request *req, struct net_stream *s)
{
    char chunk[4096];
    if (net_wants_websocket(req)) {
        int pair[2];
        if (net_stream_websocket(s, req, "binary") == 0 &&
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
            shutdown(pair[1], SHUT_WR);
            fd_close(pair[1]);
            net_stream_relay(s, pair[0]);
            return;
        }
    }
    while (net_stream_read(s, chunk, sizeof(chunk)) > 0)
        ;
    net_stream_close(s);
}

static const struct net_route routes[] = {
    {"POST", "/", "post_root", NET_RPC, .call = echo},
    {"GET", "/", "get_root", NET_SIMPLE, .call = echo},
    {"GET", "/console", "console", NET_TAKEOVER, .takeover = swallow},
    {"PUT", "/", "put_root", NET_TAKEOVER, .takeover = swallow},
};

static void stop(void)
{
    unlink(path);
}

static void start(void)
{
    struct net *net;
    struct net_config config = {.routes = routes,
                                .n_routes = 4,
                                .max_streams = 4,
                                .head_time = 200 * USEC_PER_MSEC,
                                .stall_time = 200 * USEC_PER_MSEC};
    log_set_level(NULL, LOG_ERR);
    snprintf(path, sizeof(path), "/tmp/cairn-fuzz-%d.sock", (int)getpid());
    if (net_new(&config, &net) || net_listen_unix(net, path, 0600))
        abort();
    atexit(stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*path)
        start();
    int fd = fd_connect_unix(path);
    if (fd < 0)
        abort();
    struct timeval patience = {.tv_sec = 9};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    send(fd, data, size < 65536 ? size : 65536, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    char chunk[4096];
    ssize_t n;
    do /* libFuzzer's alarm interrupts */
        n = recv(fd, chunk, sizeof(chunk), 0);
    while (n > 0 || (n < 0 && errno == EINTR));
    if (n < 0)
        abort(); /* it neither answered nor closed */
    fd_close(fd);
    return 0;
}
