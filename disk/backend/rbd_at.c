/* rbd_at.c: see rbd_at.h. One-shot commands, and job threads that remove an image. */
#include "disk/backend/rbd_at.h"

#include <errno.h>
#include <jansson.h>
#include <rbd/librbd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "disk/backend/rbd_place.h"

#define NAMES_MAX  (4u << 20) /* bytes of a list */
#define KIB        1024u
#define STEP_MS    500
#define BUSY_STEPS 80 /* longer than a cluster remembers, by default */

void rbd_at_forget(json_t *answer)
{
    json_decref(answer);
}

static json_t *entry(const char *name, uint64_t size, bool is_folder)
{
    json_t *text = json_string(name);
    return json_pack("{s:o, s:I, s:b}", "name", text ? text : json_string(""), "size",
                     (json_int_t)size, "folder", is_folder);
}

/* ---- lists: of names with a NUL behind each, an empty one at the end ---- */

static json_t *folders(const char *names, const char *end)
{
    json_t *list = json_array();
    for (const char *s = names; s < end && *s; s += strlen(s) + 1)
        (void)json_array_append_new(list, entry(s, 0, true));
    return list;
}

static int list_pools(const struct rbd_pool *pool, json_t **ret)
{
    int size = rados_pool_list(pool->cluster, NULL, 0);
    if (size < 0 || (unsigned)size > NAMES_MAX)
        return size < 0 ? size : -E2BIG;
    _cleanup_(freep) char *names = mem_new_n(char, (size_t)size + 1);
    int n = rados_pool_list(pool->cluster, names, (size_t)size);
    if (n < 0 || n > size)
        return n < 0 ? n : -EAGAIN;
    *ret = folders(names, names + size);
    return 0;
}

static int list_spaces(const struct rbd_pool *pool, json_t **ret)
{
    for (size_t room = 4096; room <= NAMES_MAX; room *= 4) {
        _cleanup_(freep) char *names = mem_new_n(char, room + 1);
        size_t size = room;
        int r = rbd_namespace_list(pool->io, names, &size);
        if (r == -ERANGE)
            continue;
        if (r >= 0)
            *ret = folders(names, names + size);
        return r < 0 ? r : 0;
    }
    return -E2BIG;
}

static int has_space(const struct rbd_pool *pool, const char *name)
{
    bool exists = false;
    int r = rbd_namespace_exists(pool->io, name, &exists);
    return r < 0 ? r : exists ? 0 : -ENOENT;
}

static int list_images(const struct rbd_pool *pool, const char *space, json_t **ret)
{
    size_t n = 0;
    int r = has_space(pool, space);
    if (r < 0)
        return r;
    r = rbd_list2(pool->io, NULL, &n);
    if (r < 0 && r != -ERANGE)
        return r;
    _cleanup_(freep) rbd_image_spec_t *all = mem_new_n(rbd_image_spec_t, n + 1);
    r = rbd_list2(pool->io, all, &n);
    if (r < 0)
        return r;
    *ret = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(*ret, entry(all[i].name, 0, false));
    rbd_image_spec_list_cleanup(all, n);
    return 0;
}

static int list(const struct rbd_pool *pool, const struct rbd_place *p, json_t **ret)
{
    json_t *entries = NULL;
    int r = p->image   ? -ENOTDIR
            : p->space ? list_images(pool, p->space, &entries)
            : p->pool  ? list_spaces(pool, &entries)
                       : list_pools(pool, &entries);
    if (r == 0)
        *ret = json_pack("{s:o}", "entries", entries);
    return r;
}

/* ---- one image, and what there is of room ---- */

static int add_used(uint64_t at, size_t size, int exists, void *arg)
{
    (void)at;
    *(uint64_t *)arg += exists ? size : 0;
    return 0;
}

static int stat_image(const struct rbd_pool *pool, const struct rbd_place *p, json_t **ret)
{
    rbd_image_t image;
    uint64_t size = 0, used = 0;
    int r = p->image ? rbd_open_read_only(pool->io, p->image, &image, NULL) : -EISDIR;
    if (r < 0)
        return r;
    r = rbd_get_size(image, &size);
    if (r == 0)
        r = rbd_diff_iterate2(image, NULL, 0, size, 0, 1, add_used, &used);
    (void)rbd_close(image);
    if (r == 0)
        *ret = json_pack("{s:I, s:I, s:i}", "size", (json_int_t)size, "allocated", (json_int_t)used,
                         "inode", 0);
    return r;
}

static int space(const struct rbd_pool *pool, json_t **ret)
{
    struct rados_cluster_stat_t st;
    int r = rados_cluster_stat(pool->cluster, &st);
    if (r == 0)
        *ret = json_pack("{s:I, s:I}", "size", (json_int_t)(st.kb * KIB), "free",
                         (json_int_t)(st.kb_avail * KIB));
    return r;
}

/* The name stays in its namespace. */
static int rename_image(const struct rbd_pool *pool, const struct rbd_place *p, const char *to)
{
    _cleanup_(rbd_place_done) struct rbd_place q = {0};
    int r = to ? rbd_place_parse(to, &q) : -EINVAL;
    if (r == 0 && (!p->image || !q.image || !str_eq(p->pool, q.pool) || !str_eq(p->space, q.space)))
        r = -EXDEV;
    return r < 0 ? r : rbd_rename(pool->io, p->image, q.image);
}

/* The namespace of a pool is made in the pool, not in itself. */
static int make_space(const struct rbd_pool *pool, const struct rbd_place *p, bool is_new)
{
    if (!p->space || p->image)
        return -EINVAL;
    rados_ioctx_set_namespace(pool->io, "");
    return is_new ? rbd_namespace_create(pool->io, p->space)
                  : rbd_namespace_remove(pool->io, p->space);
}

/* Who died with the image open is known to the cluster for some time yet, as if he had it open. */
static int remove_image(const struct rbd_pool *pool, const struct rbd_place *p)
{
    static const struct timespec step = {.tv_nsec = STEP_MS * 1000 * 1000};
    int r = p->image ? rbd_remove(pool->io, p->image) : -EISDIR;
    for (int i = 0; r == -EBUSY && i < BUSY_STEPS; i++) {
        (void)nanosleep(&step, NULL);
        r = rbd_remove(pool->io, p->image);
    }
    return r;
}

static int run(const struct rbd_pool *pool, const struct rbd_place *p, const char *verb,
               const char *more, json_t **ret)
{
    if (str_eq(verb, "list"))
        return list(pool, p, ret);
    if (!p->pool)
        return -EINVAL;
    if (str_eq(verb, "stat"))
        return stat_image(pool, p, ret);
    if (str_eq(verb, "space"))
        return space(pool, ret);
    *ret = json_object();
    if (str_eq(verb, "rename"))
        return rename_image(pool, p, more);
    if (str_eq(verb, "unlink"))
        return remove_image(pool, p);
    if (str_eq(verb, "mkdir"))
        return make_space(pool, p, true);
    return str_eq(verb, "rmdir") ? make_space(pool, p, false) : -ENOTSUP;
}

int rbd_at(const char *verb, const char *url, const char *more, json_t **ret)
{
    _cleanup_(rbd_place_done) struct rbd_place p = {0};
    struct rbd_pool pool = {0};
    int r = rbd_place_parse(url, &p);
    if (r == 0)
        r = rbd_pool_open(&p, RBD_QUICK, &pool);
    if (r == 0)
        r = run(&pool, &p, verb, more, ret);
    rbd_pool_close(&pool);
    return r;
}
