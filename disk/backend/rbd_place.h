/*
 * rbd_place.h: images of Ceph pools, and the cluster they are in. Private to the module of
 * "rbd://".
 *
 *     rbd://[LOGIN@]MONITORS/POOL[/NAMESPACE[/IMAGE]]
 *
 * MONITORS is what ceph.conf's "mon host" may have, POOL the pool, NAMESPACE one of RBD's in it.
 * LOGIN is the path of a file, every slash written as "%2F", which holds the user's name, a line
 * feed and the key. Without it the user is "admin" and the cluster must not ask for a key.
 */
#pragma once

#include <rados/librados.h>

struct rbd_place {
    char *monitors, *pool;
    char *space, *image; /* NULL: none was given */
    char *user, *key;    /* NULL: no login */
};
int rbd_place_parse(const char *url, struct rbd_place *ret);
void rbd_place_done(struct rbd_place *p);

/* RBD_QUICK gives a silent cluster up after some seconds, RBD_PATIENT waits for its answers. */
enum rbd_patience { RBD_QUICK, RBD_PATIENT };

struct rbd_link;
struct rbd_pool {
    rados_t cluster;
    struct rbd_link *shared; /* whose connection it is; NULL: its own */
    rados_ioctx_t io; /* of the pool, in the namespace if there is one; NULL: no pool was given */
};
/* Blocks. -EKEYREJECTED: the cluster does not accept who we are; -EHOSTUNREACH: nobody answers;
 * -ENOENT: there is no such pool. rbd_pool_close() also after a failure. */
int rbd_pool_open(const struct rbd_place *p, enum rbd_patience patience, struct rbd_pool *ret);
/* The same over one connection for all who are the same user there, so that a chain does not cost
 * one for each image. For those who only read: who has a lock is shut out with his connection. */
int rbd_pool_share(const struct rbd_place *p, enum rbd_patience patience, struct rbd_pool *ret);
void rbd_pool_close(struct rbd_pool *pool);
