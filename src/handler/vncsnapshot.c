/*
 * vncsnapshot.c: GET /vncsnapshot: a guest's screen as a JPEG, now. `uuid` and `ref` name a VM or
 * its graphical console, as of /console. Stream threads.
 */
#include "base/fd.h"
#include "codec/jpeg.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "host/host.h"
#include "host/rfb.h"

#define QUALITY  85
#define JPEG_MAX (64u << 20)

static struct err *open_screen(const struct transfer *x, int *ret_fd)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    const struct rec_console *c = NULL;
    TRY(handler_console_find(s, x->req, &c));
    const struct rec_VM *vm = snap_VM(s, c->VM);
    if (!vm)
        return err_HANDLE_INVALID("VM", c->VM);
    if (vm->is_control_domain)
        TRY(transfer_check_sub(x, "host_console"));
    return handler_console_open_rfb(x->h, vm->uuid, ret_fd);
}

struct err *http_get_vncsnapshot(struct transfer *x, struct val **ret)
{
    _cleanup_(fd_closep) int fd = -1;
    _cleanup_(picture_done) struct picture p = {0};
    _cleanup_(buf_done) struct buf jpeg;
    buf_init(&jpeg, JPEG_MAX);
    TRY(open_screen(x, &fd));
    TRY(rfb_snapshot(fd, &p));
    if (jpeg_encode(p.pixels, p.width, p.height, QUALITY, &jpeg) < 0)
        return err_internal("the screen of %u x %u pixels cannot be encoded", p.width, p.height);
    return transfer_send(x, "image/jpeg", &jpeg);
}
