/* metrics_file.h: the folder of databases; private to src/metrics. May block: no lock is held. */
#pragma once

#include "metrics/metrics_impl.h"

int file_load(struct metrics *m, enum metrics_owner owner, const char *uuid, struct rrd **ret)
    _must_use_;

/* ---- metrics.c ---- */
struct entry *entry_find(struct metrics *m, enum metrics_owner owner, const char *uuid);
struct entry *entry_add(struct metrics *m, enum metrics_owner owner, const char *uuid,
                        struct rrd *rrd); /* with a reference for the caller */
void entry_remove(struct metrics *m, struct entry *e);
