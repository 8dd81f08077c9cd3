/*
 * Tests of src/host with QEMU in software and cairn-diskd: a boot sector is the guest. It says
 * READY on its serial port, then echoes what it is told there; 'q' powers it off, 'r' reboots it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "host/caps.h"
#include "host/host.h"
#include "host/host_impl.h"
#include "host/nbdio.h"
#include "host/proc.h"
#include "host/sample.h"
#include "host/sr.h"

#define VM       "11111111-2222-4333-8444-555555555555"
#define TRANSFER "22222222-2222-4333-8444-555555555555"
#define SR       "33333333-2222-4333-8444-555555555555"
#define VDI      "99999999-2222-4333-8444-555555555555"
#define STATE    "88888888-2222-4333-8444-555555555555"
#define DISK     (4ULL << 20)
#define BOOT_MS  120000 /* on a machine that is busy */
#define SOON_MS  60000  /* for what comes at once, unless the machine has much else to do */

static const unsigned char boot_sector[] = {
    0xfa, 0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1, 0x31, 0xc0, 0x8e, 0xd8, 0xfc, 0xbe, 0x80, 0x7c, 0xac,
    0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01,
    0x74, 0xf8, 0xba, 0xf8, 0x03, 0xec, 0x3c, 0x71, 0x74, 0x07, 0x3c, 0x72, 0x74, 0x0b, 0xee, 0xeb,
    0xe9, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4};

struct fixture {
    char dir[32];
    struct host *h;
    struct boot *boot;
    struct val *config;
    struct sr_ref sr;
    struct verb v;
    int console;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned seen[16]; /* facts of each kind */
    char reason[128];
};

static void note(void *arg, const struct host_fact *f)
{
    struct fixture *x = arg;
    pthread_mutex_lock(&x->lock);
    x->seen[f->kind]++;
    snprintf(x->reason, sizeof(x->reason), "%s", f->reason ? f->reason : "");
    pthread_cond_broadcast(&x->cond);
    pthread_mutex_unlock(&x->lock);
}

static bool saw(struct fixture *x, enum host_fact_kind kind, unsigned times, unsigned ms)
{
    usec_t end = clock_now() + ms * USEC_PER_MSEC;
    pthread_mutex_lock(&x->lock);
    bool in_time = true;
    while (x->seen[kind] < times && in_time)
        in_time = clock_wait(&x->cond, &x->lock, end);
    bool yes = x->seen[kind] >= times;
    pthread_mutex_unlock(&x->lock);
    return yes;
}

static void must(struct err *e)
{
    if (!e)
        return;
    char *text = err_text(e);
    fail_msg("%s", text);
}

static void must_fail(struct err *e)
{
    assert_non_null(e);
    err_free(e);
}

static struct host *open_host(struct fixture *x)
{
    struct host_config c = {
        .run_dir = x->dir, .accel = "tcg", .diskd = getenv("DISKD"), .fact = note, .fact_arg = x};
    struct host *h = NULL;
    must(host_new(&c, &h));
    must(host_start(h));
    return h;
}

/* Puts the guest on a new disk, through its data path. */
static void make_disk(struct fixture *x, const char *uuid, uint64_t size, struct sr_volume *vol)
{
    unsigned char sector[512] = {0};
    memcpy(sector, boot_sector, sizeof(boot_sector));
    memcpy(sector + 0x80, "READY\r\n", 7);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    must(sr_vdi_create(x->h, &x->v, &x->sr, uuid, size, NULL, vol));
    struct boot_disk d = {.id = "x",
                          .bus = BOOT_EMULATED,
                          .image = {.vdi = vol->uuid,
                                    .path = vol->path,
                                    .format = vol->format,
                                    .size_bytes = vol->virtual_bytes}};
    must(host_disk_attach(x->h, &x->v, TRANSFER, &d));
    _cleanup_(freep) char *path = host_disk_nbd_path(x->h, TRANSFER, 0);
    struct nbdio *n = NULL;
    must(nbdio_open(path, &n));
    must(nbdio_write(n, sector, sizeof(sector), 0));
    must(nbdio_flush(n));
    nbdio_free(n);
    must(host_disks_detach(x->h, &x->v, TRANSFER));
}

static int setup_on(void **state, enum boot_bus bus)
{
    struct fixture *x = mem_new(struct fixture);
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->cond, NULL);
    strcpy(x->dir, "/tmp/cairn-qemu-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    x->console = -1;
    x->h = open_host(x);
    x->config = val_map();
    _cleanup_(freep) char *location = mem_printf("%s/sr", x->dir);
    val_put_str(x->config, "location", location);
    x->sr = (struct sr_ref){.uuid = SR, .type = "file", .device_config = x->config};
    must(sr_create(x->h, &x->v, &x->sr));
    struct sr_volume vol = {0};
    make_disk(x, VDI, DISK, &vol);
    x->boot = boot_new(VM, "boot sector");
    x->boot->domid = 1;
    x->boot->memory_bytes = 32 << 20;
    free(x->boot->accel);
    free(x->boot->cpu);
    x->boot->accel = mem_strdup("tcg");
    x->boot->cpu = mem_strdup("qemu64");
    boot_set_disk(x->boot, &(struct boot_disk){.id = "vbd0",
                                               .bootable = true,
                                               .bus = bus,
                                               .image = {.vdi = vol.uuid,
                                                         .path = vol.path,
                                                         .format = vol.format,
                                                         .size_bytes = vol.virtual_bytes}});
    sr_volume_done(&vol);
    *state = x;
    return 0;
}

static int setup(void **state)
{
    return setup_on(state, BOOT_VIRTIO);
}

static int setup_emulated(void **state)
{
    return setup_on(state, BOOT_EMULATED);
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    fd_close(x->console);
    err_free(host_vm_kill(x->h, &x->v, VM));
    err_free(host_disks_detach(x->h, &x->v, VM));
    host_free(x->h);
    boot_free(x->boot);
    val_unref(x->config);
    fd_remove_tree(x->dir);
    free(x);
    return 0;
}

/* Reads the console until it has said `text`. */
static bool hear(struct fixture *x, const char *text, unsigned ms)
{
    char said[8192];
    size_t n = 0;
    usec_t end = clock_now() + ms * USEC_PER_MSEC;
    while (clock_now() < end && n < sizeof(said) - 1) {
        struct pollfd p = {.fd = x->console, .events = POLLIN};
        if (poll(&p, 1, 50) <= 0)
            continue;
        ssize_t got = read(x->console, said + n, sizeof(said) - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        said[n] = '\0';
        if (strstr(said, text))
            return true;
    }
    return false;
}

static void listen_to(struct fixture *x)
{
    fd_close(x->console);
    must(host_vm_serial_open(x->h, VM, &x->console));
}

static void say(struct fixture *x, char c)
{
    assert_int_equal(write(x->console, &c, 1), 1);
}

static void start(struct fixture *x)
{
    must(host_disks_attach(x->h, &x->v, x->boot));
    must(host_vm_build(x->h, &x->v, x->boot, NULL));
    listen_to(x);
    must(host_vm_unpause(x->h, &x->v, VM));
    assert_true(hear(x, "READY", BOOT_MS));
}

static struct guest_info query(struct fixture *x)
{
    struct guest_info info;
    must(host_vm_query(x->h, VM, &info));
    return info;
}

static void a_guest_boots_from_its_vhd_and_powers_off(void **state)
{
    struct fixture *x = *state;
    start(x);
    say(x, 'a');
    assert_true(hear(x, "a", SOON_MS));
    must(host_vm_pause(x->h, &x->v, VM));
    assert_int_equal(query(x).state, GUEST_PAUSED);
    must(host_vm_unpause(x->h, &x->v, VM));
    say(x, 'q');
    assert_true(saw(x, FACT_SHUTDOWN, 1, SOON_MS));
    assert_int_equal(query(x).state, GUEST_ABSENT);
    must(host_vm_kill(x->h, &x->v, VM));
    must(host_disks_detach(x->h, &x->v, VM));
    _cleanup_(freep) char *dir = mem_printf("%s/vm/" VM, x->dir);
    assert_int_equal(access(dir, F_OK), -1);
    char **owners = NULL;
    size_t n = 0;
    must(host_disks_list(x->h, &owners, &n));
    assert_int_equal(n, 0);
    free(owners);
}

struct sampler {
    struct fixture *x;
    pthread_t thread;
    atomic_bool ending;
    unsigned rounds;
};

static void *sample_on(void *arg)
{
    struct sampler *p = arg;
    while (!atomic_load(&p->ending)) {
        double cpu;
        struct disk_sample disk = {.device = 0};
        struct guest_sample s = {.n_cpus = 1, .cpu_s = &cpu, .n_disks = 1, .disks = &disk};
        host_sample_guest(p->x->h, VM, &s);
        p->rounds++;
    }
    return NULL;
}

static void a_guest_is_measured_while_it_comes_and_goes(void **state)
{
    struct sampler p = {.x = *state};
    assert_int_equal(pthread_create(&p.thread, NULL, sample_on, &p), 0);
    for (unsigned i = 0; i < 3; i++) {
        start(p.x);
        must(host_vm_kill(p.x->h, &p.x->v, VM));
        must(host_disks_detach(p.x->h, &p.x->v, VM));
    }
    atomic_store(&p.ending, true);
    assert_int_equal(pthread_join(p.thread, NULL), 0);
    assert_true(p.rounds > 3);
}

static void a_reboot_is_told_or_ends_the_guest(void **state)
{
    struct fixture *x = *state;
    start(x);
    say(x, 'r');
    assert_true(saw(x, FACT_REBOOT, 1, SOON_MS));
    assert_true(hear(x, "READY", BOOT_MS));
    must(host_vm_kill(x->h, &x->v, VM));
    assert_int_equal(x->seen[FACT_SHUTDOWN] + x->seen[FACT_LOST], 0);
    x->boot->reboot_stops = true;
    start(x);
    say(x, 'r');
    assert_true(saw(x, FACT_REBOOT_STOPPED, 1, SOON_MS));
}

static void a_killed_qemu_is_noticed_within_a_second(void **state)
{
    struct fixture *x = *state;
    start(x);
    assert_int_equal(kill((pid_t)query(x).pid, SIGKILL), 0);
    assert_true(saw(x, FACT_LOST, 1, SOON_MS));
    assert_non_null(strstr(x->reason, "signal 9"));
    assert_int_equal(query(x).state, GUEST_ABSENT);
    start(x); /* and nothing is in the way of the next start */
}

static void guests_outlive_the_host_and_are_found(void **state)
{
    struct fixture *x = *state;
    start(x);
    int64_t pid = query(x).pid;
    fd_closep(&x->console);
    host_free(x->h);
    x->h = open_host(x);
    assert_int_equal(query(x).pid, pid);
    assert_int_equal(query(x).state, GUEST_RUNNING);
    struct guest_item *items = NULL;
    size_t n = 0;
    must(host_list(x->h, &items, &n));
    assert_int_equal(n, 1);
    assert_string_equal(items[0].boot->disks[0].image.vdi, VDI);
    guest_items_free(items, n);
    listen_to(x);
    assert_true(hear(x, "READY", SOON_MS)); /* what it said to our predecessor */
    say(x, 'b');
    assert_true(hear(x, "b", SOON_MS));
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    assert_true(saw(x, FACT_LOST, 1, SOON_MS));
}

static pid_t diskd_pid(struct fixture *x)
{
    _cleanup_(freep) char *control = mem_printf("--control=%s/disk/" VM "/ctl.sock", x->dir);
    pid_t pid = 0;
    uint64_t when;
    return proc_find(control, &pid, &when) ? pid : 0;
}

static void a_killed_diskd_comes_back_under_the_guest(void **state)
{
    struct fixture *x = *state;
    start(x);
    pid_t pid = diskd_pid(x);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_true(saw(x, FACT_DISK_ERROR, 1, SOON_MS));
    assert_true(saw(x, FACT_DISK_OK, 1, SOON_MS));
    assert_int_not_equal(diskd_pid(x), pid);
    say(x, 'r'); /* reads its boot sector again */
    assert_true(hear(x, "READY", BOOT_MS));
}

static void a_diskd_that_died_with_the_host_is_revived_by_the_next(void **state)
{
    struct fixture *x = *state;
    start(x);
    pid_t pid = diskd_pid(x);
    fd_closep(&x->console);
    host_free(x->h);
    assert_int_equal(kill(pid, SIGKILL), 0);
    x->h = open_host(x);
    assert_true(saw(x, FACT_DISK_OK, 1, SOON_MS));
    listen_to(x);
    assert_true(hear(x, "READY", SOON_MS));
    say(x, 'r');
    assert_true(hear(x, "READY", BOOT_MS));
}

/* It is where it was, in its loop: no READY again. */
static void save_and_restore(struct fixture *x)
{
    uint64_t need = 0;
    struct sr_volume vol = {0};
    must(host_vm_save_size(x->h, VM, &need));
    must(sr_vdi_create(x->h, &x->v, &x->sr, STATE, need, NULL, &vol));
    struct image image = {
        .vdi = vol.uuid, .path = vol.path, .format = vol.format, .size_bytes = vol.virtual_bytes};
    must(host_vm_save(x->h, &x->v, VM, &image));
    assert_int_equal(query(x).state, GUEST_ABSENT);
    must(host_vm_build(x->h, &x->v, x->boot, &image));
    assert_int_equal(query(x).state, GUEST_PAUSED);
    listen_to(x);
    must(host_vm_unpause(x->h, &x->v, VM));
    say(x, 'c');
    assert_true(hear(x, "c", SOON_MS));
    sr_volume_done(&vol);
}

static void a_guest_is_saved_and_comes_back(void **state)
{
    struct fixture *x = *state;
    struct sr_volume vol = {0};
    start(x);
    save_and_restore(x);
    say(x, 'q');
    assert_true(saw(x, FACT_SHUTDOWN, 1, SOON_MS));
    must(host_vm_kill(x->h, &x->v, VM));
    must(sr_vdi_create(x->h, &x->v, &x->sr, TRANSFER, 2 << 20, NULL, &vol));
    struct image blank = {
        .vdi = vol.uuid, .path = vol.path, .format = vol.format, .size_bytes = vol.virtual_bytes};
    must_fail(host_vm_build(x->h, &x->v, x->boot, &blank));
    assert_int_equal(query(x).state, GUEST_ABSENT);
    sr_volume_done(&vol);
    must(host_disks_detach(x->h, &x->v, VM));
    must_fail(host_vm_build(x->h, &x->v, x->boot, NULL)); /* at once: its disk is not attached */
}

static bool always(void *arg)
{
    return true;
}

static void a_cancelled_save_leaves_the_guest_running(void **state)
{
    struct fixture *x = *state;
    struct sr_volume vol = {0};
    start(x);
    must(sr_vdi_create(x->h, &x->v, &x->sr, STATE, 256 << 20, NULL, &vol));
    struct image image = {
        .vdi = vol.uuid, .path = vol.path, .format = vol.format, .size_bytes = vol.virtual_bytes};
    struct verb cancelled = {.cancelled = always};
    must_fail(host_vm_save(x->h, &cancelled, VM, &image));
    enum guest_state got;
    must(host_vm_wait(x->h, &x->v, VM, 1U << GUEST_RUNNING, &got));
    say(x, 'd');
    assert_true(hear(x, "d", SOON_MS));
    sr_volume_done(&vol);
}

static void a_cd_is_inserted_and_ejected(void **state)
{
    struct fixture *x = *state;
    boot_set_disk(x->boot, &(struct boot_disk){.id = "cd", .device = 3, .cd = true});
    start(x);
    _cleanup_(freep) char *path = mem_printf("%s/x.iso", x->dir);
    char zeroes[4096] = {0};
    assert_int_equal(fd_replace_file(path, zeroes, sizeof(zeroes), 0600), 0);
    struct boot_disk cd = {.id = "cd",
                           .device = 3,
                           .cd = true,
                           .image = {.vdi = (char *)STATE,
                                     .path = path,
                                     .format = (char *)"raw",
                                     .size_bytes = sizeof(zeroes),
                                     .readonly = true}};
    for (int i = 0; i < 2; i++) {
        must(host_disk_attach(x->h, &x->v, VM, &cd));
        must(host_vm_insert_cd(x->h, &x->v, VM, &cd));
        must(host_vm_insert_cd(x->h, &x->v, VM, &cd)); /* it is in */
        struct boot_disk other = cd;
        other.image.path = "/elsewhere";
        must_fail(host_vm_insert_cd(x->h, &x->v, VM, &other));
        must(host_vm_eject_cd(x->h, &x->v, VM, 3));
        must(host_disk_detach(x->h, &x->v, VM, 3));
    }
}

static void a_bad_record_fails_with_qemus_words_and_leaves_nothing(void **state)
{
    struct fixture *x = *state;
    free(x->boot->machine);
    x->boot->machine = mem_strdup("pc-q35-99.9");
    must(host_disks_attach(x->h, &x->v, x->boot));
    struct err *e = host_vm_build(x->h, &x->v, x->boot, NULL);
    assert_non_null(e);
    assert_non_null(strstr(err_param(e, 0), "unsupported machine type"));
    err_free(e);
    _cleanup_(freep) char *dir = mem_printf("%s/vm/" VM, x->dir);
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(x->seen[FACT_LOST], 0);
}

static void a_disk_grows_and_is_told(void **state)
{
    struct fixture *x = *state;
    struct sr_volume vol = {0};
    must(sr_vdi_resize(x->h, &x->v, &x->sr, VDI ".vhd", 8 << 20, &vol));
    assert_int_equal(vol.virtual_bytes, 8 << 20);
    sr_volume_done(&vol);
}

static void a_guest_with_255_disks_boots(void **state)
{
    struct fixture *x = *state;
    for (unsigned i = 1; i < BOOT_DISKS_MAX; i++) {
        _cleanup_(freep) char *path = mem_printf("%s/%u.raw", x->dir, i);
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        assert_int_equal(ftruncate(fd, 1 << 20), 0);
        close(fd);
        boot_set_disk(x->boot, &(struct boot_disk){.id = "vbd",
                                                   .device = i,
                                                   .bus = i % 10 == 9 ? BOOT_EMULATED : BOOT_VIRTIO,
                                                   .image = {.vdi = (char *)VDI,
                                                             .path = path,
                                                             .format = (char *)"raw",
                                                             .size_bytes = 1 << 20}});
    }
    x->boot->memory_bytes = 256 << 20;
    x->v.deadline = clock_now() + 120 * USEC_PER_SEC;
    start(x);
}

static void the_screen_is_served_on_a_socket(void **state)
{
    struct fixture *x = *state;
    start(x);
    _cleanup_(freep) char *path = host_vm_vnc_path(x->h, VM);
    _cleanup_(fd_closep) int fd = fd_connect_unix(path);
    assert_true(fd >= 0);
    char banner[13] = "";
    assert_int_equal(fd_read_all(fd, banner, 12), 0);
    assert_string_equal(banner, "RFB 003.008\n");
}

static void plugging_knows_its_limits(void **state)
{
    struct fixture *x = *state;
    struct boot_disk d = *boot_disk(x->boot, 0);
    start(x);
    d.device = 16;
    must_fail(host_vm_plug_disk(x->h, &x->v, VM, &d));
    d.device = 1;
    d.bus = BOOT_EMULATED;
    must_fail(host_vm_plug_disk(x->h, &x->v, VM, &d));
    must(host_vm_unplug_disk(x->h, &x->v, VM, 9, false)); /* nothing there is fine */
    struct boot_nic n = {.id = "vif0", .mac = "02:00:00:00:00:01"};
    must(host_vm_plug_nic(x->h, &x->v, VM, &n));
    must(host_vm_plug_nic(x->h, &x->v, VM, &n)); /* it is there */
    struct boot_nic other = {.id = "vif1", .mac = "02:00:00:00:00:02"};
    must_fail(host_vm_plug_nic(x->h, &x->v, VM, &other));
    x->v.deadline = clock_now() + USEC_PER_SEC / 2;
    struct err *e = host_vm_unplug_nic(x->h, &x->v, VM, 0, false); /* this guest lets nothing go */
    assert_true(err_is(e, "DEVICE_DETACH_TIMEOUT"));
    assert_string_equal(err_param(e, 1), "vif0");
    err_free(e);
    x->v.deadline = 0;
}

/* How many threads of a process may run on CPU 0 only. */
static int threads_on_cpu_0(int64_t pid)
{
    int n = 0;
    _cleanup_(freep) char *cmd = mem_printf(
        "grep -hx 'Cpus_allowed_list:.0' /proc/%lld/task/*/status | wc -l", (long long)pid);
    FILE *f = popen(cmd, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

static void running_guests_change(void **state)
{
    struct fixture *x = *state;
    struct guest_info info = {0};
    x->boot->cpus_max = 3;
    free(x->boot->bios_vendor);
    x->boot->bios_vendor = mem_strdup("Some, Body");
    start(x);
    must(host_vm_set_cpus(x->h, &x->v, VM, 3));
    must(host_vm_query(x->h, VM, &info));
    assert_int_equal(info.cpus, 3);
    must_fail(host_vm_set_cpus(x->h, &x->v, VM, 4));
    must_fail(host_vm_set_cpus(x->h, &x->v, VM, 2));
    must(host_vm_set_memory(x->h, &x->v, VM, x->boot->memory_bytes / 2));
    must_fail(host_vm_set_memory(x->h, &x->v, VM, x->boot->memory_bytes * 2));
    must(host_vm_query(x->h, VM, &info)); /* there is no driver that would give any back */
    assert_int_equal(info.memory_bytes, x->boot->memory_bytes);
    must(host_vm_trigger(x->h, &x->v, VM, TRIGGER_NMI));
    must(host_vm_set_cpu_mask(x->h, &x->v, VM, "0"));
    assert_int_equal(threads_on_cpu_0(query(x).pid), 3);
    must(host_vm_set_cpu_mask(x->h, &x->v, VM, ""));
    assert_true(threads_on_cpu_0(query(x).pid) == 0 || sysconf(_SC_NPROCESSORS_ONLN) == 1);
    must(host_vm_kill(x->h, &x->v, VM));
}

/* What was added must be there again where the guest comes back. */
static void an_enlarged_guest_is_saved_and_comes_back(void **state)
{
    struct fixture *x = *state;
    struct guest_info info = {0};
    x->boot->cpus_max = 2;
    start(x);
    must(host_vm_set_cpus(x->h, &x->v, VM, 2));
    x->boot->cpus = 2;
    save_and_restore(x);
    must(host_vm_query(x->h, VM, &info));
    assert_int_equal(info.cpus, 2);
}

static void a_uefi_guest_runs_its_firmware(void **state)
{
    struct fixture *x = *state;
    x->boot->firmware = BOOT_UEFI;
    x->boot->memory_bytes = 256 << 20;
    must(host_disks_attach(x->h, &x->v, x->boot));
    must(host_vm_build(x->h, &x->v, x->boot, NULL));
    listen_to(x);
    must(host_vm_unpause(x->h, &x->v, VM));
    assert_true(hear(x, "BdsDxe", BOOT_MS)); /* it looks for a boot loader, which the disk lacks */
    _cleanup_(freep) char *nvram = mem_printf("%s/nvram/" VM ".fd", x->dir);
    assert_int_equal(access(nvram, R_OK | W_OK), 0);
    must(host_vm_kill(x->h, &x->v, VM));
    must(host_vm_forget(x->h, &x->v, VM));
    must(host_vm_forget(x->h, &x->v, VM));
    assert_int_equal(access(nvram, F_OK), -1);
}

static void the_probe_guest_runs_in_software(void **state)
{
    struct fixture *x = *state;
    char *reason = NULL;
    assert_int_equal(probe_guest("qemu-system-x86_64", "tcg", x->dir, &reason), 0);
    assert_int_not_equal(probe_guest("qemu-system-x86_64", "nonsense", x->dir, &reason), 0);
    assert_non_null(strstr(reason, "nonsense"));
    free(reason);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* The same with a disk that QEMU reaches by NBD. */
#define TEST_EMULATED(f)                                                                           \
    {                                                                                              \
#f " (emulated)", f, setup_emulated, teardown, NULL                                        \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_guest_boots_from_its_vhd_and_powers_off),
        TEST_EMULATED(a_guest_boots_from_its_vhd_and_powers_off),
        TEST(a_guest_is_measured_while_it_comes_and_goes),
        TEST(a_reboot_is_told_or_ends_the_guest),
        TEST(a_killed_qemu_is_noticed_within_a_second),
        TEST(guests_outlive_the_host_and_are_found),
        TEST(a_killed_diskd_comes_back_under_the_guest),
        TEST_EMULATED(a_killed_diskd_comes_back_under_the_guest),
        TEST(a_diskd_that_died_with_the_host_is_revived_by_the_next),
        TEST(a_guest_is_saved_and_comes_back),
        TEST_EMULATED(a_guest_is_saved_and_comes_back),
        TEST(a_cancelled_save_leaves_the_guest_running),
        TEST(a_cd_is_inserted_and_ejected),
        TEST(a_bad_record_fails_with_qemus_words_and_leaves_nothing),
        TEST(a_disk_grows_and_is_told),
        TEST(a_guest_with_255_disks_boots),
        TEST(the_screen_is_served_on_a_socket),
        TEST(plugging_knows_its_limits),
        TEST(running_guests_change),
        TEST(an_enlarged_guest_is_saved_and_comes_back),
        TEST(a_uefi_guest_runs_its_firmware),
        TEST(the_probe_guest_runs_in_software),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("qemu", tests, NULL, NULL);
}
