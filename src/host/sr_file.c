/*
 * sr_file.c: disks as files in a folder, the kinds "file" and "ext".
 *
 * "file" takes a folder (device-config:location). "ext" takes the same, or a block device
 * (device-config:device) that it formats with ext4 at create and mounts at attach, both through
 * cairn-privd. A device that is mounted, in use or carries any signature is refused, naming what
 * was found, unless device-config:force=true. Layout: <uuid>.vhd, .qcow2, .raw; a file is made
 * under a name that ends in .part and renamed when it is whole, so a crash leaves no half of a
 * disk.
 *
 * Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "host/disk_format.h"
#include "host/host_impl.h"
#include "host/priv.h"
#include "host/sr_cbt.h"
#include "host/sr_chain.h"
#include "host/sr_ext.h"
#include "host/sr_file.h"
#include "host/sr_store.h"

#undef LOG_MODULE
#define LOG_MODULE "sr"

#define MARKER     ".cairn-sr" /* holds the uuid of the repository that was made here */
#define PART       SR_FILE_PART
#define SIZES      "VHD holds 1 byte to 2040 GiB, qcow2 to 16381 GiB"
#define LABEL      "cairn-sr"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

/* On a device of its own, rather than in a folder that somebody else provides? */
static bool is_device(const struct sr_ref *sr)
{
    return str_eq(sr->type, "ext") && !config(sr, "location")[0];
}

static char *folder(struct host *h, const struct sr_ref *sr)
{
    return sr_kind(sr->type)->folder(h, sr);
}

static char *local_folder(struct host *h, const struct sr_ref *sr)
{
    return is_device(sr) ? mem_printf("%s/sr-mount/%s", h->run_dir, sr->uuid)
                         : mem_strdup(config(sr, "location"));
}

static struct err *check_config(const struct sr_ref *sr)
{
    if (is_device(sr)) {
        const char *device = config(sr, "device");
        if (!device[0])
            return sr_error(SR_DEVICE_MISSING, "The request is missing the device parameter", "");
        if (device[0] != '/')
            return sr_error(SR_DEVICE_INVALID, "The device parameter is not an absolute path",
                            device);
        return NULL;
    }
    const char *location = config(sr, "location");
    if (!location[0])
        return sr_error(SR_LOCATION_MISSING, "The request is missing the location parameter", "");
    if (location[0] != '/')
        return sr_error(SR_LOCATION_MISSING, "The location parameter is not an absolute path",
                        location);
    return NULL;
}

static bool forced(const struct sr_ref *sr)
{
    return str_eq(config(sr, "force"), "true");
}

static struct err *check_device(struct host *h, const struct sr_ref *sr)
{
    const char *device = config(sr, "device");
    _cleanup_(freep) char *found = NULL;
    TRY(sr_wrap(priv_examine(h->privd, device, &found), SR_DEVICE_INVALID,
                "The device cannot be examined"));
    if (!found[0])
        return NULL;
    _cleanup_(freep) char *text = mem_printf("'%s' %s", device, found);
    return sr_error(SR_IN_USE, "The device is in use or not empty", text);
}

static struct err *file_create(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    TRY(check_config(sr));
    _cleanup_(freep) char *dir = folder(h, sr);
    if (is_device(sr)) {
        if (!forced(sr))
            TRY(check_device(h, sr));
        TRY(sr_wrap(priv_mkfs(h->privd, config(sr, "device"), LABEL, forced(sr)), SR_FS_CREATE,
                    "The device cannot be formatted"));
        TRY(sr_ext_mount(h, sr, config(sr, "device"), dir));
    }
    int r = fd_mkdirs(dir, 0755);
    if (r < 0)
        return sr_error(SR_UNAVAILABLE, "The folder cannot be made", strerror(-r));
    _cleanup_(freep) char *marker = mem_printf("%s/" MARKER, dir);
    r = fd_replace_file(marker, sr->uuid, strlen(sr->uuid), 0644);
    struct err *e =
        r < 0 ? sr_error(SR_UNAVAILABLE, "The folder cannot be written", strerror(-r)) : NULL;
    return is_device(sr) ? err_first(e, priv_umount(h->privd, dir)) : e;
}

static struct err *list(struct host *h, const char *dir, struct store_list *ret)
{
    int r = store_list(h, dir, ret);
    return r < 0 ? sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(-r)) : NULL;
}

struct err *sr_file_tidy(struct host *h, const char *dir)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list(h, dir, &l));
    vec_each (entry, &l.entries) {
        _cleanup_(freep) char *path = mem_printf("%s/%s", dir, entry->name);
        if (str_ends(entry->name, PART))
            (void)store_unlink(h, path);
    }
    return NULL;
}

/*
 * Where administrators look for the files of a repository: <run folder>/../sr-mount/<uuid>, which
 * is /run/sr-mount/<uuid> on an installed host. It is for them alone: nothing depends on it, and
 * where there is no such folder nothing is shown.
 */
static char *known_place(const struct host *h, const struct sr_ref *sr)
{
    const char *slash = strrchr(h->run_dir, '/');
    int above = slash ? (int)(slash - h->run_dir) : 0;
    return mem_printf("%.*s/sr-mount/%s", above, h->run_dir, sr->uuid);
}

static void show(const struct host *h, const struct sr_ref *sr, const char *dir)
{
    _cleanup_(freep) char *link = known_place(h, sr);
    (void)unlink(link);
    if (symlink(dir, link) < 0 && errno != ENOENT)
        log_warn("event=no-link path=%s errno=%d", link, errno);
}

static void hide(const struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *link = known_place(h, sr);
    (void)unlink(link);
}

static struct err *file_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    TRY(check_config(sr));
    _cleanup_(freep) char *dir = folder(h, sr);
    if (is_device(sr))
        TRY(sr_ext_mount(h, sr, config(sr, "device"), dir));
    if (access(dir, R_OK | W_OK | X_OK) < 0)
        return sr_error(SR_UNAVAILABLE, "The folder cannot be used", strerror(errno));
    TRY(sr_file_tidy(h, dir));
    show(h, sr, dir);
    return NULL;
}

static struct err *file_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *dir = folder(h, sr);
    hide(h, sr);
    if (!is_device(sr))
        return NULL;
    return sr_wrap(priv_umount(h->privd, dir), SR_IN_USE, "The file system cannot be unmounted");
}

/* --- volumes --- */

/* The format that a file's name tells; NULL: this is no disk. */
static const char *format_of(const char *name)
{
    return str_ends(name, PART) ? NULL : disk_format_of(name);
}

/* Where the volume below stands in the repository; "" if there is none, or it is elsewhere. */
static char *location_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : "";
    return mem_strdup(format_of(name) ? name : "");
}

static bool is_listed(const struct store_list *l, const char *path)
{
    _cleanup_(freep) char *log = sr_cbt_beside(path);
    const char *name = log ? strrchr(log, '/') : NULL;
    for (size_t i = 0; name && i < l->entries.n; i++)
        if (str_eq(l->entries.v[i].name, name + 1))
            return true;
    return false;
}

/* `l` is what the folder holds, or NULL if it was not asked. */
static struct err *read_listed(struct host *h, const struct verb *v, const char *dir,
                               const char *name, const struct store_list *l, struct sr_volume *ret)
{
    struct disk_info info = {0};
    uint64_t taken = 0;
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    int r = store_taken(h, path, &taken);
    if (r < 0)
        return sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", strerror(-r));
    _cleanup_(err_freep) struct err *e = h->disks->info(h->disks_data, v, path, &info);
    *ret = (struct sr_volume){
        .uuid = mem_strndup(name, strlen(name) - strlen(disk_suffix_of(format_of(name)))),
        .location = mem_strdup(name),
        .name = mem_strdup(""),
        .path = steal(&path),
        .format = mem_strdup(e ? format_of(name) : info.image.format),
        .problem = mem_strdup(e ? err_param(e, 0) : ""),
        .virtual_bytes = e ? 0 : info.image.size_bytes,
        .physical_bytes = taken,
        .own_bytes = taken,
        .parent = e ? mem_strdup("") : location_of(info.parent),
        .hidden = !e && info.hidden,
        .is_written = e || info.is_written};
    ret->is_tracked = l ? is_listed(l, ret->path) : sr_cbt_has_log(h, ret->path);
    if (!str_is_uuid(ret->uuid))
        ret->uuid[0] = '\0';
    disk_info_done(&info);
    return NULL;
}

static struct err *read_volume(struct host *h, const struct verb *v, const char *dir,
                               const char *name, struct sr_volume *ret)
{
    return read_listed(h, v, dir, name, NULL, ret);
}

struct volumes {
    VEC(struct sr_volume) list;
};

static struct err *scan_list(struct host *h, const struct verb *v, const char *dir,
                             const struct store_list *l, struct volumes *found)
{
    for (size_t i = 0; i < l->entries.n; i++) {
        const char *name = l->entries.v[i].name;
        struct sr_volume vol;
        if (name[0] == '.' || !format_of(name))
            continue;
        TRY(verb_check(v, "scanning the repository"));
        TRY(read_listed(h, v, dir, name, l, &vol));
        vec_push(&found->list, vol);
    }
    return NULL;
}

struct err *sr_file_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         struct sr_volume **ret, size_t *ret_n)
{
    _cleanup_(freep) char *dir = folder(h, sr);
    _cleanup_(store_list_done) struct store_list l = {0};
    struct volumes found = {0};
    TRY(list(h, dir, &l));
    struct err *e = scan_list(h, v, dir, &l, &found);
    if (e) {
        sr_volumes_free(found.list.v, found.list.n);
        return e;
    }
    *ret = found.list.v;
    *ret_n = found.list.n;
    return NULL;
}

struct err *sr_file_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    _cleanup_(freep) char *dir = folder(h, sr);
    int r = store_space(h, dir, ret);
    return r < 0 ? sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(-r)) : NULL;
}

/* Names with a slash or a leading dot come from outside; they never leave the folder. */
struct err *sr_file_path(struct host *h, const struct sr_ref *sr, const char *location,
                         char **ret_dir, char **ret_path)
{
    if (!location[0] || location[0] == '.' || strchr(location, '/') || !format_of(location))
        return sr_error(SR_VDI_UNAVAILABLE, "No disk has such a location", location);
    *ret_dir = folder(h, sr);
    *ret_path = mem_printf("%s/%s", *ret_dir, location);
    return NULL;
}

struct err *sr_file_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                             struct sr_volume *ret)
{
    _cleanup_(freep) char *dir = NULL;
    _cleanup_(freep) char *path = NULL;
    struct verb v = {0};
    TRY(sr_file_path(h, sr, location, &dir, &path));
    return read_volume(h, &v, dir, location, ret);
}

static int code_of(const struct err *e, int otherwise)
{
    int en = err_get_errno(e);
    return en == ENOSPC || en == EDQUOT ? SR_NO_SPACE : otherwise;
}

struct err *sr_file_vdi_create(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *uuid, uint64_t size, const struct val *sm_config,
                               struct sr_volume *ret)
{
    const char *format = disk_format_for(sm_config, sr->device_config, size);
    if (!format)
        return sr_error(SR_VDI_CREATE, "VDI Creation failed", "image-format is vhd, qcow2 or raw");
    if (!size || size > disk_size_max(format))
        return sr_error(SR_VDI_SIZE, "VDI Invalid size", SIZES);
    _cleanup_(freep) char *name = mem_printf("%s%s", uuid, disk_suffix_of(format));
    _cleanup_(freep) char *dir = NULL;
    _cleanup_(freep) char *path = NULL;
    TRY(sr_file_path(h, sr, name, &dir, &path));
    if (store_exists(h, path))
        return read_volume(h, v, dir, name, ret);
    _cleanup_(freep) char *part = mem_printf("%s" PART, path);
    (void)store_unlink(h, part);
    struct err *e = h->disks->create(h->disks_data, v, part, format, size);
    int r = e ? 0 : store_rename(h, part, path);
    if (r < 0)
        e = err_errno(-r, "cannot rename '%s'", part);
    if (e) {
        (void)store_unlink(h, part);
        return sr_wrap(e, code_of(e, SR_VDI_CREATE), "VDI Creation failed");
    }
    return read_volume(h, v, dir, name, ret);
}

struct err *sr_file_vdi_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *location)
{
    _cleanup_(freep) char *dir = NULL;
    _cleanup_(freep) char *path = NULL;
    TRY(sr_file_path(h, sr, location, &dir, &path));
    int r = store_unlink(h, path);
    if (r < 0 && r != -ENOENT)
        return sr_error(SR_VDI_DELETE, "VDI Deletion failed", strerror(-r));
    return NULL;
}

struct err *sr_file_vdi_resize(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *location, uint64_t size, struct sr_volume *ret)
{
    _cleanup_(freep) char *dir = NULL;
    _cleanup_(freep) char *path = NULL;
    struct sr_volume now = {0};
    TRY(sr_file_path(h, sr, location, &dir, &path));
    TRY(read_volume(h, v, dir, location, &now));
    struct err *e = NULL;
    if (size < now.virtual_bytes || size > disk_size_max(now.format))
        e = sr_error(SR_VDI_SIZE, "VDI Invalid size", "a disk grows only; " SIZES);
    else if (size > now.virtual_bytes)
        e = h->disks->resize(h->disks_data, v, path, now.format, size);
    sr_volume_done(&now);
    if (e)
        return sr_wrap(e, code_of(e, SR_VDI_RESIZE), "VDI Resize failed");
    return read_volume(h, v, dir, location, ret);
}

struct err *sr_file_clear(struct host *h, const char *dir)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list(h, dir, &l));
    vec_each (entry, &l.entries) {
        const char *name = entry->name;
        bool ours = str_eq(name, MARKER) || str_ends(name, PART) || str_ends(name, SR_CBT_SUFFIX) ||
                    (name[0] != '.' && format_of(name));
        _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
        int r = ours ? store_unlink(h, path) : 0;
        if (r < 0 && r != -ENOENT)
            return sr_error(SR_VDI_DELETE, "A disk cannot be removed", strerror(-r));
    }
    return NULL;
}

/* Removes what is ours and leaves the folder and what others put there. */
static struct err *file_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    TRY(file_attach(h, v, sr));
    _cleanup_(freep) char *dir = folder(h, sr);
    struct err *e = sr_file_clear(h, dir);
    return err_first(e, file_detach(h, v, sr));
}

static struct err *file_probe(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              char **ret)
{
    TRY(check_config(sr));
    if (is_device(sr)) {
        TRY(check_device(h, sr));
        *ret = mem_strdup("<?xml version=\"1.0\" ?>\n<SRlist/>\n");
        return NULL;
    }
    _cleanup_(freep) char *marker = mem_printf("%s/" MARKER, config(sr, "location"));
    _cleanup_(buf_done) struct buf uuid;
    buf_init(&uuid, UUID_SIZE);
    if (fd_read_file(marker, UUID_SIZE, &uuid) < 0 || !str_is_uuid(buf_str(&uuid)))
        *ret = mem_strdup("<?xml version=\"1.0\" ?>\n<SRlist/>\n");
    else
        *ret = mem_printf("<?xml version=\"1.0\" ?>\n<SRlist>\n\t<SR>\n\t\t<UUID>\n\t\t\t%s\n"
                          "\t\t</UUID>\n\t</SR>\n</SRlist>\n",
                          buf_str(&uuid));
    return NULL;
}

static const char *const features[] = {SR_FILE_FEATURES,
                                       "SR_PROBE",
                                       "VDI_CONFIG_CBT",
                                       "VDI_READ_CACHING",
                                       "SR_SUPPORTS_LOCAL_CACHING",
                                       NULL};
static const char *const file_config[][2] = {{"location", "folder that holds the disks"},
                                             {NULL, NULL}};
static const char *const ext_config[][2] = {
    {"device", "block device to format and mount"},
    {"location", "folder that holds the disks, instead of a device"},
    {"force", "true: format the device whatever it carries"},
    {NULL, NULL}};

#define VERBS                                                                                      \
    .content_type = "user", .features = features, .probe = file_probe, .create = file_create,      \
    .destroy = file_destroy, .attach = file_attach, .detach = file_detach, .folder = local_folder, \
    SR_FILE_VOLUMES

const struct sr_kind sr_kind_file = {
    .type = "file",
    .name = "Folder",
    .description = "Disks as VHD, qcow2 and raw files in a folder of this host",
    .config = file_config,
    VERBS,
};

const struct sr_kind sr_kind_ext = {
    .type = "ext",
    .name = "Local ext4 file system",
    .description = "Disks as VHD, qcow2 and raw files on a local ext4 file system",
    .config = ext_config,
    VERBS,
};
