/* Tests of api/auth_priv with a cairn-privd that says what the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/auth.h"
#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"
#include "state/desc.h"
#include "task/task.h"

/* Instead of gen/msg.c, which wants the handlers of all layers: none is called. */
msg_fn msg_handlers[8192];

/* Serves one connection: keeps the request, sends the answer. */
struct fake {
    char dir[32];
    char *path;
    const char *answer;
    char request[512];
    int listener;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct fake *f = arg;
    _cleanup_(fd_closep) int conn = accept(f->listener, NULL, NULL);
    ssize_t n = conn < 0 ? -1 : read(conn, f->request, sizeof(f->request) - 1);
    if (n > 0)
        assert_int_equal(fd_write_all(conn, f->answer, strlen(f->answer)), 0);
    return NULL;
}

static struct err *login(struct fake *f, const char *answer, const char *user,
                         struct auth_facts *ret)
{
    strcpy(f->dir, "/tmp/cairn-auth-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->path = mem_printf("%s/privd", f->dir);
    f->answer = answer;
    f->listener = fd_listen_unix(f->path, 0600);
    assert_true(f->listener >= 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    struct auth *a = auth_new_priv(f->path);
    struct err *e = auth_check(a, user, "pass\"word", ret);
    auth_free(a);
    pthread_join(f->thread, NULL);
    fd_close(f->listener);
    (void)fd_remove_tree(f->dir);
    free(f->path);
    return e;
}

static void root_with_the_right_password_is_superuser(void **state)
{
    struct fake f = {0};
    struct auth_facts facts = {0};
    assert_null(login(&f, "{\"ok\":true,\"accepted\":true}\n", "root", &facts));
    assert_true(facts.superuser);
    assert_int_equal(facts.roles, (1u << ROLE_N) - 1);
    _cleanup_(val_unrefp) struct val *request = NULL;
    assert_int_equal(json_parse(view_of(f.request), &request), 0);
    assert_string_equal(val_map_str(request, "verb", ""), "authenticate");
    assert_string_equal(val_map_str(request, "user", ""), "root");
    assert_string_equal(val_map_str(request, "password", ""), "pass\"word");
}

static void assert_refused(const char *answer, const char *user)
{
    struct fake f = {0};
    struct auth_facts facts = {0};
    struct err *e = login(&f, answer, user, &facts);
    assert_true(err_is(e, "SESSION_AUTHENTICATION_FAILED"));
    assert_false(facts.superuser);
    err_free(e);
}

static void a_wrong_password_is_refused(void **state)
{
    assert_refused("{\"ok\":true,\"accepted\":false}\n", "root");
    assert_refused("{\"ok\":true}\n", "root");
    assert_refused("{\"ok\":true,\"accepted\":\"true\"}\n", "root");
}

/* The password is right, and that is all: what the user may do a subject says. */
static void who_is_no_administrator_has_no_role(void **state)
{
    static const char *const users[] = {"nobody", "no such account"};
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        struct fake f = {0};
        struct auth_facts facts = {.superuser = true, .roles = 1};
        assert_null(login(&f, "{\"ok\":true,\"accepted\":true}\n", users[i], &facts));
        assert_false(facts.superuser);
        assert_int_equal(facts.roles, 0);
    }
}

/* Not a word about the password: it may be right. */
static void trouble_is_no_refusal(void **state)
{
    static const char *const answers[] = {"{\"ok\":false,\"error\":\"PAM cannot tell\"}\n", "{}\n",
                                          "", "garbage\n", "[]\n"};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct fake f = {0};
        struct auth_facts facts = {0};
        struct err *e = login(&f, answers[i], "root", &facts);
        assert_true(err_is(e, "INTERNAL_ERROR"));
        assert_false(facts.superuser);
        err_free(e);
    }
    struct auth_facts facts = {0};
    struct auth *a = auth_new_priv("/nowhere/privd");
    struct err *e = auth_check(a, "root", "x", &facts);
    assert_true(err_is(e, "INTERNAL_ERROR"));
    err_free(e);
    auth_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_with_the_right_password_is_superuser),
        cmocka_unit_test(a_wrong_password_is_refused),
        cmocka_unit_test(who_is_no_administrator_has_no_role),
        cmocka_unit_test(trouble_is_no_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
