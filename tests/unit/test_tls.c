/* test_tls.c: two sessions that talk through memory, and the certificate of a first start. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tls/tls.h"

static char dir[] = "/tmp/cairn-tls-XXXXXX", cert[64], key[64];
static struct tls_context *server_ctx;

static int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    const char *names[] = {"cairn.example", "127.0.0.1", "::1"};
    assert_null(tls_make_certificate(cert, key, "cairn.example", names, 3));
    assert_null(tls_context_server(cert, key, &server_ctx));
    return 0;
}

static int teardown(void **state)
{
    tls_context_free(server_ctx);
    return fd_remove_tree(dir);
}

static void carry(struct tls *from, struct tls *to)
{
    struct buf *b = tls_out(from);
    tls_push(to, b->data, b->size);
    buf_clear(b);
}

/* Lets both sides speak until neither has anything to say; the results of the last reads. */
static void shake_hands(struct tls *a, struct tls *b, ssize_t *ret_a, ssize_t *ret_b)
{
    char c;
    do {
        *ret_a = tls_read(a, &c, 1);
        carry(a, b);
        *ret_b = tls_read(b, &c, 1);
        carry(b, a);
    } while (*ret_a == 0 && *ret_b == 0 && (!tls_is_ready(a) || !tls_is_ready(b)));
}

static void sessions_talk_through_memory(void **state)
{
    struct tls_context *client_ctx;
    assert_null(tls_context_client(cert, &client_ctx));
    struct tls *client = tls_new(client_ctx), *server = tls_new(server_ctx);
    tls_set_host(client, "cairn.example");
    assert_int_equal(tls_write(client, "x", 1), -EAGAIN);
    ssize_t a, b;
    shake_hands(client, server, &a, &b);
    assert_true(tls_is_ready(client) && tls_is_ready(server));

    size_t size = 1 << 20, got = 0;
    char *big = mem_zalloc(size, 1), *back = mem_zalloc(size, 1);
    memset(big, 'x', size);
    assert_int_equal(tls_write(server, big, size), 0);
    carry(server, client);
    for (ssize_t n; (n = tls_read(client, back + got, size - got)) > 0; got += (size_t)n)
        ;
    assert_int_equal(got, size);
    assert_memory_equal(big, back, size);
    free(big);
    free(back);

    tls_shutdown(client);
    carry(client, server);
    char c;
    assert_int_equal(tls_read(server, &c, 1), -EPIPE);
    tls_free(client);
    tls_free(server);
    tls_context_free(client_ctx);
}

static void a_client_checks_the_name(void **state)
{
    struct tls_context *client_ctx;
    assert_null(tls_context_client(cert, &client_ctx));
    struct tls *client = tls_new(client_ctx), *server = tls_new(server_ctx);
    tls_set_host(client, "other.example");
    ssize_t a, b;
    shake_hands(client, server, &a, &b);
    assert_true(a == -EPROTO || b == -EPROTO);
    assert_false(tls_is_ready(client));
    tls_free(client);
    tls_free(server);
    tls_context_free(client_ctx);
}

static void garbage_is_a_violation(void **state)
{
    struct tls *server = tls_new(server_ctx);
    char c;
    assert_int_equal(tls_read(server, &c, 1), 0);
    tls_push(server, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_int_equal(tls_read(server, &c, 1), -EPROTO);
    tls_free(server);
}

static void the_certificate_is_made_once(void **state)
{
    struct stat before, after;
    assert_int_equal(stat(cert, &before), 0);
    assert_null(tls_make_certificate(cert, key, "other", NULL, 0));
    assert_int_equal(stat(cert, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(stat(key, &after), 0);
    assert_int_equal(after.st_mode & 0777, 0600);
}

static void a_context_names_the_file_that_fails(void **state)
{
    struct tls_context *c = NULL;
    _cleanup_(err_freep) struct err *e = tls_context_server("/nonexistent.pem", key, &c);
    assert_non_null(strstr(err_param(e, 0), "/nonexistent.pem"));
    _cleanup_(err_freep) struct err *f = tls_context_reload(server_ctx, cert, cert);
    assert_non_null(strstr(err_param(f, 0), "cert.pem"));
    assert_null(tls_context_reload(server_ctx, cert, key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_talk_through_memory),
        cmocka_unit_test(a_client_checks_the_name),
        cmocka_unit_test(garbage_is_a_violation),
        cmocka_unit_test(the_certificate_is_made_once),
        cmocka_unit_test(a_context_names_the_file_that_fails),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
