/*
 * vm_state.c: the records around a VM when its power state changes. All on core, inside the
 * transaction that changes it, so nobody ever sees a running VM with detached disks.
 */
#include <stdio.h>

#include "op/read_cache.h"
#include "op/world.h"

#define DOMID_KEY   "domid.next"
#define FIRST_DOMID 1

int64_t domid_next(struct txn *t)
{
    int64_t now = FIRST_DOMID;
    char text[24];
    if (str_i64(view_of(setting_get(txn_snap(t), DOMID_KEY)), FIRST_DOMID, INT32_MAX, &now) < 0)
        now = FIRST_DOMID;
    snprintf(text, sizeof(text), "%lld", (long long)now + 1);
    setting_put(t, DOMID_KEY, text);
    return now;
}

/* ---- devices ---- */

static void attach_disks(struct txn *t, const struct rec_VM *vm, const struct boot *b)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *old = txn_VBD(t, ref);
        const struct boot_disk *d = old ? boot_disk_by_id(b, old->uuid) : NULL;
        if (!d)
            continue;
        struct rec_VBD *vbd = txn_edit_VBD(t, ref);
        char name[16];
        device_name(d->device, name, sizeof(name));
        rstr_set(&vbd->device, name);
        vbd->currently_attached = true;
        vbd->status_code = 0;
        read_cache_note(t, vbd->VDI);
    }
}

static void attach_nics(struct txn *t, const struct rec_VM *vm, const struct boot *b)
{
    val_each (ref, vm->VIFs) {
        const struct rec_VIF *old = txn_VIF(t, ref);
        if (!old || !boot_nic_by_id(b, old->uuid))
            continue;
        txn_edit_VIF(t, ref)->currently_attached = true;
    }
}

static void detach_devices(struct txn *t, const struct rec_VM *vm)
{
    val_each (ref, vm->VBDs) {
        struct rec_VBD *vbd = txn_edit_VBD(t, ref);
        if (!vbd)
            continue;
        vbd->currently_attached = false;
        read_cache_note(t, vbd->VDI);
    }
    val_each (ref, vm->VIFs) {
        struct rec_VIF *vif = txn_edit_VIF(t, ref);
        if (vif)
            vif->currently_attached = false;
    }
}

/* ---- consoles ---- */

static void add_console(struct txn *t, const char *vm, const char *address,
                        enum console_protocol protocol)
{
    struct rec_console *c = txn_add_console(t);
    c->protocol = protocol;
    rstr_set(&c->VM, vm);
    _cleanup_(freep) char *location = console_location(t, address, c->uuid);
    rstr_set(&c->location, location);
    c->port = -1;
}

static void add_consoles(struct txn *t, const struct rec_VM *vm, const struct rec_host *host,
                         const struct boot *b)
{
    if (val_count(vm->consoles) > 0)
        return;
    if (b->vnc)
        add_console(t, vm->row.ref, host->address, CONSOLE_PROTOCOL_RFB);
    add_console(t, vm->row.ref, host->address, CONSOLE_PROTOCOL_VT100);
}

static void drop_consoles(struct txn *t, const struct rec_VM *vm)
{
    _cleanup_(val_unrefp) struct val *refs = val_ref(vm->consoles);
    val_each (ref, refs)
        txn_delete(t, CLASS_console, ref);
}

/* ---- metrics ---- */

static struct rec_VM_metrics *metrics_of(struct txn *t, struct rec_VM *vm)
{
    struct rec_VM_metrics *m = txn_edit_VM_metrics(t, vm->metrics);
    if (m)
        return m;
    m = txn_add_VM_metrics(t);
    rstr_assign(&vm->metrics, m->row.ref);
    return m;
}

void vm_count_cpus(struct txn *t, struct rec_VM *vm, unsigned n)
{
    struct rec_VM_metrics *m = metrics_of(t, vm);
    struct val *cpus = val_map();
    for (unsigned i = 0; i < n; i++) {
        char key[12];
        snprintf(key, sizeof(key), "%u", i);
        val_put_int(cpus, key, i);
    }
    m->VCPUs_number = n;
    val_assign(&m->VCPUs_CPU, cpus);
}

static void metrics_start(struct txn *t, struct rec_VM *vm, const struct boot *b)
{
    struct rec_VM_metrics *m = metrics_of(t, vm);
    m->memory_actual = (int64_t)boot_target(b);
    m->start_time = now_s();
    m->last_updated = now_s();
    m->hvm = true;
    m->current_domain_type = DOMAIN_TYPE_HVM;
    vm_count_cpus(t, vm, b->cpus);
}

static void metrics_stop(struct txn *t, struct rec_VM *vm)
{
    struct rec_VM_metrics *m = metrics_of(t, vm);
    m->memory_actual = 0;
    m->VCPUs_number = 0;
    m->last_updated = now_s();
    val_assign(&m->VCPUs_CPU, val_map());
    txn_delete(t, CLASS_VM_guest_metrics, vm->guest_metrics);
}

/* ---- power states ---- */

void vm_becomes_running(struct txn *t, const char *ref, const char *host_ref, bool paused,
                        const struct boot *b)
{
    struct rec_VM *vm = txn_edit_VM(t, ref);
    const struct rec_host *host = txn_host(t, host_ref);
    if (!vm || !host)
        return;
    bool first = vm->domid != b->domid;
    vm->power_state = paused ? VM_POWER_STATE_PAUSED : VM_POWER_STATE_RUNNING;
    vm->domid = b->domid;
    rstr_set(&vm->domarch, "x86_64");
    rstr_set(&vm->resident_on, host_ref);
    rstr_set(&vm->scheduled_to_be_resident_on, REF_NULL);
    vm->memory_target = (int64_t)boot_target(b);
    vm->requires_reboot = false;
    _cleanup_(freep) char *text = boot_format(b);
    rstr_set(&vm->last_booted_record, text);
    boot_put(t, vm, b);
    attach_disks(t, vm, b);
    attach_nics(t, vm, b);
    add_consoles(t, vm, host, b);
    if (first)
        metrics_start(t, vm, b);
}

static void leave_host(struct txn *t, struct rec_VM *vm)
{
    vm->domid = -1;
    rstr_set(&vm->domarch, "");
    rstr_set(&vm->resident_on, REF_NULL);
    rstr_set(&vm->scheduled_to_be_resident_on, REF_NULL);
    drop_consoles(t, vm);
    metrics_stop(t, vm);
}

void vm_becomes_halted(struct txn *t, const char *ref)
{
    struct rec_VM *vm = txn_edit_VM(t, ref);
    if (!vm)
        return;
    vm->power_state = VM_POWER_STATE_HALTED;
    rstr_set(&vm->suspend_VDI, REF_NULL);
    detach_devices(t, vm);
    leave_host(t, vm);
    boot_drop(t, vm->uuid);
}

/* Its boot record stays: that is what it resumes by. */
void vm_becomes_suspended(struct txn *t, const char *ref)
{
    struct rec_VM *vm = txn_edit_VM(t, ref);
    if (!vm)
        return;
    vm->power_state = VM_POWER_STATE_SUSPENDED;
    detach_devices(t, vm);
    leave_host(t, vm);
}
