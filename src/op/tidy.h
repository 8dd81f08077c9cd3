/*
 * tidy.h: chains of disks are kept short by the house itself; private to src/op.
 *
 *     delete    a base copy that nothing is built on any more
 *     coalesce  a base copy goes into the one below it, when nothing else is built on that
 *     join      a disk or snapshot becomes one with the base copy below it, likewise; while it has
 *               much of its own it sheds that first, as a base copy that is then coalesced
 *
 * What is next is a pure function of the records. One piece of work at a time is done in each
 * repository, as an operation of the house on the VDI in question: journaled, resumed after a
 * death, cancelled when the repository is to be detached. A guest that runs on a chain waits for
 * moments only.
 */
#pragma once

#include "op/world.h"

enum tidy_action { TIDY_NOTHING, TIDY_DELETE, TIDY_COALESCE, TIDY_JOIN };

struct tidy_step {
    enum tidy_action action;
    const struct rec_VDI *vdi; /* of the snapshot; NULL: nothing to do */
    const char *why;           /* it waits; NULL: it can be done now */
};
/* The next piece of work in a repository. */
void tidy_next(const struct snap *s, const struct rec_SR *sr, struct tidy_step *ret);
const char *tidy_action_name(enum tidy_action a);

/* What each repository has been about lately. */
struct tidy;
struct tidy *tidy_new(void);
void tidy_free(struct tidy *t);

/* Nothing is begun or goes on in that repository until tidy_allow; waits for what is under way. */
struct err *tidy_stop(struct op *op, const char *sr) _must_use_;
void tidy_allow(struct op *op, const char *sr);
