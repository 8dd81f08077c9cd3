/*
 * plugin.c: programs that the administrator has put into the folders of plugins and extensions.
 *
 * Called in a worker. Such a program is a regular file of root's that nobody else can write, named
 * without a path; links do not count. Since the folder and all above it are root's too (place.c),
 * what was looked at is what is run. A plugin finds its call in argv[1], an extension on stdin.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "privd/run.h"
#include "privd/verbs.h"

/* Six times as much may stand in the answer, which is at most 4 MiB: control characters are long
 * in JSON. */
#define OUT_MAX (512u << 10)
#define ERR_MAX (64u << 10)
#define SECONDS 50

/* `what` it is called in complaints: "plugin", "extension". */
static struct err *check_program(int folder, const char *what, const char *name)
{
    struct stat st;
    _cleanup_(fd_closep) int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_internal("there is no %s '%s'", what, name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(errno, "cannot open the %s '%s'", what, name);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
        return err_internal("the %s '%s' is no executable file", what, name);
    return place_check_owner(fd, name);
}

static struct err *put_text(struct val *answer, const char *key, struct buf *text,
                            const char *plugin)
{
    if (strlen(buf_str(text)) != text->size || !str_is_utf8((struct view){text->data, text->size}))
        return err_internal("'%s' wrote what is no text to its %s", plugin, key);
    val_put_str(answer, key, buf_str(text));
    return NULL;
}

static struct err *run_it(const char *folder, const char *name, const char *argument,
                          const char *input, struct val *answer)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", folder, name);
    const char *argv[] = {path, argument, NULL};
    struct run_spec spec = {.argv = argv, .input = input, .seconds = SECONDS};
    _cleanup_(buf_done) struct buf out;
    _cleanup_(buf_done) struct buf err;
    int status;
    buf_init(&out, OUT_MAX);
    buf_init(&err, ERR_MAX);
    TRY(run_program(&spec, &out, &err, &status));
    TRY(put_text(answer, "stdout", &out, name));
    TRY(put_text(answer, "stderr", &err, name));
    val_put_int(answer, "status", status);
    return NULL;
}

struct err *verb_run_plugin(const struct place *p, const struct request *r, struct val *answer,
                            int *ret_fd)
{
    (void)ret_fd;
    const char *name = request_str(r, "plugin");
    const char *input = request_has(r, "input") ? request_str(r, "input") : NULL;
    _cleanup_(fd_closep) int folder = -1;
    TRY(place_open_plugins(p, &folder));
    TRY(check_program(folder, "plugin", name));
    return run_it(p->plugins_dir, name, request_str(r, "argument"), input, answer);
}

struct err *verb_run_extension(const struct place *p, const struct request *r, struct val *answer,
                               int *ret_fd)
{
    (void)ret_fd;
    const char *name = request_str(r, "extension");
    _cleanup_(fd_closep) int folder = -1;
    TRY(place_open_extensions(p, &folder));
    TRY(check_program(folder, "extension", name));
    return run_it(p->extensions_dir, name, "--xmlrpc", request_str(r, "input"), answer);
}
