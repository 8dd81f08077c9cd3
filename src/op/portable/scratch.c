/* scratch.c: see scratch.h. The operation's thread. */
#include "op/portable/scratch.h"

#include <string.h>

#include "op/vm_ops.h"

#define SECTOR 512u

void scratch_plan(struct op *op, const char *sr)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    op_put(op, "scratch.uuid", uuid);
    op_put(op, "scratch.sr", sr);
}

struct err *scratch_undo(struct op *op)
{
    const char *uuid = op_get(op, "scratch.uuid");
    return *uuid ? vdi_unmake(op, uuid, op_get(op, "scratch.sr")) : NULL;
}

/* ---- the volume ---- */

static struct err *make_volume(struct scratch *s)
{
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    struct vdi_make m = {.sr = op_get(s->op, "scratch.sr"),
                         .uuid = op_get(s->op, "scratch.uuid"),
                         .name = "Scratch of an import",
                         .description = "Goes when the import ends",
                         .type = VDI_TYPE_USER,
                         .size_bytes = s->size > SCRATCH_MEMORY ? s->size : SCRATCH_MEMORY};
    TRY(vdi_make(s->op, &m, &ref));
    TRY(portable_attach(s->op, ref, SCRATCH_DEVICE, false, &s->disk));
    s->disk_size = diskio_size(s->disk);
    return NULL;
}

static struct err *check_place(const struct scratch *s, size_t size, uint64_t at)
{
    if (at <= s->disk_size && size <= s->disk_size - at)
        return NULL;
    return import_error("the image is larger than was announced");
}

static struct err *put_on_disk(struct scratch *s, const char *p, size_t size, uint64_t at)
{
    if (!s->disk)
        TRY(make_volume(s));
    TRY(check_place(s, size, at));
    s->is_dirty = true;
    return disk_put(s->disk, p, size, at);
}

static struct err *get_from_disk(struct scratch *s, char *p, size_t size, uint64_t at)
{
    uint64_t start = at / SECTOR * SECTOR;
    if (!s->disk) {
        memset(p, 0, size);
        return NULL;
    }
    size_t whole = (size_t)((at + size + SECTOR - 1) / SECTOR * SECTOR - start);
    TRY(check_place(s, whole, start));
    _cleanup_(freep) char *room = mem_zalloc(whole, 1);
    if (s->is_dirty)
        TRY(diskio_flush(s->disk));
    s->is_dirty = false;
    for (size_t done = 0; done < whole;) {
        size_t n = whole - done < DISKIO_PIECE ? whole - done : DISKIO_PIECE;
        TRY(diskio_read(s->disk, room + done, n, start + done));
        done += n;
    }
    memcpy(p, room + (at - start), size);
    return NULL;
}

/* ---- the front in memory ---- */

/* How much of a range lies in it. */
static size_t in_front(size_t size, uint64_t at)
{
    if (at >= SCRATCH_MEMORY)
        return 0;
    return size < SCRATCH_MEMORY - at ? size : (size_t)(SCRATCH_MEMORY - at);
}

static void put_in_front(struct scratch *s, const char *p, size_t size, size_t at)
{
    if (!size)
        return;
    if (at + size > s->front_size) {
        size_t wanted = (at + size + 65535) / 65536 * 65536;
        s->front = mem_realloc(s->front, wanted, 1);
        memset(s->front + s->front_size, 0, wanted - s->front_size);
        s->front_size = wanted;
    }
    memcpy(s->front + at, p, size);
}

static void get_from_front(const struct scratch *s, char *p, size_t size, size_t at)
{
    memset(p, 0, size);
    if (at < s->front_size)
        memcpy(p, s->front + at, size < s->front_size - at ? size : s->front_size - at);
}

struct err *scratch_put(struct scratch *s, const void *bytes, size_t size, uint64_t at)
{
    const char *p = bytes;
    size_t n = in_front(size, at);
    if (n)
        put_in_front(s, p, n, (size_t)at);
    return size > n ? put_on_disk(s, p + n, size - n, at + n) : NULL;
}

struct err *scratch_get(struct scratch *s, void *bytes, size_t size, uint64_t at)
{
    char *p = bytes;
    size_t n = in_front(size, at);
    if (n)
        get_from_front(s, p, n, (size_t)at);
    return size > n ? get_from_disk(s, p + n, size - n, at + n) : NULL;
}

void scratch_drop(struct scratch *s)
{
    diskio_freep(&s->disk);
    freep(&s->front);
    s->front_size = 0;
    s->disk_size = 0;
}

struct err *scratch_end(struct scratch *s)
{
    bool had_volume = s->disk != NULL;
    scratch_drop(s);
    if (!had_volume)
        return NULL;
    TRY(portable_detach(s->op));
    return scratch_undo(s->op);
}
