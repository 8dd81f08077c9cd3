/*
 * execload.c: how long does a program take, from exec to exit?
 *
 * Runs a command over and over, its standard output thrown away, and prints the median and 99th
 * percentile of a run, the CPU it used on average and how often it slept, as one line of key=value,
 * times in microseconds.
 *
 *     execload RUNS PROGRAM [ARGUMENT …]
 *
 * The clock stops when the end of the program is seen, so this program asks to be woken without
 * delay; the program that it runs starts with the usual turns. Exit 1 when one fails.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/turn.h"
#include "base/vec.h"
#include "bench/wire.h"

static struct {
    VEC(uint32_t) us;
    uint64_t cpu_us, sleeps;
} seen;

static uint64_t micros(const struct timeval *t)
{
    return (uint64_t)t->tv_sec * 1000000u + (uint64_t)t->tv_usec;
}

/* _exit between: the memory is shared until exec. */
static pid_t start(char **argv, int null)
{
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(null, STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    return pid;
}

static bool run_once(char **argv, int null)
{
    struct rusage used;
    int status = 0;
    uint64_t begin = wire_now_ns();
    pid_t pid = start(argv, null);
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid)
        return false;
    vec_push(&seen.us, (uint32_t)((wire_now_ns() - begin) / 1000));
    seen.cpu_us += micros(&used.ru_utime) + micros(&used.ru_stime);
    seen.sleeps += (uint64_t)used.ru_nvcsw;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    uint64_t runs;
    if (argc < 3 || str_u64(view_of(argv[1]), 1, 1000000, &runs) < 0) {
        fputs("usage: execload RUNS PROGRAM [ARGUMENT …]\n", stderr);
        return 2;
    }
    _cleanup_(fd_closep) int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    turn_shorten();
    for (uint64_t i = 0; i < runs; i++)
        if (!run_once(argv + 2, null)) {
            fprintf(stderr, "execload: run %llu of '%s' failed\n", (unsigned long long)i, argv[2]);
            return 1;
        }
    printf("p50_us=%u p99_us=%u cpu_us=%llu sleeps=%.1f\n",
           wire_percentile(seen.us.v, seen.us.n, 50), wire_percentile(seen.us.v, seen.us.n, 99),
           (unsigned long long)(seen.cpu_us / runs), (double)seen.sleeps / (double)runs);
    vec_done(&seen.us);
    return 0;
}
