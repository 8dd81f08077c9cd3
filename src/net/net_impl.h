/*
 * net_impl.h: what the files of this folder share. Private to it.
 *
 *            accept (thread 0)                     NET_TAKEOVER
 *   listen ─────────────────────► conn ──────────────────────────► stream ──► relay (+ ws)
 *                                  │ ▲   head, tls, bytes so far   (thread)    (loop)
 *                     NET_RPC, ... ▼ │
 *                               reply (any thread)
 *
 * A conn, a relay and what they hold belong to one net thread. A reply is shared between its conn
 * and who owes the answer: two references, the fields behind `conn` are the net thread's. A stream
 * belongs to the thread that runs its handler.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "base/vec.h"
#include "net/net.h"

#define SIMPLE_BODY_MAX 65536
#define SLOWEST         16384 /* bytes per second that a transfer has to make on the whole */
#define SEND_CHUNK      65536 /* encrypted or relayed at a time */

struct conn;
struct relay;

/* One net thread. Outlives its loop while a reply refers to it. */
struct net_thread {
    struct net *net; /* valid while open */
    atomic_uint refs;
    struct mutex lock;
    struct loop *loop;      /* valid while open */
    bool open;              /* under lock */
    struct conn *conns;     /* of the local socket and of those who are known */
    struct conn *strangers; /* the latest first */
    struct relay *relays;
};
bool net_thread_is_mine(const struct net_thread *t); /* does the caller run on it? */
/* Posts to the thread; false when it has ended. Any thread. */
bool net_thread_post(struct net_thread *t, const char *name, loop_fn fn, void *arg);
void net_thread_unref(struct net_thread *t);

struct listener {
    struct net *net;
    int fd;
    enum net_peer_kind kind;
    struct tls_context *tls;
    char *unix_path; /* to be removed; NULL */
    struct loop_fd *watch;
    struct loop_timer *pause; /* while the process has no descriptors left */
};

struct net_reply;

struct net {
    struct net_config config; /* defaults filled in */
    struct net_route files;   /* the route of config.web_root */
    struct net_thread **threads;
    unsigned next_thread; /* for the next connection; thread 0 only */
    struct mutex lock;    /* of what follows, up to the counters */
    VEC(struct listener *) listeners;
    struct peers *peers; /* strangers' connections by address, local ones left out */
    unsigned n_peers;    /* of strangers, the local ones too */
    unsigned n_known;

    pthread_cond_t work; /* streams: a queue, or the end */
    struct net_stream *queue, **queue_end;
    struct net_stream *streams; /* all of them, queued ones too */
    VEC(pthread_t) workers;
    unsigned idle_workers, n_queued, n_strange_streams;
    bool stopping;
    atomic_bool refusing; /* net_stop() was called */

    atomic_ulong next_serial; /* of a connection */
    atomic_size_t n_held;     /* bytes in the buffers of strangers' connections */
    atomic_ulong n_requests, n_owed, n_refused, n_evicted;
    atomic_ulong *route_requests; /* by number of the route; the last: files */
    atomic_uint tls_port;         /* of the first socket with TLS; 0: there is none */
    atomic_bool https_only;
};

/* secure.c: the request is answered by a redirection or a refusal, and has its answer. */
bool secure_turn_away(struct net *n, struct net_reply *r);

/* listen.c: a connection is counted from its acceptance to net_peer_leave(); among the strangers'
 * until net_peer_known(). */
void net_peer_leave(struct net *n, const struct net_peer *peer);
void net_peer_known(struct net *n, struct net_peer *peer);

/* ---- peers.c ---- */

struct peers;
/* Whom the limits count together with that address: itself, of IPv6 its /64. */
void peers_crowd(const char *address, char out[NET_CROWD_SIZE]);
struct peers *peers_new(unsigned limit); /* of connections in all */
void peers_free(struct peers *p);        /* NULL is fine */
unsigned peers_count(struct peers *p, const char *crowd);
void peers_add(struct peers *p, const char *crowd);
void peers_remove(struct peers *p, const char *crowd);
const char *peers_most_crowded(const struct peers *p); /* "" if there is nobody */
unsigned peers_n_places(const struct peers *p);

/* ---- conn.c ---- */

/* A fresh connection; conn_send_off() starts it on its thread. */
struct conn *conn_new(struct net *n, struct net_thread *t, int fd, const struct net_peer *peer,
                      struct tls_context *tls);
void conn_send_off(struct conn *c);
/* A connection that has only this left to say. Whatever still comes is dropped for a while, because
 * closing with bytes unread would destroy the answer on its way. Any thread; takes everything over,
 * `rest` (may be NULL) is empty afterwards. */
void conn_finish(struct net_thread *t, int fd, struct tls *tls, const struct net_peer *peer,
                 struct buf *rest, const struct net_file *file);
uint64_t conn_serial(const struct conn *c);
void conn_close(struct conn *c);
/* The owed answer arrived (or the reply was dropped). */
void conn_answer(struct conn *c, struct net_reply *r);
/* The owed answer comes in pieces: sends one more. */
void conn_feed(struct conn *c, const void *p, size_t size);
bool conn_is_drained(const struct conn *c);
void conn_known(struct conn *c);
/* Closes the connection of a stranger in that crowd ("": any) that can be done without best, of
 * those made before number `before` and not younger than `age`; false if this thread has none. */
bool conn_evict(struct net_thread *t, const char *crowd, uint64_t before, usec_t age);

/* ---- reply.c ---- */

struct net_reply {
    atomic_uint refs;
    struct net_thread *thread;
    const struct net_route *route; /* NULL before one is found */
    struct net_request req;
    struct http_head head;
    char *text; /* of the head; the views of `head` point into it */
    char *method, *path;
    struct buf body; /* of the request */

    struct conn *conn;      /* NULL: gone */
    atomic_bool given_back; /* the answer is on its way: leaving is no news any more */
    loop_fn gone;
    void *gone_arg;

    bool begun;      /* the answer comes in pieces: net_reply_begin() */
    loop_fn drained; /* of such an answer; NULL: nobody asks */
    void *drained_arg;

    unsigned status; /* the answer; 0: drop */
    struct buf answer_head, answer_body;
};
/* Parses a head; *ret_status is what to refuse with, 0 if nothing. Always returns an object. */
struct net_reply *reply_new(struct net_thread *t, const struct net_peer *peer, struct view head,
                            unsigned *ret_status);
void reply_unref(struct net_reply *r);
/* The client left: tells who owes the answer. Drops the conn's reference. */
void reply_gone(struct net_reply *r);
/* An answer of our own, while nobody else owes it. */
void reply_set_error(struct net_reply *r, unsigned status, const char *why);
void reply_set_options(struct net_reply *r); /* a CORS preflight's */

/* Appends a head. length < 0: none is told. */
void put_answer_head(struct buf *b, unsigned status, int64_t length, bool keep_alive,
                     const char *content_type, bool cors, const struct net_header *headers,
                     unsigned n_headers);
void put_error_page(struct buf *b, unsigned status, const char *why);

/* ---- stream.c ---- */

struct net_stream {
    struct net *net;
    struct net_thread *thread;
    struct net_reply *request;
    int fd;
    struct tls *tls;
    struct buf early;
    size_t early_at;
    usec_t patience;
    bool strange; /* nobody has proved who he is; counted in net->n_strange_streams, by its lock */
    usec_t begun;
    uint64_t moved;          /* bytes, either way */
    bool (*stop)(void *arg); /* or NULL */
    void *stop_arg;
    bool websocket;
    struct net_stream *next;               /* in the queue */
    struct net_stream *all_next, **all_at; /* in net.streams */
};
/* Takes everything over and queues the stream for a thread. */
void stream_start(struct net *n, struct net_thread *t, int fd, struct tls *tls, struct buf *early,
                  struct net_reply *request);
/* May one more connection of that peer become a stream? Strangers may not have all threads. */
bool streams_admit(struct net *n, const struct net_peer *peer);
void streams_shut(struct net *n, int how); /* shutdown() of all their sockets */
void streams_stop(struct net *n);          /* wakes and joins the stream threads */

/* ---- relay.c ---- */

struct relay_side {
    int fd;
    struct tls *tls; /* or NULL */
    struct ws *ws;   /* or NULL */
    struct loop_fd *watch;
    struct buf out; /* payload on its way to this side */
    size_t out_at;
    bool ended;  /* nothing more comes from here */
    bool closed; /* and nothing more is sent there */
};
/* Starts on thread t with what is in `first` for side b; descriptors and tls are taken over. */
void relay_start(struct net_thread *t, const struct net_peer *peer, int a, struct tls *tls, bool ws,
                 struct buf *first, int b);
void relay_close(struct relay *r);

/* ---- ws.c: frames to payload and back ---- */

struct ws;
struct ws *ws_new(void);
void ws_free(struct ws *w);
/* Frames that came; their payload is appended to `payload`, what the protocol answers to `out`.
 * 0, -EPIPE at a close frame, -EPROTO. */
int ws_feed(struct ws *w, const void *p, size_t size, struct buf *payload, struct buf *out);
/* Frames for a payload that is to be sent. */
int ws_wrap(struct ws *w, const void *p, size_t size, struct buf *out);
void ws_put_close(struct ws *w, struct buf *out);

/* ---- files.c ---- */

void files_serve(void *arg, const struct net_request *req, struct net_stream *s);
