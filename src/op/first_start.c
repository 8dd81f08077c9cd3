/*
 * first_start.c: the objects that every installation has.
 *
 * Runs at every start: what is missing is made, what describes the machine is brought up to date,
 * what an administrator may have changed stays. Found again by marks in other_config or by what
 * they are (the one pool, the control domain of the host), never by their names.
 */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "base/log.h"
#include "gen/msg.h"
#include "host/machine.h"
#include "op/sr_ops.h"
#include "op/templates.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define API_MAJOR 2
#define API_MINOR 23
#define MARK      "cairn:role" /* in other_config of the SRs and networks made here */
/* What clients compare to know what a host of this API can do. */
#define PLATFORM_VERSION "3.4.0"
#define XENCENTER        "2.21"

/* ---- host ---- */

/* "QEMU 7.2.22" -> "7.2.22": clients read three numbers. */
static void hypervisor_number(const char *name, char *out, size_t size)
{
    unsigned n[3] = {0};
    const char *digits = name + strcspn(name, "0123456789");
    (void)sscanf(digits, "%u.%u.%u", &n[0], &n[1], &n[2]);
    snprintf(out, size, "%u.%u.%u", n[0], n[1], n[2]);
}

static struct val *software_version(const struct ops *ops)
{
    struct utsname un = {0};
    struct val *v = val_map();
    uname(&un);
    const struct ops_config *c = &ops->cfg;
    _cleanup_(freep) char *text = mem_printf("%s %s", c->product_brand, c->product_version);
    char api[16], hypervisor[32];
    snprintf(api, sizeof(api), "%d.%d", API_MAJOR, API_MINOR);
    hypervisor_number(host_caps(c->host)->hypervisor, hypervisor, sizeof(hypervisor));
    val_put_str(v, "product_brand", c->product_brand);
    val_put_str(v, "product_version", c->product_version);
    val_put_str(v, "product_version_text", text);
    val_put_str(v, "product_version_text_short", text);
    val_put_str(v, "platform_name", "Cairn");
    val_put_str(v, "platform_version", PLATFORM_VERSION);
    val_put_str(v, "xen", hypervisor);
    val_put_str(v, "xencenter_min", XENCENTER);
    val_put_str(v, "xencenter_max", XENCENTER);
    val_put_str(v, "xapi", api);
    val_put_str(v, "xapi_build", ops->cfg.version);
    val_put_str(v, "build_number", ops->cfg.version);
    val_put_str(v, "hostname", c->hostname);
    val_put_str(v, "linux", un.release);
    val_put_str(v, "network_backend", "bridge");
    val_put_str(v, "db_schema", "5.909");
    return v;
}

static struct val *cpu_info(const struct host_caps *c)
{
    struct val *v = val_map();
    char text[24];
    snprintf(text, sizeof(text), "%u", c->cpus);
    val_put_str(v, "cpu_count", text);
    val_put_str(v, "socket_count", "1");
    val_put_str(v, "threads_per_core", "1");
    val_put_str(v, "vendor", c->cpu_vendor);
    val_put_str(v, "modelname", c->cpu_model_name);
    snprintf(text, sizeof(text), "%lld", (long long)c->cpu_mhz);
    val_put_str(v, "speed", text);
    return v;
}

static const struct rec_host *only_host(struct txn *t)
{
    return rec_host(snap_first(txn_snap(t), CLASS_host));
}

static void take_timezone(struct rec_host *h)
{
    _cleanup_(freep) char *zone = machine_timezone();
    rstr_set(&h->timezone, zone);
}

static void new_host(struct rec_host *h, const struct ops *ops)
{
    rstr_set(&h->name_label, ops->cfg.hostname);
    rstr_set(&h->name_description, "A Cairn host");
    h->enabled = true;
    take_timezone(h);
    rstr_set(&h->sched_policy, "linux");
}

/* Tools tell from them when the machine and when the daemon came up. */
static void put_starts(struct rec_host *h)
{
    struct sysinfo now = {0};
    (void)sysinfo(&now);
    char text[32];
    snprintf(text, sizeof(text), "%lld.", (long long)(now_s() - now.uptime));
    val_assign(&h->other_config, val_with(h->other_config, "boot_time", text));
    snprintf(text, sizeof(text), "%lld.", (long long)now_s());
    val_assign(&h->other_config, val_with(h->other_config, "agent_start_time", text));
}

static void refresh_host(struct txn *t, struct rec_host *h, const struct ops *ops)
{
    const struct host_caps *c = host_caps(ops->cfg.host);
    struct val *caps = val_set();
    val_add_str(caps, "hvm-3.0-x86_32");
    val_add_str(caps, "hvm-3.0-x86_64");
    h->API_version_major = API_MAJOR;
    h->API_version_minor = API_MINOR;
    rstr_set(&h->API_version_vendor, "Cairn");
    rstr_set(&h->hostname, ops->cfg.hostname);
    rstr_set(&h->address, ops->cfg.address);
    val_assign(&h->software_version, software_version(ops));
    val_assign(&h->cpu_info, cpu_info(c));
    val_assign(&h->capabilities, caps);
    put_starts(h);
    if (machine_is_real(ops->cfg.host))
        take_timezone(h);
    h->ssl_legacy = false;
    host_enable_again(t, h);
    val_assign(&h->other_config, val_with(h->other_config, "hypervisor", c->hypervisor));
    val_assign(&h->other_config, val_with(h->other_config, "accelerator", c->accel));
    val_assign(&h->other_config, val_with(h->other_config, "accelerator_reason", c->accel_reason));
    struct rec_host_metrics *m = txn_edit_host_metrics(t, h->metrics);
    if (!m) {
        m = txn_add_host_metrics(t);
        rstr_assign(&h->metrics, m->row.ref);
    }
    m->live = true;
    m->memory_total = (int64_t)c->memory_bytes;
    m->last_updated = now_s();
}

static void put_cpus(struct txn *t, const struct rec_host *h, const struct host_caps *c)
{
    if (val_count(h->host_CPUs) == c->cpus)
        return;
    _cleanup_(val_unrefp) struct val *old = val_ref(h->host_CPUs);
    val_each (ref, old)
        txn_delete(t, CLASS_host_cpu, ref);
    for (unsigned i = 0; i < c->cpus && i < 512; i++) {
        struct rec_host_cpu *cpu = txn_add_host_cpu(t);
        rstr_set(&cpu->host, h->row.ref);
        cpu->number = i;
        cpu->speed = c->cpu_mhz;
        rstr_set(&cpu->vendor, c->cpu_vendor);
        rstr_set(&cpu->modelname, c->cpu_model_name);
    }
}

static void put_host(struct txn *t, struct ops *ops)
{
    const struct rec_host *old = only_host(t);
    struct rec_host *h = old ? txn_edit_host(t, old->row.ref) : txn_add_host(t);
    if (!old)
        new_host(h, ops);
    refresh_host(t, h, ops);
    put_cpus(t, h, host_caps(ops->cfg.host));
    rstr_assign(&ops->host_ref, h->row.ref);
}

/* ---- control domain ---- */

static void put_control_domain(struct txn *t, struct ops *ops)
{
    struct rec_host *h = txn_edit_host(t, ops->host_ref);
    const struct host_caps *c = host_caps(ops->cfg.host);
    struct rec_VM *vm = txn_edit_VM(t, h->control_domain);
    if (!vm) {
        vm = txn_add_VM(t);
        rstr_assign(&h->control_domain, vm->row.ref);
        vm_add_metrics(t, vm);
        rstr_set(&vm->name_description, "The host itself");
    }
    _cleanup_(freep) char *name = mem_printf("Control domain on host: %s", ops->cfg.hostname);
    rstr_set(&vm->name_label, name);
    vm->is_control_domain = true;
    vm->power_state = VM_POWER_STATE_RUNNING;
    vm->domid = 0;
    rstr_assign(&vm->resident_on, h->row.ref);
    rstr_assign(&vm->affinity, h->row.ref);
    vm->VCPUs_max = vm->VCPUs_at_startup = c->cpus;
    vm->domain_type = DOMAIN_TYPE_PV;
    struct rec_VM_metrics *m = txn_edit_VM_metrics(t, vm->metrics);
    m->VCPUs_number = c->cpus;
    m->start_time = now_s();
    m->last_updated = now_s();
}

/* ---- storage managers ---- */

static struct rec_SM *sm_of(struct txn *t, const char *type)
{
    txn_each (row, t, CLASS_SM) {
        if (str_eq(rec_SM(row)->type, type))
            return txn_edit_SM(t, row->ref);
    }
    return txn_add_SM(t);
}

/* "VDI_RESET_ON_BOOT/2": a feature and its version, 1 where none is named. */
static void put_feature(struct val *caps, struct val *features, const char *text)
{
    uint64_t version;
    struct view rest = view_of(text), name;
    if (!view_split(&rest, '/', &name) || str_u64(rest, 1, INT32_MAX, &version) < 0)
        version = 1;
    _cleanup_(freep) char *feature = view_dup(name);
    val_add_str(caps, feature);
    val_put_int(features, feature, (int64_t)version);
}

static void put_sm(struct txn *t, const struct ops *ops, const struct sr_kind *k)
{
    struct rec_SM *sm = sm_of(t, k->type);
    struct val *caps = val_set(), *features = val_map(), *config = val_map();
    struct val *formats = val_set();
    for (const char *const *f = k->formats; f && *f; f++)
        val_add_str(formats, *f);
    for (const char *const *f = k->features; f && *f; f++)
        put_feature(caps, features, *f);
    for (const char *const(*c)[2] = k->config; c && (*c)[0]; c++)
        val_put_str(config, (*c)[0], (*c)[1]);
    rstr_set(&sm->type, k->type);
    rstr_set(&sm->name_label, k->name);
    rstr_set(&sm->name_description, k->description);
    rstr_set(&sm->vendor, "Cairn");
    rstr_set(&sm->version, ops->cfg.version);
    rstr_set(&sm->required_api_version, "2.0");
    val_assign(&sm->capabilities, caps);
    val_assign(&sm->features, features);
    val_assign(&sm->configuration, config);
    val_assign(&sm->supported_image_formats, formats);
}

/* ---- storage repositories ---- */

static const struct rec_SR *sr_with_role(const struct snap *s, const char *role)
{
    snap_each (row, s, CLASS_SR) {
        if (str_eq(val_map_str(rec_SR(row)->other_config, MARK, ""), role))
            return rec_SR(row);
    }
    return NULL;
}

struct sr_plan {
    const char *role, *name, *description, *type, *content_type, *key, *value;
    bool create; /* make the storage, too */
    bool is_default;
};

struct sr_add {
    struct ops *ops;
    const struct sr_plan *plan;
    const struct sr_new *new;
};

static struct err *sr_add_txn(struct txn *t, void *arg)
{
    struct sr_add *a = arg;
    sr_add_records(t, a->new);
    if (!a->plan->is_default)
        return NULL;
    struct rec_pool *pool = txn_edit_pool(t, a->ops->pool_ref);
    struct rec_host *host = txn_edit_host(t, a->ops->host_ref);
    rstr_set(&pool->default_SR, a->new->ref);
    rstr_set(&pool->suspend_image_SR, a->new->ref);
    rstr_set(&pool->crash_dump_SR, a->new->ref);
    rstr_set(&host->suspend_image_sr, a->new->ref);
    rstr_set(&host->crash_dump_sr, a->new->ref);
    return NULL;
}

static struct err *make_sr(struct ops *ops, const struct sr_plan *p)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    _cleanup_(val_unrefp) struct val *config = val_map();
    _cleanup_(val_unrefp) struct val *oc = val_map();
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    val_put_str(config, p->key, p->value);
    val_put_str(oc, MARK, p->role);
    struct sr_new n = {.ref = ref,
                       .sr = {uuid, p->type, config, val_empty_map()},
                       .name = p->name,
                       .description = p->description,
                       .content_type = p->content_type,
                       .other_config = oc,
                       .host = ops->host_ref};
    struct verb create = ops_verb(VERB_TIME), attach = ops_verb(VERB_TIME);
    if (p->create)
        TRY(sr_create(ops->cfg.host, &create, &n.sr));
    TRY(sr_attach(ops->cfg.host, &attach, &n.sr));
    struct sr_add a = {ops, p, &n};
    return db_write(ops->cfg.db, "first SR", sr_add_txn, &a);
}

/* A repository that cannot be made is told and left: the host is of use without it. */
static void put_sr(struct ops *ops, const struct sr_plan *p)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_SR *sr = sr_with_role(s, p->role);
    if (!p->value)
        return;
    struct err *e = sr ? NULL : make_sr(ops, p);
    snap_unref(s);
    s = snap_get(ops->cfg.db);
    sr = sr_with_role(s, p->role);
    struct verb v = ops_verb(VERB_TIME);
    if (!e && sr)
        e = sr_follow(ops, &v, sr->row.ref);
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        log_err("event=sr-failed name='%s' error=%s", p->name, text);
    }
    err_free(e);
}

static void put_srs(struct ops *ops)
{
    const struct sr_plan plans[] = {
        {"local", "Local storage", "Disks of this host", "file", "user", "location",
         ops->cfg.sr_dir, true, true},
        {"dvd", "DVD drives", "Physical DVD drives", "udev", "iso", "location", "/dev/xapi/cd",
         true, false},
        {"removable", "Removable storage", "Removable disks", "udev", "disk", "location",
         "/dev/xapi/block", true, false},
        {"iso", "ISO library", "CD images of this host", "iso", "iso", "location", ops->cfg.iso_dir,
         true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(plans); i++)
        put_sr(ops, &plans[i]);
}

/* ---- pool, networks ---- */

static void put_pool(struct txn *t, struct ops *ops)
{
    const struct rec_pool *old = rec_pool(snap_first(txn_snap(t), CLASS_pool));
    struct rec_pool *pool = old ? txn_edit_pool(t, old->row.ref) : txn_add_pool(t);
    rstr_assign(&pool->master, ops->host_ref);
    val_assign(&pool->cpu_info, cpu_info(host_caps(ops->cfg.host)));
    licence_put(t, txn_edit_host(t, ops->host_ref), pool);
    rstr_assign(&ops->pool_ref, pool->row.ref);
}

static void put_network(struct txn *t, const char *role, const char *name, const char *description,
                        const char *bridge)
{
    txn_each (row, t, CLASS_network) {
        if (str_eq(val_map_str(rec_network(row)->other_config, MARK, ""), role))
            return;
    }
    struct rec_network *n = txn_add_network(t);
    struct val *oc = val_map();
    val_put_str(oc, MARK, role);
    if (str_eq(role, "internal")) {
        val_put_str(oc, "is_guest_installer_network", "true");
        val_put_str(oc, "is_host_internal_management_network", "true");
    }
    rstr_set(&n->name_label, name);
    rstr_set(&n->name_description, description);
    rstr_set(&n->bridge, bridge);
    n->MTU = 1500;
    n->managed = true;
    val_assign(&n->other_config, oc);
}

/* ---- what an administrator should know about the machine ---- */

#define SLOW "HOST_WITHOUT_HARDWARE_VIRTUALIZATION"

static const struct row *told_slow(struct txn *t)
{
    txn_each (row, t, CLASS_message) {
        if (str_eq(rec_message(row)->name, SLOW))
            return row;
    }
    return NULL;
}

/* Guests run in software: said once, taken back when the machine has learnt better. */
static void tell_accelerator(struct txn *t, const struct ops *ops)
{
    const struct host_caps *c = host_caps(ops->cfg.host);
    const struct row *told = told_slow(t);
    bool slow = str_eq(c->accel, "tcg");
    if (slow && !told) {
        _cleanup_(freep) char *body =
            mem_printf("Guests run in software, slowly: %s", c->accel_reason);
        alert_add(t, SLOW, 3, CLS_HOST, txn_host(t, ops->host_ref)->uuid, body);
    } else if (!slow && told) {
        txn_delete(t, CLASS_message, told->ref);
    }
}

/* ---- all of it ---- */

/* Templates are many records: some at a time, so that nobody waits long for the writer. */
#define TEMPLATES_AT_ONCE 10

struct some_templates {
    const struct templates *all;
    size_t from;
};

static struct err *templates_txn(struct txn *t, void *arg)
{
    struct some_templates *s = arg;
    for (size_t i = s->from; i < s->all->n && i < s->from + TEMPLATES_AT_ONCE; i++)
        template_put(t, &s->all->v[i]);
    return NULL;
}

static struct err *put_templates(struct ops *ops)
{
    struct templates all = {0};
    struct some_templates s = {.all = &all};
    if (!ops->cfg.templates_dir)
        return NULL;
    struct err *e = templates_read(ops->cfg.templates_dir, &all);
    for (; !e && s.from < all.n; s.from += TEMPLATES_AT_ONCE)
        e = db_write(ops->cfg.db, "templates", templates_txn, &s);
    templates_done(&all);
    return e;
}

static struct err *objects_txn(struct txn *t, void *arg)
{
    struct ops *ops = arg;
    put_host(t, ops);
    put_pool(t, ops);
    put_control_domain(t, ops);
    tell_accelerator(t, ops);
    for (const struct sr_kind *const *k = sr_kinds(); *k; k++)
        put_sm(t, ops, *k);
    put_network(t, "default", "Pool-wide network associated with eth0", "", "xenbr0");
    put_network(t, "internal", "Host internal management network",
                "Guests reach the host, and nothing else, over it", "xenapi");
    return NULL;
}

static struct err *pack_txn(struct txn *t, void *arg)
{
    struct ops *ops = arg;
    struct rec_host *h = txn_edit_host(t, ops->host_ref);
    _cleanup_(val_unrefp) struct val *fresh = software_version(ops);
    val_assign(&h->software_version, val_with(fresh, "hostname", h->hostname));
    return NULL;
}

/* What is installed is looked at again. */
struct err *msg_host_refresh_pack_info(struct op *op, const struct args_host_refresh_pack_info *a,
                                       struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return op_write(op, "versions", pack_txn, ops_of(op));
}

/* The name that a development run was given by host.set_hostname_live. */
static void take_told_hostname(struct ops *ops)
{
    _cleanup_(freep) char *told = machine_told_hostname(ops->cfg.host);
    if (told)
        rstr_set(&ops->cfg.hostname, told);
}

struct err *first_start(struct ops *ops)
{
    take_told_hostname(ops);
    TRY(db_write(ops->cfg.db, "first start", objects_txn, ops));
    tasks_set_host_ref(ops->cfg.tasks, ops->host_ref);
    TRY(put_templates(ops));
    put_srs(ops);
    return NULL;
}
