/* Tests of metrics/rrd: consolidation against an integral taken second by second, forms and files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "metrics/rrd.h"

#define START 1700000000.0 /* the beginning of a step, in the middle of a minute */

static struct source_pool *pool;

static int setup(void **state)
{
    (void)state;
    pool = source_pool_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    source_pool_free(pool);
    return 0;
}

static const struct source *memory(void)
{
    return source_get(pool, SOURCE_VM_MEMORY, "");
}

static const struct source *cpu(void)
{
    return source_get(pool, SOURCE_VM_CPU, "0");
}

static const struct source *traffic(void)
{
    return source_get(pool, SOURCE_VM_VIF_RX, "1");
}

/* A number for step i of a test that looks like chance and is the same everywhere. */
static unsigned noise(unsigned i)
{
    uint32_t x = i * 2654435761u + 12345u;
    x ^= x >> 13;
    x *= 0x5bd1e995u;
    return x ^ x >> 15;
}

/* Samples a gauge at whole but irregular seconds; `held[s]` is what the database may believe of
 * second s after START: a sample speaks for the time up to it. */
static void feed_gauge(struct rrd *r, double *held, int seconds)
{
    int t = 0;
    for (unsigned i = 0; t < seconds; i++) {
        int next = t + 2 + (int)(noise(i) % 9);
        next = next < seconds ? next : seconds;
        double v = 100 + noise(i + 1000) % 1000;
        rrd_update(r, START + next, &v);
        for (; t < next; t++)
            held[t] = v;
    }
}

static double mean(const double *held, int from, int to)
{
    double sum = 0;
    for (int i = from; i < to; i++)
        sum += held[i];
    return sum / (to - from);
}

static void rows_are_means_of_what_was_sampled(void **state)
{
    (void)state;
    enum { SECONDS = 7200 };
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, memory());
    _cleanup_(freep) double *held = mem_new_n(double, SECONDS);
    feed_gauge(r, held, SECONDS);

    assert_int_equal(rrd_newest(r, 0), (int64_t)START + SECONDS);
    for (int i = 0; i < 120; i++) {
        int end = SECONDS - 5 * i;
        double row = rrd_at(r, 0, 0, (int64_t)START + end);
        assert_true(fabs(row - mean(held, end - 5, end)) < 1e-3);
    }
    int64_t newest = rrd_newest(r, 1);
    assert_int_equal(newest % 60, 0);
    for (int i = 0; i < 118; i++) {
        int end = (int)(newest - (int64_t)START) - 60 * i;
        double row = rrd_at(r, 1, 0, newest - 60 * i);
        assert_true(fabs(row - mean(held, end - 60, end)) < 1e-3);
    }
    double hour = rrd_at(r, 2, 0, rrd_newest(r, 2));
    int end = (int)(rrd_newest(r, 2) - (int64_t)START);
    assert_true(fabs(hour - mean(held, end - 3600, end)) < 1e-3);
    assert_true(isnan(rrd_at(r, 0, 0, (int64_t)START + SECONDS - 600)));
    assert_true(isnan(rrd_at(r, 0, 0, (int64_t)START + SECONDS + 5)));
}

static void minima_and_maxima_are_of_the_same_steps(void **state)
{
    (void)state;
    enum { SECONDS = 3600 };
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(true, START);
    rrd_add(r, memory());
    _cleanup_(freep) double *held = mem_new_n(double, SECONDS);
    feed_gauge(r, held, SECONDS);
    int64_t newest = rrd_newest(r, 5);
    assert_int_equal(r->archives[5].cf, CF_MIN);
    assert_int_equal(r->archives[9].cf, CF_MAX);
    for (int i = 0; i < 50; i++) {
        int end = (int)(newest - (int64_t)START) - 60 * i;
        double low = INFINITY, high = -INFINITY;
        for (int s = end - 60; s < end; s += 5) {
            low = fmin(low, mean(held, s, s + 5));
            high = fmax(high, mean(held, s, s + 5));
        }
        assert_true(fabs(rrd_at(r, 5, 0, newest - 60 * i) - low) < 1e-3);
        assert_true(fabs(rrd_at(r, 9, 0, newest - 60 * i) - high) < 1e-3);
    }
}

static void counters_become_rates(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, traffic());
    double count = 5e12;
    for (int t = 5; t <= 60; t += 5) {
        rrd_update(r, START + t, &count);
        count += 5000;
    }
    assert_true(isnan(rrd_at(r, 0, 0, (int64_t)START + 5))); /* one sample is no rate */
    assert_true(rrd_at(r, 0, 0, (int64_t)START + 10) == 1000);
    count = 7; /* the guest was started again */
    rrd_update(r, START + 65, &count);
    assert_true(isnan(rrd_at(r, 0, 0, (int64_t)START + 65)));
    count += 10;
    rrd_update(r, START + 70, &count);
    assert_true(rrd_latest(r, 0) == 2);
}

static void a_share_stays_a_share(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, cpu());
    double seconds = 0;
    rrd_update(r, START + 5, &seconds);
    seconds = 5.001; /* the clocks differ a little */
    rrd_update(r, START + 10, &seconds);
    assert_true(rrd_latest(r, 0) == 1);
    seconds += 20; /* that is no share of 5 seconds */
    rrd_update(r, START + 15, &seconds);
    assert_true(isnan(rrd_latest(r, 0)));
}

static void silence_is_unknown(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, memory());
    double v = 10;
    rrd_update(r, START + 10, &v);
    assert_true(rrd_latest(r, 0) == 10);
    rrd_update(r, START + 10 + 301, &v);
    assert_true(isnan(rrd_latest(r, 0)));
    rrd_update(r, START + 10 + 305, &v);
    rrd_update(r, START + 10 + 310, &v);
    assert_true(rrd_latest(r, 0) == 10);
    rrd_update(r, START + 1e8, &v); /* three years later */
    rrd_update(r, START + 1e8 + 5, &v);
    assert_true(rrd_latest(r, 0) == 10);
    assert_true(isnan(rrd_at(r, 0, 0, (int64_t)START + 100000000 - 5)));
    rrd_update(r, START, &v); /* the clock is put back */
    v = 20;
    rrd_update(r, START + 5, &v);
    assert_true(rrd_latest(r, 0) == 20);
}

static void a_source_that_comes_late_has_no_past(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, memory());
    double v[2] = {1, 7};
    for (int t = 5; t <= 600; t += 5)
        rrd_update(r, START + t, v);
    assert_int_equal(rrd_add(r, traffic()), 1);
    assert_int_equal(rrd_find(r, traffic()), 1);
    rrd_update(r, START + 605, v);
    v[1] = 17;
    rrd_update(r, START + 610, v);
    assert_true(rrd_at(r, 0, 1, (int64_t)START + 610) == 2);
    assert_true(isnan(rrd_at(r, 0, 1, (int64_t)START + 605)));
    assert_true(rrd_at(r, 0, 0, (int64_t)START + 605) == 1);
    rrd_remove(r, 0);
    assert_int_equal(rrd_find(r, traffic()), 0);
    assert_true(rrd_latest(r, 0) == 2);
}

static void rings_keep_the_newest(void **state)
{
    (void)state;
    struct ring g = {0};
    for (unsigned i = 0; i < 50; i++)
        ring_push(&g, 20, 3, 1);
    assert_int_equal(g.cap, 0); /* all the same: no room taken */
    assert_int_equal(g.n, 20);
    assert_true(ring_peek(&g, 19) == 3);
    for (unsigned i = 0; i < 33; i++)
        ring_push(&g, 20, (float)i, 1);
    for (unsigned i = 0; i < 20; i++)
        assert_true(ring_peek(&g, i) == 32 - i);
    assert_true(isnan(ring_peek(&g, 20)));
    ring_push(&g, 20, NAN, 100);
    assert_int_equal(g.cap, 0);
    assert_true(isnan(ring_peek(&g, 0)));
    ring_push(&g, 20, 1, 1);
    assert_true(ring_peek(&g, 0) == 1 && isnan(ring_peek(&g, 1)));
    free(g.v);
}

/* A database with a bit of everything. */
static struct rrd *sample(void)
{
    struct rrd *r = rrd_new(false, START);
    rrd_add(r, memory());
    rrd_add(r, traffic());
    rrd_add(r, source_by_name(pool, OWNER_VM, "foreign", SOURCE_ABSOLUTE, -INFINITY, 1e9));
    for (unsigned i = 1; i <= 1500; i++) {
        double v[3] = {4e9, 1e6 * i + noise(i) % 1000000, i % 7 ? noise(i) % 50 / 3.0 : NAN};
        rrd_update(r, START + 5 * i + 0.25, v);
    }
    return r;
}

static void assert_same(const struct rrd *a, const struct rrd *b, double error)
{
    assert_int_equal(a->n_ds, b->n_ds);
    assert_int_equal(a->n_archives, b->n_archives);
    for (unsigned x = 0; x < a->n_archives; x++) {
        assert_int_equal(a->archives[x].rows, b->archives[x].rows);
        assert_int_equal(rrd_newest(a, x), rrd_newest(b, x));
        for (size_t d = 0; d < a->n_ds; d++)
            for (unsigned i = 0; i < a->archives[x].rows; i++) {
                double p = ring_peek(rrd_ring(a, d, x), i), q = ring_peek(rrd_ring(b, d, x), i);
                assert_true((isnan(p) && isnan(q)) || fabs(p - q) <= error * fabs(p));
            }
    }
}

static void a_file_gives_back_what_was_put_in(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = sample();
    _cleanup_(rrd_freep) struct rrd *back = NULL;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    rrd_save(r, &b);
    assert_int_equal(rrd_load((struct view){b.data, b.size}, pool, OWNER_VM, &back), 0);
    assert_same(r, back, 0);
    assert_true(back->updated == r->updated);
    double v[3] = {4e9, 1e12, 3};
    rrd_update(r, START + 9000, v);
    rrd_update(back, START + 9000, v);
    assert_same(r, back, 0);

    for (size_t i = 0; i < b.size; i += 101) { /* any damage is noticed */
        struct rrd *none = NULL;
        b.data[i] ^= 0x40;
        assert_int_equal(rrd_load((struct view){b.data, b.size}, pool, OWNER_VM, &none), -EINVAL);
        b.data[i] ^= 0x40;
        assert_int_equal(rrd_load((struct view){b.data, i}, pool, OWNER_VM, &none), -EINVAL);
    }
}

static void put_all(const struct rrd *r, bool json, struct buf *b)
{
    for (unsigned part = 0; json ? rrd_put_json(b, r, part) : rrd_put_xml(b, r, part);)
        part++;
    assert_true(buf_ok(b));
}

static void xml_reads_back(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = sample();
    _cleanup_(rrd_freep) struct rrd *back = NULL;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 16 << 20);
    put_all(r, false, &b);
    assert_int_equal(rrd_read_xml(view_of(buf_str(&b)), pool, OWNER_VM, &back), 0);
    assert_same(r, back, 1e-6);
}

static void the_forms_are_xenservers(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_empty(1);
    r->updated = 1000000002.5;
    r->archives[r->n_archives++] = (struct archive){CF_AVERAGE, 1, 2, 1};
    rrd_add(r, memory());
    ring_push(rrd_ring(r, 0, 0), 2, 0.1f, 1);
    r->ds[0].last = 4294967296;
    r->ds[0].acc = 5;
    r->ds[0].unknown_s = 0;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    put_all(r, false, &b);
    assert_string_equal(
        buf_str(&b),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<rrd><version>0003</version><step>5</step><lastupdate>1000000002</lastupdate>"
        "<ds><name>memory</name><type>GAUGE</type><minimal_heartbeat>300</minimal_heartbeat>"
        "<min>0.0</min><max>Infinity</max><last_ds>4294967296</last_ds><value>5</value>"
        "<unknown_sec>0</unknown_sec></ds>"
        "<rra><cf>AVERAGE</cf><pdp_per_row>1</pdp_per_row><params><xff>1</xff></params>"
        "<cdp_prep><ds><primary_value>0.0</primary_value><secondary_value>0.0</secondary_value>"
        "<value>0.0</value><unknown_datapoints>0</unknown_datapoints></ds></cdp_prep>"
        "<database><row><v>NaN</v></row><row><v>0.1</v></row></database></rra></rrd>");
    buf_clear(&b);
    put_all(r, true, &b);
    assert_string_equal(
        buf_str(&b),
        "{\"version\":\"0003\",\"step\":\"5\",\"lastupdate\":\"1000000002.5\","
        "\"ds\":[{\"name\":\"memory\",\"type\":\"GAUGE\",\"minimal_heartbeat\":\"300\","
        "\"min\":\"0.0\",\"max\":\"Infinity\",\"last_ds\":\"4294967296\",\"value\":\"5\","
        "\"unknown_sec\":\"0.0\"}],"
        "\"rra\":[{\"cf\":\"AVERAGE\",\"pdp_per_row\":\"1\",\"params\":{\"xff\":\"1\"},"
        "\"cdp_prep\":{\"ds\":[{\"primary_value\":\"0.0\",\"secondary_value\":\"0.0\","
        "\"value\":\"0.0\",\"unknown_datapoints\":\"0\"}]},"
        "\"database\":[[\"NaN\"],[\"0.1\"]]}]}");
}

static void long_names_are_cut_for_rrdtool_alone(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, source_get(pool, SOURCE_VM_VBD_THROUGHPUT_TOTAL, "xvda"));
    rrd_add(r, source_get(pool, SOURCE_VM_MEMORY_INTERNAL_FREE, ""));
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    put_all(r, false, &b);
    assert_non_null(strstr(buf_str(&b), "<name>vbd_xvda_io_through<![CDATA[put_total]]></name>"));
    assert_non_null(strstr(buf_str(&b), "<name>memory_internal_fre<![CDATA[e]]></name>"));
    _cleanup_(rrd_freep) struct rrd *back = NULL;
    assert_int_equal(rrd_read_xml(view_of(buf_str(&b)), pool, OWNER_VM, &back), 0);
    assert_ptr_equal(back->ds[0].source, r->ds[0].source);
    assert_ptr_equal(back->ds[1].source, r->ds[1].source);
}

static void numbers_are_short(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0.0"},
                 {-0.0, "0.0"},
                 {1, "1"},
                 {4294967296, "4294967296"},
                 {(double)0.3f, "0.3"},
                 {1234567.5, "1234568"},
                 {1e-7, "1e-07"},
                 {1e300, "1e+300"},
                 {(double)NAN, "NaN"},
                 {(double)INFINITY, "Infinity"},
                 {-(double)INFINITY, "-Infinity"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(buf_done) struct buf b;
        buf_init(&b, 100);
        rrd_put_number(&b, cases[i].v);
        assert_string_equal(buf_str(&b), cases[i].text);
    }
}

static void bad_xml_is_refused(void **state)
{
    (void)state;
#define HEAD "<rrd><version>0003</version><step>5</step><lastupdate>10</lastupdate>"
#define DS   "<ds><name>memory</name><type>GAUGE</type></ds>"
#define RRA(rows)                                                                                  \
    "<rra><cf>AVERAGE</cf><pdp_per_row>1</pdp_per_row><database>" rows "</database></rra>"
    static const char *const bad[] = {
        "",
        "<rrd>",
        "<other/>",
        HEAD "</rrd>",
        HEAD DS "</rrd>",
        HEAD RRA("<row><v>1</v></row>") "</rrd>",
        HEAD DS RRA("") "</rrd>",
        HEAD DS RRA("<row></row>") "</rrd>",
        HEAD DS RRA("<row><v>1</v><v>2</v></row>") "</rrd>",
        HEAD DS RRA("<row><v>one</v></row>") "</rrd>",
        HEAD DS RRA("<row><v><b>1</b></v></row>") "</rrd>",
        HEAD "<ds><name>memory</name><type>COUNTER</type></ds>" RRA("<row><v>1</v></row>") "</rrd>",
        "<rrd><step>300</step>" DS RRA("<row><v>1</v></row>") "</rrd>",
        "<!DOCTYPE rrd [<!ENTITY a \"b\">]>" HEAD DS RRA("<row><v>1</v></row>") "</rrd>",
    };
    struct rrd *r = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(rrd_read_xml(view_of(bad[i]), pool, OWNER_VM, &r), -EINVAL);
    const char *good = HEAD DS RRA("<row><v> 1.5e0 </v></row><row><v>NaN</v></row>") "</rrd>";
    assert_int_equal(rrd_read_xml(view_of(good), pool, OWNER_VM, &r), 0);
    assert_true(ring_peek(rrd_ring(r, 0, 0), 1) == 1.5);
    rrd_free(r);
}

static void names_find_their_kind(void **state)
{
    (void)state;
    const struct source *s = source_get(pool, SOURCE_VM_VBD_IOPS_TOTAL, "xvda");
    assert_string_equal(s->name, "vbd_xvda_iops_total");
    assert_ptr_equal(s, source_by_name(pool, OWNER_VM, "vbd_xvda_iops_total", SOURCE_GAUGE, 0, 1));
    s = source_by_name(pool, OWNER_HOST, "pif_eth0_rx_errors", SOURCE_GAUGE, 0, 1);
    assert_ptr_equal(s->kind, &source_kinds[SOURCE_HOST_PIF_RX_ERRORS]);
    assert_string_equal(s->device, "eth0");
    s = source_by_name(pool, OWNER_HOST, "cpu_avg", SOURCE_GAUGE, 0, 1);
    assert_ptr_equal(s->kind, &source_kinds[SOURCE_HOST_CPU_AVG]);
    s = source_by_name(pool, OWNER_HOST, "io_throughput_read_12345678", SOURCE_GAUGE, 0, 1);
    assert_ptr_equal(s->kind, &source_kinds[SOURCE_HOST_SR_THROUGHPUT_READ]);
    s = source_by_name(pool, OWNER_VM, "something", SOURCE_GAUGE, 0, 1);
    assert_null(s->kind);
    assert_string_equal(source_units(s), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_means_of_what_was_sampled),
        cmocka_unit_test(minima_and_maxima_are_of_the_same_steps),
        cmocka_unit_test(counters_become_rates),
        cmocka_unit_test(a_share_stays_a_share),
        cmocka_unit_test(silence_is_unknown),
        cmocka_unit_test(a_source_that_comes_late_has_no_past),
        cmocka_unit_test(rings_keep_the_newest),
        cmocka_unit_test(a_file_gives_back_what_was_put_in),
        cmocka_unit_test(xml_reads_back),
        cmocka_unit_test(the_forms_are_xenservers),
        cmocka_unit_test(long_names_are_cut_for_rrdtool_alone),
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(bad_xml_is_refused),
        cmocka_unit_test(names_find_their_kind),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
