/*
 * vhd.h: the VHD format, as bytes.
 *
 * Footer, header, allocation table (BAT) and batmap of Microsoft's virtual hard disk with the
 * extensions of blktap (creator `tap`, the hidden flag, the batmap). Everything here is pure: from
 * bytes to structs and back, no I/O, no allocation, any thread.
 *
 *     0        footer copy (512)          dynamic images only
 *     512      header (1024)
 *     1536     BAT: u32 a block, the sector of the block's bitmap, VHD_UNALLOCATED if none
 *     then     batmap: header (512) and one bit a block: "all of its sectors are here"
 *     then     blocks: sector bitmap (512), data (2 MiB, aligned to 4 KiB)
 *     end-512  footer
 *
 * A fixed image is its data followed by the footer. Integers are big-endian; a sector is 512 bytes.
 * Functions that judge outside data return 0 or -EINVAL (-EACCES for an image disabled on purpose)
 * and name the reason in *ret_why, a static string.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VHD_SECTOR          512u
#define VHD_FOOTER_SIZE     512u
#define VHD_HEADER_SIZE     1024u
#define VHD_HEADER_AT       512u
#define VHD_TABLE_AT        1536u
#define VHD_UNALLOCATED     0xffffffffu
#define VHD_BLOCK_SIZE      (2u << 20)
#define VHD_BLOCK_SIZE_MIN  (512u << 10)
#define VHD_MAX_SIZE        (2040ull << 30)
#define VHD_CREATOR_VERSION 0x00010003u
#define VHD_UNIX_EPOCH      946684800 /* 2000-01-01T00:00:00Z */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

struct vhd_geometry {
    uint16_t cylinders;
    uint8_t heads;
    uint8_t sectors;
};

struct vhd_footer {
    uint64_t data_offset; /* of the header; all ones for a fixed image */
    uint32_t timestamp;   /* seconds since 2000 */
    char creator[4];
    uint32_t creator_version;
    uint32_t creator_os;
    uint64_t original_size;
    uint64_t current_size;
    struct vhd_geometry geometry;
    enum vhd_type type;
    uint8_t uuid[16];
    uint8_t saved;
    uint8_t hidden; /* blktap: not shown to users */
};

#define VHD_LOCATORS 8
#define VHD_MACX     0x4d414358u /* a file: URL, UTF-8 */
#define VHD_W2KU     0x57326b75u /* UTF-16 little end first, backslashes */
#define VHD_W2RU     0x57327275u /* the same, relative to the child's folder */
struct vhd_locator {
    uint32_t code;     /* one of the three; others are tolerated; 0: unused */
    uint32_t data_len; /* bytes in use */
    uint64_t data_offset;
    uint64_t space; /* bytes reserved: the field's two readings are resolved */
};

struct vhd_header {
    uint64_t table_offset;
    uint32_t max_bat_size; /* entries */
    uint32_t block_size;   /* bytes */
    uint8_t parent_uuid[16];
    uint32_t parent_timestamp;
    char parent_name[512 * 3 / 2 + 1]; /* UTF-8 */
    struct vhd_locator locators[VHD_LOCATORS];
};

struct vhd_batmap_header {
    uint64_t offset; /* of the map */
    uint32_t sectors;
    uint32_t version;
    uint32_t checksum;
    bool is_sum_signed; /* version 1.1 */
    bool encrypted;
};

/* Reads a footer of 512 or 511 bytes. */
int vhd_footer_parse(const void *p, size_t size, struct vhd_footer *ret, const char **ret_why);
void vhd_footer_put(const struct vhd_footer *f, uint8_t out[VHD_FOOTER_SIZE]);
int vhd_header_parse(const void *p, size_t size, struct vhd_header *ret, const char **ret_why);
/* Writes a header; a parent's name may have 255 UTF-16 units and is cut behind them. */
void vhd_header_put(const struct vhd_header *h, uint8_t out[VHD_HEADER_SIZE]);
/* Changes the header's bytes to another table; only the first sector of them changes. */
void vhd_header_move(uint8_t bytes[VHD_HEADER_SIZE], uint64_t table_offset, uint32_t max_bat_size);
/* The bytes of a locator of one of the three codes for a path with slashes, relative ones beginning
 * with "./" or "../"; returns how many, or -ENAMETOOLONG when they do not fit a sector. */
int vhd_locator_put(uint32_t code, const char *path, uint8_t out[VHD_SECTOR]);
/* The path in a locator's bytes, with slashes; -EINVAL when there is none that fits `max` bytes. */
int vhd_locator_parse(uint32_t code, const void *p, size_t size, char *ret, size_t max);
int vhd_batmap_parse(const void *p, size_t size, struct vhd_batmap_header *ret);
void vhd_batmap_put(const struct vhd_batmap_header *h, uint8_t out[VHD_SECTOR]);

/* NOT of the sum of the bytes, as unsigned. */
uint32_t vhd_checksum(const void *p, size_t size);
/* The same with the bytes taken as signed, as batmaps of version 1.1 have it. */
uint32_t vhd_checksum_signed(const void *p, size_t size);
/* The bytes of the batmap that its checksum covers, for a disk of `disk_size` bytes. */
uint64_t vhd_batmap_sum_size(uint64_t disk_size);

/* The specification's geometry for a size. */
struct vhd_geometry vhd_geometry_of(uint64_t size);
/* The size a guest sees, which depends on who made the image. */
uint64_t vhd_virtual_size(const struct vhd_footer *f);
/* Rounds a wanted size up to what an image can have; 0 when it is too large or nothing. */
uint64_t vhd_round_size(uint64_t size);

/* Does the image carry a batmap behind its BAT? */
bool vhd_has_batmap(const struct vhd_footer *f);
/* Bytes of a BAT of n entries, padded to sectors. */
uint64_t vhd_bat_size(uint32_t entries);
/* Sectors of the bitmap in front of a block's data. */
uint32_t vhd_bitmap_sectors(uint32_t block_size);
