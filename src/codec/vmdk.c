/* vmdk.c: see vmdk.h. */
#include "codec/vmdk.h"

#include <errno.h>
#include <string.h>

#include "codec/bytes.h"

#define FLAG_ZERO_MARK  (1u << 2)
#define FLAG_COMPRESSED (1u << 16)
#define FLAG_MARKERS    (1u << 17)
#define SECTORS_MAX     (VMDK_SIZE_MAX / VMDK_SECTOR)
#define DESCRIPTOR_MAX  (1u << 20)
#define TABLE_MAX       512u
#define TABLES_MAX      (8u << 20)
#define DEFLATE         1

static int check(const struct vmdk_header *h, uint32_t version, unsigned algorithm,
                 const char **ret_why)
{
    *ret_why = "its header makes no sense";
    if (version < 1 || version > 3) {
        *ret_why = "its version is not known";
        return -EINVAL;
    }
    bool is_power = h->grain && (h->grain & (h->grain - 1)) == 0;
    if (!is_power || h->grain < 8 * VMDK_SECTOR || h->table == 0 || h->table > TABLE_MAX)
        return -EINVAL;
    if (h->size / ((uint64_t)h->grain * h->table) >= TABLES_MAX)
        return -EINVAL;
    if (h->is_stream && algorithm != DEFLATE) {
        *ret_why = "its compression is not known";
        return -EINVAL;
    }
    return 0;
}

/* Sectors as bytes; too many are a size that check() refuses or a place behind every file. */
static uint64_t bytes_of(uint64_t sectors)
{
    return sectors > SECTORS_MAX ? UINT64_MAX : sectors * VMDK_SECTOR;
}

int vmdk_header_parse(const void *p, struct vmdk_header *ret, const char **ret_why)
{
    struct cursor c = cursor_of(p, VMDK_HEADER_SIZE);
    const uint8_t *magic = cursor_take(&c, 4);
    *ret_why = "this is no VMDK";
    if (!magic || memcmp(magic, VMDK_MAGIC, 4) != 0)
        return -EINVAL;
    uint32_t version = cursor_le32(&c), flags = cursor_le32(&c);
    uint64_t capacity = cursor_le64(&c), grain = cursor_le64(&c);
    uint64_t descriptor_at = cursor_le64(&c), descriptor_size = cursor_le64(&c);
    uint32_t table = cursor_le32(&c);
    (void)cursor_le64(&c); /* the spare directory */
    uint64_t directory_at = cursor_le64(&c), data_at = cursor_le64(&c);
    (void)cursor_take(&c, 5);
    const uint8_t *algorithm = cursor_take(&c, 2);
    *ret_why = "its header makes no sense";
    if (c.bad || !algorithm || capacity > SECTORS_MAX || grain > VMDK_GRAIN_MAX / VMDK_SECTOR ||
        descriptor_size > DESCRIPTOR_MAX / VMDK_SECTOR)
        return -EINVAL;
    *ret = (struct vmdk_header){
        .size = capacity * VMDK_SECTOR,
        .grain = (uint32_t)grain * VMDK_SECTOR,
        .table = table,
        .descriptor_at = bytes_of(descriptor_at),
        .descriptor_size = (uint32_t)descriptor_size * VMDK_SECTOR,
        .directory_at = bytes_of(directory_at),
        .data_at = bytes_of(data_at),
        .is_stream = (flags & FLAG_COMPRESSED) && (flags & FLAG_MARKERS),
        .has_zero_mark = flags & FLAG_ZERO_MARK,
    };
    if ((flags & FLAG_COMPRESSED) && !(flags & FLAG_MARKERS)) {
        *ret_why = "its grains are compressed and have no markers";
        return -EINVAL;
    }
    return check(ret, version, get_le16(algorithm), ret_why);
}

uint32_t vmdk_tables(const struct vmdk_header *h)
{
    uint64_t covered = (uint64_t)h->grain * h->table;
    return (uint32_t)((h->size + covered - 1) / covered);
}

/* ---- markers ---- */

enum { MARKER_END, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER };

int vmdk_marker_parse(const void *p, struct vmdk_marker *ret)
{
    const uint8_t *b = p;
    uint64_t sectors = get_le64(b);
    uint32_t size = get_le32(b + 8), type = get_le32(b + 12);
    if (sectors > SECTORS_MAX)
        return -EINVAL;
    if (size) {
        *ret = (struct vmdk_marker){VMDK_GRAIN, sectors * VMDK_SECTOR, size};
        return size <= 2 * VMDK_GRAIN_MAX ? 0 : -EINVAL;
    }
    if (type == MARKER_END)
        *ret = (struct vmdk_marker){.kind = VMDK_END};
    else
        *ret = (struct vmdk_marker){.kind = VMDK_SKIP, .size = sectors * VMDK_SECTOR};
    return type <= MARKER_FOOTER ? 0 : -EINVAL;
}

/* ---- descriptor ---- */

static struct view without_quotes(struct view v)
{
    if (v.size >= 2 && v.p[0] == '"' && v.p[v.size - 1] == '"')
        return (struct view){v.p + 1, v.size - 2};
    return v;
}

bool vmdk_descriptor_get(struct view text, const char *key, struct view *ret)
{
    const char *end = text.size ? memchr(text.p, '\0', text.size) : NULL;
    struct view line;
    if (end)
        text.size = (size_t)(end - text.p);
    while (text.size) {
        struct view name;
        (void)view_split(&text, '\n', &line);
        if (line.size && line.p[line.size - 1] == '\r')
            line.size--;
        if (!view_split(&line, '=', &name) || !view_ieq(view_trim(name), key))
            continue;
        *ret = without_quotes(view_trim(line));
        return true;
    }
    return false;
}

int vmdk_descriptor_check(struct view text, const char **ret_why)
{
    struct view v;
    if (vmdk_descriptor_get(text, "parentCID", &v) && !view_ieq(v, "ffffffff")) {
        *ret_why = "it is a difference to another image";
        return -EINVAL;
    }
    bool known = !vmdk_descriptor_get(text, "createType", &v) || view_ieq(v, "monolithicSparse") ||
                 view_ieq(v, "streamOptimized");
    *ret_why = "its data is in other files";
    return known ? 0 : -EINVAL;
}
