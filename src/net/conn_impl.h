/*
 * conn_impl.h: one connection, for the files that make it up: conn.c is the machine of its states,
 * conn_io.c moves its bytes and times them, conn_crowd.c says who of a crowd gives way. Private to
 * them; everything belongs to the connection's net thread.
 */
#pragma once

#include "net/net_impl.h"

enum conn_state { HEAD, BODY, OWED, SEND, LINGER, END };

#define PIPELINE_MAX 65536 /* bytes that may wait while an answer is owed */
#define LINGER_TIME  (2 * USEC_PER_SEC)
#define TLS_OUT_MAX  262144
#define FEED_MAX     1048576 /* bytes of an answer in pieces that may be on their way */
#define SEND_TURN    1048576 /* bytes sent before others have a turn */

struct conn {
    struct net *net;
    struct net_thread *thread;
    struct conn *next, **at; /* in thread->strangers or thread->conns */
    struct net_peer peer;
    uint64_t serial; /* the later, the larger */
    int fd;
    struct tls_context *tls_context; /* NULL: plain */
    struct tls *tls;                 /* from its first bytes on */
    struct loop_fd *watch;
    struct loop_timer *timer;
    usec_t transfer_end; /* by when the body or the answer has to be over */
    usec_t milestone;    /* when it was accepted, its handshake done, a head whole, an answer out */
    usec_t began;        /* when the current request was whole; for the log */
    unsigned watching;

    enum conn_state state;
    bool running;  /* conn_run is on the stack */
    bool ended;    /* the client sends no more */
    bool close;    /* after the answer */
    bool refused;  /* the answer goes out before the request was read */
    bool started;  /* something of the current head has arrived */
    bool overdue;  /* the time for what is awaited is up */
    bool shook;    /* hands, by TLS */
    bool served;   /* it has had an answer */
    bool spared;   /* it was to give way, but had said something that was not read yet */
    size_t held;   /* bytes counted in net->n_held */
    struct buf in; /* what came and is not used yet, decrypted */
    size_t scanned;
    struct http_chunks chunks;
    struct net_reply *r; /* the current request */

    struct buf out; /* to the socket; of a TLS connection that is tls_out() */
    size_t out_at;
    struct buf body; /* of the answer, behind `out` */
    size_t body_at;
    struct net_file file; /* behind `body`, read as the client takes it; size is what is left */
};

/* ---- conn_io.c ---- */

void conn_set_timer(struct conn *c, usec_t wait);
/* A transfer may pause for stall_time, but not trickle for ever. */
void conn_begin_transfer(struct conn *c, uint64_t size);
void conn_note_progress(struct conn *c);
/* Reads what there is, up to a measure, so that one connection does not keep the others waiting.
 * -errno when it is over; -ENOBUFS when strangers hold too much and this one not a little. */
int conn_receive(struct conn *c);
bool conn_has_output(const struct conn *c);
/* 1: all is sent, 0: the socket is full or others have a turn, -errno. */
int conn_flush(struct conn *c);
void conn_say_goodbye(struct conn *c);
void conn_drop_file(struct conn *c);

/* ---- conn_crowd.c ---- */

void conn_enlist(struct conn *c);
void conn_delist(struct conn *c);
/* Counts what a stranger holds in memory; false when that is too much. */
bool conn_account(struct conn *c);
void conn_unaccount(struct conn *c);
