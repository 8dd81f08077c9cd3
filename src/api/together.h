/*
 * together.h: writes of fields by several calls that become one transaction: all or none.
 *
 * Each call is checked as any other, and joins when it has come as far as its write. The
 * transaction is made when the last one has; if one ends before, none is made, and those that wait
 * end with its error.
 *
 * The calls are of one loop. Private to api/, but for api_together() in api.h.
 */
#pragma once

#include "api/implicit.h"
#include "state/db.h"

struct api_together;

/* The write takes part; done(arg) as of db_write_async. */
void together_join(struct api_together *t, struct db *db, struct implicit_write *w, db_done_fn done,
                   void *arg);
/* A call will not come: it ended with `e`, or was dropped (NULL). */
void together_miss(struct api_together *t, const struct err *e);
