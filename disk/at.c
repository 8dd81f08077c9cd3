/* at.c: see at.h. Called by diskd.c. */
#include "disk/at.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/backend/remote.h"
#include "disk/report.h"

static int complain(const char *path, int err)
{
    const char *name = strerrorname_np(-err);
    json_t *text = json_sprintf("'%s': %s", path, strerror(-err));
    (void)report_print(json_pack("{s:{s:s, s:o}}", "error", "code", name ? name : "EIO", "message",
                                 text ? text : json_string("failed")));
    return EXIT_FAILURE;
}

static int run(const char *verb, const char *path, const char *more, json_t **ret)
{
    static const struct {
        const char *verb;
        int (*run)(const char *url, const char *local);
    } files[] = {{"fetch", at_fetch}, {"put", at_put}, {"commit", at_commit}};
    if (strcmp(verb, "read") == 0)
        return more ? at_read(path, more, ret) : -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strcmp(verb, files[i].verb) == 0) {
            *ret = json_object();
            return more ? files[i].run(path, more) : -EINVAL;
        }
    return remote_tool(verb, path, more, ret);
}

int at_run(const char *verb, const char *path, const char *more)
{
    json_t *answer = NULL;
    int r = remote_is(path) ? remote_load_for(path) : -EINVAL;
    if (r == 0)
        r = run(verb, path, more, &answer);
    if (r == 0)
        return report_print(answer);
    json_decref(answer);
    return complain(path, r);
}
