/*
 * served.c: src/net with a few handlers, for real clients to try: curl, Python's http and ssl, a
 * browser's WebSocket. Listens on loopback and in a folder of its own, prints the ports, ends with
 * its standard input.
 *
 *     served FOLDER        prints "PORT TLS-PORT"; FOLDER gets cert.pem, key.pem, sock, web/
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/net.h"

static void echo(void *arg, const struct net_request *req, struct net_reply *reply)
{
    struct buf b;
    buf_init(&b, 8 << 20);
    buf_put(&b, req->body.p, req->body.size);
    net_reply_send(reply, 200, "text/xml", NULL, 0, &b);
}

/* An upload as XenAPI has them: the answer first, then the body, then the end. */
static void take(void *arg, const struct net_request *req, struct net_stream *s)
{
    char chunk[65536], text[64];
    uint64_t left = req->head->has_length ? req->head->length : UINT64_MAX, sum = 0, total = 0;
    if (net_stream_head(s, 200, NULL, NULL, 0) == 0)
        while (left) {
            ssize_t n = net_stream_read(s, chunk, left < sizeof(chunk) ? left : sizeof(chunk));
            if (n <= 0)
                break;
            for (ssize_t i = 0; i < n; i++)
                sum += (unsigned char)chunk[i];
            left -= (uint64_t)n;
            total += (uint64_t)n;
        }
    int size = snprintf(text, sizeof(text), "%llu %llu", (unsigned long long)total,
                        (unsigned long long)sum);
    (void)!net_stream_write(s, text, (size_t)size);
    net_stream_close(s);
}

static void *echo_back(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char chunk[65536];
    for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;)
        if (fd_write_all(fd, chunk, (size_t)n) < 0)
            break;
    fd_close(fd);
    return NULL;
}

static void console(void *arg, const struct net_request *req, struct net_stream *s)
{
    int pair[2], r;
    pthread_t t;
    r = net_wants_websocket(req) ? net_stream_websocket(s, req, "binary")
                                 : net_stream_head(s, 200, NULL, NULL, 0);
    if (r < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        net_stream_close(s);
        return;
    }
    pthread_create(&t, NULL, echo_back, (void *)(intptr_t)pair[1]);
    pthread_detach(t);
    net_stream_relay(s, pair[0]);
}

static const struct net_route routes[] = {
    {"POST", "/", "post_root", NET_RPC, .call = echo},
    {"PUT", "/take", "put_take", NET_TAKEOVER, .takeover = take},
    {"CONNECT", "/console", "connect_console", NET_TAKEOVER, .takeover = console},
    {"GET", "/console", "connect_console_ws", NET_TAKEOVER, .takeover = console},
};

static struct err *serve(const char *folder, struct net **ret, struct tls_context **ret_tls)
{
    char web[256], sock[256], cert[256], key[256];
    struct tls_context *tls;
    uint16_t port, tls_port;
    snprintf(web, sizeof(web), "%s/web", folder);
    snprintf(sock, sizeof(sock), "%s/sock", folder);
    snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    const char *names[] = {"localhost", "127.0.0.1"};
    TRY(tls_make_certificate(cert, key, "localhost", names, 2));
    TRY(tls_context_server(cert, key, &tls));
    *ret_tls = tls;
    static char root[256];
    strcpy(root, web);
    TRY(net_new(&(struct net_config){.routes = routes, .n_routes = 4, .web_root = root}, ret));
    TRY(net_listen_tcp(*ret, "127.0.0.1", 0, NULL, &port));
    TRY(net_listen_tcp(*ret, "127.0.0.1", 0, tls, &tls_port));
    TRY(net_listen_unix(*ret, sock, 0600));
    printf("%u %u\n", port, tls_port);
    fflush(stdout);
    return NULL;
}

int main(int argc, char **argv)
{
    struct net *net = NULL;
    struct tls_context *tls = NULL;
    if (argc != 2)
        return 2;
    _cleanup_(err_freep) struct err *e = serve(argv[1], &net, &tls);
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        fprintf(stderr, "served: %s\n", text);
        return 1;
    }
    while (getchar() != EOF)
        ;
    net_free(net);
    tls_context_free(tls);
    return 0;
}
