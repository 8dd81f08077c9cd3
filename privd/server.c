/* server.c: see server.h. The listening process; called by privd.c, has one thread. */
#include "privd/server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "privd"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "privd/confine.h"
#include "privd/worker.h"

#define WORKERS_MAX 64    /* further connections wait in the kernel's queue */
#define LIFE_MS     57000 /* of a worker; clients wait 60 s */

struct worker {
    pid_t pid; /* 0: free */
    int conn;  /* ours besides the worker's */
    int64_t deadline_ms;
};

struct server {
    const struct place *place;
    int listen_fd, signal_fd;
    struct worker workers[WORKERS_MAX];
    unsigned n_workers;
    bool ending;
};

struct err *server_bind(const char *path, int *ret_fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(sa.sun_path))
        return err_internal("the path '%s' is too long for a socket", path);
    strcpy(sa.sun_path, path);
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(errno, "cannot make a socket");
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(errno, "cannot replace '%s'", path);
    mode_t before = umask(0111);
    int r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
    (void)umask(before);
    if (r < 0 || listen(fd, SOMAXCONN) < 0)
        return err_errno(errno, "cannot listen on '%s'", path);
    *ret_fd = fd_take(&fd);
    return NULL;
}

struct err *server_inherited(int *ret_fd)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t n;
    int listens = 0;
    socklen_t size = sizeof(listens);
    *ret_fd = -1;
    if (!pid || !count || str_u64(view_of(pid), 1, INT32_MAX, &n) < 0 || (pid_t)n != getpid())
        return NULL;
    if (str_u64(view_of(count), 1, 1, &n) < 0)
        return err_internal("exactly one socket must be handed over, not '%s'", count);
    if (getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens)
        return err_internal("what was handed over is no listening socket");
    *ret_fd = 3;
    return NULL;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- one connection ---- */

/* Never waits: who does not read gets nothing. */
static void refuse(int conn, const char *text)
{
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, 4096);
    worker_put_error(&line, text);
    (void)send(conn, line.data, line.size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool may_ask(const struct place *p, int conn, struct ucred *ret)
{
    socklen_t size = sizeof(*ret);
    if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, ret, &size) < 0)
        return false;
    if (ret->uid == p->peer_uid)
        return true;
    log_warn("event=refused uid=%u pid=%d", ret->uid, ret->pid);
    refuse(conn, "this uid may not ask cairn-privd for anything");
    return false;
}

/* Whoever looks for cairn-privd by its arguments shall find the listening process alone. */
static void wipe_argument(const struct place *p)
{
    if (p->socket)
        explicit_bzero(p->socket, strlen(p->socket));
}

static void become_worker(const struct server *s, const struct ucred *caller, int conn)
{
    struct place place = *s->place;
    place.caller = *caller;
    (void)setpgid(0, 0);
    wipe_argument(&place);
    fd_close(s->listen_fd);
    fd_close(s->signal_fd);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (s->workers[i].pid)
            fd_close(s->workers[i].conn);
    _exit(worker_run(&place, conn));
}

static struct worker *free_slot(struct server *s)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (!s->workers[i].pid)
            return &s->workers[i];
    return NULL;
}

static void start_worker(struct server *s, int *conn, const struct ucred *caller)
{
    struct worker *w = free_slot(s);
    pid_t pid = w ? fork() : -1;
    if (pid < 0) {
        log_err("event=no-worker error='%s'", strerror(errno));
        refuse(*conn, "cairn-privd cannot start a worker");
        return;
    }
    if (pid == 0)
        become_worker(s, caller, *conn);
    (void)setpgid(pid, pid); /* both sides do: whoever is first */
    *w = (struct worker){.pid = pid, .conn = fd_take(conn), .deadline_ms = now_ms() + LIFE_MS};
    s->n_workers++;
}

static void accept_one(struct server *s)
{
    struct ucred caller;
    _cleanup_(fd_closep) int conn = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (conn >= 0 && may_ask(s->place, conn, &caller))
        start_worker(s, &conn, &caller);
}

/* ---- the ends of workers ---- */

static void forget(struct server *s, struct worker *w)
{
    fd_close(w->conn);
    *w = (struct worker){0};
    s->n_workers--;
}

static void answer_for(struct server *s, struct worker *w, const char *why)
{
    log_err("event=worker-failed worker=%d why='%s'", w->pid, why);
    refuse(w->conn, why);
    forget(s, w);
}

static struct worker *find_worker(struct server *s, pid_t pid)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (s->workers[i].pid == pid)
            return &s->workers[i];
    return NULL;
}

static void worker_ended(struct server *s, const siginfo_t *si)
{
    struct worker *w = find_worker(s, si->si_pid);
    bool answered = si->si_code == CLD_EXITED && si->si_status == WORKER_ANSWERED;
    char why[96] = "the request was not done in time";
    if (!answered)
        (void)kill(-si->si_pid, SIGKILL); /* what it ran; its number is ours until it is reaped */
    if (w && !answered && si->si_code == CLD_EXITED)
        snprintf(why, sizeof(why), "the worker of cairn-privd failed");
    else if (w && !answered && si->si_status == SIGSYS)
        snprintf(why, sizeof(why), "the worker of cairn-privd made a system call that it may not");
    else if (w && !answered && si->si_status != SIGALRM)
        snprintf(why, sizeof(why), "the worker of cairn-privd was killed by signal %d",
                 si->si_status);
    if (w && !answered)
        answer_for(s, w, why);
    else if (w)
        forget(s, w);
}

static void reap(struct server *s)
{
    siginfo_t si;
    for (;;) {
        si.si_pid = 0;
        if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
            return;
        worker_ended(s, &si);
        (void)waitpid(si.si_pid, NULL, 0);
    }
}

/* One that cannot even be killed (a dead disk) is left to the kernel and does not count any more.
 */
static void end_late(struct server *s)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        struct worker *w = &s->workers[i];
        if (!w->pid || w->deadline_ms > now_ms())
            continue;
        (void)kill(-w->pid, SIGKILL);
        answer_for(s, w, "the request was not done in time");
    }
}

/* ---- the loop ---- */

static void take_signals(struct server *s)
{
    struct signalfd_siginfo si;
    while (read(s->signal_fd, &si, sizeof(si)) == sizeof(si)) {
        if (si.ssi_signo == SIGCHLD)
            continue;
        log_info("event=ending signal=%u workers=%u", si.ssi_signo, s->n_workers);
        s->ending = true;
    }
    reap(s);
}

static int time_left(const struct server *s)
{
    int64_t first = INT64_MAX;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (s->workers[i].pid && s->workers[i].deadline_ms < first)
            first = s->workers[i].deadline_ms;
    int64_t left = first - now_ms();
    return first == INT64_MAX ? -1 : left > 0 ? (int)left : 0;
}

static struct err *serve(struct server *s)
{
    while (!s->ending || s->n_workers) {
        bool full = s->ending || s->n_workers == WORKERS_MAX;
        struct pollfd polled[] = {{.fd = s->signal_fd, .events = POLLIN},
                                  {.fd = full ? -1 : s->listen_fd, .events = POLLIN}};
        if (poll(polled, 2, time_left(s)) < 0 && errno != EINTR)
            return err_errno(errno, "cannot wait");
        if (polled[0].revents)
            take_signals(s);
        if (polled[1].revents && !s->ending)
            accept_one(s);
        end_late(s);
    }
    return NULL;
}

struct err *server_run(int listen_fd, const struct place *p)
{
    struct server s = {.place = p, .listen_fd = listen_fd};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return err_errno(errno, "cannot block signals");
    _cleanup_(fd_closep) int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s.signal_fd = signals;
    int r = fd_set_nonblocking(listen_fd);
    if (signals < 0 || r < 0)
        return err_errno(signals < 0 ? errno : -r, "cannot watch for signals");
    TRY(confine_listening());
    log_info("event=ready peer-uid=%u", p->peer_uid);
    return serve(&s);
}
