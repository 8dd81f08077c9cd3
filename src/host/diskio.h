/*
 * diskio.h: the bytes of a disk, for transfers.
 *
 * An operation attaches the image under its own id (host_disk_attach, as a disk on the emulated
 * bus) and opens it here. The bytes go through the data path of the host: cairn-diskd's NBD, or the
 * file of a simulated disk.
 *
 *     _cleanup_(diskio_freep) struct diskio *d = NULL;
 *     TRY(diskio_open(host, op_id(op), 0, &d));
 *     for (uint64_t at = 0; at < diskio_size(d); at += n) {
 *         diskio_expect(d, at + n, n);                    // what is read next comes meanwhile
 *         TRY(diskio_read(d, room, n, at));
 *     }
 *
 * Up to eight pieces of at most DISKIO_PIECE bytes are under way at a time. Writes return when
 * their bytes are copied; what became of them is told by a later call, at the latest by
 * diskio_flush(). Offsets and sizes are multiples of 512. Functions block; `stop` is asked while
 * they wait. One thread at a time. Errors carry the errno, ENOSPC when the storage is full.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DISKIO_PIECE (1u << 20)

struct diskio;
struct host;

struct err *diskio_open(struct host *h, const char *owner, unsigned device, struct diskio **ret)
    _must_use_;
void diskio_free(struct diskio *d); /* NULL is fine; drops what was not flushed */
static inline void diskio_freep(struct diskio **d)
{
    diskio_free(*d);
    *d = NULL;
}
/* Once it says yes, what waits fails with ECANCELED. */
void diskio_watch(struct diskio *d, bool (*stop)(void *arg), void *arg);

uint64_t diskio_size(const struct diskio *d);
struct err *diskio_read(struct diskio *d, void *p, size_t size, uint64_t at) _must_use_;
/* That range will be read next, with these bounds. */
void diskio_expect(struct diskio *d, size_t size, uint64_t at);
struct err *diskio_write(struct diskio *d, const void *p, size_t size, uint64_t at) _must_use_;
/* Reads as zeroes from now on, and takes no room if the image can help it. */
struct err *diskio_zero(struct diskio *d, uint64_t size, uint64_t at) _must_use_;
struct err *diskio_flush(struct diskio *d) _must_use_;

/* The disk holds a saved guest (host_vm_save): from now on it is that VM's. What is none is left as
 * it is. */
struct err *diskio_readdress(struct diskio *d, const char *vm_uuid) _must_use_;

/* How far, from `at` on, the disk is all data or (*ret_zero) known to be all zeroes: at least one
 * sector, at most to the end. Inside a hole nothing has to be read. */
struct err *diskio_extent(struct diskio *d, uint64_t at, uint64_t *ret_size, bool *ret_zero)
    _must_use_;
