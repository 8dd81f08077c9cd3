/* lab_test.c: see lab_test.h. */
#include "lab_test.h"

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

struct lab w;
char lab_dir[64];
static const struct rec_VM *held;

int lab_test_begin(void **state)
{
    log_set_level(NULL, LOG_ERR);
    snprintf(lab_dir, sizeof(lab_dir), "/tmp/test_op.XXXXXX");
    assert_non_null(mkdtemp(lab_dir));
    ok(lab_open(lab_dir, &w));
    ok(lab_make_vm(&w));
    return 0;
}

int lab_test_end(void **state)
{
    lab_settle(&w);
    char *wrong = lab_check(&w);
    if (wrong)
        print_error("left: %s\n", wrong);
    assert_null(wrong);
    if (held)
        row_unref(&held->row);
    held = NULL;
    lab_close(&w);
    fd_remove_tree(lab_dir);
    return 0;
}

void ok(struct err *e)
{
    _cleanup_(freep) char *text = e ? err_text(e) : NULL;
    if (text)
        print_error("%s\n", text);
    err_free(e);
    assert_null(text);
}

void refused(struct err *e, const char *code)
{
    assert_non_null(e);
    assert_string_equal(err_code(e), code);
    err_free(e);
}

void expect(struct err *e, const char *fmt, ...)
{
    char want[512], text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(want, sizeof(want), fmt, ap);
    va_end(ap);
    snprintf(text, sizeof(text), "%s", e ? err_code(e) : "no error");
    for (unsigned i = 0; e && i < err_n_params(e); i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, " %s", err_param(e, i));
    }
    err_free(e);
    assert_string_equal(text, want);
}

const struct rec_VM *now(void)
{
    if (held)
        row_unref(&held->row);
    held = lab_vm(&w);
    return held;
}

struct guest_info guest(void)
{
    struct guest_info info = {0};
    ok(host_vm_query(w.host, now()->uuid, &info));
    return info;
}

struct boot *guest_boot(void)
{
    struct guest_item *items = NULL;
    struct boot *b = NULL;
    size_t n = 0;
    ok(host_list(w.host, &items, &n));
    for (size_t i = 0; i < n; i++) {
        if (str_eq(items[i].vm, now()->uuid))
            b = boot_copy(items[i].boot);
    }
    guest_items_free(items, n);
    assert_non_null(b);
    return b;
}

void guest_does(enum sim_event what, int64_t number)
{
    ok(sim_guest(w.host, now()->uuid, what, number));
    lab_settle(&w);
}

const char *ref_of(int cls, bool (*wanted)(const struct row *row))
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    const char *ref = NULL;
    snap_each (row, s, cls) {
        if (!ref && wanted(row))
            ref = rstr_ref(row->ref);
    }
    assert_non_null(ref);
    return ref;
}

unsigned alerts(const char *name)
{
    unsigned n = 0;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    snap_each (row, s, CLASS_message)
        n += str_eq(rec_message(row)->name, name);
    return n;
}

bool allows(const char *operation)
{
    return val_set_has(now()->allowed_operations, operation);
}
