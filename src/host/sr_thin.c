/*
 * sr_thin.c: see sr_thin.h. Called by sr_lvm.c, disk_room.c and by operations.
 */
#include "host/sr_thin.h"

#include <stdio.h>

#include "base/str.h"
#include "gen/error.h"
#include "host/lvm_group.h"

#define MIB         (UINT64_C(1) << 20)
#define QUANTUM_MIN (16 * MIB)
#define QUANTUM_MAX (1024 * MIB)
#define EMPTY       (8 * MIB) /* an empty image, with the tables of the largest */
#define LOW_MIN     (8 * MIB) /* what cairn-diskd takes as a mark at least */

static const char initial_key[] = "initial_allocation", quantum_key[] = "allocation_quantum";

static uint64_t clamp(uint64_t n, uint64_t min, uint64_t max)
{
    return n < min ? min : n > max ? max : n;
}

static uint64_t whole_extents(uint64_t bytes)
{
    return (bytes + SR_THIN_EXTENT - 1) / SR_THIN_EXTENT * SR_THIN_EXTENT;
}

static bool number_of(const struct val *config, const char *key, uint64_t *ret)
{
    return config && str_u64(view_of(val_map_str(config, key, "")), 0, INT64_MAX, ret) == 0;
}

static bool is_on(const struct val *config)
{
    const char *allocation = val_map_str(config, "allocation", "");
    return str_eq(allocation, "xlvhd") || str_eq(allocation, "dynamic");
}

static uint64_t quantum_for(uint64_t asked, uint64_t sr_bytes)
{
    uint64_t n = clamp(asked, sr_bytes / 50000, sr_bytes / 4000);
    return whole_extents(clamp(n, QUANTUM_MIN, QUANTUM_MAX));
}

void sr_thin_of(const struct val *sr_config, const struct val *vdi_config, uint64_t sr_bytes,
                struct sr_thin *ret)
{
    *ret = (struct sr_thin){.on = is_on(sr_config), .initial = 0, .quantum = sr_bytes / 10000};
    if (!number_of(vdi_config, initial_key, &ret->initial))
        (void)number_of(sr_config, initial_key, &ret->initial);
    if (!number_of(vdi_config, quantum_key, &ret->quantum))
        (void)number_of(sr_config, quantum_key, &ret->quantum);
    ret->quantum = quantum_for(ret->quantum, sr_bytes);
}

static struct err *check_number(const struct val *config, const char *key)
{
    uint64_t n;
    const char *text = val_map_str(config, key, "");
    return !text[0] || number_of(config, key, &n) ? NULL : err_INVALID_VALUE(key, text);
}

/* "thick" is what a repository is anyway. */
static struct err *check_allocation(const char *type, const struct val *config)
{
    const char *text = val_map_str(config, "allocation", "");
    if (!str_starts(type, "lvm") || !text[0] || is_on(config) || str_eq(text, "thick"))
        return NULL;
    return err_INVALID_VALUE("sm_config:allocation", text);
}

struct err *sr_thin_check(const char *type, const struct val *config)
{
    if (type)
        TRY(check_allocation(type, config));
    TRY(check_number(config, initial_key));
    return check_number(config, quantum_key);
}

struct val *sr_thin_note(const struct val *config, const struct sr_thin *t)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)t->initial);
    _cleanup_(val_unrefp) struct val *half = val_with(config, initial_key, text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)t->quantum);
    return val_with(half, quantum_key, text);
}

uint64_t sr_thin_first(const struct sr_thin *t, uint64_t size, uint64_t full)
{
    uint64_t first = t->initial > EMPTY ? t->initial : EMPTY;
    return t->initial >= size || first >= full ? full : whole_extents(first);
}

uint64_t sr_thin_next(uint64_t quantum, uint64_t has, uint64_t full, uint64_t free)
{
    uint64_t by = quantum < free ? quantum : free;
    by -= by % SR_THIN_EXTENT;
    if (has >= full)
        return has;
    return by < full - has ? has + by : full;
}

uint64_t sr_thin_low(uint64_t quantum)
{
    return clamp(quantum / 2, LOW_MIN, QUANTUM_MAX / 2);
}

void sr_thin_image(const struct val *sr_config, const struct val *vdi_config, uint64_t sr_bytes,
                   struct image *image)
{
    struct sr_thin t;
    sr_thin_of(sr_config, vdi_config, sr_bytes, &t);
    bool grows =
        t.on && !image->readonly && lvm_group_is_path(image->path) && str_eq(image->format, "vhd");
    image->quantum = grows ? t.quantum : 0;
}

void sr_thin_request(const struct image *image, struct val *activate)
{
    if (image->quantum && !image->readonly)
        val_put_int(activate, "low_water", (int64_t)sr_thin_low(image->quantum));
}
