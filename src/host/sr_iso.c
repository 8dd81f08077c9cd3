/*
 * sr_iso.c: a folder of CD images, the kind "iso".
 *
 * Every *.iso and *.img in the folder is a read-only disk, known by its file name. The folder is
 * device-config:location: an absolute path, which is watched while the repository is attached (a
 * change is told as FACT_SR_CHANGED), <server>:<path> on an NFS server, type=nfs_iso, or
 * //<server>/<share> on an SMB server, type=cifs. A new image is a file that is filled once, by an
 * upload.
 * Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/str.h"
#include "base/vec.h"
#include "host/sr_net.h"
#include "host/sr_share.h"
#include "host/sr_store.h"

#define SECTOR 512

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

static struct err *nfs_folder(const char *location, char **ret)
{
    char address[INET6_ADDRSTRLEN];
    const char *path = strstr(location, ":/");
    if (!path || path == location || strstr(path, "//") || strstr(path, "/..") || !path[2])
        return sr_error(SR_ISO_LOCATION, "Incorrect location string format", location);
    _cleanup_(freep) char *server = mem_strndup(location, (size_t)(path - location));
    TRY(sr_address(server, address));
    *ret = mem_printf("nfs://%s%s//.", address, path + 1);
    return NULL;
}

static bool is_share(const struct sr_ref *sr)
{
    return str_eq(config(sr, "type"), "cifs") || sr_share_is(config(sr, "location"));
}

static struct sr_share share_of(const struct sr_ref *sr)
{
    return (struct sr_share){.location = config(sr, "location"),
                             .user = config(sr, "username"),
                             .password = config(sr, "cifspassword"),
                             .folder = ""};
}

static struct err *share_folder(struct host *h, const struct sr_ref *sr, char **ret)
{
    const struct sr_share share = share_of(sr);
    if (str_eq(config(sr, "vers"), "1.0"))
        return sr_error(SR_ISO_MOUNT,
                        "Could not mount the directory specified in Device Configuration",
                        "this host speaks no SMB 1");
    TRY(sr_share_url(h, sr, &share, ret));
    return *ret ? NULL
                : sr_error(SR_ISO_LOCATION, "Incorrect location string format", share.location);
}

/* A path or a URL. */
static struct err *folder(struct host *h, const struct sr_ref *sr, char **ret)
{
    const char *location = config(sr, "location"), *version = config(sr, "nfsversion");
    if (!location[0])
        return sr_error(SR_ISO_NO_LOCATION,
                        "'Location' parameter must be specified in Device Configuration", "");
    if (is_share(sr))
        return share_folder(h, sr, ret);
    if (version[0] && !str_eq(version, "3"))
        return sr_error(SR_NFS_VERSION, "Invalid NFS version", SR_NFS_VERSIONS);
    if (location[0] != '/')
        return nfs_folder(location, ret);
    if (access(location, R_OK | X_OK) < 0)
        return sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(errno));
    *ret = mem_strdup(location);
    return NULL;
}

static struct err *list(struct host *h, const char *dir, struct store_list *ret)
{
    int r = store_list(h, dir, ret);
    if (r == 0)
        return NULL;
    return store_is_remote(dir)
               ? sr_error(SR_ISO_MOUNT,
                          "Could not mount the directory specified in Device Configuration",
                          str_starts(dir, "smb:") ? sr_share_why(r) : strerror(-r))
               : sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(-r));
}

static bool is_image(const char *name)
{
    size_t size = strlen(name);
    return name[0] != '.' && size > 4 &&
           (strcasecmp(name + size - 4, ".iso") == 0 || strcasecmp(name + size - 4, ".img") == 0);
}

static struct err *look(struct host *h, const struct sr_ref *sr, char **ret_dir)
{
    const struct sr_share share = share_of(sr);
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(folder(h, sr, ret_dir));
    if (is_share(sr))
        TRY(sr_share_login(h, sr, &share));
    struct err *e = list(h, *ret_dir, &l);
    if (e && is_share(sr))
        sr_share_logout(h, sr);
    return e;
}

static struct err *iso_check(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *dir = NULL;
    return look(h, sr, &dir);
}

static struct err *iso_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *dir = NULL;
    TRY(look(h, sr, &dir));
    if (!store_is_remote(dir))
        sr_watch(h, sr->uuid, dir);
    return NULL;
}

static struct err *iso_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    if (is_share(sr))
        sr_share_logout(h, sr);
    sr_watch_end(h, sr->uuid);
    return NULL;
}

/* Nothing was made by create, so nothing is taken away; the images are not ours. */
static struct err *iso_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    return iso_detach(h, v, sr);
}

static void image_of(const char *dir, const char *name, uint64_t bytes, struct sr_volume *ret)
{
    uint64_t size = bytes / SECTOR * SECTOR;
    *ret = (struct sr_volume){.uuid = mem_strdup(""),
                              .location = mem_strdup(name),
                              .name = mem_strdup(name),
                              .path = mem_printf("%s/%s", dir, name),
                              .format = mem_strdup("raw"),
                              .problem = mem_strdup(size ? "" : "the image is empty"),
                              .virtual_bytes = size,
                              .physical_bytes = bytes,
                              .readonly = true};
}

static struct err *iso_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            struct sr_volume **ret, size_t *ret_n)
{
    _cleanup_(freep) char *dir = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(folder(h, sr, &dir));
    TRY(list(h, dir, &l));
    VEC(struct sr_volume) found = {0};
    vec_each (entry, &l.entries) {
        struct sr_volume vol;
        if (entry->is_folder || !is_image(entry->name))
            continue;
        image_of(dir, entry->name, entry->size_bytes, &vol);
        vec_push(&found, vol);
    }
    *ret = found.v;
    *ret_n = found.n;
    return NULL;
}

static struct err *iso_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    _cleanup_(freep) char *dir = NULL;
    TRY(folder(h, sr, &dir));
    int r = store_space(h, dir, ret);
    return r < 0 ? sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(-r)) : NULL;
}

/* ---- images ---- */

static bool is_name(const char *name)
{
    return is_image(name) && !strchr(name, '/');
}

static struct err *path_of(struct host *h, const struct sr_ref *sr, const char *name,
                           char **ret_dir, char **ret_path)
{
    if (!is_name(name))
        return sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", name);
    TRY(folder(h, sr, ret_dir));
    *ret_path = mem_printf("%s/%s", *ret_dir, name);
    return NULL;
}

static struct err *iso_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                                struct sr_volume *ret)
{
    _cleanup_(freep) char *dir = NULL, *path = NULL;
    uint64_t bytes = 0;
    struct err *e = path_of(h, sr, location, &dir, &path);
    if (!e && store_size(h, path, &bytes) < 0)
        e = sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", location);
    TRY(e);
    image_of(dir, location, bytes, ret);
    return NULL;
}

/* sm-config:path is its name; else it is named after its uuid. */
static struct err *iso_vdi_create(struct host *h, const struct verb *v, const struct sr_ref *sr,
                                  const char *uuid, uint64_t size, const struct val *sm_config,
                                  struct sr_volume *ret)
{
    const char *given = sm_config ? val_map_str(sm_config, "path", "") : "";
    _cleanup_(freep) char *dir = NULL, *path = NULL;
    _cleanup_(freep) char *name = given[0] ? mem_strdup(given) : mem_printf("%s.iso", uuid);
    if (!is_name(name))
        return sr_error(SR_ISO_NAME, "ISO name must have .iso or .img extension", name);
    TRY(path_of(h, sr, name, &dir, &path));
    if (store_exists(h, path))
        return sr_error(SR_VDI_EXISTS, "The VDI already exists", name);
    struct err *e = h->disks->create(h->disks_data, v, path, "raw", size);
    if (e)
        return sr_wrap(e, err_get_errno(e) == ENOSPC ? SR_NO_SPACE : SR_VDI_CREATE,
                       "VDI Creation failed");
    return iso_vdi_info(h, sr, name, ret);
}

static struct err *iso_vdi_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                                  const char *location)
{
    _cleanup_(freep) char *dir = NULL, *path = NULL;
    TRY(path_of(h, sr, location, &dir, &path));
    int r = store_unlink(h, path);
    return r < 0 && r != -ENOENT ? sr_error(SR_VDI_DELETE, "VDI Deletion failed", strerror(-r))
                                 : NULL;
}

static const char *const features[] = {"VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH",
                                       NULL};
static const char *const config_keys[][2] = {
    {"location", "folder that holds the CD images, <server>:<path>, or //<server>/<share>"},
    {"type", "nfs_iso for one on an NFS server, cifs for one on an SMB server"},
    {"username", "name at the SMB server, or DOMAIN\\name; none for a guest"},
    {"cifspassword", "password there"},
    {"cifspassword_secret", "uuid of a secret that holds it"},
    {"nfsversion", "3, the only one"},
    {"options", "accepted, without effect"},
    {NULL, NULL}};

const struct sr_kind sr_kind_iso = {
    .type = "iso",
    .name = "ISO library",
    .description = "CD images in a folder of this host, or of an NFS or SMB server",
    .content_type = "iso",
    .features = features,
    .config = config_keys,
    .create = iso_check,
    .destroy = iso_destroy,
    .attach = iso_attach,
    .detach = iso_detach,
    .scan = iso_scan,
    .stat = iso_stat,
    .vdi_create = iso_vdi_create,
    .vdi_delete = iso_vdi_delete,
    .vdi_info = iso_vdi_info,
};
