/*
 * format.c: examine and mkfs: what a device carries, and an ext4 file system on one that is free.
 *
 * Called in a worker. What the device carries is examined here, whatever the caller found; `force`
 * allows signatures to be lost, never a device that is mounted or in use. The root folder of the
 * file system belongs to the caller.
 */
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "privd/device.h"
#include "privd/run.h"
#include "privd/verbs.h"

#define MKFS    "/usr/sbin/mkfs.ext4"
#define SECONDS 50

static struct err *format(const struct device *d, const char *label, const struct ucred *owner)
{
    _cleanup_(freep) char *extended = mem_printf("root_owner=%u:%u", owner->uid, owner->gid);
    const char *argv[] = {MKFS, "-q", "-F", "-L", label, "-E", extended, d->path, NULL};
    struct run_spec spec = {.argv = argv, .seconds = SECONDS};
    return run_tool(&spec, MKFS);
}

static struct err *check_blank(const struct device *d)
{
    _cleanup_(freep) char *content = NULL;
    TRY(device_content(d, &content, NULL));
    return content[0] ? err_internal("'%s' %s", d->path, content) : NULL;
}

struct err *verb_examine(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd)
{
    (void)p, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(freep) char *found = NULL;
    TRY(device_find(request_str(r, "device"), &d));
    TRY(device_user(&d, &found));
    if (!found[0]) {
        freep(&found);
        TRY(device_content(&d, &found, NULL));
    }
    val_put_str(answer, "found", str_is_utf8(view_of(found)) ? found : "carries an odd label");
    return NULL;
}

struct err *verb_mkfs(const struct place *p, const struct request *r, struct val *answer,
                      int *ret_fd)
{
    (void)answer, (void)ret_fd;
    _cleanup_(device_done) struct device d = {0};
    TRY(device_find(request_str(r, "device"), &d));
    TRY(device_check_free(&d));
    TRY(request_bool(r, "force") ? device_wipe(&d) : check_blank(&d));
    return format(&d, request_str(r, "label"), &p->caller);
}
