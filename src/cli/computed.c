/* computed.c: columns that are neither a field nor a message's result ("~name" in model/xe.table).
 * Adding one: a function and a line in the table. */
#include <string.h>

#include "cli/column.h"

/* The name of the disk in a drive; an empty drive has none. */
static struct err *vdi_name_label(struct cmd *c, const struct object *o, struct val **ret)
{
    const struct val *empty = val_map_get(o->record, "empty"), *vdi = NULL;
    const char *ref = val_map_str(o->record, "VDI", "");
    if (!cmd_is_null(ref))
        TRY(cmd_record(c, "VDI", ref, &vdi));
    if (vdi)
        *ret = val_str(val_map_str(vdi, "name_label", ""));
    else
        *ret = val_str(empty && val_get_bool(empty) ? "<EMPTY>" : NOT_IN_DATABASE);
    return NULL;
}

static int64_t number(const struct val *record, const char *field)
{
    const struct val *v = val_map_get(record, field);
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : 0;
}

static struct err *resolution(struct cmd *c, const struct object *o, struct val **ret)
{
    (void)c;
    _cleanup_(freep) char *text =
        mem_printf("%lldx%lld", (long long)number(o->record, "max_resolution_x"),
                   (long long)number(o->record, "max_resolution_y"));
    *ret = val_str(text);
    return NULL;
}

/* Utilisation of each virtual CPU that the metrics know of. */
static struct err *vcpus_utilisation(struct cmd *c, const struct object *o, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *all = val_map();
    int64_t n = number(o->record, "VCPUs_at_startup");
    for (int64_t i = 0; i < n; i++) {
        _cleanup_(val_unrefp) struct val *v = NULL;
        _cleanup_(freep) char *source = mem_printf("cpu%lld", (long long)i);
        struct err *e = cmd_call(c, &v, "VM.query_data_source", "ss", o->ref, source);
        if (!e && val_kind(v) == VAL_FLOAT) {
            _cleanup_(freep) char *key = mem_printf("%lld", (long long)i);
            _cleanup_(freep) char *text = mem_printf("%.3f", val_get_float(v));
            val_put_str(all, key, text);
        }
        err_free(e);
    }
    *ret = steal(&all);
    return NULL;
}

/* The host that a repository is connected to, by name. */
static struct err *sr_host(struct cmd *c, const struct object *o, struct val **ret)
{
    const struct val *pbds = val_map_get(o->record, "PBDs"), *pbd = NULL, *host = NULL;
    if (val_count(pbds) == 1)
        TRY(cmd_record(c, "PBD", val_str_at(pbds, 0), &pbd));
    if (pbd)
        TRY(cmd_record(c, "host", val_map_str(pbd, "host", ""), &host));
    if (host)
        *ret = val_str(val_map_str(host, "name_label", ""));
    else
        *ret = val_str(val_count(pbds) > 1 ? "<shared>" : NOT_IN_DATABASE);
    return NULL;
}

computed_fn computed_find(const char *name)
{
    static const struct {
        const char *name;
        computed_fn fn;
    } table[] = {
        {"vdi_name_label", vdi_name_label},
        {"resolution", resolution},
        {"sr_host", sr_host},
        {"vcpus_utilisation", vcpus_utilisation},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].fn;
    return NULL;
}
