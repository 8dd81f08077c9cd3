/* smb_conn.c: see smb_conn.h. */
#include "disk/backend/smb_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/fd.h"
#include "codec/bytes.h"
#include "disk/ring.h"

#define PREFIX      4 /* bytes before a message: its size */
#define TICK_MS     100
#define PATIENCE_MS 30000 /* for one answer, where somebody waits */
#define LOGIN_MS    10000 /* from the first byte to the share */
#define QUIET_MS    5000  /* nothing heard: the server is asked whether it is there */
#define SILENCE_MS  20000 /* nothing heard: it is not */
#define CREDITS     256   /* that we like to have */
#define PART        (1u << 20)
#define ROOM        (1u << 16)            /* that is read at once */
#define UNIX_EPOCH  116444736000000000ull /* in units of 100 ns since 1601 */

enum stage { CONNECTING, NEGOTIATING, GREETING, PROVING, CHOOSING, READY, BROKEN };

struct smb_conn {
    const struct smb_place *place;
    uint64_t previous, session, next_message;
    uint32_t tree, credits, max_read, max_write;
    int fd, error;
    enum stage stage;
    bool must_sign, has_credits, is_proved;
    uint16_t dialect;
    uint64_t born_ms, heard_ms, asked_ms;
    struct smb_signer signer;
    uint8_t key[SMB_KEY];
    struct buf first, in;
    struct smb_call login, echo;
    bool is_echoing;
    struct smb_call *to_send, **to_send_end; /* the first may be sent in part */
    struct smb_call *sent;                   /* and not answered */
};

static uint64_t now_ms(void)
{
    return ring_now_us() / 1000;
}

/* ---- the end ---- */

static void end_all(struct smb_call *call)
{
    while (call) {
        struct smb_call *next = call->next;
        smb_call_end(call);
        call->done(call, -ENOTCONN, 0, (struct view){"", 0});
        call = next;
    }
}

static void fail(struct smb_conn *c, int error)
{
    if (c->stage == BROKEN)
        return;
    struct smb_call *unsent = c->to_send, *unanswered = c->sent;
    c->stage = BROKEN;
    c->error = error;
    c->to_send = c->sent = NULL;
    c->to_send_end = &c->to_send;
    fd_close(c->fd);
    c->fd = -1;
    end_all(unanswered);
    end_all(unsent);
}

void smb_conn_break(struct smb_conn *c)
{
    fail(c, -ENOTCONN);
}

void smb_conn_free(struct smb_conn *c)
{
    if (!c)
        return;
    fail(c, -ENOTCONN);
    smb_call_end(&c->login);
    smb_call_end(&c->echo);
    buf_done(&c->first);
    buf_done(&c->in);
    explicit_bzero(c->key, sizeof(c->key));
    explicit_bzero(&c->signer, sizeof(c->signer));
    free(c);
}

/* ---- sending ---- */

void smb_call_begin(struct smb_call *call, enum smb_command command)
{
    static const uint8_t head[PREFIX + SMB_HEAD];
    *call = (struct smb_call){.command = command};
    buf_init(&call->msg, PREFIX + SMB_MESSAGE_MAX);
    buf_put(&call->msg, head, sizeof(head));
}

void smb_call_end(struct smb_call *call)
{
    buf_done(&call->msg);
}

/* The header, now that the call has its turn. */
static int seal(struct smb_conn *c, struct smb_call *call)
{
    uint8_t *p = (uint8_t *)call->msg.data;
    size_t size = call->msg.size - PREFIX;
    struct smb_head h = {.charge = c->has_credits ? call->charge : 0,
                         .command = (uint16_t)call->command,
                         .credits = (uint16_t)(call->charge + (c->credits < CREDITS ? 32 : 0)),
                         .message = c->next_message,
                         .session = c->session,
                         .tree = c->tree};
    bool is_signed = c->signer.is_used;
    h.flags = is_signed ? SMB_FLAG_SIGNED : 0;
    call->message = c->next_message;
    c->next_message += call->charge;
    c->credits -= call->charge;
    put_be32(p, (uint32_t)size);
    smb_head_put(&h, p + PREFIX);
    return is_signed ? smb_signer_sign(&c->signer, p + PREFIX, size, p + PREFIX + 48) : 0;
}

static bool can_send(const struct smb_conn *c)
{
    const struct smb_call *call = c->to_send;
    return call && c->stage > CONNECTING && c->stage < BROKEN &&
           (call->sent || c->credits >= call->charge);
}

/* Takes the first from those to send, as all of it has gone. */
static void is_sent(struct smb_conn *c)
{
    struct smb_call *call = c->to_send;
    c->to_send = call->next;
    if (!c->to_send)
        c->to_send_end = &c->to_send;
    if (!c->sent)
        c->heard_ms = now_ms(); /* the silence begins */
    call->next = c->sent;
    c->sent = call;
    smb_call_end(call);
}

/* 0: it went, or the socket is full. */
static int push(struct smb_conn *c, struct smb_call *call)
{
    ssize_t n = send(c->fd, call->msg.data + call->sent, call->msg.size - call->sent, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    call->sent += (size_t)n;
    return 0;
}

static void flush(struct smb_conn *c)
{
    int r = 0;
    while (r == 0 && can_send(c)) {
        struct smb_call *call = c->to_send;
        size_t before = call->sent;
        if (before == 0)
            r = seal(c, call);
        if (r == 0)
            r = push(c, call);
        if (r == 0 && call->sent == 0) {
            /* Nothing went: it is sealed anew when it can. */
            c->next_message -= call->charge;
            c->credits += call->charge;
        }
        if (r == 0 && call->sent < call->msg.size)
            return;
        if (r == 0)
            is_sent(c);
    }
    /* Who gives no credits while nothing is under way will never give any. */
    if (r == 0 && c->to_send && !c->sent && !can_send(c) && c->stage > CONNECTING)
        r = -EPROTO;
    if (r < 0)
        fail(c, r);
}

/* An earlier one comes before it only while the login lasts. */
static void enqueue(struct smb_conn *c, struct smb_call *call)
{
    uint32_t credits = call->payload ? (call->payload - 1) / SMB_CREDIT + 1 : 1;
    call->charge = (uint16_t)credits;
    call->sent = 0;
    call->next = NULL;
    if (c->stage == BROKEN || !buf_ok(&call->msg)) {
        smb_call_end(call);
        call->done(call, c->stage == BROKEN ? -ENOTCONN : -EINVAL, 0, (struct view){"", 0});
        return;
    }
    *c->to_send_end = call;
    c->to_send_end = &call->next;
}

void smb_conn_call(struct smb_conn *c, struct smb_call *call)
{
    enqueue(c, call);
    flush(c);
}

/* ---- login ---- */

static void on_negotiated(struct smb_call *call, int err, uint32_t status, struct view answer);
static void on_greeted(struct smb_call *call, int err, uint32_t status, struct view answer);
static void on_proved(struct smb_call *call, int err, uint32_t status, struct view answer);
static void on_chosen(struct smb_call *call, int err, uint32_t status, struct view answer);

static struct smb_call *step(struct smb_conn *c, enum stage stage, enum smb_command command,
                             void (*done)(struct smb_call *, int, uint32_t, struct view))
{
    c->stage = stage;
    smb_call_begin(&c->login, command);
    c->login.done = done;
    c->login.arg = c;
    return &c->login;
}

static void negotiate(struct smb_conn *c)
{
    uint8_t guid[16];
    str_random(guid, sizeof(guid)); /* another each time: servers may join connections of one */
    struct smb_call *call = step(c, NEGOTIATING, SMB_NEGOTIATE, on_negotiated);
    smb_put_negotiate(&call->msg, guid, c->place->login.user);
    enqueue(c, call);
}

static void on_negotiated(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_conn *c = call->arg;
    struct smb_negotiated n = {.dialect = 0};
    if (err == -ENOTCONN)
        return;
    int r = status == SMB_OK ? smb_parse_negotiate(answer, &n) : -EPROTONOSUPPORT;
    if (r < 0) {
        fail(c, r);
        return;
    }
    c->dialect = n.dialect;
    c->must_sign = n.must_sign || c->place->login.user;
    c->has_credits = n.has_credits;
    uint32_t most = n.has_credits ? PART : SMB_CREDIT;
    c->max_read = n.max_read < most ? n.max_read : most;
    c->max_write = n.max_write < most ? n.max_write : most;
    struct smb_call *next = step(c, GREETING, SMB_SESSION_SETUP, on_greeted);
    buf_clear(&c->first);
    smb_auth_begin(&c->first);
    smb_put_session(&next->msg, (struct view){c->first.data, c->first.size}, c->must_sign,
                    c->previous);
    enqueue(c, next);
}

static struct smb_flavour flavour(void)
{
    struct smb_flavour f;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    str_random(f.random, sizeof(f.random));
    f.time = (uint64_t)t.tv_sec * 10000000u + (uint64_t)t.tv_nsec / 100 + UNIX_EPOCH;
    return f;
}

static void on_greeted(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_conn *c = call->arg;
    struct smb_session s = {.is_guest = false};
    _cleanup_(buf_done) struct buf token = {.data = NULL};
    if (err == -ENOTCONN)
        return;
    buf_init(&token, 32768);
    int r = status == SMB_MORE_PROCESSING ? smb_parse_session(answer, &s)
            : status == SMB_OK            ? -EBADMSG
                                          : smb_errno(status);
    struct smb_flavour f = flavour();
    if (r == 0)
        r = smb_auth_answer(&c->place->login, (struct view){c->first.data, c->first.size}, s.token,
                            &f, &token, c->key);
    if (r < 0) {
        fail(c, r);
        return;
    }
    struct smb_call *next = step(c, PROVING, SMB_SESSION_SETUP, on_proved);
    smb_put_session(&next->msg, (struct view){token.data, token.size}, c->must_sign, c->previous);
    enqueue(c, next);
}

/* The server has proved that it knows the password, too, when its answer is signed rightly. */
static int check_proof(struct smb_conn *c, struct view answer)
{
    struct smb_head h;
    struct smb_session s;
    uint8_t sum[SMB_SIGNATURE];
    int r = smb_parse_session(answer, &s);
    if (r == 0)
        r = smb_head_parse(answer.p, answer.size, &h);
    if (r < 0 || s.must_encrypt)
        return r < 0 ? r : -ENOTSUP;
    if (!c->place->login.user)
        return 0;
    if (s.is_guest)
        return -EKEYREJECTED; /* it knows nobody of that name */
    r = smb_signer_make(&c->signer, c->dialect, c->key);
    if (r == 0)
        r = smb_signer_sign(&c->signer, answer.p, answer.size, sum);
    if (r == 0 && (!(h.flags & SMB_FLAG_SIGNED) || memcmp(sum, answer.p + 48, sizeof(sum)) != 0))
        r = -EBADMSG;
    return r;
}

static void on_proved(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_conn *c = call->arg;
    if (err == -ENOTCONN)
        return;
    int r = status == SMB_OK                ? check_proof(c, answer)
            : status == SMB_MORE_PROCESSING ? -EBADMSG
                                            : smb_errno(status);
    if (r < 0) {
        fail(c, r == -EACCES ? -EKEYREJECTED : r);
        return;
    }
    struct smb_call *next = step(c, CHOOSING, SMB_TREE_CONNECT, on_chosen);
    smb_put_tree(&next->msg, c->place->address, c->place->share);
    enqueue(c, next);
}

static void on_chosen(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_conn *c = call->arg;
    struct smb_head h = {.tree = 0};
    bool must_encrypt = false;
    if (err == -ENOTCONN)
        return;
    int r = status == SMB_OK ? smb_parse_tree(answer, &must_encrypt) : smb_errno(status);
    if (r == 0 && must_encrypt)
        r = -ENOTSUP;
    if (r == 0)
        r = smb_head_parse(answer.p, answer.size, &h);
    if (r < 0) {
        fail(c, r);
        return;
    }
    c->tree = h.tree;
    c->stage = READY;
}

/* ---- receiving ---- */

/* Whatever is signed must be signed rightly, and everything must be once we can tell. */
static int check_signature(const struct smb_conn *c, const struct smb_head *h, struct view msg)
{
    uint8_t sum[SMB_SIGNATURE];
    if (!c->signer.is_used || h->status == SMB_PENDING)
        return 0;
    int r = smb_signer_sign(&c->signer, msg.p, msg.size, sum);
    if (r == 0 && (!(h->flags & SMB_FLAG_SIGNED) || memcmp(sum, msg.p + 48, sizeof(sum)) != 0))
        r = -EBADMSG;
    return r;
}

static struct smb_call *take_answered(struct smb_conn *c, const struct smb_head *h)
{
    for (struct smb_call **at = &c->sent; *at; at = &(*at)->next) {
        struct smb_call *call = *at;
        if (call->message != h->message)
            continue;
        if (h->status == SMB_PENDING && h->flags & SMB_FLAG_ASYNC)
            return NULL;
        *at = call->next;
        call->next = NULL;
        return call;
    }
    return NULL;
}

static void on_message(struct smb_conn *c, struct view msg)
{
    struct smb_head h;
    int r = smb_head_parse(msg.p, msg.size, &h);
    if (r == 0 && h.message == UINT64_MAX)
        return; /* the server tells something nobody asked for */
    if (r == 0)
        r = h.next ? -EBADMSG : check_signature(c, &h, msg);
    if (r < 0) {
        fail(c, r);
        return;
    }
    c->heard_ms = now_ms();
    c->credits += h.credits;
    if (c->credits > UINT16_MAX)
        c->credits = UINT16_MAX;
    struct smb_call *call = take_answered(c, &h);
    if (!call)
        return;
    if (call->command != h.command) {
        call->next = c->sent;
        c->sent = call;
        fail(c, -EBADMSG);
        return;
    }
    if (c->stage == GREETING)
        c->session = h.session;
    call->done(call, 0, h.status, msg);
}

/* A whole message is in the buffer, or more; those that are done with are dropped together. */
static void take_messages(struct smb_conn *c)
{
    size_t at = 0;
    while (c->stage != BROKEN && c->in.size - at >= PREFIX) {
        uint32_t size = get_be32(c->in.data + at);
        if (size < SMB_HEAD || size > SMB_MESSAGE_MAX) {
            fail(c, -EBADMSG);
            return;
        }
        if (c->in.size - at - PREFIX < size)
            break;
        on_message(c, (struct view){c->in.data + at + PREFIX, size});
        at += PREFIX + size;
    }
    buf_consume(&c->in, at);
}

/* How much more is worth reading: to the end of the message that has begun. */
static size_t wanted(const struct smb_conn *c)
{
    size_t size = c->in.size >= PREFIX ? get_be32(c->in.data) : 0;
    size_t rest = size > c->in.size ? size + PREFIX - c->in.size : 0;
    return rest > ROOM && rest < SMB_MESSAGE_MAX ? rest : ROOM;
}

static void receive(struct smb_conn *c)
{
    while (c->stage != BROKEN) {
        size_t room = wanted(c);
        char *p = buf_reserve(&c->in, room);
        ssize_t n = p ? recv(c->fd, p, room, 0) : -1;
        if (!p || n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            fail(c, !p ? -ENOMEM : -ENOTCONN);
            return;
        }
        if (n < 0)
            return;
        buf_added(&c->in, (size_t)n);
        take_messages(c);
        if ((size_t)n < room)
            return;
    }
}

/* ---- the socket ---- */

static int make_socket(const struct smb_place *p)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(p->port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(p->port)};
    bool is_four = inet_pton(AF_INET, p->address, &four.sin_addr) == 1;
    unsigned silence = SILENCE_MS;
    int one = 1;
    if (!is_four && inet_pton(AF_INET6, p->address, &six.sin6_addr) != 1)
        return -EINVAL;
    int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
    const struct sockaddr *to = is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;
    if (connect(fd, to, is_four ? sizeof(four) : sizeof(six)) < 0 && errno != EINPROGRESS) {
        int r = -errno;
        fd_close(fd);
        return r;
    }
    return fd;
}

struct smb_conn *smb_conn_new(const struct smb_place *place, uint64_t previous)
{
    struct smb_conn *c = mem_new(struct smb_conn);
    *c = (struct smb_conn){.place = place, .previous = previous, .credits = 1, .fd = -1};
    c->to_send_end = &c->to_send;
    c->born_ms = c->heard_ms = now_ms();
    buf_init(&c->first, 1024);
    buf_init(&c->in, PREFIX + SMB_MESSAGE_MAX + ROOM);
    int fd = make_socket(place);
    if (fd < 0)
        fail(c, -EHOSTUNREACH);
    else
        c->fd = fd;
    return c;
}

static void connected(struct smb_conn *c)
{
    int err = 0;
    socklen_t size = sizeof(err);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0 || err)
        fail(c, -EHOSTUNREACH);
    else
        negotiate(c);
}

static void on_echo(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_conn *c = call->arg;
    (void)err, (void)status, (void)answer;
    c->is_echoing = false;
}

static void on_tick(struct smb_conn *c)
{
    uint64_t now = now_ms();
    if (c->stage < READY && now - c->born_ms > LOGIN_MS)
        fail(c, -EHOSTUNREACH);
    if (c->stage != READY || !c->sent)
        return;
    if (now - c->heard_ms > SILENCE_MS) {
        fail(c, -ENOTCONN);
    } else if (now - c->heard_ms > QUIET_MS && !c->is_echoing) {
        c->is_echoing = true;
        smb_call_begin(&c->echo, SMB_ECHO);
        c->echo.done = on_echo;
        c->echo.arg = c;
        smb_put_echo(&c->echo.msg);
        enqueue(c, &c->echo);
    }
}

void smb_conn_service(struct smb_conn *c, short events)
{
    if (c->stage == CONNECTING && events)
        connected(c);
    else if (c->stage != BROKEN && events & (POLLIN | POLLHUP | POLLERR))
        receive(c);
    if (events == 0)
        on_tick(c);
    if (c->stage != BROKEN)
        flush(c);
}

int smb_conn_fd(const struct smb_conn *c)
{
    return c->fd;
}

short smb_conn_events(const struct smb_conn *c)
{
    bool writes = c->stage == CONNECTING || can_send(c);
    return (short)(POLLIN | (writes ? POLLOUT : 0));
}

enum smb_conn_state smb_conn_state(const struct smb_conn *c)
{
    return c->stage == BROKEN  ? SMB_CONN_BROKEN
           : c->stage == READY ? SMB_CONN_READY
                               : SMB_CONN_MAKING;
}

int smb_conn_error(const struct smb_conn *c)
{
    return c->error;
}

uint64_t smb_conn_session(const struct smb_conn *c)
{
    return c->stage == READY || c->tree ? c->session : c->previous;
}

uint32_t smb_conn_max_read(const struct smb_conn *c)
{
    return c->max_read;
}

uint32_t smb_conn_max_write(const struct smb_conn *c)
{
    return c->max_write;
}

/* ---- waiting ---- */

void smb_conn_poll(struct smb_conn *c)
{
    struct pollfd p = {.fd = c->fd, .events = smb_conn_events(c)};
    int n = poll(&p, 1, TICK_MS);
    smb_conn_service(c, n > 0 ? p.revents : 0);
}

int smb_conn_wait(struct smb_conn *c)
{
    while (smb_conn_state(c) == SMB_CONN_MAKING)
        smb_conn_poll(c);
    return smb_conn_state(c) == SMB_CONN_READY ? 0 : smb_conn_error(c);
}

struct answer {
    bool is_done;
    int err;
    uint32_t status;
    struct buf *to;
};

static void on_answer(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct answer *a = call->arg;
    a->is_done = true;
    a->err = err;
    a->status = status;
    if (a->to && err == 0)
        buf_put(a->to, answer.p, answer.size);
}

int smb_conn_ask(struct smb_conn *c, struct smb_call *call, struct buf *ret, uint32_t *ret_status)
{
    struct answer a = {.to = ret};
    uint64_t end = now_ms() + PATIENCE_MS;
    call->done = on_answer;
    call->arg = &a;
    smb_conn_call(c, call);
    while (!a.is_done && now_ms() < end)
        smb_conn_poll(c);
    if (!a.is_done)
        smb_conn_break(c); /* ends the call */
    if (ret_status)
        *ret_status = a.status;
    if (a.err == 0 && ret && !buf_ok(ret))
        return -EBADMSG;
    return a.err ? a.err : smb_errno(a.status);
}
