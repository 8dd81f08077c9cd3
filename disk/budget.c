/*
 * budget.c: the page of a repository's budget. Called by backend/pace.c on the loop's thread; owns
 * one slot, held by a lock on its bytes that ends with the descriptor.
 */
#include "disk/budget.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

struct page {
    uint64_t high; /* slots that were ever taken; they are taken from the first on */
    uint64_t busy_until[BUDGET_USERS];
};
#define LOOK_US 5000u /* others are counted, and our word renewed, this often */

struct budget {
    int fd;
    struct page *page; /* shared */
    unsigned slot;
    uint64_t bytes;
    uint64_t looked_us, share;
};

static uint64_t get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void put(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static void raise_to(uint64_t *p, uint64_t least)
{
    uint64_t old = get(p);
    while (old < least &&
           !__atomic_compare_exchange_n(p, &old, least, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
}

/* Whatever another process wrote there. */
static unsigned high_of(const struct budget *b)
{
    uint64_t high = get(&b->page->high);
    return high < BUDGET_USERS ? (unsigned)high : BUDGET_USERS;
}

static int take_slot(struct budget *b)
{
    for (unsigned i = 0; i < BUDGET_USERS; i++) {
        struct flock l = {.l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start =
                              (off_t)(offsetof(struct page, busy_until) + i * sizeof(uint64_t)),
                          .l_len = sizeof(uint64_t)};
        if (fcntl(b->fd, F_OFD_SETLK, &l) == 0) {
            b->slot = i;
            raise_to(&b->page->high, i + 1);
            return 0;
        }
        if (errno != EAGAIN && errno != EACCES)
            return -errno;
    }
    return -EUSERS;
}

static int map(struct budget *b)
{
    struct stat st;
    if (fstat(b->fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size < (off_t)sizeof(struct page) && ftruncate(b->fd, sizeof(struct page)) < 0)
        return -errno;
    void *p = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    b->page = p;
    return 0;
}

int budget_open(const char *path, uint64_t bytes, struct budget **ret)
{
    struct budget *b = mem_new(struct budget);
    b->bytes = bytes ? bytes : 1;
    b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = b->fd < 0 ? -errno : map(b);
    if (r == 0)
        r = take_slot(b);
    if (r < 0) {
        b->slot = BUDGET_USERS;
        budget_close(b);
        return r;
    }
    *ret = b;
    return 0;
}

void budget_close(struct budget *b)
{
    if (!b)
        return;
    if (b->page && b->slot < BUDGET_USERS)
        put(&b->page->busy_until[b->slot], 0);
    if (b->page)
        (void)munmap(b->page, sizeof(struct page));
    fd_close(b->fd);
    free(b);
}

unsigned budget_users(const struct budget *b, uint64_t now_us)
{
    unsigned n = 0;
    for (unsigned i = 0, high = high_of(b); i < high; i++)
        n += get(&b->page->busy_until[i]) > now_us;
    return n;
}

uint64_t budget_share(struct budget *b, uint64_t now_us, uint64_t for_us)
{
    if (b->share && now_us - b->looked_us < LOOK_US)
        return b->share;
    b->looked_us = now_us;
    put(&b->page->busy_until[b->slot],
        now_us + (for_us > BUDGET_BUSY_US ? for_us : BUDGET_BUSY_US));
    unsigned n = budget_users(b, now_us);
    b->share = b->bytes / (n ? n : 1);
    if (b->share == 0)
        b->share = 1;
    return b->share;
}

uint64_t budget_bytes(const struct budget *b)
{
    return b->bytes;
}
