/* lvm_change.c: see lvm_change.h. Keeps nothing. */
#include "host/lvm_change.h"

#include "host/host_impl.h"
#include "host/lvm_unit.h"
#include "host/priv.h"

struct err *group_vg_create(const struct host *h, const char *device, const char *group, bool force)
{
    return lvm_unit_is(device) ? lvm_unit_create(device, group, force)
                               : priv_vg_create(h->privd, device, group, force);
}

struct err *group_vg_remove(const struct host *h, const char *device, const char *group)
{
    return lvm_unit_is(device) ? lvm_unit_remove(device, group)
                               : priv_vg_remove(h->privd, device, group);
}

struct err *group_examine(const struct host *h, const char *device, char **ret)
{
    return lvm_unit_is(device) ? lvm_unit_examine(device, ret)
                               : priv_examine(h->privd, device, ret);
}

static struct err *on_unit(enum unit_verb verb, const char *device, const char *group,
                           const char *volume, uint64_t size)
{
    struct unit_change c = {.verb = verb, .group = group, .volume = volume, .size = size};
    return lvm_unit_change(device, &c);
}

struct err *group_lv_create(const struct host *h, const char *device, const char *group,
                            const char *volume, uint64_t size)
{
    return lvm_unit_is(device) ? on_unit(UNIT_CREATE, device, group, volume, size)
                               : priv_lv_create(h->privd, device, group, volume, size);
}

struct err *group_lv_extend(const struct host *h, const char *device, const char *group,
                            const char *volume, uint64_t size)
{
    return lvm_unit_is(device) ? on_unit(UNIT_EXTEND, device, group, volume, size)
                               : priv_lv_extend(h->privd, device, group, volume, size);
}

struct err *group_lv_reduce(const struct host *h, const char *device, const char *group,
                            const char *volume, uint64_t size)
{
    return lvm_unit_is(device) ? on_unit(UNIT_REDUCE, device, group, volume, size)
                               : priv_lv_reduce(h->privd, device, group, volume, size);
}

struct err *group_lv_writable(const struct host *h, const char *device, const char *group,
                              const char *volume)
{
    return lvm_unit_is(device) ? on_unit(UNIT_WRITABLE, device, group, volume, 0)
                               : priv_lv_writable(h->privd, device, group, volume);
}

struct err *group_lv_rename(const struct host *h, const char *device, const char *group,
                            const char *volume, const char *to)
{
    struct unit_change c = {.verb = UNIT_RENAME, .group = group, .volume = volume, .to = to};
    return lvm_unit_is(device) ? lvm_unit_change(device, &c)
                               : priv_lv_rename(h->privd, device, group, volume, to);
}

struct err *group_lv_remove(const struct host *h, const char *device, const char *group,
                            const char *volume)
{
    return lvm_unit_is(device) ? on_unit(UNIT_REMOVE, device, group, volume, 0)
                               : priv_lv_remove(h->privd, device, group, volume);
}
