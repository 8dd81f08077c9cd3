/* Tests of privd/rules and privd/request: what is refused before anything is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "privd/verbs.h"

static void check_rule(rule_fn rule, const char *const *good, const char *const *bad)
{
    for (; *good; good++)
        if (rule(*good))
            fail_msg("'%s' is refused: %s", *good, rule(*good));
    for (; *bad; bad++)
        if (!rule(*bad))
            fail_msg("'%s' is not refused", *bad);
}
#define LIST(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void names_follow_their_rules(void **state)
{
    (void)state;
    check_rule(rule_folder, LIST("/a", "/a/b", "/a/..b", "/a/b..", "/a/.b", "/a b"),
               LIST("", "a", "/", "//", "/a/", "/a//b", "/a/.", "/./a", "/a/..", "/../a", "/a/../b",
                    "/a\nb", "/a\x7f"));
    check_rule(rule_device, LIST("/dev/sda", "/dev/disk/by-id/x", "/dev/loop0"),
               LIST("", "/dev", "/dev/", "/device/a", "/dev/../a", "/etc/passwd", "sda"));
    check_rule(rule_label, LIST("a", "cairn-sr", "0123456789abcdef"),
               LIST("", "0123456789abcdefg", "-a", "a b", "a\n", "ä"));
    check_rule(rule_tap, LIST("cairn0", "tap1.0", "vif65535.7", "tap123456789.1"),
               LIST("", "tap", "tap.", "tap1.", "tap.1", "tap1.2.3", "tap1x", "eth0", "lo",
                    "tap1/2", "tap%d", "tap1234567890123", "tap1234567890.12", "Tap1", " tap1"));
    check_rule(rule_plugin, LIST("echo", "a.py", "_x", "9"),
               LIST("", ".", "..", ".a", "-a", "a/b", "/a", "a b", "a\n", "ä"));
    check_rule(rule_user, LIST("root", "DOMAIN\\user", "user@domain", "ü", "a b"),
               LIST("", "-a", "a:b", "a/b", "a\nb", "\x1b[m"));
    check_rule(rule_hostname, LIST("a", "host-7.example", "0"),
               LIST("", "-a", "a-", ".a", "a.", "a..b", "a b", "a_b", "a\n", "ä"));
    check_rule(rule_zone, LIST("UTC", "Etc/GMT+1", "America/North_Dakota/Center"),
               LIST("", "/a", "-a", "../a", "a b", "a\n", "a;b"));
    check_rule(rule_server, LIST("", "a", "a.example", "::1", "192.0.2.1"),
               LIST("a b", "-a", ".a", "a\n", "a;b", "[::1]"));
    check_rule(rule_servers, LIST("", "a", "a b", "a.example 192.0.2.1 ::1"),
               LIST(" ", "a ", " a", "a  b", "a -b", "a\nb"));
    check_rule(rule_switch, LIST("enabled", "disabled"), LIST("", "on", "enabled "));
    check_rule(rule_power, LIST("poweroff", "reboot"), LIST("", "halt", "reboot\n"));
    check_rule(rule_address, LIST("0.0.0.0", "127.0.0.1", "::", "::1", "fe80::1"),
               LIST("", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.4 ", "[::1]", "fe80::1%eth0"));
}

static void long_names_are_refused(void **state)
{
    (void)state;
    char text[140000];
    memset(text, 'a', sizeof(text));
    text[0] = '/';
    text[4095] = '\0';
    assert_null(rule_folder(text));
    text[4095] = 'a';
    text[4096] = '\0';
    assert_non_null(rule_folder(text));
    text[1024] = '\0';
    assert_null(rule_password(text));
    text[1024] = 'a';
    text[1025] = '\0';
    assert_non_null(rule_password(text));
    text[0] = 'a';
    text[256] = '\0';
    assert_null(rule_user(text));
    assert_non_null(rule_plugin(text));
    memset(text, 'a', 131073);
    text[257] = '\0';
    assert_non_null(rule_user(text));
    text[257] = 'a';
    text[131072] = '\0';
    assert_non_null(rule_argument(text));
    text[131071] = '\0';
    assert_null(rule_argument(text));
}

/* The complaint about a line; "" if it is fine. Owned by the caller. */
static char *complaint(const char *line)
{
    _cleanup_(request_done) struct request r = {0};
    struct err *e = request_parse(verbs, view_of(line), &r);
    assert_true(!e == !!r.verb);
    char *text = mem_strdup(e ? err_param(e, 0) : "");
    err_free(e);
    return text;
}

static void requests_have_exactly_their_members(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"{\"verb\":\"umount\",\"folder\":\"/a\"}\n", ""},
        {"{\"verb\":\"mkfs\",\"device\":\"/dev/a\",\"label\":\"x\"}", ""},
        {"{\"verb\":\"mkfs\",\"device\":\"/dev/a\",\"label\":\"x\",\"force\":true}", ""},
        {"{\"verb\":\"listen\",\"address\":\"::\",\"port\":1023}", ""},
        {"", "no JSON object"},
        {"[]", "no JSON object"},
        {"{\"verb\":\"umount\",\"folder\":\"/a\"", "no JSON object"},
        {"{\"verb\":\"umount\",\"folder\":\"/a\"} {}", "no JSON object"},
        {"{}", "names no verb"},
        {"{\"verb\":3}", "names no verb"},
        {"{\"verb\":\"\"}", "no such verb"},
        {"{\"verb\":\"Mount\"}", "no such verb"},
        {"{\"verb\":\"umount\"}", "lacks 'folder'"},
        {"{\"verb\":\"umount\",\"folder\":7}", "wrong kind"},
        {"{\"verb\":\"umount\",\"folder\":null}", "wrong kind"},
        {"{\"verb\":\"umount\",\"folder\":{\"a\":\"/a\"}}", "wrong kind"},
        {"{\"verb\":\"umount\",\"folder\":\"/a\",\"x\":1}", "does not know"},
        {"{\"verb\":\"umount\",\"folder\":\"/a/..\"}", "without '.', '..'"},
        {"{\"verb\":\"mkfs\",\"device\":\"/dev/a\",\"label\":\"x\",\"force\":\"no\"}",
         "wrong kind"},
        {"{\"verb\":\"mkfs\",\"device\":\"/dev/a\",\"label\":\"x\",\"force\":1}", "wrong kind"},
        {"{\"verb\":\"listen\",\"address\":\"::\",\"port\":0}", "out of range"},
        {"{\"verb\":\"listen\",\"address\":\"::\",\"port\":1024}", "out of range"},
        {"{\"verb\":\"listen\",\"address\":\"::\",\"port\":80.5}", "wrong kind"},
        {"{\"verb\":\"listen\",\"address\":\"::\",\"port\":true}", "wrong kind"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(freep) char *text = complaint(cases[i].line);
        if (cases[i].says[0] ? !strstr(text, cases[i].says) : text[0])
            fail_msg("%s: '%s'", cases[i].line, text);
    }
}

static void complaints_do_not_repeat_what_was_sent(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "{\"verb\":\"s3cret\"}",
        "{\"verb\":\"authenticate\",\"user\":\"root\",\"s3cret\":1}",
        "{\"verb\":\"authenticate\",\"user\":\"s3cret\\n\",\"password\":\"s3cret\"}",
        "{\"verb\":\"umount\",\"folder\":\"s3cret\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        _cleanup_(freep) char *text = complaint(lines[i]);
        assert_true(text[0]);
        assert_null(strstr(text, "s3cret"));
    }
}

static void members_are_read_back(void **state)
{
    (void)state;
    _cleanup_(request_done) struct request r = {0};
    assert_null(request_parse(
        verbs, view_of("{\"verb\":\"mkfs\",\"device\":\"/dev/a\",\"label\":\"x\"}"), &r));
    assert_string_equal(r.verb->name, "mkfs");
    assert_string_equal(request_str(&r, "device"), "/dev/a");
    assert_false(request_bool(&r, "force"));
    assert_false(request_has(&r, "force"));
    request_done(&r);
    assert_null(request_parse(
        verbs, view_of("{\"verb\":\"listen\",\"address\":\"::1\",\"port\":443}"), &r));
    assert_int_equal(request_int(&r, "port"), 443);
}

static void a_request_that_is_too_large_is_refused(void **state)
{
    (void)state;
    _cleanup_(freep) char *line = mem_zalloc(1, REQUEST_SIZE_MAX + 2);
    memset(line, ' ', REQUEST_SIZE_MAX + 1);
    _cleanup_(freep) char *text = complaint(line);
    assert_string_equal(text, "the request is too large");
}

/* Clients give up after 60 s; the answer has to be there before. */
static void verbs_are_bounded(void **state)
{
    (void)state;
    for (const struct verb *v = verbs; v->name; v++) {
        assert_true(v->seconds > 0 && v->seconds < 60);
        assert_non_null(v->run);
        for (unsigned i = 0; i < REQUEST_MEMBERS && v->members[i].name; i++)
            assert_true(v->members[i].kind != VAL_STRING || v->members[i].rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_their_rules),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(requests_have_exactly_their_members),
        cmocka_unit_test(complaints_do_not_repeat_what_was_sent),
        cmocka_unit_test(members_are_read_back),
        cmocka_unit_test(a_request_that_is_too_large_is_refused),
        cmocka_unit_test(verbs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
