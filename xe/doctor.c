/*
 * doctor.c: checks of the machine, each a line: ok, note (something works less well) or FAIL, with
 * what to do about it. Looks only, changes nothing.
 */
#include "xe/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "loop/ctl.h"

enum verdict { OK, NOTE, FAILED };

static int failures;

static void say(enum verdict v, const char *what, const char *text)
{
    static const char *const names[] = {"ok  ", "note", "FAIL"};
    failures += v == FAILED;
    printf("%s  %-16s %s\n", names[v], what, text);
}

/* Whether a program is on PATH. */
static bool on_path(const char *program)
{
    const char *path = getenv("PATH");
    struct view rest = view_of(path ? path : "/usr/bin:/bin"), dir;
    while (rest.size) {
        view_split(&rest, ':', &dir);
        _cleanup_(freep) char *file = mem_printf("%.*s/%s", (int)dir.size, dir.p, program);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static void check_daemon(const char *socket)
{
    _cleanup_(buf_done) struct buf answer;
    buf_init(&answer, 1 << 20);
    ssize_t n = ctl_call(socket, "loops", &answer);
    _cleanup_(freep) char *text =
        n < 0 ? mem_printf("nothing answers at '%s' (%s); start it with `make up` or systemctl",
                           socket, strerror((int)-n))
              : mem_printf("answers at '%s'", socket);
    say(n < 0 ? NOTE : OK, "cairnd", text);
}

static void check_qemu(void)
{
    if (on_path("qemu-system-x86_64"))
        say(OK, "qemu", "qemu-system-x86_64 is on PATH");
    else
        say(FAILED, "qemu", "qemu-system-x86_64 is missing; install the package qemu-system-x86");
}

static bool cpu_has(const char *flag)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4 << 20);
    if (fd_read_file("/proc/cpuinfo", 4 << 20, &b) < 0)
        return false;
    _cleanup_(freep) char *word = mem_printf(" %s ", flag);
    return strstr(buf_str(&b), word) != NULL;
}

/* A device node alone proves nothing; whether guests really run on it cairnd finds out. */
static void check_kvm(void)
{
    bool flag = cpu_has("vmx") || cpu_has("svm");
    if (flag && access("/dev/kvm", R_OK | W_OK) == 0)
        say(OK, "kvm", "the CPU has it and /dev/kvm may be opened");
    else if (flag)
        say(NOTE, "kvm", "the CPU has it but /dev/kvm may not be opened: guests run in software");
    else
        say(NOTE, "kvm", "the CPU offers no vmx or svm here: guests run in software, slowly");
}

static void check_io_uring(void)
{
    struct io_uring_params params = {0};
    long fd = syscall(SYS_io_uring_setup, 4, &params);
    if (fd < 0) {
        _cleanup_(freep) char *text =
            mem_printf("not available (%s): disks use slower system calls", strerror(errno));
        say(NOTE, "io_uring", text);
        return;
    }
    close((int)fd);
    say(OK, "io_uring", "available");
}

static void check_memory(void)
{
    _cleanup_(buf_done) struct buf b;
    uint64_t kib = 0;
    buf_init(&b, 1 << 16);
    if (fd_read_file("/proc/meminfo", 1 << 16, &b) == 0) {
        const char *at = strstr(buf_str(&b), "MemAvailable:");
        struct view v = at ? view_of(at + strlen("MemAvailable:")) : view_of(""), number;
        v = view_trim(v);
        view_split(&v, ' ', &number);
        if (str_u64(number, 0, UINT64_MAX, &kib) < 0)
            kib = 0;
    }
    _cleanup_(freep) char *text = mem_printf("%llu MiB available", (unsigned long long)kib / 1024);
    say(kib < 512 * 1024 ? NOTE : OK, "memory", text);
}

static void check_space(const char *folder)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) < 0)
        return;
    unsigned long long mib = (unsigned long long)fs.f_bavail * fs.f_frsize >> 20;
    _cleanup_(freep) char *text = mem_printf("%llu MiB free in %s", mib, folder);
    say(mib < 2048 ? NOTE : OK, "disk space", text);
}

int doctor_run(const char *socket)
{
    failures = 0;
    check_daemon(socket);
    check_qemu();
    check_kvm();
    check_io_uring();
    check_memory();
    check_space(access("/var/lib/cairn", F_OK) == 0 ? "/var/lib/cairn" : ".");
    return failures ? 1 : 0;
}
