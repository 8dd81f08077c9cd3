/*
 * ovf.h: the description of a machine in an OVF envelope (DMTF DSP0243), versions 1 and 2.
 *
 *     struct ovf o;
 *     if (ovf_parse(text, &o, &why) < 0) …
 *     …
 *     ovf_done(&o);
 *
 * Read by expat, document types refused; names of elements and attributes are taken without their
 * namespaces. Of a collection the only machine counts. Pure, any thread. Returns 0 or -EINVAL and
 * names the reason in *ret_why, a static string; *ret can then be dropped, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"

#define OVF_MAX   (4u << 20) /* bytes of a description */
#define OVF_PARTS 64u        /* disks, and cards */

struct ovf_disk {
    char *href; /* the file, "" for an empty disk */
    uint64_t size;
    bool is_packed; /* the file is compressed, or in pieces */
};

struct ovf_nic {
    char *network;
    char *mac; /* "" if it has none of its own */
};

struct ovf {
    char *name, *description;
    uint64_t memory; /* bytes, 0 if it is not said */
    unsigned cpus;   /* 0 if it is not said */
    bool is_uefi;
    VEC(struct ovf_disk) disks; /* of the machine, in the order in which it names them */
    VEC(struct ovf_nic) nics;
};
int ovf_parse(struct view text, struct ovf *ret, const char **ret_why);
void ovf_done(struct ovf *o);

/* Bytes in "byte * 2^30", "GigaBytes", "MB" and their like; 0 if the unit is not known. */
uint64_t ovf_unit(const char *text);
