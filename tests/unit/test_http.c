/* test_http.c: request and response heads, chunks, queries, cookies, credentials; compared with
 * http-parser. */
#include <errno.h>
#include <http_parser.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/http.h"

static struct http_head head;

static unsigned parse(const char *text)
{
    size_t scanned = 0;
    ssize_t n = http_head_end(view_of(text), &scanned);
    if (n <= 0)
        return n < 0 ? (unsigned)-n : 1;
    return http_parse_request((struct view){text, (size_t)n}, &head);
}

static void is(struct view v, const char *expected)
{
    assert_int_equal(v.size, strlen(expected));
    assert_memory_equal(v.p, expected, v.size);
}

static void a_request_is_taken_apart(void **state)
{
    assert_int_equal(parse("\r\nPUT /import?a=1&b=%20#x HTTP/1.1\r\nHost: h\r\n"
                           "X-Empty:\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\nbody"),
                     0);
    is(head.method, "PUT");
    is(head.path, "/import");
    is(head.query, "a=1&b=%20");
    assert_int_equal(head.minor, 1);
    assert_true(head.keep_alive);
    assert_true(head.has_length);
    assert_int_equal(head.length, 12);
    assert_true(head.expect_continue);
    assert_int_equal(head.n_headers, 4);
    is(http_find(&head, "HOST"), "h");
    is(http_find(&head, "x-empty"), "");
    assert_null(http_find(&head, "absent").p);
}

static void targets_have_several_forms(void **state)
{
    static const char *const cases[][3] = {
        {"GET http://h:80/a/b?c HTTP/1.1\r\n\r\n", "/a/b", "c"},
        {"GET HTTPS://h HTTP/1.1\r\n\r\n", "/", ""},
        {"OPTIONS * HTTP/1.1\r\n\r\n", "*", ""},
        {"CONNECT /console?uuid=x HTTP/1.0\r\n\r\n", "/console", "uuid=x"},
        {"CONNECT host:443 HTTP/1.1\r\n\r\n", "host:443", ""},
        {"GET /?a?b HTTP/1.1\r\n\r\n", "/", "a?b"},
        {"GET /\xc3\xa4 HTTP/1.1\r\n\r\n", "/\xc3\xa4", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(parse(cases[i][0]), 0);
        is(head.path, cases[i][1]);
        is(head.query, cases[i][2]);
    }
}

static bool keeps(const char *text)
{
    assert_int_equal(parse(text), 0);
    return head.keep_alive;
}

static void connections_live_on_by_version_and_header(void **state)
{
    assert_true(keeps("GET / HTTP/1.1\r\n\r\n"));
    assert_false(keeps("GET / HTTP/1.0\r\n\r\n"));
    assert_true(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    assert_false(keeps("GET / HTTP/1.1\r\nconnection: x, CLOSE\r\n\r\n"));
    assert_true(keeps("GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n\r\n"));
    assert_true(head.upgrade);
}

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\nA: b\n\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\x16\x03\x01",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse(bad[i]), 400);
    assert_int_equal(parse("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501);
    assert_int_equal(parse("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"), 0);
}

static void heads_are_bounded(void **state)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < HTTP_HEADERS_MAX; i++)
        buf_puts(&b, "A: b\r\n");
    buf_puts(&b, "\r\n");
    assert_int_equal(parse(buf_str(&b)), 0);
    b.size -= 2;
    buf_puts(&b, "A: b\r\n\r\n");
    assert_int_equal(parse(buf_str(&b)), 431);
    buf_clear(&b);
    buf_puts(&b, "GET / HTTP/1.1\r\nA: ");
    while (b.size < HTTP_HEAD_MAX - 4)
        buf_putc(&b, 'x');
    buf_puts(&b, "\r\n\r\n");
    assert_int_equal(parse(buf_str(&b)), 0);
    b.size -= 4;
    buf_puts(&b, "x\r\n\r\n");
    assert_int_equal(parse(buf_str(&b)), 431);
    buf_clear(&b); /* without an end it is refused as soon as it is too long */
    while (b.size < HTTP_HEAD_MAX)
        buf_putc(&b, 'x');
    assert_int_equal(parse(buf_str(&b)), 1);
    buf_putc(&b, 'x');
    assert_int_equal(parse(buf_str(&b)), 431);
}

static void a_head_may_come_byte_by_byte(void **state)
{
    const char *text = "GET / HTTP/1.1\r\nA: b\r\n\r\nGET";
    size_t scanned = 0, end = strlen(text) - 3;
    for (size_t n = 1; n < end; n++)
        assert_int_equal(http_head_end((struct view){text, n}, &scanned), 0);
    assert_int_equal(http_head_end((struct view){text, end}, &scanned), end);
}

static void responses_are_read_too(void **state)
{
    struct view text = view_of("HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(http_parse_response(text, &head), 0);
    assert_int_equal(head.status, 404);
    assert_int_equal(http_parse_response(view_of("HTTP/1.0 200\r\n\r\n"), &head), 0);
    assert_int_equal(http_parse_response(view_of("HTTP/1.1 20 OK\r\n\r\n"), &head), 400);
    assert_int_equal(http_parse_response(view_of("ICY 200 OK\r\n\r\n"), &head), 400);
}

static ssize_t unchunk(const char *text, size_t step, struct buf *out)
{
    struct http_chunks c = {0};
    size_t size = strlen(text), at = 0;
    bool done = false;
    buf_clear(out);
    while (at < size && !done) {
        size_t n = size - at < step ? size - at : step;
        ssize_t used = http_chunks_feed(&c, (struct view){text + at, n}, out, &done);
        if (used < 0)
            return used;
        at += (size_t)used;
    }
    return done ? (ssize_t)at : 0;
}

static void chunks_are_joined(void **state)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 100);
    const char *text = "3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: x\r\n\r\nrest";
    for (size_t step = 1; step < 50; step++) {
        assert_int_equal(unchunk(text, step, &out), strlen(text) - 4);
        assert_string_equal(buf_str(&out), "abc0123456789");
    }
    assert_int_equal(unchunk("0\r\n\r\n", 5, &out), 5);
    assert_int_equal(unchunk("3\r\nab", 5, &out), 0);
    static const char *const bad[] = {"\r\n",          "x\r\n",  "3 \r\nabc\r\n",        "3\nabc",
                                      "3\r\nabcd\r\n", "-1\r\n", "fffffffffffffffff\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(unchunk(bad[i], 100, &out), -EINVAL);
    assert_int_equal(unchunk("ff\r\n0123456789012345678901234567890123456789012345678901234567890"
                             "01234567890123456789012345678901234567890123456789",
                             200, &out),
                     -E2BIG);
}

static void query_is(const char *query, const char *name, const char *expected)
{
    _cleanup_(freep) char *v = http_query_get(view_of(query), name);
    if (expected)
        assert_string_equal(v, expected);
    else
        assert_null(v);
}

static void queries_are_decoded(void **state)
{
    query_is("a=1&b=x%20y+z&c", "b", "x y z");
    query_is("a=1&b=2&a=3", "a", "1");
    query_is("a=1,2&c", "a", "1,2");
    query_is("a=1&c", "c", "");
    query_is("a=b=c", "a", "b=c");
    query_is("a=%zz&b=1", "a", NULL);
    query_is("a=%00", "a", NULL);
    query_is("a=%4", "a", NULL);
    query_is("", "a", NULL);
    query_is("vdi%3Ax=y", "vdi:x", "y");
    struct view q = view_of("a=1&&b=%41");
    char *k, *v;
    assert_true(http_query_next(&q, &k, &v));
    free(k);
    free(v);
    assert_true(http_query_next(&q, &k, &v));
    assert_string_equal(k, "b");
    assert_string_equal(v, "A");
    free(k);
    free(v);
    assert_false(http_query_next(&q, &k, &v));
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 100);
    http_put_encoded(&b, view_of("a b/\xc3\xa4&~"), "/");
    assert_string_equal(buf_str(&b), "a%20b/%C3%A4%26~");
}

static void cookies_come_in_two_forms(void **state)
{
    assert_int_equal(parse("GET / HTTP/1.1\r\nCookie: x=1; session_id=OpaqueRef%3a5\r\n\r\n"), 0);
    _cleanup_(freep) char *a = http_cookie_get(&head, "session_id");
    assert_string_equal(a, "OpaqueRef:5");
    assert_int_equal(parse("GET / HTTP/1.1\r\ncookie: session_id=a&task_id=b+c\r\n\r\n"), 0);
    _cleanup_(freep) char *b = http_cookie_get(&head, "task_id");
    assert_string_equal(b, "b+c");
    assert_null(http_cookie_get(&head, "none"));
}

static void credentials_are_decoded(void **state)
{
    char *user, *password;
    assert_int_equal(parse("GET / HTTP/1.1\r\nAuthorization: Basic cm9vdDpwOnc=\r\n\r\n"), 0);
    assert_true(http_basic_auth(&head, &user, &password));
    assert_string_equal(user, "root");
    assert_string_equal(password, "p:w");
    free(user);
    free(password);
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization: Bearer abc\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization: Basic cm9vdA==\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization: Basic !!!!\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(parse(bad[i]), 0);
        assert_false(http_basic_auth(&head, &user, &password));
    }
}

/* ---- the comparison ---- */

struct seen {
    unsigned fields;
    bool complete;
};

static int on_field(http_parser *p, const char *at, size_t size)
{
    struct seen *s = p->data;
    s->fields++;
    return 0;
}

static int on_headers(http_parser *p)
{
    struct seen *s = p->data;
    s->complete = true;
    return 2; /* no body, no further messages */
}

/* Everything that we accept, http-parser accepts as well and reads alike. */
static void compare(const char *text)
{
    http_parser other;
    http_parser_settings settings = {.on_header_field = on_field,
                                     .on_headers_complete = on_headers};
    struct seen seen = {0};
    if (parse(text) != 0)
        return;
    http_parser_init(&other, HTTP_REQUEST);
    other.data = &seen;
    http_parser_execute(&other, &settings, text, strlen(text));
    if (strchr(text, '\t') && other.http_errno == HPE_INVALID_CONTENT_LENGTH)
        return; /* it knows no tab beside a length; RFC 9110 does */
    if (!seen.complete)
        fail_msg("refused there (%s), accepted here: %s", http_errno_name(other.http_errno), text);
    assert_int_equal(seen.fields, head.n_headers);
    assert_int_equal(other.http_minor, head.minor);
    is(head.method, http_method_str(other.method));
    if (head.has_length)
        assert_int_equal(other.content_length, head.length);
    assert_int_equal(!!(other.flags & F_CHUNKED), head.chunked);
    assert_int_equal(http_should_keep_alive(&other) || other.upgrade ||
                         other.method == HTTP_CONNECT,
                     head.keep_alive || other.upgrade || other.method == HTTP_CONNECT);
}

/* A request with one byte changed, for every byte and some values. */
static void we_are_stricter_than_http_parser(void **state)
{
    static const char *const requests[] = {
        "POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\nConnection: close\r\n\r\n",
        "GET /rrd_updates?start=1&host=true HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "CONNECT /console?uuid=1 HTTP/1.0\r\nCookie: session_id=x\r\n\r\n",
        "PUT /import HTTP/1.1\r\nTransfer-Encoding: chunked\r\nA:\tb \r\n\r\n",
    };
    static const char values[] = "\r\n\t :;,aAzZ09?/#%\x01\x7f";
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        compare(requests[i]);
        assert_int_equal(parse(requests[i]), 0);
        /* Not the method: http-parser knows a list of them, we any token. */
        size_t from = strcspn(requests[i], " ") + 1;
        for (size_t at = from; at < strlen(requests[i]); at++)
            for (size_t v = 0; v < sizeof(values) - 1; v++) {
                _cleanup_(freep) char *changed = mem_strdup(requests[i]);
                changed[at] = values[v];
                compare(changed);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(targets_have_several_forms),
        cmocka_unit_test(connections_live_on_by_version_and_header),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(a_head_may_come_byte_by_byte),
        cmocka_unit_test(responses_are_read_too),
        cmocka_unit_test(chunks_are_joined),
        cmocka_unit_test(queries_are_decoded),
        cmocka_unit_test(cookies_come_in_two_forms),
        cmocka_unit_test(credentials_are_decoded),
        cmocka_unit_test(we_are_stricter_than_http_parser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
