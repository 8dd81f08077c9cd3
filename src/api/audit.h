/*
 * audit.h: who did what: a line for every call that may change something or was refused.
 *
 *     struct audit *a = audit_new(&(struct audit_config){.path = "/var/log/cairn/audit.log"});
 *     audit_put(a, &(struct audit_entry){.caller = &caller, .action = "VM.start", .args = text});
 *     audit_read(a, "2026-01-01", send, stream);
 *
 * Lines are put into a buffer of 1 MiB and written by a thread of the house, so no call waits for a
 * disk. The file is only appended to; when it has its full size it becomes path.1, path.1 becomes
 * path.2 and so on. If the disk is full, `trouble` is called once, lines are kept as long as there
 * is room and counted when there is not; the count is written when the disk takes lines again.
 *
 * A line, all on one:
 *
 *     [20260322T10:11:12.123Z|info|HOSTNAME|CLIENT originator=PROGRAM|CALL R:TASK role=ROLE|audit]
 *     ('trackid=HEX' 'SUBJECT' 'USER' 'ALLOWED' 'OK' 'API' 'VM.start'
 *      (('self' 'NAME' 'UUID' 'REF')))
 *
 * DENIED or ERROR:CODE say how it went, HTTP what came by a handler. trackid is a hash of the
 * session's reference, which is a secret. Quotes and backslashes in strings have a backslash.
 *
 * Any thread; audit_put never waits, audit_read and audit_flush do. Private to api/ but for the
 * making (cairnd.c).
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "task/op.h"

struct audit;

struct audit_config {
    const char *path;
    const char *hostname;
    uint64_t file_bytes; /* 0: 10 MiB */
    unsigned files;      /* how many old ones are kept; 0: 9 */
    /* On the writing thread, once for each time of trouble: lines cannot be written. May be NULL.
     */
    void (*trouble)(void *arg, const char *why);
    void *arg;
};

struct audit *audit_new(const struct audit_config *);
void audit_free(struct audit *); /* writes what it can; NULL is fine */
void audit_set_trouble(struct audit *, void (*trouble)(void *arg, const char *why), void *arg);

struct audit_entry {
    const struct caller *caller;
    const char *action; /* "VM.start", "http/get_export" */
    const char *call;   /* as it was called: "Async.VM.start"; NULL: the action */
    const char *task;   /* NULL: none */
    const char *args;   /* expressions, see audit_args.c; NULL: none */
    const struct err *e;
};
/* NULL is fine for the audit: nobody keeps a log. */
void audit_put(struct audit *, const struct audit_entry *entry);
/* A line that another host has made; without a line feed. */
void audit_append(struct audit *, const char *line);
/* Waits until all that was put is written, or there is trouble. */
void audit_flush(struct audit *);

/* Hands out the lines not older than `since` (any spelling of a date, "" for all), the oldest
 * first, in pieces; a piece that `put` refuses (negative) ends it. INVALID_VALUE for a bad date. */
struct err *audit_read(struct audit *, const char *since,
                       int (*put)(void *arg, const void *p, size_t size), void *arg) _must_use_;

/* ---- audit_args.c: what it was done to ---- */

struct buf;
struct call;
struct snap;

/* May this call change something? */
bool audit_is_wanted(const struct msg_desc *m);
/* The arguments of a message that may be told, as expressions: references with name and uuid of
 * the object as it is now, numbers, switches, names. Never other text. The caller frees. */
char *audit_args(const struct snap *s, const struct msg_desc *m, const void *args);
/* One expression ('name' 'label' 'uuid' 'ref') of an object. */
void audit_put_ref(struct buf *b, const struct snap *s, const char *name, int cls, const char *ref);
/* 'text' with its quotes. */
void audit_put_text(struct buf *b, const char *text);
