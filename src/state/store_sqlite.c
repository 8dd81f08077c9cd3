/*
 * store_sqlite.c: the store of a single host (store.h): one file, one connection.
 *
 * Write-ahead log with full synchronisation: a commit is one append and one sync. Epoch and
 * generation are looked at in the transaction that writes, so a second writer is noticed. A
 * follower has a connection of its own; a writer wakes it by setting the file's time after each
 * commit (what the commit itself writes is written before it can be seen).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "state/store.h"
#include "state/txn.h"

#define FORMAT  1
#define BUSY_MS 5000
#define NEWER                                                                                      \
    "uuid = excluded.uuid, created = excluded.created, modified = excluded.modified, "             \
    "deleted_at = excluded.deleted_at, data = excluded.data"
#define ROWS "SELECT class, ref, uuid, seq, created, modified, deleted_at, data FROM rows "

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_GET,
    SQL_SET,
    SQL_ADVANCE,
    SQL_PUT,
    SQL_DROP,
    SQL_LOAD,
    SQL_FOLLOW,
    SQL_N,
};

static const char *const statements[SQL_N] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_GET] = "SELECT value FROM meta WHERE key = ?",
    [SQL_SET] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    /* Changes no row if the store is elsewhere or has another writer. */
    [SQL_ADVANCE] = "UPDATE meta SET value = ? WHERE key = 'generation' AND value = ? AND "
                    "(SELECT value FROM meta WHERE key = 'epoch') = ?",
    /* A row mostly stands there already, and then the index of references is left alone; one that
     * came back under its old reference has a new number. */
    [SQL_PUT] = "INSERT INTO rows (class, ref, uuid, seq, created, modified, deleted_at, data) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (seq) DO UPDATE SET " NEWER " "
                "ON CONFLICT (class, ref) DO UPDATE SET seq = excluded.seq, " NEWER,
    [SQL_DROP] = "DELETE FROM rows WHERE class = ? AND ref = ?",
    [SQL_LOAD] = ROWS "ORDER BY seq",
    [SQL_FOLLOW] = ROWS "WHERE modified > ? ORDER BY modified, seq",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY, class TEXT NOT NULL,"
    " ref TEXT NOT NULL, uuid TEXT NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL,"
    " deleted_at INTEGER NOT NULL, data TEXT NOT NULL, UNIQUE (class, ref));";

struct store_sqlite {
    struct store base;
    char *path;
    sqlite3 *db;
    sqlite3_stmt *stmt[SQL_N];
    int notify;     /* inotify on the file; -1 in a writer */
    uint64_t after; /* the epoch to take lies behind this one, too */
    uint64_t floor; /* as the file has it, once this writer has written it */
    bool has_floor;
};

static struct store_sqlite *sqlite_of(struct store *s)
{
    return (struct store_sqlite *)s;
}

static struct err *complain(struct store_sqlite *s, const char *doing)
{
    return err_internal("%s the store '%s': %s", doing, s->path, sqlite3_errmsg(s->db));
}

/* --- statements --- */

static void stmt_resetp(sqlite3_stmt **stmt)
{
    sqlite3_reset(*stmt);
    sqlite3_clear_bindings(*stmt);
}

/* Runs a statement that gives no rows. */
static struct err *run(struct store_sqlite *s, enum statement which)
{
    _cleanup_(stmt_resetp) sqlite3_stmt *stmt = s->stmt[which];
    return sqlite3_step(stmt) == SQLITE_DONE ? NULL : complain(s, "writing");
}

static void bind_text(sqlite3_stmt *stmt, int i, const char *p, size_t size)
{
    sqlite3_bind_text64(stmt, i, p ? p : "", size, SQLITE_STATIC, SQLITE_UTF8);
}

/* A number of meta, 0 if it was never set. */
static struct err *get_number(struct store_sqlite *s, const char *key, uint64_t *ret)
{
    _cleanup_(stmt_resetp) sqlite3_stmt *stmt = s->stmt[SQL_GET];
    bind_text(stmt, 1, key, strlen(key));
    int e = sqlite3_step(stmt);
    if (e != SQLITE_ROW && e != SQLITE_DONE)
        return complain(s, "reading");
    *ret = e == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    return NULL;
}

static struct err *set_number(struct store_sqlite *s, const char *key, uint64_t value)
{
    bind_text(s->stmt[SQL_SET], 1, key, strlen(key));
    sqlite3_bind_int64(s->stmt[SQL_SET], 2, (sqlite3_int64)value);
    return run(s, SQL_SET);
}

static struct err *execute(struct store_sqlite *s, const char *sql, const char *doing)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? NULL : complain(s, doing);
}

/* --- reading --- */

static const char *column(sqlite3_stmt *stmt, int i)
{
    const unsigned char *text = sqlite3_column_text(stmt, i);
    return text ? (const char *)text : "";
}

static struct err *give_rows(struct store_sqlite *s, sqlite3_stmt *stmt, store_row_fn fn, void *arg)
{
    int e;
    while ((e = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct store_row r = {.cls = column(stmt, 0),
                              .ref = column(stmt, 1),
                              .uuid = column(stmt, 2),
                              .seq = (uint64_t)sqlite3_column_int64(stmt, 3),
                              .created = (uint64_t)sqlite3_column_int64(stmt, 4),
                              .modified = (uint64_t)sqlite3_column_int64(stmt, 5),
                              .deleted_at = (uint64_t)sqlite3_column_int64(stmt, 6)};
        r.data = (struct view){column(stmt, 7), (size_t)sqlite3_column_bytes(stmt, 7)};
        TRY(fn(arg, &r));
    }
    return e == SQLITE_DONE ? NULL : complain(s, "reading");
}

static struct err *sqlite_load(struct store *base, store_row_fn fn, void *arg,
                               struct store_head *ret)
{
    struct store_sqlite *s = sqlite_of(base);
    struct store_head head;
    _cleanup_(stmt_resetp) sqlite3_stmt *stmt = s->stmt[SQL_LOAD];
    TRY(get_number(s, "generation", &head.generation));
    TRY(get_number(s, "floor", &head.floor));
    TRY(give_rows(s, stmt, fn, arg));
    *ret = head;
    return NULL;
}

/* --- writing --- */

static struct err *put(struct store_sqlite *s, const struct store_row *r)
{
    sqlite3_stmt *stmt = s->stmt[SQL_PUT];
    bind_text(stmt, 1, r->cls, strlen(r->cls));
    bind_text(stmt, 2, r->ref, strlen(r->ref));
    bind_text(stmt, 3, r->uuid, strlen(r->uuid));
    sqlite3_bind_int64(stmt, 4, (sqlite3_int64)r->seq);
    sqlite3_bind_int64(stmt, 5, (sqlite3_int64)r->created);
    sqlite3_bind_int64(stmt, 6, (sqlite3_int64)r->modified);
    sqlite3_bind_int64(stmt, 7, (sqlite3_int64)r->deleted_at);
    bind_text(stmt, 8, r->data.p, r->data.size);
    return run(s, SQL_PUT);
}

static struct err *drop(struct store_sqlite *s, const struct store_key *k)
{
    bind_text(s->stmt[SQL_DROP], 1, k->cls, strlen(k->cls));
    bind_text(s->stmt[SQL_DROP], 2, k->ref, strlen(k->ref));
    return run(s, SQL_DROP);
}

/* Moves the generation on; *ret_lost if it is not ours to do. */
static struct err *advance(struct store_sqlite *s, const struct store_batch *b, bool *ret_lost)
{
    sqlite3_stmt *stmt = s->stmt[SQL_ADVANCE];
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->head.generation);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)b->from);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)s->base.epoch);
    TRY(run(s, SQL_ADVANCE));
    *ret_lost = sqlite3_changes(s->db) != 1;
    return NULL;
}

static struct err *write_batch(struct store_sqlite *s, const struct store_batch *b, bool *ret_lost)
{
    TRY(advance(s, b, ret_lost));
    if (*ret_lost)
        return NULL;
    for (size_t i = 0; i < b->n_drops; i++)
        TRY(drop(s, &b->drops[i]));
    for (size_t i = 0; i < b->n_puts; i++)
        TRY(put(s, &b->puts[i]));
    if (s->has_floor && s->floor == b->head.floor)
        return NULL;
    return set_number(s, "floor", b->head.floor);
}

/* Inside the transaction until here; nothing of it stays unless the commit succeeds. */
static struct err *finish(struct store_sqlite *s, struct err *e, bool keep)
{
    if (!e && keep)
        e = run(s, SQL_COMMIT);
    if (!sqlite3_get_autocommit(s->db))
        err_free(run(s, SQL_ROLLBACK));
    return e;
}

static struct err *sqlite_commit(struct store *base, const struct store_batch *b, bool *ret_lost)
{
    struct store_sqlite *s = sqlite_of(base);
    bool lost = false;
    TRY(run(s, SQL_BEGIN));
    struct err *e = write_batch(s, b, &lost);
    *ret_lost = lost;
    s->has_floor = false; /* whatever comes of it */
    TRY(finish(s, e, !lost));
    s->has_floor = !lost;
    s->floor = b->head.floor;
    (void)utimensat(AT_FDCWD, s->path, NULL, 0);
    return NULL;
}

/* A number that a pragma says, 0 if it says none. */
static int64_t pragma(struct store_sqlite *s, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t n = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

/* Free pages are used again; the file is only written anew if it is mostly them. */
static struct err *sqlite_compact(struct store *base)
{
    struct store_sqlite *s = sqlite_of(base);
    if (pragma(s, "PRAGMA freelist_count") * 2 > pragma(s, "PRAGMA page_count"))
        TRY(execute(s, "VACUUM", "compacting"));
    return execute(s, "PRAGMA wal_checkpoint(TRUNCATE)", "compacting");
}

/* --- following --- */

/* Waits for a commit; false at the deadline. */
static bool wait_commit(struct store_sqlite *s, usec_t deadline)
{
    usec_t now = clock_now();
    if (now >= deadline)
        return false;
    usec_t ms = (deadline - now) / USEC_PER_MSEC + 1;
    struct pollfd p = {.fd = s->notify, .events = POLLIN};
    if (poll(&p, 1, ms > INT32_MAX ? -1 : (int)ms) > 0) {
        char events[4096];
        (void)!read(s->notify, events, sizeof(events));
    }
    return true;
}

static struct err *sqlite_follow(struct store *base, uint64_t since, usec_t deadline,
                                 store_row_fn fn, void *arg, uint64_t *ret_generation)
{
    struct store_sqlite *s = sqlite_of(base);
    uint64_t generation;
    do
        TRY(get_number(s, "generation", &generation));
    while (generation <= since && wait_commit(s, deadline));
    *ret_generation = since;
    if (generation <= since)
        return NULL;
    /* What is committed between the two reads is given too, and given again next time. */
    _cleanup_(stmt_resetp) sqlite3_stmt *stmt = s->stmt[SQL_FOLLOW];
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)since);
    TRY(give_rows(s, stmt, fn, arg));
    *ret_generation = generation;
    return NULL;
}

/* --- opening and closing --- */

static void sqlite_close(struct store *base)
{
    struct store_sqlite *s = sqlite_of(base);
    for (int i = 0; i < SQL_N; i++)
        sqlite3_finalize(s->stmt[i]);
    sqlite3_close(s->db);
    fd_close(s->notify);
    free(s->path);
    free(s);
}

static struct err *prepare(struct store_sqlite *s)
{
    for (int i = 0; i < SQL_N; i++)
        if (sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i],
                               NULL) != SQLITE_OK)
            return complain(s, "opening");
    return NULL;
}

/* Takes the next epoch: from its commit on, an earlier writer is lost. */
static struct err *take_epoch(struct store_sqlite *s)
{
    uint64_t epoch = 0, format = 0, generation = 0;
    TRY(run(s, SQL_BEGIN));
    struct err *e = get_number(s, "epoch", &epoch);
    if (!e)
        e = get_number(s, "format", &format);
    if (!e)
        e = get_number(s, "generation", &generation);
    if (!e && format > FORMAT)
        e = err_internal("the store '%s' was written by a newer version", s->path);
    epoch = epoch > s->after ? epoch : s->after;
    if (!e)
        e = set_number(s, "epoch", epoch + 1);
    if (!e)
        e = set_number(s, "format", FORMAT);
    if (!e)
        e = set_number(s, "generation", generation); /* it has to be there to be advanced */
    s->base.epoch = epoch + 1;
    return finish(s, e, true);
}

static struct err *watch_file(struct store_sqlite *s)
{
    s->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (s->notify < 0 || inotify_add_watch(s->notify, s->path, IN_ATTRIB) < 0)
        return err_errno(errno, "watching '%s'", s->path);
    return NULL;
}

/* What is in it is nobody else's business; the log and its index get the mode of the file. */
static struct err *create_file(const char *path)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? err_errno(errno, "creating the store '%s'", path) : NULL;
}

static struct err *open_file(struct store_sqlite *s, enum store_mode mode)
{
    if (mode == STORE_WRITE)
        TRY(create_file(s->path));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        return complain(s, "opening");
    sqlite3_busy_timeout(s->db, BUSY_MS);
    TRY(execute(s,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;",
                "opening"));
    if (mode == STORE_WRITE)
        TRY(execute(s, schema, "opening"));
    TRY(prepare(s));
    return mode == STORE_WRITE ? take_epoch(s) : watch_file(s);
}

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .load = sqlite_load,
    .commit = sqlite_commit,
    .follow = sqlite_follow,
    .compact = sqlite_compact,
    .close = sqlite_close,
};

static struct err *open_store(const char *path, enum store_mode mode, uint64_t after,
                              struct store **ret)
{
    struct store_sqlite *s = mem_new(struct store_sqlite);
    s->base = (struct store){
        .ops = &sqlite_ops, .max_rows = 16 * TXN_MAX_ROWS, .max_bytes = 16 * TXN_MAX_BYTES};
    s->path = mem_strdup(path);
    s->notify = -1;
    s->after = after;
    struct err *e = open_file(s, mode);
    if (e) {
        sqlite_close(&s->base);
        return e;
    }
    *ret = &s->base;
    return NULL;
}

struct err *store_sqlite_open(const char *path, enum store_mode mode, struct store **ret)
{
    return open_store(path, mode, 0, ret);
}

struct err *store_sqlite_open_after(const char *path, uint64_t epoch, struct store **ret)
{
    return open_store(path, STORE_WRITE, epoch, ret);
}

struct err *store_sqlite_supersede(const char *path, struct err *(*fn)(void *arg), void *arg)
{
    _cleanup_(store_closep) struct store *base = NULL;
    uint64_t epoch = 0;
    TRY(open_store(path, STORE_FOLLOW, 0, &base));
    struct store_sqlite *s = sqlite_of(base);
    TRY(run(s, SQL_BEGIN));
    struct err *e = get_number(s, "epoch", &epoch);
    if (!e)
        e = set_number(s, "epoch", epoch + 1);
    if (!e)
        e = fn(arg);
    return finish(s, e, true);
}
