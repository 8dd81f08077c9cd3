/* Tests of metrics/perfmon: configurations, minutes, alarms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "metrics/pattern.h"
#include "metrics/perfmon.h"

#define START 1700000040.0 /* the beginning of a minute */

static struct source_pool *pool;
static const struct perfmon_usage no_usage = {NAN, NAN, NAN};

struct alarms {
    unsigned n;
    int64_t priority;
    char *body; /* of the last one */
};

static void on_alarm(void *arg, int64_t priority, const char *body)
{
    struct alarms *a = arg;
    a->n++;
    a->priority = priority;
    free(a->body);
    a->body = mem_strdup(body);
}

static struct perfmon *parse(const char *xml, enum metrics_owner owner)
{
    struct perfmon *p = NULL;
    char *why = NULL;
    assert_int_equal(perfmon_parse(view_of(xml), owner, NULL, &p, &why), 0);
    return p;
}

/* Minutes of two CPUs with these shares; returns the end of the last one. */
static int64_t minutes(struct rrd *r, unsigned n, double cpu0, double cpu1)
{
    for (unsigned i = 0; i < 12 * n; i++) {
        double v[2] = {r->ds[0].last + cpu0 * 5, r->ds[1].last + cpu1 * 5};
        rrd_update(r, r->updated + 5, v);
    }
    return (int64_t)r->updated;
}

static struct rrd *two_cpus(void)
{
    struct rrd *r = rrd_new(false, START);
    rrd_add(r, source_get(pool, SOURCE_VM_CPU, "0"));
    rrd_add(r, source_get(pool, SOURCE_VM_CPU, "1"));
    rrd_update(r, START, (double[]){0, 0});
    return r;
}

static const char cpu_config[] = "<config><variable><name value=\"cpu_usage\"/>"
                                 "<alarm_trigger_level value='0.5'/>"
                                 "<alarm_trigger_period value='120'/>"
                                 "<alarm_auto_inhibit_period value='300'/></variable></config>";

static void an_alarm_comes_after_its_period_and_then_rests(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = two_cpus();
    struct perfmon *p = parse(cpu_config, OWNER_VM);
    struct alarms a = {0};
    perfmon_minute(p, r, minutes(r, 1, 0.9, 0.2), &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 0); /* one minute is less than 120 s */
    perfmon_minute(p, r, minutes(r, 1, 0.9, 0.2), &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.priority, 3);
    assert_string_equal(a.body, "value: 0.550000\nconfig:\n<variable>\n"
                                "\t<name value=\"cpu_usage\"/>\n"
                                "\t<alarm_trigger_level value=\"0.5\"/>\n"
                                "\t<alarm_trigger_period value=\"120\"/>\n"
                                "\t<alarm_auto_inhibit_period value=\"300\"/>\n</variable>\n");
    for (int i = 0; i < 4; i++)
        perfmon_minute(p, r, minutes(r, 1, 0.9, 0.2), &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 1); /* 240 s later: inhibited */
    for (int i = 0; i < 2; i++)
        perfmon_minute(p, r, minutes(r, 1, 0.9, 0.2), &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 2);
    free(a.body);
    perfmon_free(p);
}

static void a_good_minute_begins_anew(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = two_cpus();
    struct perfmon *p = parse(cpu_config, OWNER_VM);
    struct alarms a = {0};
    for (int i = 0; i < 6; i++)
        perfmon_minute(p, r, minutes(r, 1, i % 2 ? 0.1 : 1, 0.5), &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 0);
    perfmon_minute(p, r, minutes(r, 1, 1, 0.5), &no_usage, on_alarm, &a);
    struct perfmon *again = parse(cpu_config, OWNER_VM);
    perfmon_take_over(again, p); /* as when another key of the map was written */
    perfmon_minute(again, r, minutes(r, 1, 1, 0.5), &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 1);
    free(a.body);
    perfmon_free(p);
    perfmon_free(again);
}

static void low_levels_and_own_expressions(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, source_get(pool, SOURCE_HOST_MEMORY_FREE, ""));
    rrd_add(r, source_get(pool, SOURCE_HOST_LOADAVG, ""));
    for (int i = 1; i <= 12; i++)
        rrd_update(r, START + 5 * i, (double[]){5000, 3.5});
    struct perfmon *p =
        parse("<config><variable><name value=\"memory_free_kib\"/><alarm_priority value='2'/>"
              "<alarm_trigger_level value='6000'/></variable>"
              "<variable><name value=\"mine\"/><rrd_regex value='load.*'/>"
              "<consolidation_fn value='max'/><alarm_trigger_sense value='low'/>"
              "<alarm_trigger_level value='3'/></variable></config>",
              OWNER_HOST);
    struct alarms a = {0};
    perfmon_minute(p, r, (int64_t)START + 60, &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.priority, 2);
    free(a.body);
    perfmon_free(p);
}

static void the_control_domain_and_repositories(void **state)
{
    (void)state;
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, source_get(pool, SOURCE_SR_SIZE, ""));
    rrd_add(r, source_get(pool, SOURCE_SR_UTILISATION, ""));
    for (int i = 1; i <= 12; i++)
        rrd_update(r, START + 5 * i, (double[]){1000, 850});
    struct perfmon *sr = parse(
        "<config><variable><name value=\"physical_utilisation\"/></variable></config>", OWNER_SR);
    struct perfmon *dom0 = parse("<config><variable><name value=\"fs_usage\"/></variable>"
                                 "<variable><name value=\"mem_usage\"/></variable></config>",
                                 OWNER_VM);
    struct alarms a = {0};
    perfmon_minute(sr, r, (int64_t)START + 60, &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 1);
    assert_true(str_starts(a.body, "value: 0.850000\n"));
    struct perfmon_usage usage = {.fs = 0.91, .memory = 0.5, .log_fs = NAN};
    perfmon_minute(dom0, r, (int64_t)START + 60, &usage, on_alarm, &a);
    assert_int_equal(a.n, 2);
    assert_true(str_starts(a.body, "value: 0.910000\n"));
    free(a.body);
    perfmon_free(sr);
    perfmon_free(dom0);
}

static void a_repository_can_ask_its_host(void **state)
{
    (void)state;
    static const char config[] =
        "<config><variable><name value=\"sr_io_throughput_total_per_host\"/>"
        "<alarm_trigger_level value='0.5'/></variable>"
        "<variable><name value='physical_utilisation'/></variable></config>";
    static const char sr[] = "0e7f8fb3-1ba2-4bce-9889-48812273a316";
    struct perfmon *p = NULL;
    char *why = NULL;
    assert_int_equal(perfmon_parse(view_of(config), OWNER_HOST, sr, &p, &why), 0);
    _cleanup_(rrd_freep) struct rrd *r = rrd_new(false, START);
    rrd_add(r, source_get(pool, SOURCE_HOST_SR_THROUGHPUT_TOTAL, "0e7f8fb3"));
    for (int i = 1; i <= 12; i++)
        rrd_update(r, START + 5 * i, (double[]){10});
    struct alarms a = {0};
    perfmon_minute(p, r, (int64_t)START + 60, &no_usage, on_alarm, &a);
    assert_int_equal(a.n, 1);
    assert_string_equal(a.body, "value: 2.000000\nconfig:\n<variable>\n"
                                "\t<name value=\"sr_io_throughput_total_per_host\"/>\n"
                                "\t<alarm_trigger_level value=\"0.5\"/>\n"
                                "\t<configured_on class=\"SR\" "
                                "uuid=\"0e7f8fb3-1ba2-4bce-9889-48812273a316\"/>\n</variable>\n");
    free(a.body);
    perfmon_free(p);
}

static void bad_configs_say_why(void **state)
{
    (void)state;
#define VAR(s) "<config><variable>" s "</variable></config>"
    static const struct {
        const char *xml, *why;
    } bad[] = {
        {"<config>", "it is no XML"},
        {"", "it is no XML"},
        {"<!DOCTYPE a [<!ENTITY b 'c'>]><config/>", "a document type"},
        {VAR("<alarm_trigger_level value='1'/>"), "no name"},
        {VAR("<name value='cpu_usage'/>"), "alarm_trigger_level"},
        {VAR("<name value='what'/><alarm_trigger_level value='1'/>"), "rrd_regex"},
        {VAR("<name value='cpu_usage'/><alarm_trigger_level value='x'/>"), "no number"},
        {VAR("<name value='cpu_usage'/><alarm_trigger_level value='1'/>"
             "<alarm_trigger_period value='soon'/>"),
         "no number"},
        {VAR("<name value='a'/><rrd_regex value='('/><alarm_trigger_level value='1'/>"),
         "cannot be read"},
        {VAR("<name value='a'/><rrd_regex value='(a{99}){99}'/><alarm_trigger_level value='1'/>"),
         "cannot be read"},
        {VAR("<name value='cpu_usage'/><alarm_trigger_level value='1'/>"
             "<consolidation_fn value='eval'/>"),
         "not known"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct perfmon *p = NULL;
        _cleanup_(freep) char *why = NULL;
        assert_int_equal(perfmon_parse(view_of(bad[i].xml), OWNER_VM, NULL, &p, &why), -EINVAL);
        assert_non_null(strstr(why, bad[i].why));
    }
    perfmon_free(parse("<config/>", OWNER_VM));
}

static void expressions_match_whole_names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {
        {"cpu[0-9]+", "cpu12", "cpu"},
        {"cpu[0-9]+", "cpu0", "xcpu0"},
        {"vif_[0-9]+_[rt]x", "vif_0_tx", "vif_0_tx_errors"},
        {"vbd_(xvd|hd)[a-z]+_(read|write)", "vbd_hdc_write", "vbd_sda_read"},
        {"a|b|cd*e?", "cdd", "ab"},
        {"(a*)*b", "aaaab", "aaaa"},
        {"^memory.*$", "memory_target", "a_memory"},
        {"[^0-9]x\\+[]-]", "ax+]", "1x+]"},
        {"()", "", "a"},
        {"", "", "a"},
        {"(a|b)?c+", "acc", "abc"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pattern *p = pattern_new(cases[i].pattern);
        assert_non_null(p);
        assert_true(pattern_is_match(p, cases[i].yes));
        assert_false(pattern_is_match(p, cases[i].no));
        pattern_free(p);
    }
    static const char *const bad[] = {"(",
                                      ")",
                                      "a)",
                                      "[",
                                      "[a",
                                      "*",
                                      "a**",
                                      "+",
                                      "\\",
                                      "a{2}",
                                      "((((((((((((((((((a))))))))))))))))))"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(pattern_new(bad[i]));
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alarm_comes_after_its_period_and_then_rests),
        cmocka_unit_test(a_good_minute_begins_anew),
        cmocka_unit_test(low_levels_and_own_expressions),
        cmocka_unit_test(the_control_domain_and_repositories),
        cmocka_unit_test(a_repository_can_ask_its_host),
        cmocka_unit_test(bad_configs_say_why),
        cmocka_unit_test(expressions_match_whole_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
