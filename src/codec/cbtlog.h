/*
 * cbtlog.h: the log of changed blocks beside a disk, in XenServer's format.
 *
 *     0   16  uuid of the disk whose log comes before, zeroes: none
 *     16  16  uuid of the disk whose log comes after, zeroes: none
 *     32   4  1: whole; 0: open, or left open by a crash
 *     36   4  padding; here, while it is open, a number of this boot of the machine
 *     40   8  size of the disk in bytes
 *     48   …  one bit for each 64 KiB of it, the lowest bit of the first byte first
 *
 * Numbers are little-endian. A bit says that something was written there since the disk before.
 * Pure: bytes in, facts out; any thread. Nothing is read that the caller did not say is there.
 *
 *     struct cbtlog_header h;
 *     if (cbtlog_parse(bytes, size_of_file, &h) < 0) …          // it is no log, or cut off
 *     cbtlog_mark(bytes + CBTLOG_HEADER, h.disk_size, offset, size);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBTLOG_HEADER   48u
#define CBTLOG_BLOCK    (64u << 10)   /* bytes of the disk for a bit */
#define CBTLOG_DISK_MAX (64ull << 40) /* bytes; logs of larger ones are refused */
#define CBTLOG_MAX      (CBTLOG_HEADER + (CBTLOG_DISK_MAX / CBTLOG_BLOCK + 7) / 8)

struct cbtlog_header {
    uint8_t parent[16], child[16];
    bool is_whole;
    uint32_t boot;      /* of one that is not whole; 0: not known */
    uint64_t disk_size; /* bytes */
};

/* Bytes of the bitmap for a disk. */
uint64_t cbtlog_bitmap_size(uint64_t disk_size);
/* From the first CBTLOG_HEADER bytes of a file of so many; -EINVAL when it is no log, or not all of
 * its bitmap is there. */
int cbtlog_parse(const uint8_t *p, uint64_t file_size, struct cbtlog_header *ret);
void cbtlog_format(const struct cbtlog_header *h, uint8_t out[CBTLOG_HEADER]);

/* The number of a boot of the machine, from the text of the kernel's boot_id; 0: that is none. */
uint32_t cbtlog_boot(const char *boot_id);
#define CBTLOG_BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Marks what a write of `size` bytes at `offset` touches; false when that is not all on the disk
 * (what is on it has been marked). */
bool cbtlog_mark(uint8_t *bitmap, uint64_t disk_size, uint64_t offset, uint64_t size);
bool cbtlog_is_marked(const uint8_t *bitmap, uint64_t block);
/* What is marked in either, for as many bytes. */
void cbtlog_merge(uint8_t *into, const uint8_t *from, size_t size);
/* The highest bit of each byte first, as clients are given it; and the other way. */
void cbtlog_turn(uint8_t *bitmap, size_t size);

/* "6ba7b810-9dad-11d1-80b4-00c04fd430c8"; -EINVAL. Zeroes are "". */
int cbtlog_uuid_parse(const char *text, uint8_t ret[16]);
void cbtlog_uuid_text(const uint8_t uuid[16], char out[37]);
