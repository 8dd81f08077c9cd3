/* x509.c: see x509.h. */
#include "tls/x509.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#define PEM_MAX  (1 << 20)
#define RSA_MIN  2048
#define RSA_MOST 4096

static void x509_freep(X509 **c)
{
    X509_free(*c);
}

static void bio_freep(BIO **b)
{
    BIO_free(*b);
}

static void pkey_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}

static BIO *bio_of(const char *text)
{
    size_t size = strlen(text);
    return BIO_new_mem_buf(text, size < PEM_MAX ? (int)size : 0);
}

/* Nobody is asked for a pass phrase. */
static int no_phrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static X509 *read_certificate(const char *pem)
{
    _cleanup_(bio_freep) BIO *bio = bio_of(pem);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_phrase, NULL) : NULL;
    ERR_clear_error();
    return cert;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void put_fingerprint(const X509 *cert, const EVP_MD *md, char *out, size_t size)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    out[0] = '\0';
    if (X509_digest(cert, md, digest, &n) != 1)
        return;
    for (unsigned i = 0; i < n && (size_t)i * 3 + 3 <= size; i++)
        snprintf(out + (size_t)i * 3, size - (size_t)i * 3, "%02X%s", digest[i],
                 i + 1 < n ? ":" : "");
}

static void take_facts(const X509 *cert, struct x509_facts *ret)
{
    ret->not_before = seconds_of(X509_get0_notBefore(cert));
    ret->not_after = seconds_of(X509_get0_notAfter(cert));
    put_fingerprint(cert, EVP_sha256(), ret->sha256, sizeof(ret->sha256));
    put_fingerprint(cert, EVP_sha1(), ret->sha1, sizeof(ret->sha1));
}

int x509_read(const char *pem, struct x509_facts *ret)
{
    _cleanup_(x509_freep) X509 *cert = read_certificate(pem);
    if (!cert)
        return -EINVAL;
    take_facts(cert, ret);
    return 0;
}

char *x509_first(const char *pem)
{
    _cleanup_(x509_freep) X509 *cert = read_certificate(pem);
    _cleanup_(bio_freep) BIO *out = BIO_new(BIO_s_mem());
    if (!cert || !out || PEM_write_bio_X509(out, cert) != 1)
        return NULL;
    char *data;
    long size = BIO_get_mem_data(out, &data);
    return mem_strndup(data, (size_t)size);
}

static void names_freep(GENERAL_NAMES **n)
{
    GENERAL_NAMES_free(*n);
}

char *x509_name(const char *pem)
{
    _cleanup_(x509_freep) X509 *cert = read_certificate(pem);
    if (!cert)
        return NULL;
    _cleanup_(names_freep) GENERAL_NAMES *names =
        X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if (n->type == GEN_DNS)
            return mem_strndup((const char *)ASN1_STRING_get0_data(n->d.dNSName),
                               (size_t)ASN1_STRING_length(n->d.dNSName));
    }
    char name[256];
    int size =
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
    return size > 0 ? mem_strdup(name) : NULL;
}

bool x509_is_crl(const char *pem)
{
    _cleanup_(bio_freep) BIO *bio = bio_of(pem);
    X509_CRL *crl = bio ? PEM_read_bio_X509_CRL(bio, NULL, no_phrase, NULL) : NULL;
    bool is = crl != NULL;
    X509_CRL_free(crl);
    ERR_clear_error();
    return is;
}

/* ---- may it be used? ---- */

static bool is_strong(const X509 *cert)
{
    int digest = NID_undef;
    if (X509_get_signature_info((X509 *)(uintptr_t)cert, &digest, NULL, NULL, NULL) != 1)
        return false;
    return digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512;
}

static enum x509_flaw check_dates(const struct x509_facts *f, int64_t now)
{
    if (now < f->not_before)
        return X509_NOT_YET;
    return now > f->not_after ? X509_EXPIRED : X509_FINE;
}

static enum x509_flaw check_rsa(const EVP_PKEY *key, struct x509_complaint *c)
{
    BIGNUM *third = NULL;
    int bits = EVP_PKEY_get_bits(key);
    if (bits < RSA_MIN || bits > RSA_MOST) {
        snprintf(c->text, sizeof(c->text), "%d", bits);
        return X509_KEY_LENGTH;
    }
    bool multi = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1;
    BN_clear_free(third);
    ERR_clear_error();
    return multi ? X509_KEY_PRIMES : X509_FINE;
}

static enum x509_flaw check_key(const EVP_PKEY *key, struct x509_complaint *c)
{
    if (!key)
        return X509_NO_KEY;
    if (EVP_PKEY_is_a(key, "RSA"))
        return check_rsa(key, c);
    if (EVP_PKEY_is_a(key, "EC"))
        return X509_FINE;
    const ASN1_OBJECT *kind = OBJ_nid2obj(EVP_PKEY_get_base_id(key));
    if (kind)
        OBJ_obj2txt(c->text, sizeof(c->text), kind, 1);
    return X509_KEY_KIND;
}

/* Certificates and nothing else that could be read; at least one. */
static bool is_chain(const char *pem)
{
    _cleanup_(bio_freep) BIO *bio = bio_of(pem);
    unsigned n = 0;
    for (X509 *cert; bio && (cert = PEM_read_bio_X509(bio, NULL, no_phrase, NULL)); n++)
        X509_free(cert);
    unsigned long last = ERR_peek_last_error();
    bool ended = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    return n && ended;
}

struct x509_complaint x509_check_server(const char *cert_pem, const char *key_pem,
                                        const char *chain, int64_t now)
{
    struct x509_complaint c = {0};
    _cleanup_(bio_freep) BIO *bio = bio_of(key_pem);
    _cleanup_(pkey_freep) EVP_PKEY *key =
        bio ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
    ERR_clear_error();
    c.flaw = check_key(key, &c);
    if (c.flaw)
        return c;
    _cleanup_(x509_freep) X509 *cert = read_certificate(cert_pem);
    if (!cert) {
        c.flaw = X509_NO_CERTIFICATE;
        return c;
    }
    take_facts(cert, &c.facts);
    c.flaw = check_dates(&c.facts, now);
    if (!c.flaw && X509_check_private_key(cert, key) != 1)
        c.flaw = X509_KEY_OF_ANOTHER;
    if (!c.flaw && !is_strong(cert))
        c.flaw = X509_WEAK_SIGNATURE;
    if (!c.flaw && *chain && !is_chain(chain))
        c.flaw = X509_NO_CHAIN;
    ERR_clear_error();
    return c;
}

struct x509_complaint x509_check_trusted(const char *cert, int64_t now)
{
    struct x509_complaint c = {0};
    c.flaw = x509_read(cert, &c.facts) < 0 ? X509_NO_CERTIFICATE : check_dates(&c.facts, now);
    return c;
}
