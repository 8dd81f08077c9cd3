/* The audit log's file: its lines, its turns, what a full disk does to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/audit.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "loop/loop.h"

static char folder[] = "/tmp/cairn-audit-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    strcpy(strrchr(folder, '-'), "-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/audit.log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    fd_remove_tree(folder);
    return 0;
}

static int collect(void *arg, const void *p, size_t size)
{
    buf_put(arg, p, size);
    return 0;
}

static void read_all(struct audit *a, const char *since, struct buf *ret)
{
    buf_init(ret, 1 << 22);
    assert_null(audit_read(a, since, collect, ret));
}

static const struct caller operator_ = {.session = "OpaqueRef:s",
                                        .roles = 7,
                                        .user_name = "o'hara",
                                        .user_sid = "local:o'hara",
                                        .originator = "x|y]z",
                                        .client = "tcp 192.0.2.7"};

static void put(struct audit *a, const char *action, struct err *e)
{
    audit_put(a, &(struct audit_entry){.caller = &operator_, .action = action, .e = e});
    err_free(e);
}

static void test_a_line_of_another_host(void **state)
{
    struct audit *a = audit_new(&(struct audit_config){.path = path, .hostname = "host1"});
    _cleanup_(buf_done) struct buf text;
    audit_append(a, "[20260322T10:11:12.123Z|info|host2|unix|x|audit] ()");
    read_all(a, "", &text);
    assert_string_equal(buf_str(&text), "[20260322T10:11:12.123Z|info|host2|unix|x|audit] ()\n");
    audit_free(a);
}

static void test_a_line(void **state)
{
    struct audit *a = audit_new(&(struct audit_config){.path = path, .hostname = "host1"});
    _cleanup_(buf_done) struct buf text;
    clock_fake((usec_t)1000000000 * USEC_PER_SEC + 123456);
    audit_put(a, &(struct audit_entry){.caller = &operator_,
                                       .action = "VM.start",
                                       .call = "Async.VM.start",
                                       .task = "OpaqueRef:t",
                                       .args = "('self' 'vm' 'u' 'OpaqueRef:v')"});
    read_all(a, "", &text);
    const char *head = "[20010909T01:46:40.123Z|info|host1|tcp 192.0.2.7 originator=x_y_z|"
                       "Async.VM.start R:OpaqueRef:t role=vm-operator|audit] ('trackid=";
    const char *tail = " 'local:o\\'hara' 'o\\'hara' 'ALLOWED' 'OK' 'API' 'VM.start' "
                       "(('self' 'vm' 'u' 'OpaqueRef:v')))\n";
    assert_memory_equal(buf_str(&text), head, strlen(head));
    assert_non_null(strstr(buf_str(&text), tail));
    assert_null(strstr(buf_str(&text), "OpaqueRef:s"));
    audit_free(a);
}

static void test_outcomes(void **state)
{
    struct audit *a = audit_new(&(struct audit_config){.path = path});
    _cleanup_(buf_done) struct buf text;
    put(a, "VM.start", err_make("RBAC_PERMISSION_DENIED", __FILE__, __LINE__, 2, "vm.start", ""));
    put(a, "http/get_export", err_internal("oh"));
    read_all(a, "", &text);
    assert_non_null(strstr(buf_str(&text), "'DENIED' 'ERROR:RBAC_PERMISSION_DENIED' 'API'"));
    assert_non_null(strstr(buf_str(&text), "'ALLOWED' 'ERROR:INTERNAL_ERROR' 'HTTP'"));
    audit_free(a);
}

static size_t lines_of(struct buf *text)
{
    size_t n = 0;
    for (const char *c = buf_str(text); *c; c++)
        n += *c == '\n';
    return n;
}

static void test_files_take_turns(void **state)
{
    struct audit *a =
        audit_new(&(struct audit_config){.path = path, .file_bytes = 1024, .files = 3});
    _cleanup_(buf_done) struct buf text;
    _cleanup_(freep) char *oldest = mem_printf("%s.3", path), *beyond = mem_printf("%s.4", path);
    for (int i = 0; i < 40; i++) {
        put(a, "VM.start", NULL);
        audit_flush(a);
    }
    struct stat st;
    assert_int_equal(stat(oldest, &st), 0);
    assert_true(st.st_size <= 1024);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_not_equal(stat(beyond, &st), 0);
    read_all(a, "", &text);
    assert_in_range(lines_of(&text), 4, 39);
    audit_free(a);
}

static void test_reading_since(void **state)
{
    struct audit *a = audit_new(&(struct audit_config){.path = path, .file_bytes = 300});
    _cleanup_(buf_done) struct buf all, some, none;
    for (int day = 0; day < 5; day++) {
        clock_fake(((usec_t)1000000000 + (usec_t)day * 86400) * USEC_PER_SEC);
        put(a, "VM.start", NULL);
        audit_flush(a);
    }
    read_all(a, "", &all);
    read_all(a, "2001-09-12", &some);
    read_all(a, "20010914T00:00:00Z", &none);
    assert_int_equal(lines_of(&all), 5);
    assert_int_equal(lines_of(&some), 2);
    assert_int_equal(lines_of(&none), 0);
    _cleanup_(err_freep) struct err *e = audit_read(a, "yesterday", collect, &all);
    assert_true(err_is(e, "INVALID_VALUE"));
    audit_free(a);
}

static void on_trouble(void *arg, const char *why)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

/* Lines survive a time when they cannot be written, one alert is raised, what is too much is
 * counted. */
static void test_a_disk_that_takes_nothing(void **state)
{
    atomic_uint troubles = 0;
    _cleanup_(buf_done) struct buf text;
    assert_int_equal(mkdir(path, 0755), 0); /* no file can be there */
    struct audit *a =
        audit_new(&(struct audit_config){.path = path, .trouble = on_trouble, .arg = &troubles});
    for (int i = 0; i < 10000; i++)
        put(a, "VM.start", NULL);
    while (!atomic_load(&troubles))
        usleep(1000);
    audit_flush(a); /* returns although nothing was written */
    assert_int_equal(rmdir(path), 0);
    clock_advance(60 * USEC_PER_SEC);
    for (int i = 0; i < 6000; i++) {
        struct stat st;
        if (stat(path, &st) == 0 && st.st_size)
            break;
        clock_advance(3 * USEC_PER_SEC);
        usleep(10000);
    }
    put(a, "VM.last", NULL);
    audit_free(a);
    buf_init(&text, 1 << 24);
    assert_int_equal(fd_read_file(path, 1 << 24, &text), 0);
    assert_int_equal(atomic_load(&troubles), 1);
    assert_non_null(strstr(buf_str(&text), "VM.last"));
    assert_non_null(strstr(buf_str(&text), "('lost' '"));
    assert_true(lines_of(&text) > 1000);
}

int main(void)
{
    clock_fake((usec_t)1000000000 * USEC_PER_SEC);
#define T(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        T(test_a_line_of_another_host), T(test_a_line),        T(test_outcomes),
        T(test_files_take_turns),       T(test_reading_since), T(test_a_disk_that_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
