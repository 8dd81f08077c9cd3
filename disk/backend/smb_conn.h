/*
 * smb_conn.h: a connection to a share: TCP, login, tree, and calls that are answered in any order.
 *
 * Nothing blocks but smb_conn_ask(): whoever has the connection polls its descriptor and calls
 * smb_conn_service(). A connection that breaks stays broken, every call then ends with -ENOTCONN:
 * what was asked may have been done or not. Making another one is the caller's.
 *
 *     struct smb_conn *c = smb_conn_new(&place, 0);
 *     …                                      // serviced until it is ready
 *     smb_call_begin(&call, SMB_FLUSH);
 *     smb_put_flush(&call.msg, &id);
 *     call.done = on_flush;
 *     smb_conn_call(c, &call);
 *
 * One thread at a time. A call is its caller's, who may not touch it until it is done.
 */
#pragma once

#include "disk/backend/smb_place.h"
#include "disk/backend/smb_wire.h"

struct smb_call {
    struct buf msg;   /* begins with the header's place */
    uint32_t payload; /* bytes that go or come at most, for credits */
    /* err 0: `status` was answered, with `answer` as the message, which stays until it returns. */
    void (*done)(struct smb_call *call, int err, uint32_t status, struct view answer);
    void *arg;

    /* the connection's */
    enum smb_command command;
    uint16_t charge;
    uint64_t message;
    size_t sent;
    struct smb_call *next;
};

enum smb_conn_state { SMB_CONN_MAKING, SMB_CONN_READY, SMB_CONN_BROKEN };

struct smb_conn;

/* `previous` is the session that a broken connection had, which the server is to end; 0: none. The
 * place must stay. Never NULL. */
struct smb_conn *smb_conn_new(const struct smb_place *place, uint64_t previous);
void smb_conn_free(struct smb_conn *c); /* ends its calls; NULL is fine */
enum smb_conn_state smb_conn_state(const struct smb_conn *c);
/* Why it is broken: -EKEYREJECTED, -ENXIO (no such share), -EHOSTUNREACH … */
int smb_conn_error(const struct smb_conn *c);
uint64_t smb_conn_session(const struct smb_conn *c);
uint32_t smb_conn_max_read(const struct smb_conn *c);
uint32_t smb_conn_max_write(const struct smb_conn *c);

int smb_conn_fd(const struct smb_conn *c); /* -1: none */
short smb_conn_events(const struct smb_conn *c);
void smb_conn_service(struct smb_conn *c, short events); /* 0: time has passed */
void smb_conn_break(struct smb_conn *c);

void smb_call_begin(struct smb_call *call, enum smb_command command);
void smb_call_end(struct smb_call *call); /* frees what it holds */
void smb_conn_call(struct smb_conn *c, struct smb_call *call);

/* One call, waited for; its message is given up. The answer is the caller's. Returns -errno of the
 * status, too; *ret_status may be NULL, and `ret` if only that matters. */
int smb_conn_ask(struct smb_conn *c, struct smb_call *call, struct buf *ret, uint32_t *ret_status);
/* Until it is ready or broken: 0 or why. */
int smb_conn_wait(struct smb_conn *c);
/* Waits for the socket, or a little, and serves it. */
void smb_conn_poll(struct smb_conn *c);
