/*
 * statebench: what the database costs, as a table in JSON for bench/run.
 *
 *   statebench FOLDER [MACHINES]      FOLDER: where the store is put; MACHINES: default 20000
 *
 * Durable writes stand beside bare appends with fdatasync on the same disk.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "gen/typed.h"
#include "state/filter.h"
#include "state/store.h"
#include "state/txn.h"

#define SPAN       (2 * USEC_PER_SEC) /* of each measurement */
#define WRITERS    16
#define READERS    2
#define BATCH      250
#define SYNC_BYTES 4096

static struct db *db;
static const char *target; /* rstr: a machine */
static atomic_bool over;
static int rows_printed;

static void row(const char *what, double value, const char *unit)
{
    printf("%s[\"%s\", \"%.*f %s\"]", rows_printed++ ? ", " : "", what, value < 100 ? 1 : 0, value,
           unit);
}

static void must(struct err *e)
{
    if (!e)
        return;
    _cleanup_(freep) char *text = err_text(e);
    fprintf(stderr, "statebench: %s\n", text);
    exit(1);
}

static void open_db(const char *folder)
{
    _cleanup_(freep) char *path = mem_printf("%s/state.db", folder);
    struct db_config config = {0};
    must(store_sqlite_open(path, STORE_WRITE, &config.store));
    must(db_open(&config, &db));
}

/* --- transactions --- */

static struct err *add_machines(struct txn *t, void *arg)
{
    const unsigned *first = arg;
    for (unsigned i = 0; i < BATCH; i++) {
        struct rec_VM *vm = txn_add_VM(t);
        _cleanup_(rstr_unrefp) const char *name = rstr_printf("machine %u", *first + i);
        rstr_assign(&vm->name_label, name);
        rstr_set(&vm->name_description, "as a bench makes them");
        vm->memory_static_max = vm->memory_dynamic_max = 1 << 30;
        val_assign(&vm->other_config, val_with(vm->other_config, "base_template_name", "none"));
        val_assign(&vm->platform, val_with(vm->platform, "viridian", "true"));
        rstr_assign(&target, vm->row.ref);
    }
    return NULL;
}

static struct err *count_up(struct txn *t, void *arg)
{
    (void)arg;
    txn_edit_VM(t, target)->user_version++;
    return NULL;
}

static struct err *allow(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_edit_VM(t, target);
    bool has = val_set_has(vm->allowed_operations, "start");
    (void)arg;
    val_assign(&vm->allowed_operations, has ? val_without(vm->allowed_operations, "start")
                                            : val_set_with(vm->allowed_operations, "start"));
    return NULL;
}

/* --- measuring --- */

typedef uint64_t (*work_fn)(void); /* does some and says how much */

static void *work_main(void *arg)
{
    work_fn fn = (work_fn)arg;
    uint64_t n = 0;
    while (!over)
        n += fn();
    return (void *)(uintptr_t)n;
}

/* Runs `threads` of fn for SPAN; returns how much a second. */
static double rate(work_fn fn, unsigned threads)
{
    pthread_t thread[WRITERS];
    uint64_t n = 0;
    usec_t start = clock_now();
    over = false;
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, work_main, (void *)fn) != 0)
            abort();
    usleep(SPAN);
    over = true;
    for (unsigned i = 0; i < threads; i++) {
        void *some;
        pthread_join(thread[i], &some);
        n += (uintptr_t)some;
    }
    return (double)n * (double)USEC_PER_SEC / (double)(clock_now() - start);
}

static uint64_t write_durable(void)
{
    must(db_write(db, "bench", count_up, NULL));
    return 1;
}

static uint64_t write_volatile(void)
{
    must(db_write(db, "bench", allow, NULL));
    return 1;
}

static uint64_t get_snapshots(void)
{
    for (int i = 0; i < 1000; i++)
        snap_unref(snap_get(db));
    return 1000;
}

static uint64_t look_up(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    uint64_t n = 0;
    for (int i = 0; i < 1000; i++)
        n += snap_VM(s, target) != NULL;
    return n;
}

static uint64_t walk(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    uint64_t n = 0;
    snap_each (r, s, CLASS_VM)
        n += r->created > 0;
    return n;
}

static uint64_t query(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    _cleanup_(filter_freep) struct filter *f = NULL;
    uint64_t n = 0;
    must(filter_parse(snap_class(s, CLASS_VM),
                      "field \"name__label\" = \"x\" or field \"is_a_template\" = \"true\"", &f));
    snap_each (r, s, CLASS_VM)
        n += !filter_match(f, r);
    return n;
}

static int sync_fd = -1;

static uint64_t bare_sync(void)
{
    static const char block[SYNC_BYTES];
    if (fd_write_all(sync_fd, block, sizeof(block)) < 0 || fdatasync(sync_fd) < 0)
        exit(1);
    return 1;
}

static double bare_syncs(const char *folder)
{
    _cleanup_(freep) char *path = mem_printf("%s/bare", folder);
    sync_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    double n = rate(bare_sync, 1);
    fd_close(sync_fd);
    unlink(path);
    return n;
}

static double used_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd);
}

static void measure(const char *folder, unsigned machines)
{
    double before = used_bytes();
    for (unsigned i = 0; i < machines; i += BATCH)
        must(db_write(db, "bench", add_machines, &i));
    db_close(db);
    usec_t start = clock_now();
    open_db(folder);
    double load_ms = (double)(clock_now() - start) / 1000;
    row("memory of a VM record, with its indexes", (used_bytes() - before) / machines, "bytes");
    row("opening the store", load_ms * 1000 / machines, "µs per machine");
    row("bare 4 KiB append + fdatasync", bare_syncs(folder), "/s");
    row("durable writes, 1 writer", rate(write_durable, 1), "/s");
    row("durable writes, 16 writers", rate(write_durable, WRITERS), "/s");
    row("volatile writes, 1 writer", rate(write_volatile, 1), "/s");
    row("snapshots taken, 2 readers", rate(get_snapshots, READERS), "/s");
    row("look-ups by reference, 2 readers", rate(look_up, READERS), "/s");
    row("records walked, 1 reader", rate(walk, 1), "/s");
    row("records matched by a query, 1 reader", rate(query, 1), "/s");
}

int main(int argc, char **argv)
{
    uint64_t machines = 20000;
    if (argc < 2 || argc > 3 ||
        (argc == 3 && str_u64(view_of(argv[2]), BATCH, 10000000, &machines) < 0)) {
        fprintf(stderr, "usage: statebench FOLDER [MACHINES]\n");
        return 2;
    }
    log_set_level(NULL, LOG_ERR);
    open_db(argv[1]);
    printf("{\"title\": \"State, %" PRIu64 " machines, SQLite\", "
           "\"columns\": [\"what\", \"figure\"], \"rows\": [",
           machines);
    measure(argv[1], (unsigned)machines);
    printf("]}\n");
    db_close(db);
    rstr_unref(target);
    return 0;
}
