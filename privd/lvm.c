/*
 * lvm.c: volume groups and logical volumes of repositories, changed by lvm2's own tools.
 *
 * Called in a worker. A tool sees one device, tells device-mapper nothing (activation is off: the
 * data path maps extents itself) and keeps no copies below /etc. Groups and volumes of others are
 * out of reach: a group's name must be that of a repository (rule_group), and a device is only
 * made one when it is blank.
 */
#include <string.h>

#include "base/str.h"
#include "privd/device.h"
#include "privd/run.h"
#include "privd/verbs.h"

#define LVM     "/usr/sbin/lvm"
#define WORDS   16
#define SECONDS 50

/* As XenServer makes them. */
#define METADATA "10M"
#define EXTENT   "4M"

static char *config_of(const char *device)
{
    return mem_printf("devices { use_devicesfile=0 filter=[\"a|^%s$|\",\"r|.*|\"] } "
                      "global { activation=0 notify_dbus=0 } backup { backup=0 archive=0 }",
                      device);
}

/* The words end with NULL; the first is the tool's name. */
static struct err *run_lvm(const char *device, const char *const *words)
{
    if (strpbrk(device, "\"\\|^$*.[]()"))
        return err_internal("the device's name cannot be told to lvm2");
    _cleanup_(freep) char *config = config_of(device);
    const char *argv[WORDS + 4] = {LVM};
    size_t n = 1;
    while (n <= WORDS && words[n - 1]) {
        argv[n] = words[n - 1];
        n++;
    }
    argv[n++] = "--config";
    argv[n] = config;
    struct run_spec spec = {.argv = argv, .seconds = SECONDS};
    return run_tool(&spec, words[0]);
}

#define LVM_DO(device, ...) run_lvm((device), (const char *const[]){__VA_ARGS__, NULL})

static struct err *make_group(const struct device *d, const char *group, bool force)
{
    _cleanup_(freep) char *content = NULL;
    TRY(device_check_free(d));
    if (force)
        TRY(device_wipe(d));
    TRY(device_content(d, &content, NULL));
    if (content[0])
        return err_internal("'%s' %s", d->path, content);
    TRY(LVM_DO(d->path, "pvcreate", "-qq", "-y", "--metadatasize", METADATA, d->path));
    return LVM_DO(d->path, "vgcreate", "-qq", "-s", EXTENT, group, d->path);
}

static struct err *drop_group(const struct device *d, const char *group)
{
    TRY(LVM_DO(d->path, "vgremove", "-qq", "-f", "-y", group));
    return LVM_DO(d->path, "pvremove", "-qq", "-y", d->path);
}

struct err *verb_vg_create(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    TRY(device_find(request_str(r, "device"), &d));
    return make_group(&d, request_str(r, "group"), request_bool(r, "force"));
}

struct err *verb_vg_remove(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    TRY(device_find(request_str(r, "device"), &d));
    return drop_group(&d, request_str(r, "group"));
}

struct err *verb_lv_create(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(freep) char *size = mem_printf("%llub", (unsigned long long)request_int(r, "size"));
    TRY(device_find(request_str(r, "device"), &d));
    return LVM_DO(d.path, "lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", size, "-n",
                  request_str(r, "volume"), request_str(r, "group"));
}

static char *full_name(const struct request *r, const char *volume)
{
    return mem_printf("%s/%s", request_str(r, "group"), request_str(r, volume));
}

struct err *verb_lv_extend(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(freep) char *size = mem_printf("%llub", (unsigned long long)request_int(r, "size"));
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(device_find(request_str(r, "device"), &d));
    return LVM_DO(d.path, "lvextend", "-qq", "-L", size, name);
}

/* What is behind the new end is somebody else's from now on: the caller knows that it can go. */
struct err *verb_lv_reduce(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(freep) char *size = mem_printf("%llub", (unsigned long long)request_int(r, "size"));
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(device_find(request_str(r, "device"), &d));
    return LVM_DO(d.path, "lvreduce", "-qq", "-f", "-y", "-L", size, name);
}

struct err *verb_lv_writable(const struct place *p, const struct request *r, struct val *answer,
                             int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(device_find(request_str(r, "device"), &d));
    return LVM_DO(d.path, "lvchange", "-qq", "-y", "-p", "rw", name);
}

struct err *verb_lv_rename(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    TRY(device_find(request_str(r, "device"), &d));
    return LVM_DO(d.path, "lvrename", "-qq", request_str(r, "group"), request_str(r, "volume"),
                  request_str(r, "to"));
}

struct err *verb_lv_remove(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(device_find(request_str(r, "device"), &d));
    return LVM_DO(d.path, "lvremove", "-qq", "-f", "-y", name);
}
