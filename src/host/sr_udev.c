/*
 * sr_udev.c: the drives of this machine, the kind "udev".
 *
 * device-config:location says which: "/dev/xapi/cd" the optical ones, "/dev/xapi/block" removable
 * disks. What exists is read from sysfs. Called through sr.c on operation threads.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "host/host_impl.h"
#include "host/sr_impl.h"

#define SYS_BLOCK "/sys/block"
#define SECTOR    512

static struct err *check_location(const struct sr_ref *sr, bool *ret_cd)
{
    const char *location = val_map_str(sr->device_config, "location", "");
    if (!str_eq(location, "/dev/xapi/cd") && !str_eq(location, "/dev/xapi/block"))
        return sr_error(SR_LOCATION_MISSING,
                        "The location parameter is neither /dev/xapi/cd nor /dev/xapi/block",
                        location);
    *ret_cd = str_ends(location, "/cd");
    return NULL;
}

static struct err *udev_check(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    bool cd;
    return check_location(sr, &cd);
}

static struct err *udev_nothing(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    return NULL;
}

/* A number of sysfs, 0 if it cannot be read. */
static uint64_t attribute(const char *device, const char *name)
{
    _cleanup_(freep) char *path = mem_printf(SYS_BLOCK "/%s/%s", device, name);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 64);
    uint64_t n = 0;
    if (fd_read_file(path, 64, &text) < 0)
        return 0;
    struct view line = {text.data, text.size};
    while (line.size && line.p[line.size - 1] == '\n')
        line.size--;
    return str_u64(line, 0, UINT64_MAX / SECTOR, &n) == 0 ? n : 0;
}

static bool is_ours(const char *device, bool cd)
{
    bool optical = str_starts(device, "sr");
    if (cd || optical)
        return cd && optical;
    return device[0] != '.' && attribute(device, "removable") == 1;
}

static void read_drive(const char *device, bool cd, struct sr_volume *ret)
{
    uint64_t size = attribute(device, "size") * SECTOR;
    *ret = (struct sr_volume){.uuid = mem_strdup(""),
                              .location = mem_printf("/dev/%s", device),
                              .name = mem_strdup(device),
                              .path = mem_printf("/dev/%s", device),
                              .format = mem_strdup("raw"),
                              .problem = mem_strdup(size ? "" : "the drive is empty"),
                              .virtual_bytes = size,
                              .physical_bytes = size,
                              .readonly = cd};
}

static struct err *udev_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             struct sr_volume **ret, size_t *ret_n)
{
    bool cd;
    TRY(check_location(sr, &cd));
    VEC(struct sr_volume) found = {0};
    DIR *d = opendir(SYS_BLOCK);
    struct dirent *entry;
    while (d && (entry = readdir(d))) {
        struct sr_volume vol;
        if (!is_ours(entry->d_name, cd))
            continue;
        read_drive(entry->d_name, cd, &vol);
        vec_push(&found, vol);
    }
    if (d)
        closedir(d);
    *ret = found.v;
    *ret_n = found.n;
    return NULL;
}

static struct err *udev_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    struct verb v = {0};
    struct sr_volume *found = NULL;
    size_t n = 0;
    TRY(udev_scan(h, &v, sr, &found, &n));
    *ret = (struct sr_stat){0};
    for (size_t i = 0; i < n; i++)
        ret->size_bytes += found[i].physical_bytes;
    ret->used_bytes = ret->size_bytes;
    sr_volumes_free(found, n);
    return NULL;
}

static struct err *udev_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                                 struct sr_volume *ret)
{
    bool cd;
    TRY(check_location(sr, &cd));
    const char *device = str_starts(location, "/dev/") ? location + strlen("/dev/") : ".";
    if (strchr(device, '/') || !is_ours(device, cd) || access(location, F_OK) < 0)
        return sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", location);
    read_drive(device, cd, ret);
    return NULL;
}

static const char *const features[] = {"VDI_INTRODUCE", "VDI_ATTACH", "VDI_DETACH", NULL};
static const char *const config[][2] = {{"location", "/dev/xapi/cd or /dev/xapi/block"},
                                        {NULL, NULL}};

const struct sr_kind sr_kind_udev = {
    .type = "udev",
    .name = "Drives of the host",
    .description = "Optical drives and removable disks of this host",
    .content_type = "disk",
    .features = features,
    .config = config,
    .create = udev_check,
    .destroy = udev_nothing,
    .attach = udev_check,
    .detach = udev_nothing,
    .scan = udev_scan,
    .stat = udev_stat,
    .vdi_info = udev_vdi_info,
};
