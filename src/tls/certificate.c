/* certificate.c: a key and a certificate signed by itself, for the first start; see tls.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "tls/tls.h"

#define DAYS 3650

static void key_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}

static void x509_freep(X509 **c)
{
    X509_free(*c);
}

static void bio_freep(BIO **b)
{
    BIO_free(*b);
}

/* Are both files there, and of one pair? */
static bool is_there(const char *cert_path, const char *key_path)
{
    struct tls_context *c = NULL;
    if (access(cert_path, R_OK) < 0 || access(key_path, R_OK) < 0)
        return false;
    err_free(tls_context_server(cert_path, key_path, &c));
    bool fits = c != NULL;
    tls_context_free(c);
    return fits;
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool fine = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return fine;
}

static bool add_names(X509 *cert, const char *const *names, unsigned n)
{
    _cleanup_(buf_done) struct buf list;
    buf_init(&list, 65536);
    for (unsigned i = 0; i < n; i++)
        buf_printf(&list, "%s%s:%s", i ? "," : "", is_address(names[i]) ? "IP" : "DNS", names[i]);
    return !n || add_extension(cert, NID_subject_alt_name, buf_str(&list));
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[8];
    str_random(bytes, sizeof(bytes));
    uint64_t serial = 0;
    for (size_t i = 0; i < sizeof(bytes); i++)
        serial = serial << 8 | bytes[i];
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1) == 1;
}

static X509 *make_certificate(EVP_PKEY *key, const char *name, const char *const *names, unsigned n)
{
    _cleanup_(x509_freep) X509 *cert = X509_new();
    if (!cert || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert))
        return NULL;
    X509_NAME *subject = X509_get_subject_name(cert);
    if (!X509_gmtime_adj(X509_getm_notBefore(cert), -86400) || /* clocks differ */
        !X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * DAYS) ||
        X509_set_pubkey(cert, key) != 1 ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                   -1, 0) != 1 ||
        X509_set_issuer_name(cert, subject) != 1 ||
        !add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") ||
        !add_names(cert, names, n) || !X509_sign(cert, key, EVP_sha256()))
        return NULL;
    return steal(&cert);
}

static struct err *write_pem(BIO *pem, const char *path, mode_t mode)
{
    char *data;
    long size = BIO_get_mem_data(pem, &data);
    int r = fd_replace_file(path, data, (size_t)size, mode);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

struct err *tls_make_certificate(const char *cert_path, const char *key_path, const char *name,
                                 const char *const *names, unsigned n)
{
    if (is_there(cert_path, key_path))
        return NULL;
    _cleanup_(key_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_(x509_freep) X509 *cert = key ? make_certificate(key, name, names, n) : NULL;
    _cleanup_(bio_freep) BIO *key_pem = BIO_new(BIO_s_mem());
    _cleanup_(bio_freep) BIO *cert_pem = BIO_new(BIO_s_mem());
    if (!cert || !key_pem || !cert_pem ||
        PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(cert_pem, cert) != 1) {
        ERR_clear_error();
        return err_internal("cannot make a certificate for '%s'", name);
    }
    TRY(write_pem(key_pem, key_path, 0600));
    return write_pem(cert_pem, cert_path, 0644);
}
