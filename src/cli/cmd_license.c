/* cmd_license.c: editions and licences, which nothing here depends on but tools ask for. */
#include <string.h>

#include "cli/cmd_tables.h"

static struct err *license_of(struct cmd *c, const char *host, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *params = NULL, *shown = val_map();
    TRY(cmd_call(c, &params, "host.get_license_params", "s", host));
    for (size_t i = 0; i < val_count(params); i++)
        val_put_str(shown, val_key_at(params, i), val_str_at(params, i));
    *ret = steal(&shown);
    return NULL;
}

static struct err *host_license_view(struct cmd *c)
{
    _cleanup_(freep) char *host = NULL;
    _cleanup_(val_unrefp) struct val *license = NULL;
    TRY(cmd_host(c, "host-uuid", &host));
    TRY(license_of(c, host, &license));
    cmd_print_record(c, license);
    return NULL;
}

/* One record a host: what it runs as, and until when. */
static struct err *diagnostic_license_status(struct cmd *c)
{
    _cleanup_(val_unrefp) struct val *hosts = NULL;
    TRY(cmd_call(c, &hosts, "host.get_all_records", ""));
    for (size_t i = 0; i < val_count(hosts); i++) {
        const struct val *host = val_at(hosts, i);
        _cleanup_(val_unrefp) struct val *license = NULL, *out = val_map();
        TRY(license_of(c, val_key_at(hosts, i), &license));
        val_put_str(out, "Hostname", val_map_str(host, "hostname", ""));
        val_put_str(out, "UUID", val_map_str(host, "uuid", ""));
        val_put_str(out, "Edition", val_map_str(host, "edition", ""));
        val_put_str(out, "Expiry", val_map_str(license, "expiry", "never"));
        cmd_print_record(c, out);
    }
    return NULL;
}

/* Editions that a host can run as: all are the same, so those that the hosts run as. */
static struct err *host_all_editions(struct cmd *c)
{
    _cleanup_(val_unrefp) struct val *hosts = NULL, *seen = val_set();
    TRY(cmd_call(c, &hosts, "host.get_all_records", ""));
    for (size_t i = 0; i < val_count(hosts); i++) {
        const char *edition = val_map_str(val_at(hosts, i), "edition", "");
        if (!val_set_has(seen, edition)) {
            val_add_str(seen, edition);
            cmd_print(c, edition);
        }
    }
    return NULL;
}

/* license-server-address= and -port= are kept with the object, as upstream's tools expect. */
static struct err *point_to_server(struct cmd *c, const char *cls, const char *ref)
{
    static const char *const params[][2] = {{"license-server-address", "address"},
                                            {"license-server-port", "port"}};
    _cleanup_(freep) char *remove = mem_printf("%s.remove_from_license_server", cls);
    _cleanup_(freep) char *add = mem_printf("%s.add_to_license_server", cls);
    for (size_t i = 0; i < ARRAY_LEN(params); i++) {
        const char *value = args_get(&c->args, params[i][0]);
        if (!value)
            continue;
        TRY(cmd_call(c, NULL, remove, "ss", ref, params[i][1]));
        TRY(cmd_call(c, NULL, add, "sss", ref, params[i][1], value));
    }
    return NULL;
}

static struct err *host_apply_edition(struct cmd *c)
{
    const char *edition;
    _cleanup_(freep) char *host = NULL;
    TRY(args_need(&c->args, "edition", &edition));
    TRY(cmd_host(c, "host-uuid", &host));
    TRY(point_to_server(c, "host", host));
    return cmd_call(c, NULL, "host.apply_edition", "ssb", host, edition, (int)c->force);
}

static struct err *pool_apply_edition(struct cmd *c)
{
    const char *edition;
    _cleanup_(freep) char *pool = NULL;
    TRY(args_need(&c->args, "edition", &edition));
    TRY(cmd_pool(c, &pool));
    TRY(point_to_server(c, "pool", pool));
    return cmd_call(c, NULL, "pool.apply_edition", "ss", pool, edition);
}

const struct cmd_impl cmd_license_table[] = {
    {.name = "host-license-view",
     .run = host_license_view,
     .help = "Show the licence of a host: host-uuid=, else this one."},
    {.name = "diagnostic-license-status",
     .run = diagnostic_license_status,
     .help = "Show the edition of each host and when its licence ends."},
    {.name = "host-all-editions",
     .run = host_all_editions,
     .help = "List the editions that hosts can run as."},
    {.name = "host-apply-edition",
     .run = host_apply_edition,
     .help = "Let a host run as an edition.",
     .needs = "host.apply_edition"},
    {.name = "pool-apply-edition",
     .run = pool_apply_edition,
     .help = "Let all hosts of the pool run as an edition.",
     .needs = "pool.apply_edition"},
    {.name = NULL},
};
