/* resident.c: see resident.h. The size comes from proc(5)'s statm, in pages. */
#include "base/resident.h"

#include <malloc.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define STATM_MAX 4096

uint64_t resident_bytes(void)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, STATM_MAX);
    uint64_t pages = 0;
    if (fd_read_file("/proc/self/statm", STATM_MAX, &text) < 0)
        return 0;
    struct view rest = view_of(buf_str(&text)), word;
    view_split(&rest, ' ', &word);
    view_split(&rest, ' ', &word);
    if (str_u64(word, 0, UINT64_MAX >> 20, &pages) < 0)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool resident_trim(struct resident *r, uint64_t growth)
{
    uint64_t now = resident_bytes();
    if (now < r->least)
        r->least = now;
    if (now <= r->least + growth)
        return false;
    (void)malloc_trim(0);
    r->least = resident_bytes();
    return true;
}
