/*
 * link.h: a connection to a host: a unix socket, TCP, or TLS over TCP. Blocking; one thread.
 *
 *     struct link *l = link_open(&place, &why);
 *     if (!l) … why tells what cannot be reached …
 *     link_write(l, text, size);
 *     ssize_t n = link_read(l, bytes, size);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "http/http.h"

struct link;

struct place {
    const char *server; /* name, address, "[v6]" or the path of a unix socket */
    const char *port;   /* NULL: 443 or 80 */
    bool plain;         /* no TLS even to another machine */
    bool tls;           /* TLS even to this one */
};

/* Whether the place is this machine itself (a unix socket). */
bool place_is_local(const struct place *p);

/* Is it this machine by TCP, at a port of which nobody said whether TLS is spoken there? */
bool place_is_doubtful(const struct place *p);

/* NULL and a sentence in *ret_why (free) when it cannot be reached within ten seconds. The peer's
 * certificate is checked if XE_CACERT names a file of authorities. */
struct link *link_open(const struct place *p, char **ret_why);
void link_close(struct link *l); /* NULL is fine */

/* Bytes; 0 at the end; -errno. */
ssize_t link_read(struct link *l, void *p, size_t size);
/* Exactly that many; -ENODATA at an early end. */
int link_read_all(struct link *l, void *p, size_t size) _must_use_;
int link_write(struct link *l, const void *p, size_t size) _must_use_;
/* For poll(): the socket, and whether bytes wait that poll() does not see. */
int link_fd(const struct link *l);
bool link_has_bytes(const struct link *l);
/* No more will be written. */
void link_end(struct link *l);

/* Sends a request head and reads that of the answer; its status, or -errno. The views of *ret point
 * into *text, which the caller keeps and frees with buf_done(). */
int link_request(struct link *l, const char *head, struct buf *text, struct http_head *ret);
