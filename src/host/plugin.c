/*
 * plugin.c: programs that an administrator has put into the plugin folder.
 *
 * With a cairn-privd they are run by it, as root, and it checks who owns them. Without one (a
 * development run of an ordinary user) they run as ourselves. Called on operation threads.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
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
static bool is_plugin(const struct host *h, const char *plugin)
{
    if (!h->plugins || !*plugin || plugin[0] == '.' || strchr(plugin, '/'))
        return false;
    _cleanup_(freep) char *path = mem_printf("%s/%s", h->plugins, plugin);
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static struct err *run_here(const struct host *h, const char *plugin, const char *argument,
                            struct plugin_run *ret)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", h->plugins, plugin);
    _cleanup_(buf_done) struct buf out, err;
    buf_init(&out, PLUGIN_BYTES);
    buf_init(&err, PLUGIN_BYTES);
    const char *argv[] = {path, argument, NULL};
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    TRY(child_run(&spec, PLUGIN_TIME, &out, &err, &how));
    *ret = (struct plugin_run){
        .status = how.code, .out = mem_strdup(buf_str(&out)), .err = mem_strdup(buf_str(&err))};
    return NULL;
}

struct err *host_run_plugin(struct host *h, const char *plugin, const char *argument,
                            struct plugin_run *ret)
{
    if (!is_plugin(h, plugin))
        return err_XENAPI_MISSING_PLUGIN(plugin);
    if (h->privd)
        return priv_run_plugin(h->privd, plugin, argument, NULL, &ret->status, &ret->out,
                               &ret->err);
    return run_here(h, plugin, argument, ret);
}
