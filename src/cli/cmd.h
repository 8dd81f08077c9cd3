/*
 * cmd.h: one running command; for the files of src/cli alone.
 *
 * A command is a function that gets a `struct cmd`: its arguments, the caller's session, the way to
 * call messages, and the output. What it returns as error, serve.c turns into text and exit
 * status 1. Lives on the stream thread that serves the client.
 *
 *     static struct err *vm_pause(struct cmd *c) { … TRY(cmd_call(c, NULL, "VM.pause", "s", vm)); }
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "base/vec.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/talk.h"
#include "cli/xe_desc.h"

struct cmd {
    const struct cli_backend *backend;
    struct talk *talk;
    struct args args;
    const struct xe_command *desc;
    const char *session; /* rstr */
    bool minimal;
    bool force;            /* --force */
    bool progress;         /* --progress: long messages tell how far they are */
    bool verbose_errors;   /* --trace: the raw code too */
    struct val *records;   /* map ref -> record, of what was looked at; see cmd_record() */
    VEC(char *) collected; /* what --minimal prints at the end */
};

typedef struct err *(*cmd_fn)(struct cmd *c);

/* A hand-written command. Tables end with name NULL. */
struct cmd_impl {
    const char *name;
    cmd_fn run;
    const char *help;    /* one sentence */
    const char *needs;   /* the message that it is about; help lists the command once that is there.
                            NULL: reading and implicit messages only */
    const char *handler; /* the HTTP handler that it goes through, likewise */
};
const struct cmd_impl *cmd_find_impl(const char *name);
/* The command of that name in the tables, or NULL. */
const struct xe_command *cmd_find(const char *name);
/* Whether a hand-written command's HTTP handler is there. */
bool cmd_is_served(const struct cmd *c, const struct cmd_impl *impl);

/* ---- calling ---- */

/* The reference that names nothing. */
#define CMD_NULL "OpaqueRef:NULL"
bool cmd_is_null(const char *ref);

/* Calls a message; what was said goes out before one that may take long. `types` has a letter per
 * argument: s string or reference (const char *), i number (int64_t), b bool (int), f double, v
 * value (const struct val *). ret may be NULL. */
struct err *cmd_call(struct cmd *c, struct val **ret, const char *message, const char *types, ...)
    _must_use_;
struct err *cmd_call_v(struct cmd *c, struct val **ret, const char *message,
                       const struct val *params) _must_use_;
/* The same for a message that returns a string; *ret is the caller's (free). */
struct err *cmd_call_str(struct cmd *c, char **ret, const char *message, const char *ref)
    _must_use_;
/* Reference of the object with this uuid. */
struct err *cmd_by_uuid(struct cmd *c, const char *cls, const char *uuid, char **ret) _must_use_;
/* The same from a parameter that must be there. */
struct err *cmd_need_ref(struct cmd *c, const char *cls, const char *param, char **ret) _must_use_;
/* The same from a parameter that may be missing: then the null reference. */
struct err *cmd_optional_ref(struct cmd *c, const char *cls, const char *param, char **ret)
    _must_use_;
/* References of a list of uuids with commas between them. */
struct err *cmd_refs(struct cmd *c, const char *cls, const char *uuids, struct val **ret)
    _must_use_;
/* The host of a parameter; without it the one that serves this session. */
struct err *cmd_host(struct cmd *c, const char *param, char **ret) _must_use_;
/* The record of an object, borrowed until the command ends; *ret is NULL if it is gone. Looked up
 * once. */
struct err *cmd_record(struct cmd *c, const char *cls, const char *ref, const struct val **ret)
    _must_use_;
/* Forget what was looked up, after a change. */
void cmd_forget(struct cmd *c);
/* uuid of an object, "" if it is gone; the caller's (free). */
struct err *cmd_uuid_of(struct cmd *c, const char *cls, const char *ref, char **ret) _must_use_;
/* The one pool; the host that serves this session. Caller's (free). */
struct err *cmd_pool(struct cmd *c, char **ret) _must_use_;
struct err *cmd_this_host(struct cmd *c, char **ret) _must_use_;

/* ---- output ---- */

/* A line of data. Under --minimal it is collected (commas escaped) and printed joined at the end.
 */
void cmd_print(struct cmd *c, const char *text);
/* The uuid of an object, as such a line. */
struct err *cmd_print_uuid(struct cmd *c, const char *cls, const char *ref) _must_use_;
/* A message to a human: dropped under --minimal. */
void cmd_say(struct cmd *c, const char *fmt, ...) _printf_(2, 3);
void cmd_warn(struct cmd *c, const char *fmt, ...) _printf_(2, 3); /* standard error */
/* One record: a map from label to text. Under --minimal the first text alone. */
void cmd_print_record(struct cmd *c, const struct val *record);
/* Prints what was collected. */
void cmd_flush(struct cmd *c);
/* Text with , and \ escaped by \. */
char *cmd_escape(const char *text);

/* Asks on a terminal for a "yes"; with force=true it does not ask. CLI_EXIT after a no. */
struct err *cmd_confirm(struct cmd *c) _must_use_;

/* A list with commas as a set of strings. */
struct val *cmd_strings(const char *list);

/* ---- interpreters ---- */

/* Runs <class>-<verb> if the command is one; *ret_known tells. (generic.c) */
struct err *generic_run(struct cmd *c, bool *ret_known) _must_use_;
const struct xe_family *generic_find(const char *command, enum xe_verb *ret_verb);
/* Runs desc->call. (call.c) */
struct err *call_run(struct cmd *c) _must_use_;
/* The message that such a call is about; the caller's (free). */
char *call_message(const char *call);

/* Says what went wrong, on the client's standard error. (complain.c) */
void complain(struct cmd *c, const struct err *e);
