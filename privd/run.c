/*
 * run.c: one program, its input and its two outputs.
 *
 * Called by verbs.c in the child that serves one request; the deadline is the child's alarm.
 */
#include "privd/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"

static char *const environment[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LANG=C",
                                    NULL};

struct pipes {
    int in[2], out[2], err[2];
};

static void close_all(struct pipes *p)
{
    int *ends[] = {p->in, p->out, p->err};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        fd_closep(&ends[i][0]);
        fd_closep(&ends[i][1]);
    }
}

static int open_all(struct pipes *p, const char *input)
{
    int r = input ? pipe2(p->in, O_CLOEXEC) : 0;
    if (!input && (p->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        r = -1;
    if (r == 0)
        r = pipe2(p->out, O_CLOEXEC);
    if (r == 0)
        r = pipe2(p->err, O_CLOEXEC);
    return r < 0 ? -errno : 0;
}

_Noreturn static void become(const struct pipes *p, const char *const *argv)
{
    if (dup2(p->in[0], 0) < 0 || dup2(p->out[1], 1) < 0 || dup2(p->err[1], 2) < 0)
        _exit(126);
    (void)signal(SIGPIPE, SIG_DFL);
    execve(argv[0], (char *const *)argv, environment);
    _exit(127);
}

/* Reads once; false at the end. What passes the ceiling is read and dropped. */
static bool drain(int fd, struct buf *b)
{
    char room[8192];
    ssize_t n = read(fd, room, sizeof(room));
    if (n > 0)
        buf_put(b, room, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void feed(struct pollfd *p, const char **input)
{
    size_t left = strlen(*input);
    ssize_t n = left ? write(p->fd, *input, left) : 0;
    if (n > 0)
        *input += n;
    if ((n < 0 && errno != EINTR && errno != EAGAIN) || !**input) {
        close(p->fd);
        p->fd = -1;
    }
}

static void talk(struct pipes *p, const char *input, struct buf *out, struct buf *err)
{
    struct pollfd fds[] = {{.fd = input ? fd_take(&p->in[1]) : -1, .events = POLLOUT},
                           {.fd = p->out[0], .events = POLLIN},
                           {.fd = p->err[0], .events = POLLIN}};
    struct buf *bufs[] = {NULL, out, err};
    while (fds[1].fd >= 0 || fds[2].fd >= 0) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0)
            continue;
        if (fds[0].fd >= 0 && fds[0].revents)
            feed(&fds[0], &input);
        for (int i = 1; i <= 2; i++)
            if (fds[i].fd >= 0 && fds[i].revents && !drain(fds[i].fd, bufs[i]))
                fds[i].fd = -1;
    }
    fd_close(fds[0].fd);
}

static int reap(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_program(const char *const *argv, const char *input, size_t max, struct run_result *ret)
{
    _cleanup_(close_all) struct pipes p = {{-1, -1}, {-1, -1}, {-1, -1}};
    int r = open_all(&p, input);
    if (r < 0)
        return r;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        become(&p, argv);
    fd_closep(&p.in[0]);
    fd_closep(&p.out[1]);
    fd_closep(&p.err[1]);
    struct buf out, err;
    buf_init(&out, max);
    buf_init(&err, max);
    talk(&p, input, &out, &err);
    ret->status = reap(pid);
    ret->out = buf_take(&out);
    ret->err = buf_take(&err);
    return 0;
}

void run_result_done(struct run_result *r)
{
    free(r->out);
    free(r->err);
}
