/*
 * proc.c: what a predecessor of this process has left.
 *
 * Called at start and by verbs that meet the unexpected, on threads that may block.
 */
#include "host/proc.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "loop/child.h"

#define CMDLINE_MAX (2U << 20)

bool proc_has_argument(pid_t pid, const char *argument)
{
    char path[48];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, CMDLINE_MAX);
    if (fd_read_file(path, CMDLINE_MAX, &text) < 0)
        return false;
    size_t want = strlen(argument) + 1;
    for (size_t at = 0; at < text.size; at += strlen(text.data + at) + 1)
        if (text.size - at >= want && memcmp(text.data + at, argument, want) == 0)
            return true;
    return false;
}

bool proc_find(const char *argument, pid_t *ret_pid, uint64_t *ret_start)
{
    DIR *d = opendir("/proc");
    struct dirent *entry;
    bool found = false;
    while (d && !found && (entry = readdir(d))) {
        uint64_t pid, start;
        if (str_u64(view_of(entry->d_name), 1, INT32_MAX, &pid) < 0 ||
            child_start_time((pid_t)pid, &start) < 0 || !proc_has_argument((pid_t)pid, argument))
            continue;
        found = true;
        *ret_pid = (pid_t)pid;
        *ret_start = start;
    }
    if (d)
        closedir(d);
    return found;
}

struct err *proc_folders(const char *dir, char ***ret, size_t *ret_n)
{
    VEC(char *) names = {0};
    DIR *d = opendir(dir);
    if (!d && errno != ENOENT)
        return err_errno(errno, "cannot read '%s'", dir);
    struct dirent *entry;
    while (d && (entry = readdir(d)))
        if (entry->d_name[0] != '.')
            vec_push(&names, mem_strdup(entry->d_name));
    if (d)
        closedir(d);
    *ret = names.v;
    *ret_n = names.n;
    return NULL;
}

char *proc_beside(const char *name)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return mem_strdup(name);
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    char *path = mem_printf("%.*s/%s", (int)(slash - self), self, name);
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return mem_strdup(name);
}
