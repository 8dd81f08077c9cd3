/*
 * eventload.c: how long after a change do its subscribers hear of it?
 *
 * Parks some event.from calls on class pool, changes the pool's name_description by another
 * connection, and notes for each subscriber the time from the change's reply (what is told is
 * durable by then) and from the change's request to its event; again for some rounds. Prints
 * percentiles in microseconds as one line of key=value. One thread.
 *
 *     eventload HOST PORT SESSION POOL SUBSCRIBERS ROUNDS
 *
 * SESSION and POOL are references. Loopback only.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "bench/wire.h"

#define ROUND_MS 30000

struct subscriber {
    int fd;
    struct buf in;
    char token[64];
};

static struct {
    struct sockaddr_in to;
    const char *session, *pool;
    uint64_t n, rounds;
    struct subscriber *all;
    int writer, epoll;
    VEC(uint32_t) after_reply, after_request;
    struct buf request, in;
} job;

/* The token of a reply; the text is short and its form is known. */
static bool take_token(struct subscriber *s)
{
    const char *at = strstr(buf_str(&s->in), "\"token\":\"");
    const char *end = at ? strchr(at + 9, '"') : NULL;
    if (!end || (size_t)(end - at) - 9 >= sizeof(s->token)) {
        fprintf(stderr, "eventload: no token in %.200s\n", s->in.data);
        return false;
    }
    snprintf(s->token, sizeof(s->token), "%.*s", (int)(end - at) - 9, at + 9);
    return true;
}

static bool park(struct subscriber *s, double timeout)
{
    char body[512];
    int size =
        snprintf(body, sizeof(body),
                 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"event.from\",\"params\":[\"%s\","
                 "[\"pool\"],\"%s\",%.1f]}",
                 job.session, s->token, timeout);
    buf_clear(&job.request);
    wire_request(&job.request, "/jsonrpc", body, (size_t)size);
    buf_clear(&s->in);
    return fd_write_all(s->fd, job.request.data, job.request.size) >= 0;
}

/* True when the whole reply is there. */
static bool receive(struct subscriber *s, bool *bad)
{
    char *at = buf_reserve(&s->in, 65536);
    ssize_t n = at ? recv(s->fd, at, 65536, 0) : -1;
    if (n <= 0) {
        *bad = true;
        return false;
    }
    buf_added(&s->in, (size_t)n);
    size_t want = wire_reply_size(&s->in, bad);
    return want && s->in.size >= want;
}

static bool subscribe(struct subscriber *s)
{
    s->fd = wire_connect(&job.to);
    buf_init(&s->in, WIRE_REPLY_MAX);
    bool bad = s->fd < 0 || !park(s, 0);
    while (!bad && !receive(s, &bad))
        continue;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    return !bad && take_token(s) && epoll_ctl(job.epoll, EPOLL_CTL_ADD, s->fd, &e) == 0;
}

static void note(uint64_t request_ns, uint64_t reply_ns)
{
    uint64_t now = wire_now_ns();
    uint64_t since_reply = now > reply_ns ? now - reply_ns : 0;
    vec_push(&job.after_reply, (uint32_t)(since_reply / 1000));
    vec_push(&job.after_request, (uint32_t)((now - request_ns) / 1000));
}

static bool collect(uint64_t request_ns, uint64_t reply_ns)
{
    struct epoll_event events[256];
    bool bad = false;
    for (uint64_t heard = 0; heard < job.n;) {
        int got = epoll_wait(job.epoll, events, 256, ROUND_MS);
        if (got <= 0)
            return false;
        for (int i = 0; i < got && !bad; i++) {
            struct subscriber *s = events[i].data.ptr;
            if (!receive(s, &bad))
                continue;
            note(request_ns, reply_ns);
            heard++;
            bad = !take_token(s);
        }
        if (bad)
            return false;
    }
    return true;
}

static bool change(uint64_t round)
{
    char body[512];
    int size = snprintf(body, sizeof(body),
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pool.set_name_description\","
                        "\"params\":[\"%s\",\"%s\",\"round %llu\"]}",
                        job.session, job.pool, (unsigned long long)round);
    buf_clear(&job.request);
    wire_request(&job.request, "/jsonrpc", body, (size_t)size);
    return wire_exchange(job.writer, &job.request, &job.in);
}

static bool run_round(uint64_t round)
{
    for (uint64_t i = 0; i < job.n; i++)
        if (!park(&job.all[i], 60))
            return false;
    usleep(300000); /* until all are parked: nothing tells when */
    uint64_t request_ns = wire_now_ns();
    if (!change(round))
        return false;
    return collect(request_ns, wire_now_ns());
}

static bool set_up(char **argv)
{
    if (!wire_address(argv[1], argv[2], &job.to) ||
        str_u64(view_of(argv[5]), 1, 10000, &job.n) < 0 ||
        str_u64(view_of(argv[6]), 1, 1000, &job.rounds) < 0)
        return false;
    job.session = argv[3];
    job.pool = argv[4];
    job.epoll = epoll_create1(EPOLL_CLOEXEC);
    buf_init(&job.request, WIRE_BODY_MAX);
    buf_init(&job.in, WIRE_REPLY_MAX);
    job.writer = wire_connect(&job.to);
    job.all = mem_new_n(struct subscriber, job.n);
    for (uint64_t i = 0; i < job.n; i++)
        if (!subscribe(&job.all[i]))
            return false;
    return job.writer >= 0;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("usage: eventload HOST PORT SESSION POOL SUBSCRIBERS ROUNDS\n", stderr);
        return 2;
    }
    bool ok = set_up(argv);
    for (uint64_t i = 0; ok && i < job.rounds; i++)
        ok = run_round(i);
    if (!ok)
        return 1;
    printf("events=%zu", job.after_reply.n);
    printf(" reply_p50_us=%u", wire_percentile(job.after_reply.v, job.after_reply.n, 50));
    printf(" reply_p99_us=%u", wire_percentile(job.after_reply.v, job.after_reply.n, 99));
    printf(" request_p50_us=%u", wire_percentile(job.after_request.v, job.after_request.n, 50));
    printf(" request_p99_us=%u\n", wire_percentile(job.after_request.v, job.after_request.n, 99));
    return 0;
}
