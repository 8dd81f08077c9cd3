/*
 * vhost_mem.c: mapping and translating guest memory, marking pages. Called by vhost_blk.c and
 * vring.c on the loop's thread; owns the mappings.
 */
#include "disk/vhost_mem.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int map_region(struct vhost_region *r, int fd);
static void unmap(struct vhost_region *regions, unsigned n);

int vhost_mem_set(struct vhost_mem *m, const struct vhost_region *regions, unsigned n,
                  const int *fds)
{
    struct vhost_region fresh[VHOST_MAX_REGIONS];
    if (n > VHOST_MAX_REGIONS)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++) {
        fresh[i] = regions[i];
        int r = map_region(&fresh[i], fds[i]);
        if (r < 0) {
            unmap(fresh, i);
            return r;
        }
    }
    unmap(m->region, m->n);
    for (unsigned i = 0; i < n; i++)
        m->region[i] = fresh[i];
    m->n = n;
    return 0;
}

/* Maps `size` bytes at `offset`; the file must have them, or a look at them would be fatal. */
static int map_range(int fd, uint64_t offset, uint64_t size, void **ret, size_t *ret_size)
{
    uint64_t end;
    struct stat st;
    if (size == 0 || __builtin_add_overflow(offset, size, &end) || fstat(fd, &st) < 0)
        return -EINVAL;
    if (S_ISREG(st.st_mode) && end > (uint64_t)st.st_size)
        return -EINVAL;
    void *p = mmap(NULL, (size_t)end, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret = p;
    *ret_size = (size_t)end;
    return 0;
}

static int map_region(struct vhost_region *r, int fd)
{
    uint64_t end;
    if (__builtin_add_overflow(r->gpa, r->size, &end) ||
        __builtin_add_overflow(r->uva, r->size, &end))
        return -EINVAL;
    int e = map_range(fd, r->mmap_offset, r->size, &r->map, &r->map_size);
    if (e == 0)
        (void)madvise(r->map, r->map_size, MADV_DONTDUMP);
    return e;
}

int vhost_mem_set_log(struct vhost_mem *m, int fd, uint64_t size, uint64_t offset)
{
    void *p;
    size_t map_size;
    int r = map_range(fd, offset, size, &p, &map_size);
    if (r < 0)
        return r;
    if (m->log_map)
        (void)munmap(m->log_map, m->log_map_size);
    m->log_map = p;
    m->log_map_size = map_size;
    m->log = (uint8_t *)p + offset;
    m->log_size = (size_t)size;
    return 0;
}

void vhost_mem_done(struct vhost_mem *m)
{
    unmap(m->region, m->n);
    if (m->log_map)
        (void)munmap(m->log_map, m->log_map_size);
    *m = (struct vhost_mem){0};
}

static void unmap(struct vhost_region *regions, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)munmap(regions[i].map, regions[i].map_size);
}

static void *place(const struct vhost_region *r, uint64_t skip)
{
    return (uint8_t *)r->map + r->mmap_offset + skip;
}

void *vhost_mem_uva(const struct vhost_mem *m, uint64_t uva, uint64_t size)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct vhost_region *r = &m->region[i];
        if (uva >= r->uva && size <= r->size && uva - r->uva <= r->size - size)
            return place(r, uva - r->uva);
    }
    return NULL;
}

void *vhost_mem_gpa(const struct vhost_mem *m, uint64_t gpa, uint64_t size)
{
    struct iovec iov;
    return vhost_mem_iov(m, gpa, size, &iov, 1) == 1 ? iov.iov_base : NULL;
}

int vhost_mem_iov(const struct vhost_mem *m, uint64_t gpa, uint64_t size, struct iovec *iov,
                  unsigned max)
{
    unsigned n = 0;
    while (size) {
        const struct vhost_region *r = m->region;
        while (r < m->region + m->n && (gpa < r->gpa || gpa - r->gpa >= r->size))
            r++;
        if (r == m->region + m->n || n == max)
            return -EFAULT;
        uint64_t skip = gpa - r->gpa;
        uint64_t part = r->size - skip < size ? r->size - skip : size;
        iov[n++] = (struct iovec){place(r, skip), (size_t)part};
        gpa += part;
        size -= part;
    }
    return (int)n;
}

void vhost_mem_mark(struct vhost_mem *m, uint64_t gpa, uint64_t size)
{
    if (!m->is_logging || !m->log || size == 0)
        return;
    uint64_t last = (gpa + size - 1) / VHOST_PAGE;
    for (uint64_t page = gpa / VHOST_PAGE; page <= last && page / 8 < m->log_size; page++)
        __atomic_fetch_or(&m->log[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_RELEASE);
}
