/*
 * disk_talk.c: one question to a cairn-diskd, and its answer.
 *
 * Called by diskctl.c on operation threads. diskd answers within a second whatever its storage
 * does, so ten mean that something is wrong with it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/diskctl.h"

#define WAIT_S     10
#define ANSWER_MAX (4U << 20)

static const struct {
    const char *name;
    int en;
} codes[] = {{"ENOENT", ENOENT},
             {"EINVAL", EINVAL},
             {"EBUSY", EBUSY},
             {"ENOSPC", ENOSPC},
             {"EIO", EIO},
             {"EAGAIN", EAGAIN},
             {"EEXIST", EEXIST},
             {"EACCES", EACCES},
             {"EPERM", EPERM},
             {"EROFS", EROFS},
             {"EFBIG", EFBIG},
             {"ENOTEMPTY", ENOTEMPTY},
             {"EDQUOT", EDQUOT},
             {"EHOSTUNREACH", EHOSTUNREACH},
             {"ETIMEDOUT", ETIMEDOUT},
             {"ENOTSUP", EOPNOTSUPP},
             {"EOPNOTSUPP", EOPNOTSUPP},
             {"ENOTDIR", ENOTDIR},
             {"EPROTONOSUPPORT", EPROTONOSUPPORT},
             {"ENXIO", ENXIO},
             {"EKEYREJECTED", EKEYREJECTED}};

struct err *disk_answer_error(const struct val *answer)
{
    const struct val *ok = val_map_get(answer, "ok");
    if (ok && val_kind(ok) == VAL_BOOL && val_get_bool(ok))
        return NULL;
    const struct val *error = val_map_get(answer, "error");
    if (!error || val_kind(error) != VAL_MAP)
        return err_internal("cairn-diskd gave an answer that is none");
    int en = EIO;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (str_eq(codes[i].name, val_map_str(error, "code", "")))
            en = codes[i].en;
    return err_errno(en, "%s", val_map_str(error, "message", "cairn-diskd refused"));
}

static struct err *read_line(int sock, struct buf *line)
{
    while (!line->size || line->data[line->size - 1] != '\n') {
        char room[16384];
        ssize_t got = recv(sock, room, sizeof(room), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_errno(got < 0 ? errno : ECONNRESET, "cairn-diskd gave no answer");
        buf_put(line, room, (size_t)got);
        if (!buf_ok(line))
            return err_internal("the answer of cairn-diskd is too large");
    }
    return NULL;
}

struct err *disk_request(const char *socket, const struct val *request, struct val **ret)
{
    return disk_request_within(socket, request, WAIT_S, ret);
}

struct err *disk_request_within(const char *socket, const struct val *request, unsigned seconds,
                                struct val **ret)
{
    _cleanup_(fd_closep) int sock = fd_connect_unix(socket);
    if (sock < 0) {
        int en = sock == -ENOENT ? ECONNREFUSED : -sock;
        sock = -1;
        return err_errno(en, "cairn-diskd does not answer on '%s'", socket);
    }
    struct timeval wait = {.tv_sec = (time_t)seconds};
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, ANSWER_MAX);
    json_put_val(&line, request);
    buf_putc(&line, '\n');
    if (send(sock, line.data, line.size, MSG_NOSIGNAL) != (ssize_t)line.size)
        return err_errno(EPIPE, "cairn-diskd takes no request");
    buf_clear(&line);
    TRY(read_line(sock, &line));
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (json_parse(view_of(buf_str(&line)), &answer) < 0 || val_kind(answer) != VAL_MAP)
        return err_internal("cairn-diskd answered what is no JSON object");
    TRY(disk_answer_error(answer));
    if (ret)
        *ret = steal(&answer);
    return NULL;
}
