/*
 * sim_move.c: moving a disk that is in use, in the simulator: its guests write nothing by
 * themselves, so the copy is made at the end. Called through host.c on operation threads.
 */
#include "base/str.h"
#include "host/sim_world.h"

struct err *sim_mirror(void *disks, const struct verb *v, const char *from, const struct image *to)
{
    TRY(sim_fault(disks, "mirror"));
    return verb_check(v, "copying a disk");
}

struct err *sim_mirror_finish(void *disks, const struct verb *v, const char *from, const char *to)
{
    TRY(sim_fault(disks, "mirror_finish"));
    TRY(sim_disk_pause(disks, v, from));
    return sim_copy(from, to);
}

struct err *sim_mirror_drop(void *disks, const struct verb *v, const char *from, const char *to)
{
    return sim_fault(disks, "mirror_drop");
}

/* True when one of the disks was the image. */
static bool replace(struct val *disks, const char *from, const char *to)
{
    for (size_t i = 0; i < val_count(disks); i++) {
        if (!str_eq(val_str_at(disks, i), from))
            continue;
        val_put_str(disks, val_key_at(disks, i), to);
        return true;
    }
    return false;
}

struct err *sim_switch(void *data, const struct verb *v, const char *from, const struct image *to,
                       bool held)
{
    struct sim *s = data;
    char **owners = NULL;
    size_t n = 0;
    TRY(sim_fault(s, "switch"));
    _cleanup_(world_closep) int lock = -1;
    TRY(world_open(s, &lock));
    struct err *e = world_names(s->dir, ".disks", &owners, &n);
    for (size_t i = 0; i < n; i++) {
        _cleanup_(val_unrefp) struct val *disks = NULL;
        if (!e)
            e = world_disks(s, owners[i], &disks);
        if (!e && replace(disks, from, to->path))
            e = world_put_disks(s, owners[i], disks);
        free(owners[i]);
    }
    free(owners);
    return e;
}

struct err *sim_go_on(void *disks, const struct verb *v, const char *path)
{
    return sim_fault(disks, "go_on");
}
