/*
 * conn_crowd.c: the connections of strangers on one net thread: which of them gives way when they
 * are too many, and how much memory all of them together may hold; see conn_impl.h.
 *
 * Whoever has done nothing of use for a while goes first, the longest idle one before the others;
 * then who has shown the least (no handshake, no request yet). A byte now and then is no use. So a
 * client that speaks at once gets through a flood of those who do not, from wherever they come.
 */
#include <limits.h>
#include <sys/ioctl.h>

#define LOG_MODULE "net"
#include "base/log.h"
#include "net/conn_impl.h"

#define FRESH      (2 * USEC_PER_SEC)    /* as long after a milestone it counts as active */
#define TAKES      (200 * USEC_PER_MSEC) /* who takes his answer has taken some of it by then */
#define SMALL      65536u                /* who holds no more than that never holds too much */
#define STAYS      UINT_MAX
#define SPARED_MAX 16 /* at once */

static bool is_stranger(const struct conn *c)
{
    return !c->peer.known && c->peer.kind != NET_LOCAL;
}

void conn_enlist(struct conn *c)
{
    struct conn **list = is_stranger(c) ? &c->thread->strangers : &c->thread->conns;
    c->next = *list;
    c->at = list;
    if (c->next)
        c->next->at = &c->next;
    *list = c;
}

void conn_delist(struct conn *c)
{
    if (!c->at)
        return;
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    c->at = NULL;
}

/* ---- who gives way ---- */

/* The lower, the sooner. Who is owed an answer stays; who does not take it goes. */
static unsigned rank_of(const struct conn *c, usec_t now)
{
    bool fresh = now - c->milestone < (c->state == SEND ? TAKES : FRESH);
    if (c->running || c->state == OWED)
        return STAYS;
    if (!fresh || c->state == LINGER)
        return 0;
    return c->state == SEND ? STAYS - 1 : 1u + c->shook + 2u * c->served;
}

static struct conn *find_victim(struct net_thread *t, const char *crowd, uint64_t before,
                                usec_t age)
{
    struct conn *victim = NULL;
    unsigned lowest = STAYS;
    usec_t now = clock_now();
    for (struct conn *c = t->strangers; c; c = c->next) {
        unsigned rank = rank_of(c, now);
        if (rank > lowest || rank == STAYS || c->serial >= before || now - c->milestone < age ||
            (*crowd && !str_eq(c->peer.crowd, crowd)))
            continue;
        if (rank < lowest || c->milestone <= victim->milestone) {
            lowest = rank;
            victim = c;
        }
    }
    return victim;
}

/* What it has said may be all that is missing; it is we who are late. That counts once. */
static bool is_spared(struct conn *c)
{
    int unread = 0;
    if (c->spared || c->state == SEND || c->state == LINGER)
        return false;
    c->spared = ioctl(c->fd, FIONREAD, &unread) == 0 && unread > 0;
    if (c->spared)
        c->milestone = clock_now();
    return c->spared;
}

bool conn_evict(struct net_thread *t, const char *crowd, uint64_t before, usec_t age)
{
    struct conn *victim = find_victim(t, crowd, before, age);
    for (unsigned spared = 0; victim && spared < SPARED_MAX && is_spared(victim); spared++)
        victim = find_victim(t, crowd, before, age);
    if (!victim)
        return false;
    t->net->n_evicted++;
    log_debug("event=connection-evicted peer=%s", victim->peer.address);
    conn_close(victim);
    return true;
}

/* ---- memory ---- */

void conn_unaccount(struct conn *c)
{
    c->net->n_held -= c->held;
    c->held = 0;
}

bool conn_account(struct conn *c)
{
    if (!is_stranger(c)) {
        conn_unaccount(c);
        return true;
    }
    size_t now = c->in.cap + c->body.cap + (c->r ? c->r->body.cap : 0);
    c->net->n_held += now - c->held;
    c->held = now;
    return now <= SMALL || c->net->n_held <= c->net->config.strangers_bytes;
}

void conn_known(struct conn *c)
{
    conn_delist(c);
    net_peer_known(c->net, &c->peer);
    conn_enlist(c);
    (void)conn_account(c);
}
