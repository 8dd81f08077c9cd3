/*
 * pool.c: buffers by power of two. Called by the NBD front end on the loop's thread; owns the free
 * buffers.
 */
#include "disk/pool.h"

#include <stdlib.h>

#include "base/mem.h"

#define MIN_SHIFT 12u
#define CLASSES   14u
#define KEEP_MAX  (64u << 20)

/* Lies in the free buffer itself. */
struct spare {
    struct spare *next;
};

struct pool {
    struct spare *free[CLASSES];
    size_t kept; /* bytes in free buffers */
};

static unsigned class_of(size_t size)
{
    unsigned c = 0;
    while (((size_t)1 << (MIN_SHIFT + c)) < size)
        c++;
    return c;
}

struct pool *pool_new(void)
{
    return mem_new(struct pool);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    for (unsigned c = 0; c < CLASSES; c++)
        while (p->free[c]) {
            struct spare *s = p->free[c];
            p->free[c] = s->next;
            free(s);
        }
    free(p);
}

void *pool_get(struct pool *p, size_t size)
{
    if (size > POOL_MAX_BUFFER)
        return NULL;
    unsigned c = class_of(size);
    struct spare *s = p->free[c];
    if (s) {
        p->free[c] = s->next;
        p->kept -= (size_t)1 << (MIN_SHIFT + c);
        return s;
    }
    void *buffer;
    if (posix_memalign(&buffer, 4096, (size_t)1 << (MIN_SHIFT + c)))
        return NULL;
    return buffer;
}

void pool_put(struct pool *p, void *buffer, size_t size)
{
    if (!buffer)
        return;
    unsigned c = class_of(size);
    size_t whole = (size_t)1 << (MIN_SHIFT + c);
    if (p->kept + whole > KEEP_MAX) {
        free(buffer);
        return;
    }
    struct spare *s = buffer;
    s->next = p->free[c];
    p->free[c] = s;
    p->kept += whole;
}
