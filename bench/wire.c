/* wire.c: see wire.h. */
#include "bench/wire.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

uint64_t wire_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool wire_address(const char *host, const char *port, struct sockaddr_in *ret)
{
    uint64_t number;
    *ret = (struct sockaddr_in){.sin_family = AF_INET};
    if (inet_pton(AF_INET, host, &ret->sin_addr) != 1 ||
        (ntohl(ret->sin_addr.s_addr) >> 24) != 127) {
        fputs("only addresses of the loopback range\n", stderr);
        return false;
    }
    if (str_u64(view_of(port), 1, 65535, &number) < 0)
        return false;
    ret->sin_port = htons((uint16_t)number);
    return true;
}

int wire_connect(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0)
        return fd;
    perror("connect");
    fd_close(fd);
    return -1;
}

void wire_request(struct buf *out, const char *path, const char *body, size_t size)
{
    buf_printf(out, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", path,
               size);
    buf_put(out, body, size);
}

size_t wire_reply_size(const struct buf *in, bool *bad)
{
    const char *head_end = in->size ? strstr(in->data, "\r\n\r\n") : NULL;
    if (!head_end)
        return 0;
    const char *length = strcasestr(in->data, "content-length:");
    uint64_t body = 0;
    *bad = strncmp(in->data, "HTTP/1.1 200", 12) != 0 || !length || length > head_end;
    if (!*bad) {
        const char *end = strstr(length, "\r\n");
        struct view v = view_trim((struct view){length + 15, (size_t)(end - length) - 15});
        *bad = str_u64(v, 0, WIRE_REPLY_MAX, &body) < 0;
    }
    if (*bad)
        fprintf(stderr, "unexpected reply: %.80s\n", in->data);
    return *bad ? 0 : (size_t)(head_end - in->data) + 4 + body;
}

bool wire_exchange(int fd, const struct buf *request, struct buf *in)
{
    bool bad = false;
    buf_clear(in);
    if (fd_write_all(fd, request->data, request->size) < 0)
        return false;
    for (size_t want = 0; !want || in->size < want;
         want = want ? want : wire_reply_size(in, &bad)) {
        char *at = buf_reserve(in, 65536);
        ssize_t n = at ? recv(fd, at, 65536, 0) : -1;
        if (n <= 0 || bad)
            return false;
        buf_added(in, (size_t)n);
    }
    return true;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

uint32_t wire_percentile(uint32_t *v, size_t n, double p)
{
    if (!n)
        return 0;
    qsort(v, n, sizeof(*v), by_value);
    size_t at = (size_t)((double)n * p / 100);
    return v[at < n ? at : n - 1];
}
