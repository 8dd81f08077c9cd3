/* worker.c: see worker.h. */
#include "privd/worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "privd"
#include "base/fd.h"
#include "base/log.h"
#include "codec/json.h"
#include "privd/confine.h"
#include "privd/verbs.h"

#define ANSWER_MAX ((size_t)4 << 20)
#define TALK_S     10 /* to send a request, to take an answer */
#define PIECE      16384

void worker_put_error(struct buf *line, const char *text)
{
    _cleanup_(val_unrefp) struct val *answer = val_map();
    val_put_bool(answer, "ok", false);
    val_put_str(answer, "error", str_is_utf8(view_of(text)) ? text : "failed");
    json_put_val(line, answer);
    buf_putc(line, '\n');
}

static void prepare(int conn)
{
    struct timeval wait = {.tv_sec = TALK_S};
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(TALK_S);
    (void)setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(conn, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
}

/* One line, with nothing behind it. An empty buffer: the caller went away without a word. */
static struct err *read_line(int conn, struct buf *line)
{
    const char *end = NULL;
    while (!end) {
        char piece[PIECE];
        ssize_t n = recv(conn, piece, sizeof(piece), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 && !line->size)
            return NULL;
        if (n <= 0)
            return err_internal("the request is not whole");
        size_t before = line->size;
        buf_put(line, piece, (size_t)n);
        if (!buf_ok(line))
            return err_internal("the request is too large");
        end = memchr(line->data + before, '\n', (size_t)n);
    }
    if (end + 1 != line->data + line->size)
        return err_internal("a connection carries one request");
    return NULL;
}

static struct err *do_verb(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    const struct verb *v = r->verb;
    (void)alarm(p->seconds && p->seconds < v->seconds ? p->seconds : v->seconds);
    TRY(v->unconfined ? confine_release() : confine_verb(v->caps, v->runs_programs));
    return v->run(p, r, answer, ret_fd);
}

/* Milliseconds since `from`. */
static long since(const struct timespec *from)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - from->tv_sec) * 1000 + (now.tv_nsec - from->tv_nsec) / 1000000;
}

/* The error is taken over. */
static void tell(const struct request *r, const struct timespec *from, struct err *e,
                 struct val *answer, struct buf *line)
{
    const char *verb = r->verb ? r->verb->name : "none";
    if (e) {
        log_warn("event=refused verb=%s ms=%ld error='%s'", verb, since(from), err_param(e, 0));
        worker_put_error(line, err_param(e, 0));
        err_free(e);
        return;
    }
    log_info("event=done verb=%s ms=%ld", verb, since(from));
    val_put_bool(answer, "ok", true);
    json_put_val(line, answer);
    buf_putc(line, '\n');
}

static int answer(int conn, struct buf *line, int fd)
{
    if (!buf_ok(line)) {
        buf_clear(line);
        worker_put_error(line, "the answer is too large");
    }
    (void)alarm(TALK_S);
    int r = fd_send_fds(conn, line->data, line->size, &fd, fd >= 0);
    /* A caller that does not wait any more is no failure of ours. */
    return r < 0 && r != -EPIPE && r != -ECONNRESET ? WORKER_FAILED : WORKER_ANSWERED;
}

int worker_run(const struct place *p, int conn)
{
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    _cleanup_(buf_done) struct buf in;
    _cleanup_(buf_done) struct buf out;
    _cleanup_(request_done) struct request r = {0};
    _cleanup_(val_unrefp) struct val *map = val_map();
    _cleanup_(fd_closep) int fd = -1;
    buf_init(&in, REQUEST_SIZE_MAX);
    buf_init(&out, ANSWER_MAX);
    prepare(conn);
    struct err *e = confine_worker();
    if (!e)
        e = read_line(conn, &in);
    if (!e && !in.size)
        return WORKER_ANSWERED;
    if (!e)
        e = request_parse(verbs, (struct view){in.data, in.size}, &r);
    if (!e)
        e = do_verb(p, &r, map, &fd);
    tell(&r, &from, e, map, &out);
    return answer(conn, &out, fd);
}
