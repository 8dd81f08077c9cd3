/*
 * implicit.h: the messages that every class has, served from the descriptors: getters, setters,
 * add_to and remove_from, get_by_uuid, get_by_name_label, get_record, get_all and its kin, create
 * and destroy.
 *
 * Reads are answered from one snapshot on any thread. Writes are one transaction; implicit_txn is
 * its work. Private to api/.
 */
#pragma once

#include "api/rbac.h"
#include "base/err.h"
#include "base/val.h"
#include "state/db.h"

/* Is it answered by implicit_read (else by implicit_txn)? */
bool implicit_is_read(const struct msg_desc *m);

struct err *implicit_read(const struct snap *s, const struct rbac *r, const struct msg_desc *m,
                          const void *args, struct val **ret) _must_use_;

/* The same for get_record, get_all_records and get_all_records_where, but the records themselves,
 * in order, instead of their values: for a wire that has them encoded already. */
struct records {
    struct snap *snap; /* what the rows belong to; a reference */
    bool single;       /* one record, else a map by reference */
    const struct row **v;
    size_t n, cap;
};
/* One object, wherever its class is kept. */
const struct row *implicit_row(const struct snap *s, const struct rbac *r, int cls,
                               const char *ref);
const struct row *implicit_row_by_uuid(const struct snap *s, const struct rbac *r, int cls,
                                       const char *uuid);
bool implicit_is_records(const struct msg_desc *m);
struct err *implicit_records(struct snap *s, const struct rbac *r, const struct msg_desc *m,
                             const void *args, struct records *ret) _must_use_;
void records_done(struct records *);

struct implicit_write {
    const struct msg_desc *msg;
    const void *args;
    uint64_t unless_after; /* not 0: STALE_RECORD if the object changed after that generation */
    const char *made;      /* out: ref of a created row, rstr of the caller's */
};
/* A txn_fn; arg is a struct implicit_write. */
struct err *implicit_txn(struct txn *t, void *arg) _must_use_;
