/* The conformance test on the stores of one host: memory and SQLite. */
#include "store_conformance.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/fd.h"

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
    const struct CMUnitTest own[] = {cmocka_unit_test(the_file_is_the_owners_alone)};
    return failed + cmocka_run_group_tests_name("sqlite", own, NULL, NULL);
}
