/*
 * nbd_door.h: one connection of the gate (nbd_gate.h): its bytes, in the clear or by TLS, and the
 * conversation before the first request. Private to nbd_*.c; a connection belongs to its thread.
 *
 * Options that name an export are passed on to the server of that disk with an empty name, which is
 * its only export; its answers go back as they are, and so does everything after them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "codec/nbd.h"
#include "loop/loop.h"
#include "tls/tls.h"

/* ---- bytes ---- */

struct nbd_link {
    int fd;          /* non-blocking */
    struct tls *tls; /* NULL: in the clear */
    bool (*stop)(void *arg);
    void *arg;
};
/* Up to `size` bytes; 0 at the end; -errno, -ETIMEDOUT at the deadline, -ECANCELED. */
ssize_t nbd_link_read(struct nbd_link *l, void *p, size_t size, usec_t deadline);
int nbd_link_take(struct nbd_link *l, void *p, size_t size, usec_t deadline); /* exactly */
int nbd_link_put(struct nbd_link *l, const void *p, size_t size, usec_t deadline);
/* Carries bytes between the two until one ends. */
void nbd_link_relay(struct nbd_link *a, struct nbd_link *b);

/* ---- options ---- */

struct nbd_option {
    uint32_t kind, size;
    uint8_t data[NBD_OPTION_MAX];
};

/* The name of the export that the option speaks of: false if it speaks of none, or makes no sense.
 */
bool nbd_option_name(const struct nbd_option *o, struct view *ret);
/* The same option about the export without a name, as it is sent. */
void nbd_option_put_nameless(const struct nbd_option *o, struct buf *out);
/* "/<uuid>?session_id=<ref>"; both the caller's. */
bool nbd_export_parse(struct view name, char **ret_uuid, char **ret_session);

/* ---- the connection ---- */

struct handlers;

struct nbd_visitor {
    struct handlers *h;
    struct tls_context *tls; /* or NULL */
    struct nbd_link link;    /* the client's, with `stop` set */
    const char *address;
};
/* Serves the client until he leaves; the caller closes. */
void nbd_receive(struct nbd_visitor *v);
