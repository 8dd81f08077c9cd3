/* confine.c: see confine.h. Called by server.c; the process has one thread. */
#include "privd/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No verb needs these, whatever its libraries do. */
static const int forbidden[] = {
    /* other kernels, other code in this one */
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(init_module), SCMP_SYS(finit_module),
    SCMP_SYS(delete_module), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(reboot),
    /* other processes */
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise), SCMP_SYS(kcmp), SCMP_SYS(userfaultfd),
    /* other views of the machine */
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(setns), SCMP_SYS(unshare), SCMP_SYS(swapon),
    SCMP_SYS(swapoff), SCMP_SYS(acct), SCMP_SYS(quotactl), SCMP_SYS(mknod), SCMP_SYS(mknodat),
    /* clocks and ports */
    SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex),
    SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(sethostname), SCMP_SYS(setdomainname)};

struct cap_sets {
    uint64_t effective, permitted, inheritable;
};

static struct err *get_caps(struct cap_sets *ret)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) < 0)
        return err_errno(errno, "cannot read the capabilities");
    *ret =
        (struct cap_sets){.effective = data[0].effective | (uint64_t)data[1].effective << 32,
                          .permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
                          .inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32};
    return NULL;
}

static struct err *set_caps(const struct cap_sets *s)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (unsigned i = 0; i < 2; i++)
        data[i] =
            (struct __user_cap_data_struct){.effective = (uint32_t)(s->effective >> (32 * i)),
                                            .permitted = (uint32_t)(s->permitted >> (32 * i)),
                                            .inheritable = (uint32_t)(s->inheritable >> (32 * i))};
    if (syscall(SYS_capset, &head, data) < 0)
        return err_errno(errno, "cannot set the capabilities");
    return NULL;
}

/* Of what is permitted, these come into force, and no others. */
static struct err *put_in_force(uint64_t caps)
{
    struct cap_sets s;
    TRY(get_caps(&s));
    s.effective = s.permitted & caps;
    return set_caps(&s);
}

struct err *confine_listening(void)
{
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_errno(errno, "cannot forbid core dumps");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_errno(errno, "cannot clear the ambient capabilities");
    return put_in_force(CONFINE_CAP(CAP_KILL));
}

struct err *confine_worker(void)
{
    return put_in_force(0);
}

struct err *confine_release(void)
{
    return put_in_force(UINT64_MAX);
}

/* The bounding set is what programs of uid 0 get when they are executed. */
static struct err *bound(uint64_t caps)
{
    TRY(put_in_force(CONFINE_CAP(CAP_SETPCAP)));
    for (int cap = 0; cap < 64; cap++) {
        if (caps >> cap & 1 || prctl(PR_CAPBSET_READ, cap) != 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, cap) < 0)
            return err_errno(errno, "cannot drop capability %d", cap);
    }
    return NULL;
}

static int forbid(scmp_filter_ctx filter, bool runs_programs)
{
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(forbidden) && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, forbidden[i], 0);
    if (r == 0 && !runs_programs)
        r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execve), 0);
    if (r == 0 && !runs_programs)
        r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execveat), 0);
    return r == 0 ? seccomp_load(filter) : r;
}

/* Loading the filter also sets no_new_privs. */
static struct err *filter_calls(bool runs_programs)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r = filter ? forbid(filter, runs_programs) : -ENOMEM;
    seccomp_release(filter);
    return r < 0 ? err_errno(-r, "cannot filter system calls") : NULL;
}

struct err *confine_verb(uint64_t caps, bool runs_programs)
{
    struct cap_sets s;
    TRY(bound(caps));
    TRY(get_caps(&s));
    s.permitted &= caps;
    s.effective = s.permitted;
    s.inheritable = 0;
    TRY(set_caps(&s));
    return filter_calls(runs_programs);
}
