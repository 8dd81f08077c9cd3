/*
 * progress.h: work that takes its time: how far it is, and how it ended.
 *
 * For the files of src/cli; stream thread. Both wait for the end of a task.
 */
#pragma once

#include "cli/cmd.h"

/* Whether --progress changes how a message is called: it is one that can run as a task. */
bool progress_is_for(const char *message);
/* Runs it so and tells on standard error how far it is. */
struct err *progress_call(struct cmd *c, struct val **ret, const char *message,
                          const struct val *params) _must_use_;

/* A file between the client and an HTTP handler of this host. */
struct transfer {
    enum thin_tag how; /* THIN_HTTP_GET or THIN_HTTP_PUT */
    const char *file;  /* of the client; "": its standard output */
    const char *path;  /* "/blob?uuid=…"; the session and a task are added */
    const char *title; /* of the task */
};
/* The client opens a connection of its own and reports; then the task has the last word: its error
 * is the error. *ret_result, unless NULL, is what the task resulted in: the caller's reference. */
struct err *progress_transfer(struct cmd *c, const struct transfer *t, struct val **ret_result)
    _must_use_;
/* Text as a value in such a path; the caller's (free). */
char *progress_quote(const char *text);
