/*
 * The XML form of the database, out and in, and the restore: killed before each of its steps, it
 * leaves the old database or the new one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "gen/typed.h"
#include "state/restore.h"
#include "state/store.h"
#include "state/txn.h"

#define VMS 30

static char folder[64];
static char *path;

static void must(struct err *e)
{
    if (e)
        fail_msg("%s", err_text(e));
}

static void must_be(struct err *e, const char *code)
{
    if (!err_is(e, code))
        fail_msg("not %s but %s", code, e ? err_text(e) : "success");
    err_free(e);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/cairn-restore-XXXXXX");
    assert_non_null(mkdtemp(folder));
    path = mem_printf("%s/state.db", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fd_remove_tree(folder);
    free(path);
    return 0;
}

static struct db *open_db(const char *where)
{
    struct db_config config = {0};
    struct db *db = NULL;
    must(store_sqlite_open(where, STORE_WRITE, &config.store));
    must(db_open(&config, &db));
    return db;
}

static struct err *fill(struct txn *t, void *arg)
{
    const char *name = arg;
    for (int i = 0; i < VMS; i++) {
        struct rec_VM *vm = txn_add_VM(t);
        struct rec_VBD *vbd = txn_add_VBD(t);
        _cleanup_(val_unrefp) struct val *oc = val_map();
        rstr_set(&vm->name_label, name);
        rstr_set(&vm->name_description, "a % of\ttabs,\r\n<\"quotes\"> & 'more' \\ ü");
        val_put_str(oc, "k'ey \\", "va'lue\n");
        val_put_str(oc, "admin_password", "hush-hush");
        val_assign(&vm->other_config, val_ref(oc));
        vm->memory_static_max = 1 + i;
        rstr_assign(&vbd->VM, vm->row.ref);
    }
    rstr_set(&txn_add_secret(t)->value, "hush-hush");
    return NULL;
}

static int put(void *arg, const void *p, size_t size)
{
    buf_put(arg, p, size);
    return 0;
}

/* The dump of a fresh database with VMs of that name. */
static void make_dump(const char *name, unsigned flags, struct buf *ret)
{
    _cleanup_(freep) char *other = mem_printf("%s/%s.db", folder, name);
    struct db *db = open_db(other);
    must(db_write(db, "fill", fill, (void *)(uintptr_t)name));
    struct snap *s = snap_get(db);
    buf_init(ret, 64 << 20);
    must(dump_write(s, flags, put, ret));
    snap_unref(s);
    db_close(db);
}

/* In pieces, as a stream comes. */
static struct err *feed(struct restore *r, const struct buf *dump)
{
    for (size_t i = 0; i < dump->size; i += 1000) {
        size_t left = dump->size - i;
        TRY(restore_feed(r, dump->data + i, left < 1000 ? left : 1000));
    }
    return NULL;
}

static struct err *add_mended(struct txn *t, void *arg)
{
    rstr_set(&txn_add_VM_appliance(t)->name_label, "mended");
    return NULL;
}

static struct err *mend(struct db *staged, void *arg)
{
    return db_write(staged, "mend", add_mended, arg);
}

static struct err *restore_at(struct db *db, const struct buf *dump,
                              void (*at)(void *arg, const char *step), void *arg)
{
    _cleanup_(restore_freep) struct restore *r = NULL;
    struct dump_counts counts;
    TRY(restore_begin(&(struct restore_config){.path = path, .db = db, .at = at, .arg = arg}, &r));
    TRY(feed(r, dump));
    TRY(restore_finish(r, &counts));
    assert_true(counts.rows >= 2 * VMS);
    TRY(restore_mend(r, mend, NULL));
    return restore_commit(r);
}

/* All VMs of a database bear one name: it. And all of a fill are there. */
static const char *only_name(struct db *db)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    static char name[32];
    assert_int_equal(snap_count(s, CLASS_VM), VMS);
    assert_int_equal(snap_count(s, CLASS_VBD), VMS);
    snprintf(name, sizeof(name), "%s", rec_VM(snap_first(s, CLASS_VM))->name_label);
    snap_each (r, s, CLASS_VM) {
        assert_string_equal(rec_VM(r)->name_label, name);
        assert_int_equal(val_count(rec_VM(r)->VBDs), 1);
    }
    assert_int_equal(snap_count(s, CLASS_VM_appliance), strcmp(name, "new") == 0);
    return name;
}

static void test_comes_back_equal(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf dump;
    make_dump("new", 0, &dump);
    struct db *db = open_db(path);
    must(db_write(db, "fill", fill, "old"));
    struct snap *before = snap_get(db);
    uint64_t generation = snap_generation(before), epoch = db_epoch(db);
    snap_unref(before);
    must(restore_at(db, &dump, NULL, NULL));
    assert_true(restore_is_pending(path));
    db_close(db);
    bool switched = false;
    must(restore_switch(path, &switched));
    assert_true(switched);
    db = open_db(path);
    assert_string_equal(only_name(db), "new");
    assert_true(db_epoch(db) > epoch);
    _cleanup_(freep) char *other = mem_printf("%s/new.db", folder);
    struct db *source = open_db(other);
    struct snap *now = snap_get(db), *then = snap_get(source);
    assert_true(snap_generation(now) > generation);
    snap_each (r, then, CLASS_VM)
        assert_true(row_is_equal(r, snap_row(now, CLASS_VM, r->ref)));
    snap_unref(now);
    snap_unref(then);
    db_close(source);
    db_close(db);
}

/* What is acknowledged after the restore would be lost with the old database: nothing is. */
static void test_old_writer_is_lost(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf dump;
    make_dump("new", 0, &dump);
    struct db *db = open_db(path);
    must(restore_at(db, &dump, NULL, NULL));
    must_be(db_write(db, "fill", fill, "late"), "INTERNAL_ERROR");
    db_close(db);
}

static void count_step(void *arg, const char *step)
{
    (void)step;
    ++*(unsigned *)arg;
}

static void die_at_step(void *arg, const char *step)
{
    (void)step;
    if (--*(unsigned *)arg == 0)
        raise(SIGKILL);
}

/* In a process of its own, killed before step n (from 1). */
static void die_in_restore(unsigned n, const struct buf *dump)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct db *db = open_db(path);
        err_free(restore_at(db, dump, die_at_step, &n));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static const char *name_after_restart(void)
{
    bool switched;
    must(restore_switch(path, &switched));
    struct db *db = open_db(path);
    const char *name = only_name(db);
    must(db_write(db, "still writable", fill, "later"));
    db_close(db);
    return name;
}

static void fill_old(void)
{
    _cleanup_(freep) char *restored = mem_printf("%s.restored", path);
    _cleanup_(freep) char *wal = mem_printf("%s-wal", path);
    unlink(path);
    unlink(wal);
    unlink(restored);
    struct db *db = open_db(path);
    must(db_write(db, "fill", fill, "old"));
    db_close(db);
}

static void test_killed_at_each_step(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf dump;
    make_dump("new", 0, &dump);
    fill_old();
    unsigned steps = 0, old = 0;
    struct db *db = open_db(path);
    must(restore_at(db, &dump, count_step, &steps));
    db_close(db);
    assert_true(steps >= 6);
    bool was_new = false;
    for (unsigned n = 1; n <= steps; n++) {
        fill_old();
        die_in_restore(n, &dump);
        bool is_new = strcmp(name_after_restart(), "new") == 0;
        assert_true(is_new || !was_new);
        was_new = is_new;
        old += !is_new;
    }
    assert_true(was_new && old >= 4);
}

/* A death between the steps of the switch itself. */
static void test_switch_is_repeatable(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf dump;
    make_dump("new", 0, &dump);
    fill_old();
    struct db *db = open_db(path);
    must(restore_at(db, &dump, NULL, NULL));
    db_close(db);
    unlink(path);
    assert_string_equal(name_after_restart(), "new");
}

/* ---- documents from elsewhere ---- */

#define HEAD                                                                                       \
    "<?xml version='1.0'?><database><manifest><pair key='schema_major_vsn' value='5'/>"            \
    "<pair key='schema_minor_vsn' value='700'/><pair key='generation_count' value='77'/>"          \
    "</manifest>"

static struct err *restore_text(struct db *db, const char *text, struct dump_counts *counts)
{
    _cleanup_(restore_freep) struct restore *r = NULL;
    TRY(restore_begin(&(struct restore_config){.path = path, .db = db}, &r));
    TRY(restore_feed(r, text, strlen(text)));
    return restore_finish(r, counts);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code;
    } cases[] = {
        {"", "RESTORE_INCOMPATIBLE_VERSION"},
        {"<database/>", "RESTORE_INCOMPATIBLE_VERSION"},
        {"<other/>", "RESTORE_INCOMPATIBLE_VERSION"},
        {HEAD, "RESTORE_INCOMPATIBLE_VERSION"},
        {"<database><table name='VM'/></database>", "RESTORE_INCOMPATIBLE_VERSION"},
        {"<database><manifest><pair key='schema_major_vsn' value='6'/></manifest></database>",
         "RESTORE_INCOMPATIBLE_VERSION"},
        {"<!DOCTYPE d [<!ENTITY a 'b'>]><database/>", "RESTORE_INCOMPATIBLE_VERSION"},
        {HEAD "<row ref='a'/></database>", "RESTORE_INCOMPATIBLE_VERSION"},
        {HEAD "<table name='VM'><row uuid='a'/></table></database>",
         "RESTORE_INCOMPATIBLE_VERSION"},
        {HEAD "<table name='VM'><row ref='OpaqueRef:1'/><row ref='OpaqueRef:1'/></table>"
              "</database>",
         "DB_UNIQUENESS_CONSTRAINT_VIOLATION"},
        {HEAD "<table name='VM'><row ref='OpaqueRef:1' uuid='u'/>"
              "<row ref='OpaqueRef:2' uuid='u'/></table></database>",
         "DB_UNIQUENESS_CONSTRAINT_VIOLATION"},
    };
    struct db *db = open_db(path);
    struct dump_counts counts;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        must_be(restore_text(db, cases[i].text, &counts), cases[i].code);
    assert_false(restore_is_pending(path));
    db_close(db);
}

static struct err *look(struct db *staged, void *arg)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(staged);
    const struct rec_VM *vm = snap_VM(s, "OpaqueRef:1");
    assert_string_equal(vm->name_label, "two words");
    assert_string_equal(vm->affinity, REF_NULL); /* the host is not there */
    assert_string_equal(val_map_str(vm->other_config, "a b", ""), "c%");
    assert_int_equal(vm->power_state, VM_POWER_STATE_RUNNING);
    return NULL;
}

/* As an upstream host writes it: columns and tables that we do not have, old escapes. */
static void test_foreign(void **state)
{
    (void)state;
    struct db *db = open_db(path);
    struct dump_counts counts;
    _cleanup_(restore_freep) struct restore *r = NULL;
    static const char text[] =
        HEAD "<table name='VM'><row ref='OpaqueRef:1' __ctime='3' __mtime='9' _ref='OpaqueRef:1'"
             " uuid='u' name__label='two%.words' affinity='OpaqueRef:gone' VBDs='()'"
             " other_config=\"(('a%.b'%.'c%%'))\" power_state='Running' no_such='1'"
             " memory__target='many'/></table>"
             "<table name='cats'><row ref='x'/></table></database>";
    must(restore_begin(&(struct restore_config){.path = path, .db = db}, &r));
    must(restore_feed(r, text, strlen(text)));
    must(restore_finish(r, &counts));
    assert_int_equal(counts.rows, 1);
    assert_int_equal(counts.unknown_rows, 1);
    assert_int_equal(counts.unknown_values, 2);
    assert_int_equal(counts.manifest.generation, 77);
    must(restore_mend(r, look, NULL));
    db_close(db);
}

static void test_masked(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf open, masked;
    make_dump("new", 0, &open);
    make_dump("other", DUMP_MASKED, &masked);
    assert_non_null(strstr(open.data, "hush-hush"));
    assert_null(strstr(masked.data, "hush-hush"));
    assert_non_null(strstr(masked.data, "REDACTED"));
}

static int fail_put(void *arg, const void *p, size_t size)
{
    return -28;
}

static void test_writing_fails(void **state)
{
    (void)state;
    struct db *db = open_db(path);
    struct snap *s = snap_get(db);
    struct err *e = dump_write(s, 0, fail_put, NULL);
    assert_int_equal(err_get_errno(e), 28);
    err_free(e);
    snap_unref(s);
    db_close(db);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_comes_back_equal),
        CASE(test_old_writer_is_lost),
        CASE(test_killed_at_each_step),
        CASE(test_switch_is_repeatable),
        CASE(test_refused),
        CASE(test_foreign),
        CASE(test_masked),
        CASE(test_writing_fails),
    };
    log_set_level(NULL, LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
