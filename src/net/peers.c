/*
 * peers.c: how many connections of strangers come from where; see net_impl.h.
 *
 * A table by address, and for every number a list of the addresses that have as many connections,
 * so that counting and finding the most crowded one cost the same whatever comes. Not locked: the
 * caller's lock protects it.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/net_impl.h"

#define BUCKETS 1024u

struct place {
    char crowd[NET_CROWD_SIZE];
    unsigned n;
    struct place *same_hash;
    struct place *next, **at; /* in by_count[n] */
};

struct peers {
    struct place *buckets[BUCKETS];
    unsigned n_places;
    unsigned most; /* by_count[most] is the last list that is not empty, or 0 */
    unsigned limit;
    struct place *by_count[]; /* 0 … limit */
};

void peers_crowd(const char *address, char out[NET_CROWD_SIZE])
{
    struct in6_addr a;
    snprintf(out, NET_CROWD_SIZE, "%s", address);
    if (!strchr(address, ':') || inet_pton(AF_INET6, address, &a) != 1)
        return;
    memset(a.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &a, out, INET6_ADDRSTRLEN);
    strcat(out, "/64");
}

struct peers *peers_new(unsigned limit)
{
    struct peers *p = mem_zalloc(sizeof(*p) + (limit + 1) * sizeof(p->by_count[0]), 1);
    p->limit = limit;
    return p;
}

void peers_free(struct peers *p)
{
    for (unsigned i = 0; p && i < BUCKETS; i++) {
        for (struct place *one = p->buckets[i], *next; one; one = next) {
            next = one->same_hash;
            free(one);
        }
    }
    free(p);
}

/* Where the place is, or would be linked in. */
static struct place **find(struct peers *p, const char *crowd)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *c = crowd; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    struct place **at = &p->buckets[hash % BUCKETS];
    while (*at && !str_eq((*at)->crowd, crowd))
        at = &(*at)->same_hash;
    return at;
}

unsigned peers_count(struct peers *p, const char *crowd)
{
    const struct place *one = *find(p, crowd);
    return one ? one->n : 0;
}

static void unlink_place(struct place *one)
{
    if (!one->at)
        return;
    *one->at = one->next;
    if (one->next)
        one->next->at = one->at;
    one->at = NULL;
}

static void link_place(struct peers *p, struct place *one)
{
    struct place **list = &p->by_count[one->n];
    one->next = *list;
    one->at = list;
    if (one->next)
        one->next->at = &one->next;
    *list = one;
}

void peers_add(struct peers *p, const char *crowd)
{
    struct place **at = find(p, crowd);
    if (!*at) {
        *at = mem_new(struct place);
        snprintf((*at)->crowd, sizeof((*at)->crowd), "%s", crowd);
        p->n_places++;
    }
    struct place *one = *at;
    assert(one->n < p->limit);
    unlink_place(one);
    one->n++;
    link_place(p, one);
    if (one->n > p->most)
        p->most = one->n;
}

void peers_remove(struct peers *p, const char *crowd)
{
    struct place **at = find(p, crowd), *one = *at;
    assert(one);
    unlink_place(one);
    if (--one->n) {
        link_place(p, one);
    } else {
        *at = one->same_hash;
        free(one);
        p->n_places--;
    }
    while (p->most && !p->by_count[p->most])
        p->most--;
}

const char *peers_most_crowded(const struct peers *p)
{
    return p->most ? p->by_count[p->most]->crowd : "";
}

unsigned peers_n_places(const struct peers *p)
{
    return p->n_places;
}
