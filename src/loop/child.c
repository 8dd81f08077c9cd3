/* child.c: see child.h. */
#include "loop/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "loop/loop_impl.h"

extern char **environ;

struct child {
    pid_t pid;
    int pidfd;
    bool ours;
    struct loop_fd *watch;
    child_exit_fn fn;
    void *arg;
};

/* Descriptors on their way into a child. posix_spawn does the dup2 calls one after the other, so a
 * source could be overwritten before its turn; all sources are therefore first copied above
 * every target. */
struct plan {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int lift; /* copies get at least this number */
    VEC(int) copies;
};

static void plan_done(struct plan *p)
{
    vec_each (fd, &p->copies)
        fd_close(*fd);
    vec_done(&p->copies);
    posix_spawn_file_actions_destroy(&p->actions);
    posix_spawnattr_destroy(&p->attr);
}

static void plan_init(struct plan *p, const struct child_spec *spec)
{
    *p = (struct plan){.lift = 3};
    for (unsigned i = 0; i < spec->n_fds; i++)
        if (spec->fds[i].child >= p->lift)
            p->lift = spec->fds[i].child + 1;
    posix_spawn_file_actions_init(&p->actions);
    posix_spawnattr_init(&p->attr);
    sigset_t none, every;
    sigemptyset(&none);
    sigfillset(&every);
    posix_spawnattr_setsigmask(&p->attr, &none);
    posix_spawnattr_setsigdefault(&p->attr, &every);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (spec->new_session)
        flags |= POSIX_SPAWN_SETSID;
    posix_spawnattr_setflags(&p->attr, (short)flags);
}

static struct err *plan_fd(struct plan *p, int parent, int child)
{
    int copy = fcntl(parent, F_DUPFD_CLOEXEC, p->lift);
    if (copy < 0)
        return err_errno(errno, "cannot copy descriptor %d for a child", parent);
    vec_push(&p->copies, copy);
    posix_spawn_file_actions_adddup2(&p->actions, copy, child);
    return NULL;
}

static struct err *plan_file(struct plan *p, const char *path, int flags, int child)
{
    _cleanup_(fd_closep) int fd = open(path, flags | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_errno(errno, "cannot open '%s' for a child", path);
    return plan_fd(p, fd, child);
}

static bool hands_over(const struct child_spec *spec, int child)
{
    for (unsigned i = 0; i < spec->n_fds; i++)
        if (spec->fds[i].child == child)
            return true;
    return false;
}

/* out, err: descriptors for stdout and stderr, or -1. */
static struct err *spawn(const struct child_spec *spec, int out, int err, pid_t *ret)
{
    _cleanup_(plan_done) struct plan p;
    plan_init(&p, spec);
    if (!hands_over(spec, STDIN_FILENO))
        TRY(plan_file(&p, "/dev/null", O_RDONLY, STDIN_FILENO));
    if (spec->log_file) {
        TRY(plan_file(&p, spec->log_file, O_WRONLY | O_CREAT | O_APPEND, STDOUT_FILENO));
        posix_spawn_file_actions_adddup2(&p.actions, STDOUT_FILENO, STDERR_FILENO);
    }
    if (out >= 0)
        TRY(plan_fd(&p, out, STDOUT_FILENO));
    if (err >= 0)
        TRY(plan_fd(&p, err, STDERR_FILENO));
    for (unsigned i = 0; i < spec->n_fds; i++)
        TRY(plan_fd(&p, spec->fds[i].parent, spec->fds[i].child));
    char *const *env = spec->env ? (char *const *)(uintptr_t)spec->env : environ;
    int r = posix_spawnp(ret, spec->argv[0], &p.actions, &p.attr,
                         (char *const *)(uintptr_t)spec->argv, env);
    return r ? err_errno(r, "cannot run '%s'", spec->argv[0]) : NULL;
}

static struct child_exit reap(int pidfd)
{
    siginfo_t si = {0};
    int r;
    do
        r = waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return (struct child_exit){.code = -1};
    if (si.si_code == CLD_EXITED)
        return (struct child_exit){.known = true, .code = si.si_status};
    return (struct child_exit){.known = true, .code = -1, .signal = si.si_status};
}

static void on_child_end(void *arg, int fd, unsigned events)
{
    struct child *c = arg;
    struct child_exit how = {.code = -1};
    if (c->ours)
        how = reap(c->pidfd);
    loop_fd_del(c->watch);
    c->watch = NULL;
    c->fn(c->arg, &how);
}

static struct child *watch_child(struct loop *l, pid_t pid, int pidfd, child_exit_fn fn, void *arg)
{
    struct child *c = mem_new(struct child);
    c->pid = pid;
    c->pidfd = pidfd;
    c->fn = fn;
    c->arg = arg;
    c->watch = loop_fd_add(l, pidfd, LOOP_READ, on_child_end, c);
    return c;
}

struct err *child_spawn(struct loop *l, const struct child_spec *spec, child_exit_fn fn, void *arg,
                        struct child **ret)
{
    pid_t pid;
    TRY(spawn(spec, -1, -1, &pid));
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        int en = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return err_errno(en, "cannot watch process %d", (int)pid);
    }
    *ret = watch_child(l, pid, pidfd, fn, arg);
    (*ret)->ours = true;
    return NULL;
}

struct err *child_adopt(struct loop *l, pid_t pid, uint64_t start, child_exit_fn fn, void *arg,
                        struct child **ret)
{
    _cleanup_(fd_closep) int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return err_errno(errno, "cannot watch process %d", (int)pid);
    uint64_t now;
    int r = child_start_time(pid, &now); /* after the pidfd: it is this very process's */
    if (r < 0 || now != start)
        return err_errno(ESRCH, "process %d is not the one that was started", (int)pid);
    *ret = watch_child(l, pid, fd_take(&pidfd), fn, arg);
    return NULL;
}

pid_t child_pid(const struct child *c)
{
    return c->pid;
}

int child_start_time(pid_t pid, uint64_t *ret)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4096);
    int r = fd_read_file(path, 4096, &b);
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;
    /* The name in parentheses may hold anything; fields are counted behind its last one. The
     * state follows as field 3, the start time is field 22. */
    const char *name_end = strrchr(buf_str(&b), ')');
    if (!name_end || name_end[1] != ' ')
        return -EINVAL;
    struct view rest = view_of(name_end + 2), field = {0};
    for (int i = 3; i <= 22; i++)
        if (!view_split(&rest, ' ', &field))
            return -EINVAL;
    return str_u64(field, 0, UINT64_MAX, ret);
}

int child_kill(const struct child *c, int sig)
{
    return pidfd_send_signal(c->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void child_free(struct child *c)
{
    if (!c)
        return;
    loop_fd_del(c->watch);
    fd_close(c->pidfd);
    free(c);
}

/* One output of child_run: its pipe and where it goes. */
struct outlet {
    int fd;
    struct buf *to; /* NULL: dropped */
};

static void read_outlet(struct outlet *o)
{
    char chunk[16384];
    ssize_t n = read(o->fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        fd_close(o->fd);
        o->fd = -1;
    } else if (o->to) {
        buf_put(o->to, chunk, (size_t)n);
    }
}

/* Reads both outlets until the process is gone and nothing is left in the pipes. A grandchild that
 * keeps a pipe open does not hold us. */
static int collect(int pidfd, struct outlet o[2], usec_t deadline)
{
    for (bool gone = false;;) {
        struct pollfd p[3] = {{.fd = o[0].fd, .events = POLLIN},
                              {.fd = o[1].fd, .events = POLLIN},
                              {.fd = gone ? -1 : pidfd, .events = POLLIN}};
        usec_t now = clock_machine();
        if (now >= deadline)
            return -ETIMEDOUT;
        usec_t wait = (deadline - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
        int n = poll(p, 3, gone ? 0 : wait > 60000 ? 60000 : (int)wait);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && gone)
            return 0;
        for (int i = 0; i < 2 && n > 0; i++)
            if (p[i].revents)
                read_outlet(&o[i]);
        if (n > 0 && p[2].revents)
            gone = true;
    }
}

static void close_outlets(struct outlet (*o)[2])
{
    fd_close((*o)[0].fd);
    fd_close((*o)[1].fd);
}

struct err *child_run(const struct child_spec *spec, usec_t timeout, struct buf *ret_out,
                      struct buf *ret_err, struct child_exit *ret_exit)
{
    _cleanup_(close_outlets) struct outlet o[2] = {{-1, ret_out}, {-1, ret_err}};
    _cleanup_(fd_closep) int out = -1;
    _cleanup_(fd_closep) int err = -1;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_errno(errno, "no pipe");
    o[0].fd = ends[0];
    out = ends[1];
    if (ret_err) {
        if (pipe2(ends, O_CLOEXEC) < 0)
            return err_errno(errno, "no pipe");
        o[1].fd = ends[0];
        err = ends[1];
    }
    pid_t pid;
    TRY(spawn(spec, out, err, &pid));
    fd_close(fd_take(&out));
    fd_close(fd_take(&err));
    _cleanup_(fd_closep) int pidfd = pidfd_open(pid, 0);
    int r = pidfd < 0 ? -errno : collect(pidfd, o, clock_machine() + timeout);
    if (r < 0)
        kill(pid, SIGKILL); /* not reaped yet, so the pid is still this process's */
    if (pidfd >= 0)
        *ret_exit = reap(pidfd);
    else
        waitpid(pid, NULL, 0);
    return r < 0 ? err_errno(-r, "'%s' did not end properly", spec->argv[0]) : NULL;
}
