/*
 * plugin.c: programs that the administrator has put into the plugin folder.
 *
 * Called in a worker. A plugin is a regular file of root's that nobody else can write, named
 * without a path; links do not count. Since the folder and all above it are root's too (place.c),
 * what was looked at is what is run.
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

static struct err *check_plugin(const struct place *p, const char *name)
{
    struct stat st;
    _cleanup_(fd_closep) int folder = -1;
    TRY(place_open_plugins(p, &folder));
    _cleanup_(fd_closep) int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_internal("there is no plugin '%s'", name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(errno, "cannot open the plugin '%s'", name);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
        return err_internal("the plugin '%s' is no executable file", name);
    return place_check_owner(fd, name);
}

static struct err *put_text(struct val *answer, const char *key, struct buf *text,
                            const char *plugin)
{
    if (strlen(buf_str(text)) != text->size || !str_is_utf8((struct view){text->data, text->size}))
        return err_internal("the plugin '%s' wrote what is no text to its %s", plugin, key);
    val_put_str(answer, key, buf_str(text));
    return NULL;
}

struct err *verb_run_plugin(const struct place *p, const struct request *r, struct val *answer,
                            int *ret_fd)
{
    (void)ret_fd;
    const char *name = request_str(r, "plugin");
    TRY(check_plugin(p, name));
    _cleanup_(freep) char *path = mem_printf("%s/%s", p->plugins_dir, name);
    const char *argv[] = {path, request_str(r, "argument"), NULL};
    const char *input = request_has(r, "input") ? request_str(r, "input") : NULL;
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
