/*
 * present.h: which pieces of a disk an image of it has, known before its first byte is sent.
 * Private to src/op.
 *
 * A bit a piece: 32 MiB for the largest disk in pieces of 64 KiB, 128 KiB for the largest VHD.
 */
#pragma once

#include "op/portable/portable_impl.h"

struct present {
    uint64_t n;    /* pieces; the last may be shorter */
    uint32_t unit; /* bytes of a piece: a divisor of 2 MiB */
    uint8_t *bits;
};
/* The storage is asked for its holes; with out->base the two are read and compared. */
struct err *present_look(const struct disk_out *out, uint32_t unit, struct present *ret) _must_use_;
void present_done(struct present *p); /* a zeroed one is fine */
bool present_has(const struct present *p, uint64_t i);
/* How many there are among [from, to), both multiples of 8. */
uint64_t present_count(const struct present *p, uint64_t from, uint64_t to);
