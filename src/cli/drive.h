/* drive.h: what the commands about disks and about CDs share. For src/cli; stream thread. */
#pragma once

#include "cli/column.h"

/* A drive to be made. Strings are borrowed. */
struct drive {
    const char *vm, *vdi;    /* references; vdi NULL: empty */
    const char *device;      /* "0" or "xvda" */
    const char *mode, *type; /* as the API spells them */
    bool bootable, unpluggable;
    bool owner; /* the disk was made for this VM and goes with it */
};

/* VBD.create; the reference is the caller's (free). */
struct err *drive_create(struct cmd *c, const struct drive *d, char **ret) _must_use_;
/* The same, plugged if the VM runs; that it cannot be plugged is only said. */
struct err *drive_create_plugged(struct cmd *c, const struct drive *d) _must_use_;

struct drive_kind {
    const char *type, *title;
    const char *vbd_params; /* columns listed by default */
};
/* For select_each(): lists the VM's drives of a kind (const struct drive_kind *). */
struct err *drives_list(struct cmd *c, const struct object *vm, void *kind) _must_use_;
