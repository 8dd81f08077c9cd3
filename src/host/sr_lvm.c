/*
 * sr_lvm.c: disks as logical volumes of a device, the kinds "lvm", "lvmohba"
 * and "lvmoiscsi" (whose unit is sr_lvm_iscsi.c's).
 *
 * The layout is XenServer's: group VG_XenStorage-<repository>, extents of 4 MiB, VHD-<disk> a VHD
 * that is as large as the disk can ever need ("thick"), LV-<disk> a raw disk. Names of disks are in
 * our database; what XenServer left of them in the volume MGT is read. Metadata is read here and
 * changed by lvm2's tools in cairn-privd; cairn-diskd is told the extents and needs no
 * device-mapper.
 *
 * A volume is made under a name that begins with "new-" and renamed when it is whole; what a crash
 * leaves of that is removed at the next attach. Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "base/vec.h"
#include "codec/mgt.h"
#include "host/disk_format.h"
#include "host/lvm_change.h"
#include "host/lvm_unit.h"
#include "host/sr_lvm.h"
#include "host/sr_net.h"
#include "host/sr_thin.h"

#define GROUP     "VG_XenStorage-"
#define NAMES     "MGT"
#define MIB       (UINT64_C(1) << 20)
#define EXTENT    (4 * MIB)
#define BLOCK     (2 * MIB)
#define TABLES    UINT64_C(4329472) /* of a VHD of 2 TiB, which every one has room for */
#define A_BITMAP  UINT64_C(4096)
#define CLUSTER   UINT64_C(65536) /* of qcow2 */
#define SIZES     "VHD holds 1 byte to 2040 GiB, qcow2 to 16381 GiB"
#define NO_DEVICE "The device cannot be used"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

static struct err *check_paths(const char *text)
{
    struct view rest = view_of(text), item;
    unsigned n = 0;
    for (bool more = true; more;) {
        more = view_split(&rest, ',', &item);
        if (!view_starts(item, "/"))
            return sr_error(SR_DEVICE_INVALID, "The device parameter is not an absolute path",
                            text);
        if (++n > LVM_DEVICES_MAX)
            return sr_error(SR_DEVICE_INVALID, "There are more than 8 devices", text);
    }
    return NULL;
}

/* lvmohba names a unit by its SCSI id: a device path stands in for it, or is found by it. */
static struct err *device_of(const struct sr_ref *sr, char **ret)
{
    bool is_hba = str_eq(sr->type, "lvmohba");
    if (str_eq(sr->type, "lvmoiscsi"))
        return sr_lvm_unit(sr, ret);
    const char *text = config(sr, is_hba ? "SCSIid" : "device");
    if (!text[0])
        return is_hba
                   ? sr_error(SR_LUN_MISSING, "The SCSIid parameter is missing or incorrect", "")
                   : sr_error(SR_DEVICE_MISSING, "The request is missing the device parameter", "");
    if (strpbrk(text, "@+"))
        return sr_error(SR_DEVICE_INVALID,
                        "The device parameter holds a character that is no "
                        "part of a device's name",
                        text);
    if (strchr(text, ',') && is_hba)
        return sr_error(SR_DEVICE_INVALID, "One unit is supported, not several", text);
    if (!is_hba)
        TRY(check_paths(text));
    *ret = text[0] == '/' ? mem_strdup(text) : mem_printf("/dev/disk/by-id/scsi-%s", text);
    return NULL;
}

/* ---- the group ---- */

void sr_lvm_done(struct sr_lvm *g)
{
    lvm_vg_done(&g->vg);
    free(g->device);
    free(g->name);
}

const char *sr_lvm_sr_in(const char *group)
{
    return str_starts(group, GROUP) ? group + strlen(GROUP) : "";
}

/* Reads it anew. */
struct err *sr_lvm_look(struct sr_lvm *g)
{
    const char *why = "";
    lvm_vg_done(&g->vg);
    int r = lvm_group_read(g->device, &g->vg, &why);
    _cleanup_(freep) char *text = r < 0 ? mem_printf("'%s': %s", g->device, why) : NULL;
    if (r < 0)
        return sr_error(SR_UNAVAILABLE, NO_DEVICE, text);
    if (g->name && !str_eq(g->vg.name, g->name)) {
        freep(&text);
        text =
            mem_printf("'%s' has the volume group '%s', not '%s'", g->device, g->vg.name, g->name);
        return sr_error(SR_UNAVAILABLE, "The device is another repository's", text);
    }
    vec_each (pv, &g->vg.pvs)
        if (g->name && !pv->device[0])
            return sr_error(SR_UNAVAILABLE, "A device of the volume group is not there", g->device);
    return NULL;
}

static struct err *group_name(const struct sr_ref *sr, struct sr_lvm *ret)
{
    TRY(device_of(sr, &ret->device));
    ret->name = mem_printf(GROUP "%s", sr->uuid);
    return NULL;
}

struct err *sr_lvm_open(const struct sr_ref *sr, struct sr_lvm *ret)
{
    TRY(group_name(sr, ret));
    return sr_lvm_look(ret);
}

/* Refuses devices that carry anything. */
static struct err *check_blank(struct host *h, const char *devices)
{
    struct view rest = view_of(devices), item;
    for (bool more = true; more;) {
        _cleanup_(freep) char *found = NULL;
        more = view_split(&rest, ',', &item);
        _cleanup_(freep) char *device = view_dup(item);
        TRY(sr_wrap(group_examine(h, device, &found), SR_DEVICE_INVALID,
                    "The device cannot be examined"));
        if (found[0]) {
            _cleanup_(freep) char *text = mem_printf("'%s' %s", device, found);
            return sr_error(SR_IN_USE, "The device is in use or not empty", text);
        }
    }
    return NULL;
}

static struct err *create_group(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    bool force = str_eq(config(sr, "force"), "true");
    TRY(group_name(sr, &g));
    _cleanup_(err_freep) struct err *none = sr_lvm_look(&g);
    if (!none)
        return NULL; /* made by an earlier try */
    if (!force)
        TRY(check_blank(h, g.device));
    return sr_wrap(group_vg_create(h, g.device, g.name, force), SR_GROUP_CREATE,
                   "The volume group cannot be made");
}

static struct err *lvm_create(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    TRY(sr_lvm_unit_attach(h, sr));
    struct err *e = create_group(h, sr);
    if (e)
        sr_lvm_unit_detach(h, sr);
    return e;
}

static void read_volume(struct host *h, const struct verb *v, const struct sr_lvm *g,
                        const struct lvm_lv *lv, const char *as, struct sr_volume *ret);

/* Goes with the repository: what is left of disks, and XenServer's list of names. */
static bool is_left_over(struct host *h, const struct verb *v, const struct sr_lvm *g,
                         const struct lvm_lv *lv)
{
    struct sr_volume vol;
    if (str_starts(lv->name, SR_LVM_NEW) || str_eq(lv->name, NAMES))
        return true;
    if (!str_is_uuid(sr_lvm_uuid_in(lv->name)))
        return false;
    read_volume(h, v, g, lv, lv->name, &vol);
    bool is_hidden = vol.hidden;
    sr_volume_done(&vol);
    return is_hidden;
}

static struct err *check_volumes(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_open(sr, &g));
    vec_each (lv, &g.vg.lvs)
        if (!is_left_over(h, v, &g, lv))
            return sr_error(SR_NOT_EMPTY, "The volume group holds a volume of somebody else",
                            lv->name);
    return NULL;
}

/* Nobody has it attached any more. */
static struct err *lvm_check_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    TRY(sr_lvm_unit_attach(h, sr));
    struct err *e = check_volumes(h, v, sr);
    sr_lvm_unit_detach(h, sr);
    return e;
}

static struct err *destroy_group(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_open(sr, &g));
    vec_each (lv, &g.vg.lvs)
        if (is_left_over(h, v, &g, lv))
            TRY(sr_wrap(group_lv_remove(h, g.device, g.name, lv->name), SR_VDI_DELETE,
                        "What is left of a disk cannot be removed"));
    return sr_wrap(group_vg_remove(h, g.device, g.name), SR_VDI_DELETE,
                   "The volume group cannot be removed");
}

static struct err *lvm_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    TRY(sr_lvm_unit_attach(h, sr));
    struct err *e = destroy_group(h, v, sr);
    sr_lvm_unit_detach(h, sr);
    return e;
}

static struct err *lvm_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_unit_attach(h, sr));
    TRY(sr_lvm_open(sr, &g));
    vec_each (lv, &g.vg.lvs)
        if (str_starts(lv->name, SR_LVM_NEW))
            TRY(sr_wrap(group_lv_remove(h, g.device, g.name, lv->name), SR_VDI_DELETE,
                        "What is left of a disk cannot be removed"));
    return sr_wrap(sr_lvm_settle(h, &g), SR_GENERAL, "What is left of a disk cannot be settled");
}

static struct err *lvm_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    sr_lvm_unit_detach(h, sr);
    return NULL;
}

static uint64_t group_bytes(const struct sr_lvm *g)
{
    uint64_t extents = 0;
    for (size_t i = 0; i < g->vg.pvs.n; i++)
        extents += g->vg.pvs.v[i].extents;
    return extents * g->vg.extent_size;
}

static struct err *lvm_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_open(sr, &g));
    *ret = (struct sr_stat){.size_bytes = group_bytes(&g)};
    ret->used_bytes = ret->size_bytes - lvm_vg_free(&g.vg) * g.vg.extent_size;
    return NULL;
}

static struct err *probe_device(const struct sr_ref *sr, char **ret)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    struct sr_xml x;
    TRY(device_of(sr, &g.device));
    _cleanup_(err_freep) struct err *none = sr_lvm_look(&g);
    sr_xml_begin(&x, "SRlist");
    if (!none && str_starts(g.vg.name, GROUP)) {
        char size[24], left[24];
        uint64_t bytes = 0;
        vec_each (pv, &g.vg.pvs)
            bytes += pv->extents * g.vg.extent_size;
        snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
        snprintf(left, sizeof(left), "%llu",
                 (unsigned long long)(lvm_vg_free(&g.vg) * g.vg.extent_size));
        sr_xml_open(&x, "SR");
        sr_xml_text(&x, "UUID", g.vg.name + strlen(GROUP));
        sr_xml_text(&x, "Devlist", lvm_unit_is(g.device) ? config(sr, "SCSIid") : g.device);
        sr_xml_text(&x, "size", size);
        sr_xml_text(&x, "free", left);
        sr_xml_close(&x, "SR");
    }
    *ret = sr_xml_end(&x, "SRlist");
    return NULL;
}

static struct err *lvm_probe(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             char **ret)
{
    TRY(sr_lvm_unit_attach(h, sr));
    struct err *e = probe_device(sr, ret);
    sr_lvm_unit_detach(h, sr);
    return e;
}

/* ---- volumes ---- */

static const struct form {
    const char *prefix, *format;
} forms[] = {{"VHD-", "vhd"}, {"QCOW2-", "qcow2"}, {"LV-", "raw"}};

static const struct form *form_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (str_starts(name, forms[i].prefix))
            return &forms[i];
    return NULL;
}

const char *sr_lvm_uuid_in(const char *name)
{
    const struct form *f = form_of(name);
    return f ? name + strlen(f->prefix) : "";
}

const char *sr_lvm_format_in(const char *name)
{
    const struct form *f = form_of(name);
    return f ? f->format : "";
}

char *sr_lvm_location(const char *uuid, const char *format)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (str_eq(format, forms[i].format) && disk_has_chain(format))
            return mem_printf("%s%s", forms[i].prefix, uuid);
    return NULL;
}

static uint64_t parts(uint64_t size, uint64_t of)
{
    return (size + of - 1) / of;
}

/* Clusters, tables that name them and their reference counts; as much again as the tables take is
 * for what a resize or a death leaves unused. */
static uint64_t qcow2_bytes(uint64_t size)
{
    uint64_t clusters = parts(size, CLUSTER), tables = parts(clusters, CLUSTER / 8);
    uint64_t first = parts(tables, CLUSTER / 8), counts = parts(clusters + tables, CLUSTER / 2);
    return (clusters + 2 * (tables + first + counts)) * CLUSTER + EXTENT;
}

/* Full: with room for every block that the disk will ever have. */
uint64_t sr_lvm_full_size(const char *format, uint64_t size)
{
    uint64_t bytes = str_eq(format, "raw")     ? size
                     : str_eq(format, "qcow2") ? qcow2_bytes(size)
                                               : size + TABLES + parts(size, BLOCK) * A_BITMAP;
    return parts(bytes, EXTENT) * EXTENT;
}

uint64_t sr_lvm_first_size(const struct sr_ref *sr, const struct sr_lvm *g,
                           const struct val *sm_config, const char *format, uint64_t size)
{
    struct sr_thin t;
    uint64_t full = sr_lvm_full_size(format, size);
    sr_thin_of(sr->sm_config, sm_config, group_bytes(g), &t);
    return t.on && str_eq(format, "vhd") ? sr_thin_first(&t, size, full) : full;
}

char *sr_lvm_name_in(const char *path)
{
    struct view rest = view_of(path ? path : ""), name;
    if (!view_split(&rest, ':', &name) || !view_split(&rest, ':', &name))
        return mem_strdup("");
    return view_dup(name);
}

/* XenServer's way of hiding a raw base copy. */
static bool is_tagged_hidden(const struct lvm_lv *lv)
{
    for (size_t i = 0; i < lv->tags.n; i++)
        if (str_eq(lv->tags.v[i], "hidden"))
            return true;
    return false;
}

/* `as`: its location, which may be another name than it has at the moment. */
static void read_volume(struct host *h, const struct verb *v, const struct sr_lvm *g,
                        const struct lvm_lv *lv, const char *as, struct sr_volume *ret)
{
    struct disk_info info = {0};
    uint64_t bytes = lv->extents * g->vg.extent_size;
    bool is_raw = str_eq(sr_lvm_format_in(as), "raw");
    char *path = lvm_group_path(&g->vg, lv, as);
    _cleanup_(err_freep) struct err *e =
        path && !is_raw ? h->disks->info(h->disks_data, v, path, &info) : NULL;
    const char *problem = !path ? "it is not linear on the devices that are known"
                          : e   ? err_param(e, 0)
                                : "";
    *ret = (struct sr_volume){.uuid = mem_strdup(sr_lvm_uuid_in(as)),
                              .location = mem_strdup(as),
                              .name = mem_strdup(""),
                              .path = path ? path : mem_strdup(""),
                              .format = mem_strdup(sr_lvm_format_in(as)),
                              .problem = mem_strdup(problem),
                              .virtual_bytes = is_raw ? bytes : info.image.size_bytes,
                              .physical_bytes = bytes,
                              .own_bytes = info.own_bytes,
                              .readonly = !lv->is_writable,
                              .parent = sr_lvm_name_in(info.parent),
                              .hidden = info.hidden || (is_raw && is_tagged_hidden(lv)),
                              .is_written = is_raw || e || info.is_written};
    disk_info_done(&info);
}

/* ---- XenServer's list of names ---- */

/* Empty where there is none, or none that can be read. */
static void read_names(const struct sr_lvm *g, struct mgt *ret)
{
    const struct lvm_lv *lv = lvm_vg_find(&g->vg, NAMES);
    uint8_t head[MGT_SECTOR];
    uint64_t size;
    *ret = (struct mgt){0};
    if (!lv || lvm_group_pread(&g->vg, lv, head, sizeof(head)) < 0 ||
        mgt_parse_size(head, &size) < 0)
        return;
    _cleanup_(freep) char *bytes = mem_new_n(char, size + 1);
    if (lvm_group_pread(&g->vg, lv, bytes, size) == 0)
        mgt_parse((struct view){bytes, size}, ret);
}

static void name_volume(struct sr_volume *vol, const struct mgt *names)
{
    const struct mgt_vdi *m = mgt_find(names, vol->uuid);
    if (!m)
        return;
    free(vol->name);
    vol->name = mem_strdup(m->name);
    vol->description = mem_strdup(m->description);
    vol->snapshot_of = mem_strdup(m->snapshot_of);
    vol->is_snapshot = m->is_snapshot;
    vol->snapshot_time = m->snapshot_time;
}

static struct err *lvm_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            struct sr_volume **ret, size_t *ret_n)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    _cleanup_(mgt_done) struct mgt names = {0};
    VEC(struct sr_volume) found = {0};
    TRY(sr_lvm_open(sr, &g));
    read_names(&g, &names);
    vec_each (lv, &g.vg.lvs) {
        struct sr_volume vol;
        _cleanup_(freep) char *as = sr_lvm_name_of(&g, lv);
        if (!as)
            continue;
        struct err *e = verb_check(v, "scanning the repository");
        if (e) {
            sr_volumes_free(found.v, found.n);
            return e;
        }
        read_volume(h, v, &g, lv, as, &vol);
        name_volume(&vol, &names);
        vec_push(&found, vol);
    }
    *ret = found.v;
    *ret_n = found.n;
    return NULL;
}

struct err *sr_lvm_find(const struct sr_lvm *g, const char *location, const struct lvm_lv **ret)
{
    *ret = str_is_uuid(sr_lvm_uuid_in(location)) ? lvm_group_find(&g->vg, location) : NULL;
    return *ret ? NULL : sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", location);
}

static struct err *lvm_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                                struct sr_volume *ret)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    const struct lvm_lv *lv = NULL;
    struct verb v = {0};
    TRY(sr_lvm_open(sr, &g));
    TRY(sr_lvm_find(&g, location, &lv));
    read_volume(h, &v, &g, lv, location, ret);
    return NULL;
}

struct err *sr_lvm_need(const struct sr_lvm *g, uint64_t need)
{
    uint64_t left = lvm_vg_free(&g->vg) * g->vg.extent_size;
    if (need <= left)
        return NULL;
    _cleanup_(freep) char *text =
        mem_printf("%llu MiB are needed, %llu are free", (unsigned long long)(need / MIB),
                   (unsigned long long)(left / MIB));
    return sr_error(SR_NO_SPACE, "There is insufficient space", text);
}

struct err *sr_lvm_path(const struct sr_lvm *g, const struct lvm_lv *lv, const char *as, char **ret)
{
    *ret = lv ? lvm_group_path(&g->vg, lv, as) : NULL;
    return *ret ? NULL : err_internal("the volume '%s' is in too many pieces", as);
}

/* A volume under the name `new`, with an empty image in it. */
static struct err *fill_new(struct host *h, const struct verb *v, struct sr_lvm *g, const char *new,
                            const char *format, uint64_t size, uint64_t bytes)
{
    if (lvm_vg_find(&g->vg, new)) {
        TRY(group_lv_remove(h, g->device, g->name, new));
        TRY(sr_lvm_look(g));
    }
    TRY(sr_lvm_need(g, bytes));
    TRY(group_lv_create(h, g->device, g->name, new, bytes));
    TRY(sr_lvm_look(g));
    _cleanup_(freep) char *path = NULL;
    TRY(sr_lvm_path(g, lvm_vg_find(&g->vg, new), new, &path));
    return h->disks->create(h->disks_data, v, path, format, size);
}

static struct err *make_volume(struct host *h, const struct verb *v, struct sr_lvm *g,
                               const char *name, const char *new, uint64_t size, uint64_t bytes)
{
    struct err *e = fill_new(h, v, g, new, sr_lvm_format_in(name), size, bytes);
    if (!e)
        e = group_lv_rename(h, g->device, g->name, new, name);
    if (e && !sr_lvm_look(g) && lvm_vg_find(&g->vg, new))
        e = err_first(e, group_lv_remove(h, g->device, g->name, new));
    return e ? e : sr_lvm_look(g);
}

static struct err *lvm_vdi_create(struct host *h, const struct verb *v, const struct sr_ref *sr,
                                  const char *uuid, uint64_t size, const struct val *sm_config,
                                  struct sr_volume *ret)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    const char *format = disk_format_for(sm_config, sr->device_config, size);
    _cleanup_(freep) char *name = format ? sr_lvm_location(uuid, format) : NULL;
    _cleanup_(freep) char *new = mem_printf(SR_LVM_NEW "%s", uuid);
    if (!name)
        return sr_error(SR_VDI_CREATE, "VDI Creation failed", "image-format is vhd or qcow2");
    if (!size || size > disk_size_max(format))
        return sr_error(SR_VDI_SIZE, "VDI Invalid size", SIZES);
    TRY(sr_lvm_open(sr, &g));
    if (!lvm_vg_find(&g.vg, name))
        TRY(sr_wrap(make_volume(h, v, &g, name, new, size,
                                sr_lvm_first_size(sr, &g, sm_config, format, size)),
                    SR_VDI_CREATE, "VDI Creation failed"));
    const struct lvm_lv *lv = NULL;
    TRY(sr_lvm_find(&g, name, &lv));
    read_volume(h, v, &g, lv, name, ret);
    return NULL;
}

static struct err *lvm_vdi_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                                  const char *location)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_open(sr, &g));
    if (!str_is_uuid(sr_lvm_uuid_in(location)) || !lvm_vg_find(&g.vg, location))
        return NULL;
    return sr_wrap(group_lv_remove(h, g.device, g.name, location), SR_VDI_DELETE,
                   "VDI Deletion failed");
}

static bool is_thin(const struct sr_ref *sr)
{
    struct sr_thin t;
    sr_thin_of(sr->sm_config, NULL, 0, &t);
    return t.on;
}

/* The volume first, then the image in it: a larger volume around a smaller image does no harm. */
static struct err *grow(struct host *h, const struct verb *v, const struct sr_ref *sr,
                        struct sr_lvm *g, const char *name, uint64_t size)
{
    const struct lvm_lv *lv = NULL;
    TRY(sr_lvm_find(g, name, &lv));
    const char *format = sr_lvm_format_in(name);
    if (str_eq(format, "raw"))
        return sr_error(SR_VDI_RESIZE, "VDI Resize failed",
                        "what others left on the device would be read behind a raw disk's end");
    uint64_t has = lv->extents * g->vg.extent_size, need = sr_lvm_full_size(format, size);
    if (need > has && !(is_thin(sr) && str_eq(format, "vhd"))) {
        TRY(sr_lvm_need(g, need - has));
        TRY(group_lv_extend(h, g->device, g->name, name, need));
        TRY(sr_lvm_look(g));
        TRY(sr_lvm_find(g, name, &lv));
    }
    _cleanup_(freep) char *path = NULL;
    TRY(sr_lvm_path(g, lv, name, &path));
    return h->disks->resize(h->disks_data, v, path, format, size);
}

static struct err *lvm_vdi_resize(struct host *h, const struct verb *v, const struct sr_ref *sr,
                                  const char *location, uint64_t size, struct sr_volume *ret)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    const struct lvm_lv *lv = NULL;
    struct sr_volume now = {0};
    TRY(sr_lvm_open(sr, &g));
    TRY(sr_lvm_find(&g, location, &lv));
    read_volume(h, v, &g, lv, location, &now);
    struct err *e = NULL;
    if (size < now.virtual_bytes || size > disk_size_max(now.format))
        e = sr_error(SR_VDI_SIZE, "VDI Invalid size", "a disk grows only; " SIZES);
    else if (size > now.virtual_bytes)
        e = grow(h, v, sr, &g, location, size);
    sr_volume_done(&now);
    if (e)
        return sr_wrap(e, SR_VDI_RESIZE, "VDI Resize failed");
    TRY(sr_lvm_find(&g, location, &lv));
    read_volume(h, v, &g, lv, location, ret);
    return NULL;
}

static const char *const features[] = {
    "SR_PROBE",   "SR_UPDATE",    "VDI_CREATE",        "VDI_DELETE",          "VDI_ATTACH",
    "VDI_DETACH", "VDI_RESIZE",   "VDI_UPDATE",        "VDI_ACTIVATE",        "VDI_DEACTIVATE",
    "VDI_CLONE",  "VDI_SNAPSHOT", "VDI_RESIZE_ONLINE", "VDI_RESET_ON_BOOT/2", NULL};
static const char *const formats[] = {"vhd", "qcow2", NULL};
static const char *const lvm_config[][2] = {
    {"device", "block device to make a volume group of, or several: /dev/a,/dev/b"},
    {"force", "true: whatever the device carries"},
    {NULL, NULL}};
static const char *const hba_config[][2] = {
    {"SCSIid", "SCSI id of the unit, or the path of its device"},
    {"force", "true: whatever the unit carries"},
    {NULL, NULL}};

static const char *const iscsi_config[][2] = {
    {"target", "name or address of the iSCSI target"},
    {"targetIQN", "IQN of the target"},
    {"SCSIid", "SCSI id of the unit to make a volume group of"},
    {"port", "port of the target, 3260 if none is given"},
    {"chapuser", "name for CHAP"},
    {"chappassword", "secret for CHAP"},
    {"multihomed", "accepted, without effect"},
    {"usediscoverynumber", "accepted, without effect"},
    {"force", "true: whatever the unit carries"},
    {NULL, NULL}};

#define VERBS                                                                                      \
    .content_type = "user", .features = features, .probe = lvm_probe, .create = lvm_create,        \
    .destroy = lvm_destroy, .check_destroy = lvm_check_destroy, .attach = lvm_attach,              \
    .detach = lvm_detach, .scan = lvm_scan, .stat = lvm_stat, .vdi_create = lvm_vdi_create,        \
    .vdi_delete = lvm_vdi_delete, .vdi_resize = lvm_vdi_resize, .vdi_info = lvm_vdi_info,          \
    .formats = formats, SR_LVM_CHAINS

const struct sr_kind sr_kind_lvm = {
    .type = "lvm",
    .name = "Local LVM",
    .description = "Disks as VHD and qcow2 on logical volumes of a local device",
    .config = lvm_config,
    VERBS,
};

const struct sr_kind sr_kind_lvmohba = {
    .type = "lvmohba",
    .name = "LVM over HBA",
    .description = "Disks as VHD and qcow2 on logical volumes of a unit behind a host bus adapter",
    .config = hba_config,
    .shared = true,
    VERBS,
};

const struct sr_kind sr_kind_lvmoiscsi = {
    .type = "lvmoiscsi",
    .name = "LVM over iSCSI",
    .description = "Disks as VHD and qcow2 on logical volumes of a unit of an iSCSI target",
    .config = iscsi_config,
    .shared = true,
    VERBS,
};
