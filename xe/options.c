/* options.c: see options.h. */
#include "xe/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"

static void replace(char **slot, const char *value)
{
    free(*slot);
    *slot = mem_strdup(value);
}

static int set_port(struct options *o, const char *value)
{
    uint64_t port;
    if (str_u64(view_of(value), 0, 65535, &port) < 0) {
        fprintf(stderr, "Port number must be an integer (0-65535)\n");
        return -EINVAL;
    }
    replace(&o->port, value);
    return 0;
}

/* User on the first line, password on the second. */
static int read_password_file(struct options *o, const char *path)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4096);
    int r = fd_read_file(path, 4096, &b);
    if (r < 0) {
        fprintf(stderr, "Error opening password file '%s': %s\n", path, strerror(-r));
        return -EINVAL;
    }
    struct view rest = {buf_str(&b), b.size}, user, password;
    view_split(&rest, '\n', &user);
    view_split(&rest, '\n', &password);
    user = view_trim(user);
    if (!user.size || !password.size) {
        fprintf(stderr, "Error: password file format: expecting username on the first line, "
                        "password on the second line\n");
        return -EINVAL;
    }
    free(o->username);
    free(o->password);
    o->username = view_dup(user);
    o->password = view_dup(password);
    return 0;
}

/* 1: it was a setting; 0: it is none; -EINVAL. */
static int set(struct options *o, const char *key, const char *value)
{
    if (strcmp(key, "server") == 0)
        replace(&o->server, value);
    else if (strcmp(key, "port") == 0)
        return set_port(o, value) < 0 ? -EINVAL : 1;
    else if (strcmp(key, "username") == 0)
        replace(&o->username, value);
    else if (strcmp(key, "password") == 0)
        replace(&o->password, value);
    else if (strcmp(key, "passwordfile") == 0)
        return read_password_file(o, value) < 0 ? -EINVAL : 1;
    else if (strcmp(key, "nossl") == 0)
        o->plain = strcmp(value, "true") == 0;
    else if (strcmp(key, "debug") == 0)
        o->debug = strcmp(value, "true") == 0;
    else
        return 0;
    return 1;
}

/* "key=value"; anything else is passed on. */
static int take_word(struct options *o, const char *word)
{
    const char *equals = strchr(word, '=');
    if (equals) {
        _cleanup_(freep) char *key = mem_strndup(word, (size_t)(equals - word));
        int r = set(o, key, equals + 1);
        if (r)
            return r < 0 ? r : 0;
    }
    vec_push(&o->words, mem_strdup(word));
    return 0;
}

/* Options with a value of their own and bare ones. */
static const struct {
    const char *word, *key, *value; /* value NULL: the next word */
} shorts[] = {
    {"-s", "server", NULL},       {"-h", "server", NULL},       {"-p", "port", NULL},
    {"-u", "username", NULL},     {"-pw", "password", NULL},    {"-pwf", "passwordfile", NULL},
    {"--nossl", "nossl", "true"}, {"--debug", "debug", "true"},
};

/* Takes one word, or two, of a list. */
static int take_option(struct options *o, unsigned n, char *const *words, unsigned *at)
{
    const char *word = words[(*at)++];
    if (strcmp(word, "-help") == 0 || strcmp(word, "--help") == 0)
        o->help = true;
    if (strcmp(word, "-version") == 0 || strcmp(word, "--version") == 0)
        o->version = true;
    for (size_t i = 0; i < ARRAY_LEN(shorts); i++) {
        if (strcmp(word, shorts[i].word) != 0)
            continue;
        const char *value = shorts[i].value;
        if (!value && *at == n) {
            fprintf(stderr, "The option %s takes a value\n", word);
            return -EINVAL;
        }
        return set(o, shorts[i].key, value ? value : words[(*at)++]) < 0 ? -EINVAL : 0;
    }
    return take_word(o, word);
}

static int take_words(struct options *o, unsigned n, char *const *words)
{
    int r = 0;
    for (unsigned at = 0; at < n && r == 0;)
        r = take_option(o, n, words, &at);
    return r;
}

static int read_extra_args(struct options *o)
{
    VEC(char *) words = {0};
    _cleanup_(buf_done) struct buf b;
    const char *p = getenv("XE_EXTRA_ARGS");
    buf_init(&b, 1 << 16);
    for (; p && *p; p++) {
        if (*p == '\\' && p[1])
            buf_putc(&b, *++p);
        else if (*p != ',')
            buf_putc(&b, *p);
        if ((*p == ',' && p[-1] != '\\') || !p[1]) {
            if (b.size)
                vec_push(&words, mem_strdup(buf_str(&b)));
            buf_clear(&b);
        }
    }
    int r = take_words(o, (unsigned)words.n, words.v);
    vec_each (w, &words)
        free(*w);
    vec_done(&words);
    return r;
}

static int read_rc(struct options *o)
{
    const char *home = getenv("HOME");
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 16);
    if (!home)
        return 0;
    _cleanup_(freep) char *path = mem_printf("%s/.xe", home);
    if (fd_read_file(path, 1 << 16, &b) < 0)
        return 0;
    struct view rest = {buf_str(&b), b.size}, line, key;
    while (rest.size) {
        view_split(&rest, '\n', &line);
        line = view_trim(line);
        if (!line.size || *line.p == '#' || !view_split(&line, '=', &key))
            continue;
        _cleanup_(freep) char *k = view_dup(view_trim(key)), *v = view_dup(view_trim(line));
        _cleanup_(freep) char *word = mem_printf("%s=%s", k, v);
        int r = take_word(o, word);
        if (r < 0)
            return r;
    }
    return 0;
}

int options_read(int argc, char **argv, struct options *ret)
{
    *ret = (struct options){0};
    /* The command comes first on the line; words of the other places follow it. */
    struct options early = {0};
    int r = read_rc(&early);
    if (r == 0)
        r = read_extra_args(&early);
    struct options line = early;
    line.words.v = NULL;
    line.words.n = line.words.cap = 0;
    if (r == 0)
        r = take_words(&line, argc > 0 ? (unsigned)argc - 1 : 0, argv + 1);
    bool empty = line.words.n == 0;
    vec_each (w, &early.words) {
        if (empty)
            free(*w);
        else
            vec_push(&line.words, *w);
    }
    vec_done(&early.words);
    *ret = line;
    return r;
}

void options_done(struct options *o)
{
    free(o->server);
    free(o->port);
    free(o->username);
    free(o->password);
    vec_each (w, &o->words)
        free(*w);
    vec_done(&o->words);
}
