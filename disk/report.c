/*
 * report.c: images described in JSON. Called by control.c and diskd.c; owns nothing.
 */
#include "disk/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "disk/backend/pace.h"
#include "disk/gate.h"
#include "disk/park.h"
#include "disk/room.h"

static json_t *uuid_of(const uint8_t u[16])
{
    _cleanup_(freep) char *s = mem_printf(
        "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
        u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    return json_string(s);
}

static json_t *creator_of(const char c[4])
{
    char s[5] = {0};
    for (int i = 0; i < 4; i++)
        s[i] = c[i] >= ' ' && c[i] < 0x7f ? c[i] : '\0';
    return json_string(s);
}

static void add_dynamic(json_t *j, const struct image_info *info)
{
    (void)json_object_set_new(j, "block_size", json_integer(info->block_size));
    (void)json_object_set_new(j, "blocks", json_integer(info->n_blocks));
    (void)json_object_set_new(j, "blocks_allocated", json_integer(info->n_allocated));
    (void)json_object_set_new(j, "data_end", json_integer((json_int_t)info->data_end));
    if (info->footer.type != VHD_DIFFERENCING)
        return;
    (void)json_object_set_new(j, "parent_uuid", uuid_of(info->parent_uuid));
    (void)json_object_set_new(j, "parent_name", json_string(info->parent_name));
    json_t *path = json_string(info->parent_path);
    (void)json_object_set_new(j, "parent_path", path ? path : json_string(""));
}

static void add_qcow2(json_t *j, const struct image_info *info)
{
    (void)json_object_set_new(j, "type",
                              json_string(info->has_parent ? "differencing" : "dynamic"));
    (void)json_object_set_new(j, "hidden", json_boolean(info->is_hidden));
    if (!info->has_parent)
        return;
    const char *slash = strrchr(info->parent_path, '/');
    json_t *path = json_string(info->parent_path);
    json_t *name = json_string(slash ? slash + 1 : info->parent_path);
    (void)json_object_set_new(j, "parent_path", path ? path : json_string(""));
    (void)json_object_set_new(j, "parent_name", name ? name : json_string(""));
}

json_t *report_info(const struct image_info *info)
{
    static const char *const types[] = {
        [VHD_FIXED] = "fixed", [VHD_DYNAMIC] = "dynamic", [VHD_DIFFERENCING] = "differencing"};
    json_t *j = json_object();
    (void)json_object_set_new(j, "format", json_string(image_format_name(info->format)));
    (void)json_object_set_new(j, "size", json_integer((json_int_t)info->size));
    (void)json_object_set_new(j, "file_size", json_integer((json_int_t)info->file_size));
    (void)json_object_set_new(j, "allocated", json_integer((json_int_t)info->allocated));
    if (info->format == IMAGE_RAW)
        return j;
    if (info->format == IMAGE_QCOW2) {
        add_qcow2(j, info);
        return j;
    }
    const struct vhd_footer *f = &info->footer;
    (void)json_object_set_new(j, "type", json_string(types[f->type]));
    (void)json_object_set_new(j, "creator", creator_of(f->creator));
    (void)json_object_set_new(j, "creator_version", json_integer(f->creator_version));
    (void)json_object_set_new(j, "uuid", uuid_of(f->uuid));
    (void)json_object_set_new(j, "hidden", json_boolean(f->hidden));
    (void)json_object_set_new(j, "footer",
                              json_string(info->has_end_footer ? "primary" : "backup"));
    if (info->format == IMAGE_VHD)
        add_dynamic(j, info);
    return j;
}

json_t *report_made(const struct image_made *made, enum image_format format)
{
    json_t *j = json_object();
    (void)json_object_set_new(j, "size", json_integer((json_int_t)made->size));
    if (image_ops_of(format)->has_uuid)
        (void)json_object_set_new(j, "uuid", uuid_of(made->uuid));
    return j;
}

static json_t *error_of(const struct disk *d)
{
    const struct disk_error *e = &d->last_error;
    if (!e->code)
        return json_null();
    const char *name = strerrorname_np(-e->code);
    json_t *text = json_string(e->text);
    return json_pack("{s:s, s:o, s:s, s:I}", "code", name ? name : "EIO", "message",
                     text ? text : json_string("failed"), "path", d->path ? d->path : "", "time",
                     (json_int_t)e->time);
}

/* Requests that storage refuses for the while, or does not answer at all: null, or how many, since
 * when and why. */
static json_t *parked_of(const struct disk *d)
{
    uint64_t stalled = d->park || d->halt.is_on ? disk_stalled_us(d) : 0;
    int64_t since;
    if (stalled)
        return json_pack("{s:i, s:I, s:s}", "requests", (int)d->in_flight, "since",
                         (json_int_t)(time(NULL) - (time_t)(stalled / 1000000)), "code",
                         "ETIMEDOUT");
    if (d->halt.since)
        return json_pack("{s:i, s:I, s:s}", "requests", 1, "since", (json_int_t)d->halt.since,
                         "code", strerrorname_np(-d->halt.why));
    if (!d->park || !park_count(d->park))
        return json_null();
    const char *name = strerrorname_np(-park_why(d->park, &since));
    return json_pack("{s:i, s:I, s:s}", "requests", (int)park_count(d->park), "since",
                     (json_int_t)since, "code", name ? name : "EIO");
}

/* Null, or what a volume that grows has, and whether that is too little. */
json_t *report_room(const struct disk *d)
{
    uint64_t size, used;
    if (!d->room.low || !room_of(d, &size, &used))
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:b}", "size", (json_int_t)size, "used", (json_int_t)used,
                     "low", (json_int_t)d->room.low, "wants", d->room.wants);
}

static unsigned left_of(const struct disk *d)
{
    unsigned n = 0;
    for (size_t i = 0; i < d->fronts.n; i++) {
        const struct front *f = d->fronts.v[i];
        n += f->ops->left ? f->ops->left(f) : 0;
    }
    return n;
}

json_t *report_disk(const struct disk *d)
{
    json_t *fronts = json_array();
    for (size_t i = 0; i < d->fronts.n; i++) {
        const struct front *f = d->fronts.v[i];
        (void)json_array_append_new(fronts,
                                    json_pack("{s:s, s:s, s:i}", "type", f->ops->type, "path",
                                              f->path, "clients", (int)f->ops->clients(f)));
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:b}", "id", d->id, "vdi", d->vdi, "state",
                          disk_state_name(d->state), "size", (json_int_t)d->size, "readonly",
                          d->is_readonly);
    bool has_image = d->state != DISK_ATTACHED;
    (void)json_object_set_new(j, "path", has_image ? json_string(d->path) : json_null());
    (void)json_object_set_new(j, "format",
                              has_image ? json_string(image_format_name(d->format)) : json_null());
    (void)json_object_set_new(j, "fronts", fronts);
    uint64_t bytes = 0, ops = 0;
    if (d->gate)
        gate_limits(d->gate, &bytes, &ops);
    (void)json_object_set_new(
        j, "limit", json_pack("{s:I, s:I}", "bytes", (json_int_t)bytes, "ops", (json_int_t)ops));
    (void)json_object_set_new(j, "error", error_of(d));
    (void)json_object_set_new(j, "parked", parked_of(d));
    (void)json_object_set_new(j, "room", report_room(d));
    (void)json_object_set_new(j, "left", json_integer((json_int_t)left_of(d)));
    return j;
}

static json_t *latency_of(const struct disk_op_stats *s)
{
    json_t *list = json_array();
    size_t n = DISK_LATENCIES;
    while (n && s->latency[n - 1] == 0)
        n--;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, json_integer((json_int_t)s->latency[i]));
    return list;
}

/* What the disk may have in flight of its repository's budget: null, or bytes. */
static json_t *share_of(const struct disk *d)
{
    if (!d->pace)
        return json_null();
    struct pace_stats p = pace_get_stats(d->pace);
    return json_pack("{s:I, s:I, s:i, s:i}", "bytes", (json_int_t)p.share, "inflight",
                     (json_int_t)p.in_flight, "queued", (int)p.queued, "users", (int)p.users);
}

json_t *report_stats(const struct disk *d)
{
    static const struct {
        const char *name;
        enum blk_op op;
    } ops[] = {{"read", BLK_READ},
               {"write", BLK_WRITE},
               {"flush", BLK_FLUSH},
               {"discard", BLK_DISCARD},
               {"zeroes", BLK_ZEROES}};
    json_t *j = json_pack("{s:s, s:s, s:i, s:i}", "id", d->id, "state", disk_state_name(d->state),
                          "inflight", (int)d->in_flight, "waiting", (int)d->n_waiting);
    json_t *errors = json_object();
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        const struct disk_op_stats *s = &d->stats[ops[i].op];
        json_t *o =
            json_pack("{s:I, s:I, s:I, s:o}", "ops", (json_int_t)s->ops, "bytes",
                      (json_int_t)s->bytes, "us", (json_int_t)s->us, "latency", latency_of(s));
        (void)json_object_set_new(j, ops[i].name, o);
        (void)json_object_set_new(errors, ops[i].name, json_integer((json_int_t)s->errors));
    }
    (void)json_object_set_new(j, "held", json_integer(d->gate ? (int)gate_held(d->gate) : 0));
    (void)json_object_set_new(j, "parked", parked_of(d));
    (void)json_object_set_new(j, "room", report_room(d));
    (void)json_object_set_new(j, "share", share_of(d));
    struct disk_cache_stats cache = disk_get_cache_stats(d);
    (void)json_object_set_new(
        j, "cache",
        json_pack("{s:I, s:I}", "hit", (json_int_t)cache.hit, "miss", (json_int_t)cache.miss));
    struct lcache_stats copy = disk_get_copy_stats(d);
    (void)json_object_set_new(j, "copy",
                              json_pack("{s:I, s:I, s:I}", "hit", (json_int_t)copy.hit, "miss",
                                        (json_int_t)copy.miss, "unkept", (json_int_t)copy.unkept));
    bool is_silent = false;
    for (size_t i = 0; i < d->fronts.n; i++) {
        const struct front *f = d->fronts.v[i];
        is_silent |= f->ops->is_silent && f->ops->is_silent(f);
    }
    (void)json_object_set_new(j, "silent", json_boolean(is_silent));
    struct engine_stats e = disk_engine_stats(d);
    (void)json_object_set_new(j, "errors", errors);
    (void)json_object_set_new(j, "last_error", error_of(d));
    (void)json_object_set_new(j, "blocks_allocated", json_integer((json_int_t)e.blocks_allocated));
    (void)json_object_set_new(j, "metadata_writes", json_integer((json_int_t)e.metadata_writes));
    return j;
}

int report_print(json_t *j)
{
    int r = json_dumpf(j, stdout, JSON_PRESERVE_ORDER) < 0 || putchar('\n') == EOF;
    json_decref(j);
    return r || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
