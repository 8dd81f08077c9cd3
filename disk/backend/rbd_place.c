/* rbd_place.c: see rbd_place.h. Called on job threads and by one-shot commands; the connections
 * that are shared are under a mutex. */
#include "disk/backend/rbd_place.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define SCHEME    "rbd://"
#define LOGIN_MAX 1024
#define SLASH     "%2F"
#define PATIENCE  "15" /* seconds */

void rbd_place_done(struct rbd_place *p)
{
    free(p->monitors);
    free(p->pool);
    free(p->space);
    free(p->image);
    free(p->user);
    free(p->key);
    *p = (struct rbd_place){0};
}

static char *with_slashes(struct view text)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, LOGIN_MAX);
    while (text.size) {
        bool is_slash = view_starts(text, SLASH);
        buf_putc(&b, is_slash ? '/' : text.p[0]);
        text = view_cut(text, is_slash ? strlen(SLASH) : 1);
    }
    return buf_ok(&b) ? mem_strdup(buf_str(&b)) : mem_strdup("");
}

static int read_login(struct view path, struct rbd_place *ret)
{
    _cleanup_(buf_done) struct buf text;
    _cleanup_(freep) char *file = with_slashes(path);
    buf_init(&text, LOGIN_MAX);
    int r = fd_read_file(file, LOGIN_MAX, &text);
    if (r < 0)
        return r == -ENOENT ? -EKEYREJECTED : r;
    const char *s = buf_str(&text), *end = strchr(s, '\n');
    if (!end || end == s)
        return -EINVAL;
    ret->user = mem_strndup(s, (size_t)(end - s));
    ret->key = mem_strndup(end + 1, strcspn(end + 1, "\n"));
    return 0;
}

/* The next name, NULL when there is none; a name is never empty. */
static int take_name(struct view *rest, bool *more, char **ret)
{
    struct view name;
    if (!*more)
        return 0;
    *more = view_split(rest, '/', &name);
    if (name.size == 0)
        return -EINVAL;
    *ret = view_dup(name);
    return 0;
}

int rbd_place_parse(const char *url, struct rbd_place *ret)
{
    struct view rest = view_of(url), host, login;
    if (!view_starts(rest, SCHEME))
        return -EINVAL;
    rest = view_cut(rest, strlen(SCHEME));
    bool more = view_split(&rest, '/', &host);
    int r = memchr(host.p, '@', host.size) && view_split(&host, '@', &login)
                ? read_login(login, ret)
                : 0;
    if (r == 0 && host.size == 0)
        r = -EINVAL;
    ret->monitors = view_dup(host);
    if (more && rest.size == 0)
        more = false; /* only a slash */
    if (r == 0)
        r = take_name(&rest, &more, &ret->pool);
    if (r == 0)
        r = take_name(&rest, &more, &ret->space);
    if (r == 0)
        r = take_name(&rest, &more, &ret->image);
    if (r == 0 && more)
        r = -EINVAL;
    if (r < 0)
        rbd_place_done(ret);
    return r;
}

static int configure(rados_t c, const struct rbd_place *p, enum rbd_patience patience)
{
    const char *const all[][2] = {{"mon_host", p->monitors},
                                  {"key", p->key},
                                  {"client_mount_timeout", PATIENCE},
                                  {"rados_mon_op_timeout", PATIENCE},
                                  {"rados_osd_op_timeout", patience == RBD_QUICK ? PATIENCE : "0"},
                                  {"rbd_cache", "false"},
                                  {"log_to_stderr", "false"},
                                  {"err_to_stderr", "false"},
                                  {"log_file", ""},
                                  {"admin_socket", ""}};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(all); i++)
        if (all[i][1])
            r = rados_conf_set(c, all[i][0], all[i][1]);
    return r;
}

static int errno_of(int r)
{
    if (r == -EACCES || r == -EPERM || r == -EKEYREJECTED)
        return -EKEYREJECTED;
    return r == -ETIMEDOUT || r == -ENOENT ? -EHOSTUNREACH : r;
}

static int link_up(const struct rbd_place *p, enum rbd_patience patience, rados_t *ret)
{
    int r = rados_create(ret, p->user ? p->user : "admin");
    if (r == 0)
        r = configure(*ret, p, patience);
    return r < 0 ? r : errno_of(rados_connect(*ret));
}

static int enter_pool(const struct rbd_place *p, struct rbd_pool *pool)
{
    int r = p->pool ? rados_ioctx_create(pool->cluster, p->pool, &pool->io) : 0;
    if (r == 0 && p->space)
        rados_ioctx_set_namespace(pool->io, p->space);
    return r;
}

int rbd_pool_open(const struct rbd_place *p, enum rbd_patience patience, struct rbd_pool *ret)
{
    *ret = (struct rbd_pool){0};
    int r = link_up(p, patience, &ret->cluster);
    return r < 0 ? r : enter_pool(p, ret);
}

/* ---- one connection for many ---- */

struct rbd_link {
    struct rbd_link *next;
    rados_t cluster;
    char *who; /* monitors, user, key, patience */
    unsigned users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rbd_link *links; /* under lock, with all that is in them */

static void link_free(struct rbd_link *l)
{
    if (l->cluster)
        rados_shutdown(l->cluster);
    free(l->who);
    free(l);
}

/* Under the lock: who comes second waits until the first has it, or not. */
static int link_get(const struct rbd_place *p, enum rbd_patience patience, struct rbd_link **ret)
{
    _cleanup_(freep) char *who = mem_printf("%s\n%s\n%s\n%d", p->monitors, p->user ? p->user : "",
                                            p->key ? p->key : "", (int)patience);
    struct rbd_link *l = links;
    while (l && !str_eq(l->who, who))
        l = l->next;
    if (!l) {
        l = mem_new(struct rbd_link);
        l->who = steal(&who);
        int r = link_up(p, patience, &l->cluster);
        if (r < 0) {
            link_free(l);
            return r;
        }
        l->next = links;
        links = l;
    }
    l->users++;
    *ret = l;
    return 0;
}

int rbd_pool_share(const struct rbd_place *p, enum rbd_patience patience, struct rbd_pool *ret)
{
    *ret = (struct rbd_pool){0};
    pthread_mutex_lock(&lock);
    int r = link_get(p, patience, &ret->shared);
    pthread_mutex_unlock(&lock);
    if (r < 0)
        return r;
    ret->cluster = ret->shared->cluster;
    return enter_pool(p, ret);
}

static void link_put(struct rbd_link *l)
{
    struct rbd_link **at = &links;
    pthread_mutex_lock(&lock);
    bool is_last = --l->users == 0;
    while (is_last && *at != l)
        at = &(*at)->next;
    if (is_last)
        *at = l->next;
    pthread_mutex_unlock(&lock);
    if (is_last)
        link_free(l);
}

void rbd_pool_close(struct rbd_pool *pool)
{
    if (pool->io)
        rados_ioctx_destroy(pool->io);
    if (pool->shared)
        link_put(pool->shared);
    else if (pool->cluster)
        rados_shutdown(pool->cluster);
    *pool = (struct rbd_pool){0};
}
