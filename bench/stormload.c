/*
 * stormload.c: requests that nobody would send, as many as can be.
 *
 * Threads, each with a connection by TCP or the local socket, send calls of XML-RPC and JSON-RPC
 * and requests of REST whose bodies are grown from a grammar and then mutated, a batch at a time;
 * beside them whole requests mutated head and all, commands, WebSockets, downloads with wild
 * parameters, and bytes at the TLS port. Every answer is waited for: a connection that neither
 * answers nor ends for PATIENCE is stuck. Prints one line of key=value at the end, or at SIGTERM,
 * and every ten seconds on stderr.
 *
 *     stormload WORDS PORT TLS-PORT SOCKET REQUESTS THREADS SEED
 *
 * WORDS is a file, a line each: a letter of enum word, a blank, the word. When the host cannot be
 * reached any more, what was sent last stands in WORDS.last-<thread>. Loopback only.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "bench/wire.h"

#define PATIENCE_S  90
#define BATCH       16
#define REQUEST_MAX (256 << 10)
#define REPLY_MAX   ((size_t)64 << 20)

/* m messages for a reader, r also for root; v values; p paths of REST; h "METHOD /path" of
 * handlers; s sessions of readers, z those of root; c commands */
enum word {
    MESSAGES,
    ROOT_MESSAGES,
    VALUES,
    PATHS,
    HANDLERS,
    SESSIONS,
    ROOT_SESSIONS,
    COMMANDS,
    WORDS
};
static const char letters[] = "mrvphszc";

static struct {
    VEC(char *) words[WORDS];
    struct sockaddr_in plain, tls;
    const char *socket, *file;
    uint64_t requests, threads, seed;
    atomic_ulong sent, answered, refused, raw, commands, streams, tls_bytes, closed, stuck;
    atomic_bool failed;
} job;

static volatile sig_atomic_t ended;

struct sender {
    pthread_t thread;
    unsigned number;
    uint64_t state; /* of the random numbers */
    int fd;         /* kept open for batches; -1 */
    struct buf out, body, in;
};

/* ---- chance ---- */

static uint64_t chance(struct sender *s)
{
    uint64_t x = s->state; /* xorshift64* */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    s->state = x;
    return x * 2685821657736338717u >> 16;
}

static size_t below(struct sender *s, size_t n)
{
    return n ? (size_t)(chance(s) % n) : 0;
}

static const char *word(struct sender *s, enum word kind)
{
    return job.words[kind].n ? job.words[kind].v[below(s, job.words[kind].n)] : "";
}

static const char *odd_text(struct sender *s)
{
    static const char *const odd[] = {
        "",
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "1e308",
        "nan",
        "true",
        "%00",
        "\xff\xfe",
        "../../etc/passwd",
        "OpaqueRef:NULL",
        "OpaqueRef:",
        "&#0;",
        "&#xFFFF;",
        "]]>",
        "<!--",
        "\\u0000",
        "\\ud800",
        "20200101T00:00:00Z",
        "99999999T99:99:99Z",
        "%s%n",
        "\xed\xa0\x80",
    };
    return odd[below(s, ARRAY_LEN(odd))];
}

static const char *any_text(struct sender *s)
{
    return below(s, 4) ? word(s, VALUES) : odd_text(s);
}

/* ---- calls, from a grammar ---- */

static const char *session(struct sender *s, bool root)
{
    if (root)
        return word(s, ROOT_SESSIONS);
    return below(s, 4) ? word(s, SESSIONS) : any_text(s);
}

static void xml_value(struct sender *s, unsigned depth)
{
    struct buf *b = &s->body;
    size_t kind = below(s, depth ? 10 : 7);
    buf_puts(b, "<value>");
    if (kind < 4)
        buf_printf(b, "<string>%s</string>", any_text(s));
    else if (kind == 4)
        buf_printf(b, "<boolean>%zu</boolean>", below(s, 3));
    else if (kind == 5)
        buf_printf(b, "<%s>%s</%s>", "double", odd_text(s), "double");
    else if (kind == 6)
        buf_printf(b, "<int>%s</int>", odd_text(s));
    else if (kind == 7) {
        buf_puts(b, "<array><data>");
        for (size_t n = below(s, 4); n; n--)
            xml_value(s, depth - 1);
        buf_puts(b, "</data></array>");
    } else {
        buf_puts(b, "<struct>");
        for (size_t n = below(s, 5); n; n--) {
            buf_printf(b, "<member><name>%s</name>", any_text(s));
            xml_value(s, depth - 1);
            buf_puts(b, "</member>");
        }
        buf_puts(b, "</struct>");
    }
    buf_puts(b, "</value>");
}

static void json_value(struct sender *s, unsigned depth)
{
    struct buf *b = &s->body;
    size_t kind = below(s, depth ? 9 : 6);
    if (kind < 4)
        buf_printf(b, "\"%s\"", any_text(s));
    else if (kind == 4)
        buf_puts(b, below(s, 2) ? "true" : "null");
    else if (kind == 5)
        buf_puts(b, odd_text(s));
    else if (kind == 6) {
        buf_putc(b, '[');
        for (size_t n = below(s, 4); n; n--) {
            json_value(s, depth - 1);
            buf_puts(b, n > 1 ? "," : "");
        }
        buf_putc(b, ']');
    } else {
        buf_putc(b, '{');
        for (size_t n = below(s, 5); n; n--) {
            buf_printf(b, "\"%s\":", any_text(s));
            json_value(s, depth - 1);
            buf_puts(b, n > 1 ? "," : "");
        }
        buf_putc(b, '}');
    }
}

static void xml_call(struct sender *s)
{
    bool root = below(s, 8) == 0;
    const char *async = below(s, 16) ? "" : "Async.";
    buf_printf(&s->body, "<?xml version=\"1.0\"?><methodCall><methodName>%s%s</methodName><params>",
               async, word(s, root ? ROOT_MESSAGES : MESSAGES));
    buf_printf(&s->body, "<param><value>%s</value></param>", session(s, root));
    for (size_t n = below(s, 4); n; n--) {
        buf_puts(&s->body, "<param>");
        xml_value(s, 4);
        buf_puts(&s->body, "</param>");
    }
    buf_puts(&s->body, "</params></methodCall>");
}

static void json_call(struct sender *s)
{
    bool root = below(s, 8) == 0;
    const char *version = below(s, 3) ? "\"jsonrpc\":\"2.0\"," : "";
    buf_printf(&s->body, "{%s\"id\":%zu,\"method\":\"%s\",\"params\":[\"%s\"", version, below(s, 9),
               word(s, root ? ROOT_MESSAGES : MESSAGES), session(s, root));
    for (size_t n = below(s, 4); n; n--) {
        buf_putc(&s->body, ',');
        json_value(s, 4);
    }
    buf_puts(&s->body, "]}");
}

/* ---- mutations ---- */

/* Puts `size` bytes in the place of `gone` at `at`. */
static void splice(struct buf *b, size_t at, size_t gone, const void *p, size_t size)
{
    _cleanup_(buf_done) struct buf rest;
    buf_init(&rest, REQUEST_MAX);
    buf_put(&rest, b->data + at + gone, b->size - at - gone);
    b->size = at;
    buf_put(b, p, size);
    buf_put(b, rest.data, rest.size);
}

static void nest(struct sender *s, struct buf *b, size_t at)
{
    static const char *const openers[] = {"[", "{\"a\":", "<value><array><data>", "<a>", "\"", "%"};
    const char *o = openers[below(s, ARRAY_LEN(openers))];
    char text[8192];
    size_t size = strlen(o), n = 0;
    for (size_t times = below(s, 300); times && n + size < sizeof(text); times--, n += size)
        memcpy(text + n, o, size);
    splice(b, at, 0, text, n);
}

static void mutate(struct sender *s, struct buf *b)
{
    if (!b->size || b->full)
        return;
    size_t at = below(s, b->size), length = below(s, b->size - at < 40 ? b->size - at : 40);
    char noise[32];
    uint64_t r = chance(s);
    switch (below(s, 8)) {
    case 0:
    case 1:
        b->data[at] = (char)(b->data[at] ^ (1 << (r % 8)));
        break;
    case 2:
        splice(b, at, length, "", 0);
        break;
    case 3:
        memcpy(noise, b->data + at, length < sizeof(noise) ? length : sizeof(noise));
        splice(b, below(s, b->size), 0, noise, length < sizeof(noise) ? length : sizeof(noise));
        break;
    case 4:
        splice(b, at, length, any_text(s), strlen(any_text(s)) ? 1 : 0);
        break;
    case 5:
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (char)chance(s);
        splice(b, at, 0, noise, 1 + below(s, sizeof(noise)));
        break;
    case 6:
        nest(s, b, at);
        break;
    default:
        splice(b, at, b->size - at, "", 0);
    }
}

static void mutate_some(struct sender *s, struct buf *b)
{
    for (size_t n = below(s, 2) ? 0 : 1 + below(s, 4); n; n--)
        mutate(s, b);
}

/* ---- requests ---- */

/* A target must not break the request in two: what framing does is tried by raw requests. */
static void put_target(struct sender *s, struct buf *b, const char *path)
{
    static const char *const odd[] = {"%2e%2e", "?filter=", "&fields=", "?wait",
                                      "%00",    "//",       "?limit=",  "?after="};
    buf_puts(b, path);
    for (size_t n = below(s, 3); n; n--) {
        buf_puts(b, odd[below(s, ARRAY_LEN(odd))]);
        for (const char *c = any_text(s); *c; c++)
            buf_printf(b, (uint8_t)*c <= ' ' || (uint8_t)*c > '~' ? "%%%02x" : "%c", (uint8_t)*c);
    }
}

static void rest_request(struct sender *s)
{
    static const char *const methods[] = {"GET",   "GET",    "GET",    "POST",
                                          "PATCH", "DELETE", "OPTIONS"};
    const char *method = methods[below(s, ARRAY_LEN(methods))];
    bool root = below(s, 8) == 0;
    json_value(s, 4);
    mutate_some(s, &s->body);
    buf_printf(&s->out, "%s ", method);
    put_target(s, &s->out, word(s, PATHS));
    buf_printf(
        &s->out,
        " HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n",
        root ? word(s, ROOT_SESSIONS) : word(s, SESSIONS), s->body.size);
    buf_put(&s->out, s->body.data, s->body.size);
}

static void chunked(struct buf *out, const struct buf *body)
{
    size_t half = body->size / 2;
    buf_printf(out, "Transfer-Encoding: chunked\r\n\r\n");
    if (half) {
        buf_printf(out, "%zx\r\n", half);
        buf_put(out, body->data, half);
        buf_puts(out, "\r\n");
    }
    if (body->size - half) {
        buf_printf(out, "%zX;x=y\r\n", body->size - half);
        buf_put(out, body->data + half, body->size - half);
        buf_puts(out, "\r\n");
    }
    buf_puts(out, "0\r\n\r\n");
}

/* A request that is whole, whatever its body is. */
static void framed_request(struct sender *s)
{
    size_t kind = below(s, 10);
    buf_clear(&s->body);
    s->body.full = false;
    if (kind >= 7) {
        rest_request(s);
        return;
    }
    if (kind < 4)
        xml_call(s);
    else
        json_call(s);
    mutate_some(s, &s->body);
    buf_printf(&s->out, "POST %s HTTP/1.1\r\nHost: h\r\n", kind < 4 ? "/" : "/jsonrpc");
    if (below(s, 8) == 0) {
        chunked(&s->out, &s->body);
        return;
    }
    buf_printf(&s->out, "Content-Length: %zu\r\n\r\n", s->body.size);
    buf_put(&s->out, s->body.data, s->body.size);
}

/* ---- connections ---- */

static int by_socket(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", job.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    fd_close(fd);
    return -1;
}

/* When the host is gone, what came last is worth a look. */
static void leave_trace(struct sender *s)
{
    _cleanup_(freep) char *path = mem_printf("%s.last-%u", job.file, s->number);
    FILE *f = fopen(path, "w");
    if (f) {
        fwrite(s->out.data, 1, s->out.size, f);
        fclose(f);
    }
    atomic_store(&job.failed, true);
}

enum way { KEPT, RAW, COMMAND, TLS };

/* A quarter by the local socket; but no commands, for those would be root's there. */
static int dial(struct sender *s, enum way way)
{
    bool tls = way == TLS;
    int fd =
        way <= RAW && s->number % 4 == 0 ? by_socket() : wire_connect(tls ? &job.tls : &job.plain);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    if (fd < 0)
        leave_trace(s);
    else
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static void note_stuck(struct sender *s, const char *what)
{
    if (job.stuck++ < 5)
        fprintf(stderr, "stormload: stuck %s, sent: %.300s\n", what, buf_str(&s->out));
}

/* More of the answers; false at the end of the connection. */
static bool hear(struct sender *s)
{
    char *at = buf_reserve(&s->in, 65536);
    ssize_t n = at ? recv(s->fd, at, 65536, 0) : -1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        note_stuck(s, "call");
    if (n > 0)
        buf_added(&s->in, (size_t)n);
    return n > 0;
}

/* Size of the answer that `in` begins with; 0 if it is not whole yet. */
static size_t answer_size(struct buf *in)
{
    const char *end = in->size ? memmem(in->data, in->size, "\r\n\r\n", 4) : NULL;
    if (!end)
        return 0;
    const char *length = strcasestr(in->data, "content-length:");
    uint64_t body = 0;
    if (length && length < end) {
        const char *stop = strstr(length, "\r\n");
        struct view v = view_trim((struct view){length + 15, (size_t)(stop - length) - 15});
        (void)!str_u64(v, 0, REPLY_MAX, &body);
    }
    size_t whole = (size_t)(end - in->data) + 4 + body;
    return in->size >= whole ? whole : 0;
}

static void take_answers(struct sender *s, unsigned expected)
{
    buf_clear(&s->in);
    for (unsigned n = 0; n < expected;) {
        size_t size = answer_size(&s->in);
        if (!size && !hear(s)) {
            job.closed++;
            fd_close(s->fd);
            s->fd = -1;
            return;
        }
        if (!size)
            continue;
        job.answered++;
        job.refused += strncmp(s->in.data, "HTTP/1.1 2", 10) != 0;
        n++;
        buf_consume(&s->in, size);
    }
}

static void send_batch(struct sender *s)
{
    if (s->fd < 0)
        s->fd = dial(s, KEPT);
    if (s->fd < 0)
        return;
    buf_clear(&s->out);
    for (unsigned i = 0; i < BATCH; i++)
        framed_request(s);
    job.sent += BATCH;
    (void)!fd_write_all(s->fd, s->out.data, s->out.size);
    take_answers(s, BATCH);
}

/* Whatever stands in `out`, on a connection of its own, to its end. */
static void send_alone(struct sender *s, enum way way, bool answer_first)
{
    char chunk[65536];
    ssize_t n;
    int fd = dial(s, way);
    if (fd < 0)
        return;
    job.sent++;
    (void)!send(fd, s->out.data, s->out.size, MSG_NOSIGNAL);
    if (!answer_first)
        shutdown(fd, SHUT_WR);
    else if (recv(fd, chunk, sizeof(chunk), 0) > 0)
        shutdown(fd, SHUT_WR);
    while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0 || (n < 0 && errno == EINTR))
        ;
    if (n < 0 && errno == EAGAIN)
        note_stuck(s, "connection");
    fd_close(fd);
}

/* ---- requests on connections of their own ---- */

static void raw(struct sender *s)
{
    framed_request(s);
    for (size_t n = 1 + below(s, 6); n; n--)
        mutate(s, &s->out);
    job.raw++;
    send_alone(s, RAW, false);
}

static void command(struct sender *s)
{
    buf_printf(&s->body, "%s\n", word(s, COMMANDS));
    for (size_t n = below(s, 4); n; n--)
        buf_printf(&s->body, "%s=%s\n", word(s, VALUES), any_text(s));
    buf_printf(&s->body, "session_id=%s\n", word(s, SESSIONS));
    mutate_some(s, &s->body);
    buf_printf(&s->out, "POST /cli HTTP/1.0\r\nContent-Length: %zu\r\n\r\n", s->body.size);
    buf_put(&s->out, s->body.data, s->body.size);
    buf_put(&s->out, "XenSource thin CLI protocol\0\0\0\0\0\2\0\0\0", 35);
    for (size_t n = below(s, 24); n; n--)
        buf_putc(&s->out, (char)chance(s));
    job.commands++;
    send_alone(s, COMMAND, below(s, 2));
}

static void stream(struct sender *s)
{
    static const char *const names[] = {"uuid",   "ref",  "vdi",   "task_id",
                                        "format", "json", "start", "cf"};
    bool ws = below(s, 4) == 0;
    buf_puts(&s->out, ws ? "GET /console" : word(s, HANDLERS));
    buf_printf(&s->out, "?session_id=%s", word(s, SESSIONS));
    for (size_t n = 1 + below(s, 3); n; n--) {
        buf_printf(&s->out, "&%s=", names[below(s, ARRAY_LEN(names))]);
        put_target(s, &s->out, "");
        buf_puts(&s->out, word(s, VALUES));
    }
    buf_puts(&s->out, " HTTP/1.1\r\nHost: h\r\n");
    if (ws)
        buf_puts(&s->out,
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    if (strncmp(s->out.data, "PUT", 3) == 0)
        buf_printf(&s->out, "Content-Length: %zu\r\n", below(s, 5000));
    buf_puts(&s->out, "\r\n");
    for (size_t n = below(s, 2000); n; n--)
        buf_putc(&s->out, (char)chance(s));
    if (below(s, 4) == 0)
        mutate_some(s, &s->out);
    job.streams++;
    send_alone(s, COMMAND, ws);
}

static void at_tls(struct sender *s)
{
    static const char hello[] = "\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03";
    buf_put(&s->out, hello, sizeof(hello) - 1);
    for (size_t n = below(s, 400); n; n--)
        buf_putc(&s->out, (char)chance(s));
    mutate_some(s, &s->out);
    job.tls_bytes++;
    send_alone(s, TLS, false);
}

/* ---- all of it ---- */

static void *sender_main(void *arg)
{
    struct sender *s = arg;
    buf_init(&s->out, (size_t)BATCH * REQUEST_MAX);
    buf_init(&s->body, REQUEST_MAX);
    buf_init(&s->in, REPLY_MAX + 65536);
    while (job.sent < job.requests && !job.failed && !ended) {
        for (unsigned i = 0; i < 4; i++)
            send_batch(s);
        for (unsigned i = 0; i < 4 && !job.failed; i++) {
            size_t kind = below(s, 16);
            buf_clear(&s->out);
            buf_clear(&s->body);
            s->out.full = s->body.full = false;
            if (kind < 10)
                raw(s);
            else if (kind < 13)
                command(s);
            else if (kind < 15)
                stream(s);
            else
                at_tls(s);
        }
    }
    fd_close(s->fd);
    buf_done(&s->out);
    buf_done(&s->body);
    buf_done(&s->in);
    return NULL;
}

static void report(FILE *to, double seconds)
{
    fprintf(
        to,
        "seconds=%.0f sent=%lu answered=%lu refused=%lu raw=%lu commands=%lu streams=%lu tls=%lu "
        "closed=%lu stuck=%lu\n",
        seconds, job.sent, job.answered, job.refused, job.raw, job.commands, job.streams,
        job.tls_bytes, job.closed, job.stuck);
}

static bool read_words(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[1024];
    while (f && fgets(line, sizeof(line), f)) {
        const char *kind = strchr(letters, *line);
        line[strcspn(line, "\n")] = '\0';
        if (kind && *line && line[1] == ' ')
            vec_push(&job.words[kind - letters], mem_strdup(line + 2));
    }
    if (f)
        fclose(f);
    return job.words[MESSAGES].n && job.words[SESSIONS].n;
}

static void on_signal(int signal)
{
    ended = 1;
}

static bool set_up(char **argv)
{
    job.file = argv[1];
    job.socket = argv[4];
    return read_words(argv[1]) && wire_address("127.0.0.1", argv[2], &job.plain) &&
           wire_address("127.0.0.1", argv[3], &job.tls) &&
           str_u64(view_of(argv[5]), 1, UINT32_MAX, &job.requests) == 0 &&
           str_u64(view_of(argv[6]), 1, 64, &job.threads) == 0 &&
           str_u64(view_of(argv[7]), 0, UINT32_MAX, &job.seed) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 8 || !set_up(argv)) {
        fputs("usage: stormload WORDS PORT TLS-PORT SOCKET REQUESTS THREADS SEED\n", stderr);
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    uint64_t start = wire_now_ns();
    struct sender *all = mem_new_n(struct sender, job.threads);
    for (unsigned i = 0; i < job.threads; i++) {
        all[i].number = i;
        all[i].fd = -1;
        all[i].state = (job.seed + 1) * 0x9e3779b97f4a7c15u + (i + 1) * 0xbf58476d1ce4e5b9u;
        if (pthread_create(&all[i].thread, NULL, sender_main, &all[i]) != 0)
            return 2;
    }
    for (unsigned tick = 1; job.sent < job.requests && !job.failed && !ended; tick++) {
        usleep(100000);
        if (tick % 100 == 0)
            report(stderr, (double)(wire_now_ns() - start) / 1e9);
    }
    for (unsigned i = 0; i < job.threads; i++)
        pthread_join(all[i].thread, NULL);
    report(stdout, (double)(wire_now_ns() - start) / 1e9);
    free(all);
    for (unsigned i = 0; i < WORDS; i++) {
        vec_each (w, &job.words[i])
            free(*w);
        vec_done(&job.words[i]);
    }
    return job.failed || job.stuck ? 1 : 0;
}
