/*
 * vm_twin.h: a VM's records made like those of another; private to src/op.
 *
 * Clones, copies, snapshots and reverts differ in the disks they give the new VM and in a few
 * fields; what is alike is here. All on core, inside the transaction that commits.
 */
#pragma once

#include "op/world.h"

struct twin {
    const char *from, *to; /* refs */
    /* The VDI that the twin has for what is in that VBD: a ref; NULL: it shares the same; "": the
     * twin does not get that device. */
    const char *(*disk)(void *arg, const struct rec_VBD *vbd);
    void *arg;
    bool keep_macs;
    struct val
        *ids; /* out: uuids of devices -> those of the twin's; the caller's, NULL: unwanted */
};

/* Every stored field but those named and those that a VM does not take over from another. */
void twin_fields(struct rec_VM *to, const struct rec_VM *from);
void twin_devices(struct txn *t, const struct twin *w);
/* Takes a VM's devices away; disks stay. */
void twin_drop_devices(struct txn *t, const char *vm);
/* Gives a suspended twin a boot record like that of `from`, with its own devices. */
void twin_boot(struct txn *t, const struct twin *w);
/* Is it a disk of the VM's own, which it writes to? */
bool twin_is_own_disk(const struct snap *s, const struct rec_VBD *vbd);
