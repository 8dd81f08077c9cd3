/*
 * pattern.h: regular expressions from strangers, matched in time that they cannot make long.
 *
 * Alternatives, groups, `[a-z]`, `[^…]`, `.`, `*`, `+`, `?`, `\` before what is meant literally,
 * `^` and `$`. The C library's own matcher may exhaust the stack on a short expression; this one is
 * a small program run on all its paths at once: expression times text, nothing more.
 */
#pragma once

#include <stdbool.h>

#define PATTERN_MAX 256 /* bytes of an expression */

struct pattern;
struct pattern *pattern_new(const char *text);                    /* NULL: it cannot be read */
void pattern_free(struct pattern *p);                             /* NULL is fine */
bool pattern_is_match(const struct pattern *p, const char *text); /* the whole text */
