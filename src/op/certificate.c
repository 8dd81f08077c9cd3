/*
 * certificate.c: the host's own certificates, and how one takes the place of another while clients
 * are connected. Operation threads. See certificate.h for the files.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "gen/msg.h"
#include "loop/loop.h"
#include "op/certificate.h"
#include "tls/tls.h"

#define ALERT_EVERY (3600 * USEC_PER_SEC)

struct pair {
    const char *cert, *key, *common_name;
    enum certificate_type type;
};
static const struct pair of_host = {"cert.pem", "key.pem", NULL, CERTIFICATE_TYPE_HOST};
static const struct pair of_pool = {"pool-cert.pem", "pool-key.pem", "pool",
                                    CERTIFICATE_TYPE_HOST_INTERNAL};

/* ---- records ---- */

struct telling {
    const char *host;
    enum certificate_type type;
    struct x509_facts facts;
};

/* A certificate that is another is another object, as clients expect. */
static struct err *tell_txn(struct txn *t, void *arg)
{
    const struct telling *w = arg;
    txn_each (row, t, CLASS_Certificate) {
        const struct rec_Certificate *c = rec_Certificate(row);
        if (c->type != w->type || !str_eq(c->host, w->host))
            continue;
        if (str_eq(c->fingerprint_sha256, w->facts.sha256))
            return NULL;
        txn_delete(t, CLASS_Certificate, row->ref);
    }
    struct rec_Certificate *c = txn_add_Certificate(t);
    c->type = w->type;
    rstr_set(&c->host, w->host);
    cert_put(c, &w->facts);
    return NULL;
}

static struct err *tell(struct ops *ops, const struct pair *p)
{
    struct telling w = {.host = ops->host_ref, .type = p->type};
    _cleanup_(buf_done) struct buf pem;
    buf_init(&pem, PEM_MAX);
    TRY(cert_read(ops, "", p->cert, &pem));
    if (x509_read(buf_str(&pem), &w.facts) < 0)
        return err_internal("'%s' holds no certificate", p->cert);
    return db_write(ops->cfg.db, "certificate", tell_txn, &w);
}

/* ---- files ---- */

static struct err *make_at(struct ops *ops, const struct pair *p, const char *cert, const char *key)
{
    const char *names[] = {ops->cfg.hostname, "localhost", "127.0.0.1"};
    const char *name = p->common_name ? p->common_name : ops->cfg.hostname;
    if (p->common_name)
        names[1] = p->common_name;
    return tls_make_certificate(cert, key, name, names, ARRAY_LEN(names));
}

/* From the next connection on. */
static struct err *use(struct ops *ops, const struct pair *p)
{
    if (ops->cfg.reload_tls)
        TRY(ops->cfg.reload_tls(ops->cfg.restart_arg));
    TRY(tell(ops, p));
    return cert_alerts(ops);
}

static struct err *rename_into_place(const char *from, const char *to)
{
    return rename(from, to) < 0 ? err_internal("cannot rename '%s' to '%s'", from, to) : NULL;
}

/* A fresh pair is made beside the old one, which serves until both files are there. */
static struct err *renew(struct ops *ops, const struct pair *p)
{
    _cleanup_(freep) char *cert = cert_path(ops, "", p->cert);
    _cleanup_(freep) char *key = cert_path(ops, "", p->key);
    _cleanup_(freep) char *new_cert = mem_printf("%s.new", cert);
    _cleanup_(freep) char *new_key = mem_printf("%s.new", key);
    (void)unlink(new_cert); /* of an attempt that did not end */
    TRY(make_at(ops, p, new_cert, new_key));
    TRY(rename_into_place(new_key, key));
    TRY(rename_into_place(new_cert, cert));
    return use(ops, p);
}

struct err *certificates_begin(struct ops *ops)
{
    const struct pair *const pairs[] = {&of_host, &of_pool};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        _cleanup_(freep) char *cert = cert_path(ops, "", pairs[i]->cert);
        _cleanup_(freep) char *key = cert_path(ops, "", pairs[i]->key);
        TRY(make_at(ops, pairs[i], cert, key));
        TRY(tell(ops, pairs[i]));
    }
    TRY(trust_sync(ops));
    return cert_alerts(ops);
}

struct err *certificates_tick(struct ops *ops)
{
    usec_t now = clock_now();
    if (now < ops->next_certificate_alerts)
        return NULL;
    ops->next_certificate_alerts = now + ALERT_EVERY;
    return cert_alerts(ops);
}

/* ---- messages ---- */

struct err *msg_host_get_server_certificate(struct op *op,
                                            const struct args_host_get_server_certificate *a,
                                            struct val **ret)
{
    TRY(need_own_host(op, a->host));
    _cleanup_(buf_done) struct buf pem;
    buf_init(&pem, PEM_MAX);
    TRY(cert_read(ops_of(op), "", of_host.cert, &pem));
    _cleanup_(freep) char *first = x509_first(buf_str(&pem));
    if (!first)
        return err_internal("'%s' holds no certificate", of_host.cert);
    *ret = val_str(first);
    return NULL;
}

static struct err *complaint(const struct x509_complaint *c)
{
    char now[DATETIME_SIZE], from[DATETIME_SIZE], to[DATETIME_SIZE];
    str_datetime(now_s(), now);
    str_datetime(c->facts.not_before, from);
    str_datetime(c->facts.not_after, to);
    switch (c->flaw) {
    case X509_FINE:
        return NULL;
    case X509_NO_CERTIFICATE:
        return err_SERVER_CERTIFICATE_INVALID();
    case X509_WEAK_SIGNATURE:
        return err_SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED();
    case X509_EXPIRED:
        return err_SERVER_CERTIFICATE_EXPIRED(now, to);
    case X509_NOT_YET:
        return err_SERVER_CERTIFICATE_NOT_VALID_YET(now, from);
    case X509_NO_CHAIN:
        return err_SERVER_CERTIFICATE_CHAIN_INVALID();
    case X509_NO_KEY:
        return err_SERVER_CERTIFICATE_KEY_INVALID();
    case X509_KEY_KIND:
        return err_SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED(c->text);
    case X509_KEY_LENGTH:
        return err_SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED(c->text);
    case X509_KEY_PRIMES:
        return err_SERVER_CERTIFICATE_KEY_RSA_MULTI_NOT_SUPPORTED();
    case X509_KEY_OF_ANOTHER:
        return err_SERVER_CERTIFICATE_KEY_MISMATCH();
    }
    return err_internal("an unknown flaw of a certificate");
}

struct err *msg_host_install_server_certificate(
    struct op *op, const struct args_host_install_server_certificate *a, struct val **ret)
{
    struct ops *ops = ops_of(op);
    TRY(need_own_host(op, a->host));
    struct x509_complaint c =
        x509_check_server(a->certificate, a->private_key, a->certificate_chain, now_s());
    TRY(complaint(&c));
    _cleanup_(freep) char *first = x509_first(a->certificate);
    _cleanup_(freep) char *all = mem_printf("%s%s", first, a->certificate_chain);
    TRY(cert_write(ops, "", of_host.key, a->private_key, 0600));
    TRY(cert_write(ops, "", of_host.cert, all, 0644));
    return use(ops, &of_host);
}

struct err *msg_host_reset_server_certificate(struct op *op,
                                              const struct args_host_reset_server_certificate *a,
                                              struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return renew(ops_of(op), &of_host);
}

struct err *msg_host_emergency_reset_server_certificate(
    struct op *op, const struct args_host_emergency_reset_server_certificate *a, struct val **ret)
{
    return renew(ops_of(op), &of_host);
}

/* The one between members of the pool; what an administrator installed for clients stays. */
struct err *msg_host_refresh_server_certificate(
    struct op *op, const struct args_host_refresh_server_certificate *a, struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return renew(ops_of(op), &of_pool);
}
