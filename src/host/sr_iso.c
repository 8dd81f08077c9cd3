/*
 * sr_iso.c: a folder of CD images, the kind "iso".
 *
 * Every *.iso and *.img in device-config:location is a read-only disk, known by its file name. The
 * folder is watched while the repository is attached; a change is told as FACT_SR_CHANGED.
 * Called through sr.c on operation threads.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/str.h"
#include "base/vec.h"
#include "host/host_impl.h"
#include "host/sr_impl.h"

#define SECTOR 512

static struct err *folder(const struct sr_ref *sr, const char **ret)
{
    *ret = val_map_str(sr->device_config, "location", "");
    if ((*ret)[0] != '/')
        return sr_error(SR_LOCATION_MISSING, "The location parameter must be an absolute path",
                        *ret);
    if (access(*ret, R_OK | X_OK) < 0)
        return sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(errno));
    return NULL;
}

static bool is_image(const char *name)
{
    size_t size = strlen(name);
    return name[0] != '.' && size > 4 &&
           (strcasecmp(name + size - 4, ".iso") == 0 || strcasecmp(name + size - 4, ".img") == 0);
}

static struct err *iso_check(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    const char *dir = NULL;
    return folder(sr, &dir);
}

static struct err *iso_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    const char *dir = NULL;
    TRY(folder(sr, &dir));
    sr_watch(h, sr->uuid, dir);
    return NULL;
}

static struct err *iso_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    sr_watch_end(h, sr->uuid);
    return NULL;
}

/* Nothing was made by create, so nothing is taken away; the images are not ours. */
static struct err *iso_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    sr_watch_end(h, sr->uuid);
    return NULL;
}

static struct err *read_image(const char *dir, const char *name, struct sr_volume *ret)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    struct stat st;
    if (!is_image(name) || strchr(name, '/') || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", name);
    uint64_t size = (uint64_t)st.st_size / SECTOR * SECTOR;
    *ret = (struct sr_volume){.uuid = mem_strdup(""),
                              .location = mem_strdup(name),
                              .name = mem_strdup(name),
                              .path = steal(&path),
                              .format = mem_strdup("raw"),
                              .problem = mem_strdup(size ? "" : "the image is empty"),
                              .virtual_bytes = size,
                              .physical_bytes = (uint64_t)st.st_size,
                              .readonly = true};
    return NULL;
}

static struct err *iso_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            struct sr_volume **ret, size_t *ret_n)
{
    const char *dir = NULL;
    TRY(folder(sr, &dir));
    DIR *d = opendir(dir);
    if (!d)
        return sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(errno));
    VEC(struct sr_volume) found = {0};
    struct dirent *entry;
    while ((entry = readdir(d))) {
        struct sr_volume vol;
        struct err *e = read_image(dir, entry->d_name, &vol);
        if (!e)
            vec_push(&found, vol);
        err_free(e);
    }
    closedir(d);
    *ret = found.v;
    *ret_n = found.n;
    return NULL;
}

static struct err *iso_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    const char *dir = NULL;
    struct statvfs st;
    TRY(folder(sr, &dir));
    if (statvfs(dir, &st) < 0)
        return sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(errno));
    ret->size_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    ret->used_bytes = ret->size_bytes - (uint64_t)st.f_bavail * st.f_frsize;
    return NULL;
}

static struct err *iso_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                                struct sr_volume *ret)
{
    const char *dir = NULL;
    TRY(folder(sr, &dir));
    return read_image(dir, location, ret);
}

static const char *const features[] = {"VDI_ATTACH", "VDI_DETACH", NULL};
static const char *const config[][2] = {{"location", "folder that holds the CD images"},
                                        {NULL, NULL}};

const struct sr_kind sr_kind_iso = {
    .type = "iso",
    .name = "ISO library",
    .description = "CD images in a folder of this host",
    .content_type = "iso",
    .features = features,
    .config = config,
    .create = iso_check,
    .destroy = iso_destroy,
    .attach = iso_attach,
    .detach = iso_detach,
    .scan = iso_scan,
    .stat = iso_stat,
    .vdi_info = iso_vdi_info,
};
