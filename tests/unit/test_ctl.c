/* test_ctl.c: the control socket, its words and its refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/ctl.h"

static struct err *echo(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    for (unsigned i = 1; i < argc; i++)
        buf_printf(out, "<%s>", argv[i]);
    return argc > 1 ? NULL : err_internal("usage: echo WORD...");
}

static void answers(const char *line, const char *expected)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    ctl_run(view_of(line), &out);
    assert_string_equal(buf_str(&out), expected);
}

static void lines_are_split_into_words(void **state)
{
    ctl_register("echo", "WORD...", echo, NULL);
    answers("echo a  b\tc ", "ok\n<a><b><c>");
    answers("echo \"a b\" \"q\\\"\\\\\" \"\"", "ok\n<a b><q\"\\><>");
    answers("echo", "error usage: echo WORD...\n");
    answers("", "error no command ''; try help\n");
    answers("nonsense", "error no command 'nonsense'; try help\n");
    answers("log loop loud", "error usage: log MODULE|* err|warn|info|debug\n");
}

static void too_many_words_are_cut(void **state)
{
    char line[200] = "echo";
    for (int i = 0; i < 60; i++)
        strcat(line, " x");
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    ctl_run(view_of(line), &out);
    assert_int_equal(out.size, strlen("ok\n") + 31 * strlen("<x>"));
}

struct served {
    struct loop *l;
    struct ctl *ctl;
    char path[64];
};

static void listen_there(void *arg)
{
    struct served *s = arg;
    assert_null(ctl_listen(s->l, s->path, &s->ctl));
}

static void close_there(void *arg)
{
    struct served *s = arg;
    ctl_free(s->ctl);
}

static void the_socket_serves_the_commands(void **state)
{
    struct served s = {.l = loop_new("ctl")};
    snprintf(s.path, sizeof(s.path), "/tmp/cairn-ctl-%d.sock", (int)getpid());
    listen_there(&s);
    ctl_free(steal(&s.ctl));
    loop_step(s.l);
    loop_free(s.l);

    s.l = loop_start("ctl");
    loop_post(s.l, listen_there, &s);
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    ssize_t n;
    while ((n = ctl_call(s.path, "echo hello\n", &out)) < 0)
        usleep(1000); /* until the socket is there */
    assert_string_equal(buf_str(&out), "ok\n<hello>");
    buf_clear(&out);
    assert_true(ctl_call(s.path, "help", &out) > 0); /* no LF: the end of the stream will do */
    assert_non_null(strstr(buf_str(&out), "\necho WORD...\n"));
    loop_post(s.l, close_there, &s);
    loop_stop_join(s.l);
    assert_int_equal(access(s.path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_split_into_words),
        cmocka_unit_test(too_many_words_are_cut),
        cmocka_unit_test(the_socket_serves_the_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
