/*
 * disk_sample.c: the counters of an owner's cairn-diskd. Called on the thread of chores; one
 * question for all disks of an owner. Who does not answer within a second is left unknown.
 */
#include "host/diskctl.h"
#include "host/sample_impl.h"

#include "base/str.h"

#define ANSWER_S 1

static uint64_t number(const struct val *map, const char *key)
{
    const struct val *v = map && val_kind(map) == VAL_MAP ? val_map_get(map, key) : NULL;
    return v && val_kind(v) == VAL_INT && val_get_int(v) > 0 ? (uint64_t)val_get_int(v) : 0;
}

static void take(struct disk_sample *d, const struct val *stats)
{
    const struct val *read = val_map_get(stats, "read"), *write = val_map_get(stats, "write");
    d->known = true;
    d->read_bytes = number(read, "bytes");
    d->read_ops = number(read, "ops");
    d->read_us = number(read, "us");
    d->write_bytes = number(write, "bytes");
    d->write_ops = number(write, "ops");
    d->write_us = number(write, "us");
    d->inflight = number(stats, "inflight");
    const struct val *cache = val_map_get(stats, "cache");
    d->hit_bytes = number(cache, "hit");
    d->miss_bytes = number(cache, "miss");
    const struct val *copy = val_map_get(stats, "copy");
    d->copy_hit_bytes = number(copy, "hit");
    d->copy_miss_bytes = number(copy, "miss");
}

static void take_by_id(struct disk_sample *list, size_t n, const struct val *stats)
{
    uint64_t device;
    if (val_kind(stats) != VAL_MAP ||
        str_u64(view_of(val_map_str(stats, "id", "")), 0, UINT32_MAX, &device) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (list[i].device == device)
            take(&list[i], stats);
}

void disk_sample(void *disks, const char *owner, struct disk_sample *list, size_t n)
{
    struct diskctl *dc = disks;
    _cleanup_(freep) char *socket = mem_printf("%s/disk/%s/ctl.sock", dc->host->run_dir, owner);
    _cleanup_(val_unrefp) struct val *request = val_map(), *answer = NULL;
    val_put_str(request, "op", "stats");
    _cleanup_(err_freep) struct err *e = disk_request_within(socket, request, ANSWER_S, &answer);
    const struct val *result = e ? NULL : val_map_get(answer, "result");
    const struct val *found =
        result && val_kind(result) == VAL_MAP ? val_map_get(result, "disks") : NULL;
    if (!found || val_kind(found) != VAL_SET)
        return;
    for (size_t i = 0; i < val_count(found); i++)
        take_by_id(list, n, val_at(found, i));
    disk_notice(dc, owner, found);
}
