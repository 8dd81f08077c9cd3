/*
 * sandbox.c: the system calls diskd keeps, as a seccomp filter over all threads. Called once by
 * diskd.c. Every call that serves a feature stands beside that feature's name.
 */
#include "disk/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/mem.h"

static const int allowed[] = {
    /* the loop */
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    /* memory: buffers, guests */
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(memfd_create),
    /* images */
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev),
    SCMP_SYS(fstatfs),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(stat),
    SCMP_SYS(statx),
    SCMP_SYS(fcntl),
    SCMP_SYS(ioctl),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(getrandom),
    /* front ends */
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept4),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(recvmsg),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(umask),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    /* threads, and the end */
    SCMP_SYS(futex),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(tgkill),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(prctl),
    SCMP_SYS(wait4),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Of libnfs and libiscsi: connections, who we are, and waiting in calls that block. */
static const int of_network[] = {
    SCMP_SYS(connect), SCMP_SYS(poll),    SCMP_SYS(dup2),      SCMP_SYS(recvfrom),
    SCMP_SYS(uname),   SCMP_SYS(getuid),  SCMP_SYS(geteuid),   SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(getppid), SCMP_SYS(getgroups), SCMP_SYS(access),
};

/* Of librbd, besides: threads, and what these look for. */
static const int of_threads[] = {
    SCMP_SYS(set_robust_list), SCMP_SYS(mprotect),     SCMP_SYS(prlimit64),
    SCMP_SYS(epoll_create1),   SCMP_SYS(epoll_create), SCMP_SYS(eventfd2),
    SCMP_SYS(pipe2),           SCMP_SYS(socketpair),   SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sysinfo),         SCMP_SYS(getdents64),   SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),      SCMP_SYS(clock_getres), SCMP_SYS(get_mempolicy),
    SCMP_SYS(statfs),          SCMP_SYS(dup),          SCMP_SYS(getrusage),
};

static int fill(scmp_filter_ctx f, enum sandbox_kind kind);
static int allow_network(scmp_filter_ctx f);
static int allow_threads(scmp_filter_ctx f);

int sandbox_enter(enum sandbox_kind kind)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f)
        return -ENOMEM;
    int r = fill(f, kind);
    if (r == 0)
        r = seccomp_load(f);
    seccomp_release(f);
    return r;
}

static int fill(scmp_filter_ctx f, enum sandbox_kind kind)
{
    int r = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(allowed); i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
    if (r == 0)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
    if (r == 0 && kind != SANDBOX_LOCAL)
        r = allow_network(f);
    if (r == 0 && kind == SANDBOX_THREADS)
        r = allow_threads(f);
    if (r == 0)
        r = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execve), 0);
    if (r == 0)
        r = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execveat), 0);
    return r;
}

static int allow_network(scmp_filter_ctx f)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(of_network); i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, of_network[i], 0);
    static const unsigned families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(families); i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_EQ, families[i], 0));
    return r;
}

/* clone3 has its flags in memory, where no filter looks: libc does without it. */
static int allow_threads(scmp_filter_ctx f)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(of_threads); i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, of_threads[i], 0);
    if (r == 0)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (r == 0)
        r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return r;
}
