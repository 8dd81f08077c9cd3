/*
 * run.c: see run.h. Called by format.c and plugin.c in a worker, which is single-threaded, so fork
 * is safe. The program stays in the worker's process group, which server.c kills at the deadline.
 */
#include "privd/run.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define PIECE       16384
#define EXIT_NO_RUN 127

enum { IN, OUT, ERR, END, N_POLLED };

struct running {
    const struct run_spec *spec;
    struct buf *written[2]; /* stdout, stderr */
    struct pollfd polled[N_POLLED];
    size_t input_at, input_size;
    int64_t deadline_ms;
    pid_t pid;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* In the child; ends it. Descriptors 0 to 2 are the pipes, all others close themselves. */
static void become(const struct run_spec *spec, const int ends[3])
{
    static char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root",
                                NULL};
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)umask(022);
    for (int i = 0; i < 3; i++)
        if (dup2(ends[i], i) < 0)
            _exit(EXIT_NO_RUN);
    if (chdir("/") == 0)
        (void)execve(spec->argv[0], (char *const *)(uintptr_t)spec->argv, env);
    int failed = errno;
    (void)!write(2, strerror(failed), strlen(strerror(failed)));
    _exit(EXIT_NO_RUN);
}

/* pipes[i][0] reads. Stdin's is ours to write, the others ours to read. */
static struct err *start(struct running *r, int pipes[3][2])
{
    for (int i = 0; i < 3; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            return err_errno(errno, "cannot make a pipe");
    r->pid = fork();
    if (r->pid < 0)
        return err_errno(errno, "cannot fork");
    if (r->pid == 0)
        become(r->spec, (int[]){pipes[0][0], pipes[1][1], pipes[2][1]});
    int ours[3] = {fd_take(&pipes[0][1]), fd_take(&pipes[1][0]), fd_take(&pipes[2][0])};
    fd_closep(&pipes[0][0]);
    fd_closep(&pipes[1][1]);
    fd_closep(&pipes[2][1]);
    for (int i = 0; i < 3; i++) {
        (void)fd_set_nonblocking(ours[i]);
        r->polled[i] = (struct pollfd){.fd = ours[i], .events = i == IN ? POLLOUT : POLLIN};
    }
    r->polled[END] = (struct pollfd){.fd = pidfd_open(r->pid, 0), .events = POLLIN};
    return r->polled[END].fd < 0 ? err_errno(errno, "cannot watch '%s'", r->spec->argv[0]) : NULL;
}

static void give_input(struct running *r)
{
    ssize_t n = 0;
    if (r->input_at < r->input_size)
        n = write(r->polled[IN].fd, r->spec->input + r->input_at, r->input_size - r->input_at);
    if (n > 0)
        r->input_at += (size_t)n;
    if (r->input_at == r->input_size || (n < 0 && errno != EAGAIN && errno != EINTR))
        fd_closep(&r->polled[IN].fd);
}

/* Takes what there is of one stream; false at its end. */
static bool take_output(struct running *r, int stream)
{
    char piece[PIECE];
    ssize_t n = read(r->polled[stream].fd, piece, sizeof(piece));
    if (n > 0)
        buf_put(r->written[stream - OUT], piece, (size_t)n);
    if (n > 0 || (n < 0 && errno == EINTR))
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    fd_closep(&r->polled[stream].fd);
    return false;
}

static struct err *check_sizes(const struct running *r)
{
    for (int i = 0; i < 2; i++)
        if (!buf_ok(r->written[i]))
            return err_internal("'%s' wrote more than %zu bytes", r->spec->argv[0],
                                r->written[i]->max);
    return NULL;
}

/* Until the program has ended; something it left behind may keep the pipes open. */
static struct err *follow(struct running *r)
{
    while (!r->polled[END].revents) {
        int64_t left = r->deadline_ms - now_ms();
        if (left <= 0)
            return err_internal("'%s' did not end within %u s", r->spec->argv[0], r->spec->seconds);
        if (poll(r->polled, N_POLLED, (int)left) < 0 && errno != EINTR)
            return err_errno(errno, "cannot wait for '%s'", r->spec->argv[0]);
        if (r->polled[IN].fd >= 0 && r->polled[IN].revents)
            give_input(r);
        for (int i = OUT; i <= ERR; i++)
            if (r->polled[i].fd >= 0 && r->polled[i].revents)
                (void)take_output(r, i);
        TRY(check_sizes(r));
    }
    for (int i = OUT; i <= ERR; i++)
        while (r->polled[i].fd >= 0 && buf_ok(r->written[i - OUT]) && take_output(r, i))
            ;
    return check_sizes(r);
}

static struct err *reap(struct running *r, struct err *e, int *ret_status)
{
    int status;
    if (e)
        (void)kill(r->pid, SIGKILL);
    while (waitpid(r->pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_first(e, err_errno(errno, "cannot wait for '%s'", r->spec->argv[0]));
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return e;
}

struct err *run_program(const struct run_spec *spec, struct buf *out, struct buf *err,
                        int *ret_status)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct running r = {.spec = spec,
                        .written = {out, err},
                        .input_size = spec->input ? strlen(spec->input) : 0,
                        .deadline_ms = now_ms() + (int64_t)spec->seconds * 1000,
                        .pid = -1};
    for (int i = 0; i < N_POLLED; i++)
        r.polled[i].fd = -1;
    struct err *e = start(&r, pipes);
    if (!e)
        e = follow(&r);
    if (r.pid > 0)
        e = reap(&r, e, ret_status);
    for (int i = 0; i < N_POLLED; i++)
        fd_close(r.polled[i].fd);
    for (int i = 0; i < 6; i++)
        fd_close(pipes[i / 2][i % 2]);
    return e;
}

/* ---- tools ---- */

#define COMPLAINT_MAX (64u << 10)

/* The first line that a program complained in, after warnings, as far as it is printable. */
static char *complaint_of(struct buf *text)
{
    const char *from = buf_str(text), *end;
    from += strspn(from, " ");
    while (strncmp(from, "WARNING", 7) == 0 && (end = strchr(from, '\n')))
        from = end + 1 + strspn(end + 1, " ");
    char *line = mem_strndup(from, strcspn(from, "\n"));
    for (char *c = line; *c; c++)
        *c = isprint((unsigned char)*c) ? *c : '?';
    return line;
}

struct err *run_tool(const struct run_spec *spec, const char *name)
{
    _cleanup_(buf_done) struct buf out;
    _cleanup_(buf_done) struct buf err;
    int status;
    buf_init(&out, COMPLAINT_MAX);
    buf_init(&err, COMPLAINT_MAX);
    TRY(run_program(spec, &out, &err, &status));
    if (status == 0)
        return NULL;
    _cleanup_(freep) char *why = complaint_of(&err);
    return err_internal("'%s' failed with %d: %s", name, status, why);
}
