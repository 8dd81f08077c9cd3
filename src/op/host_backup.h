/*
 * host_backup.h: all that makes this host itself, as one tar.gz: what its blobs hold and its
 * database, in this order, so that an archive that was cut off has no database and is refused.
 * Disks are not part of it.
 *
 *     backup.txt     what this is
 *     blobs/UUID     data of blobs
 *     database.xml   see state/dump.h
 *
 * Threads of transfers; constant memory.
 */
#pragma once

#include "op/database.h"
#include "op/pack.h"

struct err *host_backup_write(struct op *op, pack_put_fn put, void *arg) _must_use_;
/* Restores as database_restore does; the data of blobs is kept aside and taken in by the process
 * that begins with the new database. RESTORE_INCOMPATIBLE_VERSION for what is no such archive. */
struct err *host_backup_restore(struct op *op, const struct database_source *from,
                                struct dump_counts *ret) _must_use_;
