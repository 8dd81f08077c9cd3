/*
 * remote.c: the modules, and locks for what they serve. The list is made before there is a second
 * thread; locks are taken on job threads.
 */
#include "disk/backend/remote.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODULES_MAX 8
#define LETTERS     "abcdefghijklmnopqrstuvwxyz"

static const struct remote_module *modules[MODULES_MAX];
static unsigned n_modules;
static const char *lock_dir;

/* How long the scheme of a path is; 0: a local path. */
static size_t scheme_size(const char *path)
{
    size_t n = strspn(path, LETTERS);
    return strncmp(path + n, "://", 3) == 0 ? n : 0;
}

bool remote_is(const char *path)
{
    return scheme_size(path) > 0;
}

static const struct remote_module *find(const char *scheme, size_t size)
{
    for (unsigned i = 0; i < n_modules; i++)
        if (strlen(modules[i]->scheme) == size && strncmp(modules[i]->scheme, scheme, size) == 0)
            return modules[i];
    return NULL;
}

static int load(const char *scheme, size_t size)
{
    char self[PATH_MAX - 64], path[PATH_MAX];
    if (find(scheme, size))
        return 0;
    if (n_modules == MODULES_MAX || size == 0 || size > 16 || strspn(scheme, LETTERS) < size)
        return -EPROTONOSUPPORT;
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0)
        return -errno;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    (void)snprintf(path, sizeof(path), "%.*s/cairn-disk-%.*s.so", (int)(slash - self), self,
                   (int)size, scheme);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct remote_module *m = handle ? dlsym(handle, "remote_module") : NULL;
    if (!m)
        return -EPROTONOSUPPORT;
    file_kind_add(&m->kind);
    modules[n_modules++] = m;
    return 0;
}

int remote_load(const char *scheme)
{
    return load(scheme, strlen(scheme));
}

/* A volume's devices are of one kind. */
int remote_load_for(const char *path)
{
    const char *scheme = strncmp(path, "lv:", 3) == 0 ? strstr(path, "://") : NULL;
    if (!scheme)
        return remote_is(path) ? load(path, scheme_size(path)) : 0;
    while (scheme > path && strchr(LETTERS, scheme[-1]))
        scheme--;
    return load(scheme, scheme_size(scheme));
}

bool remote_has_threads(void)
{
    bool has = false;
    for (unsigned i = 0; i < n_modules; i++)
        has = has || modules[i]->has_threads;
    return has;
}

void remote_start(struct ring *ring)
{
    for (unsigned i = 0; i < n_modules; i++)
        modules[i]->start(ring);
}

int remote_tool(const char *verb, const char *path, const char *more, struct json_t **ret)
{
    const struct remote_module *m = find(path, scheme_size(path));
    return m ? m->tool(verb, path, more, ret) : -EPROTONOSUPPORT;
}

/* ---- locks ---- */

void remote_set_lock_dir(const char *dir)
{
    lock_dir = dir;
}

/* Two names that share a lock only wait for each other. */
static unsigned long long hash_of(const char *path)
{
    unsigned long long h = 0xcbf29ce484222325u;
    for (; *path; path++)
        h = (h ^ (unsigned char)*path) * 0x100000001b3u;
    return h;
}

int remote_lock(const char *path, enum file_lock how, struct file **ret)
{
    char name[PATH_MAX];
    *ret = NULL;
    if (!lock_dir)
        return 0;
    (void)snprintf(name, sizeof(name), "%s/%016llx", lock_dir, hash_of(path));
    struct file *f = NULL;
    int r = file_create(name, &f);
    if (r == -EEXIST)
        r = file_open(name, FILE_WRITE, &f);
    if (r == 0)
        r = file_lock(f, how);
    if (r < 0) {
        file_close(f);
        return r;
    }
    *ret = f;
    return 0;
}
