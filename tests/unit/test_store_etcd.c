/*
 * The conformance test on a real etcd, started here with its data in /dev/shm, and what only etcd
 * can do to us: be killed, come back, compact what a follower needs.
 */
#include "store_conformance.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "gen/typed.h"
#include "state/db.h"

extern char **environ;

static pid_t etcd;
static char folder[] = "/dev/shm/cairn-etcd-XXXXXX";
static unsigned timeout_ms, port, peer_port, generation_of_prefix;

static unsigned free_port(void)
{
    _cleanup_(fd_closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    if (bind(fd, (struct sockaddr *)&a, size) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &size) < 0)
        return 0;
    return ntohs(a.sin_port);
}

static void start_etcd(void)
{
    _cleanup_(freep) char *data = mem_printf("--data-dir=%s/data", folder);
    _cleanup_(freep) char *log = mem_printf("%s/log", folder);
    _cleanup_(freep) char *client = mem_printf("--listen-client-urls=http://127.0.0.1:%u", port);
    _cleanup_(freep) char *adv = mem_printf("--advertise-client-urls=http://127.0.0.1:%u", port);
    _cleanup_(freep) char *peer = mem_printf("--listen-peer-urls=http://127.0.0.1:%u", peer_port);
    _cleanup_(freep) char *peer_adv =
        mem_printf("--initial-advertise-peer-urls=http://127.0.0.1:%u", peer_port);
    _cleanup_(freep) char *cluster =
        mem_printf("--initial-cluster=default=http://127.0.0.1:%u", peer_port);
    char *argv[] = {"etcd",
                    data,
                    client,
                    adv,
                    peer,
                    peer_adv,
                    cluster,
                    "--max-txn-ops=4096",
                    "--max-request-bytes=8388608",
                    NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (posix_spawnp(&etcd, "etcd", &actions, NULL, argv, environ) != 0)
        etcd = 0;
    posix_spawn_file_actions_destroy(&actions);
}

static void stop_etcd(void)
{
    if (etcd > 0) {
        kill(etcd, SIGKILL);
        waitpid(etcd, NULL, 0);
    }
    etcd = 0;
}

static struct err *open_etcd(enum store_mode mode, struct store **ret)
{
    _cleanup_(freep) char *endpoint = mem_printf("http://127.0.0.1:%u", port);
    _cleanup_(freep) char *prefix = mem_printf("/test%u/", generation_of_prefix);
    struct store_etcd_config config = {
        .endpoint = endpoint, .prefix = prefix, .timeout_ms = timeout_ms};
    return store_etcd_open(&config, mode, ret);
}

static void clear_etcd(void)
{
    generation_of_prefix++;
}

static struct err *add_vm(struct txn *t, void *arg)
{
    rstr_set(&txn_add_VM(t)->name_label, arg);
    return NULL;
}

static void a_killed_etcd_loses_nothing(void **state)
{
    (void)state;
    struct db *db = NULL;
    struct db_config config = {0};
    clear_etcd();
    assert_null(open_etcd(STORE_WRITE, &config.store));
    assert_null(db_open(&config, &db));
    assert_null(db_write(db, "test", add_vm, "before"));
    stop_etcd();
    start_etcd();
    assert_null(db_write(db, "test", add_vm, "after"));
    db_close(db);
    assert_null(open_etcd(STORE_WRITE, &config.store));
    assert_null(db_open(&config, &db));
    struct snap *s = snap_get(db);
    assert_int_equal(snap_count(s, CLASS_VM), 2);
    assert_int_equal(snap_generation(s), 2);
    snap_unref(s);
    db_close(db);
}

static struct err *count(void *arg, const struct store_row *r)
{
    (void)r;
    ++*(int *)arg;
    return NULL;
}

/* etcd sleeps over a commit and may do it afterwards, when nobody waits for it any more. */
static void a_late_commit_is_noticed(void **state)
{
    (void)state;
    struct db *db = NULL;
    struct db_config config = {0};
    clear_etcd();
    timeout_ms = 300;
    assert_null(open_etcd(STORE_WRITE, &config.store));
    timeout_ms = 0;
    assert_null(db_open(&config, &db));
    assert_null(db_write(db, "test", add_vm, "before"));
    kill(etcd, SIGSTOP);
    assert_int_equal(waitpid(etcd, NULL, WUNTRACED), etcd); /* it is asleep by now */
    _cleanup_(err_freep) struct err *unsure = db_write(db, "test", add_vm, "unsure");
    kill(etcd, SIGCONT);
    assert_non_null(unsure);
    struct db *again = NULL;
    _cleanup_(err_freep) struct err *after = db_write(db, "test", add_vm, "after");
    db_close(db);
    assert_null(open_etcd(STORE_WRITE, &config.store));
    assert_null(db_open(&config, &again));
    struct snap *s = snap_get(again);
    _cleanup_(val_unrefp) struct val *late = snap_by_name(s, CLASS_VM, "unsure");
    _cleanup_(val_unrefp) struct val *next = snap_by_name(s, CLASS_VM, "after");
    size_t kept = val_count(late) + val_count(next);
    assert_true(kept <= 1); /* a slow machine may have been too late for either */
    assert_true(after || val_count(next) == 1);
    assert_int_equal(snap_count(s, CLASS_VM), 1 + kept);
    assert_int_equal(snap_generation(s), 1 + kept);
    snap_unref(s);
    db_close(again);
}

static void a_follower_survives_compaction_and_restart(void **state)
{
    (void)state;
    struct db *db = NULL;
    struct db_config config = {0};
    clear_etcd();
    struct store *f = NULL;
    assert_null(open_etcd(STORE_WRITE, &config.store));
    struct store *writer = config.store;
    assert_null(db_open(&config, &db));
    assert_null(db_write(db, "test", add_vm, "one"));
    assert_null(open_etcd(STORE_FOLLOW, &f));
    int rows = 0;
    uint64_t generation = 0;
    usec_t deadline = clock_now() + 30 * USEC_PER_SEC;
    assert_null(f->ops->follow(f, 0, deadline, count, &rows, &generation));
    assert_int_equal(rows, 1);
    assert_null(db_write(db, "test", add_vm, "two"));
    assert_null(db_write(db, "test", add_vm, "three"));
    assert_null(writer->ops->compact(writer));
    stop_etcd();
    start_etcd();
    while (generation < 3) {
        assert_null(f->ops->follow(f, generation, deadline, count, &rows, &generation));
        assert_true(clock_now() < deadline);
    }
    assert_int_equal(rows, 3);
    store_close(f);
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest own[] = {
        cmocka_unit_test(a_killed_etcd_loses_nothing),
        cmocka_unit_test(a_late_commit_is_noticed),
        cmocka_unit_test(a_follower_survives_compaction_and_restart),
    };
    const struct conformance kind = {open_etcd, clear_etcd};
    if (!mkdtemp(folder))
        return 1;
    port = free_port();
    peer_port = free_port();
    start_etcd();
    int failed = etcd > 0 ? store_conformance_run("store_etcd", &kind) : 1;
    failed += cmocka_run_group_tests_name("etcd", own, NULL, NULL);
    stop_etcd();
    fd_remove_tree(folder);
    return failed;
}
