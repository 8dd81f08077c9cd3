/* Tests of privd and its client src/host/priv, on a loop device; they need root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host.h"
#include "host/priv.h"
#include "host/proc.h"
#include "host/sr.h"
#include "loop/child.h"

#define SR "33333333-2222-4333-8444-555555555555"

struct fixture {
    char dir[32];
    char *socket;
    char *device;
    struct host *h;
};

/* Runs a program and returns its first line; the caller frees. */
static char *run(const char *const *argv)
{
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 4096);
    struct err *e = child_run(&spec, 20 * USEC_PER_SEC, &out, NULL, &how);
    assert_null(e);
    assert_int_equal(how.code, 0);
    char *line = buf_take(&out);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void wait_for_privd(struct fixture *x)
{
    for (int i = 0; i < 500; i++) {
        int fd = fd_connect_unix(x->socket);
        if (fd >= 0) {
            close(fd);
            return;
        }
        usleep(10000);
    }
    fail_msg("cairn-privd does not answer");
}

static int setup(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    (void)signal(SIGPIPE, SIG_IGN);
    strcpy(x->dir, "/tmp/cairn-priv-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    x->socket = mem_printf("%s/privd.sock", x->dir);
    _cleanup_(freep) char *file = mem_printf("%s/device.img", x->dir);
    int fd = open(file, O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    close(fd);
    const char *argv[] = {"losetup", "-f", "--show", file, NULL};
    x->device = run(argv);
    struct host_config c = {.run_dir = x->dir, .accel = "tcg", .diskd = getenv("DISKD")};
    assert_null(host_new(&c, &x->h));
    assert_null(host_start(x->h));
    wait_for_privd(x);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    _cleanup_(freep) char *dir = mem_printf("%s/sr-mount/" SR, x->dir);
    err_free(priv_umount(x->socket, dir));
    host_free(x->h);
    const char *argv[] = {"losetup", "-d", x->device, NULL};
    free(run(argv));
    fd_remove_tree(x->dir);
    free(x->device);
    free(x->socket);
    free(x);
    return 0;
}

static void assert_says(struct err *e, const char *text)
{
    assert_non_null(e);
    char *all = err_text(e);
    if (!strstr(all, text))
        fail_msg("'%s' does not say '%s'", all, text);
    free(all);
    err_free(e);
}

static uint64_t bytes_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t utilisation(struct fixture *x, const struct sr_ref *sr, const char *location)
{
    struct sr_volume vol = {0};
    assert_null(sr_vdi_info(x->h, sr, location, &vol));
    uint64_t bytes = vol.physical_bytes;
    sr_volume_done(&vol);
    return bytes;
}

/* As cairn-diskd does for a guest's discard: the disk takes less, and so does the device. */
static void what_is_discarded_is_given_back(void **state)
{
    struct fixture *x = *state;
    struct verb v = {0};
    struct sr_volume vol = {0};
    static char data[16 << 20];
    memset(data, 7, sizeof(data));
    _cleanup_(val_unrefp) struct val *config = val_map();
    _cleanup_(freep) char *device = mem_printf("%s/device.img", x->dir);
    val_put_str(config, "device", x->device);
    struct sr_ref sr = {.uuid = SR, .type = "ext", .device_config = config};
    assert_null(sr_create(x->h, &v, &sr));
    assert_null(sr_attach(x->h, &v, &sr));
    assert_null(sr_vdi_create(x->h, &v, &sr, SR, 32 << 20, NULL, &vol));
    int fd = open(vol.path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, sizeof(data), 1 << 20), sizeof(data));
    assert_int_equal(syncfs(fd), 0);
    uint64_t disk = utilisation(x, &sr, vol.location), below = bytes_of(device);
    assert_true(disk >= sizeof(data) && below >= sizeof(data));
    assert_int_equal(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, sizeof(data)), 0);
    assert_true(utilisation(x, &sr, vol.location) <= disk - sizeof(data));
    for (int i = 0; bytes_of(device) > below - sizeof(data) / 2; i++) {
        assert_true(i < 6000); /* a minute */
        assert_int_equal(syncfs(fd), 0);
        usleep(10000);
    }
    close(fd);
    sr_volume_done(&vol);
    assert_null(sr_detach(x->h, &v, &sr));
}

static void an_ext_repository_is_formatted_once_and_mounted(void **state)
{
    struct fixture *x = *state;
    struct verb v = {0};
    struct sr_volume vol = {0};
    _cleanup_(val_unrefp) struct val *config = val_map();
    val_put_str(config, "device", x->device);
    struct sr_ref sr = {.uuid = SR, .type = "ext", .device_config = config};
    assert_null(sr_create(x->h, &v, &sr));
    assert_says(sr_create(x->h, &v, &sr), "carries ext4 labelled 'cairn-sr'");
    assert_null(sr_attach(x->h, &v, &sr));
    assert_null(sr_attach(x->h, &v, &sr));
    assert_says(sr_create(x->h, &v, &sr), "is mounted on");
    val_put_str(config, "force", "true");
    assert_says(sr_create(x->h, &v, &sr), "is mounted on"); /* not even by force */
    assert_null(sr_vdi_create(x->h, &v, &sr, SR, 4 << 20, NULL, &vol));
    assert_true(str_starts(vol.path, x->dir));
    sr_volume_done(&vol);
    assert_null(sr_detach(x->h, &v, &sr));
    assert_null(sr_detach(x->h, &v, &sr));
    assert_null(sr_create(x->h, &v, &sr));
}

static void arguments_are_checked_again(void **state)
{
    struct fixture *x = *state;
    _cleanup_(freep) char *inside = mem_printf("%s/sr-mount/x", x->dir);
    _cleanup_(freep) char *outside = mem_printf("%s/sr-mount/../../etc", x->dir);
    char *found = NULL;
    int fd = -1;
    assert_says(priv_mount(x->socket, x->device, 0, 0, outside), "without '.', '..'");
    assert_says(priv_mount(x->socket, x->device, 0, 0, "/mnt"), "not one below");
    assert_says(priv_mount(x->socket, x->device, 0, 0, inside), "carries no ext4");
    assert_says(priv_mount(x->socket, "/etc/passwd", 0, 0, inside), "below /dev");
    assert_says(priv_mkfs(x->socket, "/dev/null", "x", true), "no block device");
    assert_says(priv_mkfs(x->socket, x->device, "X Y", true), "label");
    assert_says(priv_examine(x->socket, "/dev/../etc/passwd", &found), "absolute path");
    assert_says(priv_tap_add(x->socket, "eth0"), "name");
    assert_says(priv_listen(x->socket, "127.0.0.1", 22, &fd), "port");
}

static void a_killed_privd_comes_back(void **state)
{
    struct fixture *x = *state;
    _cleanup_(freep) char *argument = mem_printf("--socket=%s", x->socket);
    char *found = NULL;
    pid_t pid;
    uint64_t start;
    assert_true(proc_find(argument, &pid, &start));
    assert_int_equal(kill(pid, SIGKILL), 0);
    usleep(100000);
    for (int i = 0; i < 500 && proc_has_argument(pid, argument); i++)
        usleep(10000);
    wait_for_privd(x);
    assert_null(priv_examine(x->socket, x->device, &found));
    assert_string_equal(found, "");
    free(found);
}

static void a_missing_privd_is_said_plainly(void **state)
{
    assert_says(priv_umount(NULL, "/x"), "needs root, and no cairn-privd is configured");
    assert_says(priv_umount("/nowhere/sock", "/x"), "does not answer");
}

static void a_wrong_password_is_refused(void **state)
{
    struct fixture *x = *state;
    bool ok = true;
    assert_null(priv_authenticate(x->socket, "root", "certainly not", &ok));
    assert_false(ok);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_ext_repository_is_formatted_once_and_mounted),
        TEST(what_is_discarded_is_given_back),
        TEST(arguments_are_checked_again),
        TEST(a_killed_privd_comes_back),
        TEST(a_missing_privd_is_said_plainly),
        TEST(a_wrong_password_is_refused),
    };
    if (geteuid() != 0) {
        fputs("these tests need root\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests_name("privd", tests, NULL, NULL);
}
