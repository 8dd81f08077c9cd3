/*
 * floodload.c: a crowd that connects and says next to nothing.
 *
 * Keeps up to COUNT connections, of five kinds in turn: silent; half a TLS hello; a header, a byte
 * a second; a body, a byte a second; requests whose answers are never read. What the host closes is
 * opened again, at most RATE a second. Prints "ready" when COUNT have been tried once; at SIGTERM,
 * or when stdin ends, one line of key=value about how it went.
 *
 *     floodload HOST PORT TLS-PORT COUNT RATE SOURCES
 *
 * SOURCES: "same" (127.0.0.1) or "spread" (one of 200 addresses of 127.1.0.0/16). Loopback only.
 * One thread; a wheel of slots says whose byte is due.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "bench/wire.h"

enum kind { SILENT, HALF_HELLO, HEADER_BYTES, BODY_BYTES, NEVER_READS, KINDS };

#define SLOTS   250u /* of the wheel, in a second: nobody acts in step with the others */
#define SLOT_NS (1000000000u / SLOTS)
#define PLACES  200u

struct one {
    int fd; /* -1: to be opened */
    enum kind kind;
};

static struct {
    struct sockaddr_in plain, tls;
    uint64_t count, rate;
    bool spread;
    int epoll;
    struct one *all;
    uint64_t opened, failed, closed, held, most, tried;
} job;

static volatile sig_atomic_t ended;

static void on_signal(int signal)
{
    ended = 1;
}

/* ---- what each kind says ---- */

static const char hello[64] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

static void greet(const struct one *o)
{
    static const char head[] = "POST /jsonrpc HTTP/1.1\r\n";
    static const char body[] = "POST /jsonrpc HTTP/1.1\r\nContent-Length: 60000\r\n\r\n{";
    static const char command[] = "POST /cli HTTP/1.0\r\nContent-Length: 6000\r\n\r\nx";
    static const char page[] = "GET /openapi.json HTTP/1.1\r\n\r\n";
    bool odd = (o - job.all) / KINDS % 2;
    if (o->kind == HALF_HELLO)
        (void)!send(o->fd, hello, sizeof(hello), MSG_NOSIGNAL);
    if (o->kind == HEADER_BYTES)
        (void)!send(o->fd, head, sizeof(head) - 1, MSG_NOSIGNAL);
    if (o->kind == BODY_BYTES && odd)
        (void)!send(o->fd, command, sizeof(command) - 1, MSG_NOSIGNAL);
    else if (o->kind == BODY_BYTES)
        (void)!send(o->fd, body, sizeof(body) - 1, MSG_NOSIGNAL);
    if (o->kind == NEVER_READS)
        (void)!send(o->fd, page, sizeof(page) - 1, MSG_NOSIGNAL);
}

static void drip(struct one *o)
{
    if (o->fd >= 0 && (o->kind == HEADER_BYTES || o->kind == BODY_BYTES))
        (void)!send(o->fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- connections ---- */

static void bind_source(int fd, uint64_t i)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1;
    uint32_t place = (uint32_t)(i % PLACES);
    from.sin_addr.s_addr =
        htonl(job.spread ? 0x7f010001u + ((place / 50) << 8) + place % 50 : INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    (void)!bind(fd, (struct sockaddr *)&from, sizeof(from));
}

static void open_one(uint64_t i)
{
    struct one *o = &job.all[i];
    o->kind = (enum kind)(i % KINDS);
    const struct sockaddr_in *to = o->kind == HALF_HELLO ? &job.tls : &job.plain;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    job.tried++;
    if (o->kind == NEVER_READS && fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    if (fd >= 0)
        bind_source(fd, i);
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0) {
        job.failed++;
        fd_close(fd);
        return;
    }
    o->fd = fd;
    job.opened++;
    job.held++;
    job.most = job.held > job.most ? job.held : job.most;
    greet(o);
    /* Who never reads hears of the end all the same. */
    struct epoll_event ev = {.events = EPOLLRDHUP, .data.u64 = i};
    epoll_ctl(job.epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void close_one(uint64_t i)
{
    fd_close(job.all[i].fd);
    job.all[i].fd = -1;
    job.closed++;
    job.held--;
}

static void take_ends(int wait_ms)
{
    struct epoll_event ev[256];
    int n = epoll_wait(job.epoll, ev, 256, wait_ms);
    for (int i = 0; i < n; i++)
        close_one(ev[i].data.u64);
}

/* ---- the wheel ---- */

static void flood(void)
{
    uint64_t next = wire_now_ns(), cursor = 0;
    for (uint64_t slot = 0; !ended; slot++) {
        for (uint64_t budget = job.rate / SLOTS, seen = 0; budget && seen < job.count; seen++) {
            if (job.all[cursor].fd < 0) {
                open_one(cursor);
                budget--;
            }
            cursor = (cursor + 1) % job.count;
        }
        for (uint64_t i = slot % SLOTS; i < job.count; i += SLOTS)
            drip(&job.all[i]);
        if (job.tried >= job.count && job.tried < job.count + job.rate / SLOTS)
            puts("ready");
        fflush(stdout);
        next += SLOT_NS;
        for (uint64_t now; (now = wire_now_ns()) < next && !ended;)
            take_ends((int)((next - now + 999999) / 1000000));
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        ended |= poll(&in, 1, 0) > 0;
    }
}

static bool set_up(char **argv)
{
    if (!wire_address(argv[1], argv[2], &job.plain) || !wire_address(argv[1], argv[3], &job.tls) ||
        str_u64(view_of(argv[4]), 1, 100000, &job.count) < 0 ||
        str_u64(view_of(argv[5]), SLOTS, 100000, &job.rate) < 0)
        return false;
    job.spread = strcmp(argv[6], "spread") == 0;
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    job.epoll = epoll_create1(EPOLL_CLOEXEC);
    job.all = mem_new_n(struct one, job.count);
    for (uint64_t i = 0; i < job.count; i++)
        job.all[i].fd = -1;
    signal(SIGTERM, on_signal);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 7 || !set_up(argv)) {
        fputs("usage: floodload HOST PORT TLS-PORT COUNT RATE same|spread\n", stderr);
        return 2;
    }
    uint64_t start = wire_now_ns();
    flood();
    printf("seconds=%.1f opened=%llu failed=%llu closed=%llu held=%llu most=%llu\n",
           (double)(wire_now_ns() - start) / 1e9, (unsigned long long)job.opened,
           (unsigned long long)job.failed, (unsigned long long)job.closed,
           (unsigned long long)job.held, (unsigned long long)job.most);
    free(job.all);
    return 0;
}
