/* audit_file.c: see audit_file.h. */
#include "api/audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "gen/error.h"

#define FILE_BYTES (10u << 20)
#define FILES_KEPT 9
#define STAMP_SIZE 18 /* "20260322T10:11:12" and its NUL */

void audit_file_init(struct audit_file *f, const char *path, uint64_t max_bytes, unsigned keep)
{
    *f = (struct audit_file){.path = mem_strdup(path),
                             .max_bytes = max_bytes ? max_bytes : FILE_BYTES,
                             .keep = keep ? keep : FILES_KEPT,
                             .fd = -1};
}

void audit_file_done(struct audit_file *f)
{
    fd_close(f->fd);
    free(f->path);
}

/* ---- writing ---- */

static int open_file(struct audit_file *f)
{
    f->fd = open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (f->fd < 0)
        return -errno;
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return -errno;
    f->size = (uint64_t)st.st_size;
    return 0;
}

static char *old_name(const struct audit_file *f, unsigned n)
{
    return n ? mem_printf("%s.%u", f->path, n) : mem_strdup(f->path);
}

/* Each file becomes the next older one; the oldest is replaced. */
static int turn(struct audit_file *f)
{
    fd_closep(&f->fd);
    for (unsigned n = f->keep; n > 0; n--) {
        _cleanup_(freep) char *from = old_name(f, n - 1), *to = old_name(f, n);
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

int audit_file_write(struct audit_file *f, const void *lines, size_t size)
{
    int r = f->fd < 0 ? open_file(f) : 0;
    if (r == 0 && f->size && f->size + size > f->max_bytes) {
        r = turn(f);
        if (r == 0)
            r = open_file(f);
    }
    if (r == 0)
        r = fd_write_all(f->fd, lines, size);
    if (r == 0) {
        f->size += size;
        return 0;
    }
    if (f->fd >= 0 && ftruncate(f->fd, (off_t)f->size) < 0)
        r = -errno;
    fd_closep(&f->fd);
    return r;
}

/* ---- reading ---- */

struct reading {
    char since[STAMP_SIZE]; /* "": from the beginning */
    bool found;             /* a line that is not older: all that follow are told */
    int (*put)(void *arg, const void *p, size_t size);
    void *arg;
};

/* Lines begin with '[' and their time. */
static int put_line(struct reading *rd, const char *line, size_t size)
{
    size_t n = strlen(rd->since);
    if (!rd->found)
        rd->found = !n || (size > n && line[0] == '[' && strncmp(line + 1, rd->since, n) >= 0);
    return rd->found ? rd->put(rd->arg, line, size) : 0;
}

static struct err *read_one(struct reading *rd, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? NULL : err_errno(errno, "cannot read '%s'", path);
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    int r = 0;
    while (r >= 0 && (size = getline(&line, &room, file)) > 0)
        r = put_line(rd, line, (size_t)size);
    free(line);
    fclose(file);
    return r < 0 ? err_errno(-r, "nobody reads the audit log any more") : NULL;
}

static struct err *set_since(struct reading *rd, const char *since)
{
    int64_t s;
    if (!*since)
        return NULL;
    if (str_parse_datetime(view_of(since), &s) < 0)
        return err_INVALID_VALUE("since", since);
    char stamp[DATETIME_SIZE];
    str_datetime(s, stamp);
    memcpy(rd->since, stamp, STAMP_SIZE - 1);
    return NULL;
}

struct err *audit_file_read(const struct audit_file *f, const char *since,
                            int (*put)(void *arg, const void *p, size_t size), void *arg)
{
    struct reading rd = {.put = put, .arg = arg};
    TRY(set_since(&rd, since));
    for (unsigned n = f->keep + 1; n-- > 0;) {
        _cleanup_(freep) char *path = old_name(f, n);
        TRY(read_one(&rd, path));
    }
    return NULL;
}
