/*
 * test_op_live.c: what can be changed of a VM that runs, and records that only say something. What
 * a message did is looked for in the simulated hypervisor or in another record.
 */
#include "../torture/lab_test.h"

#include <string.h>

#include "base/str.h"
#include "host/boot.h"

static bool answer(struct err *e, struct val **result)
{
    ok(e);
    bool yes = val_get_bool(*result);
    val_unrefp(result);
    return yes;
}

/* ---- virtual CPUs ---- */

#define CPUS(n) lab_call(&w, VM_set_VCPUs_number_live, w.vm, .self = w.vm, .nvcpu = (n))

static void running_guests_get_more_cpus(void **state)
{
    ok(SET(VCPUs_max, .value = 4));
    refused(CPUS(2), "VM_BAD_POWER_STATE");
    START();
    ok(CPUS(3));
    assert_int_equal(guest().cpus, 3);
    assert_int_equal(now()->VCPUs_at_startup, 3);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_int_equal(snap_VM_metrics(s, now()->metrics)->VCPUs_number, 3);
    expect(CPUS(5), "INVALID_VALUE VCPUs_number 5");
    expect(CPUS(0), "INVALID_VALUE VCPUs_number 0");
    refused(CPUS(2), "OPERATION_NOT_ALLOWED");
    ok(VM(hard_reboot));
    assert_int_equal(guest().cpus, 3);
}

static void added_cpus_are_saved_with_the_guest(void **state)
{
    ok(SET(VCPUs_max, .value = 2));
    START();
    ok(CPUS(2));
    ok(VM(suspend));
    ok(VM(resume));
    assert_int_equal(guest().cpus, 2);
}

static void sockets_are_full(void **state)
{
    ok(SET(VCPUs_max, .value = 4));
    ok(lab_call(&w, VM_add_to_platform, w.vm, .self = w.vm, .key = "cores-per-socket",
                .value = "3"));
    expect(VM(start), "VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE 4 3");
    ok(SET(VCPUs_max, .value = 6));
    START();
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    assert_int_equal(b->cores_per_socket, 3);
    ok(VM(hard_shutdown));
    expect(SET(VCPUs_max, .value = 256), "INVALID_VALUE VCPUs_max 256");
}

#define LIVE(k, val)                                                                               \
    lab_call(&w, VM_add_to_VCPUs_params_live, w.vm, .self = w.vm, .key = (k), .value = (val))

static void running_guests_move_to_other_cpus(void **state)
{
    refused(LIVE("mask", "0"), "VM_BAD_POWER_STATE");
    START();
    ok(LIVE("mask", "0,1"));
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    assert_string_equal(b->cpu_mask, "0,1");
    assert_string_equal(val_map_str(now()->VCPUs_params, "mask", ""), "0,1");
    expect(LIVE("mask", "0,x"), "INVALID_VALUE mask 0,x");
    refused(LIVE("mask", ""), "INVALID_VALUE");
    refused(LIVE("weight", "256"), "VALUE_NOT_SUPPORTED");
    ok(VM(hard_shutdown));
    START();
    _cleanup_(boot_freep) struct boot *again = guest_boot();
    assert_string_equal(again->cpu_mask, "0,1");
}

/* ---- memory ---- */

#define TARGET(n)     SET(memory_target_live, .target = (n))
#define WAIT()        lab_call(&w, VM_wait_memory_target_live, w.vm, .self = w.vm)
#define COOPERATIVE() answer(lab_ask(&w, &r, VM_get_cooperative, w.vm, .self = w.vm), &r)

static int64_t memory_actual(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return snap_VM_metrics(s, now()->metrics)->memory_actual;
}

static int64_t memory_free(void)
{
    _cleanup_(val_unrefp) struct val *r = NULL;
    ok(lab_ask(&w, &r, host_compute_free_memory, NULL, .host = w.host_ref));
    return val_get_int(r);
}

static void guests_give_memory_back(void **state)
{
    struct val *r = NULL;
    ok(SET(memory_static_min, .value = 16 * MIB));
    refused(TARGET(32 * MIB), "VM_BAD_POWER_STATE");
    START();
    int64_t before = memory_free();
    ok(TARGET(32 * MIB));
    assert_int_equal(guest().memory_bytes, 32 * MIB);
    ok(WAIT());
    lab_settle(&w);
    assert_int_equal(memory_actual(), 32 * MIB);
    assert_int_equal(now()->memory_target, 32 * MIB);
    assert_int_equal(memory_free() - before, 32 * MIB);
    assert_true(COOPERATIVE());
    refused(TARGET(15 * MIB), "INVALID_VALUE");
    refused(TARGET(65 * MIB), "OPERATION_NOT_ALLOWED");
}

static void guests_that_do_not_listen_are_named(void **state)
{
    struct val *r = NULL;
    ok(SET(memory_static_min, .value = 16 * MIB));
    refused(WAIT(), "VM_BAD_POWER_STATE");
    START();
    guest_does(SIM_DEAF, 1);
    int64_t before = memory_free();
    ok(TARGET(32 * MIB));
    assert_false(COOPERATIVE());
    refused(WAIT(), "VM_MEMORY_TARGET_WAIT_TIMEOUT");
    assert_int_equal(memory_free(), before);
    guest_does(SIM_DEAF, 0);
    ok(TARGET(48 * MIB));
    assert_true(COOPERATIVE());
    refused(lab_call(&w, VM_get_cooperative, NULL, .self = NOBODY), "HANDLE_INVALID");
}

static void the_range_of_a_running_guest_moves(void **state)
{
    ok(SET(memory_static_min, .value = 16 * MIB));
    START();
    ok(SET(memory_dynamic_range, .min = 24 * MIB, .max = 40 * MIB));
    assert_int_equal(guest().memory_bytes, 40 * MIB);
    assert_int_equal(now()->memory_dynamic_min, 24 * MIB);
    ok(SET(memory_dynamic_max, .value = 48 * MIB));
    assert_int_equal(guest().memory_bytes, 48 * MIB);
    ok(SET(memory_dynamic_min, .value = 32 * MIB));
    assert_int_equal(now()->memory_dynamic_min, 32 * MIB);
    refused(SET(memory_dynamic_range, .min = 8 * MIB, .max = 48 * MIB),
            "MEMORY_CONSTRAINT_VIOLATION");
    refused(SET(memory_dynamic_max, .value = 16 * MIB), "MEMORY_CONSTRAINT_VIOLATION");
    refused(SET(memory_dynamic_min, .value = 64 * MIB), "MEMORY_CONSTRAINT_VIOLATION");
    ok(VM(clean_reboot));
    assert_int_equal(guest().memory_bytes, 48 * MIB);
    assert_int_equal(now()->memory_target, 48 * MIB);
}

static void more_memory_takes_a_new_start(void **state)
{
    ok(SET(memory_static_max, .value = 128 * MIB));
    START();
    refused(SET(memory_dynamic_max, .value = 128 * MIB), "OPERATION_NOT_ALLOWED");
    assert_int_equal(now()->memory_dynamic_max, 64 * MIB);
}

/* ---- buttons ---- */

#define TRIGGER(name) VM(send_trigger, .trigger = (name))

static void buttons_are_pressed(void **state)
{
    refused(TRIGGER("nmi"), "VM_BAD_POWER_STATE");
    START();
    ok(TRIGGER("nmi"));
    ok(TRIGGER("s3resume"));
    expect(TRIGGER("init"), "INVALID_VALUE trigger init");
    ok(TRIGGER("power"));
    lab_settle(&w);
    assert_int_equal(now()->power_state, VM_POWER_STATE_HALTED);
}

static void the_reset_button_of_the_house(void **state)
{
    refused(VM(hard_reboot_internal), "VM_BAD_POWER_STATE");
    START();
    int64_t before = guest().domid;
    ok(VM(hard_reboot_internal));
    assert_true(guest().domid > before);
}

/* ---- BIOS strings ---- */

static void bios_strings_are_given_once(void **state)
{
    _cleanup_(val_unrefp) struct val *wrong = val_map(), *long_one = val_map(), *good = val_map();
    char text[514];
    memset(text, 'a', sizeof(text));
    text[513] = '\0';
    val_put_str(wrong, "bios-colour", "blue");
    val_put_str(long_one, "bios-vendor", text);
    val_put_str(good, "bios-vendor", "Somebody, Ltd");
    refused(SET(bios_strings, .value = wrong), "INVALID_VALUE");
    refused(SET(bios_strings, .value = long_one), "INVALID_VALUE");
    ok(SET(bios_strings, .value = good));
    refused(SET(bios_strings, .value = good), "VM_BIOS_STRINGS_ALREADY_SET");
    refused(lab_call(&w, VM_copy_bios_strings, w.vm, .vm = w.vm, .host = w.host_ref),
            "VM_BIOS_STRINGS_ALREADY_SET");
    START();
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    assert_string_equal(b->bios_vendor, "Somebody, Ltd");
    assert_string_equal(b->system_manufacturer, "Cairn");
}

static struct err *give_host_strings(struct txn *t, void *arg)
{
    struct rec_host *host = txn_edit_host(t, w.host_ref);
    struct val *strings = val_map();
    val_put_str(strings, "system-manufacturer", "Maker");
    val_put_str(strings, "oem-1", "what guests are not told");
    val_assign(&host->bios_strings, strings);
    return NULL;
}

static void bios_strings_are_the_hosts(void **state)
{
    ok(db_write(w.db, "strings", give_host_strings, NULL));
    refused(lab_call(&w, VM_copy_bios_strings, w.vm, .vm = w.vm, .host = NOBODY), "HANDLE_INVALID");
    ok(lab_call(&w, VM_copy_bios_strings, w.vm, .vm = w.vm, .host = w.host_ref));
    assert_string_equal(val_map_str(now()->bios_strings, "system-manufacturer", ""), "Maker");
    START();
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    assert_string_equal(b->system_manufacturer, "Maker");
}

static void a_vm_that_has_run_has_bios_strings(void **state)
{
    START();
    assert_string_equal(val_map_str(now()->bios_strings, "system-product-name", ""), "Cairn VM");
    refused(SET(bios_strings, .value = val_empty_map()), "VM_BIOS_STRINGS_ALREADY_SET");
}

/* ---- records ---- */

static void firmware_variables_are_for_halted_vms(void **state)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    val_put_str(map, "EFI-variables", "AA==");
    ok(SET(NVRAM, .value = map));
    assert_string_equal(val_map_str(now()->NVRAM, "EFI-variables", ""), "AA==");
    refused(lab_call(&w, VM_add_to_NVRAM, w.vm, .self = w.vm, .key = "EFI-variables", .value = ""),
            "MAP_DUPLICATE_KEY");
    ok(lab_call(&w, VM_remove_from_NVRAM, w.vm, .self = w.vm, .key = "EFI-variables"));
    assert_int_equal(val_count(now()->NVRAM), 0);
    ok(lab_call(&w, VM_add_to_NVRAM, w.vm, .self = w.vm, .key = "b", .value = "2"));
    assert_string_equal(val_map_str(now()->NVRAM, "b", ""), "2");
    START();
    refused(SET(NVRAM, .value = map), "VM_BAD_POWER_STATE");
    refused(lab_call(&w, VM_remove_from_NVRAM, w.vm, .self = w.vm, .key = "b"),
            "VM_BAD_POWER_STATE");
}

static struct err *change_order(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_edit_VM(t, w.vm);
    val_assign(&vm->HVM_boot_params, val_with(vm->HVM_boot_params, "order", "n"));
    return NULL;
}

static void the_boot_record_tells_what_runs(void **state)
{
    struct val *r = NULL;
#define RECORD() lab_ask(&w, &r, VM_get_boot_record, w.vm, .self = w.vm)
    refused(RECORD(), "VM_BAD_POWER_STATE");
    ok(SET(VCPUs_max, .value = 2));
    START();
    ok(db_write(w.db, "order", change_order, NULL));
    ok(RECORD());
    assert_int_equal(val_get_int(val_map_get(r, "VCPUs_max")), 2);
    assert_string_equal(val_map_str(val_map_get(r, "HVM_boot_params"), "order", ""), "cd");
    assert_string_equal(val_map_str(r, "uuid", ""), now()->uuid);
    val_unref(r);
#undef RECORD
}

static struct err *give_kernel(struct txn *t, void *kernel)
{
    rstr_set(&txn_edit_VM(t, w.vm)->PV_kernel, kernel);
    return NULL;
}

static void the_boot_policy_says_whose_kernel(void **state)
{
    struct {
        const char *policy, *kernel;
    } cases[] = {{"BIOS order", ""}, {"", "/boot/vmlinuz"}};
    ok(db_write(w.db, "kernel", give_kernel, "/boot/vmlinuz"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ok(SET(HVM_boot_policy, .value = cases[i].policy));
        START();
        _cleanup_(boot_freep) struct boot *b = guest_boot();
        assert_int_equal(b->firmware, *cases[i].kernel ? BOOT_DIRECT : BOOT_BIOS);
        assert_string_equal(b->kernel, cases[i].kernel);
        ok(lab_call(&w, VM_hard_shutdown, w.vm, .vm = w.vm));
    }
    ok(SET(domain_type, .value = DOMAIN_TYPE_HVM));
    assert_string_equal(now()->HVM_boot_policy, "BIOS order");
}

static bool is_dom0(const struct row *row)
{
    return rec_VM(row)->is_control_domain;
}

static struct err *add_groups(struct txn *t, void *arg)
{
    const char **refs = arg;
    refs[0] = rstr_ref(txn_add(t, CLASS_VM_group, NULL, NULL)->ref);
    refs[1] = rstr_ref(txn_add(t, CLASS_VM_group, NULL, NULL)->ref);
    refs[2] = rstr_ref(txn_add(t, CLASS_VM_appliance, NULL, NULL)->ref);
    return NULL;
}

static void a_vm_is_in_one_group_and_one_appliance(void **state)
{
    const char *refs[3];
    _cleanup_(rstr_unrefp) const char *dom0 = ref_of(CLASS_VM, is_dom0);
    _cleanup_(val_unrefp) struct val *set = val_set();
    ok(db_write(w.db, "groups", add_groups, refs));
    val_add_str(set, refs[0]);
    ok(SET(groups, .value = set));
    ok(SET(appliance, .value = refs[2]));
    struct snap *s = snap_get(w.db);
    assert_true(val_set_has(snap_VM_group(s, refs[0])->VMs, w.vm));
    assert_true(val_set_has(snap_VM_appliance(s, refs[2])->VMs, w.vm));
    snap_unref(s);
    _cleanup_(val_unrefp) struct val *two = val_set_with(set, refs[1]);
    refused(SET(groups, .value = two), "TOO_MANY_GROUPS");
    refused(SET(appliance, .value = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VM_set_appliance, dom0, .self = dom0, .value = refs[2]),
            "OPERATION_NOT_ALLOWED");
    refused(lab_call(&w, VM_set_groups, dom0, .self = dom0, .value = set), "OPERATION_NOT_ALLOWED");
    for (int i = 0; i < 3; i++)
        rstr_unref(refs[i]);
}

static struct err *lose_sight(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_edit_VM(t, w.vm);
    rstr_set(&vm->resident_on, REF_NULL);
    rstr_set(&vm->scheduled_to_be_resident_on, w.host_ref);
    return NULL;
}

static void a_guest_is_where_it_runs(void **state)
{
#define RESIDENT(where) VM(atomic_set_resident_on, .host = (where))
    refused(RESIDENT(w.host_ref), "OPERATION_NOT_ALLOWED");
    START();
    ok(db_write(w.db, "lose sight", lose_sight, NULL));
    ok(RESIDENT(w.host_ref));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_true(val_set_has(snap_host(s, w.host_ref)->resident_VMs, w.vm));
    assert_string_equal(now()->scheduled_to_be_resident_on, REF_NULL);
    refused(RESIDENT(NOBODY), "HANDLE_INVALID");
#undef RESIDENT
}

static void data_for_the_guest(void **state)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    val_put_str(map, "vm-data/a", "1");
    ok(SET(xenstore_data, .value = map));
    assert_string_equal(val_map_str(now()->xenstore_data, "vm-data/a", ""), "1");
    refused(lab_call(&w, VM_set_xenstore_data, NULL, .self = NOBODY, .value = map),
            "HANDLE_INVALID");
}

/* ---- devices ---- */

static bool is_nic(const struct row *row)
{
    return str_eq(rec_VIF(row)->VM, w.vm);
}

static bool is_other_network(const struct row *row)
{
    return !str_eq(row->ref, w.network);
}

static struct err *add_network(struct txn *t, void *arg)
{
    rstr_set(&txn_add_network(t)->name_label, "other");
    return NULL;
}

struct busy {
    const char *vif;
    bool on;
};

static struct err *busy_txn(struct txn *t, void *arg)
{
    const struct busy *b = arg;
    struct rec_VIF *vif = txn_edit_VIF(t, b->vif);
    val_assign(&vif->current_operations, val_map());
    if (b->on)
        val_assign(&vif->current_operations, val_with(vif->current_operations, "a task", "plug"));
    return NULL;
}

static void nics_move(void **state)
{
    _cleanup_(rstr_unrefp) const char *vif = ref_of(CLASS_VIF, is_nic);
    ok(db_write(w.db, "network", add_network, NULL));
    _cleanup_(rstr_unrefp) const char *other = ref_of(CLASS_network, is_other_network);
    START();
    ok(lab_call(&w, VIF_move, vif, .self = vif, .network = other));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_true(val_set_has(snap_network(s, other)->VIFs, vif));
    assert_false(val_set_has(snap_network(s, w.network)->VIFs, vif));
    refused(lab_call(&w, VIF_move, vif, .self = vif, .network = NOBODY), "HANDLE_INVALID");
    ok(db_write(w.db, "busy", busy_txn, &(struct busy){vif, true}));
    expect(lab_call(&w, VIF_move, vif, .self = vif, .network = w.network),
           "OTHER_OPERATION_IN_PROGRESS VIF %s plug a task", vif);
    ok(db_write(w.db, "idle", busy_txn, &(struct busy){vif, false}));
}

static void a_disk_is_taken_without_asking(void **state)
{
    _cleanup_(rstr_unrefp) const char *vbd = NULL;
#define TAKE() lab_call(&w, VBD_unplug_force_no_safety_check, vbd, .self = vbd)
    ok(lab_add_disk(&w, &vbd));
    START();
    ok(TAKE());
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    assert_int_equal(b->n_disks, 2);
    expect(TAKE(), "DEVICE_ALREADY_DETACHED %s", vbd);
#undef TAKE
}

/* ---- what is refused ---- */

static bool is_local_vdi(const struct row *row)
{
    return str_eq(rec_VDI(row)->SR, w.sr);
}

static void blocked_and_running_vms_refuse(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_local_vdi);
    START();
    refused(SET(has_vendor_device, .value = false), "VM_BAD_POWER_STATE");
    expect(lab_call(&w, VDI_forget, vdi, .vdi = vdi), "VDI_IN_USE %s forget", vdi);
    ok(lab_call(&w, VM_add_to_blocked_operations, w.vm, .self = w.vm,
                .key = VM_OPERATIONS_POWER_STATE_RESET, .value = "no"));
    expect(VM(power_state_reset), "OPERATION_BLOCKED %s no", w.vm);
    assert_int_equal(guest().state, GUEST_RUNNING);
}

static void a_repository_without_a_place_is_not_attached(void **state)
{
    _cleanup_(val_unrefp) struct val *sr = NULL, *pbd = NULL, *rec = val_map();
    ok(lab_ask(&w, &sr, SR_introduce, NULL, .uuid = "", .name_label = "odd", .name_description = "",
               .type = "file", .content_type = "user", .sm_config = val_empty_map()));
    val_put_str(rec, "host", w.host_ref);
    val_put_str(rec, "SR", val_get_str(sr));
    val_put(rec, "device_config", val_map());
    ok(lab_ask(&w, &pbd, PBD_create, NULL, .args = rec));
    const char *ref = val_get_str(pbd);
    refused(lab_call(&w, PBD_plug, ref, .self = ref), "SR_BACKEND_FAILURE_94");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_false(snap_PBD(s, ref)->currently_attached);
}

/* ---- what is not given ---- */

static struct err *add_gpu(struct txn *t, void *arg)
{
    struct rec_VGPU *gpu = txn_add_VGPU(t);
    rstr_set(&gpu->VM, w.vm);
    rstr_assign(arg, gpu->row.ref);
    return NULL;
}

static struct err *add_usb(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_VGPU, *(const char **)arg);
    rstr_set(&txn_add_VUSB(t)->VM, w.vm);
    return NULL;
}

static void devices_of_the_machine_are_not_given(void **state)
{
    _cleanup_(rstr_unrefp) const char *gpu = rstr_new("");
    ok(lab_call(&w, VM_add_to_other_config, w.vm, .self = w.vm, .key = "pci",
                .value = "0/0000:44:0.0"));
    expect(VM(start), "OPERATION_NOT_ALLOWED PCI devices cannot be given to VMs here: "
                      "'0/0000:44:0.0' (other-config:pci)");
    ok(lab_call(&w, VM_remove_from_other_config, w.vm, .self = w.vm, .key = "pci"));
    ok(db_write(w.db, "gpu", add_gpu, &gpu));
    refused(VM(start), "VM_REQUIRES_VGPU");
    ok(db_write(w.db, "usb", add_usb, &gpu));
    refused(VM(start), "VM_REQUIRES_VUSB");
    assert_int_equal(guest().state, GUEST_ABSENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_test_begin, lab_test_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(running_guests_get_more_cpus),
        TEST(added_cpus_are_saved_with_the_guest),
        TEST(sockets_are_full),
        TEST(running_guests_move_to_other_cpus),
        TEST(guests_give_memory_back),
        TEST(guests_that_do_not_listen_are_named),
        TEST(the_range_of_a_running_guest_moves),
        TEST(more_memory_takes_a_new_start),
        TEST(buttons_are_pressed),
        TEST(the_reset_button_of_the_house),
        TEST(bios_strings_are_given_once),
        TEST(bios_strings_are_the_hosts),
        TEST(a_vm_that_has_run_has_bios_strings),
        TEST(firmware_variables_are_for_halted_vms),
        TEST(the_boot_record_tells_what_runs),
        TEST(the_boot_policy_says_whose_kernel),
        TEST(a_vm_is_in_one_group_and_one_appliance),
        TEST(a_guest_is_where_it_runs),
        TEST(data_for_the_guest),
        TEST(nics_move),
        TEST(a_disk_is_taken_without_asking),
        TEST(blocked_and_running_vms_refuse),
        TEST(a_repository_without_a_place_is_not_attached),
        TEST(devices_of_the_machine_are_not_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
