/* request.c: see request.h. Called in a worker, on bytes that cairnd sent. */
#include "privd/request.h"

#include "codec/json.h"

static const struct verb *find_verb(const struct verb *verbs, const char *name)
{
    for (; verbs->name; verbs++)
        if (str_eq(verbs->name, name))
            return verbs;
    return NULL;
}

static const struct member *find_member(const struct verb *v, const char *name)
{
    for (unsigned i = 0; i < REQUEST_MEMBERS && v->members[i].name; i++)
        if (str_eq(v->members[i].name, name))
            return &v->members[i];
    return NULL;
}

static struct err *check_member(const struct verb *verb, const struct member *m,
                                const struct val *v)
{
    if (!v && m->optional)
        return NULL;
    if (!v)
        return err_internal("'%s' lacks '%s'", verb->name, m->name);
    if (val_kind(v) != m->kind)
        return err_internal("'%s' of '%s' is of the wrong kind", m->name, verb->name);
    const char *complaint = NULL;
    if (m->kind == VAL_STRING)
        complaint = m->rule(val_get_str(v));
    else if (m->kind == VAL_INT && (val_get_int(v) < m->min || val_get_int(v) > m->max))
        complaint = "is out of range";
    return complaint ? err_internal("'%s' of '%s' %s", m->name, verb->name, complaint) : NULL;
}

static struct err *check_members(const struct verb *verb, const struct val *given)
{
    for (size_t i = 0; i < val_count(given); i++) {
        const char *key = val_key_at(given, i);
        if (!str_eq(key, "verb") && !find_member(verb, key))
            return err_internal("'%s' has a member that it does not know", verb->name);
    }
    for (unsigned i = 0; i < REQUEST_MEMBERS && verb->members[i].name; i++) {
        const struct member *m = &verb->members[i];
        TRY(check_member(verb, m, val_map_get(given, m->name)));
    }
    return NULL;
}

struct err *request_parse(const struct verb *verbs, struct view line, struct request *ret)
{
    _cleanup_(val_unrefp) struct val *given = NULL;
    if (line.size > REQUEST_SIZE_MAX)
        return err_internal("the request is too large");
    if (json_parse(line, &given) < 0 || val_kind(given) != VAL_MAP)
        return err_internal("the request is no JSON object");
    const struct val *name = val_map_get(given, "verb");
    if (!name || val_kind(name) != VAL_STRING)
        return err_internal("the request names no verb");
    const struct verb *verb = find_verb(verbs, val_get_str(name));
    if (!verb)
        return err_internal("there is no such verb");
    TRY(check_members(verb, given));
    *ret = (struct request){.verb = verb, .members = steal(&given)};
    return NULL;
}

void request_done(struct request *r)
{
    val_unrefp(&r->members);
}

bool request_has(const struct request *r, const char *name)
{
    return val_map_get(r->members, name) != NULL;
}

const char *request_str(const struct request *r, const char *name)
{
    return val_map_str(r->members, name, "");
}

int64_t request_int(const struct request *r, const char *name)
{
    const struct val *v = val_map_get(r->members, name);
    return v ? val_get_int(v) : 0;
}

bool request_bool(const struct request *r, const char *name)
{
    const struct val *v = val_map_get(r->members, name);
    return v && val_get_bool(v);
}
