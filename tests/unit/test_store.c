/* The conformance test on the stores of one host: memory and SQLite. */
#include "store_conformance.h"

#include <stdlib.h>

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

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    const struct conformance memory = {open_memory, clear_memory};
    const struct conformance sqlite = {open_sqlite, clear_sqlite};
    int failed = store_conformance_run("store_memory", &memory);
    return failed + store_conformance_run("store_sqlite", &sqlite);
}
