/*
 * vmdk.h: VMware's sparse disks in one file ("monolithicSparse" and "streamOptimized"), as bytes.
 *
 *     0           header (512)
 *     then        descriptor, a text of lines KEY=VALUE
 *     then        directory: u32 a table, its sector; tables: u32 a grain, its sector; 0: absent,
 *                 1: zeroes where the header says so
 *     data_at     grains; of a stream: each behind { u64 sector, u32 size }, deflated, from there
 *                 on in sectors, with markers { u64 sectors, u32 0, u32 type } between them
 *
 * Integers are little-endian; a sector is 512 bytes; places and sizes here are in bytes.
 * Pure, any thread. Functions that judge outside data return 0 or -EINVAL and name the reason in
 * *ret_why, a static string.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define VMDK_SECTOR      512u
#define VMDK_MAGIC       "KDMV"
#define VMDK_HEADER_SIZE 512u
#define VMDK_MARKER_SIZE 16u
#define VMDK_GRAIN_MAX   (1u << 20)
#define VMDK_SIZE_MAX    (64ull << 40)

struct vmdk_header {
    uint64_t size;  /* of the disk */
    uint32_t grain; /* a power of two */
    uint32_t table; /* grains in a table */
    uint64_t descriptor_at;
    uint32_t descriptor_size;
    uint64_t directory_at;
    uint64_t data_at;
    bool is_stream;     /* grains with markers, deflated */
    bool has_zero_mark; /* the entry 1 stands for zeroes */
};
/* `p` has VMDK_HEADER_SIZE bytes. */
int vmdk_header_parse(const void *p, struct vmdk_header *ret, const char **ret_why);

/* Entries of the directory. */
uint32_t vmdk_tables(const struct vmdk_header *h);

enum vmdk_marker_kind { VMDK_GRAIN, VMDK_SKIP, VMDK_END };
struct vmdk_marker {
    enum vmdk_marker_kind kind;
    uint64_t at;   /* grain: its place on the disk */
    uint64_t size; /* grain: deflated bytes behind the first 12; else bytes behind the sector */
};
/* `p` has VMDK_MARKER_SIZE bytes. */
int vmdk_marker_parse(const void *p, struct vmdk_marker *ret);

/* The value of a key of the descriptor, without its quotes; false if it is not there. */
bool vmdk_descriptor_get(struct view text, const char *key, struct view *ret);
/* Whether the descriptor tells of a disk that is whole in this file. */
int vmdk_descriptor_check(struct view text, const char **ret_why);
