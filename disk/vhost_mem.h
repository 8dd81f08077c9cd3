/*
 * vhost_mem.h: a guest's memory as the other end of a vhost-user socket shares it, and the dirty
 * log over it.
 *
 * Memory comes as up to eight regions, each a descriptor to map. Addresses are the guest's physical
 * ones (gpa: descriptors in rings) or the other end's virtual ones (uva: rings themselves); both
 * are translated here, and only here, and only whole ranges inside what is shared.
 *
 * The log is one bit a 4 KiB page of guest memory, in memory shared with the other end, which
 * clears what it has sent: so bits are set atomically and after the page was written. Loop's
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VHOST_MAX_REGIONS 8u
#define VHOST_PAGE        4096u

struct vhost_region {
    uint64_t gpa, size, uva, mmap_offset; /* as told */
    void *map;
    size_t map_size;
};

struct vhost_mem {
    struct vhost_region region[VHOST_MAX_REGIONS];
    unsigned n;
    uint8_t *log; /* first bit is page 0; or NULL */
    size_t log_size;
    void *log_map;
    size_t log_map_size;
    bool is_logging;
};

/* Maps `n` regions; the descriptors stay the caller's. On failure nothing is mapped. */
int vhost_mem_set(struct vhost_mem *m, const struct vhost_region *regions, unsigned n,
                  const int *fds);
/* Maps the log, `size` bytes at `offset` of the descriptor. */
int vhost_mem_set_log(struct vhost_mem *m, int fd, uint64_t size, uint64_t offset);
/* Unmaps the regions and the log. */
void vhost_mem_done(struct vhost_mem *m);

/* The place of a whole range, or NULL. */
void *vhost_mem_uva(const struct vhost_mem *m, uint64_t uva, uint64_t size);
void *vhost_mem_gpa(const struct vhost_mem *m, uint64_t gpa, uint64_t size);
/* The range as pieces, for it may lie over neighbouring regions; their number, or -EFAULT. */
int vhost_mem_iov(const struct vhost_mem *m, uint64_t gpa, uint64_t size, struct iovec *iov,
                  unsigned max);

/* Marks the pages of the range as written, if the log is on. */
void vhost_mem_mark(struct vhost_mem *m, uint64_t gpa, uint64_t size);
