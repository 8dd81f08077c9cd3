/*
 * priv.c: one connection, one line of JSON, one line back.
 *
 * Called on operation threads. Nothing is kept between calls.
 */
#include "host/priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/val.h"
#include "codec/json.h"

#define ANSWER_MAX  (4U << 20)
#define REQUEST_MAX (1U << 20)
#define WAIT_S      60

static struct err *send_request(int sock, const struct val *request)
{
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, REQUEST_MAX);
    json_put_val(&line, request);
    buf_putc(&line, '\n');
    if (!buf_ok(&line))
        return err_internal("request to cairn-privd is too large");
    int r = fd_write_all(sock, line.data, line.size);
    return r < 0 ? err_errno(-r, "cannot write to cairn-privd") : NULL;
}

/* Reads up to the line feed; a descriptor may come with the first bytes. */
static struct err *read_answer(int sock, struct buf *line, int *ret_fd)
{
    while (!line->size || line->data[line->size - 1] != '\n') {
        char room[4096];
        int fd = -1;
        unsigned n_fds = 1;
        ssize_t got = fd_recv_fds(sock, room, sizeof(room), &fd, &n_fds);
        if (got <= 0)
            return err_errno(got < 0 ? (int)-got : ECONNRESET, "cairn-privd gave no answer");
        if (n_fds && ret_fd && *ret_fd < 0)
            *ret_fd = fd;
        else if (n_fds)
            fd_close(fd);
        buf_put(line, room, (size_t)got);
        if (!buf_ok(line))
            return err_internal("the answer of cairn-privd is too large");
    }
    return NULL;
}

static struct err *connect_to(const char *socket, const char *verb, int *ret)
{
    if (!socket)
        return err_internal("'%s' needs root, and no cairn-privd is configured", verb);
    int fd = fd_connect_unix(socket);
    if (fd < 0)
        return err_errno(-fd, "'%s' needs root, and cairn-privd does not answer on '%s'", verb,
                         socket);
    struct timeval wait = {.tv_sec = WAIT_S};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    *ret = fd;
    return NULL;
}

/* Takes the request over. `ret` NULL: nobody asks for the result. */
static struct err *call(const char *socket, struct val *request_taken, struct val **ret,
                        int *ret_fd)
{
    _cleanup_(val_unrefp) struct val *request = request_taken;
    const char *verb = val_map_str(request, "verb", "");
    _cleanup_(fd_closep) int sock = -1;
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, ANSWER_MAX);
    TRY(connect_to(socket, verb, &sock));
    TRY(send_request(sock, request));
    TRY(read_answer(sock, &line, ret_fd));
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (json_parse(view_of(buf_str(&line)), &answer) < 0 || val_kind(answer) != VAL_MAP)
        return err_internal("the answer of cairn-privd to '%s' is not an object", verb);
    const struct val *ok = val_map_get(answer, "ok");
    if (!ok || val_kind(ok) != VAL_BOOL)
        return err_internal("the answer of cairn-privd to '%s' lacks 'ok'", verb);
    if (!val_get_bool(ok))
        return err_internal("%s", val_map_str(answer, "error", "cairn-privd refused"));
    if (ret)
        *ret = steal(&answer);
    return NULL;
}

static struct val *request(const char *verb)
{
    struct val *v = val_map();
    val_put_str(v, "verb", verb);
    return v;
}

struct err *priv_mount(const char *socket, const char *device, uint64_t offset, uint64_t size,
                       const char *dir)
{
    struct val *v = request("mount");
    val_put_str(v, "device", device);
    val_put_str(v, "folder", dir);
    if (size) {
        val_put_int(v, "offset", (int64_t)offset);
        val_put_int(v, "size", (int64_t)size);
    }
    return call(socket, v, NULL, NULL);
}

struct err *priv_umount(const char *socket, const char *dir)
{
    struct val *v = request("umount");
    val_put_str(v, "folder", dir);
    return call(socket, v, NULL, NULL);
}

struct err *priv_examine(const char *socket, const char *device, char **ret)
{
    struct val *v = request("examine");
    val_put_str(v, "device", device);
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(call(socket, v, &answer, NULL));
    *ret = mem_strdup(val_map_str(answer, "found", ""));
    return NULL;
}

struct err *priv_mkfs(const char *socket, const char *device, const char *label, bool force)
{
    struct val *v = request("mkfs");
    val_put_str(v, "device", device);
    val_put_str(v, "label", label);
    val_put_bool(v, "force", force);
    return call(socket, v, NULL, NULL);
}

static struct val *about_group(const char *verb, const char *device, const char *group,
                               const char *volume)
{
    struct val *v = request(verb);
    val_put_str(v, "device", device);
    val_put_str(v, "group", group);
    if (volume)
        val_put_str(v, "volume", volume);
    return v;
}

struct err *priv_vg_create(const char *socket, const char *device, const char *group, bool force)
{
    struct val *v = about_group("vg-create", device, group, NULL);
    val_put_bool(v, "force", force);
    return call(socket, v, NULL, NULL);
}

struct err *priv_vg_remove(const char *socket, const char *device, const char *group)
{
    return call(socket, about_group("vg-remove", device, group, NULL), NULL, NULL);
}

struct err *priv_lv_create(const char *socket, const char *device, const char *group,
                           const char *volume, uint64_t size)
{
    struct val *v = about_group("lv-create", device, group, volume);
    val_put_int(v, "size", (int64_t)size);
    return call(socket, v, NULL, NULL);
}

struct err *priv_lv_extend(const char *socket, const char *device, const char *group,
                           const char *volume, uint64_t size)
{
    struct val *v = about_group("lv-extend", device, group, volume);
    val_put_int(v, "size", (int64_t)size);
    return call(socket, v, NULL, NULL);
}

struct err *priv_lv_reduce(const char *socket, const char *device, const char *group,
                           const char *volume, uint64_t size)
{
    struct val *v = about_group("lv-reduce", device, group, volume);
    val_put_int(v, "size", (int64_t)size);
    return call(socket, v, NULL, NULL);
}

struct err *priv_lv_writable(const char *socket, const char *device, const char *group,
                             const char *volume)
{
    return call(socket, about_group("lv-writable", device, group, volume), NULL, NULL);
}

struct err *priv_lv_rename(const char *socket, const char *device, const char *group,
                           const char *volume, const char *to)
{
    struct val *v = about_group("lv-rename", device, group, volume);
    val_put_str(v, "to", to);
    return call(socket, v, NULL, NULL);
}

struct err *priv_lv_remove(const char *socket, const char *device, const char *group,
                           const char *volume)
{
    return call(socket, about_group("lv-remove", device, group, volume), NULL, NULL);
}

struct err *priv_tap_add(const char *socket, const char *name)
{
    struct val *v = request("tap-add");
    val_put_str(v, "name", name);
    return call(socket, v, NULL, NULL);
}

struct err *priv_tap_del(const char *socket, const char *name)
{
    struct val *v = request("tap-del");
    val_put_str(v, "name", name);
    return call(socket, v, NULL, NULL);
}

static bool answer_bool(const struct val *answer, const char *key)
{
    const struct val *v = val_map_get(answer, key);
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

struct err *priv_authenticate(const char *socket, const char *user, const char *password,
                              bool *ret_ok)
{
    struct val *v = request("authenticate");
    val_put_str(v, "user", user);
    val_put_str(v, "password", password);
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(call(socket, v, &answer, NULL));
    *ret_ok = answer_bool(answer, "accepted");
    return NULL;
}

/* What a program of an administrator's came to. Takes the request over. */
static struct err *run(const char *socket, struct val *request_taken, int *ret_status,
                       char **ret_out, char **ret_err)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(call(socket, request_taken, &answer, NULL));
    const struct val *status = val_map_get(answer, "status");
    if (!status || val_kind(status) != VAL_INT)
        return err_internal("the answer of cairn-privd lacks 'status'");
    *ret_status = (int)val_get_int(status);
    *ret_out = mem_strdup(val_map_str(answer, "stdout", ""));
    *ret_err = mem_strdup(val_map_str(answer, "stderr", ""));
    return NULL;
}

struct err *priv_run_plugin(const char *socket, const char *plugin, const char *argument,
                            const char *input, int *ret_status, char **ret_out, char **ret_err)
{
    struct val *v = request("run-plugin");
    val_put_str(v, "plugin", plugin);
    val_put_str(v, "argument", argument);
    if (input)
        val_put_str(v, "input", input);
    return run(socket, v, ret_status, ret_out, ret_err);
}

struct err *priv_run_extension(const char *socket, const char *extension, const char *input,
                               int *ret_status, char **ret_out, char **ret_err)
{
    struct val *v = request("run-extension");
    val_put_str(v, "extension", extension);
    val_put_str(v, "input", input);
    return run(socket, v, ret_status, ret_out, ret_err);
}

struct err *priv_kernel_log(const char *socket, bool clear, char **ret)
{
    struct val *v = request("kernel-log");
    val_put_bool(v, "clear", clear);
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(call(socket, v, &answer, NULL));
    *ret = mem_strdup(val_map_str(answer, "text", ""));
    return NULL;
}

struct err *priv_listen(const char *socket, const char *address, uint16_t port, int *ret_fd)
{
    struct val *v = request("listen");
    val_put_str(v, "address", address);
    val_put_int(v, "port", port);
    _cleanup_(fd_closep) int fd = -1;
    TRY(call(socket, v, NULL, &fd));
    if (fd < 0)
        return err_internal("cairn-privd sent no socket");
    *ret_fd = fd_take(&fd);
    return NULL;
}

struct err *priv_do(const char *socket, struct val *request_taken)
{
    return call(socket, request_taken, NULL, NULL);
}
