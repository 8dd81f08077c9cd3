/*
 * rpcload.c: how many calls a second does a host answer?
 *
 * Opens some keep-alive connections, each on a thread of its own, and posts the same XML-RPC or
 * JSON-RPC body over and over; prints requests, seconds, requests per second, and the median and
 * 99th percentile of a request in microseconds, as one line of key=value.
 *
 *     rpcload HOST PORT PATH BODY-FILE CONNECTIONS SECONDS
 *
 * Loopback only: any other address is refused. Exit 1 when a reply is not 200 or a connection ends.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"

#define BODY_MAX  (1 << 20)
#define REPLY_MAX ((size_t)256 << 20)

static struct {
    struct sockaddr_in to;
    struct buf request;
    uint64_t end_ns;
    atomic_bool failed;
} job;

struct client {
    pthread_t thread;
    VEC(uint32_t) us; /* how long each request took */
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Size of head and body once the head is complete, else 0; 0 and failed for a bad reply. */
static size_t reply_size(struct buf *b)
{
    const char *head_end = b->size ? strstr(b->data, "\r\n\r\n") : NULL;
    if (!head_end)
        return 0;
    const char *length = strcasestr(b->data, "content-length:");
    if (strncmp(b->data, "HTTP/1.1 200", 12) != 0 || !length || length > head_end) {
        fprintf(stderr, "rpcload: unexpected reply: %.80s\n", b->data);
        atomic_store(&job.failed, true);
        return 0;
    }
    const char *line_end = strstr(length, "\r\n");
    struct view v = view_trim((struct view){length + 15, (size_t)(line_end - length) - 15});
    uint64_t body = 0;
    if (str_u64(v, 0, REPLY_MAX, &body) < 0)
        atomic_store(&job.failed, true);
    return (size_t)(head_end - b->data) + 4 + body;
}

/* One request and its whole reply; false when the connection is of no more use. */
static bool exchange(int fd, struct buf *in)
{
    buf_clear(in);
    if (fd_write_all(fd, job.request.data, job.request.size) < 0)
        return false;
    for (size_t want = 0; !want || in->size < want; want = want ? want : reply_size(in)) {
        char *at = buf_reserve(in, 65536);
        ssize_t n = at ? recv(fd, at, 65536, 0) : -1;
        if (n <= 0 || atomic_load(&job.failed))
            return false;
        buf_added(in, (size_t)n);
    }
    return true;
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    _cleanup_(fd_closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    _cleanup_(buf_done) struct buf in;
    buf_init(&in, REPLY_MAX + 65536);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *)&job.to, sizeof(job.to)) < 0) {
        perror("rpcload: connect");
        atomic_store(&job.failed, true);
        return NULL;
    }
    for (uint64_t start = now_ns(); start < job.end_ns;) {
        if (!exchange(fd, &in)) {
            atomic_store(&job.failed, true);
            return NULL;
        }
        uint64_t done = now_ns();
        vec_push(&c->us, (uint32_t)((done - start) / 1000));
        start = done;
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int set_up(char **argv, uint64_t *ret_connections, uint64_t *ret_seconds)
{
    uint64_t port;
    job.to.sin_family = AF_INET;
    if (inet_pton(AF_INET, argv[1], &job.to.sin_addr) != 1 ||
        (ntohl(job.to.sin_addr.s_addr) >> 24) != 127) {
        fputs("rpcload: only addresses of the loopback range\n", stderr);
        return -1;
    }
    if (str_u64(view_of(argv[2]), 1, 65535, &port) < 0 ||
        str_u64(view_of(argv[5]), 1, 256, ret_connections) < 0 ||
        str_u64(view_of(argv[6]), 1, 60, ret_seconds) < 0)
        return -1;
    job.to.sin_port = htons((uint16_t)port);
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, BODY_MAX);
    if (fd_read_file(argv[4], BODY_MAX, &body) < 0) {
        perror(argv[4]);
        return -1;
    }
    buf_init(&job.request, BODY_MAX + 4096);
    buf_printf(&job.request, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
               argv[3], body.size);
    buf_put(&job.request, body.data, body.size);
    return 0;
}

static void report(struct client *clients, uint64_t n, double seconds)
{
    VEC(uint32_t) all = {0};
    for (uint64_t i = 0; i < n; i++) {
        vec_each (us, &clients[i].us)
            vec_push(&all, *us);
        vec_done(&clients[i].us);
    }
    qsort(all.v, all.n, sizeof(*all.v), by_value);
    printf("requests=%zu seconds=%.2f rate=%.0f p50_us=%u p99_us=%u\n", all.n, seconds,
           (double)all.n / seconds, all.n ? all.v[all.n / 2] : 0,
           all.n ? all.v[all.n * 99 / 100] : 0);
    vec_done(&all);
}

int main(int argc, char **argv)
{
    uint64_t n, seconds;
    if (argc != 7 || set_up(argv, &n, &seconds) < 0) {
        fputs("usage: rpcload HOST PORT PATH BODY-FILE CONNECTIONS SECONDS\n", stderr);
        return 2;
    }
    uint64_t start = now_ns();
    job.end_ns = start + seconds * 1000000000u;
    _cleanup_(freep) struct client *clients = mem_new_n(struct client, n);
    for (uint64_t i = 0; i < n; i++)
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            abort();
    for (uint64_t i = 0; i < n; i++)
        pthread_join(clients[i].thread, NULL);
    report(clients, n, (double)(now_ns() - start) / 1e9);
    buf_done(&job.request);
    return atomic_load(&job.failed) ? 1 : 0;
}
