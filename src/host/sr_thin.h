/*
 * sr_thin.h: thin provisioning on block repositories: what was asked for, and what follows.
 *
 * A repository whose sm_config says `allocation=xlvhd` (`dynamic` is its old name) makes volumes
 * that begin small and grow, while they are used, by a quantum whenever room gets short
 * (disk_room.c). Pure; any thread; sizes are bytes.
 *
 *     struct sr_thin t;
 *     sr_thin_of(sr->sm_config, vdi->sm_config, sr_bytes, &t);
 *     if (t.on)
 *         first = sr_thin_first(&t, size, full);
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "host/boot.h"

#define SR_THIN_EXTENT (UINT64_C(4) << 20)

struct sr_thin {
    bool on;
    uint64_t initial; /* of a new volume */
    uint64_t quantum; /* by which one grows */
};

/* A VDI's config (NULL: none) goes before the repository's, except for whether it is on. The
 * quantum is brought between 1/50000 and 1/4000 of the repository, and 16 MiB to 1 GiB. */
void sr_thin_of(const struct val *sr_config, const struct val *vdi_config, uint64_t sr_bytes,
                struct sr_thin *ret);
/* INVALID_VALUE: an allocation or a number that is none; the repository's type, NULL: of a VDI. */
struct err *sr_thin_check(const char *type, const struct val *config) _must_use_;
/* The config with the values that are in force: the caller's. */
struct val *sr_thin_note(const struct val *config, const struct sr_thin *t);

/* How large a new volume is, of a disk of that size whose volume may become `full`. */
uint64_t sr_thin_first(const struct sr_thin *t, uint64_t size, uint64_t full);
/* How large one of `has` becomes, when the group has `free` left; `has`: there is nothing. */
uint64_t sr_thin_next(uint64_t quantum, uint64_t has, uint64_t full, uint64_t free);
/* Below so many bytes left a disk wants room. */
uint64_t sr_thin_low(uint64_t quantum);

/* Notes it in an image that is going to be used, and adds it to an `activate`. */
void sr_thin_image(const struct val *sr_config, const struct val *vdi_config, uint64_t sr_bytes,
                   struct image *image);
void sr_thin_request(const struct image *image, struct val *activate);
