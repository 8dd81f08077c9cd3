/*
 * vec.h: a growing array of one type.
 *
 *     VEC(int) fds = {0};
 *     vec_push(&fds, 3);
 *     vec_each (fd, &fds)
 *         close(*fd);
 *     vec_done(&fds);
 *
 * Items are owned by whoever uses the vector; vec_done frees the array alone.
 */
#pragma once

#include <stddef.h>

#include "base/mem.h"

#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *v;                                                                                   \
        size_t n, cap;                                                                             \
    }

#define vec_push(vec, item)                                                                        \
    do {                                                                                           \
        if ((vec)->n == (vec)->cap) {                                                              \
            (vec)->cap = (vec)->cap ? (vec)->cap * 2 : 8;                                          \
            (vec)->v = mem_realloc((vec)->v, (vec)->cap, sizeof(*(vec)->v));                       \
        }                                                                                          \
        (vec)->v[(vec)->n++] = (item);                                                             \
    } while (0)

/* Takes item i out and closes the gap. */
#define vec_remove(vec, i)                                                                         \
    do {                                                                                           \
        size_t vec_i = (i);                                                                        \
        for ((vec)->n--; vec_i < (vec)->n; vec_i++)                                                \
            (vec)->v[vec_i] = (vec)->v[vec_i + 1];                                                 \
    } while (0)

#define vec_done(vec)                                                                              \
    do {                                                                                           \
        free((vec)->v);                                                                            \
        (vec)->v = NULL;                                                                           \
        (vec)->n = (vec)->cap = 0;                                                                 \
    } while (0)

#define vec_each(p, vec) for (__typeof__((vec)->v) p = (vec)->v; p && p < (vec)->v + (vec)->n; p++)
