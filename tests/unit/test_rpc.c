/* test_rpc.c: values and envelopes in XML and JSON, byte by byte. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "codec/json.h"
#include "codec/rpc.h"
#include "codec/xml.h"

static struct buf out;

static int setup(void **state)
{
    buf_init(&out, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    buf_done(&out);
    return 0;
}

/* Reads a value and writes it again. */
static void xml_becomes(const char *in, const char *expected)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    assert_int_equal(xml_parse_value(view_of(in), &v), 0);
    struct rpc_out o = {.b = &out, .format = RPC_XML};
    buf_clear(&out);
    rpc_put_val(&o, v);
    assert_string_equal(buf_str(&out), expected);
}

static void json_becomes(const char *in, const char *expected)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    assert_int_equal(json_parse(view_of(in), &v), 0);
    buf_clear(&out);
    json_put_val(&out, v);
    assert_string_equal(buf_str(&out), expected);
}

static void xml_refuses(const char *in, int error)
{
    struct val *v = NULL;
    assert_int_equal(xml_parse_value(view_of(in), &v), error);
    assert_null(v);
}

static void xml_scalars(void **state)
{
    xml_becomes("<value>a b </value>", "<value>a b </value>");
    xml_becomes("<value/>", "<value></value>");
    xml_becomes(" <value>\n <string> x</string>\t</value>\n", "<value> x</value>");
    xml_becomes("<value><string/></value>", "<value></value>");
    xml_becomes("<value><int>-5</int></value>", "<value>-5</value>");
    xml_becomes("<value><i4> 7 </i4></value>", "<value>7</value>");
    xml_becomes("<value><i8>9223372036854775807</i8></value>",
                "<value>9223372036854775807</value>");
    xml_becomes("<value><boolean>1</boolean></value>", "<value><boolean>1</boolean></value>");
    xml_becomes("<value><boolean>true</boolean></value>", "<value><boolean>0</boolean></value>");
    xml_becomes("<value><double>60.1</double></value>", "<value><double>60.1</double></value>");
    xml_becomes("<value><double>0.1</double></value>", "<value><double>0.1</double></value>");
    xml_becomes("<value><nil/></value>", "<value></value>");
    xml_becomes("<value><dateTime.iso8601>2025-03-19T05:16:24.5+01:00</dateTime.iso8601></value>",
                "<value><dateTime.iso8601>20250319T04:16:24Z</dateTime.iso8601></value>");
}

static void xml_numbers_that_are_none_stay_text(void **state)
{
    xml_becomes("<value><int>five</int></value>", "<value>five</value>");
    xml_becomes("<value><i8>9223372036854775808</i8></value>",
                "<value>9223372036854775808</value>");
    xml_becomes("<value><dateTime.iso8601>today</dateTime.iso8601></value>",
                "<value>today</value>");
}

static void xml_containers(void **state)
{
    xml_becomes("<value><array/></value>", "<value><array><data></data></array></value>");
    xml_becomes("<value><struct/></value>", "<value><struct></struct></value>");
    xml_becomes("<value><array> <data> <value>a</value> <value><struct/></value></data> "
                "</array></value>",
                "<value><array><data><value>a</value><value><struct></struct></value></data>"
                "</array></value>");
    const char *nested = "<value><struct><member><name>a</name><value><struct><member>"
                         "<name>b</name><value>1</value></member></struct></value></member>"
                         "<member><name>c</name><value><array><data></data></array></value>"
                         "</member></struct></value>";
    xml_becomes(nested, nested);
}

static void xml_text_survives(void **state)
{
    xml_becomes("<value>&lt;&gt;&amp;&quot;&apos;&#65;\r\n&#13;\t</value>",
                "<value>&lt;&gt;&amp;&quot;'A\n&#13;\t</value>");
    xml_becomes("<value><![CDATA[<x>]]></value>", "<value>&lt;x&gt;</value>");
    xml_becomes("<value>\xc3\xa4\xef\xbb\xbf</value>", "<value>\xc3\xa4\xef\xbb\xbf</value>");
    struct rpc_out o = {.b = &out, .format = RPC_XML};
    rpc_put_str(&o, "a\x01"
                    "b\xef\xbf\xbf"
                    "c\x7f");
    assert_string_equal(buf_str(&out) + strlen("<value>\xc3\xa4\xef\xbb\xbf</value>"),
                        "<value>abc\x7f</value>");
}

static void xml_refusals(void **state)
{
    static const char *const bad[] = {
        "",
        "<value>",
        "<value>a<int>5</int></value>",
        "<value><int>5</int>a</value>",
        "<value><int>5</int><int>5</int></value>",
        "<value><int><string/></int></value>",
        "<value><array>x</array></value>",
        "<value><array><value/></array></value>",
        "<value><struct><name>a</name></struct></value>",
        "<value><struct><member><value/></member></struct></value>",
        "<value><struct><member><name>a</name></member></struct></value>",
        "<value><struct><member><name>a</name><name>b</name><value/></member></struct></value>",
        "<value><struct><member><name>a</name><value/><value/></member></struct></value>",
        "<value><base64>AA==</base64></value>",
        "<value>\xff</value>",
        "<value>&#1;</value>",
        "<!DOCTYPE x [<!ENTITY e \"y\">]><value>&e;</value>",
        "<value/><value/>",
        "<methodCall/>",
        "<param/>",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        xml_refuses(bad[i], -EINVAL);
}

static char *nested(const char *open, const char *close, int n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++)
        buf_puts(&b, open);
    for (int i = 0; i < n; i++)
        buf_puts(&b, close);
    return buf_take(&b);
}

static void depth_is_bounded(void **state)
{
    struct val *v = NULL;
    _cleanup_(freep) char *fine =
        nested("<value><array><data>", "</data></array></value>", XML_DEPTH_MAX);
    assert_int_equal(xml_parse_value(view_of(fine), &v), 0);
    val_unref(steal(&v));
    _cleanup_(freep) char *deep =
        nested("<value><array><data>", "</data></array></value>", XML_DEPTH_MAX + 2);
    assert_int_equal(xml_parse_value(view_of(deep), &v), -E2BIG);
    _cleanup_(freep) char *json_fine = nested("[", "]", JSON_DEPTH_MAX);
    assert_int_equal(json_parse(view_of(json_fine), &v), 0);
    val_unref(steal(&v));
    for (int n = JSON_DEPTH_MAX + 1; n < 100000; n *= 10) {
        _cleanup_(freep) char *json_deep = nested("[", "]", n);
        assert_int_equal(json_parse(view_of(json_deep), &v), -E2BIG);
    }
}

static void json_values(void **state)
{
    json_becomes("{\"id\":7,\"free\":18446744073709551615,\"half\":0.5}",
                 "{\"id\":7,\"free\":1.844674407370955e+19,\"half\":0.5}");
    json_becomes(" {\"a\":[1,-2.5,true,false,null,\"x\"],\"b\":{}, \"c\":[]} ",
                 "{\"a\":[1,-2.5,true,false,null,\"x\"],\"b\":{},\"c\":[]}");
    json_becomes("\"\\u00e4\\n\\t\\\\\\\"/\\u0001\\b\\f\\r\"",
                 "\"\xc3\xa4\\n\\t\\\\\\\"/\\u0001\\b\\f\\r\"");
    json_becomes("9223372036854775807", "9223372036854775807");
    json_becomes("\":\"", "\":\"");
    json_becomes("[\"[\",\"{\",\":\"]", "[\"[\",\"{\",\":\"]");
    static const char *const bad[] = {"",    "{",        "[1,]",       "{\"a\":1}x",
                                      "nul", "\"\xff\"", "\"\\u0000\""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct val *v;
        assert_int_equal(json_parse(view_of(bad[i]), &v), -EINVAL);
    }
}

static void parse(enum rpc_format f, const char *body, struct rpc_request *req)
{
    assert_int_equal(rpc_parse(f, view_of(body), req), 0);
}

static const char login_call[] =
    "<?xml version=\"1.0\"?><methodCall><methodName>session.login_with_password</methodName>"
    "<params><param><value>root</value></param><param><value>pw</value></param><param>"
    "<value>1.0</value></param><param><value>me</value></param></params></methodCall>";

static void xml_calls(void **state)
{
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    parse(RPC_XML, login_call, &req);
    assert_string_equal(req.method, "session.login_with_password");
    assert_int_equal(val_count(req.params), 4);
    assert_string_equal(val_str_at(req.params, 3), "me");
    rpc_put_call(&out, req.method, req.params);
    assert_string_equal(buf_str(&out), login_call);
    _cleanup_(rpc_request_done) struct rpc_request bare = {0};
    parse(RPC_XML, "<methodCall><methodName>host.get_all</methodName></methodCall>", &bare);
    assert_int_equal(val_count(bare.params), 0);
    struct rpc_request none = {0};
    assert_int_equal(rpc_parse(RPC_XML, view_of("<methodCall/>"), &none), -EINVAL);
    assert_int_equal(rpc_parse(RPC_XML, view_of("<value/>"), &none), -EINVAL);
    assert_int_equal(rpc_parse(RPC_XML,
                               view_of("<methodCall><methodName>a</methodName><methodName>b"
                                       "</methodName></methodCall>"),
                               &none),
                     -EINVAL);
}

static void answers(enum rpc_format f, const char *call, const char *success, const char *failure)
{
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    parse(f, call, &req);
    buf_clear(&out);
    struct rpc_out o = rpc_begin_success(&req, &out);
    rpc_put_str(&o, "OpaqueRef:1");
    rpc_end_success(&req, &o);
    assert_string_equal(buf_str(&out), success);
    buf_clear(&out);
    rpc_put_failure(&req, &out, "HOST_IS_SLAVE", 1, (const char *const[]){"10.0.0.1"});
    assert_string_equal(buf_str(&out), failure);
}

static void answers_byte_by_byte(void **state)
{
    answers(RPC_XML, login_call,
            "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member>"
            "<name>Status</name><value>Success</value></member><member><name>Value</name>"
            "<value>OpaqueRef:1</value></member></struct></value></param></params>"
            "</methodResponse>",
            "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member>"
            "<name>Status</name><value>Failure</value></member><member>"
            "<name>ErrorDescription</name><value><array><data><value>HOST_IS_SLAVE</value>"
            "<value>10.0.0.1</value></data></array></value></member></struct></value></param>"
            "</params></methodResponse>");
    answers(RPC_JSON, "{\"method\":\"a\",\"params\":[],\"id\":7}",
            "{\"result\":\"OpaqueRef:1\",\"error\":null,\"id\":7}",
            "{\"result\":null,\"error\":[\"HOST_IS_SLAVE\",\"10.0.0.1\"],\"id\":7}");
    answers(RPC_JSON, "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":\"x\\\"y\"}",
            "{\"jsonrpc\":\"2.0\",\"result\":\"OpaqueRef:1\",\"id\":\"x\\\"y\"}",
            "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"HOST_IS_SLAVE\","
            "\"data\":[\"10.0.0.1\"]},\"id\":\"x\\\"y\"}");
}

static void list_methods_is_bare_over_xml(void **state)
{
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    parse(RPC_XML, "<methodCall><methodName>system.listMethods</methodName></methodCall>", &req);
    struct rpc_out o = rpc_begin_bare(&req, &out);
    rpc_begin_set(&o);
    rpc_put_str(&o, "VM.start");
    rpc_end_set(&o);
    rpc_end_bare(&req, &o);
    assert_string_equal(buf_str(&out),
                        "<?xml version=\"1.0\"?><methodResponse><params><param><value><array>"
                        "<data><value>VM.start</value></data></array></value></param></params>"
                        "</methodResponse>");
    _cleanup_(val_unrefp) struct val *v = NULL;
    assert_int_equal(xml_parse_response(view_of(buf_str(&out)), &v), 0);
    assert_string_equal(val_str_at(v, 0), "VM.start");
}

static void json_calls(void **state)
{
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    parse(RPC_JSON, "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":{\"k\":1},\"id\":0}", &req);
    assert_int_equal(val_count(req.params), 1);
    assert_int_equal(val_kind(val_at(req.params, 0)), VAL_MAP);
    static const char *const bad[] = {
        "[]",
        "{\"method\":\"a\",\"params\":[]}",
        "{\"method\":\"a\",\"params\":[],\"id\":null}",
        "{\"method\":\"a\",\"params\":[],\"id\":1.5}",
        "{\"method\":\"a\",\"id\":1}",
        "{\"method\":\"a\",\"params\":{},\"id\":1}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":\"x\",\"id\":1}",
        "{\"jsonrpc\":\"2.0\",\"method\":5,\"id\":1}",
        "{\"jsonrpc\":\"2.0\",\"id\":1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct rpc_request none = {0};
        assert_int_equal(rpc_parse(RPC_JSON, view_of(bad[i]), &none), -EINVAL);
    }
}

static void event_counts_are_typed(void **state)
{
    struct rpc_out o = {.b = &out, .format = RPC_XML};
    rpc_begin_map(&o);
    rpc_put_key(&o, "n");
    rpc_put_int(&o, 3);
    rpc_put_key(&o, "valid_ref_counts");
    rpc_begin_map(&o);
    o.i4 = true;
    rpc_put_key(&o, "vm");
    rpc_put_int(&o, 3);
    o.i4 = false;
    rpc_end_map(&o);
    rpc_end_map(&o);
    assert_string_equal(buf_str(&out),
                        "<value><struct><member><name>n</name><value>3</value></member><member>"
                        "<name>valid_ref_counts</name><value><struct><member><name>vm</name>"
                        "<value><i4>3</i4></value></member></struct></value></member></struct>"
                        "</value>");
}

static void void_dates_and_floats(void **state)
{
    struct rpc_out o = {.b = &out, .format = RPC_JSON};
    rpc_begin_set(&o);
    rpc_put_void(&o);
    rpc_put_datetime(&o, 1742357784);
    rpc_put_float(&o, 1.0 / 3);
    rpc_put_float(&o, -INFINITY);
    rpc_put_bool(&o, true);
    rpc_end_set(&o);
    assert_string_equal(buf_str(&out), "[\"\",\"20250319T04:16:24Z\",0.3333333333333333,"
                                       "\"-Infinity\",true]");
    buf_clear(&out);
    o.format = RPC_XML;
    rpc_put_void(&o);
    rpc_put_float(&o, 1.0 / 3);
    assert_string_equal(buf_str(&out),
                        "<value></value><value><double>0.3333333333333333</double></value>");
}

static void bodies_that_are_not_utf8(void **state)
{
    _cleanup_(rpc_request_done) struct rpc_request req = {0};
    parse(RPC_XML,
          "<methodCall><methodName>a</methodName><params><param><value>x\xff\xc3\xa4\xc3"
          "</value></param></params></methodCall>",
          &req);
    assert_true(req.invalid_utf8);
    assert_string_equal(val_str_at(req.params, 0), "x?\xc3\xa4?");
    _cleanup_(rpc_request_done) struct rpc_request latin = {0};
    parse(RPC_XML,
          "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><methodCall><methodName>\xe4"
          "</methodName></methodCall>",
          &latin);
    assert_false(latin.invalid_utf8);
    assert_string_equal(latin.method, "\xc3\xa4");
}

static void values_become_what_is_declared(void **state)
{
    int64_t i;
    double d;
    bool b;
    const char *s;
    _cleanup_(val_unrefp) struct val *text = val_str("42");
    _cleanup_(val_unrefp) struct val *one = val_int(1);
    _cleanup_(val_unrefp) struct val *yes = val_bool(true);
    _cleanup_(val_unrefp) struct val *half = val_float(0.5);
    assert_int_equal(rpc_to_int(text, &i), 0);
    assert_int_equal(i, 42);
    assert_int_equal(rpc_to_int(half, &i), -EINVAL);
    assert_int_equal(rpc_to_float(text, &d), 0);
    assert_true(d == 42);
    assert_int_equal(rpc_to_float(one, &d), 0);
    assert_int_equal(rpc_to_float(yes, &d), -EINVAL);
    assert_int_equal(rpc_to_bool(yes, &b), 0);
    assert_int_equal(rpc_to_bool(text, &b), -EINVAL);
    assert_int_equal(rpc_to_str(text, &s), 0);
    assert_int_equal(rpc_to_str(one, &s), -EINVAL);
    assert_int_equal(rpc_to_datetime(text, &i), -EINVAL);
    _cleanup_(val_unrefp) struct val *date = val_str("20250319T04:16:24Z");
    assert_int_equal(rpc_to_datetime(date, &i), 0);
    assert_int_equal(i, 1742357784);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(xml_scalars),
        T(xml_numbers_that_are_none_stay_text),
        T(xml_containers),
        T(xml_text_survives),
        T(xml_refusals),
        T(depth_is_bounded),
        T(json_values),
        T(xml_calls),
        T(answers_byte_by_byte),
        T(list_methods_is_bare_over_xml),
        T(json_calls),
        T(event_counts_are_typed),
        T(void_dates_and_floats),
        T(bodies_that_are_not_utf8),
        T(values_become_what_is_declared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
