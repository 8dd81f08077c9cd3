/*
 * log_msg.c: messages that tell what happened: the daemon's and the kernel's log, the status
 * report and where it is sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "gen/msg.h"
#include "host/kernel_log.h"
#include "op/report.h"
#include "op/upload.h"
#include "op/world.h"

#define TEXT_MAX (1u << 20)

struct err *msg_host_get_log(struct op *op, const struct args_host_get_log *a, struct val **ret)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    TRY(need_own_host(op, a->host));
    report_daemon_log(&b);
    *ret = val_str(buf_str(&b));
    return NULL;
}

static struct err *kernel_log(struct op *op, const char *host, bool clear, struct val **ret)
{
    _cleanup_(freep) char *text = NULL;
    TRY(need_own_host(op, host));
    TRY(host_kernel_log(op->host, clear, &text));
    *ret = val_str(text);
    return NULL;
}

struct err *msg_host_dmesg(struct op *op, const struct args_host_dmesg *a, struct val **ret)
{
    return kernel_log(op, a->host, false, ret);
}

struct err *msg_host_dmesg_clear(struct op *op, const struct args_host_dmesg_clear *a,
                                 struct val **ret)
{
    return kernel_log(op, a->host, true, ret);
}

struct err *msg_host_get_system_status_capabilities(
    struct op *op, const struct args_host_get_system_status_capabilities *a, struct val **ret)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!snap_host(s, a->host))
        return err_HANDLE_INVALID("host", a->host);
    report_capabilities(&b);
    *ret = val_str(buf_str(&b));
    return NULL;
}

static int put_to_file(void *arg, const void *p, size_t size)
{
    return fd_write_all(*(int *)arg, p, size);
}

/* Written aside first: the other side wants to know how much comes. */
struct err *msg_host_bugreport_upload(struct op *op, const struct args_host_bugreport_upload *a,
                                      struct val **ret)
{
    const char *dir = ops_of(op)->cfg.state_dir;
    TRY(need_own_host(op, a->host));
    TRY(upload_check_url(a->url));
    _cleanup_(fd_closep) int fd = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return err_errno(errno, "cannot write into '%s'", dir ? dir : "");
    TRY(report_write(op, NULL, PACK_TAR_BZ2, put_to_file, &fd));
    return upload_fd(op, fd, a->url, a->options);
}

/* ---- lines of other members ---- */

#define LINE_MAX_BYTES (16u << 10)

/* A line begins as those of the log do, so that whoever reads it finds its date. */
static bool is_line(const char *line)
{
    for (const char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return line[0] == '[' && strspn(line + 1, "0123456789") == 8 && strlen(line) <= LINE_MAX_BYTES;
}

struct err *msg_pool_audit_log_append(struct op *op, const struct args_pool_audit_log_append *a,
                                      struct val **ret)
{
    const struct ops_config *c = &ops_of(op)->cfg;
    if (!is_line(a->line))
        return err_INVALID_VALUE("line", "not a line of an audit log");
    if (c->audit_line)
        c->audit_line(c->restart_arg, a->line);
    return NULL;
}
