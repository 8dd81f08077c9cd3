/* test_loop.c: loops, the clock and children. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "loop/child.h"
#include "loop/loop.h"

/* A loop that runs on the test's own thread, and what its callbacks saw. */
struct fixture {
    struct loop *l;
    char seen[64];
    struct loop_timer *timer;
    struct loop_fd *watch;
    struct child *child;
    struct child_exit exit;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->l = loop_new("test");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_timer_free(f->timer);
    loop_fd_del(f->watch);
    child_free(f->child);
    loop_free(f->l);
    clock_real();
    free(f);
    return 0;
}

static void note(struct fixture *f, const char *what)
{
    strncat(f->seen, what, sizeof(f->seen) - strlen(f->seen) - 1);
}

static void say_a(void *arg)
{
    note(arg, "a");
}

static void say_b(void *arg)
{
    note(arg, "b");
}

static void stop(void *arg)
{
    struct fixture *f = arg;
    note(f, ".");
    loop_stop(f->l);
}

static void posts_keep_their_order(void **state)
{
    struct fixture *f = *state;
    loop_post(f->l, say_a, f);
    loop_post(f->l, say_b, f);
    loop_post(f->l, stop, f);
    loop_run(f->l);
    assert_string_equal(f->seen, "ab.");
}

static void *post_from_thread(void *arg)
{
    struct fixture *f = arg;
    usleep(2000); /* let the loop fall asleep; the test holds either way */
    loop_post(f->l, stop, f);
    return NULL;
}

static void a_post_wakes_the_loop(void **state)
{
    struct fixture *f = *state;
    pthread_t t;
    pthread_create(&t, NULL, post_from_thread, f);
    loop_run(f->l);
    pthread_join(t, NULL);
    assert_string_equal(f->seen, ".");
}

static void own_thread_runs_posts_before_it_ends(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_start("worker");
    assert_false(loop_is_mine(l));
    for (int i = 0; i < 20; i++)
        loop_post(l, say_a, f);
    loop_stop_join(l);
    assert_string_equal(f->seen, "aaaaaaaaaaaaaaaaaaaa");
}

static void timers_follow_the_fake_clock(void **state)
{
    struct fixture *f = *state;
    clock_fake(1000 * USEC_PER_SEC);
    struct loop_timer *a = loop_timer_new(f->l, say_a, f), *b = loop_timer_new(f->l, say_b, f);
    loop_timer_set(b, clock_now() + 20 * USEC_PER_SEC);
    loop_timer_set(a, clock_now() + 10 * USEC_PER_SEC);
    assert_int_equal(loop_next_timer(f->l), 1010 * USEC_PER_SEC);
    assert_false(loop_step(f->l));
    clock_advance(10 * USEC_PER_SEC);
    loop_step(f->l);
    assert_string_equal(f->seen, "a");
    loop_timer_set(a, clock_now() + 5 * USEC_PER_SEC);
    clock_advance(10 * USEC_PER_SEC);
    loop_step(f->l);
    assert_string_equal(f->seen, "aab");
    loop_timer_free(a);
    loop_timer_free(b);
}

static void many_timers_fire_in_order(void **state)
{
    struct fixture *f = *state;
    clock_fake(0);
    struct loop_timer *t[100];
    for (unsigned i = 0; i < 100; i++) {
        t[i] = loop_timer_new(f->l, i % 2 ? say_a : say_b, f);
        loop_timer_set(t[i], 1 + (i * 37) % 100);
    }
    for (unsigned i = 0; i < 100; i++) { /* leave 5, at the deadlines 1 38 75 12 49 */
        if (i >= 5)
            loop_timer_stop(t[i]);
    }
    usec_t last = 0;
    for (int n = 0; n < 5; n++) {
        usec_t next = loop_next_timer(f->l);
        assert_true(next > last);
        clock_advance(next - last);
        loop_step(f->l);
        last = next;
    }
    assert_int_equal(loop_next_timer(f->l), USEC_NEVER);
    assert_int_equal(strlen(f->seen), 5);
    for (unsigned i = 0; i < 100; i++)
        loop_timer_free(t[i]);
}

static void a_real_timer_fires(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_timer_new(f->l, stop, f);
    usec_t began = clock_now();
    loop_timer_set(f->timer, began + 3 * USEC_PER_MSEC);
    loop_run(f->l);
    assert_true(clock_now() - began >= 3 * USEC_PER_MSEC);
}

static void on_ready(void *arg, int fd, unsigned events)
{
    struct fixture *f = arg;
    char c[2] = {0};
    assert_true(events & LOOP_READ);
    if (read(fd, c, 1) == 1) {
        note(f, c);
        return;
    }
    loop_fd_del(steal(&f->watch));
    stop(f);
}

static void descriptors_are_watched(void **state)
{
    struct fixture *f = *state;
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    f->watch = loop_fd_add(f->l, p[0], LOOP_READ, on_ready, f);
    assert_int_equal(write(p[1], "xy", 2), 2);
    close(p[1]);
    loop_run(f->l);
    assert_string_equal(f->seen, "xy.");
    close(p[0]);
}

static void count_line(enum log_level level, const char *line, void *arg)
{
    if (strstr(line, "slow-callback") && strstr(line, "dawdle"))
        ++*(int *)arg;
}

static void dawdle(void *arg)
{
    usleep(12000);
    stop(arg);
}

static void a_slow_callback_is_named(void **state)
{
    struct fixture *f = *state;
    int lines = 0;
    log_set_sink(count_line, &lines);
    loop_post(f->l, dawdle, f);
    loop_run(f->l);
    log_set_sink(NULL, NULL);
    assert_int_equal(lines, 1);
}

static void waits_end_at_the_deadline(void **state)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    usec_t began = clock_now();
    pthread_mutex_lock(&m);
    while (clock_wait(&c, &m, began + 2 * USEC_PER_MSEC))
        ;
    pthread_mutex_unlock(&m);
    assert_true(clock_now() >= began + 2 * USEC_PER_MSEC);
}

static void *advance(void *arg)
{
    clock_advance(60 * USEC_PER_SEC);
    return NULL;
}

static void fake_waits_end_when_time_is_advanced(void **state)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    clock_fake(5);
    pthread_t t;
    pthread_mutex_lock(&m);
    pthread_create(&t, NULL, advance, NULL);
    while (clock_wait(&c, &m, 60 * USEC_PER_SEC))
        ;
    pthread_mutex_unlock(&m);
    pthread_join(t, NULL);
    assert_int_equal(clock_wall(), 60 * USEC_PER_SEC + 5);
}

static void on_exit_of_child(void *arg, const struct child_exit *how)
{
    struct fixture *f = arg;
    f->exit = *how;
    stop(f);
}

static void spawn_shell(struct fixture *f, const char *script, struct child_spec spec)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    spec.argv = argv;
    assert_null(child_spawn(f->l, &spec, on_exit_of_child, f, &f->child));
}

static void a_child_tells_its_exit_status(void **state)
{
    struct fixture *f = *state;
    spawn_shell(f, "exit 7", (struct child_spec){0});
    loop_run(f->l);
    assert_true(f->exit.known);
    assert_int_equal(f->exit.code, 7);
    assert_int_equal(f->exit.signal, 0);
    assert_int_equal(child_kill(f->child, 0), -ESRCH);
}

static void a_killed_child_tells_the_signal(void **state)
{
    struct fixture *f = *state;
    spawn_shell(f, "exec sleep 60", (struct child_spec){.new_session = true});
    assert_int_equal(getsid(child_pid(f->child)), child_pid(f->child));
    assert_int_equal(child_kill(f->child, SIGTERM), 0);
    loop_run(f->l);
    assert_int_equal(f->exit.signal, SIGTERM);
    assert_int_equal(f->exit.code, -1);
}

/* Two descriptors that trade places: each is the other's target. */
static void descriptors_reach_the_child_under_their_number(void **state)
{
    struct fixture *f = *state;
    int p[2], q[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    assert_int_equal(pipe2(q, O_CLOEXEC), 0);
    const struct child_fd fds[] = {{.parent = p[1], .child = q[1]},
                                   {.parent = q[1], .child = p[1]}};
    char script[160];
    snprintf(script, sizeof(script),
             "echo one >/proc/$$/fd/%d; echo two >/proc/$$/fd/%d; "
             "! test -e /proc/$$/fd/%d",
             q[1], p[1], p[0]);
    spawn_shell(f, script, (struct child_spec){.fds = fds, .n_fds = 2});
    loop_run(f->l);
    assert_int_equal(f->exit.code, 0);
    char line[8] = {0};
    assert_int_equal(read(p[0], line, sizeof(line)), 4);
    assert_string_equal(line, "one\n");
    assert_int_equal(read(q[0], line, sizeof(line)), 4);
    assert_string_equal(line, "two\n");
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(q[i]);
    }
}

static void output_goes_to_the_log_file(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/cairn-loop-XXXXXX";
    close(mkstemp(path));
    const char *env[] = {"WORD=hello", NULL};
    spawn_shell(f, "echo $WORD; echo err >&2", (struct child_spec){.log_file = path, .env = env});
    loop_run(f->l);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 100);
    assert_int_equal(fd_read_file(path, 100, &b), 0);
    assert_string_equal(buf_str(&b), "hello\nerr\n");
    unlink(path);
}

static void a_missing_program_is_an_error(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"/nonexistent/program", NULL};
    struct child_spec spec = {.argv = argv};
    _cleanup_(err_freep) struct err *e = child_spawn(f->l, &spec, on_exit_of_child, f, &f->child);
    assert_non_null(e);
    assert_int_equal(err_get_errno(e), ENOENT);
}

static void a_stranger_is_adopted_by_pid_and_start(void **state)
{
    struct fixture *f = *state;
    spawn_shell(f, "exec sleep 60", (struct child_spec){0});
    pid_t pid = child_pid(f->child);
    uint64_t start;
    assert_int_equal(child_start_time(pid, &start), 0);
    struct fixture g = {.l = f->l};
    _cleanup_(err_freep) struct err *wrong =
        child_adopt(f->l, pid, start + 1, on_exit_of_child, &g, &g.child);
    assert_int_equal(err_get_errno(wrong), ESRCH);
    assert_null(child_adopt(f->l, pid, start, on_exit_of_child, &g, &g.child));
    child_free(steal(&f->child));
    child_kill(g.child, SIGKILL);
    loop_run(f->l);
    assert_string_equal(g.seen, ".");
    assert_false(g.exit.known);
    child_free(g.child);
}

static struct err *run_shell(const char *script, usec_t timeout, struct buf *out, struct buf *err,
                             struct child_exit *how)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct child_spec spec = {.argv = argv};
    return child_run(&spec, timeout, out, err, how);
}

static void run_collects_both_outputs(void **state)
{
    _cleanup_(buf_done) struct buf out;
    _cleanup_(buf_done) struct buf err;
    buf_init(&out, 1 << 20);
    buf_init(&err, 100);
    struct child_exit how;
    assert_null(run_shell("seq 20000; echo oh >&2; exit 3", 10 * USEC_PER_SEC, &out, &err, &how));
    assert_int_equal(how.code, 3);
    assert_int_equal(out.size, 108894);
    assert_string_equal(buf_str(&err), "oh\n");
}

static void run_kills_at_the_deadline(void **state)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 100);
    struct child_exit how;
    _cleanup_(err_freep) struct err *e =
        run_shell("echo x; exec sleep 60", 2 * USEC_PER_SEC, &out, NULL, &how);
    assert_int_equal(err_get_errno(e), ETIMEDOUT);
    assert_int_equal(how.signal, SIGKILL);
    assert_string_equal(buf_str(&out), "x\n");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(posts_keep_their_order),
        T(a_post_wakes_the_loop),
        T(own_thread_runs_posts_before_it_ends),
        T(timers_follow_the_fake_clock),
        T(many_timers_fire_in_order),
        T(a_real_timer_fires),
        T(descriptors_are_watched),
        T(a_slow_callback_is_named),
        T(waits_end_at_the_deadline),
        T(fake_waits_end_when_time_is_advanced),
        T(a_child_tells_its_exit_status),
        T(a_killed_child_tells_the_signal),
        T(descriptors_reach_the_child_under_their_number),
        T(output_goes_to_the_log_file),
        T(a_missing_program_is_an_error),
        T(a_stranger_is_adopted_by_pid_and_start),
        T(run_collects_both_outputs),
        T(run_kills_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
