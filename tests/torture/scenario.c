/* scenario.c: see scenario.h. One or two lines for each step table. */
#include "scenario_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "lab.h"

const char *remembered;
static const char *base_vdi, *into_vdi; /* likewise */

/* ---- setups ---- */

static struct err *halted(struct lab *w)
{
    return lab_make_vm(w);
}

static struct err *running(struct lab *w)
{
    TRY(lab_make_vm(w));
    return lab_call(w, VM_start, w->vm, .vm = w->vm);
}

static struct err *paused(struct lab *w)
{
    TRY(lab_make_vm(w));
    return lab_call(w, VM_start, w->vm, .vm = w->vm, .start_paused = true);
}

static struct err *running_small(struct lab *w)
{
    TRY(lab_make_vm(w));
    TRY(lab_call(w, VM_set_VCPUs_max, w->vm, .self = w->vm, .value = 2));
    TRY(lab_call(w, VM_set_memory_static_min, w->vm, .self = w->vm, .value = 16 << 20));
    return lab_call(w, VM_start, w->vm, .vm = w->vm);
}

static struct err *appliance_txn(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_edit_VM(t, arg);
    remembered = rstr_ref(txn_add_VM_appliance(t)->row.ref);
    rstr_assign(&vm->appliance, remembered);
    return NULL;
}

static struct err *with_appliance(struct lab *w)
{
    TRY(lab_make_vm(w));
    return db_write(w->db, "appliance", appliance_txn, (void *)w->vm);
}

static struct err *suspended(struct lab *w)
{
    TRY(running(w));
    return lab_call(w, VM_suspend, w->vm, .vm = w->vm);
}

static struct err *with_disk(struct lab *w)
{
    TRY(running(w));
    return lab_add_disk(w, &remembered);
}

static struct err *with_plugged_disk(struct lab *w)
{
    TRY(with_disk(w));
    return lab_call(w, VBD_plug, remembered, .self = remembered);
}

static struct err *with_nic(struct lab *w)
{
    TRY(running(w));
    return lab_add_nic(w, &remembered);
}

static struct err *with_plugged_nic(struct lab *w)
{
    TRY(with_nic(w));
    return lab_call(w, VIF_plug, remembered, .self = remembered);
}

static const char *cd_drive(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    snap_each (row, s, CLASS_VBD) {
        if (rec_VBD(row)->type == VBD_TYPE_CD)
            return rstr_ref(row->ref);
    }
    return rstr_new(REF_NULL);
}

static const char *cd_image(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    snap_each (row, s, CLASS_VDI) {
        if (str_eq(rec_VDI(row)->SR, w->iso))
            return rstr_ref(row->ref);
    }
    return rstr_new(REF_NULL);
}

static struct err *with_cd(struct lab *w)
{
    TRY(running(w));
    _cleanup_(rstr_unrefp) const char *vbd = cd_drive(w);
    _cleanup_(rstr_unrefp) const char *vdi = cd_image(w);
    return lab_call(w, VBD_insert, vbd, .vbd = vbd, .vdi = vdi);
}

static struct err *with_vdi(struct lab *w)
{
    return lab_make_vdi(w, &remembered);
}

static struct err *provisionable(struct lab *w)
{
    TRY(lab_make_vm(w));
    TRY(lab_call(w, VM_set_is_a_template, w->vm, .self = w->vm, .value = true));
    return lab_call(w, VM_add_to_other_config, w->vm, .self = w->vm, .key = "disks",
                    .value = "<provision><disk device=\"1\" size=\"8388608\" sr=\"\" "
                             "bootable=\"true\" type=\"system\"/><disk device=\"2\" "
                             "size=\"8388608\" sr=\"\" bootable=\"false\" type=\"user\"/>"
                             "</provision>");
}

static struct err *empty(struct lab *w)
{
    return NULL;
}

static struct err *with_running_disk(struct lab *w)
{
    TRY(running(w));
    remembered = lab_disk_of_vm(w);
    return NULL;
}

/* A disk that has been snapshotted and not written since. */
static struct err *with_split_disk(struct lab *w)
{
    TRY(with_running_disk(w));
    return lab_call(w, VDI_snapshot, remembered, .vdi = remembered,
                    .driver_params = val_empty_map());
}

static struct err *take_snapshot(struct lab *w)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(lab_ask(w, &result, VM_snapshot, w->vm, .vm = w->vm, .new_name = "then",
                .ignore_vdis = val_empty_set()));
    remembered = rstr_new(val_get_str(result));
    return NULL;
}

static struct err *take_checkpoint(struct lab *w)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(lab_ask(w, &result, VM_checkpoint, w->vm, .vm = w->vm, .new_name = "then"));
    remembered = rstr_new(val_get_str(result));
    return NULL;
}

static struct err *with_snapshot(struct lab *w)
{
    TRY(running(w));
    return take_snapshot(w);
}

static struct err *with_checkpoint(struct lab *w)
{
    TRY(running(w));
    return take_checkpoint(w);
}

static struct err *at_once_txn(struct txn *t, void *arg)
{
    struct rec_SR *sr = txn_edit_SR(t, arg);
    val_assign(&sr->other_config, val_with(sr->other_config, "gc-delay", "0"));
    return NULL;
}

/* As a guest would do it. */
static struct err *write_to(struct lab *w, const char *vdi)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    _cleanup_(freep) char *path = mem_printf("%s/sr/%s", w->dir, snap_VDI(s, vdi)->location);
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, "written", 7, 4096) != 7)
        return err_errno(errno, "cannot write to '%s'", path);
    return NULL;
}

static struct err *snapshot_of(struct lab *w, const char *vdi, const char **ret)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(lab_ask(w, &result, VDI_snapshot, vdi, .vdi = vdi, .driver_params = val_empty_map()));
    *ret = rstr_new(val_get_str(result));
    return NULL;
}

static struct err *destroy_vdi(struct lab *w, const char *vdi)
{
    return lab_call(w, VDI_destroy, vdi, .self = vdi);
}

/* base <- disk */
static struct err *to_be_joined(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *snapshot = NULL;
    TRY(db_write(w->db, "gc at once", at_once_txn, (void *)w->sr));
    TRY(with_running_disk(w));
    TRY(snapshot_of(w, remembered, &snapshot));
    TRY(write_to(w, remembered));
    return destroy_vdi(w, snapshot);
}

/* base <- disk, written by the guest of a VM that is halted, or runs */
static struct err *with_forgetful_disk(struct lab *w)
{
    TRY(halted(w));
    remembered = lab_disk_of_vm(w);
    TRY(write_to(w, remembered));
    TRY(lab_call(w, VDI_set_on_boot, remembered, .self = remembered, .value = ON_BOOT_RESET));
    return write_to(w, remembered);
}

static struct err *running_forgetful(struct lab *w)
{
    TRY(with_forgetful_disk(w));
    TRY(lab_call(w, VM_start, w->vm, .vm = w->vm));
    return write_to(w, remembered);
}

static struct err *run_forget(struct lab *w)
{
    return lab_call(w, VDI_set_on_boot, remembered, .self = remembered, .value = ON_BOOT_RESET);
}

/* base <- base <- disk, snapshot */
static struct err *to_be_coalesced(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *first = NULL, *second = NULL;
    TRY(db_write(w->db, "gc at once", at_once_txn, (void *)w->sr));
    TRY(with_running_disk(w));
    TRY(snapshot_of(w, remembered, &first));
    TRY(write_to(w, remembered));
    TRY(snapshot_of(w, remembered, &second));
    return destroy_vdi(w, first);
}

/* base */
static struct err *to_be_deleted(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *snapshot = NULL;
    TRY(db_write(w->db, "gc at once", at_once_txn, (void *)w->sr));
    TRY(with_vdi(w));
    TRY(snapshot_of(w, remembered, &snapshot));
    TRY(destroy_vdi(w, snapshot));
    return destroy_vdi(w, remembered);
}

/* ---- changed blocks ---- */

static struct err *enable_cbt(struct lab *w, const char *vdi)
{
    return lab_call(w, VDI_enable_cbt, vdi, .self = vdi);
}

static struct err *with_tracked_disk(struct lab *w)
{
    TRY(with_running_disk(w));
    return enable_cbt(w, remembered);
}

/* Three logs in a row; the one remembered is in the middle. */
static struct err *with_tracked_snapshot(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *first = NULL;
    TRY(with_tracked_disk(w));
    _cleanup_(rstr_unrefp) const char *disk = rstr_ref(remembered);
    TRY(snapshot_of(w, disk, &first));
    return snapshot_of(w, disk, &remembered);
}

static struct err *with_tracked_vdi_snapshot(struct lab *w)
{
    const char *vdi = NULL;
    TRY(lab_make_vdi(w, &vdi));
    TRY(enable_cbt(w, vdi));
    TRY(snapshot_of(w, vdi, &remembered));
    return write_to(w, vdi);
}

static struct err *with_late_tracking(struct lab *w)
{
    const char *vdi = NULL;
    TRY(lab_make_vdi(w, &vdi));
    TRY(snapshot_of(w, vdi, &remembered));
    return enable_cbt(w, vdi);
}

static struct err *to_be_joined_tracked(struct lab *w)
{
    TRY(to_be_joined(w));
    return enable_cbt(w, remembered);
}

/* ---- runs ---- */

#define RUN(name, ...)                                                                             \
    static struct err *run_##name(struct lab *w)                                                   \
    {                                                                                              \
        return lab_call(w, name, w->vm, __VA_ARGS__ = w->vm);                                      \
    }
RUN(VM_start, .vm)
RUN(VM_pause, .vm)
RUN(VM_unpause, .vm)
RUN(VM_clean_shutdown, .vm)
RUN(VM_hard_shutdown, .vm)
RUN(VM_shutdown, .vm)
RUN(VM_clean_reboot, .vm)
RUN(VM_hard_reboot, .vm)
RUN(VM_suspend, .vm)
RUN(VM_resume, .vm)
RUN(VM_provision, .vm)
RUN(VM_destroy, .self)

#define RUN_ON(name, ...)                                                                          \
    static struct err *run_##name(struct lab *w)                                                   \
    {                                                                                              \
        return lab_call(w, name, remembered, .self = remembered);                                  \
    }
RUN_ON(VBD_plug)
RUN_ON(VBD_unplug)
RUN_ON(VIF_plug)
RUN_ON(VIF_unplug)
RUN_ON(VDI_destroy)
RUN_ON(VDI_enable_cbt)
RUN_ON(VDI_disable_cbt)
RUN_ON(VDI_data_destroy)
RUN_ON(PBD_unplug)
RUN_ON(PBD_plug)
RUN_ON(VM_appliance_start)

static struct err *run_more_cpus(struct lab *w)
{
    return lab_call(w, VM_set_VCPUs_number_live, w->vm, .self = w->vm, .nvcpu = 2);
}

static struct err *run_cpu_mask(struct lab *w)
{
    return lab_call(w, VM_add_to_VCPUs_params_live, w->vm, .self = w->vm, .key = "mask",
                    .value = "0");
}

static struct err *run_less_memory(struct lab *w)
{
    return lab_call(w, VM_set_memory_target_live, w->vm, .self = w->vm, .target = 32 << 20);
}

static struct err *run_insert(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *vbd = cd_drive(w);
    _cleanup_(rstr_unrefp) const char *vdi = cd_image(w);
    return lab_call(w, VBD_insert, vbd, .vbd = vbd, .vdi = vdi);
}

static struct err *run_eject(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *vbd = cd_drive(w);
    return lab_call(w, VBD_eject, vbd, .vbd = vbd);
}

static struct err *run_copy_vm(struct lab *w)
{
    return lab_call(w, VM_copy, w->vm, .vm = w->vm, .new_name = "copy", .sr = w->sr);
}

static struct err *run_copy_vdi(struct lab *w)
{
    return lab_call(w, VDI_copy, remembered, .vdi = remembered, .sr = w->sr, .base_vdi = REF_NULL,
                    .into_vdi = REF_NULL);
}

static struct err *with_three_disks(struct lab *w)
{
    TRY(lab_make_vdi(w, &base_vdi));
    TRY(lab_make_vdi(w, &into_vdi));
    return with_vdi(w);
}

static struct err *run_copy_into(struct lab *w)
{
    return lab_call(w, VDI_copy, remembered, .vdi = remembered, .sr = REF_NULL,
                    .base_vdi = base_vdi, .into_vdi = into_vdi);
}

static struct err *run_snapshot_vdi(struct lab *w)
{
    return lab_call(w, VDI_snapshot, remembered, .vdi = remembered,
                    .driver_params = val_empty_map());
}

static struct err *run_clone_vdi(struct lab *w)
{
    return lab_call(w, VDI_clone, remembered, .vdi = remembered, .driver_params = val_empty_map());
}

static struct err *run_snapshot_vm(struct lab *w)
{
    return lab_call(w, VM_snapshot, w->vm, .vm = w->vm, .new_name = "then",
                    .ignore_vdis = val_empty_set());
}

static struct err *run_clone_vm(struct lab *w)
{
    return lab_call(w, VM_clone, w->vm, .vm = w->vm, .new_name = "clone");
}

static struct err *run_checkpoint(struct lab *w)
{
    return lab_call(w, VM_checkpoint, w->vm, .vm = w->vm, .new_name = "then");
}

static struct err *run_revert(struct lab *w)
{
    return lab_call(w, VM_revert, remembered, .snapshot = remembered);
}

static struct err *with_vdi_snapshot(struct lab *w)
{
    const char *vdi = NULL;
    TRY(lab_make_vdi(w, &vdi));
    TRY(snapshot_of(w, vdi, &remembered));
    return write_to(w, vdi);
}

static struct err *run_revert_vdi(struct lab *w)
{
    return lab_call(w, VDI_revert, remembered, .snapshot = remembered);
}

static struct err *run_tidy(struct lab *w)
{
    TRY(ops_tidy(w->ops));
    lab_settle(w);
    return NULL;
}

static struct err *run_create_vdi(struct lab *w)
{
    const char *ref = NULL;
    struct err *e = lab_make_vdi(w, &ref);
    rstr_unref(ref);
    return e;
}

static struct err *run_resize(struct lab *w)
{
    return lab_call(w, VDI_resize, remembered, .vdi = remembered, .size = 16 << 20);
}

static struct err *run_resize_online(struct lab *w)
{
    return lab_call(w, VDI_resize_online, remembered, .vdi = remembered, .size = 16 << 20);
}

static struct err *create_sr(struct lab *w)
{
    _cleanup_(val_unrefp) struct val *config = val_map();
    _cleanup_(val_unrefp) struct val *result = NULL;
    _cleanup_(freep) char *path = mem_printf("%s/sr2", w->dir);
    val_put_str(config, "location", path);
    TRY(lab_ask(w, &result, SR_create, NULL, .host = w->host_ref, .device_config = config,
                .name_label = "second", .name_description = "", .type = "file",
                .content_type = "user", .sm_config = val_empty_map()));
    remembered = rstr_new(val_get_str(result));
    return NULL;
}

static const char *second_sr;

static struct err *with_vdi_and_second_sr(struct lab *w)
{
    TRY(create_sr(w));
    second_sr = remembered;
    return with_vdi(w);
}

static struct err *run_move_vdi(struct lab *w)
{
    return lab_call(w, VDI_pool_migrate, remembered, .vdi = remembered, .sr = second_sr,
                    .options = val_empty_map());
}

/* The disk has been written to since each of them. */
static struct err *add_snapshots(struct lab *w)
{
    const char *ref;
    for (int i = 0; i < 2; i++) {
        TRY(snapshot_of(w, remembered, &ref));
        TRY(write_to(w, remembered));
    }
    return NULL;
}

static struct err *with_snapshots_and_second_sr(struct lab *w)
{
    TRY(with_vdi_and_second_sr(w));
    return add_snapshots(w);
}

static struct err *with_used_disk_and_second_sr(struct lab *w)
{
    TRY(create_sr(w));
    second_sr = remembered;
    return with_running_disk(w);
}

static struct err *with_used_snapshots_and_second_sr(struct lab *w)
{
    TRY(with_used_disk_and_second_sr(w));
    return add_snapshots(w);
}

static struct err *with_sleeping_disk_and_second_sr(struct lab *w)
{
    TRY(with_used_disk_and_second_sr(w));
    return lab_call(w, VM_suspend, w->vm, .vm = w->vm);
}

static const char *pbd_of(struct lab *w, const char *sr)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    return rstr_new(val_str_at(snap_SR(s, sr)->PBDs, 0));
}

static struct err *with_second_sr(struct lab *w)
{
    TRY(create_sr(w));
    remembered = pbd_of(w, remembered);
    return NULL;
}

static struct err *with_unplugged_pbd(struct lab *w)
{
    TRY(with_second_sr(w));
    return lab_call(w, PBD_unplug, remembered, .self = remembered);
}

static struct err *with_detached_sr(struct lab *w)
{
    TRY(create_sr(w));
    _cleanup_(rstr_unrefp) const char *pbd = pbd_of(w, remembered);
    return lab_call(w, PBD_unplug, pbd, .self = pbd);
}

static struct err *run_destroy_sr(struct lab *w)
{
    return lab_call(w, SR_destroy, remembered, .sr = remembered);
}

static struct err *guest_does(struct lab *w, enum sim_event what, int64_t number)
{
    const struct rec_VM *vm = lab_vm(w);
    struct err *e = sim_guest(w->host, vm->uuid, what, number);
    row_unref(&vm->row);
    return e;
}

#define GUEST_DOES(name, what, number)                                                             \
    static struct err *run_##name(struct lab *w)                                                   \
    {                                                                                              \
        return guest_does(w, what, number);                                                        \
    }
GUEST_DOES(power_off, SIM_POWER_OFF, 0)
GUEST_DOES(crash, SIM_CRASH, 0)
GUEST_DOES(guest_reboot, SIM_REBOOT, 0)
/* The device that with_plugged_…() gave: number 1. */
GUEST_DOES(drop_disk, SIM_DROP_DISK, 1)
GUEST_DOES(drop_nic, SIM_DROP_NIC, 1)

/* Its process is connected to the data path and says nothing. */
static struct err *run_disk_again(struct lab *w)
{
    const struct rec_VM *vm = lab_vm(w);
    const struct host_fact fact = {.kind = FACT_DISK_SILENT, .vm = vm->uuid};
    ops_fact(&w->ops, &fact);
    row_unref(&vm->row);
    lab_settle(w);
    return NULL;
}

static struct err *run_sr_changed(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    struct host_fact f = {.kind = FACT_SR_CHANGED, .sr = snap_SR(s, w->sr)->uuid};
    ops_fact(&w->ops, &f);
    return NULL;
}

const struct scenario scenarios[] = {
    {"start", "VM.start", halted, run_VM_start},
    {"pause", "VM.pause", running, run_VM_pause},
    {"unpause", "VM.unpause", paused, run_VM_unpause},
    {"clean-shutdown", "VM.clean_shutdown", running, run_VM_clean_shutdown},
    {"hard-shutdown", "VM.hard_shutdown", running, run_VM_hard_shutdown},
    {"hard-shutdown-suspended", "VM.hard_shutdown", suspended, run_VM_hard_shutdown},
    {"shutdown", "VM.shutdown", running, run_VM_shutdown},
    {"clean-reboot", "VM.clean_reboot", running, run_VM_clean_reboot},
    {"hard-reboot", "VM.hard_reboot", running, run_VM_hard_reboot},
    {"suspend", "VM.suspend", running, run_VM_suspend},
    {"resume", "VM.resume", suspended, run_VM_resume},
    {"more-cpus", "VM.set_VCPUs_number_live", running_small, run_more_cpus},
    {"cpu-mask", "VM.set_cpu_mask_live", running_small, run_cpu_mask},
    {"less-memory", "VM.set_memory_live", running_small, run_less_memory},
    {"appliance", "VM_appliance", with_appliance, run_VM_appliance_start},
    {"provision", "VM.provision", provisionable, run_VM_provision},
    {"copy", "VM.copy", halted, run_copy_vm},
    {"clone", "VM.clone", halted, run_clone_vm},
    {"snapshot", "VM.snapshot", running, run_snapshot_vm},
    {"checkpoint", "VM.checkpoint", running, run_checkpoint},
    {"checkpoint-suspended", "VM.checkpoint", suspended, run_checkpoint},
    {"revert", "VM.revert", with_snapshot, run_revert},
    {"revert-checkpoint", "VM.revert", with_checkpoint, run_revert},
    {"destroy", "VM.destroy", halted, run_VM_destroy},
    {"destroy-suspended", "VM.destroy", suspended, run_VM_destroy},
    {"vbd-plug", "VBD.plug", with_disk, run_VBD_plug},
    {"vbd-unplug", "VBD.unplug", with_plugged_disk, run_VBD_unplug},
    {"cd-insert", "VBD.insert", running, run_insert},
    {"cd-eject", "VBD.eject", with_cd, run_eject},
    {"vif-plug", "VIF.plug", with_nic, run_VIF_plug},
    {"vif-unplug", "VIF.unplug", with_plugged_nic, run_VIF_unplug},
    {"vdi-create", "VDI.create", empty, run_create_vdi},
    {"vdi-copy", "VDI.copy", with_vdi, run_copy_vdi},
    {"vdi-copy-into", "VDI.copy into", with_three_disks, run_copy_into},
    {"vdi-move", "VDI.pool_migrate", with_vdi_and_second_sr, run_move_vdi},
    {"vdi-move-asleep", "VDI.pool_migrate", with_sleeping_disk_and_second_sr, run_move_vdi},
    {"vdi-move-live", "VDI.pool_migrate live", with_used_disk_and_second_sr, run_move_vdi},
    {"vdi-move-tree", "VDI.pool_migrate", with_snapshots_and_second_sr, run_move_vdi},
    {"vdi-move-tree-live", "VDI.pool_migrate live", with_used_snapshots_and_second_sr,
     run_move_vdi},
    {"vdi-snapshot", "VDI.snapshot", with_running_disk, run_snapshot_vdi},
    {"vdi-snapshot-again", "VDI.snapshot", with_split_disk, run_snapshot_vdi},
    {"vdi-clone", "VDI.clone", with_vdi, run_clone_vdi},
    {"vdi-destroy", "VDI.destroy", with_vdi, run_VDI_destroy},
    {"vdi-resize", "VDI.resize", with_vdi, run_resize},
    {"cbt-enable", "VDI.enable_cbt", with_running_disk, run_VDI_enable_cbt},
    {"cbt-disable", "VDI.disable_cbt", with_tracked_disk, run_VDI_disable_cbt},
    {"cbt-snapshot", "VDI.snapshot", with_tracked_disk, run_snapshot_vdi},
    {"cbt-snapshot-vm", "VM.snapshot", with_tracked_disk, run_snapshot_vm},
    {"cbt-destroy", "VDI.destroy", with_tracked_snapshot, run_VDI_destroy},
    {"cbt-data-destroy", "VDI.data_destroy", with_tracked_snapshot, run_VDI_data_destroy},
    {"cbt-revert", "VDI.revert", with_tracked_vdi_snapshot, run_revert_vdi},
    {"cbt-revert-ends", "VDI.revert", with_late_tracking, run_revert_vdi},
    {"vdi-nbd", "VDI.nbd", with_vdi, run_serve_disk},
    {"vdi-resize-online", "VDI.resize_online", with_running_disk, run_resize_online},
    {"vdi-export", "VDI.export", with_vdi, run_export_disk},
    {"vdi-import", "VDI.import", empty, run_import_disk},
    {"vm-export", "VM.export", halted, run_export_vm},
    {"vm-import", "VM.import", with_archive, run_import_vm},
    {"sr-create", "SR.create", empty, create_sr},
    {"sr-destroy", "SR.destroy", with_detached_sr, run_destroy_sr},
    {"pbd-plug", "PBD.plug", with_unplugged_pbd, run_PBD_plug},
    {"pbd-unplug", "PBD.unplug", with_second_sr, run_PBD_unplug},
    {"guest-powers-off", "guest ended", running, run_power_off},
    {"guest-crashes", "guest ended", running, run_crash},
    {"guest-reboots", "guest rebooted", running, run_guest_reboot},
    {"guest-drops-disk", "VBD gone", with_plugged_disk, run_drop_disk},
    {"guest-drops-nic", "VIF gone", with_plugged_nic, run_drop_nic},
    {"disk-again", "disk again", running, run_disk_again},
    {"vdi-on-boot", "VDI.set_on_boot", with_vdi, run_forget},
    {"start-reset", "VM.start", with_forgetful_disk, run_VM_start},
    {"reboot-reset", "VM.hard_reboot", running_forgetful, run_VM_hard_reboot},
    {"vdi-revert", "VDI.revert", with_vdi_snapshot, run_revert_vdi},
    {"tidy-join", "tidy join", to_be_joined, run_tidy},
    {"cbt-join", "tidy join", to_be_joined_tracked, run_tidy},
    {"tidy-coalesce", "tidy coalesce", to_be_coalesced, run_tidy},
    {"tidy-delete", "tidy delete", to_be_deleted, run_tidy},
    {"sr-changed", "SR scan", running, run_sr_changed},
    {NULL, NULL, NULL, NULL},
};
