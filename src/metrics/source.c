/* source.c: see source.h. */
#include "metrics/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/mem.h"
#include "base/pmap.h"
#include "base/rstr.h"
#include "base/vec.h"

const struct source_kind source_kinds[SOURCE_N] = {
#define SOURCE_ROW(sym, own, nam, typ, unit, mx, std, desc, fam, omt, fac, lab)                    \
    [SOURCE_##sym] = {.owner = OWNER_##own,                                                        \
                      .name = nam,                                                                 \
                      .description = desc,                                                         \
                      .type = SOURCE_##typ,                                                        \
                      .units = unit,                                                               \
                      .max = mx,                                                                   \
                      .standard = std,                                                             \
                      .family = fam,                                                               \
                      .om = OM_##omt,                                                              \
                      .factor = fac,                                                               \
                      .label = lab},
    SOURCE_KINDS(SOURCE_ROW)
#undef SOURCE_ROW
};

struct source_pool {
    struct mutex lock;
    struct pmap *by_name[OWNER_N]; /* rstr name -> source */
    VEC(struct source *) all;
};

const char *owner_name(enum metrics_owner o)
{
    static const char *const names[] = {"host", "vm", "sr"};
    return names[o];
}

const char *source_type_name(enum source_type t)
{
    static const char *const names[] = {"GAUGE", "DERIVE", "ABSOLUTE"};
    return names[t];
}

const char *source_units(const struct source *s)
{
    return s->kind ? s->kind->units : "unknown";
}

struct source_pool *source_pool_new(void)
{
    struct source_pool *p = mem_new(struct source_pool);
    mutex_init(&p->lock, LOCK_LEAF);
    return p;
}

void source_pool_free(struct source_pool *p)
{
    if (!p)
        return;
    for (int i = 0; i < OWNER_N; i++)
        pmap_unref(p->by_name[i]);
    vec_each (s, &p->all) {
        rstr_unref((*s)->name);
        rstr_unref((*s)->device);
        free((*s)->description);
        free(*s);
    }
    vec_done(&p->all);
    mutex_done(&p->lock);
    free(p);
}

/* The pattern with its %s, if it has one, replaced. */
static char *fill_in(const char *pattern, const char *device)
{
    const char *at = strstr(pattern, "%s");
    if (!at)
        return mem_strdup(pattern);
    return mem_printf("%.*s%s%s", (int)(at - pattern), pattern, device, at + 2);
}

static struct source *add(struct source_pool *p, enum metrics_owner owner, const char *name,
                          const char *device)
{
    struct source *s = mem_new(struct source);
    s->owner = owner;
    s->name = rstr_new(name);
    s->device = rstr_new(device);
    vec_push(&p->all, s);
    static const struct pmap_type plain = {0};
    pmap_set(&p->by_name[owner], &plain, pmap_hash(name), s->name, s);
    return s;
}

static const struct source *get(struct source_pool *p, enum source_kind_id id, const char *device)
{
    const struct source_kind *k = &source_kinds[id];
    _cleanup_(freep) char *name = fill_in(k->name, device);
    struct source *s = pmap_get(p->by_name[k->owner], pmap_hash(name), name);
    if (s)
        return s;
    s = add(p, k->owner, name, device);
    s->kind = k;
    s->type = k->type;
    s->min = 0;
    s->max = k->max > 0 ? k->max : INFINITY;
    s->description = fill_in(k->description, device);
    return s;
}

const struct source *source_get(struct source_pool *p, enum source_kind_id id, const char *device)
{
    mutex_guard(&p->lock);
    return get(p, id, device);
}

/* Does a name fit a kind's pattern? Then its device, else NULL. */
static char *device_of(const struct source_kind *k, const char *name)
{
    const char *at = strstr(k->name, "%s");
    if (!at)
        return str_eq(k->name, name) ? mem_strdup("") : NULL;
    size_t before = (size_t)(at - k->name), after = strlen(at + 2), size = strlen(name);
    if (size <= before + after || strncmp(name, k->name, before) != 0 ||
        strcmp(name + size - after, at + 2) != 0)
        return NULL;
    return mem_strndup(name + before, size - before - after);
}

/* The kind whose pattern leaves the shortest device: "iops_read_1234" is no device "s_read_1234" of
 * another one. */
static const struct source *find_kind(struct source_pool *p, enum metrics_owner owner,
                                      const char *name)
{
    _cleanup_(freep) char *best = NULL;
    int kind = -1;
    for (int i = 0; i < SOURCE_N; i++) {
        if (source_kinds[i].owner != owner)
            continue;
        _cleanup_(freep) char *device = device_of(&source_kinds[i], name);
        if (!device || (best && strlen(device) >= strlen(best)))
            continue;
        free(best);
        best = steal(&device);
        kind = i;
    }
    return kind < 0 ? NULL : get(p, (enum source_kind_id)kind, best);
}

const struct source *source_by_name(struct source_pool *p, enum metrics_owner owner,
                                    const char *name, enum source_type type, double min, double max)
{
    mutex_guard(&p->lock);
    const struct source *found = pmap_get(p->by_name[owner], pmap_hash(name), name);
    if (!found)
        found = find_kind(p, owner, name);
    if (found)
        return found;
    struct source *s = add(p, owner, name, "");
    s->type = type;
    s->min = min;
    s->max = max;
    s->description = mem_strdup("description not available");
    return s;
}
