/* foreign.c: one disk of another system's; see foreign.h. The operation's thread. */
#include "op/portable/foreign.h"

#include <stdio.h>
#include <string.h>

#include "codec/qcow2_head.h"
#include "codec/vhd.h"
#include "codec/vmdk.h"

#define SECTOR    512u
#define ROUNDING  (2u << 20) /* sizes of new disks are multiples of it */
#define BOOT_MARK 510u

struct mark {
    size_t at;
    const char *bytes;
    size_t size;
};
#define MARK(at, bytes)                                                                            \
    {                                                                                              \
        (at), (bytes), sizeof(bytes) - 1                                                           \
    }

static bool has_mark(const char *first, size_t size, const struct mark *m)
{
    return m->at + m->size <= size && memcmp(first + m->at, m->bytes, m->size) == 0;
}

static const struct {
    struct mark mark;
    enum foreign_disk kind;
} known[] = {
    {MARK(0, "conectix"), DISK_VHD},      {MARK(0, QCOW2_MAGIC), DISK_QCOW2},
    {MARK(0, VMDK_MAGIC), DISK_VMDK},     {MARK(BOOT_MARK, "\x55\xaa"), DISK_RAW},
    {MARK(SECTOR, "EFI PART"), DISK_RAW}, {MARK(SECTOR, "LABELONE"), DISK_RAW},
    {MARK(1080, "\x53\xef"), DISK_RAW},   {MARK(0, "XFSB"), DISK_RAW},
};

static const struct {
    struct mark mark;
    const char *what;
} refused[] = {
    {MARK(0, "vhdxfile"), "a VHDX"},
    {MARK(0, "COWD"), "a VMDK of ESX with its data in parts"},
    {MARK(0, "# Disk DescriptorFile"), "the descriptor of a VMDK, whose data is in other files"},
    {MARK(0x40, "\x7f\x10\xda\xbe"), "a disk of VirtualBox"},
    {MARK(0, "\xfd"
             "7zXZ"),
     "a file compressed by xz"},
    {MARK(0, "BZh"), "a file compressed by bzip2"},
    {MARK(0, "PK\x03\x04"), "a ZIP archive"},
    {MARK(0, "7z\xbc\xaf"), "a 7z archive"},
    {MARK(0, "QED"), "a QED"},
};

struct err *foreign_look(const char *first, size_t size, enum foreign_disk *ret)
{
    *ret = DISK_UNKNOWN;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (has_mark(first, size, &refused[i].mark))
            return import_error("this is %s, which is not read here; unpack it, or convert it with "
                                "'qemu-img convert'",
                                refused[i].what);
    for (size_t i = 0; i < ARRAY_LEN(known) && *ret == DISK_UNKNOWN; i++)
        if (has_mark(first, size, &known[i].mark))
            *ret = known[i].kind;
    return NULL;
}

/* ---- how large ---- */

static struct err *vhd_measure(const char *first, size_t size, uint64_t *ret)
{
    struct vhd_footer f;
    const char *why = "it is too short";
    if (size < VHD_FOOTER_SIZE || vhd_footer_parse(first, VHD_FOOTER_SIZE, &f, &why) < 0)
        return import_error("this is no VHD: %s", why);
    *ret = vhd_virtual_size(&f);
    return NULL;
}

/* A VHD of fixed size is its data and one sector more, which is no reason for a larger disk. */
static struct err *raw_measure(uint64_t length, uint64_t *ret)
{
    if (!length)
        return import_error("the length of the file has to be announced for a raw disk");
    *ret = length % ROUNDING == SECTOR && length > SECTOR ? length - SECTOR : length;
    return NULL;
}

struct err *foreign_measure(enum foreign_disk kind, const char *first, size_t size, uint64_t length,
                            uint64_t *ret)
{
    switch (kind) {
    case DISK_VHD:
        return vhd_measure(first, size, ret);
    case DISK_QCOW2:
        return qcow2_measure(first, size, ret);
    case DISK_VMDK:
        return vmdk_measure(first, size, ret);
    case DISK_RAW:
    case DISK_UNKNOWN:
        break;
    }
    return raw_measure(length, ret);
}

struct err *foreign_check_size(const struct disk_in *in, uint64_t size)
{
    char text[24];
    if (size <= in->size)
        return NULL;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
    return err_VDI_TOO_SMALL(in->vdi, text);
}

/* ---- raw ---- */

/* The footer of a VHD of fixed size is none of the disk's bytes. */
static bool is_fixed_footer(const char *last, uint64_t length)
{
    struct vhd_footer f;
    const char *why;
    return vhd_footer_parse(last, SECTOR, &f, &why) == 0 && f.type == VHD_FIXED &&
           vhd_virtual_size(&f) == length - SECTOR;
}

static struct err *take_last(struct disk_in *in, uint64_t length)
{
    char last[SECTOR];
    uint64_t at = in->src.at;
    size_t size = (size_t)(length - at);
    TRY(source_take(&in->src, last, size));
    if (size == SECTOR && is_fixed_footer(last, length))
        return NULL;
    if (length > in->size)
        return import_error("the file is one sector longer than a disk, and no VHD");
    return disk_put(in->disk, last, size, at);
}

static struct err *raw_whole(struct disk_in *in, uint64_t length)
{
    _cleanup_(freep) char *room = mem_zalloc(DISKIO_PIECE, 1);
    uint64_t end = length > SECTOR ? length - SECTOR : 0;
    while (in->src.at < end) {
        uint64_t at = in->src.at;
        size_t n = end - at < DISKIO_PIECE ? (size_t)(end - at) : DISKIO_PIECE;
        TRY(source_take(&in->src, room, n));
        TRY(disk_put(in->disk, room, n, at));
        op_progress(in->op, (double)in->src.at / (double)length);
    }
    return take_last(in, length);
}

struct err *foreign_receive(enum foreign_disk kind, struct disk_in *in, struct scratch *scratch)
{
    switch (kind) {
    case DISK_VHD:
        return vhd_receive(in);
    case DISK_QCOW2:
        return qcow2_receive(in, scratch);
    case DISK_VMDK:
        return vmdk_receive(in, scratch);
    case DISK_RAW:
    case DISK_UNKNOWN:
        break;
    }
    return raw_whole(in, scratch->size);
}
