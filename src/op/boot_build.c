/*
 * boot_build.c: from a VM's settings to its boot record.
 *
 * What the keys of platform, HVM_boot_params and VCPUs_params mean is said here and nowhere else.
 * The image paths are asked of the storage; everything else is a pure function of the snapshot and
 * the host's capabilities.
 */
#include <stdio.h>
#include <string.h>

#include "host/sr_thin.h"
#include "host/sr_tune.h"
#include "op/local_cache.h"
#include "op/read_cache.h"
#include "op/vdi_cbt.h"
#include "op/vdi_on_boot.h"
#include "op/world.h"

#define DEFAULT_ORDER "cd"

static bool is_true(const struct val *map, const char *key, bool otherwise)
{
    const char *v = val_map_str(map, key, NULL);
    return v ? str_eq(v, "true") || str_eq(v, "1") : otherwise;
}

static int64_t int_key(const struct val *map, const char *key, int64_t otherwise)
{
    int64_t n;
    const char *v = val_map_str(map, key, NULL);
    return v && str_i64(view_of(v), INT32_MIN, INT32_MAX, &n) == 0 ? n : otherwise;
}

static void put(char **slot, const char *text)
{
    free(*slot);
    *slot = mem_strdup(text);
}

/* ---- the machine ---- */

static struct err *set_firmware(struct boot *b, const struct rec_VM *vm,
                                const struct host_caps *caps)
{
    if (*vm->PV_kernel && !*vm->HVM_boot_policy) {
        b->firmware = BOOT_DIRECT;
        put(&b->kernel, vm->PV_kernel);
        put(&b->ramdisk, vm->PV_ramdisk);
        put(&b->args, vm->PV_args);
        return NULL;
    }
    const char *name = val_map_str(vm->HVM_boot_params, "firmware", "bios");
    b->firmware = str_eq(name, "uefi") ? BOOT_UEFI : BOOT_BIOS;
    if (b->firmware == BOOT_UEFI && !caps->uefi)
        return err_VM_HOST_INCOMPATIBLE_VERSION(vm->resident_on, vm->row.ref);
    b->secure_boot = b->firmware == BOOT_UEFI && is_true(vm->platform, "secureboot", false);
    return NULL;
}

static void set_order(struct boot *b, const struct rec_VM *vm)
{
    const char *order = val_map_str(vm->HVM_boot_params, "order", "");
    char clean[8];
    size_t n = 0;
    for (; *order && n + 1 < sizeof(clean); order++) {
        if (strchr("cdn", *order) && !memchr(clean, *order, n))
            clean[n++] = *order;
    }
    clean[n] = '\0';
    put(&b->order, n ? clean : DEFAULT_ORDER);
}

static void set_cpus(struct boot *b, const struct rec_VM *vm)
{
    int64_t max = vm->VCPUs_max > 0 ? vm->VCPUs_max : 1;
    int64_t now = vm->VCPUs_at_startup > 0 ? vm->VCPUs_at_startup : 1;
    int64_t cores = int_key(vm->platform, "cores-per-socket", 1);
    const char *mask = val_map_str(vm->VCPUs_params, "mask", "");
    if (boot_mask_is_valid(mask))
        put(&b->cpu_mask, mask);
    b->cpus_max = (unsigned)max;
    b->cpus = (unsigned)(now < max ? now : max);
    b->cores_per_socket = cores > 0 && max % cores == 0 ? (unsigned)cores : 1;
}

static void set_machine(struct boot *b, const struct rec_VM *vm, const struct host_caps *caps)
{
    put(&b->machine, caps->machine);
    put(&b->accel, caps->accel);
    put(&b->cpu, caps->cpu);
    b->acpi = is_true(vm->platform, "acpi", true);
    b->hyperv = is_true(vm->platform, "viridian", false);
    b->memory_bytes = place_memory_of(vm) - (uint64_t)vm->memory_overhead;
    b->rtc_offset_s = int_key(vm->platform, "timeoffset", 0);
    b->vnc = is_true(vm->platform, "vga", true);
    put(&b->keymap, val_map_str(vm->platform, "keymap", ""));
}

/* ---- devices ---- */

static enum boot_bus bus_of(const struct rec_VM *vm)
{
    return str_eq(val_map_str(vm->platform, "device-bus", "virtio"), "emulated") ? BOOT_EMULATED
                                                                                 : BOOT_VIRTIO;
}

struct err *boot_build_image(struct op *op, const struct snap *s, const struct rec_VDI *vdi,
                             bool readonly, struct image *ret)
{
    const struct rec_SR *sr;
    struct sr_ref ref;
    struct sr_volume vol = {0};
    TRY(cbt_need_data(vdi));
    TRY(need_SR(s, vdi->SR, &sr));
    TRY(sr_ref_of(s, sr, true, &ref));
    TRY(sr_vdi_info(op->host, &ref, vdi->location, &vol));
    *ret = (struct image){.vdi = mem_strdup(vdi->uuid),
                          .path = mem_strdup(vol.path),
                          .format = mem_strdup(vol.format),
                          .size_bytes = vol.virtual_bytes,
                          .readonly = readonly || vol.readonly || vdi->read_only};
    sr_tune_image(op->host, sr->uuid, sr->other_config, ret);
    sr_thin_image(sr->sm_config, vdi->sm_config, (uint64_t)sr->physical_size, ret);
    read_cache_choose(sr, vdi, ret);
    sr_volume_done(&vol);
    return NULL;
}

/* Of the algorithm "ratelimit", as for VIFs: kbps is KiB a second, iops requests a second. What is
 * no number is no limit. */
static uint64_t limit_of(const struct rec_VBD *vbd, const char *key, uint64_t unit)
{
    uint64_t n;
    const char *text = val_map_str(vbd->qos_algorithm_params, key, "");
    if (!str_eq(vbd->qos_algorithm_type, "ratelimit") ||
        str_u64(view_of(text), 1, INT64_MAX / unit, &n) < 0)
        return 0;
    return n * unit;
}

struct err *boot_build_disk(struct op *op, const struct snap *s, const struct rec_VBD *vbd,
                            struct boot_disk **ret)
{
    const struct rec_VM *vm;
    unsigned number;
    TRY(need_VM(s, vbd->VM, &vm));
    if (!device_number(vbd->userdevice, &number))
        return err_INVALID_DEVICE(vbd->userdevice);
    bool cd = vbd->type == VBD_TYPE_CD;
    struct image image = {0};
    if (vbd->empty || ref_is_null(vbd->VDI)) {
        image = (struct image){.vdi = mem_strdup(""),
                               .path = mem_strdup(""),
                               .format = mem_strdup("raw"),
                               .readonly = true};
    } else {
        const struct rec_VDI *vdi;
        TRY(need_VDI(s, vbd->VDI, &vdi));
        TRY(boot_build_image(op, s, vdi, cd || vbd->mode == VBD_MODE_RO, &image));
        local_cache_choose(op, s, vdi, &image);
    }
    struct boot_disk tmp = {.id = (char *)vbd->uuid,
                            .device = number,
                            .cd = cd,
                            .bus = bus_of(vm),
                            .bootable = vbd->bootable,
                            .image = image,
                            .limit_bytes = limit_of(vbd, "kbps", 1024),
                            .limit_ops = limit_of(vbd, "iops", 1)};
    *ret = boot_disk_copy(&tmp);
    image_done(&image);
    return NULL;
}

struct err *boot_build_nic(const struct rec_VM *vm, const struct rec_VIF *vif,
                           struct boot_nic **ret)
{
    uint64_t number;
    if (str_u64(view_of(vif->device), 0, BOOT_NICS - 1, &number) < 0)
        return err_INVALID_DEVICE(vif->device);
    struct boot_nic tmp = {.id = (char *)vif->uuid,
                           .device = (unsigned)number,
                           .bus = bus_of(vm),
                           .mac = (char *)vif->MAC,
                           .tap = "",
                           .mtu = vif->MTU};
    *ret = boot_nic_copy(&tmp);
    return NULL;
}

static struct err *add_disks(struct op *op, const struct snap *s, const struct rec_VM *vm,
                             struct boot *b)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (!vbd || (vbd->type != VBD_TYPE_CD && vbd->empty))
            continue;
        struct boot_disk *d = NULL;
        TRY(boot_build_disk(op, s, vbd, &d));
        boot_set_disk(b, d);
        boot_disk_free(d);
    }
    return NULL;
}

static struct err *add_nics(const struct snap *s, const struct rec_VM *vm, struct boot *b)
{
    val_each (ref, vm->VIFs) {
        const struct rec_VIF *vif = snap_VIF(s, ref);
        struct boot_nic *n = NULL;
        if (!vif)
            continue;
        TRY(boot_build_nic(vm, vif, &n));
        boot_set_nic(b, n);
        boot_nic_free(n);
    }
    return NULL;
}

struct err *boot_build(struct op *op, const struct snap *s, const struct rec_VM *vm, int64_t domid,
                       struct boot **ret)
{
    const struct host_caps *caps = host_caps(op->host);
    _cleanup_(boot_freep) struct boot *b = boot_new(vm->uuid, vm->name_label);
    b->domid = domid;
    /* Its disks cannot be reset under a machine that begins anew by itself. */
    b->reboot_stops = vm->actions_after_reboot == ON_NORMAL_EXIT_DESTROY || vm_has_resets(s, vm);
    set_machine(b, vm, caps);
    set_cpus(b, vm);
    set_order(b, vm);
    bios_to_boot(vm, b);
    TRY(set_firmware(b, vm, caps));
    TRY(add_disks(op, s, vm, b));
    TRY(add_nics(s, vm, b));
    TRY(boot_check(b));
    *ret = steal(&b);
    return NULL;
}
