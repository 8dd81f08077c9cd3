/*
 * trace.h: spans - what a call or a step of an operation was, when, how long, below what.
 *
 *     struct trace_span span;
 *     trace_begin(&span, TRACE_CALLS, NULL);           // or below another span's id
 *     struct err *e = work();
 *     trace_end(&span, "VM.start", task, e);
 *
 * Nothing is traced until somebody wants it (trace_want): then a span costs one look at a word.
 * Ended spans wait in a queue of TRACE_QUEUE_MAX; what does not fit is counted and lost. One thread
 * takes them out (trace_take) and hands them on, see op/observer.h.
 *
 * Any thread. A span belongs to whoever holds it; it needs no end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

#define TRACE_QUEUE_MAX 10000

/* What a span tells of; their names are those that clients know (trace_part_name). */
enum trace_part {
    TRACE_CALLS,  /* "xapi": calls */
    TRACE_GUESTS, /* "xenopsd": steps of operations on guests and their devices */
    TRACE_DISKS,  /* "smapi": steps of operations on repositories and disks */
    TRACE_PARTS,
};
const char *trace_part_name(enum trace_part part);
bool trace_part_find(const char *name, enum trace_part *ret);

/* A span of a trace. All zero in `trace`: none. All zero in `span`: the trace's beginning. */
struct trace_id {
    uint8_t trace[16], span[8];
};
bool trace_id_is_set(const struct trace_id *id);
/* Reads a `traceparent` header ("00-32 digits-16 digits-01"); false if it is none. */
bool trace_id_parse(const char *text, struct trace_id *ret);
/* A new trace without a span yet, if anybody wants spans. */
void trace_id_new(struct trace_id *ret);

struct trace_span {
    bool on;
    enum trace_part part;
    struct trace_id id;
    uint8_t parent[8];  /* zero: none */
    usec_t wall, began; /* by clock_wall(), clock_now() */
};

/* Which parts somebody wants: a bit per enum trace_part. */
void trace_want(unsigned parts);
bool trace_is_wanted(void);

/* `parent`: NULL or unset: a trace of its own. */
void trace_begin(struct trace_span *s, enum trace_part part, const struct trace_id *parent);
/* Once is enough: ending it again does nothing. `task`: "" for none. `e` is borrowed. */
void trace_end(struct trace_span *s, const char *name, const char *task, const struct err *e);

/* An ended span, in a list. */
struct trace_done {
    struct trace_done *next;
    struct trace_span span;
    usec_t took;
    char *name, *task;
    char *error; /* NULL: it went well */
};
void trace_done_free(struct trace_done *list);
/* All that have ended since, the oldest first; NULL: none. *ret_lost: how many were lost. */
struct trace_done *trace_take(uint64_t *ret_lost);
/* Waits until there is something to take or trace_wake() was called. */
void trace_wait(void);
void trace_wake(void);
