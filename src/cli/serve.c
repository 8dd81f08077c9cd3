/*
 * serve.c: one command, from the client's words to the exit status; see cli.h.
 *
 *     hello -> words -> which command -> what it needs -> session -> run -> output -> Exit
 *
 * Runs on the stream thread of the connection and owns nothing beyond it.
 */
#define LOG_MODULE "cli"
#include "cli/cli.h"

#include <string.h>

#include "base/log.h"
#include "base/rstr.h"
#include "cli/cmd.h"
#include "cli/suggest.h"

/* ---- finding ---- */

static struct err *check_required(struct cmd *c, const struct xe_command *d)
{
    const char *value;
    for (const char *const *p = d->required; *p; p++)
        TRY(args_need(&c->args, *p, &value));
    return NULL;
}

/* ---- sessions ---- */

static bool is_help(const struct cmd *c)
{
    return strcmp(c->args.command, "help") == 0 || !*c->args.command;
}

/* A session of the words' first line is used and left alone; else one is made and ended. */
static struct err *open_session(struct cmd *c, const struct api_peer *peer, bool *ret_own)
{
    *ret_own = false;
    if (c->args.session) {
        if (c->backend->check)
            TRY(c->backend->check(c->backend->arg, c->args.session));
        c->session = rstr_new(c->args.session);
        return NULL;
    }
    const char *user = args_or(&c->args, "username", "");
    const char *password = args_or(&c->args, "password", "");
    if (peer->trusted && strcmp(user, "root") == 0)
        user = "";
    TRY(c->backend->login(c->backend->arg, peer, user, password, &c->session));
    *ret_own = true;
    return NULL;
}

/* ---- running ---- */

/* Reading commands are many and change nothing. */
static bool is_reading(const struct cmd *c)
{
    static const char *const ends[] = {"-list", "-get", "help"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (str_ends(c->args.command, ends[i]))
            return true;
    return false;
}

static struct err *run_known(struct cmd *c)
{
    bool generic;
    const struct cmd_impl *impl = cmd_find_impl(c->args.command);
    if (impl && cmd_is_served(c, impl))
        return impl->run(c);
    if (c->desc && c->desc->call && !impl)
        return call_run(c);
    if (c->desc)
        return cli_fail("The command %s is not implemented by this host", c->desc->name);
    return generic_run(c, &generic);
}

/* Parameters may be secrets. */
static void log_command(const struct cmd *c, const struct err *e)
{
    log_at(is_reading(c) ? LOG_DEBUG : LOG_INFO, "event=command name=%s result=%s", c->args.command,
           e ? err_code(e) : "ok");
}

static struct err *check_known(struct cmd *c)
{
    enum xe_verb verb;
    c->desc = cmd_find(c->args.command);
    if (c->desc)
        return check_required(c, c->desc);
    if (!is_help(c) && !generic_find(c->args.command, &verb))
        return cli_fail_at(__FILE__, __LINE__, "CLI_UNKNOWN_COMMAND", "%s", c->args.command);
    return NULL;
}

static struct err *run(struct cmd *c, const struct cli_conn *conn)
{
    bool own = false;
    TRY(args_parse(conn->body, &c->args));
    TRY(args_bool(&c->args, "minimal", false, &c->minimal));
    TRY(args_bool(&c->args, "trace", false, &c->verbose_errors));
    TRY(args_bool(&c->args, "force", false, &c->force));
    TRY(args_bool(&c->args, "progress", false, &c->progress));
    if (!*c->args.command) {
        free(c->args.command);
        c->args.command = mem_strdup("help");
    }
    TRY(check_known(c));
    suggest_parameters(c);
    if (!is_reading(c)) /* what changes something is for those who speak the protocol */
        TRY(talk_greet(c->talk));
    if (!is_help(c))
        TRY(open_session(c, &conn->peer, &own));
    if (c->session && conn->stream.be_patient)
        conn->stream.be_patient(conn->stream.arg);
    struct err *e = run_known(c);
    log_command(c, e);
    if (e)
        complain(c, e);
    else
        cmd_flush(c);
    if (own)
        c->backend->logout(c->backend->arg, c->session);
    if (!e)
        return NULL;
    err_free(e);
    return cli_exit();
}

static void cmd_done(struct cmd *c)
{
    args_done(&c->args);
    cmd_forget(c);
    rstr_unref(c->session);
    vec_each (p, &c->collected)
        free(*p);
    vec_done(&c->collected);
}

void cli_serve(const struct cli_backend *backend, const struct cli_conn *conn)
{
    struct talk talk;
    _cleanup_(cmd_done) struct cmd c = {.backend = backend, .talk = &talk};
    talk_open(&talk, &conn->stream);
    _cleanup_(err_freep) struct err *e = run(&c, conn);
    if (e)
        complain(&c, e);
    talk_exit(&talk, e ? 1 : 0);
    talk_done(&talk);
}
