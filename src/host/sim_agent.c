/*
 * sim_agent.c: the agent of a simulated guest. It runs nothing: a program's output is its last
 * argument, and its code the number behind an "exit" that this begins with. Files are kept. All of
 * it stands in the guest's file of the world, under "inside":
 *
 *     {"ran": ["/bin/sh", "-c", "ls"], "files": {"/run/x": "text"}, "open": "/run/x"}
 */
#include <stdio.h>
#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "codec/base64.h"
#include "host/sim_world.h"

#define TEXT_MAX (64u << 10)
#define PID      4711
#define HANDLE   1000

static struct err *not_given(const char *key)
{
    return err_internal("the guest agent: '%s' is missing", key);
}

static struct err *guest_exec(struct val *inside, const struct val *args, struct val **ret)
{
    struct val *ran = val_set();
    const char *path = val_map_str(args, "path", "");
    const struct val *words = val_map_get(args, "arg");
    if (*path)
        val_add_str(ran, path);
    for (size_t i = 0; words && i < val_count(words); i++)
        val_add(ran, val_ref(val_at(words, i)));
    val_put(inside, "ran", ran);
    *ret = val_map();
    val_put_int(*ret, "pid", PID);
    return *path ? NULL : not_given("path");
}

static struct err *guest_exec_status(struct val *inside, const struct val *args, struct val **ret)
{
    const struct val *ran = val_map_get(inside, "ran");
    const char *last = ran && val_count(ran) ? val_str_at(ran, val_count(ran) - 1) : "";
    _cleanup_(buf_done) struct buf text;
    int code = 0;
    buf_init(&text, TEXT_MAX);
    base64_put(&text, view_of(last));
    (void)sscanf(last, "exit %3d", &code);
    *ret = val_map();
    val_put_bool(*ret, "exited", true);
    val_put_int(*ret, "exitcode", code);
    val_put_str(*ret, "out-data", buf_str(&text));
    return NULL;
}

static struct err *guest_file_open(struct val *inside, const struct val *args, struct val **ret)
{
    const char *path = val_map_str(args, "path", "");
    val_put_str(inside, "open", path);
    *ret = val_int(HANDLE);
    return *path ? NULL : not_given("path");
}

static struct err *guest_file_write(struct val *inside, const struct val *args, struct val **ret)
{
    _cleanup_(buf_done) struct buf text;
    _cleanup_(rstr_unrefp) const char *path = rstr_new(val_map_str(inside, "open", ""));
    const struct val *old = val_map_get(inside, "files");
    buf_init(&text, TEXT_MAX);
    if (base64_get(view_of(val_map_str(args, "buf-b64", "")), &text) < 0)
        return err_internal("the guest agent: this is not base64");
    val_put(inside, "files", val_with(old ? old : val_empty_map(), path, buf_str(&text)));
    *ret = val_map();
    val_put_int(*ret, "count", (int64_t)text.size);
    return NULL;
}

static struct err *guest_file_close(struct val *inside, const struct val *args, struct val **ret)
{
    val_put_str(inside, "open", "");
    *ret = val_map();
    return NULL;
}

static const struct command {
    const char *name;
    struct err *(*run)(struct val *inside, const struct val *args, struct val **ret);
} commands[] = {
    {"guest-exec", guest_exec},
    {"guest-exec-status", guest_exec_status},
    {"guest-file-open", guest_file_open},
    {"guest-file-write", guest_file_write},
    {"guest-file-close", guest_file_close},
};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static struct err *answer(struct sim *s, struct sim_guest *g, const struct command *c,
                          const struct val *args, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *got = NULL;
    struct val *inside = val_map();
    for (size_t i = 0; g->inside && i < val_count(g->inside); i++)
        val_put(inside, val_key_at(g->inside, i), val_ref(val_at(g->inside, i)));
    val_unref(g->inside);
    g->inside = inside;
    TRY(c->run(inside, args, &got));
    TRY(world_put_guest(s, g));
    *ret = steal(&got);
    return NULL;
}

struct err *sim_ask_agent(void *hv, const struct verb *v, const char *vm, const char *command,
                          const struct val *args, struct val **ret)
{
    struct sim *s = hv;
    _cleanup_(world_closep) int lock = -1;
    _cleanup_(sim_guest_freep) struct sim_guest *g = NULL;
    const struct command *c = find(command);
    TRY(sim_fault(s, "ask_agent"));
    TRY(world_open(s, &lock));
    TRY(world_guest(s, vm, &g));
    if (!g || !g->agent || g->state != GUEST_RUNNING)
        return err_internal("no guest agent answers");
    if (!c)
        return err_internal("the guest agent: it does not know '%s'", command);
    return answer(s, g, c, args, ret);
}
