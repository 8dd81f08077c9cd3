/*
 * fuzz_cbtlog.c: logs of changed blocks that somebody put into a repository: what is taken for one
 * has all the bits it says it has, and no mark falls outside.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/cbtlog.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cbtlog_header h, again;
    uint8_t head[CBTLOG_HEADER], id[16];
    char text[37];
    if (size < 16 + CBTLOG_HEADER || cbtlog_parse(data + 16, size - 16, &h) < 0)
        return 0;
    size_t bits = (size_t)cbtlog_bitmap_size(h.disk_size);
    uint8_t *map = malloc(bits + !bits);
    memcpy(map, data + 16 + CBTLOG_HEADER, bits);
    uint64_t at = get_le64(data), n = get_le64(data + 8);
    bool fits = cbtlog_mark(map, h.disk_size, at, n);
    if (fits && n && !cbtlog_is_marked(map, at / CBTLOG_BLOCK))
        abort();
    cbtlog_turn(map, bits);
    cbtlog_merge(map, data + 16 + CBTLOG_HEADER, bits);
    cbtlog_format(&h, head);
    if (cbtlog_parse(head, CBTLOG_HEADER + bits, &again) < 0 || again.disk_size != h.disk_size)
        abort();
    cbtlog_uuid_text(h.parent, text);
    if (cbtlog_uuid_parse(text, id) < 0 || memcmp(id, h.parent, 16) != 0)
        abort();
    free(map);
    return 0;
}
