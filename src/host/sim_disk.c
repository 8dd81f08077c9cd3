/*
 * sim_disk.c: the simulated data path.
 *
 * Called through host.c and sr_*.c on operation threads. An image is a sparse file whose length is
 * the size of the disk, whatever its format is called; who has it attached is in the world's files,
 * and a second writer is refused, as cairn-diskd would.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/disk_format.h"
#include "host/sim_world.h"

#define VHD_UNIT (2ULL << 20)

static void device_key(unsigned device, char key[12])
{
    snprintf(key, 12, "%u", device);
}

/* Who else writes to this image: an error that names it. */
static struct err *check_free(const struct sim *s, const char *owner, const struct image *image)
{
    char **owners = NULL;
    size_t n = 0;
    TRY(world_names(s->dir, ".disks", &owners, &n));
    struct err *e = NULL;
    for (size_t i = 0; i < n; i++) {
        _cleanup_(val_unrefp) struct val *disks = NULL;
        if (!e && !str_eq(owners[i], owner))
            e = world_disks(s, owners[i], &disks);
        for (size_t d = 0; !e && disks && d < val_count(disks); d++)
            if (!image->readonly && str_eq(val_str_at(disks, d), image->path))
                e = err_errno(EBUSY, "'%s' is in use by '%s'", image->path, owners[i]);
        free(owners[i]);
    }
    free(owners);
    return e;
}

static struct err *sim_attach(void *disks_data, const struct verb *v, const char *owner,
                              const struct boot_disk *d)
{
    struct sim *s = disks_data;
    TRY(sim_fault(s, "attach"));
    _cleanup_(world_closep) int lock = -1;
    TRY(world_open(s, &lock));
    if (access(d->image.path, R_OK) < 0)
        return err_errno(errno, "cannot open '%s'", d->image.path);
    TRY(check_free(s, owner, &d->image));
    _cleanup_(val_unrefp) struct val *disks = NULL;
    TRY(world_disks(s, owner, &disks));
    char key[12];
    device_key(d->device, key);
    val_put_str(disks, key, d->image.path);
    return world_put_disks(s, owner, disks);
}

static struct err *sim_detach(void *disks_data, const struct verb *v, const char *owner,
                              unsigned device)
{
    struct sim *s = disks_data;
    TRY(sim_fault(s, "detach"));
    _cleanup_(world_closep) int lock = -1;
    TRY(world_open(s, &lock));
    _cleanup_(val_unrefp) struct val *disks = NULL;
    TRY(world_disks(s, owner, &disks));
    char key[12];
    device_key(device, key);
    val_del(disks, key);
    return world_put_disks(s, owner, disks);
}

static struct err *sim_detach_all(void *disks_data, const struct verb *v, const char *owner)
{
    struct sim *s = disks_data;
    TRY(sim_fault(s, "detach_all"));
    _cleanup_(world_closep) int lock = -1;
    TRY(world_open(s, &lock));
    return world_put_disks(s, owner, val_empty_map());
}

static struct err *sim_disks_list(void *disks_data, char ***ret, size_t *ret_n)
{
    struct sim *s = disks_data;
    _cleanup_(world_closep) int lock = -1;
    TRY(world_open(s, &lock));
    return world_names(s->dir, ".disks", ret, ret_n);
}

static char *sim_nbd_path(void *disks_data, const char *owner, unsigned device)
{
    return NULL;
}

static char *sim_file_path(void *disks_data, const char *owner, unsigned device)
{
    struct sim *s = disks_data;
    _cleanup_(world_closep) int lock = -1;
    _cleanup_(val_unrefp) struct val *disks = NULL;
    char key[12];
    device_key(device, key);
    struct err *e = world_open(s, &lock);
    if (!e)
        e = world_disks(s, owner, &disks);
    const char *path = e ? NULL : val_map_str(disks, key, NULL);
    err_free(e);
    return path ? mem_strdup(path) : NULL;
}

static struct err *set_size(const char *path, int flags, const char *format, uint64_t size)
{
    if (str_starts(format, "vhd"))
        size = (size + VHD_UNIT - 1) / VHD_UNIT * VHD_UNIT;
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return err_errno(errno, "cannot make '%s'", path);
    return NULL;
}

static struct err *sim_create(void *disks_data, const struct verb *v, const char *path,
                              const char *format, uint64_t size)
{
    TRY(sim_fault(disks_data, "create"));
    TRY(set_size(path, O_CREAT | O_EXCL, format, size));
    sim_chain_forget(disks_data, path); /* of an earlier file of the same inode */
    return NULL;
}

static struct err *sim_resize(void *disks_data, const struct verb *v, const char *path,
                              const char *format, uint64_t size)
{
    TRY(sim_fault(disks_data, "resize"));
    return set_size(path, 0, format, size);
}

static const char *format_of(const char *path)
{
    const char *format = disk_format_of(path);
    return format ? format : "raw";
}

static struct err *sim_info(void *disks_data, const struct verb *v, const char *path,
                            struct disk_info *ret)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(errno, "cannot open '%s'", path);
    *ret = (struct disk_info){.image = {.vdi = mem_strdup(""),
                                        .path = mem_strdup(path),
                                        .format = mem_strdup(format_of(path)),
                                        .size_bytes = (uint64_t)st.st_size,
                                        .parents = mem_strdup("")},
                              .allocated_bytes = (uint64_t)st.st_blocks * 512};
    struct err *e = sim_chain_info(disks_data, ret);
    if (e)
        disk_info_done(ret);
    return e;
}

/* The world belongs to the hypervisor's side, which frees it. */
static void sim_disks_free(void *disks_data)
{
}

const struct disk_ops sim_disk_ops = {
    .attach = sim_attach,
    .detach = sim_detach,
    .detach_all = sim_detach_all,
    .list = sim_disks_list,
    .nbd_path = sim_nbd_path,
    .file_path = sim_file_path,
    .create = sim_create,
    .resize = sim_resize,
    .info = sim_info,
    .child = sim_child,
    .set_hidden = sim_set_hidden,
    .set_parent = sim_set_parent,
    .coalesce = sim_coalesce,
    .pause = sim_disk_pause,
    .resume = sim_disk_resume,
    .reopen = sim_disk_reopen,
    .mirror = sim_mirror,
    .mirror_finish = sim_mirror_finish,
    .mirror_drop = sim_mirror_drop,
    .switch_to = sim_switch,
    .go_on = sim_go_on,
    .sample = sim_sample_disks,
    .free = sim_disks_free,
};
