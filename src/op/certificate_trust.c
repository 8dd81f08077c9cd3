/*
 * certificate_trust.c: whom the pool trusts. A record is written first, so that a name is given
 * once, then the file; a start takes away records without a file. Operation threads.
 */
#include "base/buf.h"
#include "gen/msg.h"
#include "op/certificate.h"

#define NAME_MAX_BYTES 200
#define NAME_CHARS     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* ---- names ---- */

static bool is_name(const char *name)
{
    size_t size = strlen(name);
    return size && size <= NAME_MAX_BYTES && *name != '.' && *name != '-' &&
           name[strspn(name, NAME_CHARS)] == '\0';
}

static struct err *check_date(const struct x509_complaint *c,
                              struct err *(*expired)(const char *now, const char *to),
                              struct err *(*early)(const char *now, const char *from))
{
    char now[DATETIME_SIZE], other[DATETIME_SIZE];
    str_datetime(now_s(), now);
    str_datetime(c->flaw == X509_EXPIRED ? c->facts.not_after : c->facts.not_before, other);
    if (c->flaw == X509_EXPIRED)
        return expired(now, other);
    return c->flaw == X509_NOT_YET ? early(now, other) : NULL;
}

static struct err *ca_expired(const char *now, const char *to)
{
    return err_CA_CERTIFICATE_EXPIRED(now, to);
}

static struct err *ca_early(const char *now, const char *from)
{
    return err_CA_CERTIFICATE_NOT_VALID_YET(now, from);
}

static struct err *trusted_expired(const char *now, const char *to)
{
    return err_TRUSTED_CERTIFICATE_EXPIRED(now, to);
}

static struct err *trusted_early(const char *now, const char *from)
{
    return err_TRUSTED_CERTIFICATE_NOT_VALID_YET(now, from);
}

/* ---- the bundle ---- */

static void add_folder(const struct ops *ops, const char *folder, struct buf *all)
{
    _cleanup_(val_unrefp) struct val *names = cert_names(ops, folder);
    val_each (name, names) {
        _cleanup_(buf_done) struct buf one;
        buf_init(&one, PEM_MAX);
        err_free(cert_read(ops, folder, name, &one));
        _cleanup_(freep) char *pem = x509_first(buf_str(&one));
        if (pem)
            buf_puts(all, pem);
    }
}

static struct err *put_bundle(const struct ops *ops)
{
    _cleanup_(buf_done) struct buf all;
    buf_init(&all, 64 * PEM_MAX);
    add_folder(ops, CERTS, &all);
    add_folder(ops, TRUSTED, &all);
    return cert_write(ops, "", BUNDLE, buf_str(&all), 0644);
}

/* ---- records and files agree ---- */

struct found {
    const char *name;
    struct x509_facts facts;
};

static struct err *add_found(struct txn *t, void *arg)
{
    const struct found *f = arg;
    const struct rec_Certificate *old = cert_of(t, CERTIFICATE_TYPE_CA, f->name);
    if (old && str_eq(old->fingerprint_sha256, f->facts.sha256))
        return NULL;
    if (old)
        txn_delete(t, CLASS_Certificate, old->row.ref);
    struct rec_Certificate *c = txn_add_Certificate(t);
    c->type = CERTIFICATE_TYPE_CA;
    rstr_set(&c->name, f->name);
    cert_put(c, &f->facts);
    return NULL;
}

static struct err *find_files(struct ops *ops)
{
    _cleanup_(val_unrefp) struct val *names = cert_names(ops, CERTS);
    val_each (name, names) {
        struct found f = {.name = name};
        _cleanup_(buf_done) struct buf pem;
        buf_init(&pem, PEM_MAX);
        TRY(cert_read(ops, CERTS, name, &pem));
        if (x509_read(buf_str(&pem), &f.facts) == 0)
            TRY(db_write(ops->cfg.db, "certificate", add_found, &f));
    }
    return NULL;
}

/* A trusted certificate has no name; its file has its uuid. */
static bool has_file(const struct ops *ops, const struct rec_Certificate *c)
{
    if (c->type == CERTIFICATE_TYPE_CA && *c->name)
        return cert_exists(ops, CERTS, c->name);
    if (c->type != CERTIFICATE_TYPE_CA && c->type != CERTIFICATE_TYPE_PINNED)
        return true;
    _cleanup_(freep) char *name = mem_printf("%s.pem", c->uuid);
    return cert_exists(ops, TRUSTED, name);
}

static struct err *delete_txn(struct txn *t, void *ref)
{
    txn_delete(t, CLASS_Certificate, ref);
    return NULL;
}

struct err *trust_sync(struct ops *ops)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    snap_each (row, s, CLASS_Certificate) {
        if (!has_file(ops, rec_Certificate(row)))
            TRY(db_write(ops->cfg.db, "certificate gone", delete_txn, (void *)row->ref));
    }
    TRY(find_files(ops));
    return put_bundle(ops);
}

/* ---- authorities by name ---- */

struct adding {
    const char *name; /* "": a trusted one */
    bool ca;
    const struct val *purpose;
    struct x509_facts facts;
    const char *ref; /* rstr */
    char uuid[UUID_SIZE];
};

static struct err *add_ca_txn(struct txn *t, void *arg)
{
    const struct adding *a = arg;
    if (cert_of(t, CERTIFICATE_TYPE_CA, a->name))
        return err_CERTIFICATE_ALREADY_EXISTS(a->name);
    struct rec_Certificate *c =
        (struct rec_Certificate *)txn_add(t, CLASS_Certificate, a->ref, a->uuid);
    c->type = CERTIFICATE_TYPE_CA;
    rstr_set(&c->name, a->name);
    cert_put(c, &a->facts);
    return NULL;
}

/* The record is there; if the file does not come to be, the record goes again. */
static struct err *put_file(struct op *op, const struct adding *a, const char *folder,
                            const char *name, const char *pem)
{
    struct ops *ops = ops_of(op);
    struct err *e = cert_write(ops, folder, name, pem, 0644);
    if (e)
        return err_first(e, op_write(op, "certificate undone", delete_txn, (void *)a->ref));
    TRY(put_bundle(ops));
    return cert_alerts(ops);
}

static struct err *install_ca(struct op *op, const char *name, const char *pem)
{
    if (!is_name(name))
        return err_CERTIFICATE_NAME_INVALID(name);
    if (cert_exists(ops_of(op), CERTS, name))
        return err_CERTIFICATE_ALREADY_EXISTS(name);
    struct x509_complaint c = x509_check_trusted(pem, now_s());
    if (c.flaw == X509_NO_CERTIFICATE || strlen(pem) >= PEM_MAX)
        return err_CA_CERTIFICATE_INVALID();
    TRY(check_date(&c, ca_expired, ca_early));
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct adding a = {.name = name, .facts = c.facts, .ref = ref};
    str_uuid(a.uuid);
    TRY(op_write(op, "certificate", add_ca_txn, &a));
    return put_file(op, &a, CERTS, name, pem);
}

static struct err *remove_ca_txn(struct txn *t, void *name)
{
    const struct rec_Certificate *c = cert_of(t, CERTIFICATE_TYPE_CA, name);
    if (c)
        txn_delete(t, CLASS_Certificate, c->row.ref);
    return NULL;
}

static struct err *uninstall_ca(struct op *op, const char *name, bool force)
{
    struct ops *ops = ops_of(op);
    if (!is_name(name))
        return err_CERTIFICATE_NAME_INVALID(name);
    if (!cert_exists(ops, CERTS, name) && !force)
        return err_CERTIFICATE_DOES_NOT_EXIST(name);
    TRY(cert_remove(ops, CERTS, name));
    TRY(op_write(op, "certificate gone", remove_ca_txn, (void *)name));
    return put_bundle(ops);
}

/* ---- revocations ---- */

static struct err *install_crl(struct op *op, const char *name, const char *pem)
{
    if (!is_name(name))
        return err_CRL_NAME_INVALID(name);
    if (cert_exists(ops_of(op), CRLS, name))
        return err_CRL_ALREADY_EXISTS(name);
    if (!x509_is_crl(pem) || strlen(pem) >= PEM_MAX)
        return err_CRL_CORRUPT(name);
    return cert_write(ops_of(op), CRLS, name, pem, 0644);
}

static struct err *uninstall_crl(struct op *op, const char *name)
{
    if (!is_name(name))
        return err_CRL_NAME_INVALID(name);
    if (!cert_exists(ops_of(op), CRLS, name))
        return err_CRL_DOES_NOT_EXIST(name);
    return cert_remove(ops_of(op), CRLS, name);
}

/* ---- trusted certificates ---- */

static struct err *add_trusted_txn(struct txn *t, void *arg)
{
    const struct adding *a = arg;
    enum certificate_type type = a->ca ? CERTIFICATE_TYPE_CA : CERTIFICATE_TYPE_PINNED;
    txn_each (row, t, CLASS_Certificate) {
        const struct rec_Certificate *c = rec_Certificate(row);
        if (c->type == type && !*c->name && str_eq(c->fingerprint_sha256, a->facts.sha256))
            return err_TRUSTED_CERTIFICATE_ALREADY_EXISTS(a->facts.sha256);
    }
    struct rec_Certificate *c =
        (struct rec_Certificate *)txn_add(t, CLASS_Certificate, a->ref, a->uuid);
    c->type = type;
    val_assign(&c->purpose, val_ref(a->purpose));
    cert_put(c, &a->facts);
    return NULL;
}

static struct err *need_pool(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return snap_pool(s, ref) ? NULL : err_HANDLE_INVALID("pool", ref);
}

/* One that is pinned is good for what it was pinned for; an authority without a purpose for all. */
struct err *msg_pool_install_trusted_certificate(
    struct op *op, const struct args_pool_install_trusted_certificate *a, struct val **ret)
{
    TRY(need_pool(op, a->self));
    struct x509_complaint c = x509_check_trusted(a->cert, now_s());
    if (!a->ca && !val_count(a->purpose))
        return err_CERTIFICATE_LACKS_PURPOSE();
    if (c.flaw == X509_NO_CERTIFICATE || strlen(a->cert) >= PEM_MAX)
        return err_TRUSTED_CERTIFICATE_INVALID();
    TRY(check_date(&c, trusted_expired, trusted_early));
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct adding new = {.ca = a->ca, .purpose = a->purpose, .facts = c.facts, .ref = ref};
    str_uuid(new.uuid);
    TRY(op_write(op, "certificate", add_trusted_txn, &new));
    _cleanup_(freep) char *name = mem_printf("%s.pem", new.uuid);
    return put_file(op, &new, TRUSTED, name, a->cert);
}

struct err *msg_pool_uninstall_trusted_certificate(
    struct op *op, const struct args_pool_uninstall_trusted_certificate *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_Certificate *c = snap_Certificate(s, a->certificate);
    TRY(need_pool(op, a->self));
    if (!c)
        return err_HANDLE_INVALID("Certificate", a->certificate);
    bool trusted = c->type == CERTIFICATE_TYPE_CA || c->type == CERTIFICATE_TYPE_PINNED;
    if (!trusted || *c->name)
        return err_NOT_TRUSTED_CERTIFICATE(a->certificate);
    _cleanup_(freep) char *name = mem_printf("%s.pem", c->uuid);
    TRY(cert_remove(ops_of(op), TRUSTED, name));
    TRY(op_write(op, "certificate gone", delete_txn, (void *)a->certificate));
    return put_bundle(ops_of(op));
}

/* ---- messages of class pool ---- */

struct err *msg_pool_install_ca_certificate(struct op *op,
                                            const struct args_pool_install_ca_certificate *a,
                                            struct val **ret)
{
    return install_ca(op, a->name, a->cert);
}

struct err *msg_pool_uninstall_ca_certificate(struct op *op,
                                              const struct args_pool_uninstall_ca_certificate *a,
                                              struct val **ret)
{
    return uninstall_ca(op, a->name, a->force);
}

struct err *msg_pool_certificate_install(struct op *op,
                                         const struct args_pool_certificate_install *a,
                                         struct val **ret)
{
    return install_ca(op, a->name, a->cert);
}

struct err *msg_pool_certificate_uninstall(struct op *op,
                                           const struct args_pool_certificate_uninstall *a,
                                           struct val **ret)
{
    return uninstall_ca(op, a->name, false);
}

struct err *msg_pool_certificate_list(struct op *op, const struct args_pool_certificate_list *a,
                                      struct val **ret)
{
    *ret = cert_names(ops_of(op), CERTS);
    return NULL;
}

struct err *msg_pool_crl_install(struct op *op, const struct args_pool_crl_install *a,
                                 struct val **ret)
{
    return install_crl(op, a->name, a->cert);
}

struct err *msg_pool_crl_uninstall(struct op *op, const struct args_pool_crl_uninstall *a,
                                   struct val **ret)
{
    return uninstall_crl(op, a->name);
}

struct err *msg_pool_crl_list(struct op *op, const struct args_pool_crl_list *a, struct val **ret)
{
    *ret = cert_names(ops_of(op), CRLS);
    return NULL;
}

struct err *msg_pool_certificate_sync(struct op *op, const struct args_pool_certificate_sync *a,
                                      struct val **ret)
{
    return trust_sync(ops_of(op));
}

/* ---- the same of one host, for the pool ---- */

struct err *msg_host_install_ca_certificate(struct op *op,
                                            const struct args_host_install_ca_certificate *a,
                                            struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return install_ca(op, a->name, a->cert);
}

struct err *msg_host_uninstall_ca_certificate(struct op *op,
                                              const struct args_host_uninstall_ca_certificate *a,
                                              struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return uninstall_ca(op, a->name, a->force);
}

struct err *msg_host_certificate_list(struct op *op, const struct args_host_certificate_list *a,
                                      struct val **ret)
{
    TRY(need_own_host(op, a->host));
    *ret = cert_names(ops_of(op), CERTS);
    return NULL;
}

struct err *msg_host_crl_install(struct op *op, const struct args_host_crl_install *a,
                                 struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return install_crl(op, a->name, a->crl);
}

struct err *msg_host_crl_uninstall(struct op *op, const struct args_host_crl_uninstall *a,
                                   struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return uninstall_crl(op, a->name);
}

struct err *msg_host_crl_list(struct op *op, const struct args_host_crl_list *a, struct val **ret)
{
    TRY(need_own_host(op, a->host));
    *ret = cert_names(ops_of(op), CRLS);
    return NULL;
}

struct err *msg_host_certificate_sync(struct op *op, const struct args_host_certificate_sync *a,
                                      struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return trust_sync(ops_of(op));
}
