/*
 * net.h: bytes from strangers: sockets, connections, requests, and the way to answer them.
 *
 * A few net threads, each with a loop, hold all connections. What a path means is said by a table
 * of routes given at creation: for a method the longest path prefix wins.
 *
 *     static const struct net_route routes[] = {
 *         {"POST", "/", "post_root", NET_RPC, .call = on_xml},
 *         {"GET", "/rrd_updates", "rrd_updates", NET_SIMPLE, .cors = true, .call = on_rrd},
 *         {"CONNECT", "/console", "connect_console", NET_TAKEOVER, .takeover = on_console},
 *     };
 *     TRY(net_new(&(struct net_config){.routes = routes, .n_routes = 3, .arg = app}, &net));
 *     TRY(net_listen_tcp(net, "127.0.0.1", 8080, NULL, &port));
 *
 * NET_RPC, NET_SIMPLE: the handler is called on a net thread when the whole request is there, must
 * not block, and owes one answer, now or later, from any thread. A call that waits holds no thread.
 *
 *     static void on_xml(void *arg, const struct net_request *req, struct net_reply *reply)
 *     {
 *         struct call *c = call_new(arg, reply);
 *         net_reply_on_gone(reply, call_cancel, c);    // the client may leave before
 *         ...
 *         net_reply_send(reply, 200, "text/xml", NULL, 0, &body);
 *     }
 *
 * NET_TAKEOVER: the handler is called on a stream thread as soon as the head is there, may block,
 * and speaks with the client itself: its HTTP answer, the body, whatever protocol follows.
 *
 * Layers inside: listen (sockets, limits) - conn (the machine of one connection) - stream (blocking
 * face of a taken-over one) - relay, ws (bytes to and from another socket) - files.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "http/http.h"
#include "loop/loop.h"
#include "tls/tls.h"

struct net;
struct net_reply;
struct net_stream;

#define NET_CROWD_SIZE 56

enum net_peer_kind { NET_TCP, NET_TLS, NET_LOCAL };

struct net_peer {
    enum net_peer_kind kind;
    uid_t uid;                  /* NET_LOCAL: who connected, by the kernel */
    char address[64];           /* "192.0.2.7", "2001:db8::7"; "" for NET_LOCAL */
    char crowd[NET_CROWD_SIZE]; /* who shares its limits: the address, of IPv6 its /64 */
    bool known;                 /* somebody has proved on this connection who he is */
};

struct net_request {
    struct loop *loop; /* of the calling net thread; NET_TAKEOVER: NULL */
    struct net_peer peer;
    const struct http_head *head;
    const char *method;
    const char *path;  /* decoded */
    const char *rest;  /* of path, behind the route's prefix */
    struct view query; /* see http_query_get() */
    struct view body;  /* NET_RPC, NET_SIMPLE: whole; NET_TAKEOVER: empty, read the stream */
};

enum net_kind {
    NET_RPC,      /* body up to rpc_body_max; CORS headers are added */
    NET_SIMPLE,   /* body up to 64 KiB */
    NET_TAKEOVER, /* the connection becomes a stream */
    NET_FILES     /* what would be found without this route: a file of web_root */
};

typedef void (*net_call_fn)(void *arg, const struct net_request *req, struct net_reply *reply);
typedef void (*net_takeover_fn)(void *arg, const struct net_request *req, struct net_stream *s);

struct net_route {
    const char *method;      /* upper case; "*": any, the handler refuses by itself what it must */
    const char *path_prefix; /* "/" matches every path */
    const char *name;        /* of the handler: the realm of a 401, the name in logs */
    enum net_kind kind;
    bool cors;     /* readable by pages from elsewhere; NET_RPC always is */
    size_t gather; /* NET_TAKEOVER: a body of known length up to this is there, whole, when the
                      handler is called, so that a slow client holds no thread; 0: none */
    net_call_fn call;
    net_takeover_fn takeover;
};

struct net_config {
    const struct net_route *routes; /* kept by pointer */
    unsigned n_routes;
    void *arg;              /* given to every handler */
    const char *web_root;   /* folder of files for GET where no route is nearer; NULL: none */
    unsigned threads;       /* 0: 2 */
    unsigned max_streams;   /* stream threads at most; 0: 512. More wait their turn */
    unsigned max_peers;     /* strangers' connections in all; 0: 1000 */
    unsigned max_per_peer;  /* from one address; 0: 250; local ones are not counted by address */
    size_t strangers_bytes; /* in the buffers of all their connections; 0: 64 MiB */
    unsigned max_known;     /* connections of those who are known; 0: 10000 */
    size_t rpc_body_max;    /* 0: 4 MiB */
    usec_t head_time;       /* for a head to arrive whole; 0: 30 s */
    usec_t idle_time;       /* between requests; 0: 10 min */
    usec_t stall_time;      /* without progress in a body or an answer; 0: 60 s */
};

struct err *net_new(const struct net_config *config, struct net **ret) _must_use_;
/* Takes no more: listening sockets close, further requests are refused with 503, taken-over streams
 * read an end. What is under way may still be answered, until net_free(). */
void net_stop(struct net *n); /* NULL is fine */
/* Closes all; tells those who wait (net_reply_on_gone); waits for the stream threads, whose reads
 * and writes fail from now on. Answers still owed may be sent afterwards, to nobody. */
void net_free(struct net *n); /* NULL is fine */

/* Listening begins at once. Any thread; up to 16 sockets. `tls` is kept by pointer, NULL: plain.
 * Port 0: any; *ret_port (may be NULL) is the one that was got. */
struct err *net_listen_tcp(struct net *n, const char *address, uint16_t port,
                           struct tls_context *tls, uint16_t *ret_port) _must_use_;
struct err *net_listen_unix(struct net *n, const char *path, mode_t mode) _must_use_;
/* A listening socket, TCP or unix, that somebody else made; it is taken over. */
struct err *net_listen_fd(struct net *n, int fd, struct tls_context *tls) _must_use_;
#define NET_INHERITED_MAX 16
/* Number of sockets inherited by the LISTEN_FDS protocol; they are 3, 4, ... *ret_tls tells which
 * of them were named "https" (or "tls") in LISTEN_FDNAMES. Forgets the variables, so that children
 * do not believe them. Call it once, at start, before threads. */
unsigned net_inherited(bool ret_tls[NET_INHERITED_MAX]);

/* Only HTTPS is wanted: plain TCP is sent there, or refused. False if there is no socket with TLS:
 * nothing has changed then. Any thread. */
bool net_set_https_only(struct net *n, bool on);

/* How many requests each route had since the start; the route of files last. Any thread. */
void net_route_stats(struct net *n, void (*fn)(void *arg, const struct net_route *r, uint64_t n),
                     void *arg);

/* One line each: listeners, connections by state, streams. Any thread. */
void net_dump(struct net *n, struct buf *out);

/* ---- answers ---- */

struct net_header {
    const char *name, *value; /* no control characters; copied */
};

/* Gives the answer and the reply back; any thread, once. The body's bytes are taken over (the buf
 * is empty afterwards); NULL: none. Content-Length, Connection and Cache-Control are added. If the
 * client is gone nothing happens. */
void net_reply_send(struct net_reply *r, unsigned status, const char *content_type,
                    const struct net_header *headers, unsigned n_headers, struct buf *body);
/* An error page; a 401 asks for Basic credentials. */
void net_reply_error(struct net_reply *r, unsigned status, const char *why);
/* Whoever sent the request has proved who he is: from now on his connection is not counted among
 * the strangers' and does not give way to newer ones. On the loop of the request, before the
 * answer. */
void net_reply_known(struct net_reply *r);
/* No answer: closes the connection. */
void net_reply_drop(struct net_reply *r);
/* Calls fn(arg) on the net thread if the client leaves before the answer was sent. The reply still
 * has to be given back, in fn or later. To be called inside the handler only. */
void net_reply_on_gone(struct net_reply *r, loop_fn fn, void *arg);

/* ---- answers without an end, such as server-sent events ----
 * On the request's net thread. The connection closes behind the answer. The reply is given back by
 * net_reply_drop(), which lets what was said so far go out first. */
void net_reply_begin(struct net_reply *r, unsigned status, const char *content_type,
                     const struct net_header *headers, unsigned n_headers);
/* Says more. Up to 1 MiB may be on its way: who has much to say waits until it is drained. */
void net_reply_more(struct net_reply *r, const void *p, size_t size);
bool net_reply_is_drained(
    const struct net_reply *r); /* nothing is on its way, or nobody is there */
/* Calls fn(arg) each time what could not be sent at once has gone out. */
void net_reply_on_drained(struct net_reply *r, loop_fn fn, void *arg);

/* ---- taken-over connections; the functions block and belong to one thread at a time ---- */

/* Up to `size` bytes, early ones first; 0 at the end; -errno, -ETIMEDOUT after stall_time. */
ssize_t net_stream_read(struct net_stream *s, void *p, size_t size);
/* Exactly that many; -ENODATA at an early end. */
int net_stream_read_all(struct net_stream *s, void *p, size_t size) _must_use_;
/* All of it, or -errno. */
int net_stream_write(struct net_stream *s, const void *p, size_t size) _must_use_;
/* How long a read may wait; default stall_time, USEC_NEVER: for ever. */
void net_stream_set_patience(struct net_stream *s, usec_t wait);
/* As net_reply_known; on the stream's thread. */
void net_stream_known(struct net_stream *s);
/* While reads and writes wait, `stop` is asked every quarter of a second; once it says yes, what
 * waits and all that follows fails with -ECANCELED. NULL: nobody is asked. */
void net_stream_watch(struct net_stream *s, bool (*stop)(void *arg), void *arg);
/* The head of an answer that ends with the connection: status, the usual headers, `headers`. */
int net_stream_head(struct net_stream *s, unsigned status, const char *content_type,
                    const struct net_header *headers, unsigned n_headers) _must_use_;
/* An error page. */
int net_stream_error(struct net_stream *s, unsigned status, const char *why);
/* A descriptor that carries the connection's bytes both ways, for one who splices or hands it on:
 * of a plain connection the socket itself, of a TLS one a socket pair that a net thread relays.
 * Bytes that were read early are in *ret_early (may be NULL: they are an error then, -EBUSY).
 * Blocking; the caller's to close. The stream is used up and freed, but on error. */
int net_stream_take_fd(struct net_stream *s, struct buf *ret_early);
/* Connects the client with another socket, which is taken over, until one side ends; a net thread
 * does the work. The stream is used up and freed. */
void net_stream_relay(struct net_stream *s, int fd);
/* Does the client ask for a WebSocket? */
bool net_wants_websocket(const struct net_request *req);
/* Answers the handshake (-EINVAL if it is malformed: an error page was sent). From then on only
 * net_stream_relay may be used, whose other side sees the payload. `protocol` is chosen if the
 * client offers it; NULL: none. */
int net_stream_websocket(struct net_stream *s, const struct net_request *req, const char *protocol)
    _must_use_;
/* Closes with a reset, so that a client does not take half an answer for a whole one; frees. */
void net_stream_abort(struct net_stream *s); /* NULL is fine */
/* Closes and frees. A handler ends with exactly one of close, finish, abort, take_fd, relay. */
void net_stream_close(struct net_stream *s); /* NULL is fine */
/* Closes when these bytes are sent; the net thread sees to that, the caller's does not wait. They
 * are taken over. */
void net_stream_finish(struct net_stream *s, struct buf *rest);
/* The same with a file behind them, which is taken over, too: read as the client takes it, so that
 * nobody holds it in memory. */
struct net_file {
    int fd; /* with size 0: nothing */
    int64_t at, size;
};
void net_stream_finish_file(struct net_stream *s, struct buf *rest, const struct net_file *file);
