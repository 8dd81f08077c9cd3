/*
 * console.c: CONNECT /console and its WebSocket form: a VM's screen (RFB) or serial line.
 *
 * `uuid` is a console's or a VM's uuid, `ref` a console's or a VM's reference; a VM means its first
 * graphical console. The VM must run here. The bytes are relayed by a net thread, so an open
 * console holds no thread of ours. Stream threads.
 */
#include "base/fd.h"
#include "base/log.h"
#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "host/host.h"

static const struct rec_console *of_vm(const struct snap *s, const struct rec_VM *vm)
{
    const struct rec_console *first = NULL;
    if (!vm)
        return NULL;
    val_each (ref, vm->consoles) {
        const struct rec_console *c = snap_console(s, ref);
        if (c && c->protocol == CONSOLE_PROTOCOL_RFB)
            return c;
        first = first ? first : c;
    }
    return first;
}

struct err *handler_console_find(const struct snap *s, const struct net_request *req,
                                 const struct rec_console **ret)
{
    _cleanup_(freep) char *uuid = http_query_get(req->query, "uuid");
    _cleanup_(freep) char *ref = http_query_get(req->query, "ref");
    if (!uuid && !ref)
        return err_INVALID_VALUE("uuid or ref", "");
    const struct rec_console *c = uuid ? snap_console_by_uuid(s, uuid) : snap_console(s, ref);
    if (!c)
        c = of_vm(s, uuid ? snap_VM_by_uuid(s, uuid) : snap_VM(s, ref));
    if (!c && uuid)
        return err_UUID_INVALID("console", uuid);
    if (!c)
        return err_HANDLE_INVALID("console", ref);
    *ret = c;
    return NULL;
}

struct err *handler_console_open_rfb(struct handlers *h, const char *vm_uuid, int *ret_fd)
{
    _cleanup_(freep) char *path = host_vm_vnc_path(h->host, vm_uuid);
    if (!path)
        return err_internal("VM '%s' has no graphical console", vm_uuid);
    int fd = fd_connect_unix(path);
    if (fd < 0)
        return err_errno(-fd, "the graphical console of VM '%s' does not answer", vm_uuid);
    *ret_fd = fd;
    return NULL;
}

/* CONNECT and the WebSocket form have permissions of their own, for the host's console too. */
static struct err *check_permission(const struct api_session *session,
                                    const struct net_request *req, enum role role, bool of_host)
{
    const char *ws = view_eq(req->head->method, "CONNECT") ? "" : "_ws";
    _cleanup_(freep) char *name = of_host
                                      ? mem_printf("http/connect_console%s/host_console%s", ws, ws)
                                      : mem_printf("http/connect_console%s", ws);
    return api_check_role(session, role, name);
}

static struct err *open_console(struct handlers *h, const struct net_request *req,
                                const struct api_session *session, int *ret_fd)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(h->db);
    const struct rec_console *c = NULL;
    TRY(handler_console_find(s, req, &c));
    const struct rec_VM *vm = snap_VM(s, c->VM);
    if (!vm)
        return err_HANDLE_INVALID("VM", c->VM);
    if (vm->is_control_domain)
        TRY(check_permission(session, req, ROLE_POOL_ADMIN, true));
    if (vm->power_state != VM_POWER_STATE_RUNNING && vm->power_state != VM_POWER_STATE_PAUSED)
        return err_VM_BAD_POWER_STATE(c->VM, "running", "halted");
    if (c->protocol == CONSOLE_PROTOCOL_VT100)
        return host_vm_serial_open(h->host, vm->uuid, ret_fd);
    return handler_console_open_rfb(h, vm->uuid, ret_fd);
}

static struct err *authorised(struct handlers *h, const struct net_request *req, int *ret_fd)
{
    struct handler_session session;
    TRY(handler_authenticate(h, req, &session));
    struct err *e = check_permission(&session.session, req, ROLE_VM_OPERATOR, false);
    if (!e)
        e = open_console(h, req, &session.session, ret_fd);
    handler_session_done(h, &session);
    return e;
}

static int greet(const struct net_request *req, struct net_stream *s)
{
    if (net_wants_websocket(req))
        return net_stream_websocket(s, req, "binary");
    return net_stream_head(s, 200, NULL, NULL, 0);
}

void http_connect_console(void *arg, const struct net_request *req, struct net_stream *s)
{
    int fd = -1;
    struct err *e = authorised(arg, req, &fd);
    if (e) {
        handler_refuse(s, e);
        net_stream_close(s);
        return;
    }
    net_stream_known(s);
    if (greet(req, s) < 0) {
        fd_close(fd);
        net_stream_close(s);
        return;
    }
    net_stream_relay(s, fd);
}

void http_connect_console_ws(void *arg, const struct net_request *req, struct net_stream *s)
{
    http_connect_console(arg, req, s);
}
