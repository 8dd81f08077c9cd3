/* tls.c: contexts and sessions; see tls.h. */
#include "tls/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "base/lock.h"
#include "base/str.h"

#define OUT_MAX (1u << 30) /* whoever drains it decides how much may wait */

struct tls_context {
    struct mutex lock; /* of ctx, which a reload replaces */
    SSL_CTX *ctx;
    SSL_CTX *named;   /* for clients that ask for `name`; NULL: none */
    const char *name; /* constant text */
    bool server;
};

struct tls {
    SSL *ssl;
    BIO *in; /* owned by ssl */
    struct buf out;
    bool server;
};

/* Of OpenSSL's names of ciphers and digests, of which there are hundreds, a client needs those that
 * certificates are signed with; ciphers come from its provider. */
void tls_start_short(void)
{
    uint64_t how = OPENSSL_INIT_NO_ATEXIT;
    if (!getenv("OPENSSL_CONF"))
        how |= OPENSSL_INIT_NO_LOAD_CONFIG;
    OPENSSL_init_crypto(how | OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS,
                        NULL);
    EVP_add_digest(EVP_sha1());
    EVP_add_digest(EVP_sha256());
    EVP_add_digest(EVP_sha384());
    EVP_add_digest(EVP_sha512());
    OPENSSL_init_ssl(how, NULL);
}

static void ctx_freep(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

/* The first thing that OpenSSL complained about; the queue is empty afterwards. */
static struct err *complain(const char *what, const char *path)
{
    char why[160] = "unknown reason";
    unsigned long e = ERR_get_error();
    if (e)
        ERR_error_string_n(e, why, sizeof(why));
    ERR_clear_error();
    return err_internal("%s '%s': %s", what, path, why);
}

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx)
        abort(); /* no memory */
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    return ctx;
}

static struct err *load_server(const char *cert_path, const char *key_path, SSL_CTX **ret)
{
    _cleanup_(ctx_freep) SSL_CTX *ctx = new_ctx(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_path) != 1)
        return complain("cannot use certificate", cert_path);
    if (SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return complain("cannot use key", key_path);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"cairn", 5);
    *ret = steal(&ctx);
    return NULL;
}

/* The client has named whom it wants. Runs in the middle of a handshake, without the lock. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    struct tls_context *c = arg;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    if (!asked)
        return SSL_TLSEXT_ERR_NOACK;
    mutex_lock(&c->lock);
    if (c->named && str_eq(asked, c->name))
        SSL_set_SSL_CTX(ssl, c->named); /* takes a reference */
    mutex_unlock(&c->lock);
    return SSL_TLSEXT_ERR_OK;
}

static void watch_names(struct tls_context *c, SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, c);
}

static struct tls_context *new_context(SSL_CTX *ctx, bool server)
{
    struct tls_context *c = mem_new(struct tls_context);
    mutex_init(&c->lock, LOCK_LEAF);
    c->ctx = ctx;
    c->server = server;
    return c;
}

struct err *tls_context_server(const char *cert_path, const char *key_path,
                               struct tls_context **ret)
{
    SSL_CTX *ctx = NULL;
    TRY(load_server(cert_path, key_path, &ctx));
    *ret = new_context(ctx, true);
    watch_names(*ret, ctx);
    return NULL;
}

struct err *tls_context_client(const char *ca_path, struct tls_context **ret)
{
    _cleanup_(ctx_freep) SSL_CTX *ctx = new_ctx(TLS_client_method());
    if (ca_path) {
        if (SSL_CTX_load_verify_file(ctx, ca_path) != 1)
            return complain("cannot use certificates", ca_path);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    *ret = new_context(steal(&ctx), false);
    return NULL;
}

struct err *tls_context_reload(struct tls_context *c, const char *cert_path, const char *key_path)
{
    _cleanup_(ctx_freep) SSL_CTX *fresh = NULL;
    TRY(load_server(cert_path, key_path, &fresh));
    watch_names(c, fresh);
    mutex_lock(&c->lock);
    SSL_CTX *old = c->ctx;
    c->ctx = steal(&fresh);
    mutex_unlock(&c->lock);
    SSL_CTX_free(old); /* sessions hold their own reference */
    return NULL;
}

struct err *tls_context_named(struct tls_context *c, const char *name, const char *cert_path,
                              const char *key_path)
{
    _cleanup_(ctx_freep) SSL_CTX *fresh = NULL;
    TRY(load_server(cert_path, key_path, &fresh));
    mutex_lock(&c->lock);
    SSL_CTX *old = c->named;
    c->named = steal(&fresh);
    c->name = name;
    mutex_unlock(&c->lock);
    SSL_CTX_free(old);
    return NULL;
}

void tls_context_free(struct tls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ctx);
    SSL_CTX_free(c->named);
    mutex_done(&c->lock);
    free(c);
}

struct tls *tls_new(struct tls_context *c)
{
    struct tls *t = mem_new(struct tls);
    buf_init(&t->out, OUT_MAX);
    t->server = c->server;
    mutex_lock(&c->lock);
    t->ssl = SSL_new(c->ctx);
    mutex_unlock(&c->lock);
    t->in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !out)
        abort();                       /* no memory */
    BIO_set_mem_eof_return(t->in, -1); /* empty means: later */
    SSL_set_bio(t->ssl, t->in, out);
    if (t->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    return t;
}

void tls_set_host(struct tls *t, const char *host)
{
    SSL_set_tlsext_host_name(t->ssl, host);
    SSL_set1_host(t->ssl, host);
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    buf_done(&t->out);
    free(t);
}

void tls_push(struct tls *t, const void *p, size_t size)
{
    while (size) {
        int n = BIO_write(t->in, p, size > INT32_MAX ? INT32_MAX : (int)size);
        if (n <= 0)
            abort(); /* no memory */
        p = (const char *)p + n;
        size -= (size_t)n;
    }
}

/* Moves what OpenSSL wants to send into our buffer. */
static void collect_out(struct tls *t)
{
    BIO *out = SSL_get_wbio(t->ssl);
    char *data;
    long size = BIO_get_mem_data(out, &data);
    if (size > 0) {
        buf_put(&t->out, data, (size_t)size);
        (void)BIO_reset(out);
    }
}

/* What a call of OpenSSL that did not succeed means. */
static int failure(struct tls *t, int r)
{
    int why = SSL_get_error(t->ssl, r);
    ERR_clear_error();
    collect_out(t); /* an alert, perhaps */
    switch (why) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return -EPIPE;
    default:
        return -EPROTO;
    }
}

ssize_t tls_read(struct tls *t, void *p, size_t size)
{
    size_t n;
    if (!SSL_is_init_finished(t->ssl)) {
        int r = SSL_do_handshake(t->ssl);
        if (r != 1)
            return failure(t, r);
    }
    int r = SSL_read_ex(t->ssl, p, size, &n);
    if (r != 1)
        return failure(t, r);
    collect_out(t);
    return (ssize_t)n;
}

int tls_write(struct tls *t, const void *p, size_t size)
{
    if (!SSL_is_init_finished(t->ssl))
        return -EAGAIN;
    size_t n;
    if (size && SSL_write_ex(t->ssl, p, size, &n) != 1) {
        ERR_clear_error();
        return -EPROTO;
    }
    collect_out(t);
    return 0;
}

bool tls_is_ready(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl);
}

void tls_shutdown(struct tls *t)
{
    if (SSL_is_init_finished(t->ssl))
        SSL_shutdown(t->ssl);
    ERR_clear_error();
    collect_out(t);
}

struct buf *tls_out(struct tls *t)
{
    return &t->out;
}
