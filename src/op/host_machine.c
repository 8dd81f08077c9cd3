/*
 * host_machine.c: messages that change the machine: its name, zone, clock, time servers, ssh,
 * syslog, and the idle time of its consoles. First the machine, then the record that tells of it.
 * Operation threads; the pool's forms do the same on each host.
 */
#define LOG_MODULE "op"
#include <stdio.h>

#include "base/log.h"
#include "gen/msg.h"
#include "host/machine.h"
#include "op/observer.h"
#include "op/world.h"

#define SSH_TIMEOUT_MAX 172800 /* two days */

static struct err *need_pool(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return snap_pool(s, ref) ? NULL : err_HANDLE_INVALID("pool", ref);
}

/* A change of a host record: `fn` gets it, and what it needs. */
struct change {
    const char *host;
    void (*fn)(struct txn *t, struct rec_host *h, const void *arg);
    const void *arg;
};

static struct err *change_txn(struct txn *t, void *arg)
{
    const struct change *c = arg;
    struct rec_host *h = txn_edit_host(t, c->host);
    if (!h)
        return err_HANDLE_INVALID("host", c->host);
    c->fn(t, h, c->arg);
    return NULL;
}

static struct err *change(struct op *op, const char *host,
                          void (*fn)(struct txn *, struct rec_host *, const void *),
                          const void *arg)
{
    return op_write(op, "host setting", change_txn, &(struct change){host, fn, arg});
}

/* ---- name ---- */

static void put_hostname(struct txn *t, struct rec_host *h, const void *name)
{
    _cleanup_(freep) char *label = mem_printf("Control domain on host: %s", (const char *)name);
    rstr_set(&h->hostname, name);
    val_assign(&h->software_version, val_with(h->software_version, "hostname", name));
    struct rec_VM *domain = txn_edit_VM(t, h->control_domain);
    if (domain)
        rstr_set(&domain->name_label, label);
}

struct err *msg_host_set_hostname_live(struct op *op, const struct args_host_set_hostname_live *a,
                                       struct val **ret)
{
    const char *wrong = machine_bad_hostname(a->hostname);
    TRY(need_own_host(op, a->host));
    if (wrong)
        return err_HOST_NAME_INVALID(wrong);
    TRY(machine_set_hostname(op->host, a->hostname));
    return change(op, a->host, put_hostname, a->hostname);
}

/* ---- time ---- */

static void put_timezone(struct txn *t, struct rec_host *h, const void *name)
{
    rstr_set(&h->timezone, name);
}

struct err *msg_host_set_timezone(struct op *op, const struct args_host_set_timezone *a,
                                  struct val **ret)
{
    TRY(need_own_host(op, a->self));
    if (!machine_is_timezone(a->value))
        return err_INVALID_VALUE("timezone", a->value);
    TRY(machine_set_timezone(op->host, a->value));
    return change(op, a->self, put_timezone, a->value);
}

struct err *msg_host_list_timezones(struct op *op, const struct args_host_list_timezones *a,
                                    struct val **ret)
{
    TRY(need_own_host(op, a->self));
    *ret = machine_timezones();
    return NULL;
}

static enum machine_ntp ntp_of(enum host_ntp_mode mode)
{
    if (mode == HOST_NTP_MODE_DISABLED)
        return MACHINE_NTP_OFF;
    return mode == HOST_NTP_MODE_CUSTOM ? MACHINE_NTP_CUSTOM : MACHINE_NTP_USUAL;
}

static void put_ntp_mode(struct txn *t, struct rec_host *h, const void *mode)
{
    h->ntp_mode = *(const enum host_ntp_mode *)mode;
}

struct err *msg_host_set_ntp_mode(struct op *op, const struct args_host_set_ntp_mode *a,
                                  struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->self);
    enum host_ntp_mode mode = (enum host_ntp_mode)a->value;
    TRY(need_own_host(op, a->self));
    if (mode == HOST_NTP_MODE_CUSTOM && !val_count(h->ntp_custom_servers))
        return err_INVALID_NTP_CONFIG("no custom servers are set");
    TRY(machine_set_ntp(op->host, ntp_of(mode), h->ntp_custom_servers));
    return change(op, a->self, put_ntp_mode, &mode);
}

static void put_ntp_servers(struct txn *t, struct rec_host *h, const void *servers)
{
    val_assign(&h->ntp_custom_servers, val_ref(servers));
}

static struct err *check_servers(const struct val *servers, bool needed)
{
    if (needed && !val_count(servers))
        return err_INVALID_NTP_CONFIG("custom servers are in use, and none would be left");
    if (val_count(servers) > 16)
        return err_INVALID_NTP_CONFIG("more than 16 servers");
    val_each (name, servers) {
        if (!machine_is_server(name))
            return err_INVALID_NTP_CONFIG("a server is neither a host name nor an address");
    }
    return NULL;
}

/* Servers that are not in use are kept for when they will be. */
struct err *msg_host_set_ntp_custom_servers(struct op *op,
                                            const struct args_host_set_ntp_custom_servers *a,
                                            struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->self);
    TRY(need_own_host(op, a->self));
    bool in_use = h->ntp_mode == HOST_NTP_MODE_CUSTOM;
    TRY(check_servers(a->value, in_use));
    if (in_use)
        TRY(machine_set_ntp(op->host, MACHINE_NTP_CUSTOM, a->value));
    return change(op, a->self, put_ntp_servers, a->value);
}

/* The one that the machine follows, and those it might. */
struct err *msg_host_get_ntp_servers_status(struct op *op,
                                            const struct args_host_get_ntp_servers_status *a,
                                            struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->self);
    TRY(need_own_host(op, a->self));
    *ret = val_map();
    if (h->ntp_mode == HOST_NTP_MODE_DISABLED)
        return NULL;
    if (h->ntp_mode == HOST_NTP_MODE_CUSTOM)
        val_each (name, h->ntp_custom_servers)
            val_put_str(*ret, name, "uncombined");
    _cleanup_(freep) char *followed = machine_ntp_server(op->host);
    if (followed)
        val_put_str(*ret, followed,
                    machine_clock_is_synchronized() ? "synchronized" : "unreachable");
    return NULL;
}

struct err *msg_host_get_ntp_synchronized(struct op *op,
                                          const struct args_host_get_ntp_synchronized *a,
                                          struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->self);
    TRY(need_own_host(op, a->self));
    *ret = val_bool(h->ntp_mode != HOST_NTP_MODE_DISABLED && machine_clock_is_synchronized());
    return NULL;
}

struct err *msg_host_set_servertime(struct op *op, const struct args_host_set_servertime *a,
                                    struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->self);
    TRY(need_own_host(op, a->self));
    if (h->ntp_mode != HOST_NTP_MODE_DISABLED)
        return err_NOT_ALLOWED_WHEN_NTP_IS_ENABLED(a->self);
    return machine_set_clock(op->host, a->value);
}

/* ---- syslog ---- */

struct err *msg_host_syslog_reconfigure(struct op *op, const struct args_host_syslog_reconfigure *a,
                                        struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->host);
    TRY(need_own_host(op, a->host));
    const char *to = val_map_str(h->logging, "syslog_destination", "");
    if (*to && !machine_is_server(to))
        return err_INVALID_VALUE("syslog_destination", to);
    return machine_set_syslog(op->host, to);
}

/* ---- ssh ---- */

struct ssh {
    bool on;
    bool automatic; /* on only while the daemon is not there */
};

static void put_ssh(struct txn *t, struct rec_host *h, const void *arg)
{
    const struct ssh *s = arg;
    h->ssh_enabled = s->on;
    h->ssh_auto_mode = s->automatic;
    h->ssh_expiry = s->on && h->ssh_enabled_timeout ? now_s() + h->ssh_enabled_timeout : 0;
}

static struct err *set_ssh(struct op *op, const char *host, struct ssh s)
{
    TRY(need_own_host(op, host));
    struct err *e = machine_set_ssh(op->host, s.on);
    if (!e)
        return change(op, host, put_ssh, &s);
    _cleanup_(freep) char *why = err_text(e);
    struct err *told = s.on ? err_ENABLE_SSH_FAILED(host) : err_DISABLE_SSH_FAILED(host);
    told = err_wrap(told, "%s", why);
    err_free(e);
    return told;
}

/* Somebody decides: it is not automatic any more. */
struct err *msg_host_enable_ssh(struct op *op, const struct args_host_enable_ssh *a,
                                struct val **ret)
{
    return set_ssh(op, a->self, (struct ssh){.on = true});
}

struct err *msg_host_disable_ssh(struct op *op, const struct args_host_disable_ssh *a,
                                 struct val **ret)
{
    return set_ssh(op, a->self, (struct ssh){.on = false});
}

struct err *msg_host_set_ssh_auto_mode(struct op *op, const struct args_host_set_ssh_auto_mode *a,
                                       struct val **ret)
{
    return set_ssh(op, a->self, (struct ssh){.on = !a->value, .automatic = a->value});
}

static void put_ssh_timeout(struct txn *t, struct rec_host *h, const void *seconds)
{
    h->ssh_enabled_timeout = *(const int64_t *)seconds;
    h->ssh_expiry = h->ssh_enabled && h->ssh_enabled_timeout ? now_s() + h->ssh_enabled_timeout : 0;
}

static struct err *bad_number(const char *field, int64_t value, const char *why)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return err_VALUE_NOT_SUPPORTED(field, text, why);
}

static struct err *set_ssh_timeout(struct op *op, const char *host, int64_t seconds)
{
    if (seconds < 0 || seconds > SSH_TIMEOUT_MAX)
        return bad_number("ssh_enabled_timeout", seconds, "it is between 0 and 172800 seconds");
    return change(op, host, put_ssh_timeout, &seconds);
}

struct err *msg_host_set_ssh_enabled_timeout(struct op *op,
                                             const struct args_host_set_ssh_enabled_timeout *a,
                                             struct val **ret)
{
    return set_ssh_timeout(op, a->self, a->value);
}

/* Called every few seconds: access whose time is over ends. */
struct err *host_ssh_expire(struct ops *ops)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_host *h = snap_host(s, ops->host_ref);
    if (!h || !h->ssh_enabled || !h->ssh_expiry || h->ssh_expiry > now_s())
        return NULL;
    struct ssh off = {.on = false};
    struct change c = {ops->host_ref, put_ssh, &off};
    TRY(machine_set_ssh(ops->cfg.host, false));
    return db_write(ops->cfg.db, "ssh expiry", change_txn, &c);
}

/* ---- the firewall ---- */

/* What the machine lets through is what this host listens for. */
struct err *msg_host_update_firewalld_service_status(
    struct op *op, const struct args_host_update_firewalld_service_status *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, ops_of(op)->host_ref);
    if (!h)
        return err_HOST_STILL_BOOTING();
    TRY(machine_set_firewall(op->host, "ssh", h->ssh_enabled));
    TRY(machine_set_firewall(op->host, "http", !h->https_only));
    return machine_set_firewall(op->host, "https", true);
}

/* ---- consoles ---- */

static void put_console_timeout(struct txn *t, struct rec_host *h, const void *seconds)
{
    h->console_idle_timeout = *(const int64_t *)seconds;
}

static struct err *set_console_timeout(struct op *op, const char *host, int64_t seconds)
{
    TRY(need_own_host(op, host));
    if (seconds < 0 || seconds > INT32_MAX)
        return bad_number("console_idle_timeout", seconds, "it is a number of seconds, 0 for none");
    TRY(machine_set_console_timeout(op->host, (unsigned)seconds));
    return change(op, host, put_console_timeout, &seconds);
}

struct err *msg_host_set_console_idle_timeout(struct op *op,
                                              const struct args_host_set_console_idle_timeout *a,
                                              struct val **ret)
{
    return set_console_timeout(op, a->self, a->value);
}

/* ---- the same for the pool ---- */

/* On every host; those where it failed are named by `failed`. */
static struct err *on_hosts(struct op *op, const char *pool,
                            struct err *(*one)(struct op *op, const char *host, int64_t value),
                            int64_t value, struct err *(*failed)(const char *hosts))
{
    TRY(need_pool(op, pool));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(buf_done) struct buf names;
    buf_init(&names, 4096);
    snap_each (row, s, CLASS_host) {
        struct err *e = one(op, row->ref, value);
        if (e && err_is(e, "VALUE_NOT_SUPPORTED"))
            return e;
        if (e)
            buf_printf(&names, "%s%s", names.size ? "," : "", row->ref);
        err_free(e);
    }
    return names.size ? failed(buf_str(&names)) : NULL;
}

static struct err *ssh_switch(struct op *op, const char *host, int64_t on)
{
    return set_ssh(op, host, (struct ssh){.on = on != 0});
}

static struct err *ssh_automatic(struct op *op, const char *host, int64_t on)
{
    return set_ssh(op, host, (struct ssh){.on = !on, .automatic = on != 0});
}

static struct err *enable_failed(const char *hosts)
{
    return err_ENABLE_SSH_PARTIALLY_FAILED(hosts);
}

static struct err *disable_failed(const char *hosts)
{
    return err_DISABLE_SSH_PARTIALLY_FAILED(hosts);
}

static struct err *timeout_failed(const char *hosts)
{
    return err_SET_SSH_TIMEOUT_PARTIALLY_FAILED(hosts);
}

static struct err *console_failed(const char *hosts)
{
    return err_SET_CONSOLE_TIMEOUT_PARTIALLY_FAILED(hosts);
}

static struct err *automatic_failed(const char *hosts)
{
    return err_SET_SSH_AUTO_MODE_PARTIALLY_FAILED(hosts);
}

struct err *msg_pool_enable_ssh(struct op *op, const struct args_pool_enable_ssh *a,
                                struct val **ret)
{
    return on_hosts(op, a->self, ssh_switch, true, enable_failed);
}

struct err *msg_pool_disable_ssh(struct op *op, const struct args_pool_disable_ssh *a,
                                 struct val **ret)
{
    return on_hosts(op, a->self, ssh_switch, false, disable_failed);
}

struct err *msg_pool_set_ssh_enabled_timeout(struct op *op,
                                             const struct args_pool_set_ssh_enabled_timeout *a,
                                             struct val **ret)
{
    return on_hosts(op, a->self, set_ssh_timeout, a->value, timeout_failed);
}

struct err *msg_pool_set_console_idle_timeout(struct op *op,
                                              const struct args_pool_set_console_idle_timeout *a,
                                              struct val **ret)
{
    return on_hosts(op, a->self, set_console_timeout, a->value, console_failed);
}

struct err *msg_pool_set_ssh_auto_mode(struct op *op, const struct args_pool_set_ssh_auto_mode *a,
                                       struct val **ret)
{
    return on_hosts(op, a->self, ssh_automatic, a->value, automatic_failed);
}

/* ---- the daemon's own life ---- */

static struct err *automatic_ssh(struct ops *ops, bool on)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_host *h = snap_host(s, ops->host_ref);
    if (!h || !h->ssh_auto_mode || h->ssh_enabled == on)
        return NULL;
    struct ssh how = {.on = on, .automatic = true};
    struct change c = {ops->host_ref, put_ssh, &how};
    TRY(machine_set_ssh(ops->cfg.host, on));
    return db_write(ops->cfg.db, "automatic ssh", change_txn, &c);
}

static void tell(struct err *e)
{
    if (!e)
        return;
    _cleanup_(freep) char *text = err_text(e);
    log_warn("event=setting-not-kept error='%s'", text);
    err_free(e);
}

void host_settings_begin(struct ops *ops)
{
    tell(automatic_ssh(ops, false));
    tell(observers_begin(ops));
}

void host_settings_end(struct ops *ops)
{
    if (ops)
        tell(automatic_ssh(ops, true));
}
