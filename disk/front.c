/*
 * front.c: the kinds of front ends by name, and their sockets. Called by disk.c, loop's thread.
 */
#include "disk/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

static const struct front_ops *const kinds[] = {&nbd_front_ops, &vhost_front_ops};

int front_open(const char *type, struct disk *disk, struct ring *ring, const char *path,
               const struct front_options *options, struct front **ret)
{
    const struct front_ops *ops = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i]->type, type) == 0)
            ops = kinds[i];
    if (!ops)
        return -EINVAL;
    int fd = fd_listen_unix(path, 0660);
    if (fd < 0)
        return fd;
    (void)fd_set_nonblocking(fd);
    struct front *f = ops->open(disk, ring, fd, options);
    f->ops = ops;
    f->disk = disk;
    f->ring = ring;
    f->path = mem_strdup(path);
    *ret = f;
    return 0;
}

void front_close(struct front *f)
{
    if (!f)
        return;
    (void)unlink(f->path);
    free(f->path);
    f->path = NULL;
    f->disk = NULL;
    f->ops->close(f);
}
