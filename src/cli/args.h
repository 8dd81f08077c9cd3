/*
 * args.h: the words of a command line, as the client sent them.
 *
 * One a line: an optional first "session_id=<ref>", the command, then "name=value", "--name" (the
 * same as name=true), or -u -pw -s -h -p followed by their value. A name may come more than once
 * (some commands take lists so); most look at the first. Pure.
 *
 *     _cleanup_(args_done) struct args a = {0};
 *     TRY(args_parse(body, &a));
 *     const char *uuid = args_get(&a, "uuid");
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "base/val.h"
#include "base/vec.h"

struct arg {
    char *name, *value;
};

struct args {
    char *session; /* ref, or NULL */
    char *command; /* "" if there was none */
    VEC(struct arg) v;
};

/* CLI_SYNTAX: a word that is none of these. */
struct err *args_parse(struct view body, struct args *ret) _must_use_;
void args_done(struct args *a);

const char *args_get(const struct args *a, const char *name); /* NULL if absent */
const char *args_or(const struct args *a, const char *name, const char *otherwise);
/* CLI_PARAM_MISSING names it. */
struct err *args_need(const struct args *a, const char *name, const char **ret) _must_use_;
/* CLI_FAILURE unless true or false (also 1, 0, yes, no). */
struct err *args_bool(const struct args *a, const char *name, bool otherwise, bool *ret) _must_use_;
/* A number, for sizes also with KiB, MiB, GiB, TiB. */
struct err *args_int(const char *name, const char *value, int64_t *ret) _must_use_;
/* "prefix:key=value" and the older "prefix-key=value" as a map; the caller's reference. */
struct val *args_map(const struct args *a, const char *prefix);

#define args_each(p, a) for (const struct arg *p = (a)->v.v; p && p < (a)->v.v + (a)->v.n; p++)

/* Parameters that are about the command line itself and select nothing. */
bool arg_is_standard(const char *name);

/* Errors of the command line. They travel as any other; error.c turns them into text. */
struct err *cli_fail_at(const char *file, int line, const char *code, const char *fmt, ...)
    _printf_(4, 5) _must_use_;
#define cli_fail(...)     cli_fail_at(__FILE__, __LINE__, "CLI_FAILURE", __VA_ARGS__)
#define cli_syntax(...)   cli_fail_at(__FILE__, __LINE__, "CLI_SYNTAX", __VA_ARGS__)
#define cli_missing(name) cli_fail_at(__FILE__, __LINE__, "CLI_PARAM_MISSING", "%s", (name))
/* Everything was said already: only the exit status is left. */
#define cli_exit() cli_fail_at(__FILE__, __LINE__, "CLI_EXIT", "%s", "")
