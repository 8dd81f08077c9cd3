/*
 * sr_probe.c: SR.probe and SR.probe_ext: what repositories are, or could be, at some place.
 *
 * Storage answers in XML, or with an error whose third parameter lists what is missing as XML;
 * that is what probe hands on. probe_ext makes records of either.
 */
#include <string.h>

#include "gen/msg.h"
#include "op/sr_ops.h"
#include "op/vm_ops.h"

static struct err *ask(struct op *op, const char *host, const char *type,
                       const struct val *device_config, const struct val *sm_config, char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(val_unrefp) struct val *config = sr_secrets_show(s, device_config);
    if (!str_eq(host, ops_of(op)->host_ref))
        return err_HANDLE_INVALID("host", host);
    struct sr_ref ref = {"", type, config, sm_config};
    struct verb v = op_verb(op, VERB_TIME);
    return sr_probe(op->host, &v, &ref, ret);
}

struct err *msg_SR_probe(struct op *op, const struct args_SR_probe *a, struct val **ret)
{
    _cleanup_(freep) char *xml = NULL;
    TRY(ask(op, a->host, a->type, a->device_config, a->sm_config, &xml));
    *ret = val_str(xml);
    return NULL;
}

/* ---- probe_ext ---- */

/* Character data of ours: three characters are escaped, and there is white space around it. */
static char *text_of(const char *from, const char *to)
{
    static const struct {
        const char *name;
        char c;
    } marks[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}};
    while (from < to && strchr(" \t\n", *from))
        from++;
    while (to > from && strchr(" \t\n", to[-1]))
        to--;
    char *text = mem_strndup(from, (size_t)(to - from)), *out = text;
    for (const char *p = text; *p;) {
        size_t i = 0;
        while (i < ARRAY_LEN(marks) && !str_starts(p, marks[i].name))
            i++;
        *out++ = i < ARRAY_LEN(marks) ? marks[i].c : *p;
        p += i < ARRAY_LEN(marks) ? strlen(marks[i].name) : 1;
    }
    *out = '\0';
    return text;
}

/* The text of the next element of that name, and *at behind it; NULL: there is none. */
static char *next_text(const char **at, const char *name)
{
    _cleanup_(freep) char *begin = mem_printf("<%s>", name);
    _cleanup_(freep) char *end = mem_printf("</%s>", name);
    const char *from = strstr(*at, begin), *to = from ? strstr(from, end) : NULL;
    if (!to)
        return NULL;
    *at = to;
    return text_of(from + strlen(begin), to);
}

/* Of the repository that begins at `at`, up to the next; where the storage does not say: 0. */
static int64_t bytes_of(const char *at, const char *name)
{
    const char *end = strstr(at, "</SR>");
    _cleanup_(freep) char *own = end ? mem_strndup(at, (size_t)(end - at)) : mem_strdup("");
    const char *from = own;
    _cleanup_(freep) char *text = next_text(&from, name);
    uint64_t bytes;
    return text && str_u64(view_of(text), 0, INT64_MAX, &bytes) == 0 ? (int64_t)bytes : 0;
}

/* `rest`: what the storage says behind the uuid. */
static struct val *stat_of(const char *uuid, const char *rest)
{
    struct val *sr = val_map();
    val_put_str(sr, "uuid", uuid);
    val_put_str(sr, "name_label", "");
    val_put_str(sr, "name_description", "");
    val_put_int(sr, "free_space", bytes_of(rest, "free"));
    val_put_int(sr, "total_space", bytes_of(rest, "size"));
    val_put_bool(sr, "clustered", false);
    val_put_str(sr, "health", "healthy");
    return sr;
}

static struct val *result(const struct val *config, const char *sr_uuid, const char *rest)
{
    struct val *r = val_map();
    val_put(r, "configuration", val_copy(config));
    val_put_bool(r, "complete", true);
    if (sr_uuid)
        val_put(r, "sr", stat_of(sr_uuid, rest));
    val_put(r, "extra_info", val_map());
    return r;
}

/* Repositories that are there; none: one can be made. */
static struct val *found(const char *xml, const struct val *config)
{
    struct val *list = val_set();
    char *uuid;
    while ((uuid = next_text(&xml, "UUID"))) {
        val_add(list, result(config, uuid, xml));
        free(uuid);
    }
    if (val_count(list) == 0)
        val_add(list, result(config, NULL, ""));
    return list;
}

static struct val *choices(const char *xml, const char *element, const char *key,
                           const struct val *config)
{
    struct val *list = val_set();
    char *value;
    while ((value = next_text(&xml, element))) {
        _cleanup_(val_unrefp) struct val *with = val_copy(config);
        val_put_str(with, key, value);
        val_add(list, result(with, NULL, ""));
        free(value);
    }
    return list;
}

struct err *msg_SR_probe_ext(struct op *op, const struct args_SR_probe_ext *a, struct val **ret)
{
    static const struct {
        const char *code, *element, *key;
    } lists[] = {{"SR_BACKEND_FAILURE_101", "Path", "serverpath"},
                 {"SR_BACKEND_FAILURE_96", "TargetIQN", "targetIQN"},
                 {"SR_BACKEND_FAILURE_107", "SCSIid", "SCSIid"}};
    _cleanup_(freep) char *xml = NULL;
    struct err *e = ask(op, a->host, a->type, a->device_config, a->sm_config, &xml);
    for (size_t i = 0; e && i < ARRAY_LEN(lists); i++) {
        if (!err_is(e, lists[i].code) || !strstr(err_param(e, 2), lists[i].element))
            continue;
        *ret = choices(err_param(e, 2), lists[i].element, lists[i].key, a->device_config);
        err_free(e);
        return NULL;
    }
    TRY(e);
    *ret = found(xml, a->device_config);
    return NULL;
}
