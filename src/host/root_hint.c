/* root_hint.c: see root_hint.h. */
#include "host/root_hint.h"

#include <ctype.h>
#include <string.h>

static const char mark[] = "root=/dev/xvd";
#define MARK_SIZE (sizeof(mark) - 1)
#define NAME_AT   5 /* "/dev/xvd" in it */

/* The name's letters and digits behind the mark; true when it ends. */
static bool take_name(struct root_hint *h, char c)
{
    if (isalnum((unsigned char)c)) {
        if (h->n + 1 < ROOT_HINT_MAX)
            h->device[h->n++] = c;
        return false;
    }
    h->matched = 0;
    return true;
}

static void look_for_mark(struct root_hint *h, char c)
{
    if (c != mark[h->matched])
        h->matched = 0; /* only its first letter can begin it anew */
    if (c == mark[h->matched])
        h->matched++;
    if (h->matched < MARK_SIZE)
        return;
    h->n = MARK_SIZE - NAME_AT;
    memcpy(h->device, mark + NAME_AT, h->n + 1);
}

bool root_hint_feed(struct root_hint *h, const char *p, size_t size)
{
    for (size_t i = 0; i < size && !h->is_told; i++) {
        if (h->matched < MARK_SIZE)
            look_for_mark(h, p[i]);
        else if (take_name(h, p[i])) {
            h->device[h->n] = '\0';
            h->is_told = true;
            return true;
        }
    }
    return false;
}
