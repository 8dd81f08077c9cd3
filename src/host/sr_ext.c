/*
 * sr_ext.c: see sr_ext.h. Called by sr_file.c on operation threads.
 *
 * Ours is on the device itself. XenServer's is on a logical volume, of the repository's name in the
 * group XSLocalEXT-<repository>: that is found here, and when it is in one piece cairn-privd mounts
 * that part of the device. No device-mapper is needed, and lvm2 is not asked.
 */
#include "host/sr_ext.h"

#include "base/str.h"
#include "host/lvm_group.h"
#include "host/priv.h"

#define GROUP   "XSLocalEXT-"
#define PROBLEM "The file system cannot be mounted"

struct place {
    const char *device;
    uint64_t offset, size; /* size 0: the whole device */
};

static struct err *refuse(const char *device, const struct lvm_vg *vg, const char *why)
{
    _cleanup_(freep) char *text =
        mem_printf("'%s' has the volume group '%s', %s: activate its logical volume with lvm2 and "
                   "give that as device-config:device",
                   device, vg->name, why);
    return sr_error(SR_FS_MOUNT, PROBLEM, text);
}

static struct err *find_volume(const struct sr_ref *sr, const char *device, const struct lvm_vg *vg,
                               struct place *ret)
{
    _cleanup_(freep) char *group = mem_printf(GROUP "%s", sr->uuid);
    const struct lvm_lv *lv = lvm_vg_find(vg, sr->uuid);
    if (!str_eq(vg->name, group) || !lv)
        return refuse(device, vg, "which is not this repository's");
    const struct lvm_segment *seg = lv->segments.n == 1 ? &lv->segments.v[0] : NULL;
    if (!lv->is_plain || !seg || seg->stripes.n != 1)
        return refuse(device, vg, "whose volume is in several pieces");
    const struct lvm_pv *pv = &vg->pvs.v[seg->stripes.v[0].pv];
    if (!pv->device[0])
        return refuse(device, vg, "whose volume is on a device that is not there");
    ret->device = pv->device;
    ret->offset = pv->start + seg->stripes.v[0].extent * vg->extent_size;
    ret->size = seg->extents * vg->extent_size;
    return NULL;
}

struct err *sr_ext_mount(struct host *h, const struct sr_ref *sr, const char *device,
                         const char *dir)
{
    _cleanup_(lvm_vg_done) struct lvm_vg vg = {0};
    struct place p = {.device = device};
    const char *why;
    if (lvm_group_read(device, &vg, &why) == 0)
        TRY(find_volume(sr, device, &vg, &p));
    return sr_wrap(priv_mount(h->privd, p.device, p.offset, p.size, dir), SR_FS_MOUNT, PROBLEM);
}
