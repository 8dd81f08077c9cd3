/* The conformance test on the stores of one host: memory and SQLite. */
#include "store_conformance.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "gen/typed.h"
#include "state/db.h"

static struct store_disk *disk;
static char folder[] = "/tmp/cairn-store-XXXXXX";

static struct err *open_memory(enum store_mode mode, struct store **ret)
{
    if (!disk)
        disk = store_disk_new();
    return store_memory_open(disk, mode, ret);
}

static void clear_memory(void)
{
    store_disk_free(disk);
    disk = NULL;
}

static struct err *open_sqlite(enum store_mode mode, struct store **ret)
{
    _cleanup_(freep) char *path = mem_printf("%s/state.db", folder);
    if (fd_mkdirs(folder, 0700) < 0)
        return err_internal("no folder");
    return store_sqlite_open(path, mode, ret);
}

static void clear_sqlite(void)
{
    fd_remove_tree(folder);
}

static struct err *add_vm(struct txn *t, void *arg)
{
    rstr_set(&txn_add_VM(t)->name_description, arg);
    return NULL;
}

/* No file of ours may grow beyond that; the soft limit only, so that it can be lifted. */
static void limit_files(rlim_t size)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static size_t count_vms(struct db *db)
{
    struct snap *s = snap_get(db);
    size_t n = snap_count(s, CLASS_VM);
    snap_unref(s);
    return n;
}

static void a_full_disk_loses_what_nobody_saw(void **state)
{
    (void)state;
    static char text[20000];
    struct db_config config = {0};
    struct db *db = NULL;
    memset(text, 'x', sizeof(text) - 1);
    clear_sqlite();
    assert_null(open_sqlite(STORE_WRITE, &config.store));
    assert_null(db_open(&config, &db));
    assert_null(db_write(db, "test", add_vm, "first"));
    signal(SIGXFSZ, SIG_IGN);
    limit_files(100000);
    size_t good = 1;
    struct err *e = NULL;
    while (!(e = db_write(db, "test", add_vm, text)))
        assert_true(++good < 100);
    err_free(e);
    assert_int_equal(count_vms(db), good);
    limit_files(RLIM_INFINITY);
    assert_null(db_write(db, "test", add_vm, "last"));
    db_close(db);
    assert_null(open_sqlite(STORE_WRITE, &config.store));
    assert_null(db_open(&config, &db));
    assert_int_equal(count_vms(db), good + 1);
    db_close(db);
    clear_sqlite();
}

static void the_file_is_the_owners_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm"};
    clear_sqlite();
    struct store *s = NULL;
    assert_null(open_sqlite(STORE_WRITE, &s));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_(freep) char *path = mem_printf("%s/%s", folder, names[i]);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    store_close(s);
    clear_sqlite();
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    const struct conformance memory = {open_memory, clear_memory};
    const struct conformance sqlite = {open_sqlite, clear_sqlite};
    int failed = store_conformance_run("store_memory", &memory);
    failed += store_conformance_run("store_sqlite", &sqlite);
    const struct CMUnitTest own[] = {
        cmocka_unit_test(the_file_is_the_owners_alone),
        cmocka_unit_test(a_full_disk_loses_what_nobody_saw),
    };
    return failed + cmocka_run_group_tests_name("sqlite", own, NULL, NULL);
}
