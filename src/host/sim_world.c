/*
 * sim_world.c: the simulated world as files in a folder.
 *
 * Called by sim.c and sim_disk.c on the threads of their callers, with the folder's lock held
 * (flock, so another process may look at the same time). Files are replaced by rename.
 */
#include "host/sim_world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "codec/json.h"

#define WORLD_FILE_MAX (4U << 20)

static struct err *load(const struct sim *s, const char *name, const char *suffix,
                        struct val **ret);
static struct err *save(const struct sim *s, const char *name, const char *suffix,
                        const struct val *v);

struct err *world_open(const struct sim *s, int *ret_lock)
{
    _cleanup_(freep) char *path = mem_printf("%s/lock", s->dir);
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(errno, "cannot open the simulated world '%s'", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_errno(errno, "cannot lock the simulated world '%s'", path);
    *ret_lock = fd_take(&fd);
    return NULL;
}

void world_closep(int *lock)
{
    fd_closep(lock);
}

void sim_guest_freep(struct sim_guest **g)
{
    if (!*g)
        return;
    boot_free((*g)->boot);
    val_unref((*g)->inside);
    free(*g);
    *g = NULL;
}

struct err *world_guest(const struct sim *s, const char *vm, struct sim_guest **ret)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    TRY(load(s, vm, "guest", &v));
    if (!v) {
        *ret = NULL;
        return NULL;
    }
    _cleanup_(sim_guest_freep) struct sim_guest *g = mem_new(struct sim_guest);
    g->state = (enum guest_state)val_get_int(val_map_get(v, "state"));
    g->start_time = val_get_int(val_map_get(v, "start_time"));
    g->rtc_offset_s = val_get_int(val_map_get(v, "rtc_offset_s"));
    g->memory_bytes = (uint64_t)val_get_int(val_map_get(v, "memory_bytes"));
    g->agent = val_get_int(val_map_get(v, "agent"));
    g->deaf = val_get_bool(val_map_get(v, "deaf"));
    const struct val *inside = val_map_get(v, "inside");
    g->inside = inside ? val_ref(inside) : NULL;
    TRY(boot_parse(val_map_str(v, "boot", ""), &g->boot));
    *ret = steal(&g);
    return NULL;
}

struct err *world_put_guest(const struct sim *s, const struct sim_guest *g)
{
    _cleanup_(val_unrefp) struct val *v = val_map();
    _cleanup_(freep) char *boot = boot_format(g->boot);
    val_put_int(v, "state", g->state);
    val_put_int(v, "start_time", g->start_time);
    val_put_int(v, "rtc_offset_s", g->rtc_offset_s);
    val_put_int(v, "memory_bytes", (int64_t)g->memory_bytes);
    val_put_int(v, "agent", g->agent);
    val_put_bool(v, "deaf", g->deaf);
    if (g->inside)
        val_put(v, "inside", val_ref(g->inside));
    val_put_str(v, "boot", boot);
    return save(s, g->boot->vm, "guest", v);
}

struct err *world_del_guest(const struct sim *s, const char *vm)
{
    return save(s, vm, "guest", NULL);
}

struct err *world_disks(const struct sim *s, const char *owner, struct val **ret)
{
    TRY(load(s, owner, "disks", ret));
    if (!*ret)
        *ret = val_map();
    return NULL;
}

struct err *world_put_disks(const struct sim *s, const char *owner, const struct val *disks)
{
    return save(s, owner, "disks", val_count(disks) ? disks : NULL);
}

struct err *world_names(const char *dir, const char *suffix, char ***ret, size_t *ret_n)
{
    VEC(char *) names = {0};
    DIR *d = opendir(dir);
    if (!d && errno != ENOENT)
        return err_errno(errno, "cannot read '%s'", dir);
    struct dirent *entry;
    while (d && (entry = readdir(d)))
        if (str_ends(entry->d_name, suffix))
            vec_push(&names, mem_strndup(entry->d_name, strlen(entry->d_name) - strlen(suffix)));
    if (d)
        closedir(d);
    *ret = names.v;
    *ret_n = names.n;
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *sim_world_text(const char *world_dir)
{
    static const char *const kinds[] = {".disks", ".guest", ".paused"};
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, WORLD_FILE_MAX);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        char **names = NULL;
        size_t n = 0;
        err_free(world_names(world_dir, kinds[k], &names, &n));
        if (n)
            qsort(names, n, sizeof(*names), by_text);
        for (size_t i = 0; i < n; i++) {
            buf_printf(&out, "%s %s\n", kinds[k] + 1, names[i]);
            free(names[i]);
        }
        free(names);
    }
    return mem_strdup(buf_str(&out));
}

struct err *sim_fault(struct sim *s, const char *verb)
{
    bool strikes = false;
    pthread_mutex_lock(&s->lock);
    if (s->fail_verb && str_eq(s->fail_verb, verb) && s->fail_in && --s->fail_in == 0)
        strikes = true;
    pthread_mutex_unlock(&s->lock);
    return strikes ? err_internal("simulated failure of '%s'", verb) : NULL;
}

static struct err *load(const struct sim *s, const char *name, const char *suffix, struct val **ret)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s.%s", s->dir, name, suffix);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, WORLD_FILE_MAX);
    int r = fd_read_file(path, WORLD_FILE_MAX, &text);
    *ret = NULL;
    if (r == -ENOENT)
        return NULL;
    if (r == 0)
        r = json_parse(view_of(buf_str(&text)), ret);
    return r < 0 ? err_errno(-r, "cannot read '%s'", path) : NULL;
}

/* v NULL takes the file away. */
static struct err *save(const struct sim *s, const char *name, const char *suffix,
                        const struct val *v)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s.%s", s->dir, name, suffix);
    _cleanup_(freep) char *part = mem_printf("%s.part", path);
    if (!v)
        return unlink(path) < 0 && errno != ENOENT ? err_errno(errno, "cannot remove '%s'", path)
                                                   : NULL;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, WORLD_FILE_MAX);
    json_put_val(&text, v);
    _cleanup_(fd_closep) int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, buf_str(&text), text.size);
    if (r == 0 && rename(part, path) < 0)
        r = -errno;
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}
