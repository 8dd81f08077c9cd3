/*
 * fuzz_lvm.c: metadata of LVM2. Input: 2048 bytes of a label, 512 of the metadata's header, a text;
 * sums are made right, so that what stands behind them is read.
 */
#include <string.h>

#include "codec/bytes.h"
#include "codec/lvm.h"
#include "tests/fuzz/fuzz.h"

static void check(struct lvm_vg *vg)
{
    uint64_t all = 0;
    vec_each (pv, &vg->pvs)
        all += pv->extents;
    if (lvm_vg_free(vg) > all)
        __builtin_trap();
    vec_each (lv, &vg->lvs)
        vec_each (seg, &lv->segments)
            vec_each (stripe, &seg->stripes)
                if (stripe->extent + seg->extents / seg->stripes.n > vg->pvs.v[stripe->pv].extents)
                    __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[LVM_LABEL_BYTES + LVM_MDA_BYTES] = {0};
    uint8_t *mda_head = head + LVM_LABEL_BYTES;
    struct lvm_label label = {0};
    struct lvm_place place;
    struct lvm_vg vg;
    const char *why;
    size_t n = size < sizeof(head) ? size : sizeof(head);
    memcpy(head, data, n);
    put_le32(head + 512 + 16, lvm_sum(head + 512 + 20, 512 - 20));
    put_le32(mda_head, lvm_sum(mda_head + 4, LVM_MDA_BYTES - 4));
    if (lvm_label_parse(head, &label, &why) == 0 && label.mda.size &&
        lvm_mda_parse(mda_head, &label.mda, &place, &why) == 0 && place.size &&
        (place.at < label.mda.at || place.at >= place.end))
        __builtin_trap();
    struct view text = {(const char *)data + n, size - n};
    if (lvm_vg_parse(text, lvm_sum(text.p, text.size), &vg, &why) == 0)
        check(&vg);
    lvm_vg_done(&vg);
    return 0;
}
