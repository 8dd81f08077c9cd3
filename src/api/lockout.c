/* lockout.c: see lockout.h. */
#include "api/lockout.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/lock.h"
#include "base/str.h"
#include "gen/error.h"
#include "loop/loop.h"

#define ENTRIES       1024
#define FORGET_US     (15 * 60 * USEC_PER_SEC)
#define WAIT_MAX_S    300
#define KEY_SIZE      192 /* address and user; a longer user counts by its beginning */
#define DOUBLINGS_MAX 16

struct entry {
    char key[KEY_SIZE]; /* "": free */
    unsigned wrong, pending;
    usec_t last;  /* try or wrong password */
    usec_t until; /* no tries before */
};

struct lockout {
    struct mutex mutex;
    struct entry entries[ENTRIES];
};

struct lockout *lockout_new(void)
{
    struct lockout *l = mem_new(struct lockout);
    mutex_init(&l->mutex, LOCK_LEAF);
    return l;
}

void lockout_free(struct lockout *l)
{
    if (!l)
        return;
    mutex_done(&l->mutex);
    free(l);
}

/* A whole /64 belongs to one client. */
static void network_of(const char *address, char ret[INET6_ADDRSTRLEN])
{
    unsigned char bytes[16];
    *ret = '\0';
    if (strchr(address, ':') && inet_pton(AF_INET6, address, bytes) == 1) {
        memset(bytes + 8, 0, 8);
        inet_ntop(AF_INET6, bytes, ret, INET6_ADDRSTRLEN);
    } else {
        snprintf(ret, INET6_ADDRSTRLEN, "%s", *address ? address : "local");
    }
}

/* An empty user stands for the address alone; a user's name is marked to be no such. */
static void make_key(const char *address, const char *user, char ret[KEY_SIZE])
{
    char network[INET6_ADDRSTRLEN];
    network_of(address, network);
    snprintf(ret, KEY_SIZE, "%s %s%s", network, user ? "=" : "", user ? user : "");
}

static bool is_current(const struct entry *e, usec_t now)
{
    return *e->key && (now - e->last < FORGET_US || now < e->until);
}

/* NULL if there is none. */
static struct entry *find(struct lockout *l, const char *key, usec_t now)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        if (is_current(&l->entries[i], now) && str_eq(l->entries[i].key, key))
            return &l->entries[i];
    return NULL;
}

static struct entry *find_or_make(struct lockout *l, const char *key, usec_t now)
{
    struct entry *e = find(l, key, now);
    if (e)
        return e;
    e = &l->entries[0];
    for (unsigned i = 0; i < ENTRIES && is_current(e, now); i++)
        if (!is_current(&l->entries[i], now) || l->entries[i].last < e->last)
            e = &l->entries[i];
    *e = (struct entry){0};
    memcpy(e->key, key, KEY_SIZE);
    return e;
}

static unsigned wait_s(unsigned wrong, unsigned free_ones)
{
    if (wrong < free_ones)
        return 0;
    unsigned doublings = wrong - free_ones;
    unsigned s = doublings > DOUBLINGS_MAX ? WAIT_MAX_S : 1u << doublings;
    return s > WAIT_MAX_S ? WAIT_MAX_S : s;
}

/* How long the key has to wait now, in whole seconds. */
static unsigned left_s(struct lockout *l, const char *key, usec_t now)
{
    const struct entry *e = find(l, key, now);
    return e && e->until > now ? (unsigned)((e->until - now - 1) / USEC_PER_SEC) + 1 : 0;
}

struct err *lockout_begin(struct lockout *l, const char *address, const char *user)
{
    char one[KEY_SIZE], all[KEY_SIZE];
    make_key(address, user, one);
    make_key(address, NULL, all);
    usec_t now = clock_now();
    mutex_lock(&l->mutex);
    unsigned a = left_s(l, one, now), b = left_s(l, all, now);
    struct entry *e = find_or_make(l, one, now);
    if (!a && !b && e->pending >= LOCKOUT_AT_ONCE)
        a = 1;
    if (!a && !b) {
        e->pending++;
        e->last = now;
    }
    mutex_unlock(&l->mutex);
    if (!a && !b)
        return NULL;
    _cleanup_(freep) char *text =
        mem_printf("too many wrong passwords from this address; try again in %u s", a > b ? a : b);
    const char *params[] = {user, text};
    return err_make_v("SESSION_AUTHENTICATION_FAILED", __FILE__, __LINE__, 2, params);
}

/* True if this wrong password is the first one that is one too many. */
static bool count(struct lockout *l, const char *key, unsigned free_ones, usec_t now,
                  unsigned *ret_seconds)
{
    struct entry *e = find_or_make(l, key, now);
    e->wrong++;
    e->last = now;
    unsigned s = wait_s(e->wrong, free_ones);
    e->until = now + s * USEC_PER_SEC;
    *ret_seconds = s > *ret_seconds ? s : *ret_seconds;
    e->pending -= e->pending > 0;
    return e->wrong == free_ones;
}

bool lockout_failed(struct lockout *l, const char *address, const char *user, unsigned *ret_seconds)
{
    char one[KEY_SIZE], all[KEY_SIZE];
    make_key(address, user, one);
    make_key(address, NULL, all);
    *ret_seconds = 0;
    mutex_lock(&l->mutex);
    usec_t now = clock_now();
    bool first = count(l, one, LOCKOUT_FREE, now, ret_seconds);
    bool sprayed = count(l, all, LOCKOUT_SPRAYED, now, ret_seconds);
    mutex_unlock(&l->mutex);
    return first || sprayed;
}

void lockout_undecided(struct lockout *l, const char *address, const char *user)
{
    char key[KEY_SIZE];
    make_key(address, user, key);
    mutex_lock(&l->mutex);
    struct entry *e = find(l, key, clock_now());
    if (e)
        e->pending -= e->pending > 0;
    mutex_unlock(&l->mutex);
}

void lockout_passed(struct lockout *l, const char *address, const char *user)
{
    char key[KEY_SIZE];
    make_key(address, user, key);
    mutex_lock(&l->mutex);
    struct entry *e = find(l, key, clock_now());
    if (e) {
        e->wrong = 0;
        e->until = 0;
        e->pending -= e->pending > 0;
    }
    mutex_unlock(&l->mutex);
}
