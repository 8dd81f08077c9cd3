/* perfmon.c: see perfmon.h. */
#include "metrics/perfmon.h"

#include <errno.h>
#include <expat.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "codec/xml.h"
#include "metrics/pattern.h"

#define CONFIG_MAX    (64u << 10)
#define VARIABLES_MAX 64
#define VALUE_MAX     256
#define MINUTE        60
#define PER_HOST      "sr_io_throughput_total_per_host"

enum combine { BY_SUM, BY_AVERAGE, BY_MAX, BY_FS, BY_LOG_FS, BY_MEMORY, BY_SR, BY_N };
static const char *const combine_names[BY_N] = {
    "sum",
    "average",
    "max",
    "get_percent_fs_usage",
    "get_percent_log_fs_usage",
    "get_percent_mem_usage",
    "get_percent_sr_usage",
};

struct variable {
    char *name;
    char *text; /* the configuration, as an alarm shows it */
    enum combine combine;
    struct pattern *sources; /* by name; NULL: none */
    double level;
    bool low; /* alarm below the level */
    int64_t period_s, inhibit_s, priority;

    int64_t left_s;     /* until the level has been passed for long enough */
    int64_t quiet_till; /* no alarm before */
};

struct perfmon {
    VEC(struct variable) variables;
};

static void variable_done(struct variable *v)
{
    free(v->name);
    free(v->text);
    pattern_free(v->sources);
    *v = (struct variable){0};
}

void perfmon_free(struct perfmon *p)
{
    if (!p)
        return;
    vec_each (v, &p->variables)
        variable_done(v);
    vec_done(&p->variables);
    free(p);
}

/* ---- what is left out ---- */

static bool is_traffic_of_sr(const char *name)
{
    static const char prefix[] = "sr_io_throughput_total_";
    return str_starts(name, prefix) && strlen(name) == sizeof(prefix) - 1 + 8 &&
           strspn(name + sizeof(prefix) - 1, "0123456789abcdef") == 8;
}

/* The row of the first table that fits. `sources` NULL: there is no default. */
static const struct standard {
    enum metrics_owner owner;
    const char *name;
    enum combine combine;
    const char *sources; /* "" matches nothing */
    const char *level;
    bool low;
} standards[] = {
    {OWNER_VM, "cpu_usage", BY_AVERAGE, "cpu[0-9]+", NULL, false},
    {OWNER_VM, "network_usage", BY_SUM, "vif_[0-9]+_[rt]x", NULL, false},
    {OWNER_VM, "disk_usage", BY_SUM, "vbd_(xvd|hd)[a-z]+_(read|write)", NULL, false},
    {OWNER_VM, "fs_usage", BY_FS, "", "0.9", false},
    {OWNER_VM, "log_fs_usage", BY_LOG_FS, "", "0.9", false},
    {OWNER_VM, "mem_usage", BY_MEMORY, "", "0.95", false},
    {OWNER_VM, "memory_internal_free", BY_SUM, "memory_internal_free", NULL, true},
    {OWNER_HOST, "cpu_usage", BY_AVERAGE, "cpu[0-9]+", NULL, false},
    {OWNER_HOST, "network_usage", BY_SUM, "pif_eth[0-9]+_[rt]x", NULL, false},
    {OWNER_HOST, "memory_free_kib", BY_SUM, "memory_free_kib", NULL, true},
    {OWNER_SR, "physical_utilisation", BY_SR, "physical_utilisation|size", "0.8", false},
    {OWNER_SR, PER_HOST, BY_SUM, "", NULL, false},
};

static const struct standard *standard_of(enum metrics_owner owner, const char *name)
{
    static const struct standard none = {.combine = BY_SUM};
    for (size_t i = 0; i < ARRAY_LEN(standards); i++)
        if (standards[i].owner == owner && strcmp(standards[i].name, name) == 0)
            return &standards[i];
    return &none;
}

/* ---- reading ---- */

enum tag {
    TAG_NAME,
    TAG_SOURCES,
    TAG_COMBINE,
    TAG_LEVEL,
    TAG_PERIOD,
    TAG_INHIBIT,
    TAG_SENSE,
    TAG_PRIORITY,
    TAG_N
};
static const char *const tags[TAG_N] = {
    "name",
    "rrd_regex",
    "consolidation_fn",
    "alarm_trigger_level",
    "alarm_trigger_period",
    "alarm_auto_inhibit_period",
    "alarm_trigger_sense",
    "alarm_priority",
};

struct reader {
    XML_Parser expat;
    enum metrics_owner owner;
    const char *sr;
    struct perfmon *p;
    unsigned depth;
    unsigned in_variable; /* depth of the <variable> we are in, 0: none */
    char *given[TAG_N];   /* of the variable */
    struct buf text;      /* its children, one a line */
    char *why;
};

static void clear_given(struct reader *r)
{
    for (int i = 0; i < TAG_N; i++) {
        free(r->given[i]);
        r->given[i] = NULL;
    }
    buf_clear(&r->text);
}

static void reader_done(struct reader *r)
{
    if (r->expat)
        XML_ParserFree(r->expat);
    clear_given(r);
    buf_done(&r->text);
    perfmon_free(r->p);
    free(r->why);
}

static void fail(struct reader *r, const char *fmt, ...) _printf_(2, 3);
static void fail(struct reader *r, const char *fmt, ...)
{
    if (r->why)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->why = mem_strdup(text);
    (void)XML_StopParser(r->expat, XML_FALSE);
}

static int64_t read_int(struct reader *r, enum tag tag, int64_t otherwise)
{
    int64_t v = otherwise;
    if (r->given[tag] && str_i64(view_trim(view_of(r->given[tag])), 0, INT64_C(1) << 40, &v) < 0)
        fail(r, "variable %s: %s '%s' is no number", r->given[TAG_NAME], tags[tag], r->given[tag]);
    return v;
}

static void compile(struct reader *r, struct variable *v, const char *expression)
{
    v->sources = pattern_new(expression);
    if (!v->sources)
        fail(r, "variable %s: the expression '%s' cannot be read", v->name, expression);
}

static void read_sources(struct reader *r, struct variable *v, const struct standard *std)
{
    if (r->given[TAG_SOURCES])
        compile(r, v, r->given[TAG_SOURCES]);
    else if (std->sources && *std->sources)
        compile(r, v, std->sources);
    else if (r->owner == OWNER_HOST && is_traffic_of_sr(v->name))
        compile(r, v, v->name + strlen("sr_"));
    else if (!std->sources)
        fail(r, "variable %s: no default rrd_regex, please give one", v->name);
}

static void read_level(struct reader *r, struct variable *v, const struct standard *std)
{
    const char *level = r->given[TAG_LEVEL] ? r->given[TAG_LEVEL] : std->level;
    if (!level)
        fail(r, "variable %s: no default alarm_trigger_level, please give one", v->name);
    else if (str_double(view_trim(view_of(level)), &v->level) < 0)
        fail(r, "variable %s: alarm_trigger_level '%s' is no number", v->name, level);
    v->low = r->given[TAG_SENSE] ? strcmp(r->given[TAG_SENSE], "high") != 0 : std->low;
}

static void read_combine(struct reader *r, struct variable *v, const struct standard *std)
{
    v->combine = std->combine;
    if (!r->given[TAG_COMBINE])
        return;
    for (int i = 0; i < BY_N; i++) {
        if (strcmp(combine_names[i], r->given[TAG_COMBINE]) != 0)
            continue;
        v->combine = (enum combine)i;
        return;
    }
    fail(r, "variable %s: consolidation function '%s' is not known", v->name,
         r->given[TAG_COMBINE]);
}

/* A repository's variable becomes one of the host; false: it does not count. */
static bool rename_for_host(struct reader *r)
{
    if (!r->sr)
        return true;
    if (!r->given[TAG_NAME] || strcmp(r->given[TAG_NAME], PER_HOST) != 0 || r->given[TAG_SOURCES])
        return false;
    free(r->given[TAG_NAME]);
    r->given[TAG_NAME] = mem_printf("sr_io_throughput_total_%.8s", r->sr);
    buf_printf(&r->text, "\t<configured_on class=\"SR\" uuid=\"%s\"/>\n", r->sr);
    return true;
}

static void variable_end(struct reader *r)
{
    if (!r->given[TAG_NAME]) {
        fail(r, "a variable has no name");
        return;
    }
    if (!rename_for_host(r))
        return;
    struct variable v = {.name = mem_strdup(r->given[TAG_NAME])};
    const struct standard *std = standard_of(r->owner, v.name);
    read_combine(r, &v, std);
    read_sources(r, &v, std);
    read_level(r, &v, std);
    v.period_s = read_int(r, TAG_PERIOD, 60);
    v.inhibit_s = read_int(r, TAG_INHIBIT, 3600);
    v.priority = read_int(r, TAG_PRIORITY, 3);
    v.left_s = v.period_s;
    v.text = mem_printf("<variable>\n%s</variable>\n", buf_str(&r->text));
    if (r->why || r->p->variables.n >= VARIABLES_MAX)
        variable_done(&v);
    else
        vec_push(&r->p->variables, v);
}

static void put_child(struct buf *b, const char *tag, const char **attributes)
{
    buf_printf(b, "\t<%s", tag);
    for (; attributes[0]; attributes += 2) {
        buf_printf(b, " %s=\"", attributes[0]);
        for (const char *p = attributes[1]; *p;) {
            size_t plain = strcspn(p, "\"");
            xml_put_text(b, (struct view){p, plain});
            p += plain;
            if (*p == '"') {
                buf_puts(b, "&quot;");
                p++;
            }
        }
        buf_putc(b, '"');
    }
    buf_puts(b, "/>\n");
}

static void child(struct reader *r, const char *tag, const char **attributes)
{
    put_child(&r->text, tag, attributes);
    const char *value = "";
    for (const char **a = attributes; a[0]; a += 2)
        if (strcmp(a[0], "value") == 0)
            value = a[1];
    if (strlen(value) > VALUE_MAX) {
        fail(r, "a value of '%s' is too long", tag);
        return;
    }
    for (int i = 0; i < TAG_N; i++)
        if (strcmp(tags[i], tag) == 0 && !r->given[i])
            r->given[i] = mem_strdup(value);
}

static void XMLCALL on_start(void *arg, const char *tag, const char **attributes)
{
    struct reader *r = arg;
    r->depth++;
    if (r->depth > 8)
        fail(r, "elements stand too deep in each other");
    else if (r->in_variable)
        child(r, tag, attributes);
    else if (strcmp(tag, "variable") == 0)
        r->in_variable = r->depth;
}

static void XMLCALL on_end(void *arg, const char *tag)
{
    struct reader *r = arg;
    if (r->why)
        return;
    if (r->depth-- != r->in_variable)
        return;
    r->in_variable = 0;
    variable_end(r);
    clear_given(r);
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system, const char *public,
                               int has_subset)
{
    fail(arg, "a document type is not taken");
}

int perfmon_parse(struct view xml, enum metrics_owner owner, const char *sr, struct perfmon **ret,
                  char **ret_why)
{
    _cleanup_(reader_done) struct reader r = {
        .expat = XML_ParserCreate(NULL), .owner = owner, .sr = sr, .p = mem_new(struct perfmon)};
    buf_init(&r.text, CONFIG_MAX * 8);
    XML_SetUserData(r.expat, &r);
    XML_SetElementHandler(r.expat, on_start, on_end);
    XML_SetStartDoctypeDeclHandler(r.expat, on_doctype);
    if (xml.size > CONFIG_MAX)
        fail(&r, "it has more than %u bytes", CONFIG_MAX);
    else if (XML_Parse(r.expat, xml.p, (int)xml.size, 1) != XML_STATUS_OK)
        fail(&r, "it is no XML: %s", XML_ErrorString(XML_GetErrorCode(r.expat)));
    if (r.why) {
        *ret_why = steal(&r.why);
        return -EINVAL;
    }
    *ret = steal(&r.p);
    return 0;
}

void perfmon_take_over(struct perfmon *p, const struct perfmon *old)
{
    vec_each (v, &p->variables)
        for (size_t i = 0; i < old->variables.n; i++) {
            const struct variable *o = &old->variables.v[i];
            if (strcmp(v->text, o->text) != 0)
                continue;
            v->left_s = o->left_s;
            v->quiet_till = o->quiet_till;
        }
}

/* ---- a minute ---- */

/* The archive of averages of a minute, or -1. */
static int minute_archive(const struct rrd *r)
{
    for (unsigned a = 0; a < r->n_archives; a++)
        if (r->archives[a].cf == CF_AVERAGE && r->archives[a].steps * RRD_STEP == MINUTE)
            return (int)a;
    return -1;
}

static double share_of_sr(const struct rrd *r, unsigned a, int64_t minute)
{
    ptrdiff_t used = rrd_find_name(r, "physical_utilisation"), size = rrd_find_name(r, "size");
    if (used < 0 || size < 0)
        return (double)NAN;
    return rrd_at(r, a, (size_t)used, minute) / rrd_at(r, a, (size_t)size, minute);
}

/* What is unknown is left out; nothing known: NAN. */
static double combine(const struct variable *v, const struct rrd *r, unsigned a, int64_t minute)
{
    double sum = 0, max = -INFINITY;
    unsigned n = 0;
    for (size_t i = 0; v->sources && i < r->n_ds; i++) {
        if (!pattern_is_match(v->sources, r->ds[i].source->name))
            continue;
        double value = rrd_at(r, a, i, minute);
        if (isnan(value))
            continue;
        sum += value;
        max = fmax(max, value);
        n++;
    }
    if (!n)
        return (double)NAN;
    return v->combine == BY_MAX ? max : v->combine == BY_AVERAGE ? sum / n : sum;
}

static double value_of(const struct variable *v, const struct rrd *r, int64_t minute,
                       const struct perfmon_usage *usage)
{
    int a = minute_archive(r);
    switch (v->combine) {
    case BY_FS:
        return usage->fs;
    case BY_LOG_FS:
        return usage->log_fs;
    case BY_MEMORY:
        return usage->memory;
    case BY_SR:
        return a < 0 ? (double)NAN : share_of_sr(r, (unsigned)a, minute);
    default:
        return a < 0 ? (double)NAN : combine(v, r, (unsigned)a, minute);
    }
}

/* Is an alarm due? */
static bool variable_minute(struct variable *v, double value, int64_t minute)
{
    bool bad = !isnan(value) && (v->low ? value < v->level : value > v->level);
    if (!bad) {
        v->left_s = v->period_s;
        return false;
    }
    v->left_s -= MINUTE;
    if (v->left_s > 0)
        return false;
    v->left_s = v->period_s;
    if (minute < v->quiet_till)
        return false;
    v->quiet_till = minute + v->inhibit_s;
    return true;
}

void perfmon_minute(struct perfmon *p, const struct rrd *r, int64_t minute,
                    const struct perfmon_usage *usage,
                    void (*alarm)(void *arg, int64_t priority, const char *body), void *arg)
{
    vec_each (v, &p->variables) {
        double value = value_of(v, r, minute, usage);
        if (!variable_minute(v, value, minute))
            continue;
        _cleanup_(freep) char *body = mem_printf("value: %f\nconfig:\n%s", value, v->text);
        alarm(arg, v->priority, body);
    }
}
