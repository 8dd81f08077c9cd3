/*
 * test_op_house.c: messages about the host itself, most of them from one member of a pool to
 * another. What they did is looked for in files, records and in what the machine was told.
 */
#include "op/world.h"

#include "../torture/lab_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define CRL                                                                                        \
    "-----BEGIN X509 CRL-----\n"                                                                   \
    "MIGmME4CAQEwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EXDTI2MTEyMjIzMTU0\n"                           \
    "MVoYDzIxMjUwNjE2MjMxNTQxWqAOMAwwCgYDVR0UBAMCAQEwCgYIKoZIzj0EAwID\n"                           \
    "SAAwRQIgdV1+M98FUUhCfmFr3X6iaq6X8j/lYQDwCqXcnviqIYYCIQCJWunA7rg7\n"                           \
    "CiridRKxAlv6UDVXsm7nKeUzwQhOvnyJUg==\n"                                                       \
    "-----END X509 CRL-----\n"

/* ---- looking ---- */

/* A file below the lab's folder; NULL: there is none. The caller's. */
static char *file(const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", lab_dir, name);
    struct buf b;
    buf_init(&b, 1 << 20);
    char *text = fd_read_file(path, 1 << 20, &b) < 0 ? NULL : mem_strdup(buf_str(&b));
    buf_done(&b);
    return text;
}

static void expect_file(const char *name, const char *want)
{
    _cleanup_(freep) char *text = file(name);
    if (want)
        assert_string_equal(text, want);
    else
        assert_null(text);
}

static void expect_names(struct err *e, struct val **result, const char *only)
{
    ok(e);
    assert_int_equal(val_count(*result), only ? 1 : 0);
    if (only)
        assert_string_equal(val_str_at(*result, 0), only);
    val_unrefp(result);
}

static struct err *add_away(struct txn *t, void *arg)
{
    struct rec_host *h = txn_add_host(t);
    *(const char **)arg = rstr_ref(h->row.ref);
    return NULL;
}

/* A host that is not this one; an rstr. */
static const char *away(void)
{
    const char *ref = NULL;
    ok(db_write(w.db, "away", add_away, &ref));
    return ref;
}

static bool is_authority(const struct row *row)
{
    const struct rec_Certificate *c = rec_Certificate(row);
    return c->type == CERTIFICATE_TYPE_CA && str_eq(c->name, "mine");
}

/* ---- certificates of one host ---- */

#define CA(message, ...)                                                                           \
    lab_call(&w, host_##message, w.host_ref, .host = w.host_ref, .name = "mine", ##__VA_ARGS__)

static void authorities(void **state)
{
    struct val *names = NULL;
    ok(certificates_begin(w.ops));
    _cleanup_(freep) char *pem = file("state/cert.pem");
    ok(CA(install_ca_certificate, .cert = pem));
    expect_file("state/certs/mine", pem);
    expect_names(lab_ask(&w, &names, host_certificate_list, NULL, .host = w.host_ref), &names,
                 "mine");
    expect(CA(install_ca_certificate, .cert = pem), "CERTIFICATE_ALREADY_EXISTS mine");
    _cleanup_(rstr_unrefp) const char *record = ref_of(CLASS_Certificate, is_authority);
    assert_non_null(record);
    ok(CA(uninstall_ca_certificate));
    expect_file("state/certs/mine", NULL);
    expect(CA(uninstall_ca_certificate), "CERTIFICATE_DOES_NOT_EXIST mine");
    ok(CA(uninstall_ca_certificate, .force = true));
    expect_names(lab_ask(&w, &names, host_certificate_list, NULL, .host = w.host_ref), &names,
                 NULL);
}

static void records_follow_the_files(void **state)
{
    ok(certificates_begin(w.ops));
    _cleanup_(freep) char *pem = file("state/cert.pem");
    _cleanup_(freep) char *path = mem_printf("%s/state/certs/mine", lab_dir);
    _cleanup_(freep) char *folder = mem_printf("%s/state/certs", lab_dir);
    assert_int_equal(fd_mkdirs(folder, 0755), 0);
    assert_int_equal(fd_replace_file(path, pem, strlen(pem), 0644), 0);
    ok(lab_call(&w, host_certificate_sync, NULL, .host = w.host_ref));
    _cleanup_(rstr_unrefp) const char *record = ref_of(CLASS_Certificate, is_authority);
    assert_non_null(record);
    assert_int_equal(unlink(path), 0);
    ok(lab_call(&w, host_certificate_sync, NULL, .host = w.host_ref));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_null(snap_row(s, CLASS_Certificate, record));
}

static void revocations(void **state)
{
    struct val *names = NULL;
    ok(CA(crl_install, .crl = CRL));
    expect_file("state/crls/mine", CRL);
    expect_names(lab_ask(&w, &names, host_crl_list, NULL, .host = w.host_ref), &names, "mine");
    expect(CA(crl_install, .crl = CRL), "CRL_ALREADY_EXISTS mine");
    ok(CA(crl_uninstall));
    expect_file("state/crls/mine", NULL);
    expect(CA(crl_uninstall), "CRL_DOES_NOT_EXIST mine");
    expect(CA(crl_install, .crl = "no"), "CRL_CORRUPT mine");
    expect_names(lab_ask(&w, &names, host_crl_list, NULL, .host = w.host_ref), &names, NULL);
}

static void another_host_keeps_its_own(void **state)
{
    _cleanup_(rstr_unrefp) const char *far = away();
    struct val *names = NULL;
    expect(lab_call(&w, host_crl_install, far, .host = far, .name = "a", .crl = CRL),
           "HOST_OFFLINE %s", far);
    expect(lab_ask(&w, &names, host_crl_list, far, .host = far), "HOST_OFFLINE %s", far);
    expect(lab_ask(&w, &names, host_certificate_list, far, .host = far), "HOST_OFFLINE %s", far);
    expect(lab_call(&w, host_certificate_sync, far, .host = far), "HOST_OFFLINE %s", far);
    expect(lab_call(&w, host_set_localdb_key, far, .host = far, .key = "a", .value = "b"),
           "HOST_OFFLINE %s", far);
    expect(lab_call(&w, host_apply_guest_agent_config, far, .host = far), "HOST_OFFLINE %s", far);
}

/* ---- signs of life, and small settings ---- */

static struct err *be_silent(struct txn *t, void *arg)
{
    struct rec_host_metrics *m = txn_edit_host_metrics(t, txn_host(t, w.host_ref)->metrics);
    m->live = false;
    m->last_updated = 0;
    return NULL;
}

static void a_heartbeat_is_noted(void **state)
{
    struct val *answer = NULL;
    ok(db_write(w.db, "silent", be_silent, NULL));
    ok(lab_ask(&w, &answer, host_tickle_heartbeat, NULL, .host = w.host_ref,
               .stuff = val_empty_map()));
    val_unref(answer);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    const struct rec_host_metrics *m = snap_host_metrics(s, snap_host(s, w.host_ref)->metrics);
    assert_true(m->live && m->last_updated > 1700000000);
    refused(
        lab_ask(&w, &answer, host_tickle_heartbeat, NULL, .host = NOBODY, .stuff = val_empty_map()),
        "HANDLE_INVALID");
}

static void notices_are_in_the_log(void **state)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 4 << 20);
    log_set_level(NULL, LOG_INFO);
    ok(lab_call(&w, host_notify, NULL, .ty = "a-type", .params = "of things"));
    log_set_level(NULL, LOG_ERR);
    log_tail(&text);
    assert_non_null(strstr(buf_str(&text), "event=notified type='a-type' params='of things'"));
    expect(lab_call(&w, host_notify, NULL, .ty = "", .params = ""), "INVALID_VALUE ty ");
}

static void local_settings(void **state)
{
    ok(lab_call(&w, host_set_localdb_key, NULL, .host = w.host_ref, .key = "a", .value = "b"));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_string_equal(setting_get(s, "local.a"), "b");
}

static void licence_parameters(void **state)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    val_put_str(map, "expiry", "20990101T00:00:00Z");
    ok(lab_call(&w, host_set_license_params, NULL, .self = w.host_ref, .value = map));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    assert_true(val_equal(snap_host(s, w.host_ref)->license_params, map));
    refused(lab_call(&w, host_set_license_params, NULL, .self = NOBODY, .value = map),
            "HANDLE_INVALID");
}

static struct err *forget_versions(struct txn *t, void *arg)
{
    struct rec_host *h = txn_edit_host(t, w.host_ref);
    val_assign(&h->software_version, val_map());
    rstr_set(&h->hostname, "b-7");
    return NULL;
}

static void versions_are_looked_at_again(void **state)
{
    _cleanup_(rstr_unrefp) const char *far = away();
    ok(db_write(w.db, "versions", forget_versions, NULL));
    ok(lab_call(&w, host_refresh_pack_info, NULL, .host = w.host_ref));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    const struct val *versions = snap_host(s, w.host_ref)->software_version;
    assert_string_equal(val_map_str(versions, "product_brand", ""), "Cairn");
    assert_string_equal(val_map_str(versions, "hostname", ""), "b-7");
    expect(lab_call(&w, host_refresh_pack_info, NULL, .host = far), "HOST_OFFLINE %s", far);
}

/* Until it knows which host it is, it does not say that it is well. */
static void who_does_not_know_itself_is_not_healthy(void **state)
{
    const char *self = w.ops->host_ref;
    ok(lab_call(&w, host_local_assert_healthy, NULL, .none = 0));
    w.ops->host_ref = NOBODY;
    struct err *e = lab_call(&w, host_local_assert_healthy, NULL, .none = 0);
    struct err *firewall = lab_call(&w, host_update_firewalld_service_status, NULL, .none = 0);
    w.ops->host_ref = self;
    expect(e, "HOST_STILL_BOOTING");
    expect(firewall, "HOST_STILL_BOOTING");
}

/* ---- the machine ---- */

static struct err *lock_the_doors(struct txn *t, void *arg)
{
    struct rec_host *h = txn_edit_host(t, w.host_ref);
    h->ssh_enabled = false;
    h->https_only = true;
    return NULL;
}

static void the_firewall_follows_the_host(void **state)
{
    ok(lab_call(&w, host_update_firewalld_service_status, NULL, .none = 0));
    expect_file("machine/firewall-https", "enabled\n");
    expect_file("machine/firewall-http", "enabled\n");
    ok(db_write(w.db, "doors", lock_the_doors, NULL));
    ok(lab_call(&w, host_update_firewalld_service_status, NULL, .none = 0));
    expect_file("machine/firewall-ssh", "disabled\n");
    expect_file("machine/firewall-http", "disabled\n");
    expect_file("machine/firewall-https", "enabled\n");
}

/* In the place of cairn-privd: takes one request and says that it is done. */
struct pretender {
    pthread_t thread;
    int listener;
    char request[512];
};
static struct pretender pretender;
static char pretended[108];

static void *pretend(void *arg)
{
    struct pretender *p = arg;
    int fd = accept(p->listener, NULL, NULL);
    size_t n = 0;
    while (n < sizeof(p->request) - 1 && !strchr(p->request, '\n')) {
        ssize_t got = read(fd, p->request + n, sizeof(p->request) - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    (void)!fd_write_all(fd, "{\"ok\":true}\n", 12);
    close(fd);
    return NULL;
}

static int begin_with_privd(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/privd.XXXXXX";
    assert_non_null(mkdtemp(folder));
    snprintf(pretended, sizeof(pretended), "%s/s", folder);
    memcpy(a.sun_path, pretended, sizeof(pretended));
    pretender.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(pretender.listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(pretender.listener, 4), 0);
    lab_privd = pretended;
    int r = lab_test_begin(state);
    lab_privd = NULL;
    return r;
}

static int end_with_privd(void **state)
{
    close(pretender.listener);
    unlink(pretended);
    *strrchr(pretended, '/') = '\0';
    rmdir(pretended);
    return lab_test_end(state);
}

static struct err *no_ntp(struct txn *t, void *arg)
{
    txn_edit_host(t, w.host_ref)->ntp_mode = *(const enum host_ntp_mode *)arg;
    return NULL;
}

static void an_installed_host_sets_its_clock(void **state)
{
    enum host_ntp_mode off = HOST_NTP_MODE_DISABLED, on = HOST_NTP_MODE_FACTORY;
    ok(db_write(w.db, "ntp", no_ntp, &on));
    expect(lab_call(&w, host_set_servertime, NULL, .self = w.host_ref, .value = 1700000000),
           "NOT_ALLOWED_WHEN_NTP_IS_ENABLED %s", w.host_ref);
    ok(db_write(w.db, "ntp", no_ntp, &off));
    assert_int_equal(pthread_create(&pretender.thread, NULL, pretend, &pretender), 0);
    ok(lab_call(&w, host_set_servertime, NULL, .self = w.host_ref, .value = 1700000000));
    pthread_join(pretender.thread, NULL);
    assert_string_equal(pretender.request, "{\"verb\":\"set-clock\",\"seconds\":1700000000}\n");
}

/* ---- the audit log of another member ---- */

static char line_kept[256];

static void keep_line(void *arg, const char *line)
{
    snprintf(line_kept, sizeof(line_kept), "%s", line);
}

static void lines_of_members(void **state)
{
    static const char line[] = "[20260322T10:11:12.123Z|info|b|unix|VM.start R:|audit] ()";
    w.ops->cfg.audit_line = keep_line;
    ok(lab_call(&w, pool_audit_log_append, NULL, .line = line));
    assert_string_equal(line_kept, line);
    static const char *const bad[] = {"", "no date", "[20260322T10:11:12|a\n[20260322T", "[x|info"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(lab_call(&w, pool_audit_log_append, NULL, .line = bad[i]), "INVALID_VALUE");
    assert_string_equal(line_kept, line);
}

/* ---- memory ---- */

static struct err *weigh(struct txn *t, void *arg)
{
    txn_edit_host(t, w.host_ref)->memory_overhead = 5 * MIB;
    txn_edit_VM(t, w.vm)->memory_overhead = 3 * MIB;
    return NULL;
}

static void overheads_are_those_of_the_records(void **state)
{
    struct val *n = NULL;
    ok(db_write(w.db, "overheads", weigh, NULL));
    ok(lab_ask(&w, &n, host_compute_memory_overhead, NULL, .host = w.host_ref));
    assert_int_equal(val_get_int(n), 5 * MIB);
    val_unrefp(&n);
    ok(lab_ask(&w, &n, VM_compute_memory_overhead, NULL, .vm = w.vm));
    assert_int_equal(val_get_int(n), 3 * MIB);
    val_unrefp(&n);
    ok(lab_ask(&w, &n, VM_maximise_memory, w.vm, .self = w.vm, .total = 100 * MIB));
    assert_int_equal(val_get_int(n), 97 * MIB);
    val_unrefp(&n);
    refused(lab_ask(&w, &n, host_compute_memory_overhead, NULL, .host = NOBODY), "HANDLE_INVALID");
    refused(lab_ask(&w, &n, VM_compute_memory_overhead, NULL, .vm = NOBODY), "HANDLE_INVALID");
}

static void guests_that_keep_their_memory_are_named(void **state)
{
    struct val *names = NULL;
    ok(SET(memory_static_min, .value = 16 * MIB));
    START();
    expect_names(lab_ask(&w, &names, host_get_uncooperative_domains, NULL, .self = w.host_ref),
                 &names, NULL);
    guest_does(SIM_DEAF, 1);
    ok(SET(memory_target_live, .target = 64 * MIB - 8 * MIB));
    expect_names(lab_ask(&w, &names, host_get_uncooperative_domains, NULL, .self = w.host_ref),
                 &names, now()->uuid);
    expect_names(lab_ask(&w, &names, host_get_uncooperative_resident_VMs, NULL, .self = w.host_ref),
                 &names, w.vm);
    refused(lab_ask(&w, &names, host_get_uncooperative_domains, NULL, .self = NOBODY),
            "HANDLE_INVALID");
    guest_does(SIM_DEAF, 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HAS_MALLOC_TRIM /* the sanitizers' allocators keep what was given back */
#endif

#ifdef HAS_MALLOC_TRIM
static size_t resident_kib(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long all, resident;
    assert_int_equal(fscanf(f, "%lu %lu", &all, &resident), 2);
    fclose(f);
    return resident * 4;
}

/* Memory that is free but lies below what is in use goes back to the machine only when asked. */
static void free_memory_goes_back_to_the_machine(void **state)
{
    enum { PIECES = 4000, PIECE = 16 << 10 };
    static void *pieces[PIECES];
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = memset(mem_zalloc(PIECE, 1), 1, PIECE);
    for (unsigned i = 0; i + 1 < PIECES; i++)
        free(pieces[i]);
    size_t before = resident_kib();
    ok(lab_call(&w, Diagnostics_gc_compact, NULL, .host = w.host_ref));
    assert_true(resident_kib() + (32 << 10) < before);
    free(pieces[PIECES - 1]);
    refused(lab_call(&w, Diagnostics_gc_compact, NULL, .host = NOBODY), "HANDLE_INVALID");
}
#endif

/* ---- VMs and their devices ---- */

static struct err *offer(struct txn *t, void *arg)
{
    const struct rec_VM *vm = txn_VM(t, w.vm);
    struct rec_VM_guest_metrics *m = txn_edit_VM_guest_metrics(t, vm->guest_metrics);
    val_assign(&m->services, val_with(m->services, "web", "on"));
    return NULL;
}

static void services_are_those_the_guest_offers(void **state)
{
    struct val *map = NULL;
    START();
    guest_does(SIM_AGENT, 9);
    ok(db_write(w.db, "services", offer, NULL));
    ok(lab_ask(&w, &map, VM_query_services, w.vm, .self = w.vm));
    assert_string_equal(val_map_str(map, "web", ""), "on");
    val_unrefp(&map);
    refused(lab_ask(&w, &map, VM_query_services, NOBODY, .self = NOBODY), "HANDLE_INVALID");
}

static void allowed_operations_are_true_when_asked_for(void **state)
{
    ok(lab_call(&w, VM_update_allowed_operations, NULL, .self = w.vm));
    assert_true(allows("start") && !allows("hard_shutdown"));
    START();
    ok(lab_call(&w, VM_update_allowed_operations, NULL, .self = w.vm));
    assert_true(!allows("start") && allows("hard_shutdown"));
    refused(lab_call(&w, VM_update_allowed_operations, NULL, .self = NOBODY), "HANDLE_INVALID");
}

static void a_vm_resumes_from_a_copy_of_its_image(void **state)
{
    struct val *copy = NULL;
    refused(SET(suspend_VDI, .value = REF_NULL), "VM_BAD_POWER_STATE");
    START();
    ok(VM(suspend));
    _cleanup_(rstr_unrefp) const char *old = rstr_ref(now()->suspend_VDI);
    ok(lab_ask(&w, &copy, VDI_copy, old, .vdi = old, .sr = w.sr, .base_vdi = REF_NULL,
               .into_vdi = REF_NULL));
    ok(SET(suspend_VDI, .value = val_get_str(copy)));
    assert_string_equal(now()->suspend_VDI, val_get_str(copy));
    val_unref(copy);
    ok(lab_call(&w, VDI_destroy, old, .self = old));
    ok(VM(resume));
    assert_int_equal(guest().state, GUEST_RUNNING);
}

static size_t nics(void)
{
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    return b->n_nics;
}

static size_t disks(void)
{
    _cleanup_(boot_freep) struct boot *b = guest_boot();
    return b->n_disks;
}

static void devices_are_taken_by_force(void **state)
{
    _cleanup_(rstr_unrefp) const char *vbd = NULL, *vif = NULL;
    ok(lab_add_disk(&w, &vbd));
    ok(lab_add_nic(&w, &vif));
    START();
    size_t n_disks = disks(), n_nics = nics();
    ok(lab_call(&w, VBD_unplug_force, vbd, .self = vbd));
    ok(lab_call(&w, VIF_unplug_force, vif, .self = vif));
    assert_int_equal(disks(), n_disks - 1);
    assert_int_equal(nics(), n_nics - 1);
    expect(lab_call(&w, VBD_unplug_force, vbd, .self = vbd), "DEVICE_ALREADY_DETACHED %s", vbd);
    expect(lab_call(&w, VIF_unplug_force, vif, .self = vif), "DEVICE_ALREADY_DETACHED %s", vif);
}

#define T(f) cmocka_unit_test_setup_teardown(f, lab_test_begin, lab_test_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(authorities),
        T(records_follow_the_files),
        T(revocations),
        T(another_host_keeps_its_own),
        T(a_heartbeat_is_noted),
        T(notices_are_in_the_log),
        T(local_settings),
        T(licence_parameters),
        T(versions_are_looked_at_again),
        T(who_does_not_know_itself_is_not_healthy),
        T(the_firewall_follows_the_host),
        cmocka_unit_test_setup_teardown(an_installed_host_sets_its_clock, begin_with_privd,
                                        end_with_privd),
        T(lines_of_members),
        T(overheads_are_those_of_the_records),
        T(guests_that_keep_their_memory_are_named),
#ifdef HAS_MALLOC_TRIM
        T(free_memory_goes_back_to_the_machine),
#endif
        T(services_are_those_the_guest_offers),
        T(allowed_operations_are_true_when_asked_for),
        T(a_vm_resumes_from_a_copy_of_its_image),
        T(devices_are_taken_by_force),
    };
    return cmocka_run_group_tests_name("op_house", tests, NULL, NULL);
}
