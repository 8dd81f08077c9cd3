/* lvm_new.c: see lvm_edit.h. The layout is that of pvcreate and vgcreate with the arguments that
 * XenServer gives them: room for 10 MiB of metadata, extents of 4 MiB. */
#include <errno.h>
#include <stdlib.h>

#include "codec/bytes.h"
#include "codec/lvm_edit.h"

#define SECTOR   512u
#define MIB      (UINT64_C(1) << 20)
#define DATA_AT  (11 * MIB)
#define EXTENT   (4 * MIB)
#define ID_CHARS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define PV_USED  1u /* of the header's extension */

void lvm_new_id(char ret[LVM_ID_SIZE])
{
    uint8_t bytes[LVM_ID_SIZE];
    str_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < LVM_ID_SIZE - 1; i++) {
        bool is_dash = i >= 6 && (i - 6) % 5 == 0 && i <= 31;
        ret[i] = is_dash ? '-' : ID_CHARS[bytes[i] % (sizeof(ID_CHARS) - 1)];
    }
    ret[LVM_ID_SIZE - 1] = '\0';
}

static void put_label(const struct lvm_new_vg *n, const struct lvm_area *mda, uint8_t *p)
{
    uint8_t *at = p + 32;
    memset(p, 0, SECTOR);
    memcpy(p, "LABELONE", 8);
    put_le64(p + 8, 1); /* the sector that it stands in */
    put_le32(p + 20, 32);
    memcpy(p + 24, "LVM2 001", 8);
    for (const char *c = n->pv_id; *c; c++)
        if (*c != '-' && at < p + 64)
            *at++ = (uint8_t)*c;
    put_le64(p + 64, n->device_size);
    put_le64(p + 72, DATA_AT);
    put_le64(p + 104, mda->at);
    put_le64(p + 112, mda->size);
    put_le32(p + 136, 2); /* version of the extension */
    put_le32(p + 140, PV_USED);
    put_le32(p + 16, lvm_sum(p + 20, SECTOR - 20));
}

int lvm_new_group(const struct lvm_new_vg *n, uint8_t label[LVM_LABEL_BYTES], struct lvm_area *mda,
                  struct buf *text)
{
    uint64_t extents = n->device_size > DATA_AT ? (n->device_size - DATA_AT) / EXTENT : 0;
    if (!extents || extents > UINT32_MAX)
        return extents ? -EFBIG : -ENOSPC;
    *mda = (struct lvm_area){LVM_NEW_MDA_AT, DATA_AT - LVM_NEW_MDA_AT};
    memset(label, 0, LVM_LABEL_BYTES);
    put_label(n, mda, label + SECTOR);
    buf_printf(text,
               "%s {\nid = \"%s\"\nseqno = 1\nformat = \"lvm2\"\n"
               "status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\nextent_size = %llu\n"
               "max_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\n",
               n->name, n->id, (unsigned long long)(EXTENT / SECTOR));
    buf_printf(text,
               "physical_volumes {\n\npv0 {\nid = \"%s\"\ndevice = \"/dev/iscsi\"\n\n"
               "status = [\"ALLOCATABLE\"]\nflags = []\ndev_size = %llu\npe_start = %llu\n"
               "pe_count = %llu\n}\n}\n\n}\n",
               n->pv_id, (unsigned long long)(n->device_size / SECTOR),
               (unsigned long long)(DATA_AT / SECTOR), (unsigned long long)extents);
    buf_printf(text,
               "contents = \"Text Format Volume Group\"\nversion = 1\n\ndescription = \"\"\n\n"
               "creation_host = \"%s\"\ncreation_time = %lld\n\n",
               n->host, (long long)n->now);
    buf_putc(text, '\0');
    return buf_ok(text) ? 0 : -EFBIG;
}

static uint64_t whole_sectors(uint64_t bytes)
{
    return (bytes + SECTOR - 1) / SECTOR * SECTOR;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

int lvm_mda_next(const struct lvm_area *mda, const struct lvm_place *old, size_t size,
                 struct lvm_place *ret)
{
    uint64_t from = old->size ? old->at - mda->at : SECTOR, room = mda->size - from;
    uint64_t first = old->size < room ? old->size : room, rest = old->size - first;
    uint64_t behind = whole_sectors(rest ? SECTOR + rest : from + first);
    uint64_t at = behind < mda->size && size <= mda->size - behind ? behind : SECTOR;
    if (size > mda->size - SECTOR || size > LVM_TEXT_MAX || overlaps(at, size, from, first) ||
        (rest && overlaps(at, size, SECTOR, rest)))
        return -ENOSPC;
    *ret = (struct lvm_place){
        .at = mda->at + at, .size = size, .end = mda->at + mda->size, .wraps_to = mda->at + SECTOR};
    return 0;
}

void lvm_mda_put(const struct lvm_area *mda, const struct lvm_place *text,
                 uint8_t out[LVM_MDA_BYTES])
{
    memset(out, 0, LVM_MDA_BYTES);
    memcpy(out + 4, " LVM2 x[5A%r0N*>", 16);
    put_le32(out + 20, 1);
    put_le64(out + 24, mda->at);
    put_le64(out + 32, mda->size);
    if (text->size) {
        put_le64(out + 40, text->at - mda->at);
        put_le64(out + 48, text->size);
        put_le32(out + 56, text->sum);
    }
    put_le32(out, lvm_sum(out + 4, LVM_MDA_BYTES - 4));
}
