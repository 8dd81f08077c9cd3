/* ahead.c: see ahead.h. The operation's thread. */
#include "op/portable/ahead.h"

#include <string.h>

static struct err *begin(void *arg)
{
    struct ahead *a = arg;
    if (a->begun)
        return NULL;
    a->begun = true;
    return a->under->begin(a->under->arg);
}

static struct err *read_some(void *arg, void *p, size_t size, size_t *ret_size)
{
    struct ahead *a = arg;
    size_t left = a->have - a->at;
    if (!left)
        return a->under->read(a->under->arg, p, size, ret_size);
    *ret_size = size < left ? size : left;
    memcpy(p, a->room + a->at, *ret_size);
    a->at += *ret_size;
    return NULL;
}

void ahead_init(struct ahead *a, const struct portable_io *under)
{
    *a = (struct ahead){.io = {.arg = a, .begin = begin, .read = read_some}, .under = under};
}

void ahead_done(struct ahead *a)
{
    free(a->room);
    *a = (struct ahead){0};
}

struct err *ahead_look(struct ahead *a, const char **ret, size_t *ret_size)
{
    if (!a->room) {
        struct source src = {.io = a->under};
        a->room = mem_zalloc(AHEAD_SIZE, 1);
        TRY(begin(a));
        TRY(source_fill(&src, a->room, AHEAD_SIZE, &a->have));
    }
    *ret = a->room + a->at;
    *ret_size = a->have - a->at;
    return NULL;
}
