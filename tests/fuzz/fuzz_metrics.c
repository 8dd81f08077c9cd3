/* Any bytes, by the first of them: a database as XML, one as a file of ours, an alarm's config.
 * What is taken can be written, sampled and read again. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "metrics/perfmon.h"
#include "metrics/rrd.h"
#include "tests/fuzz/fuzz.h"

static struct rrd *use(struct rrd *r)
{
    double *values = mem_new_n(double, r->n_ds + 1);
    for (int i = 1; i < 4; i++) {
        for (size_t d = 0; d < r->n_ds; d++)
            values[d] = (double)i * 1e6;
        rrd_update(r, r->updated + i * 7, values);
    }
    free(values);
    return r;
}

static void database(struct view v, bool xml)
{
    struct source_pool *pool = source_pool_new();
    struct rrd *r = NULL, *again = NULL;
    struct buf b;
    buf_init(&b, 64u << 20);
    int e = xml ? rrd_read_xml(v, pool, OWNER_VM, &r) : rrd_load(v, pool, OWNER_VM, &r);
    if (e == 0) {
        rrd_save(use(r), &b);
        if (rrd_load((struct view){b.data, b.size}, pool, OWNER_VM, &again) < 0)
            abort();
        buf_clear(&b);
        for (unsigned part = 0; rrd_put_json(&b, again, part);)
            part++;
    }
    rrd_free(r);
    rrd_free(again);
    buf_done(&b);
    source_pool_free(pool);
}

static void on_alarm(void *arg, int64_t priority, const char *body)
{
}

static void config(struct view v, enum metrics_owner owner)
{
    struct perfmon *p = NULL;
    char *why = NULL;
    struct source_pool *pool = source_pool_new();
    struct rrd *r = rrd_new(false, 1700000040);
    rrd_add(r, source_get(pool, SOURCE_VM_CPU, "0"));
    if (perfmon_parse(v, owner, NULL, &p, &why) == 0)
        perfmon_minute(p, r, 1700000040, &(struct perfmon_usage){1, 1, 1}, on_alarm, NULL);
    else if (!why)
        abort();
    perfmon_free(p);
    free(why);
    rrd_free(r);
    source_pool_free(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct view v = {(const char *)data + 1, size - 1};
    switch (data[0] % 5) {
    case 0:
        database(v, true);
        break;
    case 1:
        database(v, false);
        break;
    default:
        config(v, (enum metrics_owner)(data[0] % 5 - 2));
    }
    return 0;
}
