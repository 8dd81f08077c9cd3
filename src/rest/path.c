/* path.c: which collection, object and action a path names. Pure, total; any thread. */
#include <string.h>

#include "base/str.h"
#include "rest/rest_impl.h"

const struct rest_class *rest_class_by_path(struct view path)
{
    for (unsigned low = 0, high = rest_n_classes; low < high;) {
        unsigned middle = (low + high) / 2;
        const char *name = rest_classes[middle].path;
        int order = strncmp(path.p, name, path.size);
        if (order == 0 && name[path.size])
            order = -1;
        if (order == 0)
            return &rest_classes[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct rest_class *rest_class_by_num(int cls)
{
    for (unsigned i = 0; i < rest_n_classes; i++)
        if (rest_classes[i].cls == cls)
            return &rest_classes[i];
    return NULL;
}

bool rest_is_id(struct view v)
{
    return view_starts(v, "OpaqueRef:") ||
           (v.size == UUID_SIZE - 1 && v.p[8] == '-' && v.p[13] == '-' && v.p[18] == '-');
}

static const struct rest_action *find_action(const struct rest_class *c, struct view name,
                                             bool on_object)
{
    for (unsigned i = 0; i < c->n_actions; i++) {
        const struct rest_action *a = &c->actions[i];
        if (!!(a->flags & REST_ON_OBJECT) == on_object && view_eq(name, a->name))
            return a;
    }
    return NULL;
}

static struct rest_target of_action(struct rest_target t, struct view name)
{
    t.action = find_action(t.cls, name, t.id.size > 0);
    t.kind = t.action ? REST_ACTION : REST_NOTHING;
    return t;
}

struct rest_target rest_parse_path(const char *path)
{
    struct rest_target t = {.kind = REST_NOTHING}, nothing = t;
    struct view rest = view_of(path), first, second, third;
    if (!rest.size || view_eq(rest, "/"))
        return (struct rest_target){.kind = REST_INDEX};
    if (*path != '/')
        return nothing;
    rest = view_cut(rest, 1);
    bool deeper = view_split(&rest, '/', &first);
    if (!deeper && view_eq(first, "session"))
        return (struct rest_target){.kind = REST_SESSION};
    if (!deeper && view_eq(first, "events"))
        return (struct rest_target){.kind = REST_EVENTS};
    t.cls = rest_class_by_path(first);
    if (!t.cls)
        return nothing;
    t.kind = REST_COLLECTION;
    if (!deeper)
        return t;
    deeper = view_split(&rest, '/', &second);
    if (!rest_is_id(second))
        return deeper ? nothing : of_action(t, second);
    t.id = second;
    t.kind = REST_OBJECT;
    if (!deeper)
        return t;
    return view_split(&rest, '/', &third) ? nothing : of_action(t, third);
}
