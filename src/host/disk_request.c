/*
 * disk_request.c: what is said to a cairn-diskd about a disk (docs/diskd.md). Called by diskctl.c
 * and disk_*.c, some of it under dc->lock.
 */
#include <stdio.h>

#include "base/str.h"
#include "host/disk_copy.h"
#include "host/diskctl.h"
#include "host/sr_cbt.h"
#include "host/sr_thin.h"
#include "host/sr_tune.h"

struct val *disk_attach_request(const struct diskctl *dc, const char *owner,
                                const struct boot_disk *d)
{
    struct val *v = val_map(), *fronts = val_set(), *front = val_map();
    char id[12], serial[21];
    snprintf(id, sizeof(id), "%u", d->device);
    snprintf(serial, sizeof(serial), "%s", image_serial(&d->image));
    bool vu = disk_is_vhost(d);
    _cleanup_(freep) char *path = host_disk_path(dc->host, owner, d->device, vu ? "vu" : "nbd");
    val_put_str(front, "type", vu ? "vhost-user-blk" : "nbd");
    val_put_str(front, "path", path);
    if (!vu)
        val_put_str(front, "export", "");
    _cleanup_(freep) char *log =
        !vu && d->image.readonly && !d->cd ? sr_cbt_beside(d->image.path) : NULL;
    if (log) { /* what has changed since the snapshot before */
        struct val *bitmap = val_map();
        val_put_str(bitmap, "name", "cbt");
        val_put_str(bitmap, "path", log);
        val_put(front, "bitmap", bitmap);
    }
    val_add(fronts, front);
    val_put_str(v, "op", "attach");
    val_put_str(v, "id", id);
    val_put_str(v, "vdi", image_serial(&d->image));
    val_put_int(v, "size", (int64_t)d->image.size_bytes);
    val_put_str(v, "serial", serial);
    val_put_bool(v, "readonly", d->image.readonly || d->cd);
    val_put(v, "fronts", fronts);
    /* A transfer wants to hear of a full repository, but waits for its volume to grow. */
    val_put_bool(v, "parks", vu || (d->image.quantum && !d->image.readonly && !d->cd));
    /* An emulated disk's driver has not the patience for an answer that does not come: its guest
     * stops instead. */
    val_put_bool(v, "halts", d->bus == BOOT_EMULATED && !d->cd);
    if (d->limit_bytes || d->limit_ops) {
        struct val *limit = val_map();
        val_put_int(limit, "bytes", (int64_t)d->limit_bytes);
        val_put_int(limit, "ops", (int64_t)d->limit_ops);
        val_put(v, "limit", limit);
    }
    return v;
}

/* "<format> <path>" lines -> [{format, path}, …] */
static struct val *parents_of(const struct image *image)
{
    struct val *list = val_set();
    struct view rest = view_of(image->parents), line;
    for (bool more = rest.size > 0; more;) {
        more = view_split(&rest, '\n', &line);
        struct view path = line, format;
        if (!view_split(&path, ' ', &format))
            continue;
        _cleanup_(freep) char *format_text = view_dup(format);
        _cleanup_(freep) char *path_text = view_dup(path);
        struct val *parent = val_map();
        val_put_str(parent, "path", path_text);
        val_put_str(parent, "format", format_text);
        val_add(list, parent);
    }
    return list;
}

struct val *disk_activate_request(const struct boot_disk *d)
{
    struct val *v = diskctl_request("activate", d->device);
    val_put_str(v, "path", d->image.path);
    val_put_str(v, "format", d->image.format);
    struct val *parents = parents_of(&d->image);
    if (val_count(parents))
        val_put(v, "parents", parents);
    else
        val_unref(parents);
    sr_tune_request(&d->image, v);
    disk_copy_request(&d->image, v);
    sr_thin_request(&d->image, v);
    _cleanup_(freep) char *log = d->image.readonly || d->cd ? NULL : sr_cbt_beside(d->image.path);
    if (log)
        val_put_str(v, "cbt", log);
    return v;
}

struct val *diskctl_request(const char *op, unsigned device)
{
    struct val *v = val_map();
    char id[12];
    snprintf(id, sizeof(id), "%u", device);
    val_put_str(v, "op", op);
    val_put_str(v, "id", id);
    return v;
}
