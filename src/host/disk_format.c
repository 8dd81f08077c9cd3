/*
 * disk_format.c: see disk_format.h. Called by the repositories that keep disks in files, and by
 * diskctl.
 */
#include "host/disk_format.h"

#include <string.h>

#include "base/str.h"

#define VOLUME     "lv:"
#define PART       ".part"
#define PREFERENCE "vhd,qcow2"

static const struct format {
    const char *name, *suffix;
    bool has_chain;
    uint64_t max;
} formats[] = {
    {"vhd", ".vhd", true, DISK_VHD_MAX},
    {"qcow2", ".qcow2", true, DISK_QCOW2_MAX},
    {"raw", ".raw", false, INT64_MAX},
    {"vhd-fixed", ".vhd", true, DISK_VHD_MAX},
};

static const struct format *find(const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strlen(formats[i].name) == size && memcmp(formats[i].name, name, size) == 0)
            return &formats[i];
    return NULL;
}

const char *disk_format_of_volume(const char *name)
{
    static const char *const prefixes[][2] = {
        {"VHD-", "vhd"}, {"QCOW2-", "qcow2"}, {"LV-", "raw"}, {"swapq-", "qcow2"}};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(name, prefixes[i][0]))
            return prefixes[i][1];
    return NULL;
}

const char *disk_format_of(const char *name)
{
    if (str_starts(name, VOLUME))
        return disk_format_of_volume(name + strlen(VOLUME));
    size_t size = strlen(name);
    if (str_ends(name, PART))
        size -= strlen(PART);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        size_t n = strlen(formats[i].suffix);
        if (size > n && memcmp(name + size - n, formats[i].suffix, n) == 0)
            return formats[i].name;
    }
    return NULL;
}

const char *disk_suffix_of(const char *format)
{
    const struct format *f = find(format, strlen(format));
    return f ? f->suffix : "";
}

bool disk_has_chain(const char *format)
{
    const struct format *f = find(format, strlen(format));
    return f && f->has_chain;
}

uint64_t disk_size_max(const char *format)
{
    const struct format *f = find(format, strlen(format));
    return f ? f->max : INT64_MAX;
}

static const char *preferred(const char *list, uint64_t size)
{
    struct view rest = view_of(list), item;
    const char *first = NULL;
    for (bool more = rest.size > 0; more;) {
        more = view_split(&rest, ',', &item);
        const struct format *f = find(item.p, item.size);
        if (f && size <= f->max)
            return f->name;
        if (f && !first)
            first = f->name;
    }
    return first ? first : formats[0].name;
}

const char *disk_format_for(const struct val *sm_config, const struct val *device_config,
                            uint64_t size)
{
    const char *told = sm_config ? val_map_str(sm_config, "image-format", "") : "";
    const char *old = sm_config ? val_map_str(sm_config, "type", "") : "";
    const struct format *f = find(told[0] ? told : old, strlen(told[0] ? told : old));
    if (f || told[0])
        return f ? f->name : NULL;
    const char *list =
        device_config ? val_map_str(device_config, "preferred-image-formats", "") : "";
    return preferred(list[0] ? list : PREFERENCE, size);
}
