/*
 * nbd_door.c: the conversation of a client of the gate: handshake, TLS, whose session and which
 * disk, and then the operation under which its bytes flow. The connection's thread.
 *
 *     greeting - options (STARTTLS first, where that is wanted) - an option with a name:
 *         operation: serve the disk - the option, and all others, to its server - bytes
 */
#include "handler/nbd_door.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "nbd"
#include "base/fd.h"
#include "base/log.h"
#include "codec/bytes.h"
#include "gen/error.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "op/ops.h"
#include "op/portable/portable.h"
#include "task/task.h"

#define HANDSHAKE_FLAGS (NBD_GREET_NEWSTYLE | NBD_GREET_NO_ZEROES)
#define GREETING_SIZE   18u
#define OPTION_HEAD     16u
#define ANSWER_HEAD     20u
#define HANDSHAKE_TIME  (30 * USEC_PER_SEC)
#define ANSWER_MAX      65536u
#define OUT_MAX         (NBD_OPTION_MAX + 64)

enum next { NEXT_OPTION, NEXT_BYTES, NEXT_END };

struct talk {
    struct nbd_visitor *v;
    struct nbd_option option; /* the one under way */
    uint8_t flags[4];         /* as the client gave them */
    bool is_structured;
    usec_t deadline;

    struct nbd_link server; /* of the disk, while it is served */
    char *name;             /* of the export that it is */
    bool was_served;
    struct api_session session;
};

/* ---- what the gate says itself ---- */

static int greet(struct talk *t)
{
    uint8_t hello[GREETING_SIZE];
    put_be64(hello, NBD_INIT_MAGIC);
    put_be64(hello + 8, NBD_OPTION_MAGIC);
    put_be16(hello + 16, HANDSHAKE_FLAGS);
    int r = nbd_link_put(&t->v->link, hello, sizeof(hello), t->deadline);
    if (r == 0)
        r = nbd_link_take(&t->v->link, t->flags, sizeof(t->flags), t->deadline);
    uint32_t flags = get_be32(t->flags);
    return r < 0 || (flags & NBD_GREET_NEWSTYLE && !(flags & ~(unsigned)HANDSHAKE_FLAGS)) ? r
                                                                                          : -EPROTO;
}

static int take_option(struct talk *t)
{
    uint8_t head[OPTION_HEAD];
    int r = nbd_link_take(&t->v->link, head, sizeof(head), t->deadline);
    if (r < 0)
        return r;
    t->option.kind = get_be32(head + 8);
    t->option.size = get_be32(head + 12);
    if (get_be64(head) != NBD_OPTION_MAGIC || t->option.size > NBD_OPTION_MAX)
        return -EPROTO;
    return nbd_link_take(&t->v->link, t->option.data, t->option.size, t->deadline);
}

static enum next answer(struct talk *t, uint32_t type)
{
    uint8_t out[ANSWER_HEAD] = {0};
    put_be64(out, NBD_ANSWER_MAGIC);
    put_be32(out + 8, t->option.kind);
    put_be32(out + 12, type);
    int r = nbd_link_put(&t->v->link, out, sizeof(out), t->deadline);
    return r < 0 ? NEXT_END : NEXT_OPTION;
}

/* The old way to name an export knows no answer but the end. */
static enum next refuse(struct talk *t, uint32_t type)
{
    return t->option.kind == NBD_OPTION_EXPORT_NAME ? NEXT_END : answer(t, type);
}

/* ---- the server of the disk ---- */

/* One option to the server, and its answers to the client; NEXT_BYTES: requests follow. */
static enum next pass_on(struct talk *t)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, OUT_MAX);
    nbd_option_put_nameless(&t->option, &out);
    if (!buf_ok(&out) || nbd_link_put(&t->server, out.data, out.size, t->deadline) < 0)
        return NEXT_END;
    if (t->option.kind == NBD_OPTION_EXPORT_NAME)
        return NEXT_BYTES;
    for (;;) {
        uint8_t bytes[ANSWER_HEAD + ANSWER_MAX];
        if (nbd_link_take(&t->server, bytes, ANSWER_HEAD, t->deadline) < 0)
            return NEXT_END;
        uint32_t type = get_be32(bytes + 12), size = get_be32(bytes + 16);
        if (size > ANSWER_MAX ||
            nbd_link_take(&t->server, bytes + ANSWER_HEAD, size, t->deadline) < 0 ||
            nbd_link_put(&t->v->link, bytes, ANSWER_HEAD + size, t->deadline) < 0)
            return NEXT_END;
        if (type == NBD_ANSWER_ACK)
            return t->option.kind == NBD_OPTION_GO ? NEXT_BYTES : NEXT_OPTION;
        if (type & NBD_ANSWER_ERROR)
            return NEXT_OPTION;
    }
}

/* Greets the server as the client has greeted us. */
static int enter(struct talk *t)
{
    uint8_t room[ANSWER_HEAD], option[OPTION_HEAD] = {0};
    int r = nbd_link_take(&t->server, room, GREETING_SIZE, t->deadline);
    if (r == 0)
        r = nbd_link_put(&t->server, t->flags, sizeof(t->flags), t->deadline);
    if (r < 0 || !t->is_structured)
        return r;
    put_be64(option, NBD_OPTION_MAGIC);
    put_be32(option + 8, NBD_OPTION_STRUCTURED);
    r = nbd_link_put(&t->server, option, sizeof(option), t->deadline);
    if (r == 0)
        r = nbd_link_take(&t->server, room, ANSWER_HEAD, t->deadline);
    return r < 0 || get_be32(room + 12) == NBD_ANSWER_ACK ? r : -EPROTO;
}

static enum next in_server(struct talk *t)
{
    struct view name;
    bool has_name = nbd_option_name(&t->option, &name);
    switch (t->option.kind) {
    case NBD_OPTION_EXPORT_NAME:
    case NBD_OPTION_INFO:
    case NBD_OPTION_GO:
    case NBD_OPTION_LIST_META:
    case NBD_OPTION_SET_META:
        if (!has_name)
            return refuse(t, NBD_ANSWER_INVALID);
        return view_eq(name, t->name) ? pass_on(t) : refuse(t, NBD_ANSWER_UNKNOWN);
    case NBD_OPTION_STRUCTURED:
        return pass_on(t);
    case NBD_OPTION_ABORT:
        (void)answer(t, NBD_ANSWER_ACK);
        return NEXT_END;
    default:
        return answer(t, NBD_ANSWER_UNSUP);
    }
}

static bool is_cancelled(void *arg)
{
    return op_is_cancelled(arg);
}

/* For vdi_serve_nbd: the option that named the export is still to be answered. */
static struct err *visit(void *arg, struct op *op, const char *socket)
{
    struct talk *t = arg;
    _cleanup_(fd_closep) int fd = fd_connect_unix(socket);
    if (fd < 0)
        return err_errno(-fd, "cannot connect to '%s'", socket);
    (void)fd_set_nonblocking(fd);
    t->server = (struct nbd_link){.fd = fd, .stop = is_cancelled, .arg = op};
    int r = enter(t);
    if (r < 0)
        return err_errno(-r, "cairn-diskd does not answer on '%s'", socket);
    t->was_served = true;
    log_info("event=reading client=%s op=%s", t->v->address, op_id(op));
    enum next next = in_server(t);
    while (next == NEXT_OPTION)
        next = take_option(t) < 0 ? NEXT_END : in_server(t);
    if (next == NEXT_BYTES)
        nbd_link_relay(&t->v->link, &t->server);
    return NULL;
}

/* ---- who, and what ---- */

static struct err *serve(struct op *op, const void *args, struct val **ret)
{
    struct talk *t = (struct talk *)args;
    char *uuid = NULL, *session = NULL;
    if (!nbd_export_parse(view_of(t->name), &uuid, &session))
        return err_INVALID_VALUE("export", t->name);
    free(session);
    _cleanup_(freep) char *owned = uuid;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi = snap_VDI_by_uuid(s, owned);
    if (!vdi)
        return err_UUID_INVALID("VDI", owned);
    return vdi_serve_nbd(op, &(struct vdi_nbd){vdi->row.ref, visit, t});
}

static struct err *run(struct talk *t)
{
    _cleanup_(freep) char *client = mem_printf("tcp %s", t->v->address);
    const struct api_session *a = &t->session;
    return tasks_transfer(t->v->h->tasks,
                          &(struct run_request){.fn = serve,
                                                .args = t,
                                                .label = "NBD export",
                                                .caller = {.session = a->ref,
                                                           .superuser = a->superuser,
                                                           .local = a->local,
                                                           .pool = a->pool,
                                                           .roles = a->roles,
                                                           .user_name = a->user_name,
                                                           .user_sid = a->user_sid,
                                                           .originator = a->originator,
                                                           .client = client}},
                          NULL);
}

static struct err *admit(struct talk *t)
{
    char *uuid = NULL, *session = NULL;
    if (!nbd_export_parse(view_of(t->name), &uuid, &session))
        return err_INVALID_VALUE("export", "");
    _cleanup_(freep) char *owned = uuid, *ref = session;
    TRY(api_authenticate(t->v->h->api, ref, &t->session));
    struct err *e = api_check_role(&t->session, ROLE_VM_ADMIN, "nbd/export");
    if (!e)
        e = run(t);
    _cleanup_(val_unrefp) struct val *objects = val_map();
    val_put_str(objects, "vdi", owned);
    struct api_peer peer = {.address = t->v->address};
    api_audit(t->v->h->api, &t->session, &peer, "nbd/export", objects, e);
    api_session_done(&t->session);
    return e;
}

static enum next open_export(struct talk *t)
{
    struct view name;
    if (!nbd_option_name(&t->option, &name))
        return refuse(t, NBD_ANSWER_INVALID);
    t->name = view_dup(name);
    struct err *e = admit(t);
    if (e)
        log_info("event=refused client=%s error=%s", t->v->address, err_code(e));
    err_free(e);
    free(steal(&t->name));
    return t->was_served ? NEXT_END : refuse(t, NBD_ANSWER_UNKNOWN);
}

/* ---- before that ---- */

static enum next start_tls(struct talk *t)
{
    if (!t->v->tls || t->option.size)
        return answer(t, t->option.size ? NBD_ANSWER_INVALID : NBD_ANSWER_POLICY);
    if (answer(t, NBD_ANSWER_ACK) == NEXT_END)
        return NEXT_END;
    t->v->link.tls = tls_new(t->v->tls);
    t->is_structured = false; /* what was said in the clear is forgotten */
    return NEXT_OPTION;
}

static enum next at_gate(struct talk *t, bool wants_tls)
{
    if (t->option.kind == NBD_OPTION_ABORT) {
        (void)answer(t, NBD_ANSWER_ACK);
        return NEXT_END;
    }
    if (t->option.kind == NBD_OPTION_STARTTLS && !t->v->link.tls)
        return wants_tls ? start_tls(t) : answer(t, NBD_ANSWER_POLICY);
    if (wants_tls && !t->v->link.tls)
        return refuse(t, NBD_ANSWER_TLS);
    switch (t->option.kind) {
    case NBD_OPTION_STRUCTURED:
        t->is_structured = t->is_structured || t->option.size == 0;
        return answer(t, t->option.size ? NBD_ANSWER_INVALID : NBD_ANSWER_ACK);
    case NBD_OPTION_LIST:
        return answer(t, NBD_ANSWER_POLICY); /* names are secrets */
    case NBD_OPTION_EXPORT_NAME:
    case NBD_OPTION_INFO:
    case NBD_OPTION_GO:
    case NBD_OPTION_LIST_META:
    case NBD_OPTION_SET_META:
        return open_export(t);
    default:
        return answer(t, NBD_ANSWER_UNSUP);
    }
}

void nbd_receive(struct nbd_visitor *v)
{
    struct talk t = {.v = v, .deadline = clock_now() + HANDSHAKE_TIME};
    struct snap *s = snap_get(v->h->db);
    enum nbd_mode mode = ops_nbd_mode(s);
    snap_unref(s);
    if (mode == NBD_OFF || greet(&t) < 0)
        return;
    for (enum next next = NEXT_OPTION; next == NEXT_OPTION;)
        next = take_option(&t) < 0 ? NEXT_END : at_gate(&t, mode == NBD_WITH_TLS);
    tls_free(steal(&v->link.tls));
}
