/*
 * root_hint.h: a guest from Xen that looks for its root file system on /dev/xvda.
 *
 * Linux says on the serial line what it was started with. Disks have other names here, so a guest
 * with root=/dev/xvda1 finds none and waits for ever; whoever sees that line can tell what helps.
 *
 *     struct root_hint h = {0};
 *     if (root_hint_feed(&h, bytes, size)) … h.device is "/dev/xvda1"
 *
 * Pure; any thread. Bytes may come in any pieces.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define ROOT_HINT_MAX 24 /* of the name; longer ones are cut */

struct root_hint {
    char device[ROOT_HINT_MAX];
    unsigned matched; /* of what is looked for */
    unsigned n;       /* bytes of the name so far */
    bool is_told;
};
/* True once in the life of a hint: the name is whole. */
bool root_hint_feed(struct root_hint *h, const char *p, size_t size);
