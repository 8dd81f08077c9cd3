/*
 * test_vmss.c: when schedules fall due, in zones with summer time, and what happens then. Times
 * are written as the wall clocks of Berlin and New York show them.
 */
#include "../torture/lab_test.h"

#include <string.h>

#include "base/str.h"
#include "base/zone.h"
#include "op/schedule.h"

/* ---- the next time ---- */

static int64_t at(const char *utc)
{
    int64_t t;
    assert_int_equal(str_parse_datetime(view_of(utc), &t), 0);
    return t;
}

static struct val *plan(const char *min, const char *hour, const char *days)
{
    struct val *v = val_map();
    val_put_str(v, "min", min);
    if (hour)
        val_put_str(v, "hour", hour);
    if (days)
        val_put_str(v, "days", days);
    return v;
}

static void expect_next(enum vmss_frequency f, struct val *schedule, const char *zone,
                        const char *after, const char *next)
{
    int64_t got = schedule_next(f, schedule, zone, zone_offset, at(after));
    val_unref(schedule);
    assert_int_equal(got, at(next));
}

#define HOURLY(min, zone, after, next)                                                             \
    expect_next(VMSS_FREQUENCY_HOURLY, plan(min, NULL, NULL), zone, after, next)
#define DAILY(hour, min, zone, after, next)                                                        \
    expect_next(VMSS_FREQUENCY_DAILY, plan(min, hour, NULL), zone, after, next)
#define WEEKLY(days, hour, min, zone, after, next)                                                 \
    expect_next(VMSS_FREQUENCY_WEEKLY, plan(min, hour, days), zone, after, next)

static void every_hour(void **state)
{
    HOURLY("0", "UTC", "20260101T00:00:00Z", "20260101T01:00:00Z");
    HOURLY("45", "UTC", "20260101T00:44:59Z", "20260101T00:45:00Z");
    HOURLY("45", "UTC", "20260101T00:45:00Z", "20260101T01:45:00Z");
    HOURLY("15", "Europe/Berlin", "20251231T23:30:00Z", "20260101T00:15:00Z");
    HOURLY("0", "Asia/Kathmandu", "20260101T00:00:00Z", "20260101T00:15:00Z"); /* UTC+5:45 */
}

/* Berlin: 29 March 2026 02:00 becomes 03:00, 25 October 03:00 becomes 02:00. */
static void hours_pass_whatever_the_clock_does(void **state)
{
    HOURLY("30", "Europe/Berlin", "20260329T00:30:00Z", "20260329T01:30:00Z");
    HOURLY("30", "Europe/Berlin", "20261025T00:30:00Z", "20261025T01:30:00Z");
}

static void every_day(void **state)
{
    DAILY("3", "15", "UTC", "20260101T03:14:59Z", "20260101T03:15:00Z");
    DAILY("3", "15", "UTC", "20260101T03:15:00Z", "20260102T03:15:00Z");
    DAILY("0", "0", "UTC", "20261231T00:00:00Z", "20270101T00:00:00Z");
    DAILY("23", "45", "America/New_York", "20260701T04:00:00Z", "20260702T03:45:00Z");
    DAILY("1", "0", "Pacific/Kiritimati", "20260101T10:00:00Z", "20260101T11:00:00Z");
    DAILY("5", "0", "No/Where", "20260101T00:00:00Z", "20260101T05:00:00Z");
}

static void summer_begins(void **state)
{
    DAILY("1", "45", "Europe/Berlin", "20260328T23:00:00Z", "20260329T00:45:00Z");
    DAILY("2", "30", "Europe/Berlin", "20260328T23:00:00Z", "20260329T01:30:00Z"); /* 03:30 */
    DAILY("2", "30", "Europe/Berlin", "20260329T01:30:00Z", "20260330T00:30:00Z");
    DAILY("3", "0", "Europe/Berlin", "20260328T23:00:00Z", "20260329T01:00:00Z");
    DAILY("2", "30", "America/New_York", "20260308T05:00:00Z", "20260308T07:30:00Z");
}

static void summer_ends(void **state)
{
    DAILY("2", "30", "Europe/Berlin", "20261024T23:00:00Z", "20261025T00:30:00Z");
    DAILY("2", "30", "Europe/Berlin", "20261025T00:30:00Z", "20261026T01:30:00Z");
    DAILY("3", "0", "Europe/Berlin", "20261024T23:00:00Z", "20261025T02:00:00Z");
    DAILY("1", "30", "America/New_York", "20261101T04:00:00Z", "20261101T05:30:00Z");
    DAILY("1", "30", "America/New_York", "20261101T05:30:00Z", "20261102T06:30:00Z");
}

static void every_week(void **state)
{
    /* 1 January 2026 is a Thursday */
    WEEKLY("Thursday", "12", "0", "UTC", "20260101T00:00:00Z", "20260101T12:00:00Z");
    WEEKLY("Thursday", "12", "0", "UTC", "20260101T12:00:00Z", "20260108T12:00:00Z");
    WEEKLY("Monday,Saturday", "0", "0", "UTC", "20260101T12:00:00Z", "20260103T00:00:00Z");
    WEEKLY("Sunday", "0", "30", "Asia/Tokyo", "20260103T15:00:00Z", "20260103T15:30:00Z");
    WEEKLY("Sunday", "2", "30", "Europe/Berlin", "20260328T00:00:00Z", "20260329T01:30:00Z");
}

/* ---- settings ---- */

static const char *vmss; /* rstr */

static struct val *record(const char *frequency, const char *type, struct val *schedule)
{
    struct val *r = val_map();
    val_put_str(r, "name_label", "nightly");
    val_put_str(r, "frequency", frequency);
    val_put_str(r, "type", type);
    val_put_bool(r, "enabled", true);
    val_put_int(r, "retained_snapshots", 7);
    val_put(r, "schedule", schedule);
    return r;
}

static struct err *create(struct val *r, struct val **ret)
{
    struct err *e = lab_ask(&w, ret, VMSS_create, NULL, .args = r);
    val_unref(r);
    return e;
}

static int begin(void **state)
{
    _cleanup_(val_unrefp) struct val *r = NULL;
    if (lab_test_begin(state))
        return -1;
    ok(create(record("daily", "snapshot", val_map()), &r));
    vmss = rstr_new(val_get_str(r));
    return 0;
}

static int end(void **state)
{
    rstr_unref(vmss);
    return lab_test_end(state);
}

static bool has(const char *key, const char *value)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return str_eq(val_map_str(snap_VMSS(s, vmss)->schedule, key, "none"), value);
}

#define CHANGE(message, ...) lab_call(&w, VMSS_##message, vmss, .self = vmss, __VA_ARGS__)

static void schedules_have_the_keys_of_their_frequency(void **state)
{
    assert_true(has("min", "0") && has("hour", "0") && has("days", "none"));
    ok(CHANGE(add_to_schedule, .key = "hour", .value = "4"));
    assert_true(has("hour", "4"));
    ok(CHANGE(set_frequency, .value = VMSS_FREQUENCY_WEEKLY));
    assert_true(has("hour", "4") && has("days", "Monday"));
    ok(CHANGE(remove_from_schedule, .key = "hour"));
    assert_true(has("hour", "0"));
    ok(CHANGE(set_frequency, .value = VMSS_FREQUENCY_HOURLY));
    assert_true(has("min", "0") && has("hour", "none") && has("days", "none"));
    _cleanup_(val_unrefp) struct val *quarter = plan("45", NULL, NULL);
    ok(CHANGE(set_schedule, .value = quarter));
    assert_true(has("min", "45"));
}

static void odd_schedules_are_refused(void **state)
{
    expect(CHANGE(add_to_schedule, .key = "min", .value = "7"), "INVALID_VALUE min 7");
    expect(CHANGE(add_to_schedule, .key = "hour", .value = "24"), "INVALID_VALUE hour 24");
    expect(CHANGE(add_to_schedule, .key = "days", .value = "Monday,Doomsday"),
           "INVALID_VALUE days Monday,Doomsday");
    expect(CHANGE(add_to_schedule, .key = "year", .value = "1"), "INVALID_VALUE year 1");
    expect(CHANGE(set_retained_snapshots, .value = 11), "INVALID_VALUE retained_snapshots 11");
    expect(CHANGE(set_retained_snapshots, .value = 0), "INVALID_VALUE retained_snapshots 0");
    refused(CHANGE(set_type, .value = VMSS_TYPE_SNAPSHOT_WITH_QUIESCE), "INVALID_VALUE");
    refused(create(record("daily", "snapshot", plan("1", NULL, NULL)), NULL), "INVALID_VALUE");
    refused(create(record("daily", "snapshot_with_quiesce", val_map()), NULL), "INVALID_VALUE");
    _cleanup_(val_unrefp) struct val *odd = plan("60", NULL, NULL);
    refused(CHANGE(set_schedule, .value = odd), "INVALID_VALUE");
    assert_true(has("min", "0"));
}

static void numbers_and_kinds_are_kept(void **state)
{
    ok(CHANGE(set_retained_snapshots, .value = 10));
    ok(CHANGE(set_type, .value = VMSS_TYPE_CHECKPOINT));
    ok(CHANGE(set_last_run_time, .value = 1700000000));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_int_equal(snap_VMSS(s, vmss)->retained_snapshots, 10);
    assert_int_equal(snap_VMSS(s, vmss)->type, VMSS_TYPE_CHECKPOINT);
    assert_int_equal(snap_VMSS(s, vmss)->last_run_time, 1700000000);
}

static bool is_dom0(const struct row *row)
{
    return rec_VM(row)->is_control_domain;
}

static void vms_belong_to_a_schedule(void **state)
{
    _cleanup_(rstr_unrefp) const char *dom0 = ref_of(CLASS_VM, is_dom0);
    ok(SET(snapshot_schedule, .value = vmss));
    struct snap *s = snap_get(w.db);
    assert_true(val_set_has(snap_VMSS(s, vmss)->VMs, w.vm));
    snap_unref(s);
    refused(lab_call(&w, VM_set_snapshot_schedule, dom0, .self = dom0, .value = vmss),
            "OPERATION_NOT_ALLOWED");
    refused(lab_call(&w, VMSS_destroy, vmss, .self = vmss), "VMSS_HAS_VM");
    ok(SET(snapshot_schedule, .value = REF_NULL));
    ok(lab_call(&w, VMSS_destroy, vmss, .self = vmss));
    s = snap_get(w.db);
    assert_null(snap_VMSS(s, vmss));
    snap_unref(s);
}

/* ---- due ---- */

static struct err *set_zone(struct txn *t, void *arg)
{
    rstr_set(&txn_edit_host(t, w.host_ref)->timezone, arg);
    return NULL;
}

static struct err *disable(struct txn *t, void *arg)
{
    txn_edit_VMSS(t, vmss)->enabled = false;
    return NULL;
}

#define DUE(from, to)                                                                              \
    do {                                                                                           \
        ok(vmss_due(w.ops, at(from), at(to)));                                                     \
        lab_settle(&w);                                                                            \
    } while (0)

static size_t snapshots(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    size_t n = 0;
    snap_each (row, s, CLASS_VM)
        n += rec_VM(row)->is_a_snapshot && rec_VM(row)->is_vmss_snapshot;
    return n;
}

static void what_is_due_is_told(void **state)
{
    ok(db_write(w.db, "zone", set_zone, "Europe/Berlin"));
    ok(CHANGE(add_to_schedule, .key = "hour", .value = "12"));
    DUE("20260701T09:59:55Z", "20260701T10:00:00Z");
    assert_int_equal(snapshots(), 0);
    ok(SET(snapshot_schedule, .value = vmss));
    DUE("20260701T09:59:50Z", "20260701T09:59:55Z");
    assert_int_equal(snapshots(), 0);
    DUE("20260701T09:59:55Z", "20260701T10:00:00Z");
    assert_int_equal(snapshots(), 1);
    DUE("20260701T10:00:00Z", "20260701T10:00:05Z");
    DUE("20260701T11:59:55Z", "20260701T12:00:00Z");
    assert_int_equal(snapshots(), 1);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_true(snap_VMSS(s, vmss)->last_run_time > 0);
    ok(db_write(w.db, "disable", disable, NULL));
    DUE("20260702T09:59:55Z", "20260702T10:00:00Z");
    assert_int_equal(snapshots(), 1);
    assert_int_equal(alerts("VMSS_SNAPSHOT_FAILED"), 0);
}

static size_t disks(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    size_t n = 0;
    snap_each (row, s, CLASS_VDI)
        n += rec_VDI(row)->managed && str_eq(rec_VDI(row)->SR, w.sr);
    return n;
}

static void the_oldest_go(void **state)
{
    size_t before = disks();
    ok(SET(snapshot_schedule, .value = vmss));
    ok(CHANGE(set_retained_snapshots, .value = 2));
    for (int i = 0; i < 4; i++) {
        ok(lab_call(&w, VMSS_snapshot_now, vmss, .vmss = vmss));
        lab_settle(&w);
    }
    lab_settle(&w);
    assert_int_equal(snapshots(), 2);
    assert_int_equal(disks(), before + 2);
}

static struct err *lose_disks(struct txn *t, void *arg)
{
    txn_each (row, t, CLASS_VDI)
        txn_edit_VDI(t, row->ref)->missing = true;
    return NULL;
}

static void what_fails_is_told(void **state)
{
    ok(SET(snapshot_schedule, .value = vmss));
    ok(db_write(w.db, "lose disks", lose_disks, NULL));
    ok(lab_call(&w, VMSS_snapshot_now, vmss, .vmss = vmss));
    lab_settle(&w);
    assert_int_equal(snapshots(), 0);
    assert_int_equal(alerts("VMSS_SNAPSHOT_FAILED"), 1);
}

static void what_nobody_saw_is_missed(void **state)
{
    ok(SET(snapshot_schedule, .value = vmss));
    DUE("20260701T23:00:00Z", "20260702T01:00:00Z");
    assert_int_equal(alerts("VMSS_SNAPSHOT_MISSED_EVENT"), 1);
    assert_int_equal(alerts("VMSS_SNAPSHOT_FAILED"), 0);
    DUE("20260702T01:00:00Z", "20260701T23:00:00Z");
    assert_int_equal(alerts("VMSS_SNAPSHOT_MISSED_EVENT"), 1);
}

/* ---- an idle host ---- */

static void ticks_write_nothing(void **state)
{
    ok(ops_tick(w.ops));
    struct snap *s = snap_get(w.db);
    uint64_t before = snap_generation(s);
    snap_unref(s);
    ok(ops_tick(w.ops));
    ok(ops_tick(w.ops));
    s = snap_get(w.db);
    assert_int_equal(snap_generation(s), before);
    snap_unref(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_hour),
        cmocka_unit_test(hours_pass_whatever_the_clock_does),
        cmocka_unit_test(every_day),
        cmocka_unit_test(summer_begins),
        cmocka_unit_test(summer_ends),
        cmocka_unit_test(every_week),
        TEST(schedules_have_the_keys_of_their_frequency),
        TEST(odd_schedules_are_refused),
        TEST(numbers_and_kinds_are_kept),
        TEST(vms_belong_to_a_schedule),
        TEST(what_is_due_is_told),
        TEST(the_oldest_go),
        TEST(what_fails_is_told),
        TEST(what_nobody_saw_is_missed),
        TEST(ticks_write_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
