/*
 * ops.c: the list of step tables, and the life of struct ops.
 */
#include "op/ops.h"

#include "op/blob.h"
#include "op/measure.h"
#include "op/observer.h"
#include "op/tidy.h"
#include "op/vdi_cbt.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"
#include "op/world.h"
#include "task/claim.h"

static const struct op_kind *const all_kinds[] = {
#define KIND(name) &kind_##name,
#include "op/kinds.h"
#undef KIND
};

void ops_register(void)
{
    for (size_t i = 0; i < ARRAY_LEN(all_kinds); i++)
        op_kind_register(all_kinds[i]);
}

void ops_rules(struct db *db)
{
    blob_hook(db);
    claim_hook(db);
}

static const char *text_or_null(const char *s)
{
    return s ? rstr_new(s) : NULL;
}

struct err *ops_new(const struct ops_config *cfg, struct ops **ret)
{
    struct ops *ops = mem_new(struct ops);
    ops->cfg = *cfg;
    ops->cfg.hostname = rstr_new(cfg->hostname ? cfg->hostname : "localhost");
    ops->cfg.address = rstr_new(cfg->address ? cfg->address : "127.0.0.1");
    ops->cfg.version = rstr_new(cfg->version ? cfg->version : "0.0.0");
    ops->cfg.product_brand = rstr_new(cfg->product_brand ? cfg->product_brand : "Cairn");
    ops->cfg.product_version = rstr_new(cfg->product_version ? cfg->product_version : "8.4.0");
    ops->cfg.sr_dir = text_or_null(cfg->sr_dir);
    ops->cfg.iso_dir = text_or_null(cfg->iso_dir);
    ops->cfg.templates_dir = text_or_null(cfg->templates_dir);
    ops->cfg.state_dir = text_or_null(cfg->state_dir);
    ops->cfg.log_dir = text_or_null(cfg->log_dir);
    ops->cfg.crash_dir = text_or_null(cfg->crash_dir);
    ops->cfg.store_path = text_or_null(cfg->store_path);
    ops->tidy = tidy_new();
    ops->space = sr_space_new();
    ops->host_ref = rstr_new(REF_NULL);
    ops->pool_ref = rstr_new(REF_NULL);
    _cleanup_(freep) char *metrics_dir =
        cfg->state_dir ? mem_printf("%s/metrics", cfg->state_dir) : NULL;
    ops->metrics = metrics_new(metrics_dir);
    ops->measure = measure_new();
    ops->observers = observers_new();
    tasks_set_world(cfg->tasks, ops);
    *ret = ops;
    return NULL;
}

void ops_free(struct ops *ops)
{
    if (!ops)
        return;
    observers_free(ops->observers);
    tidy_free(ops->tidy);
    sr_space_free(ops->space);
    rstr_unref(ops->cfg.hostname);
    rstr_unref(ops->cfg.address);
    rstr_unref(ops->cfg.version);
    rstr_unref(ops->cfg.product_brand);
    rstr_unref(ops->cfg.product_version);
    rstr_unref(ops->cfg.sr_dir);
    rstr_unref(ops->cfg.iso_dir);
    rstr_unref(ops->cfg.templates_dir);
    rstr_unref(ops->cfg.state_dir);
    rstr_unref(ops->cfg.log_dir);
    rstr_unref(ops->cfg.crash_dir);
    rstr_unref(ops->cfg.store_path);
    rstr_unref(ops->host_ref);
    rstr_unref(ops->pool_ref);
    measure_free(ops->measure);
    metrics_free(ops->metrics);
    free(ops);
}

struct err *ops_restart(struct ops *ops)
{
    if (!ops->cfg.restart)
        return err_internal("this process cannot begin anew by itself");
    ops->cfg.restart(ops->cfg.restart_arg);
    return NULL;
}

struct metrics *ops_metrics(struct ops *ops)
{
    return ops->metrics;
}
