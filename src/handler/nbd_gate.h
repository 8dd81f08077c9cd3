/*
 * nbd_gate.h: the port at which backup tools read disks over NBD.
 *
 *     client ──(TLS)── gate: handshake, session, role ──> operation: cairn-diskd serves the VDI
 *                        └──────────── bytes ────────────────────┘        read-only on a socket
 *
 * Whether anybody is let in is said by the purposes of the networks (ops_nbd_mode): nobody, only
 * with TLS, or without. The name of an export is "/<VDI uuid>?session_id=<session>", as
 * VDI.get_nbd_info gives it. A connection has a thread and an operation of its own; there are at
 * most NBD_GATE_MAX, and who has not named an export within half a minute is cut off.
 *
 * Any thread may make and free a gate; freeing cuts all clients off and waits for their threads.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define NBD_GATE_MAX 16

struct handlers;
struct nbd_gate;
struct tls_context;

/* `address` numeric, port 0: a free one. `tls` NULL: there is none. Both outlive the gate. */
struct err *nbd_gate_new(struct handlers *h, struct tls_context *tls, const char *address,
                         uint16_t port, struct nbd_gate **ret) _must_use_;
uint16_t nbd_gate_port(const struct nbd_gate *g);
void nbd_gate_free(struct nbd_gate *g); /* NULL is fine */
