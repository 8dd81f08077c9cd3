/*
 * rpcload.c: how many calls a second does a host answer?
 *
 * Opens some keep-alive connections, each on a thread of its own, and posts the same XML-RPC or
 * JSON-RPC body over and over; prints requests, seconds, requests per second, and the median and
 * 99th percentile of a request in microseconds, as one line of key=value.
 *
 *     rpcload HOST PORT PATH BODY-FILE CONNECTIONS SECONDS
 *
 * Eight times '@' in a row in the body become a number that is another in each request, so that
 * what is written differs from what is there.
 *
 * Loopback only: any other address is refused. Exit 1 when a reply is not 200 or a connection ends.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "bench/wire.h"

#define NUMBER "@@@@@@@@"

static struct {
    struct sockaddr_in to;
    struct buf request;
    size_t number; /* where one goes in the request; 0: nowhere */
    atomic_uint last;
    uint64_t end_ns;
    atomic_bool failed;
} job;

struct client {
    pthread_t thread;
    VEC(uint32_t) us; /* how long each request took */
};

/* The request as it is sent next. */
static void number(struct buf *request)
{
    char text[sizeof(NUMBER)];
    if (!job.number)
        return;
    snprintf(text, sizeof(text), "%08u", atomic_fetch_add(&job.last, 1) % 100000000);
    memcpy(request->data + job.number, text, strlen(NUMBER));
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    _cleanup_(buf_done) struct buf request;
    buf_init(&request, job.request.max);
    buf_put(&request, job.request.data, job.request.size);
    _cleanup_(fd_closep) int fd = wire_connect(&job.to);
    _cleanup_(buf_done) struct buf in;
    buf_init(&in, WIRE_REPLY_MAX + 65536);
    for (uint64_t start = wire_now_ns(); start < job.end_ns;) {
        number(&request);
        if (fd < 0 || atomic_load(&job.failed) || !wire_exchange(fd, &request, &in)) {
            atomic_store(&job.failed, true);
            return NULL;
        }
        uint64_t done = wire_now_ns();
        vec_push(&c->us, (uint32_t)((done - start) / 1000));
        start = done;
    }
    return NULL;
}

static int set_up(char **argv, uint64_t *ret_connections, uint64_t *ret_seconds)
{
    if (!wire_address(argv[1], argv[2], &job.to) ||
        str_u64(view_of(argv[5]), 1, 256, ret_connections) < 0 ||
        str_u64(view_of(argv[6]), 1, 60, ret_seconds) < 0)
        return -1;
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, WIRE_BODY_MAX);
    if (fd_read_file(argv[4], WIRE_BODY_MAX, &body) < 0) {
        perror(argv[4]);
        return -1;
    }
    buf_init(&job.request, WIRE_BODY_MAX + 4096);
    wire_request(&job.request, argv[3], body.data, body.size);
    const char *at = memmem(job.request.data, job.request.size, NUMBER, strlen(NUMBER));
    job.number = at ? (size_t)(at - job.request.data) : 0;
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
    printf("requests=%zu seconds=%.2f rate=%.0f p50_us=%u p99_us=%u\n", all.n, seconds,
           (double)all.n / seconds, wire_percentile(all.v, all.n, 50),
           wire_percentile(all.v, all.n, 99));
    vec_done(&all);
}

int main(int argc, char **argv)
{
    uint64_t n, seconds;
    if (argc != 7 || set_up(argv, &n, &seconds) < 0) {
        fputs("usage: rpcload HOST PORT PATH BODY-FILE CONNECTIONS SECONDS\n", stderr);
        return 2;
    }
    uint64_t start = wire_now_ns();
    job.end_ns = start + seconds * 1000000000u;
    _cleanup_(freep) struct client *clients = mem_new_n(struct client, n);
    for (uint64_t i = 0; i < n; i++)
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            abort();
    for (uint64_t i = 0; i < n; i++)
        pthread_join(clients[i].thread, NULL);
    report(clients, n, (double)(wire_now_ns() - start) / 1e9);
    buf_done(&job.request);
    return atomic_load(&job.failed) ? 1 : 0;
}
