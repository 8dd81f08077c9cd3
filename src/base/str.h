/*
 * str.h: looking at text that came from outside.
 *
 * A view is a pointer and a size; nothing is copied and nothing needs a NUL. Parsers take the whole
 * of their input and a range, and know no locale; they return 0 or -EINVAL/-ERANGE and write their
 * result on success only.
 *
 *     uint64_t n;
 *     if (str_u64(view_of("42"), 0, 100, &n) < 0) …
 *
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

struct view {
    const char *p;
    size_t size;
};

static inline struct view view_of(const char *s)
{
    return (struct view){s, strlen(s)};
}

bool view_eq(struct view v, const char *s);
bool view_ieq(struct view v, const char *s); /* ASCII, any case */
bool view_starts(struct view v, const char *prefix);
struct view view_trim(struct view v); /* without blanks and tabs at both ends */
struct view view_cut(struct view v, size_t from);
/* Splits at the first `sep`: *head is what stands before it and v what follows; false (and all of
 * it in *head) when there is none. */
bool view_split(struct view *v, char sep, struct view *head);
char *view_dup(struct view v);

int str_u64(struct view v, uint64_t min, uint64_t max, uint64_t *ret) _must_use_;
int str_i64(struct view v, int64_t min, int64_t max, int64_t *ret) _must_use_;
int str_hex64(struct view v, uint64_t *ret) _must_use_; /* 1 to 16 digits, no prefix */
int str_double(struct view v, double *ret) _must_use_;  /* also nan, inf */
int str_size(struct view v, uint64_t *ret) _must_use_;  /* 12, 4k, 4KiB, 2MiB, 3GiB, 1TiB: bytes */

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_is_utf8(struct view v);

#define UUID_SIZE 37
/* A random uuid, lower case, 8-4-4-4-12, with its NUL. */
void str_uuid(char out[UUID_SIZE]);
bool str_is_uuid(const char *s);

/* "20250319T04:16:24Z" (18 characters and NUL) from seconds since 1970, UTC. */
#define DATETIME_SIZE 24
void str_datetime(int64_t s, char out[DATETIME_SIZE]);
/* Also dashes, fractions, offsets, a missing zone (UTC) and a bare date. */
int str_parse_datetime(struct view v, int64_t *ret) _must_use_;

/* Random bytes from the kernel; aborts if there are none. */
void str_random(void *p, size_t size);
