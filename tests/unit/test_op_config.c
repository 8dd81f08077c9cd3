/*
 * test_op_config.c: messages that change or ask about settings, on a simulated host. Every change
 * is looked for in the record; every message is shown to refuse something.
 */
#include "../torture/lab_test.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "host/boot.h"

#define SET_NOBODY(message, ...) lab_call(&w, VM_set_##message, NULL, .self = NOBODY, __VA_ARGS__)

static bool is_disk(const struct row *row)
{
    return str_eq(rec_VBD(row)->VM, w.vm) && rec_VBD(row)->type == VBD_TYPE_DISK;
}

static bool is_local_vdi(const struct row *row)
{
    return str_eq(rec_VDI(row)->SR, w.sr);
}

/* ---- making devices ---- */

static struct err *create_vbd(const char *device, const char *type, const char *mode, bool empty)
{
    _cleanup_(val_unrefp) struct val *r = val_map();
    val_put_str(r, "VM", w.vm);
    val_put_str(r, "VDI", REF_NULL);
    val_put_bool(r, "empty", empty);
    val_put_str(r, "userdevice", device);
    val_put_str(r, "type", type);
    val_put_str(r, "mode", mode);
    return lab_call(&w, VBD_create, NULL, .args = r);
}

static struct err *create_vif(const char *device, const char *mac)
{
    _cleanup_(val_unrefp) struct val *r = val_map();
    val_put_str(r, "VM", w.vm);
    val_put_str(r, "network", w.network);
    val_put_str(r, "device", device);
    val_put_str(r, "MAC", mac);
    return lab_call(&w, VIF_create, NULL, .args = r);
}

/* ---- VM ---- */

static void memory_settings(void **state)
{
    ok(SET(memory_limits, .static_min = 16 * MIB, .static_max = 96 * MIB, .dynamic_min = 32 * MIB,
           .dynamic_max = 64 * MIB));
    assert_int_equal(now()->memory_static_max, 96 * MIB);
    refused(SET(memory_limits, .static_min = 2, .static_max = 1), "MEMORY_CONSTRAINT_VIOLATION");
    ok(SET(memory_static_min, .value = 8 * MIB));
    assert_int_equal(now()->memory_static_min, 8 * MIB);
    refused(SET(memory_static_min, .value = 33 * MIB), "MEMORY_CONSTRAINT_VIOLATION");
    ok(SET(memory_static_max, .value = 128 * MIB));
    assert_int_equal(now()->memory_static_max, 128 * MIB);
    refused(SET(memory_static_max, .value = 1 * MIB), "MEMORY_CONSTRAINT_VIOLATION");
    ok(SET(memory_dynamic_min, .value = 48 * MIB));
    assert_int_equal(now()->memory_dynamic_min, 48 * MIB);
    refused(SET(memory_dynamic_min, .value = 65 * MIB), "MEMORY_CONSTRAINT_VIOLATION");
    ok(SET(memory_static_range, .min = 4 * MIB, .max = 256 * MIB));
    assert_int_equal(now()->memory_static_max, 256 * MIB);
    refused(SET(memory_static_range, .min = 4 * MIB, .max = 5 * MIB),
            "MEMORY_CONSTRAINT_VIOLATION");
    ok(SET(memory_dynamic_range, .min = 64 * MIB, .max = 128 * MIB));
    assert_int_equal(now()->memory_dynamic_max, 128 * MIB);
    refused(SET(memory_dynamic_range, .min = 9 * MIB, .max = 8 * MIB),
            "MEMORY_CONSTRAINT_VIOLATION");
}

static void vcpu_settings(void **state)
{
    ok(SET(VCPUs_max, .value = 4));
    assert_int_equal(now()->VCPUs_max, 4);
    ok(SET(VCPUs_at_startup, .value = 3));
    assert_int_equal(now()->VCPUs_at_startup, 3);
    refused(SET(VCPUs_max, .value = 2), "INVALID_VALUE");
    refused(SET(VCPUs_at_startup, .value = 5), "INVALID_VALUE");
    START();
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    assert_int_equal(b->cpus_max, 4);
    assert_int_equal(guest().cpus, 3);
    refused(SET(VCPUs_max, .value = 8), "VM_BAD_POWER_STATE");
}

static void order_and_delays(void **state)
{
    ok(SET(start_delay, .value = 1));
    ok(SET(shutdown_delay, .value = 2));
    ok(SET(order, .value = 3));
    assert_int_equal(now()->start_delay, 1);
    assert_int_equal(now()->shutdown_delay, 2);
    assert_int_equal(now()->order, 3);
    refused(SET(start_delay, .value = -1), "INVALID_VALUE");
    refused(SET(shutdown_delay, .value = -1), "INVALID_VALUE");
    refused(SET(order, .value = -1), "INVALID_VALUE");
}

static void what_it_is(void **state)
{
    ok(SET(domain_type, .value = DOMAIN_TYPE_UNSPECIFIED));
    assert_int_equal(now()->domain_type, DOMAIN_TYPE_UNSPECIFIED);
    ok(SET(domain_type, .value = DOMAIN_TYPE_HVM));
    assert_int_equal(now()->domain_type, DOMAIN_TYPE_HVM);
    refused(SET(domain_type, .value = DOMAIN_TYPE_PV), "VALUE_NOT_SUPPORTED");
    ok(SET(HVM_boot_policy, .value = ""));
    assert_string_equal(now()->HVM_boot_policy, "");
    ok(SET(HVM_boot_policy, .value = "BIOS order"));
    assert_string_equal(now()->HVM_boot_policy, "BIOS order");
    refused(SET_NOBODY(HVM_boot_policy, .value = ""), "HANDLE_INVALID");
    ok(SET(actions_after_crash, .value = ON_CRASH_BEHAVIOUR_PRESERVE));
    assert_int_equal(now()->actions_after_crash, ON_CRASH_BEHAVIOUR_PRESERVE);
    refused(SET_NOBODY(actions_after_crash, .value = 0), "HANDLE_INVALID");
    ok(SET(has_vendor_device, .value = true));
    assert_true(now()->has_vendor_device);
    ok(SET(has_vendor_device, .value = false));
    assert_false(now()->has_vendor_device);
    refused(SET_NOBODY(has_vendor_device, .value = true), "HANDLE_INVALID");
    refused(lab_call(&w, VM_set_is_default_template, w.vm, .vm = w.vm, .value = true),
            "OPERATION_NOT_ALLOWED");
    ok(SET(is_a_template, .value = true));
    ok(lab_call(&w, VM_set_is_default_template, w.vm, .vm = w.vm, .value = true));
    assert_true(now()->is_default_template);
    refused(SET(suspend_VDI, .value = REF_NULL), "VM_BAD_POWER_STATE");
}

static void maps_take_keys_once(void **state)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    val_put_str(map, "a", "1");
#define KEYS(field)                                                                                \
    ok(SET(field, .value = map));                                                                  \
    refused(SET_NOBODY(field, .value = map), "HANDLE_INVALID");                                    \
    ok(lab_call(&w, VM_add_to_##field, w.vm, .self = w.vm, .key = "b", .value = "2"));             \
    assert_string_equal(val_map_str(now()->field, "b", ""), "2");                                  \
    assert_string_equal(val_map_str(now()->field, "a", ""), "1");                                  \
    refused(lab_call(&w, VM_add_to_##field, w.vm, .self = w.vm, .key = "b", .value = "3"),         \
            "MAP_DUPLICATE_KEY");                                                                  \
    ok(lab_call(&w, VM_remove_from_##field, w.vm, .self = w.vm, .key = "b"));                      \
    ok(lab_call(&w, VM_remove_from_##field, w.vm, .self = w.vm, .key = "b"));                      \
    assert_null(val_map_get(now()->field, "b"));                                                   \
    refused(lab_call(&w, VM_remove_from_##field, NULL, .self = NOBODY, .key = "b"),                \
            "HANDLE_INVALID")
    KEYS(other_config);
    KEYS(platform);
#undef KEYS
}

static void blocked_operations(void **state)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    val_put_str(map, "start", "no");
    ok(SET(blocked_operations, .value = map));
    refused(lab_call(&w, VM_start, w.vm, .vm = w.vm), "OPERATION_BLOCKED");
    refused(SET_NOBODY(blocked_operations, .value = map), "HANDLE_INVALID");
    refused(lab_call(&w, VM_add_to_blocked_operations, w.vm, .self = w.vm,
                     .key = VM_OPERATIONS_START, .value = "no"),
            "MAP_DUPLICATE_KEY");
    ok(lab_call(&w, VM_remove_from_blocked_operations, w.vm, .self = w.vm,
                .key = VM_OPERATIONS_START));
    refused(lab_call(&w, VM_remove_from_blocked_operations, NULL, .self = NOBODY,
                     .key = VM_OPERATIONS_START),
            "HANDLE_INVALID");
    ok(lab_call(&w, VM_add_to_blocked_operations, w.vm, .self = w.vm, .key = VM_OPERATIONS_START,
                .value = "no"));
    refused(lab_call(&w, VM_start, w.vm, .vm = w.vm), "OPERATION_BLOCKED");
}

static size_t items(struct err *e, struct val **result)
{
    ok(e);
    size_t n = val_count(*result);
    val_unrefp(result);
    return n;
}

static void expect_numbers(struct err *e, struct val **result, size_t n, const char *taken,
                           const char *first)
{
    ok(e);
    assert_int_equal(val_count(*result), n);
    assert_false(val_set_has(*result, taken));
    assert_string_equal(val_str_at(*result, 0), first);
    val_unrefp(result);
}

/* A number is offered until a device takes it. */
static void free_numbers_are_offered(void **state)
{
    struct val *r = NULL;
#define DISKS(...)                                                                                 \
    expect_numbers(lab_ask(&w, &r, VM_get_allowed_VBD_devices, w.vm, .vm = w.vm), &r, __VA_ARGS__)
#define NICS(...)                                                                                  \
    expect_numbers(lab_ask(&w, &r, VM_get_allowed_VIF_devices, w.vm, .vm = w.vm), &r, __VA_ARGS__)
    DISKS(253, "0", "1");
    NICS(6, "0", "1");
    ok(create_vbd("1", "CD", "RO", true));
    ok(create_vif("1", ""));
    DISKS(252, "1", "2");
    NICS(5, "1", "2");
#undef DISKS
#undef NICS
}

static void questions(void **state)
{
    struct val *r = NULL;
    assert_int_equal(items(lab_ask(&w, &r, VM_get_possible_hosts, w.vm, .vm = w.vm), &r), 1);
    refused(lab_call(&w, VM_get_allowed_VBD_devices, NULL, .vm = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VM_get_allowed_VIF_devices, NULL, .vm = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VM_get_possible_hosts, NULL, .vm = NOBODY), "HANDLE_INVALID");
    ok(SET(memory, .value = INT64_C(5) << 30));
    assert_int_equal(items(lab_ask(&w, &r, VM_get_possible_hosts, w.vm, .vm = w.vm), &r), 0);
    refused(lab_call(&w, VM_update_allowed_operations, NULL, .self = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VM_compute_memory_overhead, NULL, .vm = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VM_maximise_memory, NULL, .self = NOBODY), "HANDLE_INVALID");
}

static int64_t number(struct err *e, struct val **result)
{
    ok(e);
    int64_t n = val_get_int(*result);
    val_unrefp(result);
    return n;
}

static void guests_take_memory_from_the_host(void **state)
{
    struct val *r = NULL;
    int64_t before =
        number(lab_ask(&w, &r, host_compute_free_memory, NULL, .host = w.host_ref), &r);
    START();
    int64_t after = number(lab_ask(&w, &r, host_compute_free_memory, NULL, .host = w.host_ref), &r);
    assert_int_equal(before - after, 64 * MIB);
    refused(lab_call(&w, host_compute_free_memory, NULL, .host = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, host_compute_memory_overhead, NULL, .host = NOBODY), "HANDLE_INVALID");
    assert_int_equal(
        number(lab_ask(&w, &r, VM_maximise_memory, w.vm, .self = w.vm, .total = 100 * MIB), &r),
        100 * MIB);
}

static void a_reset_power_state_has_no_guest(void **state)
{
    START();
    struct guest_info info = {0};
    ok(lab_call(&w, VM_power_state_reset, w.vm, .vm = w.vm));
    ok(host_vm_query(w.host, now()->uuid, &info));
    assert_int_equal(info.state, GUEST_ABSENT);
    assert_int_equal(now()->power_state, VM_POWER_STATE_HALTED);
    refused(lab_call(&w, VM_power_state_reset, NOBODY, .vm = NOBODY), "HANDLE_INVALID");
}

/* ---- devices ---- */

static void drives_have_a_mode(void **state)
{
    _cleanup_(rstr_unrefp) const char *vbd = ref_of(CLASS_VBD, is_disk);
    ok(lab_call(&w, VBD_set_mode, vbd, .self = vbd, .value = VBD_MODE_RO));
    struct snap *s = snap_get(w.db);
    assert_int_equal(snap_VBD(s, vbd)->mode, VBD_MODE_RO);
    snap_unref(s);
    ok(lab_call(&w, VBD_assert_attachable, vbd, .self = vbd));
    START();
    refused(lab_call(&w, VBD_set_mode, vbd, .self = vbd, .value = VBD_MODE_RW),
            "DEVICE_ALREADY_ATTACHED");
    refused(lab_call(&w, VBD_assert_attachable, vbd, .self = vbd), "DEVICE_ALREADY_ATTACHED");
}

static void odd_drives_are_refused(void **state)
{
    refused(create_vbd("0", "CD", "RO", true), "DEVICE_ALREADY_EXISTS");
    refused(create_vbd("xvda", "CD", "RO", true), "DEVICE_ALREADY_EXISTS");
    refused(create_vbd("255", "CD", "RO", true), "INVALID_DEVICE");
    refused(create_vbd("5", "CD", "RW", true), "VBD_CDS_MUST_BE_READONLY");
    refused(create_vbd("5", "Disk", "RW", true), "OPERATION_NOT_ALLOWED");
    refused(create_vbd("5", "Floppy", "RO", true), "VALUE_NOT_SUPPORTED");
    ok(create_vbd("autodetect", "CD", "RO", true));
    refused(create_vbd("1", "CD", "RO", true), "DEVICE_ALREADY_EXISTS");
}

static void odd_nics_are_refused(void **state)
{
    refused(create_vif("0", ""), "DEVICE_ALREADY_EXISTS");
    refused(create_vif("7", ""), "INVALID_DEVICE");
    refused(create_vif("1", "aa:bb"), "MAC_INVALID");
    refused(create_vif("1", "01:00:00:00:00:01"), "MAC_INVALID");
    refused(create_vif("1", "zz:00:00:00:00:01"), "MAC_INVALID");
    ok(create_vif("1", "AA:00:00:00:00:01"));
    for (int i = 0; i < 5; i++)
        ok(create_vif("autodetect", ""));
    refused(create_vif("autodetect", ""), "INVALID_DEVICE");
}

/* ---- storage ---- */

static void disks_have_names(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_local_vdi);
    ok(lab_call(&w, VDI_set_name_label, vdi, .self = vdi, .value = "n"));
    ok(lab_call(&w, VDI_set_name_description, vdi, .self = vdi, .value = "d"));
    ok(lab_call(&w, VDI_set_sharable, vdi, .self = vdi, .value = true));
    ok(lab_call(&w, VDI_set_read_only, vdi, .self = vdi, .value = true));
    ok(lab_call(&w, VDI_update, vdi, .vdi = vdi));
    struct snap *s = snap_get(w.db);
    const struct rec_VDI *row = snap_VDI(s, vdi);
    assert_string_equal(row->name_label, "n");
    assert_string_equal(row->name_description, "d");
    assert_true(row->sharable && row->read_only);
    snap_unref(s);
    refused(lab_call(&w, VDI_set_name_label, NULL, .self = NOBODY, .value = ""), "HANDLE_INVALID");
    refused(lab_call(&w, VDI_set_name_description, NULL, .self = NOBODY, .value = ""),
            "HANDLE_INVALID");
    refused(lab_call(&w, VDI_set_sharable, NULL, .self = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VDI_set_read_only, NULL, .self = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VDI_update, NOBODY, .vdi = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, VM_start, w.vm, .vm = w.vm), "VDI_READONLY");
}

static void a_forgotten_disk_is_introduced(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_local_vdi);
    struct snap *s = snap_get(w.db);
    const char *location = snap_VDI(s, vdi)->location;
#define INTRODUCE(where)                                                                           \
    lab_call(&w, VDI_introduce, NULL, .uuid = "", .name_label = "again", .name_description = "",   \
             .SR = w.sr, .type = VDI_TYPE_USER, .other_config = val_empty_map(),                   \
             .location = (where), .xenstore_data = val_empty_map(), .sm_config = val_empty_map())
    refused(INTRODUCE(location), "LOCATION_NOT_UNIQUE");
    ok(lab_call(&w, VDI_forget, vdi, .vdi = vdi));
    ok(INTRODUCE(location));
    struct snap *after = snap_get(w.db);
    _cleanup_(val_unrefp) struct val *found = snap_by_name(after, CLASS_VDI, "again");
    assert_int_equal(val_count(found), 1);
    snap_unref(after);
    snap_unref(s);
}

static struct err *add_pbd(struct txn *t, void *arg)
{
    rstr_set(&txn_add_PBD(t)->SR, w.sr);
    return NULL;
}

/* That a second host reads it is what the mark says. */
static void what_two_hosts_have_is_shared(void **state)
{
    ok(lab_call(&w, SR_set_shared, w.sr, .sr = w.sr, .value = true));
    ok(lab_call(&w, SR_set_shared, w.sr, .sr = w.sr, .value = false));
    ok(lab_call(&w, SR_set_shared, w.sr, .sr = w.sr, .value = true));
    ok(db_write(w.db, "another PBD", add_pbd, NULL));
    refused(lab_call(&w, SR_set_shared, w.sr, .sr = w.sr, .value = false), "SR_HAS_MULTIPLE_PBDS");
}

static void repositories_have_names(void **state)
{
    struct val *r = NULL;
    ok(lab_call(&w, SR_set_name_label, w.sr, .sr = w.sr, .value = "n"));
    ok(lab_call(&w, SR_set_name_description, w.sr, .sr = w.sr, .value = "d"));
    ok(lab_call(&w, SR_set_shared, w.sr, .sr = w.sr, .value = true));
    struct snap *s = snap_get(w.db);
    assert_string_equal(snap_SR(s, w.sr)->name_label, "n");
    assert_string_equal(snap_SR(s, w.sr)->name_description, "d");
    assert_true(snap_SR(s, w.sr)->shared);
    snap_unref(s);
    ok(lab_call(&w, SR_set_physical_size, w.sr, .self = w.sr, .value = 1));
    s = snap_get(w.db);
    assert_int_equal(snap_SR(s, w.sr)->physical_size, 1);
    snap_unref(s);
    ok(lab_call(&w, SR_update, w.sr, .sr = w.sr));
    s = snap_get(w.db);
    assert_true(snap_SR(s, w.sr)->physical_size > 1);
    snap_unref(s);
    assert_true(items(lab_ask(&w, &r, SR_get_supported_types, NULL), &r) >= 4);
    refused(lab_call(&w, SR_set_name_label, NULL, .sr = NOBODY, .value = ""), "HANDLE_INVALID");
    refused(lab_call(&w, SR_set_name_description, NULL, .sr = NOBODY, .value = ""),
            "HANDLE_INVALID");
    refused(lab_call(&w, SR_set_shared, NULL, .sr = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, SR_set_physical_size, NULL, .self = NOBODY), "HANDLE_INVALID");
    refused(lab_call(&w, SR_update, NOBODY, .sr = NOBODY), "HANDLE_INVALID");
}

static struct err *introduce_sr(const char *uuid, const char *type, struct val **ret)
{
    return lab_ask(&w, ret, SR_introduce, NULL, .uuid = uuid, .name_label = "in",
                   .name_description = "", .type = type, .content_type = "user",
                   .sm_config = val_empty_map());
}

static void a_repository_is_introduced_and_forgotten(void **state)
{
    _cleanup_(val_unrefp) struct val *sr = NULL, *config = val_map(), *pbd = val_map();
    refused(introduce_sr("nonsense", "file", NULL), "UUID_INVALID");
    refused(introduce_sr("", "tape", NULL), "SR_UNKNOWN_DRIVER");
    ok(introduce_sr("", "file", &sr));
    const char *ref = val_get_str(sr);
    refused(lab_call(&w, SR_scan, ref, .sr = ref), "SR_HAS_NO_PBDS");
    refused(lab_call(&w, SR_update, ref, .sr = ref), "SR_HAS_NO_PBDS");
    val_put_str(pbd, "host", w.host_ref);
    val_put_str(pbd, "SR", ref);
    val_put(pbd, "device_config", val_ref(config));
    ok(lab_call(&w, PBD_create, NULL, .args = pbd));
    refused(lab_call(&w, PBD_create, NULL, .args = pbd), "PBD_EXISTS");
    struct snap *s = snap_get(w.db);
    const char *made = val_str_at(snap_SR(s, ref)->PBDs, 0);
    ok(lab_call(&w, PBD_set_device_config, made, .self = made, .value = val_empty_map()));
    refused(lab_call(&w, PBD_set_device_config, NULL, .self = NOBODY, .value = val_empty_map()),
            "HANDLE_INVALID");
    ok(lab_call(&w, SR_forget, ref, .sr = ref));
    struct snap *after = snap_get(w.db);
    assert_null(snap_SR(after, ref));
    assert_null(snap_PBD(after, made));
    snap_unref(after);
    refused(lab_call(&w, SR_forget, ref, .sr = ref), "HANDLE_INVALID");
    snap_unref(s);
}

/* How many files a folder has, those with a dot among them. */
static unsigned files(const char *folder)
{
    unsigned n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d));)
        n += !str_eq(entry->d_name, ".") && !str_eq(entry->d_name, "..");
    closedir(d);
    return n;
}

static void a_repository_is_made_and_taken_away(void **state)
{
    _cleanup_(val_unrefp) struct val *config = val_map(), *result = NULL;
    _cleanup_(freep) char *path = mem_printf("%s/sr2", w.dir);
    val_put_str(config, "location", path);
    refused(lab_call(&w, SR_create, NULL, .host = w.host_ref, .device_config = config,
                     .name_label = "", .name_description = "", .type = "tape", .content_type = "",
                     .sm_config = val_empty_map()),
            "SR_UNKNOWN_DRIVER");
    ok(lab_ask(&w, &result, SR_create, NULL, .host = w.host_ref, .device_config = config,
               .name_label = "second", .name_description = "", .type = "file",
               .content_type = "user", .sm_config = val_empty_map()));
    const char *sr = val_get_str(result);
    assert_true(files(path) > 0);
    refused(lab_call(&w, SR_destroy, sr, .sr = sr), "SR_HAS_PBD");
    refused(lab_call(&w, SR_forget, sr, .sr = sr), "SR_HAS_PBD");
    struct snap *s = snap_get(w.db);
    const char *pbd = val_str_at(snap_SR(s, sr)->PBDs, 0);
    ok(lab_call(&w, PBD_unplug, pbd, .self = pbd));
    refused(lab_call(&w, SR_scan, sr, .sr = sr), "SR_NOT_ATTACHED");
    ok(lab_call(&w, SR_destroy, sr, .sr = sr));
    assert_int_equal(files(path), 0);
    struct snap *after = snap_get(w.db);
    assert_null(snap_SR(after, sr));
    snap_unref(after);
    snap_unref(s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_test_begin, lab_test_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(memory_settings),
        T(vcpu_settings),
        T(order_and_delays),
        T(what_it_is),
        T(maps_take_keys_once),
        T(blocked_operations),
        T(free_numbers_are_offered),
        T(questions),
        T(guests_take_memory_from_the_host),
        T(a_reset_power_state_has_no_guest),
        T(drives_have_a_mode),
        T(odd_drives_are_refused),
        T(odd_nics_are_refused),
        T(disks_have_names),
        T(a_forgotten_disk_is_introduced),
        T(repositories_have_names),
        T(what_two_hosts_have_is_shared),
        T(a_repository_is_introduced_and_forgotten),
        T(a_repository_is_made_and_taken_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
