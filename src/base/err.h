/*
 * err.h: the one way to say that something failed.
 *
 * A fallible function returns `struct err *`; NULL is success. An error carries a XenAPI code with
 * its parameters (made by the generated macros of gen/error.h, which fix their number), where it
 * was made, errno where there was one, and the cause below it. It is made once, where the facts
 * are, and travels unchanged; err_wrap() adds context for the log.
 *
 *     if (vm->power_state != VM_POWER_STATE_HALTED)
 *         return err_VM_BAD_POWER_STATE(vm->row.ref, "halted", state);
 *     TRY(disk_attach(d));
 *
 * TRY() may leave a function at any point, so every local that owns something carries _cleanup_.
 * Leaf libraries (base, codec, disk) do not use this type; they return -errno.
 * An error belongs to who holds the pointer; free it with err_free() or hand it on.
 */
#pragma once

#include <stdbool.h>

#include "base/mem.h"

struct err;

/* One row of the generated table of codes. */
struct err_code {
    const char *name;
    unsigned n_params;
    const char *const *params;
};

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        struct err *try_err = (expr);                                                              \
        if (try_err)                                                                               \
            return try_err;                                                                        \
    } while (0)

/* Makes an error; the n parameters are strings and are copied (NULL counts as ""). Called through
 * the generated macros. */
struct err *err_make(const char *code, const char *file, int line, unsigned n, ...) _must_use_;
/* The same from an array, for codes that are known at run time only. */
struct err *err_make_v(const char *code, const char *file, int line, unsigned n,
                       const char *const *params) _must_use_;
/* INTERNAL_ERROR with a formatted text: something that should not have happened. */
#define err_internal(...) err_internal_at(__FILE__, __LINE__, 0, __VA_ARGS__)
/* The same with the errno of a system call. */
#define err_errno(en, ...) err_internal_at(__FILE__, __LINE__, (en), __VA_ARGS__)
struct err *err_internal_at(const char *file, int line, int en, const char *fmt, ...) _printf_(4, 5)
    _must_use_;

/* Puts a sentence of context on the error (for the log; the wire shows code and parameters). */
struct err *err_wrap(struct err *e, const char *fmt, ...) _printf_(2, 3) _must_use_;

const char *err_code(const struct err *e);
bool err_is(const struct err *e, const char *code); /* false for NULL */
unsigned err_n_params(const struct err *e);
const char *err_param(const struct err *e, unsigned i); /* "" beyond the last */
int err_get_errno(const struct err *e);
/* One line: code, parameters, context, place. Caller frees. */
char *err_text(const struct err *e);
struct err *err_copy(const struct err *e) _must_use_;
void err_free(struct err *e);

static inline void err_freep(struct err **e)
{
    err_free(*e);
    *e = NULL;
}
/* Keeps the first of two errors, frees the other; for clean-up paths. */
struct err *err_first(struct err *a, struct err *b) _must_use_;
