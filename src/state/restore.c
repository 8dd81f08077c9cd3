/* restore.c: see restore.h. */
#define LOG_MODULE "state"
#include "state/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/vec.h"
#include "gen/error.h"
#include "state/root.h"
#include "state/store.h"

/* Beyond this a generation would reach into the stretches that tokens keep for epochs. */
#define GENERATION_MAX (VOL_SPAN / 2)
#define BATCH_ROWS     1000
#define BATCH_BYTES    (1u << 20)

struct restore {
    struct restore_config config;
    char *path, *staged, *restored;
    uint64_t live_generation;
    struct dump_reader *reader;
    struct store *store; /* the staged one, while rows are written */
    VEC(struct store_row) batch;
    size_t batch_bytes;
    uint64_t last_seq, last_generation;
    struct pmap *seen; /* references, and "class uuid" */
    bool committed;
};

static void at(struct restore *r, const char *step)
{
    if (r->config.at)
        r->config.at(r->config.arg, step);
}

/* ---- files ---- */

static void remove_store(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        _cleanup_(freep) char *file = mem_printf("%s%s", path, suffixes[i]);
        (void)unlink(file);
    }
}

static struct err *sync_path(const char *path, int flags)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(errno, "cannot make '%s' durable", path);
    return NULL;
}

static struct err *sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *folder =
        slash ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
    return sync_path(folder, O_DIRECTORY);
}

static struct err *rename_durably(const char *from, const char *to)
{
    if (rename(from, to) < 0)
        return err_errno(errno, "cannot rename '%s' to '%s'", from, to);
    return sync_folder_of(to);
}

/* ---- rows ---- */

static void drop_batch(struct restore *r)
{
    vec_each (row, &r->batch) {
        rstr_unref(row->ref);
        rstr_unref(row->uuid);
        free((char *)(uintptr_t)row->data.p);
    }
    r->batch.n = 0;
    r->batch_bytes = 0;
}

static struct err *write_batch(struct restore *r, uint64_t generation)
{
    bool lost = false;
    struct store_batch b = {.puts = r->batch.v,
                            .n_puts = r->batch.n,
                            .head = {.generation = generation, .floor = generation}};
    struct err *e = r->store->ops->commit(r->store, &b, &lost);
    drop_batch(r);
    if (!e && lost)
        e = err_internal("somebody else writes '%s'", r->staged);
    return e;
}

/* True if `key` (taken over) had not been seen. */
static bool is_new(struct restore *r, const char *key)
{
    static const struct pmap_type plain = {NULL, NULL};
    bool new = pmap_set(&r->seen, &plain, pmap_hash(key), key, r);
    rstr_unref(key);
    return new;
}

static struct err *check_unique(struct restore *r, const struct row *row)
{
    const char *uuid = row_uuid(row);
    if (!is_new(r, rstr_ref(row->ref)))
        return err_DB_UNIQUENESS_CONSTRAINT_VIOLATION(row->cls->name, "_ref", row->ref);
    if (uuid && *uuid && !is_new(r, rstr_printf("%s %s", row->cls->name, uuid)))
        return err_DB_UNIQUENESS_CONSTRAINT_VIOLATION(row->cls->name, "uuid", uuid);
    return NULL;
}

static uint64_t bounded(struct restore *r, uint64_t generation)
{
    generation = generation < GENERATION_MAX ? generation : GENERATION_MAX;
    if (generation > r->last_generation)
        r->last_generation = generation;
    return generation;
}

static struct err *take_row(void *arg, struct row *row)
{
    struct restore *r = arg;
    _cleanup_(buf_done) struct buf data;
    buf_init(&data, BATCH_BYTES);
    row_encode(row, &data);
    TRY(check_unique(r, row));
    if (!buf_ok(&data))
        return err_internal("the row '%s' is larger than %u bytes", row->ref, BATCH_BYTES);
    const char *uuid = row_uuid(row);
    struct store_row put = {.cls = row->cls->name,
                            .ref = rstr_ref(row->ref),
                            .uuid = rstr_new(uuid ? uuid : ""),
                            .seq = ++r->last_seq,
                            .created = bounded(r, row->created),
                            .modified = bounded(r, row->modified)};
    put.data.size = data.size;
    put.data.p = buf_take(&data);
    vec_push(&r->batch, put);
    r->batch_bytes += put.data.size;
    bool full = r->batch.n == BATCH_ROWS || r->batch_bytes >= BATCH_BYTES;
    return full ? write_batch(r, 0) : NULL;
}

/* ---- the steps ---- */

struct err *restore_begin(const struct restore_config *config, struct restore **ret)
{
    _cleanup_(restore_freep) struct restore *r = mem_new(struct restore);
    r->config = *config;
    r->path = mem_strdup(config->path);
    r->staged = mem_printf("%s.staged", config->path);
    r->restored = mem_printf("%s.restored", config->path);
    _cleanup_(snap_unrefp) struct snap *s = snap_get((struct db *)(uintptr_t)config->db);
    r->live_generation = snap_generation(s);
    if (restore_is_pending(r->path)) {
        r->committed = true; /* not ours to remove */
        return err_internal("another database waits for the next start already");
    }
    remove_store(r->staged);
    at(r, "stage");
    TRY(store_sqlite_open_after(r->staged, db_epoch(config->db), &r->store));
    r->reader = dump_reader_new(&(struct dump_reader_config){.row = take_row, .arg = r});
    *ret = steal(&r);
    return NULL;
}

struct err *restore_feed(struct restore *r, const void *p, size_t size)
{
    return dump_feed(r->reader, p, size);
}

struct err *restore_finish(struct restore *r, struct dump_counts *ret)
{
    TRY(dump_finish(r->reader, ret));
    (void)bounded(r, ret->manifest.generation);
    (void)bounded(r, r->live_generation);
    at(r, "last rows");
    return write_batch(r, r->last_generation + 1);
}

struct err *restore_mend(struct restore *r, struct err *(*fn)(struct db *staged, void *arg),
                         void *arg)
{
    _cleanup_(db_closep) struct db *db = NULL;
    at(r, "mend");
    TRY(db_open(&(struct db_config){.store = steal(&r->store), .single = true}, &db));
    return fn(db, arg);
}

/* The last connection that closes writes the log back into the file and removes it. */
static struct err *check_closed(const struct restore *r)
{
    _cleanup_(freep) char *wal = mem_printf("%s-wal", r->staged);
    struct stat st;
    if (r->store || (stat(wal, &st) == 0 && st.st_size > 0))
        return err_internal("'%s' is not complete", r->staged);
    (void)unlink(wal);
    return NULL;
}

/* While the store's writer is held off. */
static struct err *take_place(void *arg)
{
    struct restore *r = arg;
    at(r, "rename");
    TRY(rename_durably(r->staged, r->restored));
    r->committed = true;
    at(r, "renamed");
    return NULL;
}

struct err *restore_commit(struct restore *r)
{
    TRY(check_closed(r));
    at(r, "sync");
    TRY(sync_path(r->staged, 0));
    at(r, "supersede");
    struct err *e = store_sqlite_supersede(r->path, take_place, r);
    if (!r->committed)
        return e;
    err_free(e); /* the new database is in its place; only the old writer was not told */
    at(r, "superseded");
    return NULL;
}

void restore_free(struct restore *r)
{
    if (!r)
        return;
    drop_batch(r);
    vec_done(&r->batch);
    store_close(r->store);
    dump_reader_free(r->reader);
    pmap_unref(r->seen);
    if (!r->committed)
        remove_store(r->staged);
    free(r->path);
    free(r->staged);
    free(r->restored);
    free(r);
}

/* ---- at the next start ---- */

bool restore_is_pending(const char *path)
{
    _cleanup_(freep) char *restored = mem_printf("%s.restored", path);
    return access(restored, F_OK) == 0;
}

struct err *restore_switch(const char *path, bool *ret_switched)
{
    _cleanup_(freep) char *staged = mem_printf("%s.staged", path);
    _cleanup_(freep) char *restored = mem_printf("%s.restored", path);
    *ret_switched = restore_is_pending(path);
    remove_store(staged);
    if (!*ret_switched)
        return NULL;
    /* The old store's log must be gone before another file takes the name that it belongs to. A
     * death in between is no harm: this is done again. */
    remove_store(path);
    TRY(rename_durably(restored, path));
    log_info("event=restored store=%s", path);
    return NULL;
}
