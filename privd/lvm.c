/*
 * lvm.c: volume groups and logical volumes of repositories, changed by lvm2's own tools.
 *
 * Called in a worker. A tool sees the devices of one group, tells device-mapper nothing (activation
 * is off: the data path maps extents itself) and keeps no copies below /etc. Groups and volumes of
 * others are out of reach: a group's name must be that of a repository (rule_group), and a device
 * is only made one when it is blank.
 */
#include <string.h>

#include "base/str.h"
#include "base/vec.h"
#include "privd/device.h"
#include "privd/run.h"
#include "privd/verbs.h"

#define LVM     "/usr/sbin/lvm"
#define WORDS   16
#define SECONDS 50

/* As XenServer makes them. */
#define METADATA "10M"
#define EXTENT   "4M"

/* The devices of a group. */
struct devices {
    VEC(struct device) list;
    char *accept; /* lvm.conf's patterns, each with a comma behind it */
};

static void devices_done(struct devices *all)
{
    vec_each (d, &all->list)
        device_done(d);
    vec_done(&all->list);
    free(all->accept);
}

static struct err *find_devices(const struct request *r, struct devices *ret)
{
    struct view rest = view_of(request_str(r, "device")), item;
    ret->accept = mem_strdup("");
    for (bool more = true; more;) {
        struct device d = {0};
        more = view_split(&rest, ',', &item);
        _cleanup_(freep) char *path = view_dup(item);
        TRY(device_find(path, &d));
        vec_push(&ret->list, d);
        if (strpbrk(d.path, "\"\\|^$*.[]()"))
            return err_internal("the device's name cannot be told to lvm2");
        char *longer = mem_printf("%s\"a|^%s$|\",", ret->accept, d.path);
        free(ret->accept);
        ret->accept = longer;
    }
    return NULL;
}

/* The words end with NULL; the first is the tool's name. */
static struct err *run_lvm(const struct devices *all, const char *const *words)
{
    _cleanup_(freep) char *config =
        mem_printf("devices { use_devicesfile=0 filter=[%s\"r|.*|\"] } "
                   "global { activation=0 notify_dbus=0 } backup { backup=0 archive=0 }",
                   all->accept);
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

#define LVM_DO(all, ...) run_lvm((all), (const char *const[]){__VA_ARGS__, NULL})

static struct err *make_blank(const struct device *d, bool force)
{
    _cleanup_(freep) char *content = NULL;
    TRY(device_check_free(d));
    if (force)
        TRY(device_wipe(d));
    TRY(device_content(d, &content, NULL));
    return content[0] ? err_internal("'%s' %s", d->path, content) : NULL;
}

/* Nothing is made before all of them are looked at. */
static struct err *make_group(struct devices *all, const char *group, bool force)
{
    const char *words[WORDS + 1] = {"vgcreate", "-qq", "-s", EXTENT, group};
    size_t n = 5;
    vec_each (d, &all->list)
        TRY(device_check_free(d));
    vec_each (d, &all->list)
        TRY(make_blank(d, force));
    vec_each (d, &all->list) {
        TRY(LVM_DO(all, "pvcreate", "-qq", "-y", "--metadatasize", METADATA, d->path));
        words[n++] = d->path;
    }
    return run_lvm(all, words);
}

/* Without force: a group with volumes in it stays. */
static struct err *drop_group(struct devices *all, const char *group)
{
    TRY(LVM_DO(all, "vgremove", "-qq", group));
    vec_each (d, &all->list)
        TRY(LVM_DO(all, "pvremove", "-qq", "-y", d->path));
    return NULL;
}

struct err *verb_vg_create(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    TRY(find_devices(r, &all));
    return make_group(&all, request_str(r, "group"), request_bool(r, "force"));
}

struct err *verb_vg_remove(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    TRY(find_devices(r, &all));
    return drop_group(&all, request_str(r, "group"));
}

struct err *verb_lv_create(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    _cleanup_(freep) char *size = mem_printf("%llub", (unsigned long long)request_int(r, "size"));
    TRY(find_devices(r, &all));
    return LVM_DO(&all, "lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", size, "-n",
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
    _cleanup_(devices_done) struct devices all = {0};
    _cleanup_(freep) char *size = mem_printf("%llub", (unsigned long long)request_int(r, "size"));
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(find_devices(r, &all));
    return LVM_DO(&all, "lvextend", "-qq", "-L", size, name);
}

/* What is behind the new end is somebody else's from now on: the caller knows that it can go. */
struct err *verb_lv_reduce(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    _cleanup_(freep) char *size = mem_printf("%llub", (unsigned long long)request_int(r, "size"));
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(find_devices(r, &all));
    return LVM_DO(&all, "lvreduce", "-qq", "-f", "-y", "-L", size, name);
}

struct err *verb_lv_writable(const struct place *p, const struct request *r, struct val *answer,
                             int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(find_devices(r, &all));
    return LVM_DO(&all, "lvchange", "-qq", "-y", "-p", "rw", name);
}

struct err *verb_lv_rename(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    TRY(find_devices(r, &all));
    return LVM_DO(&all, "lvrename", "-qq", request_str(r, "group"), request_str(r, "volume"),
                  request_str(r, "to"));
}

struct err *verb_lv_remove(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)p, (void)answer, (void)ret_fd;
    _cleanup_(devices_done) struct devices all = {0};
    _cleanup_(freep) char *name = full_name(r, "volume");
    TRY(find_devices(r, &all));
    return LVM_DO(&all, "lvremove", "-qq", "-f", "-y", name);
}
