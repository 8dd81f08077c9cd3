/*
 * Many readers, waiters and writers at once: each snapshot is whole. For the thread sanitizer too.
 *
 * Every transaction moves an amount from one machine's memory_target to another's, so the sum is
 * the same in any snapshot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gen/typed.h"
#include "state/store.h"
#include "state/txn.h"
#include "state/watch.h"

#define MACHINES 20
#define WRITERS  4
#define READERS  4
#define WAITERS  2
#define MOVES    300

static struct db *db;
static char refs[MACHINES][20];
static atomic_bool over;
static atomic_ulong snapshots, wakes;

static struct err *make_all(struct txn *t, void *arg)
{
    (void)arg;
    for (int i = 0; i < MACHINES; i++)
        ((struct rec_VM *)txn_add(t, CLASS_VM, refs[i], NULL))->memory_target = 1000;
    return NULL;
}

struct move {
    unsigned from, to;
    int64_t amount;
};

static struct err *move(struct txn *t, void *arg)
{
    const struct move *m = arg;
    txn_edit_VM(t, refs[m->from])->memory_target -= m->amount;
    txn_edit_VM(t, refs[m->to])->memory_target += m->amount;
    val_assign(&txn_edit_VM(t, refs[m->to])->tags, val_set());
    return NULL;
}

static void *write_main(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < MOVES; i++) {
        struct move m = {(unsigned)rand_r(&seed) % MACHINES, (unsigned)rand_r(&seed) % MACHINES,
                         rand_r(&seed) % 100};
        err_free(db_write(db, "move", move, &m));
    }
    return NULL;
}

static int64_t sum(const struct snap *s)
{
    int64_t n = 0;
    snap_each (r, s, CLASS_VM)
        n += ((const struct rec_VM *)r)->memory_target;
    return n;
}

static void *read_main(void *arg)
{
    bool *good = arg;
    uint64_t last = 0;
    *good = true;
    while (!over) {
        _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
        *good &= sum(s) == 1000 * MACHINES && snap_generation(s) >= last;
        *good &= snap_VM(s, refs[3]) != NULL;
        last = snap_generation(s);
        snapshots++;
    }
    return NULL;
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool woken;
};

static void on_change(void *arg, enum watch_why why)
{
    (void)why;
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    w->woken = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static void wait_once(struct waiter *w, struct token since, const struct watch_set *set)
{
    w->woken = false;
    if (!watch_park(db, since, set, clock_now() + 50 * USEC_PER_MSEC, on_change, w))
        return;
    pthread_mutex_lock(&w->lock);
    while (!w->woken)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    wakes++;
}

static void *wait_main(void *arg)
{
    bool *good = arg;
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct watch_set set;
    struct token since = {0};
    watch_set_init(&set);
    watch_set_add_class(&set, CLASS_VM);
    *good = true;
    while (!over) {
        struct changes c = {0};
        struct snap *s = snap_get(db);
        *good &= watch_changes(s, since, &set, &c) == 0;
        since = snap_token(s);
        changes_done(&c);
        snap_unref(s);
        wait_once(&w, since, &set);
    }
    return NULL;
}

static void snapshots_are_whole(void **state)
{
    (void)state;
    struct store_disk *disk = store_disk_new();
    struct db_config config = {0};
    assert_null(store_memory_open(disk, STORE_WRITE, &config.store));
    assert_null(db_open(&config, &db));
    for (int i = 0; i < MACHINES; i++)
        snprintf(refs[i], sizeof(refs[i]), "OpaqueRef:%d", i);
    assert_null(db_write(db, "make", make_all, NULL));
    pthread_t writers[WRITERS], others[READERS + WAITERS];
    bool good[READERS + WAITERS];
    for (unsigned i = 0; i < READERS + WAITERS; i++)
        pthread_create(&others[i], NULL, i < READERS ? read_main : wait_main, &good[i]);
    for (uintptr_t i = 0; i < WRITERS; i++)
        pthread_create(&writers[i], NULL, write_main, (void *)(i + 1));
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    over = true;
    for (unsigned i = 0; i < READERS + WAITERS; i++) {
        pthread_join(others[i], NULL);
        assert_true(good[i]);
    }
    assert_true(snapshots > 0 && wakes > 0);
    db_close(db);
    store_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(snapshots_are_whole)};
    return cmocka_run_group_tests_name("state_threads", tests, NULL, NULL);
}
