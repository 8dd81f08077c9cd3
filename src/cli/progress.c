/* progress.c: see progress.h. Waits by events of the one task, not by asking again and again. */
#include "cli/progress.h"

#include <string.h>

#include "codec/xml.h"
#include "state/desc.h"

#define WAIT_SECONDS 30.0
/* How long a task may take to notice that its transfer failed. */
#define GRACE_SECONDS 10.0

bool progress_is_for(const char *message)
{
    const struct msg_desc *m = desc_msg(message);
    const char *verb = strchr(message, '.');
    return m && m->flags & MSG_ASYNC && m->kind == MSG_EXPLICIT && verb &&
           !str_starts(verb + 1, "get_");
}

/* ---- waiting for a task ---- */

struct follow {
    struct cmd *cmd;
    const char *task;
    char *token;
    const char *title; /* NULL: nothing is told */
    int percent;       /* told last; -1: nothing yet */
    struct val *record;
};

static void follow_done(struct follow *f)
{
    if (f->percent >= 0)
        talk_stderr(f->cmd->talk, "\n");
    free(f->token);
    val_unref(f->record);
}

static bool is_over(const struct val *record)
{
    const char *status = val_map_str(record, "status", "");
    return strcmp(status, "pending") != 0 && strcmp(status, "cancelling") != 0;
}

static double progress_of(const struct val *record)
{
    const struct val *v = val_map_get(record, "progress");
    return v && val_kind(v) == VAL_FLOAT ? val_get_float(v) : 0;
}

static void tell(struct follow *f)
{
    double progress = progress_of(f->record);
    int percent = progress <= 0 ? 0 : progress >= 1 ? 100 : (int)(progress * 100);
    bool over = is_over(f->record);
    bool failed = over && strcmp(val_map_str(f->record, "status", ""), "success") != 0;
    if (!f->title || percent == f->percent || failed || (over && f->percent < 0))
        return;
    _cleanup_(freep) char *line = mem_printf("\r%s: %3d %%", f->title, percent);
    talk_stderr(f->cmd->talk, line);
    f->percent = percent;
}

/* The task's next state; a client that has left is noticed by the word to it. */
static struct err *next_state(struct follow *f, double seconds)
{
    _cleanup_(val_unrefp) struct val *classes = val_set(), *batch = NULL;
    _cleanup_(freep) char *class = mem_printf("task/%s", f->task);
    struct cmd *c = f->cmd;
    val_add_str(classes, class);
    talk_debug(c->talk, "waiting for the task");
    talk_flush(c->talk);
    if (c->talk->broken)
        return cli_exit();
    TRY(cmd_call(c, &batch, "event.from", "vsf", classes, f->token, seconds));
    free(f->token);
    f->token = mem_strdup(val_map_str(batch, "token", ""));
    val_unrefp(&f->record);
    TRY(cmd_call(c, &f->record, "task.get_record", "s", f->task));
    tell(f);
    return NULL;
}

/* What the task ended with. */
static struct err *outcome(const struct follow *f, struct val **ret)
{
    const char *text = val_map_str(f->record, "result", ""), *params[16];
    const struct val *info = val_map_get(f->record, "error_info");
    const struct val *known = NULL;
    size_t size = info ? val_count(info) : 0;
    unsigned n = 0;
    for (size_t i = 1; i < size && n < ARRAY_LEN(params); i++)
        params[n++] = val_str_at(info, i);
    /* The task itself may be named in its error, and is gone when that is told. */
    if (size)
        TRY(cmd_record(f->cmd, "task", f->task, &known));
    if (size)
        return err_make_v(val_str_at(info, 0), __FILE__, __LINE__, n, params);
    if (strcmp(val_map_str(f->record, "status", ""), "cancelled") == 0)
        return err_make("TASK_CANCELLED", __FILE__, __LINE__, 1, f->task);
    if (!ret)
        return NULL;
    if (*text != '<' || xml_parse_value(view_of(text), ret) < 0)
        *ret = val_str(text);
    return NULL;
}

/* One that no handler has taken over ends here: only what has ended can be destroyed. */
static void forget_task(const struct follow *f)
{
    struct cmd *c = f->cmd;
    if (f->record && !is_over(f->record) && progress_of(f->record) < 0)
        err_free(cmd_call(c, NULL, "task.set_status", "ss", f->task, "cancelled"));
    err_free(cmd_call(c, NULL, "task.destroy", "s", f->task));
}

/* ---- messages ---- */

static struct err *follow_to_the_end(struct follow *f)
{
    do
        TRY(next_state(f, WAIT_SECONDS));
    while (!is_over(f->record));
    return NULL;
}

struct err *progress_call(struct cmd *c, struct val **ret, const char *message,
                          const struct val *params)
{
    _cleanup_(freep) char *async = mem_printf("Async.%s", message);
    _cleanup_(val_unrefp) struct val *task = NULL;
    TRY(c->backend->call(c->backend->arg, c->session, async, params, &task));
    _cleanup_(follow_done) struct follow f = {.cmd = c,
                                              .task = val_get_str(task),
                                              .token = mem_strdup(""),
                                              .title = message,
                                              .percent = -1};
    TRY(follow_to_the_end(&f));
    struct err *e = outcome(&f, ret);
    forget_task(&f);
    return e;
}

/* ---- transfers ---- */

char *progress_quote(const char *text)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    for (const char *p = text; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-_.~:,", *p);
        if (plain)
            buf_putc(&b, *p);
        else
            buf_printf(&b, "%%%02X", (unsigned char)*p);
    }
    return mem_strdup(buf_str(&b));
}

/* A handler that takes a task over sets its progress; this tells one that none has. */
#define UNTOUCHED -1.0

static struct err *make_task(struct cmd *c, const char *title, char **ret)
{
    _cleanup_(val_unrefp) struct val *task = NULL;
    TRY(cmd_call(c, &task, "task.create", "ss", title, ""));
    *ret = mem_strdup(val_get_str(task));
    return cmd_call(c, NULL, "task.set_progress", "sf", *ret, UNTOUCHED);
}

/* The last state of a transfer's task. If the transfer failed, the task may have to find out yet;
 * if no handler ever saw it, there is nothing to wait for. */
static struct err *settle(struct follow *f, bool ok)
{
    TRY(next_state(f, WAIT_SECONDS));
    if (is_over(f->record))
        return NULL;
    if (progress_of(f->record) < 0)
        return ok ? NULL : cli_fail("The transfer failed: the server never saw it");
    if (ok)
        return follow_to_the_end(f);
    TRY(next_state(f, GRACE_SECONDS));
    return is_over(f->record) ? NULL : cli_fail("The transfer failed");
}

struct err *progress_transfer(struct cmd *c, const struct transfer *t, struct val **ret_result)
{
    bool ok = false;
    _cleanup_(freep) char *task = NULL, *url = NULL;
    TRY(make_task(c, t->title, &task));
    url = mem_printf("%s%csession_id=%s&task_id=%s", t->path, strchr(t->path, '?') ? '&' : '?',
                     c->session, task);
    struct err *e = talk_transfer(c->talk, t->how, t->file, url, &ok);
    _cleanup_(follow_done) struct follow f = {
        .cmd = c, .task = task, .token = mem_strdup(""), .percent = -1};
    if (!e)
        e = settle(&f, ok);
    if (!e)
        e = outcome(&f, ret_result);
    if (!e && !ok)
        e = cli_fail("The transfer failed");
    forget_task(&f);
    return e;
}
