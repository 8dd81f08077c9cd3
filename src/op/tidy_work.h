/* tidy_work.h: between tidy.c, which decides, and tidy_work.c, which does it. */
#pragma once

#include "op/tidy.h"

/* Is something being tidied in that repository, by another operation than `but` (or NULL)? */
bool tidy_is_busy(const struct snap *s, const char *sr, const char *but);
/* How long it will be until that is begun. */
int64_t tidy_wait_s(struct ops *ops, const struct rec_SR *sr, const struct tidy_step *step);
/* What it failed of the last time (NULL: it did not), until something else is begun; the text is
 * the caller's, NULL: it did not. It is tried again, ever more slowly. Any thread. */
void tidy_note_failure(struct ops *ops, const char *sr, const char *vdi, const struct err *e);
char *tidy_failure(struct ops *ops, const struct rec_SR *sr, const struct tidy_step *step);
/* Shall what is under way there be given up? Any thread. */
bool tidy_is_stopped(struct ops *ops, const char *sr);
