/* Tests of metrics/metrics: feeding, choosing, the documents for clients, files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "metrics/metrics.h"

#define START 1700000040.0
#define HOST  "11111111-1111-4111-8111-111111111111"
#define VM    "22222222-2222-4222-8222-222222222222"
#define SR    "33333333-3333-4333-8333-333333333333"

struct world {
    struct metrics *m;
    char dir[64];
    double now;
};

static int setup(void **state)
{
    struct world *w = mem_new(struct world);
    snprintf(w->dir, sizeof(w->dir), "/tmp/cairn-metrics-XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    w->m = metrics_new(w->dir);
    w->now = START;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    metrics_free(w->m);
    fd_remove_tree(w->dir);
    free(w);
    return 0;
}

/* Five seconds of everybody: memory, and two counters of the guest's interface. */
static void feed(struct world *w, unsigned times)
{
    const struct source *host = metrics_source(w->m, SOURCE_HOST_MEMORY_TOTAL, "");
    const struct source *vm[] = {metrics_source(w->m, SOURCE_VM_MEMORY, ""),
                                 metrics_source(w->m, SOURCE_VM_VIF_RX, "0"),
                                 metrics_source(w->m, SOURCE_VM_VIF_RX_ERRORS, "0")};
    const struct source *sr = metrics_source(w->m, SOURCE_SR_SIZE, "");
    for (unsigned i = 0; i < times; i++) {
        metrics_feed(w->m, OWNER_VM, VM, w->now, vm,
                     (double[]){1024, (w->now - START) * 10, (w->now - START)}, 3);
        metrics_feed(w->m, OWNER_HOST, HOST, w->now, &host, (double[]){2048}, 1);
        metrics_feed(w->m, OWNER_SR, SR, w->now, &sr, (double[]){4096}, 1);
        w->now += 5;
    }
    w->now -= 5; /* the time of the last sample */
}

static int collect(void *arg, struct buf *b)
{
    buf_put(arg, b->data, b->size);
    buf_clear(b);
    return 0;
}

static void updates(struct world *w, const struct metrics_query *q, struct buf *out)
{
    buf_clear(out);
    assert_int_equal(metrics_updates(w->m, q, &(struct metrics_sink){collect, out}), 0);
}

static void rows_come_newest_first(void **state)
{
    struct world *w = *state;
    feed(w, 4);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    struct metrics_query q = {
        .start = (int64_t)START + 6, .interval = 5, .host = true, .all_vms = true};
    updates(w, &q, &b);
    assert_string_equal(buf_str(&b),
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                        "<xport><meta><start>1700000050</start><step>5</step><end>1700000055</end>"
                        "<rows>2</rows><columns>3</columns><legend>"
                        "<entry>AVERAGE:host:" HOST ":memory_total_kib</entry>"
                        "<entry>AVERAGE:vm:" VM ":memory</entry>"
                        "<entry>AVERAGE:vm:" VM ":vif_0_rx</entry></legend></meta><data>"
                        "<row><t>1700000055</t><v>2048</v><v>1024</v><v>10</v></row>"
                        "<row><t>1700000050</t><v>2048</v><v>1024</v><v>10</v></row>"
                        "</data></xport>");
    q = (struct metrics_query){
        .start = -5, .interval = 5, .host = true, .all_srs = true, .json = true};
    updates(w, &q, &b);
    assert_string_equal(buf_str(&b),
                        "{\"meta\":{\"start\":\"1700000055\",\"step\":\"5\",\"end\":\"1700000055\","
                        "\"rows\":\"2\",\"columns\":\"2\",\"legend\":["
                        "\"AVERAGE:host:" HOST ":memory_total_kib\",\"AVERAGE:sr:" SR ":size\"]},"
                        "\"data\":[{\"t\":\"1700000055\",\"values\":[\"2048\",\"4096\"]},"
                        "{\"t\":\"1700000050\",\"values\":[\"2048\",\"4096\"]}]}");
}

static void the_archive_fits_the_question(void **state)
{
    struct world *w = *state;
    feed(w, 400);
    static const struct {
        int64_t back, interval;
        const char *step;
    } cases[] = {
        {100, 0, "<step>5<"},         {100, 5, "<step>5<"},          {599, 5, "<step>5<"},
        {601, 5, "<step>60<"},        {100, 60, "<step>60<"},        {7199, 0, "<step>60<"},
        {7201, 60, "<step>3600<"},    {100, 3600, "<step>3600<"},    {700000, 5, "<step>86400<"},
        {100, 86400, "<step>86400<"}, {100000000, 5, "<step>86400<"}};
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct metrics_query q = {.start = (int64_t)w->now - cases[i].back,
                                  .interval = cases[i].interval,
                                  .all_vms = true};
        updates(w, &q, &b);
        assert_non_null(strstr(buf_str(&b), cases[i].step));
    }
    struct metrics_query q = {.start = -600, .has_cf = true, .cf = CF_MAX, .host = true};
    updates(w, &q, &b); /* no such archive */
    assert_non_null(strstr(buf_str(&b), "<columns>0</columns>"));
}

static void a_guest_can_be_asked_for_alone(void **state)
{
    struct world *w = *state;
    feed(w, 3);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    const char *vms[] = {VM};
    updates(w, &(struct metrics_query){.start = -10, .vms = vms, .n_vms = 1}, &b);
    assert_non_null(strstr(buf_str(&b), "vm:" VM));
    vms[0] = SR;
    updates(w, &(struct metrics_query){.start = -10, .vms = vms, .n_vms = 1}, &b);
    assert_non_null(strstr(buf_str(&b), "<legend></legend>"));
}

static void sources_are_chosen_by_name(void **state)
{
    struct world *w = *state;
    feed(w, 3);
    struct source_state *list = NULL;
    size_t n = 0;
    assert_int_equal(metrics_sources(w->m, OWNER_VM, VM, &list, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(list[2].source->name, "vif_0_rx_errors");
    assert_true(list[0].enabled && list[0].value == 1024);
    assert_true(list[2].live && !list[2].enabled);
    free(list);

    double v = 0;
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "vif_0_rx", &v), 0);
    assert_true(v == 10);
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "vif_0_rx_errors", &v), -ENODATA);
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "vif_7_rx", &v), -ENOENT);
    assert_int_equal(metrics_query(w->m, OWNER_VM, SR, "memory", &v), -ENOENT);

    assert_int_equal(metrics_record(w->m, OWNER_VM, VM, "vif_0_rx_errors"), 0);
    assert_int_equal(metrics_record(w->m, OWNER_VM, VM, "vif_7_rx_errors"), -ENOENT);
    assert_int_equal(metrics_forget(w->m, OWNER_VM, VM, "memory"), 0);
    assert_int_equal(metrics_forget(w->m, OWNER_VM, VM, "memory"), -ENOENT);
    w->now += 5;
    feed(w, 3);
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "vif_0_rx_errors", &v), 0);
    assert_true(v == 1);
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "memory", &v), -ENODATA);
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "vif_0_rx", &v), 0);
    assert_true(v == 10);
}

static void a_guest_that_ended_is_found_again(void **state)
{
    struct world *w = *state;
    feed(w, 10);
    metrics_end(w->m, OWNER_VM, VM);
    double v = 0;
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "memory", &v), -ENOENT);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    struct metrics_sink sink = {collect, &b};
    assert_int_equal(metrics_write_rrd(w->m, OWNER_VM, VM, false, &sink), 0);
    assert_non_null(strstr(buf_str(&b), "<row><v>1024</v><v>10</v></row></database></rra>"));
    assert_int_equal(metrics_write_rrd(w->m, OWNER_VM, SR, false, &sink), -ENOENT);

    assert_int_equal(metrics_save_all(w->m), 0);
    metrics_free(w->m); /* the program ends and comes back */
    w->m = metrics_new(w->dir);
    w->now += 5;
    feed(w, 1);
    const char *vms[] = {VM};
    buf_clear(&b);
    updates(w, &(struct metrics_query){.start = -45, .vms = vms, .n_vms = 1}, &b);
    assert_non_null(strstr(buf_str(&b), "<rows>10</rows>"));
    assert_null(strstr(buf_str(&b), "NaN"));
    metrics_drop(w->m, VM);
    assert_int_equal(metrics_write_rrd(w->m, OWNER_VM, VM, false, &sink), -ENOENT);
}

static bool everybody(void *arg, const char *uuid)
{
    (*(unsigned *)arg)++;
    return true;
}

static bool only_the_host(void *arg, const char *uuid)
{
    (*(unsigned *)arg)++;
    return str_eq(uuid, HOST);
}

static void files_of_nobody_are_swept(void **state)
{
    struct world *w = *state;
    feed(w, 2);
    assert_int_equal(metrics_save_some(w->m, w->now + 100, 50, 2), 0);
    unsigned asked = 0;
    metrics_sweep(w->m, everybody, &asked);
    assert_int_equal(asked, 2);
    asked = 0;
    assert_int_equal(metrics_save_all(w->m), 0);
    metrics_sweep(w->m, only_the_host, &asked);
    assert_int_equal(asked, 3);
    asked = 0;
    metrics_sweep(w->m, only_the_host, &asked);
    assert_int_equal(asked, 1);
}

static void somebody_elses_history_is_taken_up(void **state)
{
    struct world *w = *state;
    feed(w, 20);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(
        metrics_write_rrd(w->m, OWNER_VM, VM, false, &(struct metrics_sink){collect, &b}), 0);
    metrics_drop(w->m, VM);
    assert_int_equal(metrics_put_xml(w->m, OWNER_VM, VM, view_of(buf_str(&b))), 0);
    w->now += 5;
    feed(w, 1);
    double v = 0;
    assert_int_equal(metrics_query(w->m, OWNER_VM, VM, "memory", &v), 0);
    updates(w, &(struct metrics_query){.start = -90, .all_vms = true}, &b);
    assert_non_null(strstr(buf_str(&b), "<rows>19</rows>"));
    assert_int_equal(metrics_put_xml(w->m, OWNER_VM, VM, view_of("<rrd/>")), -EINVAL);
}

static char *name_of(void *arg, enum metrics_owner owner, const char *uuid)
{
    return owner == OWNER_VM ? mem_strdup("a \"b\"\\\n") : NULL;
}

static void the_exposition_is_openmetrics(void **state)
{
    struct world *w = *state;
    feed(w, 2);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(metrics_openmetrics(w->m, name_of, NULL, &(struct metrics_sink){collect, &b}),
                     0);
    assert_string_equal(
        buf_str(&b),
        "# TYPE cairn_host_memory_total_bytes gauge\n# UNIT cairn_host_memory_total_bytes bytes\n"
        "# HELP cairn_host_memory_total_bytes Total amount of memory in the host\n"
        "cairn_host_memory_total_bytes{host=\"" HOST "\"} 2097152\n"
        "# TYPE cairn_vm_memory_bytes gauge\n# UNIT cairn_vm_memory_bytes bytes\n"
        "# HELP cairn_vm_memory_bytes Memory currently allocated to VM\n"
        "cairn_vm_memory_bytes{vm=\"" VM "\",name=\"a \\\"b\\\"\\\\\\n\"} 1024\n"
        "# TYPE cairn_vm_network_received_bytes counter\n"
        "# UNIT cairn_vm_network_received_bytes bytes\n"
        "# HELP cairn_vm_network_received_bytes Bytes per second received on virtual interface "
        "number 'vif' (counted)\n"
        "cairn_vm_network_received_bytes_total{vm=\"" VM "\",name=\"a \\\"b\\\"\\\\\\n\",vif=\"0\"}"
        " 50\n"
        "# TYPE cairn_vm_network_receive_errors counter\n"
        "# HELP cairn_vm_network_receive_errors Receive errors per second on virtual interface "
        "number 'vif' (counted)\n"
        "cairn_vm_network_receive_errors_total{vm=\"" VM "\",name=\"a \\\"b\\\"\\\\\\n\",vif=\"0\"}"
        " 5\n"
        "# TYPE cairn_sr_size_bytes gauge\n# UNIT cairn_sr_size_bytes bytes\n"
        "# HELP cairn_sr_size_bytes Size of the storage repository\n"
        "cairn_sr_size_bytes{sr=\"" SR "\"} 4096\n# EOF\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_come_newest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(the_archive_fits_the_question, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_can_be_asked_for_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(sources_are_chosen_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_that_ended_is_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(files_of_nobody_are_swept, setup, teardown),
        cmocka_unit_test_setup_teardown(somebody_elses_history_is_taken_up, setup, teardown),
        cmocka_unit_test_setup_teardown(the_exposition_is_openmetrics, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
