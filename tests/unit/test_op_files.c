/*
 * test_op_files.c: messages about files that the host keeps: copies of the database, blobs, logs.
 * Every effect is looked for in the file or the record; every message is shown to refuse something.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../torture/lab.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define NOBODY "OpaqueRef:nobody"

static struct lab w;
static char dir[64];

/* ---- fixture ---- */

static void ok(struct err *e)
{
    if (e)
        fail_msg("%s", err_text(e));
}

static void refused(struct err *e, const char *code)
{
    assert_non_null(e);
    assert_string_equal(err_code(e), code);
    err_free(e);
}

static int begin(void **state)
{
    log_set_level(NULL, LOG_ERR);
    snprintf(dir, sizeof(dir), "/tmp/test_files.XXXXXX");
    assert_non_null(mkdtemp(dir));
    ok(lab_open(dir, &w));
    ok(lab_make_vm(&w));
    return 0;
}

static int end(void **state)
{
    lab_close(&w);
    fd_remove_tree(dir);
    return 0;
}

/* A file below the state folder; "" if there is none. The caller's. */
static char *contents(const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/state/%s", dir, name);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 16 << 20);
    return fd_read_file(path, 16 << 20, &b) < 0 ? mem_strdup("") : mem_strdup(buf_str(&b));
}

/* ---- copies of the database ---- */

static void test_request_backup(void **state)
{
    const char *host = w.host_ref;
    ok(lab_call(&w, host_request_backup, host, .host = host, .generation = 0, .force = true));
    _cleanup_(freep) char *first = contents("backup/state.xml");
    assert_non_null(strstr(first, "<table name=\"VM\">"));
    assert_non_null(strstr(first, w.vm));
    _cleanup_(freep) char *path = mem_printf("%s/state/backup/state.xml", dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    unlink(path);
    ok(lab_call(&w, host_request_backup, host, .host = host, .generation = 1, .force = false));
    assert_int_equal(access(path, F_OK), -1); /* the copy is newer than that */
    ok(lab_call(&w, host_request_backup, host, .host = host, .generation = 1, .force = true));
    assert_int_equal(access(path, F_OK), 0);
    refused(lab_call(&w, host_request_backup, NULL, .host = NOBODY, .force = true),
            "HANDLE_INVALID");
}

/* Nothing is written as long as nothing has changed. */
static void test_regular_copies(void **state)
{
    _cleanup_(freep) char *path = mem_printf("%s/state/backup/state.xml", dir);
    ok(ops_backup(w.ops));
    assert_int_equal(unlink(path), 0);
    ok(ops_backup(w.ops));
    assert_int_equal(access(path, F_OK), -1);
    ok(lab_call(&w, VM_set_memory_static_min, w.vm, .self = w.vm, .value = 16 << 20));
    ok(ops_backup(w.ops));
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- dumps of guests ---- */

struct dump {
    const char *vdi, *ref;
};

static struct err *add_crashdump(struct txn *t, void *arg)
{
    struct dump *d = arg;
    struct rec_crashdump *row = txn_add_crashdump(t);
    rstr_set(&row->VDI, d->vdi);
    rstr_set(&row->VM, w.vm);
    d->ref = rstr_ref(row->row.ref);
    return NULL;
}

static void test_crashdump_destroy(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    ok(lab_make_vdi(&w, &vdi));
    struct dump d = {.vdi = vdi};
    ok(db_write(w.db, "crash dump", add_crashdump, &d));
    ok(lab_call(&w, crashdump_destroy, NULL, .self = d.ref));
    struct snap *s = snap_get(w.db);
    assert_null(snap_crashdump(s, d.ref));
    assert_null(snap_VDI(s, vdi));
    snap_unref(s);
    char *wrong = lab_check(&w); /* a volume without a record, for example */
    assert_null(wrong);
    refused(lab_call(&w, crashdump_destroy, NULL, .self = d.ref), "HANDLE_INVALID");
    rstr_unref(d.ref);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_request_backup),
        CASE(test_regular_copies),
        CASE(test_crashdump_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
