/* control.c: see control.h. */
#include "xe/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "loop/ctl.h"

#define CONTROL_SOCKET "/run/cairn/cairnd.ctl"
#define MAX_ANSWER     (64u << 20)

/* The socket of the development run that XE_EXTRA_ARGS leads to, if any: beside its xapi socket. */
static char *socket_beside_xapi(void)
{
    const char *extra = getenv("XE_EXTRA_ARGS");
    const char *server = extra ? strstr(extra, "server=/") : NULL;
    if (!server)
        return NULL;
    server += strlen("server=");
    size_t size = strcspn(server, ",");
    while (size > 0 && server[size - 1] != '/')
        size--;
    char *path = mem_printf("%.*scairnd.ctl", (int)size, server);
    if (access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

char *control_socket(void)
{
    const char *named = getenv("CAIRN_CONTROL");
    char *beside = named ? NULL : socket_beside_xapi();
    return beside ? beside : mem_strdup(named ? named : CONTROL_SOCKET);
}

int control_get(const char *socket, const char *line, struct buf *ret)
{
    _cleanup_(buf_done) struct buf answer;
    buf_init(&answer, MAX_ANSWER);
    ssize_t n = ctl_call(socket, line, &answer);
    if (n < 0) {
        fprintf(stderr, "cairnctl: cannot reach cairnd through '%s': %s; is it running?\n", socket,
                strerror((int)-n));
        return 1;
    }
    struct view rest = {buf_str(&answer), answer.size}, first;
    view_split(&rest, '\n', &first);
    buf_put(ret, rest.p, rest.size);
    if (view_eq(first, "ok"))
        return 0;
    fprintf(stderr, "cairnctl: %.*s\n", (int)first.size, first.p);
    return 1;
}

int control_ask(const char *socket, const char *line)
{
    _cleanup_(buf_done) struct buf answer;
    buf_init(&answer, MAX_ANSWER);
    int r = control_get(socket, line, &answer);
    fwrite(buf_str(&answer), 1, answer.size, stdout);
    return r;
}
