/*
 * host_power.c: whether guests may start on the host, and the end: of the daemon, of the machine.
 *
 * The machine goes down only when it is disabled and empty. In a development run the machine is the
 * daemon: it ends, or begins anew. Operation threads.
 */
#define LOG_MODULE "op"
#include "base/log.h"
#include "gen/msg.h"
#include "host/machine.h"
#include "op/world.h"

#define STAYS_DISABLED "host.stays-disabled" /* setting: also when the daemon begins anew */

/* ---- enabled ---- */

struct enable {
    const char *host;
    bool on, lasting;
};

static struct err *enable_txn(struct txn *t, void *arg)
{
    const struct enable *e = arg;
    struct rec_host *host = txn_edit_host(t, e->host);
    if (!host)
        return err_HANDLE_INVALID("host", e->host);
    host->enabled = e->on;
    setting_put(t, STAYS_DISABLED, e->lasting ? "true" : "");
    return NULL;
}

struct err *msg_host_disable(struct op *op, const struct args_host_disable *a, struct val **ret)
{
    struct enable e = {.host = a->host, .on = false, .lasting = !a->auto_enable};
    TRY(need_own_host(op, a->host));
    return op_write(op, "host.disable", enable_txn, &e);
}

struct err *msg_host_enable(struct op *op, const struct args_host_enable *a, struct val **ret)
{
    struct enable e = {.host = a->host, .on = true};
    TRY(need_own_host(op, a->host));
    return op_write(op, "host.enable", enable_txn, &e);
}

/* At the start of the daemon. */
void host_enable_again(struct txn *t, struct rec_host *h)
{
    if (!*setting_get(txn_snap(t), STAYS_DISABLED))
        h->enabled = true;
}

/* ---- the daemon ---- */

static struct err *ask(void (*fn)(void *arg), void *arg)
{
    if (!fn)
        return err_internal("nobody can end this daemon");
    fn(arg);
    return NULL;
}

struct err *msg_host_restart_agent(struct op *op, const struct args_host_restart_agent *a,
                                   struct val **ret)
{
    const struct ops_config *c = &ops_of(op)->cfg;
    TRY(need_own_host(op, a->host));
    return ask(c->restart, c->restart_arg);
}

struct err *msg_host_shutdown_agent(struct op *op, const struct args_host_shutdown_agent *a,
                                    struct val **ret)
{
    const struct ops_config *c = &ops_of(op)->cfg;
    return ask(c->stop, c->restart_arg);
}

/* ---- the machine ---- */

static struct err *check_empty(const struct snap *s, const struct rec_host *h)
{
    val_each (ref, h->resident_VMs) {
        const struct rec_VM *vm = snap_VM(s, ref);
        if (vm && !vm->is_control_domain)
            return err_HOST_IN_USE(h->row.ref, "VM", ref);
    }
    return NULL;
}

static struct err *power(struct op *op, const char *ref, bool reboot)
{
    const struct ops_config *c = &ops_of(op)->cfg;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    TRY(need_own_host(op, ref));
    const struct rec_host *h = snap_host(s, ref);
    if (h->enabled)
        return err_HOST_NOT_DISABLED();
    TRY(check_empty(s, h));
    log_info("event=power-off host=%s reboot=%s", h->uuid, reboot ? "yes" : "no");
    TRY(machine_power(op->host, reboot));
    if (!machine_is_real(op->host))
        return ask(reboot ? c->restart : c->stop, c->restart_arg);
    return NULL;
}

struct err *msg_host_shutdown(struct op *op, const struct args_host_shutdown *a, struct val **ret)
{
    return power(op, a->host, false);
}

struct err *msg_host_reboot(struct op *op, const struct args_host_reboot *a, struct val **ret)
{
    return power(op, a->host, true);
}

/* The machine's own way down asks for it: no guest is started from here on. */
struct err *msg_host_prepare_for_poweroff(struct op *op,
                                          const struct args_host_prepare_for_poweroff *a,
                                          struct val **ret)
{
    struct enable e = {.host = a->host, .on = false};
    TRY(need_own_host(op, a->host));
    return op_write(op, "poweroff", enable_txn, &e);
}
