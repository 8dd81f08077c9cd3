/*
 * certificate.h: what the files of certificates share; private to src/op.
 *
 *     certificate.c        the host's own certificates: the one that clients see, and the pool's
 *     certificate_trust.c  whom the pool trusts: authorities, pinned certificates, revocations
 *     certificate_store.c  files, records, errors and alerts of both
 *
 * The files in the state folder are what is used; the records of class Certificate tell of them,
 * and are compared with them at each start.
 *
 *     cert.pem key.pem            of the host, for clients
 *     pool-cert.pem pool-key.pem  of the host, for members of the pool (SNI name "pool")
 *     certs/NAME crls/NAME        authorities and revocations, under the names they were given
 *     trusted/UUID.pem            trusted certificates, under the uuids of their records
 *     ca-bundle.pem               all authorities in one file, for whoever checks others
 */
#pragma once

#include "op/world.h"
#include "tls/x509.h"

#define CERTS   "certs"
#define CRLS    "crls"
#define TRUSTED "trusted"
#define BUNDLE  "ca-bundle.pem"
#define PEM_MAX (256u << 10)

/* <state_dir>/<name>, or <state_dir>/<folder>/<name>; the caller's. */
char *cert_path(const struct ops *ops, const char *folder, const char *name);
struct err *cert_read(const struct ops *ops, const char *folder, const char *name, struct buf *ret)
    _must_use_;
struct err *cert_write(const struct ops *ops, const char *folder, const char *name,
                       const char *text, mode_t mode) _must_use_;
struct err *cert_remove(const struct ops *ops, const char *folder, const char *name) _must_use_;
bool cert_exists(const struct ops *ops, const char *folder, const char *name);
/* The names of a folder's files, sorted, as a new set. */
struct val *cert_names(const struct ops *ops, const char *folder);

/* ---- records; on core ---- */

void cert_put(struct rec_Certificate *c, const struct x509_facts *f);
/* NULL if there is none. */
const struct rec_Certificate *cert_of(struct txn *t, enum certificate_type type, const char *name);

/* Tells of what expires within a month; takes back what is no longer so. */
struct err *cert_alerts(struct ops *ops) _must_use_;

/* ---- certificate_trust.c ---- */

/* Compares records with files. */
struct err *trust_sync(struct ops *ops) _must_use_;
