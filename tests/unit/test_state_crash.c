/*
 * A writer is killed at random moments: what it was told to be written is there after a restart,
 * and of each transaction all or nothing.
 *
 * Each of its threads adds a pair, a machine and a disk drive of it, and reports the machine's
 * number over a pipe once db_write has returned. The number of rounds may be given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "gen/typed.h"
#include "state/store.h"
#include "state/txn.h"

#define WRITERS 3
#define MAX     100000

static int rounds = 12;
static char folder[] = "/tmp/cairn-crash-XXXXXX";
static unsigned seed;

static struct db *open_db(void)
{
    _cleanup_(freep) char *path = mem_printf("%s/state.db", folder);
    struct db_config config = {0};
    struct db *db = NULL;
    struct err *e = store_sqlite_open(path, STORE_WRITE, &config.store);
    e = e ? e : db_open(&config, &db);
    if (e) {
        fprintf(stderr, "%s\n", err_text(e));
        abort();
    }
    return db;
}

static struct err *add_pair(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_add_VM(t);
    struct rec_VBD *vbd = txn_add_VBD(t);
    vm->memory_target = *(int32_t *)arg;
    rstr_assign(&vbd->VM, vm->row.ref);
    return NULL;
}

struct writer {
    struct db *db;
    int pipe;
    int32_t next;
};

static void *write_main(void *arg)
{
    struct writer *w = arg;
    for (;; w->next += WRITERS) {
        if (db_write(w->db, "pair", add_pair, &w->next) ||
            write(w->pipe, &w->next, sizeof(w->next)) != sizeof(w->next))
            _exit(1);
    }
}

static void write_until_killed(int pipe, int32_t next)
{
    struct db *db = open_db();
    struct writer w[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pthread_t thread;
        w[i] = (struct writer){db, pipe, next + i};
        pthread_create(&thread, NULL, write_main, &w[i]);
    }
    for (;;)
        pause();
}

/* Starts a writer, kills it, and marks what it reported. Returns the highest number. */
static int32_t run_and_kill(int32_t next, bool *told)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0)
        write_until_killed(fds[1], next);
    close(fds[1]);
    usleep(5000 + (unsigned)rand_r(&seed) % 60000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    int32_t n, highest = next;
    while (read(fds[0], &n, sizeof(n)) == sizeof(n)) {
        told[n] = true;
        highest = n > highest ? n : highest;
    }
    close(fds[0]);
    return highest;
}

static void check(const bool *told, int32_t *ret_highest)
{
    struct db *db = open_db();
    struct snap *s = snap_get(db);
    static bool found[MAX];
    snap_each (r, s, CLASS_VM) {
        const struct rec_VM *vm = (const struct rec_VM *)r;
        found[vm->memory_target] = true;
        assert_int_equal(val_count(vm->VBDs), 1);
        if (vm->memory_target > *ret_highest)
            *ret_highest = (int32_t)vm->memory_target;
    }
    assert_int_equal(snap_count(s, CLASS_VM), snap_count(s, CLASS_VBD));
    assert_true(snap_generation(s) >= snap_count(s, CLASS_VM));
    for (int32_t i = 0; i < MAX; i++)
        assert_true(!told[i] || found[i]);
    snap_unref(s);
    db_close(db);
}

static void nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    static bool told[MAX];
    int32_t next = 1;
    log_set_level("state", LOG_WARN);
    for (int i = 0; i < rounds; i++) {
        int32_t highest = run_and_kill(next, told);
        check(told, &highest);
        next = highest + 1;
        assert_true(next < MAX - 10000);
    }
    print_message("%d pairs in %d rounds, seed %u\n", next, rounds, seed);
    assert_true(next > 1);
}

int main(int argc, char **argv)
{
    seed = (unsigned)clock_wall();
    if (argc > 1)
        rounds = atoi(argv[1]);
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_acknowledged_is_lost)};
    int failed = cmocka_run_group_tests_name("state_crash", tests, NULL, NULL);
    fd_remove_tree(folder);
    return failed;
}
