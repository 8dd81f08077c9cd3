/*
 * disk_copy.c: see disk_copy.h. Called by diskctl.c, and by operations.
 */
#include "host/disk_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "disk"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define SUFFIX ".vhdcache"

/* The name of the only parent is a uuid and its format's suffix. */
static bool parent_of(const struct image *image, char ret[UUID_SIZE])
{
    const char *line = image->parents ? image->parents : "";
    size_t size = strcspn(line, "\n");
    if (!size || line[size + (line[size] == '\n')])
        return false;
    const char *slash = memrchr(line, '/', size);
    if (!slash || (size_t)(line + size - slash) < UUID_SIZE + 1 || slash[UUID_SIZE] != '.')
        return false;
    snprintf(ret, UUID_SIZE, "%s", slash + 1);
    return str_is_uuid(ret);
}

void disk_copy_request(const struct image *image, struct val *activate)
{
    char parent[UUID_SIZE];
    if (!image->copies || !image->copies[0] || !parent_of(image, parent))
        return;
    _cleanup_(freep) char *path = mem_printf("%s/%s" SUFFIX, image->copies, parent);
    val_put_str(activate, "copy", path);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* "<uuid>.vhdcache" */
static bool is_copy(const char *name, char ret[UUID_SIZE])
{
    if (strlen(name) != UUID_SIZE - 1 + strlen(SUFFIX) || !str_eq(name + UUID_SIZE - 1, SUFFIX))
        return false;
    snprintf(ret, UUID_SIZE, "%s", name);
    return str_is_uuid(ret);
}

void disk_copies_clear(const char *folder, bool (*is_wanted)(const char *parent, const void *arg),
                       const void *arg)
{
    _cleanup_(closedirp) DIR *d = opendir(folder);
    char parent[UUID_SIZE];
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_copy(e->d_name, parent) || is_wanted(parent, arg))
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) < 0)
            log_warn("event=copy-not-removed path=%s/%s error=\"%s\"", folder, e->d_name,
                     strerror(errno));
        else
            log_info("event=copy-removed path=%s/%s", folder, e->d_name);
    }
}

uint64_t disk_copies_size(const char *folder)
{
    _cleanup_(closedirp) DIR *d = opendir(folder);
    char parent[UUID_SIZE];
    uint64_t size = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (is_copy(e->d_name, parent) &&
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            size += (uint64_t)st.st_blocks * 512;
    }
    return size;
}
