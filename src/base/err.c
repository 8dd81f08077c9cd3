/* err.c: see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err {
    char *code;
    char **params;
    unsigned n;
    const char *file; /* constant */
    int line;
    int en;
    char *context; /* sentences added by err_wrap, outermost first; NULL if none */
};

static struct err *alloc(const char *code, const char *file, int line, unsigned n)
{
    struct err *e = mem_new(struct err);
    e->code = mem_strdup(code);
    e->params = mem_new_n(char *, n);
    e->n = n;
    e->file = file;
    e->line = line;
    return e;
}

struct err *err_make(const char *code, const char *file, int line, unsigned n, ...)
{
    struct err *e = alloc(code, file, line, n);
    va_list ap;
    va_start(ap, n);
    for (unsigned i = 0; i < n; i++) {
        const char *s = va_arg(ap, const char *);
        e->params[i] = mem_strdup(s ? s : "");
    }
    va_end(ap);
    return e;
}

struct err *err_make_v(const char *code, const char *file, int line, unsigned n,
                       const char *const *params)
{
    struct err *e = alloc(code, file, line, n);
    for (unsigned i = 0; i < n; i++)
        e->params[i] = mem_strdup(params[i] ? params[i] : "");
    return e;
}

struct err *err_internal_at(const char *file, int line, int en, const char *fmt, ...)
{
    struct err *e = alloc("INTERNAL_ERROR", file, line, 1);
    _cleanup_(freep) char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    e->en = en;
    e->params[0] = en ? mem_printf("%s: %s", text, strerror(en)) : mem_strdup(text);
    return e;
}

struct err *err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return NULL;
    _cleanup_(freep) char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    _cleanup_(freep) char *old = e->context;
    e->context = old ? mem_printf("%s: %s", text, old) : mem_strdup(text);
    return e;
}

const char *err_code(const struct err *e)
{
    return e->code;
}

bool err_is(const struct err *e, const char *code)
{
    return e && strcmp(e->code, code) == 0;
}

unsigned err_n_params(const struct err *e)
{
    return e->n;
}

const char *err_param(const struct err *e, unsigned i)
{
    return i < e->n ? e->params[i] : "";
}

int err_get_errno(const struct err *e)
{
    return e->en;
}

char *err_text(const struct err *e)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        abort();
    if (e->context)
        fprintf(f, "%s: ", e->context);
    fprintf(f, "%s(", e->code);
    for (unsigned i = 0; i < e->n; i++)
        fprintf(f, "%s'%s'", i ? ", " : "", e->params[i]);
    fprintf(f, ") at %s:%d", e->file, e->line);
    fclose(f);
    return text;
}

struct err *err_copy(const struct err *e)
{
    if (!e)
        return NULL;
    struct err *c = err_make_v(e->code, e->file, e->line, e->n, (const char *const *)e->params);
    c->en = e->en;
    c->context = e->context ? mem_strdup(e->context) : NULL;
    return c;
}

void err_free(struct err *e)
{
    if (!e)
        return;
    for (unsigned i = 0; i < e->n; i++)
        free(e->params[i]);
    free(e->params);
    free(e->code);
    free(e->context);
    free(e);
}

struct err *err_first(struct err *a, struct err *b)
{
    if (!a)
        return b;
    err_free(b);
    return a;
}
