/*
 * report.h: the status report: what somebody far away needs to see to find out what went wrong.
 *
 * It is made of parts (docs/support.md), each with a key by which clients ask for it; some are in
 * unless others are asked for. Parts written by the daemon hold no secrets: the database is masked,
 * and of processes only names are told. Logs are as they are.
 *
 * Operation threads and threads of transfers; constant memory.
 */
#pragma once

#include "base/buf.h"
#include "op/pack.h"

struct op;
struct ops;

/* The parts as XML, in the form that XenServer's clients read. */
void report_capabilities(struct buf *out);
/* `entries`: keys with commas between; NULL: those that are in by default. Unknown ones are noted
 * in the report. */
struct err *report_write(struct op *op, const char *entries, enum pack_form form, pack_put_fn put,
                         void *arg) _must_use_;
/* Logs alone. */
struct err *report_write_logs(struct op *op, enum pack_form form, pack_put_fn put, void *arg)
    _must_use_;
/* The end of the daemon's own log. */
void report_daemon_log(struct buf *out);
