/*
 * plugin.c: programs that an administrator has put into the folders of plugins and extensions.
 *
 * With a cairn-privd they are run by it, as root, and it checks who owns them. Without one (a
 * development run of an ordinary user) they run as ourselves. Called on operation threads.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "gen/error.h"
#include "host/host.h"
#include "host/host_impl.h"
#include "host/priv.h"
#include "loop/child.h"

#define PLUGIN_TIME  (60 * USEC_PER_SEC)
#define PLUGIN_BYTES (4u << 20)

void plugin_run_done(struct plugin_run *r)
{
    free(r->out);
    free(r->err);
    *r = (struct plugin_run){0};
}

/* A name is a file of the folder, never a path. */
static bool is_program(const char *folder, const char *name)
{
    if (!folder || !*name || name[0] == '.' || strchr(name, '/'))
        return false;
    _cleanup_(freep) char *path = mem_printf("%s/%s", folder, name);
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static struct err *run_here(const struct child_spec *spec, struct plugin_run *ret)
{
    _cleanup_(buf_done) struct buf out, err;
    buf_init(&out, PLUGIN_BYTES);
    buf_init(&err, PLUGIN_BYTES);
    struct child_exit how;
    TRY(child_run(spec, PLUGIN_TIME, &out, &err, &how));
    *ret = (struct plugin_run){
        .status = how.code, .out = mem_strdup(buf_str(&out)), .err = mem_strdup(buf_str(&err))};
    return NULL;
}

struct err *host_run_plugin(struct host *h, const char *plugin, const char *argument,
                            struct plugin_run *ret)
{
    if (!is_program(h->plugins, plugin))
        return err_XENAPI_MISSING_PLUGIN(plugin);
    if (h->privd)
        return priv_run_plugin(h->privd, plugin, argument, NULL, &ret->status, &ret->out,
                               &ret->err);
    _cleanup_(freep) char *path = mem_printf("%s/%s", h->plugins, plugin);
    const char *argv[] = {path, argument, NULL};
    return run_here(&(struct child_spec){.argv = argv}, ret);
}

bool host_has_extension(const struct host *h, const char *extension)
{
    return is_program(h->extensions, extension);
}

/* A child's stdin is empty, so a shell puts descriptor 3 in its place. */
static struct err *run_with_input(const char *path, const char *input, struct plugin_run *ret)
{
    _cleanup_(fd_closep) int file = memfd_create("call", MFD_CLOEXEC);
    if (file < 0 || fd_pwrite_all(file, input, strlen(input), 0) < 0)
        return err_errno(errno, "cannot keep the call of '%s'", path);
    const char *argv[] = {"/bin/sh", "-c", "exec \"$0\" --xmlrpc <&3 3<&-", path, NULL};
    const struct child_fd fds[] = {{.parent = file, .child = 3}};
    return run_here(&(struct child_spec){.argv = argv, .fds = fds, .n_fds = 1}, ret);
}

struct err *host_run_extension(struct host *h, const char *extension, const char *call,
                               struct plugin_run *ret)
{
    if (!host_has_extension(h, extension))
        return err_MESSAGE_METHOD_UNKNOWN(extension);
    if (h->privd)
        return priv_run_extension(h->privd, extension, call, &ret->status, &ret->out, &ret->err);
    _cleanup_(freep) char *path = mem_printf("%s/%s", h->extensions, extension);
    return run_with_input(path, call, ret);
}
