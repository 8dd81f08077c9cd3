/*
 * qmp.c: requests and events of one QEMU monitor.
 *
 *     handshake --greeting--> capabilities --return--> ready --end of input, bad input--> closed
 *
 * The loop's thread reads, writes and parses; threads that call wait on a condition for their
 * answer. The mutex is a leaf and guards `state`, `why` and the list of what waits.
 */
#include "host/qmp.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/vec.h"
#include "codec/json.h"
#include "host/mon.h"

#undef LOG_MODULE
#define LOG_MODULE     "qmp"

#define LINE_MAX_BYTES (8U << 20)

enum qmp_state { QMP_GREETING, QMP_CAPABILITIES, QMP_READY, QMP_CLOSED };

struct qmp_call {
    struct qmp *q;
    int64_t id;
    struct buf line;
    int fd;
    bool done;
    struct val *answer; /* the whole answer; NULL with done: the connection ended */
};

struct qmp {
    struct loop *loop;
    int fd;
    struct loop_fd *watch;
    qmp_event_fn on_event;
    qmp_close_fn on_close;
    void *arg;
    struct buf in;

    pthread_mutex_t lock;
    pthread_cond_t cond;
    enum qmp_state state;
    char *why;
    int64_t next_id;
    VEC(struct qmp_call *) waiting;
};

static void on_input(void *arg, int fd, unsigned events);

static void set_state(struct qmp *q, enum qmp_state state)
{
    pthread_mutex_lock(&q->lock);
    q->state = state;
    pthread_cond_broadcast(&q->cond);
    pthread_mutex_unlock(&q->lock);
}

void qmp_hangup(struct qmp *q, const char *why)
{
    pthread_mutex_lock(&q->lock);
    bool was_open = q->state != QMP_CLOSED;
    q->state = QMP_CLOSED;
    if (was_open)
        q->why = mem_strdup(why);
    vec_each (c, &q->waiting)
        (*c)->done = true;
    q->waiting.n = 0;
    pthread_cond_broadcast(&q->cond);
    pthread_mutex_unlock(&q->lock);
    loop_fd_del(q->watch);
    q->watch = NULL;
    if (was_open && q->on_close)
        q->on_close(q->arg);
}

static void send_line(struct qmp *q, const void *p, size_t size, int fd)
{
    bool sent = fd >= 0 ? fd_send_fds(q->fd, p, size, &fd, 1) == 0
                        : send(q->fd, p, size, MSG_NOSIGNAL) == (ssize_t)size;
    if (!sent)
        qmp_hangup(q, "QEMU takes no more requests");
}

static void take_answer(struct qmp *q, struct val *answer)
{
    const struct val *id = val_map_get(answer, "id");
    struct val *dropped = answer;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; id && val_kind(id) == VAL_INT && i < q->waiting.n; i++) {
        struct qmp_call *c = q->waiting.v[i];
        if (c->id != val_get_int(id))
            continue;
        c->answer = steal(&dropped);
        c->done = true;
        vec_remove(&q->waiting, i);
        pthread_cond_broadcast(&q->cond);
        break;
    }
    pthread_mutex_unlock(&q->lock);
    val_unref(dropped);
}

static void take_event(struct qmp *q, const struct val *v)
{
    const struct val *data = val_map_get(v, "data");
    bool fits = data && val_kind(data) == VAL_MAP;
    const struct val *name = val_map_get(v, "event");
    if (val_kind(name) == VAL_STRING && q->on_event)
        q->on_event(q->arg, val_get_str(name), fits ? data : val_empty_map());
}

static void take_line(struct qmp *q, struct view line)
{
    static const char capabilities[] = "{\"execute\":\"qmp_capabilities\"}\n";
    _cleanup_(val_unrefp) struct val *v = NULL;
    if (!view_trim(line).size)
        return;
    if (json_parse(line, &v) < 0 || val_kind(v) != VAL_MAP) {
        qmp_hangup(q, "QEMU said what is no JSON object");
        return;
    }
    if (q->state == QMP_GREETING && val_map_get(v, "QMP")) {
        set_state(q, QMP_CAPABILITIES);
        send_line(q, capabilities, strlen(capabilities), -1);
    } else if (q->state == QMP_CAPABILITIES && val_map_get(v, "return")) {
        set_state(q, QMP_READY);
    } else if (val_map_get(v, "event")) {
        take_event(q, v);
    } else {
        take_answer(q, steal(&v));
    }
}

static void take_lines(struct qmp *q)
{
    char *end;
    while (q->state != QMP_CLOSED && q->in.size && (end = memchr(q->in.data, '\n', q->in.size))) {
        size_t size = (size_t)(end - q->in.data);
        _cleanup_(freep) char *line = mem_strndup(q->in.data, size);
        buf_consume(&q->in, size + 1);
        take_line(q, view_of(line));
    }
}

static void on_input(void *arg, int fd, unsigned events)
{
    struct qmp *q = arg;
    char room[16384];
    ssize_t got = read(fd, room, sizeof(room));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        qmp_hangup(q, "QEMU has closed its monitor");
        return;
    }
    buf_put(&q->in, room, (size_t)got);
    if (!buf_ok(&q->in))
        qmp_hangup(q, "QEMU said a line without end");
    else
        take_lines(q);
}

void qmp_drain(struct qmp *q)
{
    while (q && q->state != QMP_CLOSED) {
        size_t before = q->in.size;
        char room[16384];
        ssize_t got = recv(q->fd, room, sizeof(room), MSG_DONTWAIT);
        if (got <= 0)
            return;
        buf_put(&q->in, room, (size_t)got);
        take_lines(q);
        if (!buf_ok(&q->in) && q->in.size >= before)
            return;
    }
}

static void start(void *arg)
{
    struct qmp *q = arg;
    q->watch = loop_fd_add(q->loop, q->fd, LOOP_READ, on_input, q);
}

static struct err *closed(struct qmp *q)
{
    return err_errno(EPIPE, "%s", q->why ? q->why : "QEMU has gone");
}

struct err *qmp_open(struct loop *l, int fd, qmp_event_fn on_event, qmp_close_fn on_close,
                     void *arg, usec_t deadline, struct qmp **ret)
{
    struct qmp *q = mem_new(struct qmp);
    q->loop = l;
    q->fd = fd;
    q->on_event = on_event;
    q->on_close = on_close;
    q->arg = arg;
    buf_init(&q->in, LINE_MAX_BYTES);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->cond, NULL);
    (void)fd_set_nonblocking(fd);
    mon_run(l, start, q);
    pthread_mutex_lock(&q->lock);
    bool in_time = true;
    while (q->state < QMP_READY && in_time)
        in_time = clock_wait(&q->cond, &q->lock, deadline);
    enum qmp_state state = q->state;
    pthread_mutex_unlock(&q->lock);
    if (state == QMP_READY) {
        *ret = q;
        return NULL;
    }
    struct err *e = state == QMP_CLOSED
                        ? closed(q)
                        : err_errno(ETIMEDOUT, "QEMU's monitor gives no greeting in time");
    q->on_close = NULL;
    qmp_close(q);
    return e;
}

static void send_call(void *arg)
{
    struct qmp_call *c = arg;
    struct qmp *q = c->q;
    pthread_mutex_lock(&q->lock);
    bool open = q->state == QMP_READY;
    if (open)
        vec_push(&q->waiting, c);
    else
        c->done = true;
    pthread_mutex_unlock(&q->lock);
    if (open)
        send_line(q, c->line.data, c->line.size, c->fd);
}

/* Waits for the answer; at the deadline the call is taken off the list. */
static bool wait_answer(struct qmp_call *c, usec_t deadline)
{
    struct qmp *q = c->q;
    pthread_mutex_lock(&q->lock);
    bool in_time = true;
    while (!c->done && in_time)
        in_time = clock_wait(&q->cond, &q->lock, deadline);
    for (size_t i = 0; !c->done && i < q->waiting.n; i++) {
        if (q->waiting.v[i] == c) {
            vec_remove(&q->waiting, i);
            break;
        }
    }
    bool done = c->done;
    pthread_mutex_unlock(&q->lock);
    return done;
}

static struct err *read_answer(struct qmp_call *c, const char *command, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *answer = steal(&c->answer);
    if (!answer)
        return err_wrap(closed(c->q), "QMP command '%s'", command);
    const struct val *error = val_map_get(answer, "error");
    if (error)
        return err_internal("QEMU refused '%s': %s", command,
                            val_kind(error) == VAL_MAP ? val_map_str(error, "desc", "?") : "?");
    const struct val *result = val_map_get(answer, "return");
    if (ret)
        *ret = val_ref(result ? result : val_empty_map());
    return NULL;
}

struct err *qmp_call(struct qmp *q, const char *command, struct val *args, int fd, usec_t deadline,
                     struct val **ret)
{
    struct qmp_call c = {.q = q, .fd = fd};
    pthread_mutex_lock(&q->lock);
    c.id = ++q->next_id;
    pthread_mutex_unlock(&q->lock);
    _cleanup_(val_unrefp) struct val *request = val_map();
    val_put_str(request, "execute", command);
    if (args)
        val_put(request, "arguments", args);
    val_put_int(request, "id", c.id);
    buf_init(&c.line, LINE_MAX_BYTES);
    json_put_val(&c.line, request);
    buf_putc(&c.line, '\n');
    mon_run(q->loop, send_call, &c);
    bool done = wait_answer(&c, deadline);
    buf_done(&c.line);
    if (!done)
        return err_errno(ETIMEDOUT, "QEMU gives no answer to '%s' in time", command);
    log_debug("event=call command=%s", command);
    return read_answer(&c, command, ret);
}

static void end(void *arg)
{
    struct qmp *q = arg;
    q->on_close = NULL;
    q->on_event = NULL;
    qmp_hangup(q, "closed");
    fd_close(q->fd);
}

void qmp_close(struct qmp *q)
{
    if (!q)
        return;
    mon_run(q->loop, end, q);
    buf_done(&q->in);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->cond);
    vec_done(&q->waiting);
    free(q->why);
    free(q);
}
