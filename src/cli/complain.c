/*
 * complain.c: an error as text on the client's standard error.
 *
 * What is wrong with the command line itself is said in the words that scripts know. An error of
 * the API is a sentence and a line "parameter: value" each, references replaced by uuid and name;
 * a code that has no sentence goes to the client as it is. Stream thread of the command.
 */
#include <string.h>

#include "cli/cmd.h"
#include "cli/sentence.h"
#include "cli/suggest.h"
#include "gen/error.h"
#include "state/desc.h"

static const struct err_code *find_code(const char *name)
{
    for (unsigned i = 0; i < err_n_codes; i++)
        if (strcmp(err_codes[i].name, name) == 0)
            return &err_codes[i];
    return NULL;
}

/* Classes whose objects errors speak of, most frequent first. */
static const char *const classes[] = {"VM",  "VDI",  "SR",   "VBD",  "VIF",     "host", "PBD",
                                      "PIF", "task", "pool", "VTPM", "network", "SM"};

/* "uuid (name)" of a reference; the text itself if it is none or nothing is known of it. */
static char *readable(struct cmd *c, const char *text)
{
    if (!str_starts(text, "OpaqueRef:") || !c->session)
        return mem_strdup(text);
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        const struct val *record = NULL;
        struct err *e = cmd_record(c, classes[i], text, &record);
        bool found = !e && record;
        err_free(e);
        if (!found) {
            if (c->records)
                val_del(c->records, text);
            continue;
        }
        const char *name = val_map_str(record, "name_label", NULL);
        return name ? mem_printf("%s (%s)", val_map_str(record, "uuid", ""), name)
                    : mem_strdup(val_map_str(record, "uuid", ""));
    }
    return mem_strdup(text);
}

/* Sizes in bytes, of errors about too little memory or space. */
static bool is_size(const char *param)
{
    static const char *const names[] = {"needed", "available", "requested", "maximum"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], param) == 0)
            return true;
    return false;
}

/* " (4.0 GiB)" behind a size that is large enough to be hard to read; else "". */
static char *in_units(const char *param, const char *value)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    uint64_t n;
    size_t unit = 0;
    if (!is_size(param) || str_u64(view_of(value), 0, INT64_MAX, &n) < 0 || n < 1 << 20)
        return mem_strdup("");
    double size = (double)n / 1024;
    for (; size >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        size /= 1024;
    return mem_printf(" (%.1f %s)", size, units[unit]);
}

static void say_params(struct cmd *c, const struct err_code *code, const struct err *e)
{
    unsigned n = err_n_params(e) > code->n_params ? err_n_params(e) : code->n_params;
    for (unsigned i = 0; i < n; i++) {
        _cleanup_(freep) char *value =
            i < err_n_params(e) ? readable(c, err_param(e, i)) : mem_strdup("<unknown>");
        const char *name = i < code->n_params ? code->params[i] : "<extra>";
        _cleanup_(freep) char *units = in_units(name, value);
        cmd_warn(c, "%s: %s%s", name, value, units);
    }
}

static void say_api(struct cmd *c, const struct err *e)
{
    const struct err_code *code = find_code(err_code(e));
    const char *sentence = sentence_of(err_code(e));
    if (!code) {
        talk_error(c->talk, e);
        return;
    }
    if (sentence)
        cmd_warn(c, "%s", sentence);
    else
        cmd_warn(c, "The server refused: %s.", err_code(e));
    say_params(c, code, e);
    if (remedy_of(err_code(e)))
        cmd_warn(c, "What helps: %s.", remedy_of(err_code(e)));
    if (c->verbose_errors)
        cmd_warn(c, "Error code: %s", err_code(e));
}

static void say_usage(struct cmd *c, const char *what, const char *detail)
{
    if (*what)
        cmd_warn(c, "%s: %s", what, detail);
    else
        cmd_warn(c, "%s", detail);
    cmd_warn(c, "For usage run: 'xe help'");
}

static void say_unknown_command(struct cmd *c, const char *name)
{
    const char *meant = suggest_command(name);
    cmd_warn(c, "Unknown command: %s", name);
    if (meant)
        cmd_warn(c, "Did you mean '%s'?", meant);
    cmd_warn(c, "For usage run: 'xe help'");
}

void complain(struct cmd *c, const struct err *e)
{
    if (err_is(e, "CLI_EXIT"))
        return;
    if (err_is(e, "CLI_FAILURE"))
        cmd_warn(c, "Error: %s", err_param(e, 0));
    else if (err_is(e, "CLI_SYNTAX"))
        say_usage(c, "Syntax error", err_param(e, 0));
    else if (err_is(e, "CLI_UNKNOWN_COMMAND"))
        say_unknown_command(c, err_param(e, 0));
    else if (err_is(e, "CLI_PARAM_MISSING"))
        say_usage(c, "Required parameter not found", err_param(e, 0));
    else if (err_is(e, "SESSION_AUTHENTICATION_FAILED"))
        say_usage(c, "",
                  *args_or(&c->args, "username", "") ? "Authentication failed"
                                                     : "Username/password must be specified");
    else
        say_api(c, e);
}
