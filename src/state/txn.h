/*
 * txn.h: inside a transaction - the only place where records change.
 *
 * The work function of db_write gets a `struct txn`; on core, alone, on top of everything written
 * before, published or not.
 *
 *     static struct err *rename_vm(struct txn *t, void *arg)
 *     {
 *         struct rename *a = arg;
 *         struct rec_VM *vm = txn_edit_VM(t, a->ref);
 *         if (!vm)
 *             return err_HANDLE_INVALID("VM", a->ref);
 *         rstr_set(&vm->name_label, a->name);
 *         return NULL;
 *     }
 *
 * When the work returns NULL, the commit sees to the rest:
 *  - a reference to a row deleted in this transaction becomes OpaqueRef:NULL (leaves a set, a map);
 *  - derived set(ref) fields follow the other side of their relation; what the work wrote into them
 *    is overwritten. Relations stored on both sides are kept equal on both;
 *  - hooks run (db_add_hook);
 *  - a reference written must name a live row of its class or be null, else HANDLE_INVALID; a uuid
 *    must be free within its class;
 *  - a row that is as it was before does not count as changed; if nothing changed, there is no new
 *    generation. If only volatile fields (or rows of classes that are not persistent) did, nothing
 *    is stored and `vol` moves instead of `gen`;
 *  - more than 1000 stored rows or 1 MiB of them refuse the transaction.
 */
#pragma once

#include "state/db.h"

#define TXN_MAX_ROWS  1000
#define TXN_MAX_BYTES (1u << 20)

struct db *txn_db(struct txn *t);
/* All of it as this transaction sees it: for code that works on snapshots too, and for reading
 * (snap_row, snap_each…). Valid until the work returns, not to be referenced. Indexes by name and
 * derived sets are as before the transaction; uuids of added rows are found. */
const struct snap *txn_snap(struct txn *t);

/* Borrowed until the work returns; NULL if there is none. */
const struct row *txn_row(struct txn *t, int cls, const char *ref);
const struct row *txn_by_uuid(struct txn *t, int cls, const char *uuid);
/* The private copy of a row, to be written to; the same at each call. */
struct row *txn_edit(struct txn *t, int cls, const char *ref);
/* A new row at its defaults, NULL for a fresh reference or uuid. The reference must be unused. */
struct row *txn_add(struct txn *t, int cls, const char *ref_or_null, const char *uuid_or_null);
void txn_delete(struct txn *t, int cls, const char *ref); /* absent is fine */
/* Makes the row appear as changed although it is not (event.inject). */
void txn_touch(struct txn *t, int cls, const char *ref);

/* Walking a class; rows may be edited, added and deleted meanwhile. */
#define txn_each(r, t, cls) snap_each (r, txn_snap(t), (cls))

/* What this transaction has touched so far, for hooks. */
struct txn_change {
    int cls;
    const char *ref;
    const struct row *before; /* NULL: added */
    const struct row *after;  /* NULL: deleted */
};
/* True and the i-th change; false beyond the last. Changes are added at the end only. */
bool txn_change(struct txn *t, size_t i, struct txn_change *ret);
