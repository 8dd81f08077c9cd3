/*
 * log.h: one line an event, key=value, on stderr (or to a function that the program sets).
 *
 *     #define LOG_MODULE "qmp"
 *     log_info("event=guest-stopped reason=%s", reason);
 *
 * err: someone must act. warn: odd, going on. info: one per change of state. debug: the rest.
 * The line carries the module and the fields that the thread has put on with log_ctx (task, op, vm,
 * session). Levels are set per module at run time. Values with blanks are quoted with log_quote.
 * Any thread; a line is written with one call.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/mem.h"

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#ifndef LOG_MODULE
#define LOG_MODULE "main"
#endif

#define log_at(level, ...)                                                                         \
    do {                                                                                           \
        if (log_on((level), LOG_MODULE))                                                           \
            log_line((level), LOG_MODULE, __VA_ARGS__);                                            \
    } while (0)
#define log_err(...)   log_at(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

bool log_on(enum log_level level, const char *module);
void log_line(enum log_level level, const char *module, const char *fmt, ...) _printf_(3, 4);

/* module NULL: the default of all modules without a level of their own. */
void log_set_level(const char *module, enum log_level level);
int log_parse_level(const char *name, enum log_level *ret); /* -EINVAL */

/* Sets, for this thread, the text put on each line ("task=… vm=…"); NULL clears. Copied. */
void log_ctx(const char *fields);

/* The last lines of this process, some 256 KiB of them, whole ones only, as they were written. */
void log_tail(struct buf *out);

/* Where lines go instead of stderr; for tests. NULL restores. */
typedef void (*log_sink)(enum log_level level, const char *line, void *arg);
void log_set_sink(log_sink sink, void *arg);
