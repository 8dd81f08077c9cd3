/*
 * data_source.c: the messages about measurements. Operation threads. What is measured comes from
 * measure.c, where it is kept says metrics/metrics.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "gen/msg.h"
#include "metrics/metrics.h"
#include "op/world.h"

#define DELAY_MAX (7 * 24 * 3600.0) /* seconds that host.backup_rrds waits at most */

/* The record data_source. */
static struct val *source_record(const struct source_state *s)
{
    struct val *v = val_map();
    val_put_str(v, "name_label", s->source->name);
    val_put_str(v, "name_description", s->source->description);
    val_put_bool(v, "enabled", s->enabled);
    val_put_bool(v, "standard", s->source->kind && s->source->kind->standard);
    val_put_str(v, "units", source_units(s->source));
    val_put(v, "min", val_float(s->source->min));
    val_put(v, "max", val_float(s->source->max));
    val_put(v, "value", val_float(s->value));
    return v;
}

static struct err *list(struct op *op, enum metrics_owner owner, const char *uuid, struct val **ret)
{
    struct source_state *sources = NULL;
    size_t n = 0;
    *ret = val_set();
    if (metrics_sources(ops_of(op)->metrics, owner, uuid, &sources, &n) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        val_add(*ret, source_record(&sources[i]));
    free(sources);
    return NULL;
}

/* What a name that means nothing is answered with. */
static struct err *check(int r, const char *name)
{
    return r < 0 ? err_INVALID_VALUE("data_source", name) : NULL;
}

static struct err *query(struct op *op, enum metrics_owner owner, const char *uuid,
                         const char *name, struct val **ret)
{
    double value = 0;
    TRY(check(metrics_query(ops_of(op)->metrics, owner, uuid, name, &value), name));
    *ret = val_float(value);
    return NULL;
}

/* ---- host ---- */

static struct err *host_uuid(struct op *op, const char *ref, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, ref);
    if (!h)
        return err_HANDLE_INVALID("host", ref);
    *ret = rstr_ref(h->uuid);
    return NULL;
}

struct err *msg_host_get_data_sources(struct op *op, const struct args_host_get_data_sources *a,
                                      struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(host_uuid(op, a->host, &uuid));
    return list(op, OWNER_HOST, uuid, ret);
}

struct err *msg_host_record_data_source(struct op *op, const struct args_host_record_data_source *a,
                                        struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(host_uuid(op, a->host, &uuid));
    return check(metrics_record(ops_of(op)->metrics, OWNER_HOST, uuid, a->data_source),
                 a->data_source);
}

struct err *msg_host_query_data_source(struct op *op, const struct args_host_query_data_source *a,
                                       struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(host_uuid(op, a->host, &uuid));
    return query(op, OWNER_HOST, uuid, a->data_source, ret);
}

struct err *msg_host_forget_data_source_archives(
    struct op *op, const struct args_host_forget_data_source_archives *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(host_uuid(op, a->host, &uuid));
    return check(metrics_forget(ops_of(op)->metrics, OWNER_HOST, uuid, a->data_source),
                 a->data_source);
}

static struct err *save(struct op *op, const char *host)
{
    TRY(need_own_host(op, host));
    int r = metrics_save_all(ops_of(op)->metrics);
    return r < 0 ? err_errno(-r, "cannot write the metrics' files") : NULL;
}

struct err *msg_host_sync_data(struct op *op, const struct args_host_sync_data *a, struct val **ret)
{
    return save(op, a->host);
}

/* With a delay the caller is not kept waiting: the round that comes then does it. */
struct err *msg_host_backup_rrds(struct op *op, const struct args_host_backup_rrds *a,
                                 struct val **ret)
{
    if (!(a->delay > 0))
        return save(op, a->host);
    TRY(need_own_host(op, a->host));
    double delay = a->delay < DELAY_MAX ? a->delay : DELAY_MAX;
    ops_of(op)->save_metrics_at = clock_now() + (usec_t)(delay * (double)USEC_PER_SEC);
    return NULL;
}

/* ---- VM ---- */

static struct err *vm_uuid(struct op *op, const char *ref, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm = NULL;
    TRY(need_VM(s, ref, &vm));
    *ret = rstr_ref(vm->uuid);
    return NULL;
}

struct err *msg_VM_get_data_sources(struct op *op, const struct args_VM_get_data_sources *a,
                                    struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(vm_uuid(op, a->self, &uuid));
    return list(op, OWNER_VM, uuid, ret);
}

struct err *msg_VM_record_data_source(struct op *op, const struct args_VM_record_data_source *a,
                                      struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(vm_uuid(op, a->self, &uuid));
    return check(metrics_record(ops_of(op)->metrics, OWNER_VM, uuid, a->data_source),
                 a->data_source);
}

struct err *msg_VM_query_data_source(struct op *op, const struct args_VM_query_data_source *a,
                                     struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(vm_uuid(op, a->self, &uuid));
    return query(op, OWNER_VM, uuid, a->data_source, ret);
}

struct err *msg_VM_forget_data_source_archives(struct op *op,
                                               const struct args_VM_forget_data_source_archives *a,
                                               struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(vm_uuid(op, a->self, &uuid));
    return check(metrics_forget(ops_of(op)->metrics, OWNER_VM, uuid, a->data_source),
                 a->data_source);
}

/* ---- SR ---- */

static struct err *sr_uuid(struct op *op, const char *ref, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr = NULL;
    TRY(need_SR(s, ref, &sr));
    *ret = rstr_ref(sr->uuid);
    return NULL;
}

struct err *msg_SR_get_data_sources(struct op *op, const struct args_SR_get_data_sources *a,
                                    struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(sr_uuid(op, a->sr, &uuid));
    return list(op, OWNER_SR, uuid, ret);
}

struct err *msg_SR_record_data_source(struct op *op, const struct args_SR_record_data_source *a,
                                      struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(sr_uuid(op, a->sr, &uuid));
    return check(metrics_record(ops_of(op)->metrics, OWNER_SR, uuid, a->data_source),
                 a->data_source);
}

struct err *msg_SR_query_data_source(struct op *op, const struct args_SR_query_data_source *a,
                                     struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(sr_uuid(op, a->sr, &uuid));
    return query(op, OWNER_SR, uuid, a->data_source, ret);
}

struct err *msg_SR_forget_data_source_archives(struct op *op,
                                               const struct args_SR_forget_data_source_archives *a,
                                               struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(sr_uuid(op, a->sr, &uuid));
    return check(metrics_forget(ops_of(op)->metrics, OWNER_SR, uuid, a->data_source),
                 a->data_source);
}
