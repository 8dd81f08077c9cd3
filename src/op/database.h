/*
 * database.h: copies of the database, and putting one in its place.
 *
 * A dump (state/dump.h) goes out of any snapshot. A restore is staged beside the store
 * (state/restore.h), made to fit this machine, and committed; the caller then asks for a new
 * process (ops_restart), which starts with the new database:
 *
 *     this host becomes the pool's coordinator of the dump, under its uuid; other hosts go, with
 *     what was on them;
 *     guests that run here go on, if the dump knows them; every other VM that ran is Halted;
 *     disks are found again by their repositories, and are `missing` where those are not.
 *
 * Operation threads and threads of transfers.
 */
#pragma once

#include "state/dump.h"
#include "task/op.h"

struct ops;

/* Where the document comes from: up to `size` bytes, *ret 0 at the end. */
struct database_source {
    struct err *(*read)(void *arg, void *p, size_t size, size_t *ret);
    void *arg;
    bool with_blobs; /* the data of its blobs lies in STATE_DIR/blobs.staged (blob_adopt) */
};

/* With `dry_run` all is tried and nothing changed. RESTORE_INCOMPATIBLE_VERSION,
 * DB_UNIQUENESS_CONSTRAINT_VIOLATION, OPERATION_NOT_ALLOWED (a guest runs here that the dump does
 * not know), OTHER_OPERATION_IN_PROGRESS. The database as it was is kept in
 * STATE_DIR/backup/before-restore.xml. */
struct err *database_restore(struct op *op, const struct database_source *from, bool dry_run,
                             struct dump_counts *ret) _must_use_;

/* Writes the database to STATE_DIR/backup/state.xml, unless it is there at this generation and not
 * `force`. */
struct err *database_backup(struct ops *ops, bool force) _must_use_;
