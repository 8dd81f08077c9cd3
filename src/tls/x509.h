/*
 * x509.h: what a certificate says, and whether one may be used.
 *
 * Pure functions of PEM texts; any thread. Nothing is said here in the words of the API: flaws are
 * an enum, times are seconds since 1970.
 *
 *     struct x509_facts f;
 *     if (x509_read(pem, &f) < 0)
 *         …                                  // it is no certificate
 *     struct x509_complaint c = x509_check_server(pem, key, chain, now);
 *     if (c.flaw)
 *         …
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct x509_facts {
    int64_t not_before, not_after;
    char sha256[96], sha1[60]; /* fingerprints: "AB:CD:…" */
};

/* Of the first certificate of the text; -EINVAL if there is none. */
int x509_read(const char *pem, struct x509_facts *ret);
/* The first certificate of the text alone, the caller's; NULL if there is none. */
char *x509_first(const char *pem);
/* The name of the host that the first certificate is for: of its alternatives the first, else the
 * common name; the caller's, NULL if it has none. */
char *x509_name(const char *pem);
/* A list of revoked certificates. */
bool x509_is_crl(const char *pem);

enum x509_flaw {
    X509_FINE,
    X509_NO_CERTIFICATE,
    X509_WEAK_SIGNATURE, /* not with SHA-256 or better */
    X509_EXPIRED,
    X509_NOT_YET,
    X509_NO_CHAIN,
    X509_NO_KEY,
    X509_KEY_KIND,   /* neither RSA nor an elliptic curve; text: the OID */
    X509_KEY_LENGTH, /* RSA of less than 2048 or more than 4096 bits; text: how many */
    X509_KEY_PRIMES, /* RSA of more than two primes */
    X509_KEY_OF_ANOTHER,
};

struct x509_complaint {
    enum x509_flaw flaw;
    struct x509_facts facts; /* of the certificate, unless there is none */
    char text[80];
};

/* May a server use them? `chain` may be "". */
struct x509_complaint x509_check_server(const char *cert, const char *key, const char *chain,
                                        int64_t now);
/* May it be trusted: is it one, and now? */
struct x509_complaint x509_check_trusted(const char *cert, int64_t now);
