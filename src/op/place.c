/*
 * place.c: can this VM run here? Pure functions of a snapshot and the host's capabilities.
 */
#include <stdio.h>

#include "op/world.h"
#include "state/row.h"

uint64_t place_memory_of(const struct rec_VM *vm)
{
    int64_t guest = vm->memory_dynamic_max > 0 ? vm->memory_dynamic_max : vm->memory_static_max;
    int64_t all = guest + vm->memory_overhead;
    return all > 0 ? (uint64_t)all : 0;
}

/* A guest takes what it uses, and what it may come back for; one that starts, what it is to get. */
static uint64_t memory_taken_by(const struct snap *s, const struct rec_VM *vm)
{
    const struct rec_VM_metrics *m = snap_VM_metrics(s, vm->metrics);
    int64_t used = m && m->memory_actual > vm->memory_target ? m->memory_actual : vm->memory_target;
    if (vm->power_state == VM_POWER_STATE_HALTED)
        return place_memory_of(vm);
    return (uint64_t)used + (uint64_t)vm->memory_overhead;
}

static bool takes_memory(const struct rec_VM *vm, const char *host_ref)
{
    if (vm->is_control_domain)
        return false;
    if (str_eq(vm->scheduled_to_be_resident_on, host_ref))
        return true;
    return str_eq(vm->resident_on, host_ref) &&
           (vm->power_state == VM_POWER_STATE_RUNNING || vm->power_state == VM_POWER_STATE_PAUSED);
}

uint64_t place_memory_taken(const struct snap *s, const char *host_ref, const char *except)
{
    uint64_t sum = 0;
    snap_each (row, s, CLASS_VM) {
        if (takes_memory(rec_VM(row), host_ref) && !str_eq(row->ref, except))
            sum += memory_taken_by(s, rec_VM(row));
    }
    return sum;
}

static struct err *check_memory(struct ops *ops, const struct snap *s, const struct rec_VM *vm)
{
    uint64_t all = host_caps(ops->cfg.host)->memory_bytes;
    uint64_t taken = place_memory_taken(s, ops->host_ref, vm->row.ref);
    uint64_t needed = memory_taken_by(s, vm), left = taken < all ? all - taken : 0;
    if (needed <= left)
        return NULL;
    char a[24], b[24];
    snprintf(a, sizeof(a), "%llu", (unsigned long long)needed);
    snprintf(b, sizeof(b), "%llu", (unsigned long long)left);
    return err_HOST_NOT_ENOUGH_FREE_MEMORY(a, b);
}

/* Every disk must be there, in a repository that this host has attached. */
static struct err *check_disk(const struct snap *s, const struct rec_VM *vm,
                              const struct rec_VBD *vbd)
{
    if (vbd->empty || ref_is_null(vbd->VDI))
        return NULL;
    const struct rec_VDI *vdi = snap_VDI(s, vbd->VDI);
    if (!vdi || vdi->missing)
        return err_VDI_MISSING(vdi ? vdi->SR : REF_NULL, vbd->VDI);
    const struct rec_SR *sr = snap_SR(s, vdi->SR);
    struct sr_ref ref;
    struct err *e = sr ? sr_ref_of(s, sr, true, &ref) : err_HANDLE_INVALID("SR", vdi->SR);
    if (!e)
        return NULL;
    err_free(e);
    return err_VM_REQUIRES_SR(vm->row.ref, vdi->SR);
}

/* Devices of the machine that no guest can be given. */
static struct err *check_passthrough(const struct snap *s, const struct rec_VM *vm)
{
    const char *pci = val_map_str(vm->other_config, "pci", "");
    if (*pci) {
        _cleanup_(freep) char *why =
            mem_printf("PCI devices cannot be given to VMs here: '%s' (other-config:pci)", pci);
        return err_OPERATION_NOT_ALLOWED(why);
    }
    val_each (ref, vm->VGPUs) {
        const struct rec_VGPU *gpu = snap_VGPU(s, ref);
        if (gpu)
            return err_VM_REQUIRES_VGPU(vm->row.ref, gpu->GPU_group, gpu->type);
    }
    val_each (ref, vm->VUSBs) {
        const struct rec_VUSB *usb = snap_VUSB(s, ref);
        if (usb)
            return err_VM_REQUIRES_VUSB(vm->row.ref, usb->USB_group);
    }
    return NULL;
}

/* Sockets are all of one size, and VCPUs_max fills them. */
static struct err *check_sockets(const struct rec_VM *vm)
{
    uint64_t cores;
    char max[24];
    const char *text = val_map_str(vm->platform, "cores-per-socket", "1");
    if (str_u64(view_of(text), 1, UINT32_MAX, &cores) < 0)
        return err_INVALID_VALUE("platform:cores-per-socket", text);
    if (vm->VCPUs_max % (int64_t)cores == 0)
        return NULL;
    snprintf(max, sizeof(max), "%lld", (long long)vm->VCPUs_max);
    return err_VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE(max, text);
}

struct err *place_check(struct ops *ops, const struct snap *s, const struct rec_VM *vm)
{
    const struct rec_host *host = snap_host(s, ops->host_ref);
    if (!host || !host->enabled)
        return err_HOST_DISABLED(ops->host_ref);
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (vbd)
            TRY(check_disk(s, vm, vbd));
    }
    TRY(check_passthrough(s, vm));
    if (vm->power_state == VM_POWER_STATE_HALTED)
        TRY(check_sockets(vm));
    return check_memory(ops, s, vm);
}
