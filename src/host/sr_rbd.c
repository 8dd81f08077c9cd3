/*
 * sr_rbd.c: disks as images of a Ceph pool, the kind "rbd".
 *
 * device-config: monitors, pool, user (admin), password (its key). A repository is a namespace of
 * the pool that has its uuid as its name; a disk is an image <uuid>.vhd, .qcow2 or .raw in it,
 * which takes the room that was written; snapshots are chains of these, as in a folder. Ceph is
 * spoken to by librbd in cairn-diskd; how to log in is told to it by a file that attach writes,
 * which is gone after a boot of the machine.
 *
 * Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "gen/error.h"
#include "host/sr_net.h"
#include "host/sr_store.h"
#include "host/sr_swap.h"

#define URL_MAX       4000u
#define MONITOR_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:,[]"
#define NAME_CHARS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

/* ---- where the cluster is, and who we are there ---- */

static char *login_path(const struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *name =
        sr->uuid[0] ? mem_strdup(sr->uuid) : mem_printf("probe-%p", (const void *)sr);
    return mem_printf("%s/sr-login/%s", h->run_dir, name);
}

static struct err *write_login(struct host *h, const struct sr_ref *sr)
{
    const char *user = config(sr, "user"), *key = config(sr, "password");
    _cleanup_(freep) char *path = login_path(h, sr);
    _cleanup_(freep) char *dir = mem_printf("%s/sr-login", h->run_dir);
    _cleanup_(freep) char *text = mem_printf("%s\n%s", user[0] ? user : "admin", key);
    if (!key[0])
        return NULL;
    int r = fd_mkdirs(dir, 0700);
    if (r == 0)
        r = fd_replace_file(path, text, strlen(text), 0600);
    return r < 0 ? sr_error(SR_GENERAL, "The login cannot be kept", strerror(-r)) : NULL;
}

static void drop_login(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *path = login_path(h, sr);
    (void)unlink(path);
}

/* The key itself is told to those who attach alone. */
static bool has_login(const struct sr_ref *sr)
{
    return config(sr, "password")[0] || config(sr, "password_secret")[0];
}

/* Of what is below the pool: "" for the pool itself. */
static char *url_of(struct host *h, const struct sr_ref *sr, const char *pool, const char *below)
{
    _cleanup_(buf_done) struct buf b;
    _cleanup_(freep) char *login = login_path(h, sr);
    buf_init(&b, URL_MAX);
    buf_puts(&b, "rbd://");
    for (const char *s = login; has_login(sr) && *s; s++)
        *s == '/' ? buf_puts(&b, "%2F") : buf_putc(&b, *s);
    if (has_login(sr))
        buf_putc(&b, '@');
    buf_printf(&b, "%s/%s%s%s", config(sr, "monitors"), pool, below[0] ? "/" : "", below);
    return mem_strdup(buf_str(&b));
}

static char *rbd_folder(struct host *h, const struct sr_ref *sr)
{
    return url_of(h, sr, config(sr, "pool"), sr->uuid);
}

static struct err *failed(int r)
{
    if (r == -EKEYREJECTED)
        return sr_error(SR_UNAVAILABLE, "The cluster does not accept the login", strerror(-r));
    return sr_error(SR_UNAVAILABLE, "The cluster cannot be used",
                    r == -EHOSTUNREACH ? "no monitor answers" : strerror(-r));
}

static struct err *check_monitors(const struct sr_ref *sr)
{
    const char *text = config(sr, "monitors");
    if (!text[0])
        return sr_error(SR_SERVER_MISSING, "The request is missing the monitors parameter", "");
    if (text[strspn(text, MONITOR_CHARS)])
        return sr_error(SR_SERVER_MISSING,
                        "The monitors parameter is no list of addresses with commas between them",
                        text);
    const char *user = config(sr, "user");
    return user[strspn(user, NAME_CHARS)]
               ? sr_error(SR_GENERAL, "The user parameter is no name of a user", user)
               : NULL;
}

/* No pool was given: the error that lists those there are. */
static struct err *offer_pools(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = url_of(h, sr, "", "");
    _cleanup_(store_list_done) struct store_list l = {0};
    struct sr_xml x;
    int r = store_list(h, url, &l);
    if (r < 0)
        return failed(r);
    sr_xml_begin(&x, "rbd-pools");
    vec_each (entry, &l.entries)
        sr_xml_text(&x, "Pool", entry->name);
    _cleanup_(freep) char *xml = sr_xml_end(&x, "rbd-pools");
    return sr_error(SR_SERVERPATH_MISSING, "The request is missing the pool parameter", xml);
}

/* The namespaces of the pool: repositories, and what others made. */
static struct err *list_pool(struct host *h, const struct sr_ref *sr, struct store_list *ret)
{
    const char *pool = config(sr, "pool");
    TRY(check_monitors(sr));
    if (pool[strspn(pool, NAME_CHARS)])
        return sr_error(SR_SERVERPATH_MISSING, "The pool parameter is no name of a pool", pool);
    TRY(write_login(h, sr));
    if (!pool[0])
        return offer_pools(h, sr);
    _cleanup_(freep) char *url = url_of(h, sr, pool, "");
    int r = store_list(h, url, ret);
    if (r == -ENOENT)
        return sr_error(SR_SERVERPATH_MISSING, "The cluster has no such pool", pool);
    return r < 0 ? failed(r) : NULL;
}

static bool is_there(const struct sr_ref *sr, const struct store_list *l)
{
    for (size_t i = 0; i < l->entries.n; i++)
        if (str_eq(l->entries.v[i].name, sr->uuid))
            return true;
    return false;
}

/* ---- the repository ---- */

static struct err *rbd_probe(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             char **ret)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    struct sr_xml x;
    struct err *e = list_pool(h, sr, &l);
    drop_login(h, sr);
    TRY(e);
    sr_xml_begin(&x, "SRlist");
    vec_each (entry, &l.entries) {
        if (!str_is_uuid(entry->name))
            continue;
        sr_xml_open(&x, "SR");
        sr_xml_text(&x, "UUID", entry->name);
        sr_xml_close(&x, "SR");
    }
    *ret = sr_xml_end(&x, "SRlist");
    return NULL;
}

static struct err *make_space(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list_pool(h, sr, &l));
    _cleanup_(freep) char *dir = rbd_folder(h, sr);
    int r = is_there(sr, &l) ? 0 : store_mkdir(h, dir);
    return r < 0 ? sr_error(SR_UNAVAILABLE, "The namespace cannot be made", strerror(-r)) : NULL;
}

static struct err *rbd_create(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    struct err *e = make_space(h, sr);
    if (e)
        drop_login(h, sr);
    return e;
}

static struct err *find_space(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list_pool(h, sr, &l));
    if (!is_there(sr, &l))
        return sr_error(SR_UNAVAILABLE, "The pool does not have the repository", sr->uuid);
    _cleanup_(freep) char *dir = rbd_folder(h, sr);
    TRY(sr_swap_settle(h, dir));
    return sr_file_tidy(h, dir);
}

static struct err *rbd_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    struct err *e = find_space(h, sr);
    if (e)
        drop_login(h, sr);
    return e;
}

static struct err *rbd_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    drop_login(h, sr);
    return NULL;
}

static struct err *find_foreign(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(store_list_done) struct store_list spaces = {0}, l = {0};
    TRY(list_pool(h, sr, &spaces));
    if (!is_there(sr, &spaces))
        return NULL;
    _cleanup_(freep) char *dir = rbd_folder(h, sr);
    int r = store_list(h, dir, &l);
    if (r < 0)
        return failed(r);
    vec_each (entry, &l.entries)
        if (!str_ends(entry->name, SR_FILE_PART))
            return sr_error(SR_NOT_EMPTY, "The namespace holds an image of somebody else",
                            entry->name);
    return NULL;
}

/* Images of somebody else keep the namespace: asked before records go. */
static struct err *rbd_check_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    struct err *e = find_foreign(h, sr);
    drop_login(h, sr);
    return e;
}

static struct err *rbd_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list_pool(h, sr, &l));
    _cleanup_(freep) char *dir = rbd_folder(h, sr);
    struct err *e = NULL;
    if (is_there(sr, &l)) {
        e = sr_file_tidy(h, dir);
        int r = e ? 0 : store_rmdir(h, dir);
        if (r < 0)
            e = sr_error(SR_NOT_EMPTY, "The namespace cannot be removed", strerror(-r));
    }
    drop_login(h, sr);
    return e;
}

static const char *const features[] = {SR_FILE_FEATURES, "SR_PROBE", NULL};
static const char *const config_keys[][2] = {
    {"monitors", "addresses of the cluster's monitors, with commas between them"},
    {"pool", "pool that the disks are in"},
    {"user", "user of the cluster, admin if none is given"},
    {"password", "the user's key"},
    {NULL, NULL}};

const struct sr_kind sr_kind_rbd = {
    .type = "rbd",
    .name = "Ceph RBD",
    .description = "Disks as images of a Ceph pool",
    .content_type = "user",
    .features = features,
    .config = config_keys,
    .shared = true,
    .folder = rbd_folder,
    .probe = rbd_probe,
    .create = rbd_create,
    .destroy = rbd_destroy,
    .check_destroy = rbd_check_destroy,
    .attach = rbd_attach,
    .detach = rbd_detach,
    .scan = sr_swap_scan,
    .stat = sr_file_stat,
    .vdi_create = sr_file_vdi_create,
    .vdi_delete = sr_file_vdi_delete,
    .vdi_resize = sr_file_vdi_resize,
    .vdi_info = sr_file_vdi_info,
    SR_SWAP_CHAINS,
};
