/*
 * control.c: connections to the control socket, and answers now or later. Called by diskd.c; loop's
 * thread. Owns the connections, the waiters, the disks' entries and the tasks.
 */
#include "disk/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "control"

#include "base/fd.h"
#include "base/log.h"
#include "disk/control_int.h"

#define MAX_LINE   (64u << 10)
#define MAX_OUT    (4u << 20)
#define PENDING_MS 800u

static void on_accept(struct ring_op *op, int res);
static void conn_new(struct control *ctl, int fd);
static void on_recv(struct ring_op *op, int res);
static void on_sent(struct ring_op *op, int res);
static void conn_line(struct conn *c, const char *line, size_t size);
static void conn_answer(struct conn *c, json_t *seq, json_t *result, const struct failure *fail);
static void conn_put(struct conn *c, json_t *answer);
static void conn_send(struct conn *c);
static void conn_close(struct conn *c);
static void conn_release(struct conn *c);
static void on_timer(struct ring_op *op, int res);
static void waiter_release(struct waiter *w);

#define CONTAINER(type, member, p) ((type *)((char *)(p)-offsetof(type, member)))

struct control *control_new(struct ring *ring, struct jobs *jobs, struct backend *backend,
                            int listen_fd)
{
    struct control *ctl = mem_new(struct control);
    ctl->ring = ring;
    ctl->jobs = jobs;
    ctl->backend = backend;
    ctl->listen_fd = listen_fd;
    ctl->accept.done = on_accept;
    if (listen_fd >= 0)
        ring_accept(ring, &ctl->accept, listen_fd);
    return ctl;
}

void control_end(struct control *ctl)
{
    ctl->is_ending = true;
    control_go_on_ending(ctl);
}

void control_hang_up(struct control *ctl)
{
    ctl->has_hung_up = true;
    if (ctl->listen_fd >= 0)
        (void)shutdown(ctl->listen_fd, SHUT_RDWR);
    for (struct conn *c = ctl->conns, *next; c; c = next) {
        next = c->next;
        conn_close(c);
    }
    vec_each (e, &ctl->entries)
        entry_free(*e);
    vec_done(&ctl->entries);
}

void control_free(struct control *ctl)
{
    if (!ctl)
        return;
    control_hang_up(ctl);
    vec_each (t, &ctl->tasks)
        task_free(*t);
    vec_done(&ctl->tasks);
    while (ctl->conns) {
        struct conn *c = ctl->conns;
        ctl->conns = c->next;
        fd_close(c->fd);
        buf_done(&c->in);
        buf_done(&c->out);
        buf_done(&c->on_the_way);
        free(c);
    }
    fd_close(ctl->listen_fd);
    free(ctl);
}

static void on_accept(struct ring_op *op, int res)
{
    struct control *ctl = CONTAINER(struct control, accept, op);
    if (ctl->has_hung_up) {
        fd_close(res);
        return;
    }
    if (res >= 0)
        conn_new(ctl, res);
    else
        log_warn("event=accept-failed error=%d", -res);
    ring_accept(ctl->ring, &ctl->accept, ctl->listen_fd);
}

static void conn_init(struct conn *c, struct control *ctl, int fd)
{
    *c = (struct conn){.ctl = ctl, .fd = fd};
    c->recv.done = on_recv;
    c->send.done = on_sent;
    buf_init(&c->in, MAX_LINE + 1);
    buf_init(&c->out, MAX_OUT);
    buf_init(&c->on_the_way, MAX_OUT);
}

static void conn_receive(struct conn *c)
{
    size_t size = c->in.max - c->in.size < 4096 ? c->in.max - c->in.size : 4096;
    c->is_receiving = true;
    ring_recv(c->ctl->ring, &c->recv, c->fd, buf_reserve(&c->in, size), size);
}

static void conn_new(struct control *ctl, int fd)
{
    struct conn *c = mem_new(struct conn);
    conn_init(c, ctl, fd);
    c->next = ctl->conns;
    ctl->conns = c;
    conn_receive(c);
}

static void on_recv(struct ring_op *op, int res)
{
    struct conn *c = CONTAINER(struct conn, recv, op);
    c->is_receiving = false;
    if (res <= 0 || c->is_closed) {
        conn_close(c);
        return;
    }
    buf_added(&c->in, (size_t)res);
    const char *end;
    while (c->in.size && (end = memchr(c->in.data, '\n', c->in.size))) {
        size_t size = (size_t)(end - c->in.data);
        conn_line(c, c->in.data, size);
        buf_consume(&c->in, size + 1);
    }
    if (c->in.size >= MAX_LINE) {
        log_warn("event=line-too-long");
        conn_close(c);
        return;
    }
    conn_receive(c);
}

static void conn_line(struct conn *c, const char *line, size_t size)
{
    json_error_t e;
    json_t *j = json_loadb(line, size, JSON_REJECT_DUPLICATES, &e);
    json_t *op = json_object_get(j, "op");
    struct call call = {.ctl = c->ctl, .conn = c};
    json_t *result = NULL;
    json_t *seq = json_incref(json_object_get(j, "seq"));
    call.seq = seq;
    call.args = j;
    if (!json_is_string(op)) {
        call.fail = (struct failure){.err = -EINVAL, .text = "a request is an object with 'op'"};
    } else {
        json_incref(op);
        (void)json_object_del(j, "op");
        (void)json_object_del(j, "seq");
        result = verb_run(&call, json_string_value(op));
        json_decref(op);
    }
    if (!call.is_deferred)
        conn_answer(c, seq, result, &call.fail);
    json_decref(result);
    json_decref(seq);
    json_decref(j);
}

static void conn_answer(struct conn *c, json_t *seq, json_t *result, const struct failure *fail)
{
    json_t *a = json_object();
    if (seq)
        (void)json_object_set(a, "seq", seq);
    (void)json_object_set_new(a, "ok", json_boolean(fail->err == 0));
    if (fail->err == 0) {
        (void)json_object_set_new(a, "result", result ? json_incref(result) : json_object());
    } else {
        const char *name = strerrorname_np(-fail->err);
        json_t *e = json_object();
        (void)json_object_set_new(e, "code", json_string(name ? name : "EIO"));
        json_t *text = json_string(fail->text);
        (void)json_object_set_new(e, "message", text ? text : json_string("failed"));
        if (fail->path)
            (void)json_object_set_new(e, "path", json_string(fail->path));
        (void)json_object_set_new(a, "error", e);
    }
    conn_put(c, a);
}

static void conn_put(struct conn *c, json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(answer);
    if (text && !c->is_closed) {
        buf_puts(&c->out, text);
        buf_putc(&c->out, '\n');
    }
    free(text);
    if (c->fd >= 0)
        conn_send(c);
}

static void conn_send(struct conn *c)
{
    if (c->is_closed || c->is_sending || c->out.size == 0)
        return;
    if (!buf_ok(&c->out)) {
        log_warn("event=client-does-not-read");
        conn_close(c);
        return;
    }
    struct buf empty = c->on_the_way;
    c->on_the_way = c->out;
    c->out = empty;
    c->iov = (struct iovec){c->on_the_way.data, c->on_the_way.size};
    c->msg = (struct msghdr){.msg_iov = &c->iov, .msg_iovlen = 1};
    c->is_sending = true;
    ring_sendmsg(c->ctl->ring, &c->send, c->fd, &c->msg);
}

static void on_sent(struct ring_op *op, int res)
{
    struct conn *c = CONTAINER(struct conn, send, op);
    c->is_sending = false;
    if (res <= 0 || c->is_closed) {
        conn_close(c);
        return;
    }
    buf_consume(&c->on_the_way, (size_t)res);
    if (c->on_the_way.size) {
        c->iov = (struct iovec){c->on_the_way.data, c->on_the_way.size};
        c->is_sending = true;
        ring_sendmsg(c->ctl->ring, &c->send, c->fd, &c->msg);
        return;
    }
    if (c->quits_after_send && c->out.size == 0)
        control_end(c->ctl);
    conn_send(c);
}

static void conn_close(struct conn *c)
{
    if (!c->is_closed && c->fd >= 0)
        (void)shutdown(c->fd, SHUT_RDWR);
    c->is_closed = true;
    conn_release(c);
}

static void conn_release(struct conn *c)
{
    if (!c->is_closed || c->is_receiving || c->is_sending || c->n_waiters)
        return;
    bool quits = c->quits_after_send;
    struct control *ctl = c->ctl;
    struct conn **p = &ctl->conns;
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    fd_close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out);
    buf_done(&c->on_the_way);
    free(c);
    if (quits)
        control_end(ctl);
}

void waiter_add(struct call *call, struct waiter **list)
{
    struct waiter *w = mem_new(struct waiter);
    w->ctl = call->ctl;
    w->conn = call->conn;
    w->seq = json_incref(call->seq);
    w->timer.done = on_timer;
    w->is_timing = true;
    w->next = *list;
    *list = w;
    w->conn->n_waiters++;
    ring_timer(w->ctl->ring, &w->timer, PENDING_MS);
    call->is_deferred = true;
}

static void on_timer(struct ring_op *op, int res)
{
    struct waiter *w = CONTAINER(struct waiter, timer, op);
    w->is_timing = false;
    if (!w->is_answered) {
        w->is_answered = true;
        json_t *a = json_object();
        if (w->seq)
            (void)json_object_set(a, "seq", w->seq);
        (void)json_object_set_new(a, "ok", json_true());
        (void)json_object_set_new(a, "pending", json_true());
        conn_put(w->conn, a);
    }
    waiter_release(w);
}

void waiters_end(struct waiter **list, json_t *result, const struct failure *fail)
{
    struct waiter *w = *list;
    *list = NULL;
    while (w) {
        struct waiter *next = w->next;
        if (!w->is_answered)
            conn_answer(w->conn, w->seq, result, fail);
        w->is_answered = w->is_ended = true;
        if (w->is_timing)
            ring_cancel(w->ctl->ring, &w->timer);
        waiter_release(w);
        w = next;
    }
}

void waiters_prune(struct waiter **list)
{
    while (*list) {
        struct waiter *w = *list;
        if (!w->is_answered) {
            list = &w->next;
            continue;
        }
        *list = w->next;
        w->is_ended = true;
        waiter_release(w);
    }
}

static void waiter_release(struct waiter *w)
{
    if (w->is_timing || !w->is_ended)
        return;
    struct conn *c = w->conn;
    json_decref(w->seq);
    free(w);
    c->n_waiters--;
    conn_release(c);
}

char *control_line(struct control *ctl, const char *line, size_t size)
{
    struct conn c;
    conn_init(&c, ctl, -1);
    conn_line(&c, line, size);
    char *text = c.out.size ? buf_take(&c.out) : NULL;
    buf_done(&c.in);
    buf_done(&c.out);
    buf_done(&c.on_the_way);
    return text;
}
