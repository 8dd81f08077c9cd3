/*
 * tls.h: TLS over memory, so that whoever moves the bytes decides how to wait.
 *
 * A context holds a certificate or the trust; a session is one connection. The session never
 * touches a socket: ciphertext that came is pushed in, ciphertext to be sent is collected in a
 * buffer.
 *
 *     struct tls *t = tls_new(ctx);
 *     tls_push(t, bytes_from_socket, n);
 *     ssize_t got = tls_read(t, plain, sizeof(plain));  // also drives the handshake
 *     tls_write(t, answer, size);
 *     buf_put(&to_socket, t_out->data, t_out->size);    // t_out = tls_out(t)
 *
 * A context may be shared by threads; a session belongs to one thread at a time. TLS 1.2 and 1.3.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct tls;

/* For a program that makes one connection and ends, before anything else of TLS: it starts without
 * the system's configuration of OpenSSL, unless OPENSSL_CONF names one, and ends without giving
 * everything back. */
void tls_start_short(void);

/* PEM files; the certificate may be followed by its chain. */
struct err *tls_context_server(const char *cert_path, const char *key_path,
                               struct tls_context **ret) _must_use_;
/* A client's. `ca_path`: PEM file of whom to trust; NULL: nobody is checked, which is for sessions
 * whose peer is known otherwise. */
struct err *tls_context_client(const char *ca_path, struct tls_context **ret) _must_use_;
/* Loads other files; sessions under way keep the old ones. On error nothing changes. */
struct err *tls_context_reload(struct tls_context *c, const char *cert_path, const char *key_path)
    _must_use_;
/* Clients that ask for the server of that name (SNI) see this certificate instead; again: another
 * one. Constant text; one name a context. */
struct err *tls_context_named(struct tls_context *c, const char *name, const char *cert_path,
                              const char *key_path) _must_use_;
void tls_context_free(struct tls_context *c); /* NULL is fine; before or after its sessions */

/* Makes a key (EC P-256) and a certificate signed by itself for ten years, with `name` as common
 * name and `names` (n of them; host names or addresses) as alternatives, and writes both, unless
 * both files are there and fit together. */
struct err *tls_make_certificate(const char *cert_path, const char *key_path, const char *name,
                                 const char *const *names, unsigned n) _must_use_;

struct tls *tls_new(struct tls_context *c);
void tls_set_host(struct tls *t, const char *host); /* client: name to ask for and to check */
void tls_free(struct tls *t);                       /* NULL is fine */

/* Hands over ciphertext that was received. */
void tls_push(struct tls *t, const void *p, size_t size);
/* Plaintext: its size, 0 when more ciphertext is needed, -EPIPE at the end (close_notify), -EPROTO
 * on any violation. Goes on with the handshake; look at tls_out() afterwards. */
ssize_t tls_read(struct tls *t, void *p, size_t size);
/* Encrypts all of it; 0 or -EPROTO. Before the end of the handshake: -EAGAIN. */
int tls_write(struct tls *t, const void *p, size_t size) _must_use_;
bool tls_is_ready(const struct tls *t); /* the handshake is done */
void tls_shutdown(struct tls *t);       /* says goodbye into tls_out() */
/* Ciphertext to be sent; the caller consumes it. */
struct buf *tls_out(struct tls *t);
