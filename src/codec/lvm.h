/*
 * lvm.h: what LVM2 keeps on a physical volume, read (format "LVM2 001", text metadata).
 *
 *     0 … 2 KiB    in one of four sectors: the label "LABELONE", the PV's header, its areas
 *     mda          header (512): where in the area's ring the volume group's text is, its sum
 *     data         extents, pe_start from the beginning
 *
 * Reading a volume group is three steps with I/O of the caller's between them:
 *
 *     lvm_label_parse(first LVM_LABEL_BYTES of the device, &label, &why)
 *     lvm_mda_parse(LVM_MDA_BYTES from label.mda.at, &label.mda, &place, &why)
 *     lvm_vg_parse(text of place, …)       place.size bytes from place.at, and when that runs over
 *                                          the area's end on from place.wraps_to
 *
 * Writing is lvm2's own tools' work. Sources: the layout as lvm2 2.03's tools leave it on a device,
 * lvm.conf(5)'s grammar. Sizes and places are bytes, extents are counted. Pure, any thread.
 * Functions return 0 or -EINVAL and name the reason in *ret_why, a static string.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"

#define LVM_LABEL_BYTES 2048u
#define LVM_MDA_BYTES   512u
#define LVM_ID_SIZE     39u         /* 6-4-4-4-4-4-6 and a NUL */
#define LVM_TEXT_MAX    (16u << 20) /* of metadata */

struct lvm_area {
    uint64_t at, size;
};

struct lvm_label {
    char id[LVM_ID_SIZE]; /* the PV's */
    uint64_t device_size;
    struct lvm_area data, mda; /* the first of each; size 0 of data: to the end. No mda: size 0 */
};
int lvm_label_parse(const void *p, struct lvm_label *ret, const char **ret_why);

struct lvm_place {
    uint64_t at, size;
    uint64_t end, wraps_to; /* of the ring that it lies in */
    uint32_t sum;
};
/* size 0 of *ret: there is no volume group. */
int lvm_mda_parse(const void *p, const struct lvm_area *mda, struct lvm_place *ret,
                  const char **ret_why);

struct lvm_pv {
    char *name; /* within the text: "pv0" */
    char *id, *device;
    uint64_t start, extents; /* place of the first extent */
};

struct lvm_stripe {
    size_t pv; /* index */
    uint64_t extent;
};

struct lvm_segment {
    uint64_t first, extents; /* of the volume */
    uint64_t stripe_size;    /* 0 with one stripe */
    VEC(struct lvm_stripe) stripes;
};

struct lvm_lv {
    char *name, *id;
    uint64_t extents;
    bool is_writable, is_visible;
    bool is_plain; /* all segments linear or striped: otherwise `segments` is empty */
    VEC(char *) tags;
    VEC(struct lvm_segment) segments; /* without gaps, from 0 */
};

struct lvm_vg {
    char *name, *id;
    uint64_t seqno, extent_size;
    VEC(char *) tags;
    VEC(struct lvm_pv) pvs;
    VEC(struct lvm_lv) lvs;
};

/* LVM2's sum over bytes. */
uint32_t lvm_sum(const void *p, size_t size);

/* `text` must have the sum of its place. Extents lie on their PVs, and no two segments of plain
 * volumes share any. *ret is the caller's: lvm_vg_done(), also after a failure. */
int lvm_vg_parse(struct view text, uint32_t sum, struct lvm_vg *ret, const char **ret_why);
void lvm_vg_done(struct lvm_vg *vg);
const struct lvm_lv *lvm_vg_find(const struct lvm_vg *vg, const char *lv); /* NULL */
/* Extents that no volume has, of all PVs. */
uint64_t lvm_vg_free(const struct lvm_vg *vg);
