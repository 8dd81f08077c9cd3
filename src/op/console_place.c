/*
 * console_place.c: where clients find a console. Its location has the port that the daemon listens
 * on, unless that is the one which goes without saying.
 */
#include "op/world.h"

#include "base/str.h"

#define PORT_KEY "console.port" /* setting: "https:8443"; "" for the usual one */

static char *base_of(const struct snap *s, const char *address)
{
    const char *port = setting_get(s, PORT_KEY), *colon = strchr(port, ':');
    if (!colon)
        return mem_printf("https://%s", address);
    return mem_printf("%.*s://%s%s", (int)(colon - port), port, address, colon);
}

char *console_location(struct txn *t, const char *address, const char *uuid)
{
    _cleanup_(freep) char *base = base_of(txn_snap(t), address);
    return mem_printf("%s/console?uuid=%s", base, uuid);
}

struct port {
    const char *host_ref, *text;
};

static struct err *put_port(struct txn *t, void *arg)
{
    const struct port *p = arg;
    const struct rec_host *host = txn_host(t, p->host_ref);
    setting_put(t, PORT_KEY, p->text);
    txn_each (row, t, CLASS_console) {
        const struct rec_console *was = rec_console(row);
        const struct rec_VM *vm = txn_VM(t, was->VM);
        if (!host || !vm || !str_eq(vm->resident_on, p->host_ref))
            continue;
        _cleanup_(freep) char *location = console_location(t, host->address, was->uuid);
        if (!str_eq(location, was->location))
            rstr_set(&txn_edit_console(t, row->ref)->location, location);
    }
    return NULL;
}

struct err *ops_listens_at(struct ops *ops, bool tls, unsigned port)
{
    bool usual = tls && port == 443;
    _cleanup_(freep) char *text =
        usual ? mem_strdup("") : mem_printf("%s:%u", tls ? "https" : "http", port);
    struct port p = {.host_ref = ops->host_ref, .text = text};
    return db_write(ops->cfg.db, "console port", put_port, &p);
}
