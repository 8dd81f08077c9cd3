/* args.c: see args.h. Called by serve.c with what a stranger sent; pure. */
#include "cli/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define MAX_ARGS 4096

struct err *cli_fail_at(const char *file, int line, const char *code, const char *fmt, ...)
{
    va_list ap;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 64 << 10);
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    const char *text = buf_str(&b);
    return err_make_v(code, file, line, 1, &text);
}

static void add(struct args *a, struct view name, struct view value)
{
    struct arg arg = {view_dup(name), view_dup(value)};
    vec_push(&a->v, arg);
}

/* The long name of a short option that takes a value; NULL if it is none. */
static const char *short_option(struct view word)
{
    static const char *const names[][2] = {
        {"-u", "username"}, {"-pw", "password"}, {"-s", "server"}, {"-h", "server"}, {"-p", "port"},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (view_eq(word, names[i][0]))
            return names[i][1];
    return NULL;
}

static bool next_line(struct view *rest, struct view *ret)
{
    if (!rest->size)
        return false;
    view_split(rest, '\n', ret);
    if (ret->size && ret->p[ret->size - 1] == '\r')
        ret->size--;
    return true;
}

static struct err *parse_word(struct args *a, struct view word, struct view *rest)
{
    struct view name, value = word;
    const char *option = short_option(word);
    if (option) {
        if (!next_line(rest, &value))
            return cli_syntax("option '%.*s' takes a value", (int)word.size, word.p);
        add(a, view_of(option), value);
    } else if (view_starts(word, "--") && word.size > 2) {
        struct view bare = view_cut(word, 2);
        value = bare;
        if (view_split(&value, '=', &name))
            add(a, name, value);
        else
            add(a, bare, view_of("true"));
    } else if (view_split(&value, '=', &name) && name.size) {
        add(a, name, value);
    } else if (!*a->command) {
        free(a->command);
        a->command = view_dup(word);
    } else if (strcmp(a->command, "help") == 0) {
        add(a, word, view_of(""));
    } else {
        return cli_syntax("'%.*s' is not of the form name=value", (int)word.size, word.p);
    }
    return NULL;
}

struct err *args_parse(struct view body, struct args *ret)
{
    _cleanup_(args_done) struct args a = {.command = mem_strdup("")};
    struct view line;
    if (body.size && memchr(body.p, '\0', body.size))
        return cli_syntax("a word holds a NUL");
    for (bool first = true; next_line(&body, &line); first = false) {
        if (first && view_starts(line, "session_id=")) {
            a.session = view_dup(view_cut(line, strlen("session_id=")));
            continue;
        }
        if (!line.size)
            continue;
        if (a.v.n >= MAX_ARGS)
            return cli_syntax("more than %d arguments", MAX_ARGS);
        TRY(parse_word(&a, line, &body));
    }
    *ret = a;
    a = (struct args){0};
    return NULL;
}

void args_done(struct args *a)
{
    args_each(p, a)
    {
        free(p->name);
        free(p->value);
    }
    vec_done(&a->v);
    free(a->session);
    free(a->command);
    a->session = a->command = NULL;
}

const char *args_get(const struct args *a, const char *name)
{
    args_each(p, a) if (strcmp(p->name, name) == 0) return p->value;
    return NULL;
}

const char *args_or(const struct args *a, const char *name, const char *otherwise)
{
    const char *value = args_get(a, name);
    return value ? value : otherwise;
}

struct err *args_need(const struct args *a, const char *name, const char **ret)
{
    const char *value = args_get(a, name);
    if (!value)
        return cli_missing(name);
    *ret = value;
    return NULL;
}

struct err *args_bool(const struct args *a, const char *name, bool otherwise, bool *ret)
{
    static const char *const yes[] = {"true", "1", "yes", "t", "y"};
    static const char *const no[] = {"false", "0", "no", "f", "n"};
    const char *value = args_get(a, name);
    bool found = !value, result = otherwise;
    for (size_t i = 0; value && i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0) {
            result = strcasecmp(value, yes[i]) == 0;
            found = true;
        }
    }
    if (!found)
        return cli_fail("Parameter %s must be a boolean (true or false)", name);
    *ret = result;
    return NULL;
}

struct err *args_int(const char *name, const char *value, int64_t *ret)
{
    uint64_t size;
    int64_t n;
    if (str_i64(view_of(value), INT64_MIN, INT64_MAX, &n) < 0) {
        if (str_size(view_of(value), &size) < 0 || size > INT64_MAX)
            return cli_fail("Parameter %s must be an integer", name);
        n = (int64_t)size;
    }
    *ret = n;
    return NULL;
}

struct val *args_map(const struct args *a, const char *prefix)
{
    struct val *map = val_map();
    size_t size = strlen(prefix);
    args_each(p, a)
    {
        if (strncmp(p->name, prefix, size) == 0 && strchr(":-", p->name[size]) && p->name[size] &&
            p->name[size + 1])
            val_put_str(map, p->name + size + 1, p->value);
    }
    return map;
}

bool arg_is_standard(const char *name)
{
    static const char *const names[] = {"server",           "password", "port",     "username",
                                        "minimal",          "force",    "multiple", "all",
                                        "message-priority", "trace",    "progress"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}
