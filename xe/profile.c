/* profile.c: see profile.h. The sweep runs here, with the rights of who asks for it. */
#include "xe/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "xe/control.h"

#define RESULT "other-config:io-split=%u other-config:io-budget=%llu"

static _Noreturn void become(char *const argv[], int out)
{
    (void)dup2(out, STDOUT_FILENO);
    execv(argv[0], argv);
    (void)fprintf(stderr, "cairnctl: %s: %s\n", argv[0], strerror(errno));
    _exit(1);
}

/* What it prints; NULL: it does not run. */
static FILE *start(char *const argv[], pid_t *ret_pid)
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) < 0)
        return NULL;
    *ret_pid = fork();
    if (*ret_pid == 0)
        become(argv, fd[1]);
    (void)close(fd[1]);
    FILE *f = *ret_pid < 0 ? NULL : fdopen(fd[0], "re");
    if (!f)
        (void)close(fd[0]);
    return f;
}

/* Passes on what it prints. */
static bool sweep(char *const argv[], unsigned *ret_split, unsigned long long *ret_budget)
{
    char line[512];
    pid_t pid = -1;
    int status = 1;
    bool found = false;
    FILE *f = start(argv, &pid);
    while (f && fgets(line, sizeof(line), f)) {
        found = found || sscanf(line, RESULT, ret_split, ret_budget) == 2;
        (void)fputs(line, stdout);
    }
    if (f)
        (void)fclose(f);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    return found && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int profile_run(const char *socket, const char *sr_uuid, const char *seconds)
{
    _cleanup_(buf_done) struct buf answer;
    _cleanup_(freep) char *ask = mem_printf("sr place %s", sr_uuid);
    _cleanup_(freep) char *time = mem_printf("--seconds=%s", seconds);
    unsigned split;
    unsigned long long budget;
    buf_init(&answer, 1 << 16);
    if (control_get(socket, ask, &answer) != 0)
        return 1;
    struct view rest = {buf_str(&answer), answer.size}, line;
    (void)view_split(&rest, '\n', &line);
    _cleanup_(freep) char *program = view_dup(line);
    (void)view_split(&rest, '\n', &line);
    _cleanup_(freep) char *folder = view_dup(line);
    (void)fprintf(stderr, "measuring %s, for some %s seconds …\n", folder, seconds);
    char *argv[] = {program, (char[]){"profile"}, folder, time, NULL};
    if (!sweep(argv, &split, &budget)) {
        (void)fprintf(stderr, "cairnctl: '%s' could not be measured; nothing was changed\n",
                      folder);
        return 1;
    }
    _cleanup_(freep) char *tell = mem_printf("sr tune %s %u %llu", sr_uuid, split, budget);
    return control_ask(socket, tell);
}
