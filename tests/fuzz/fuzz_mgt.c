/* fuzz_mgt.c: lists of disks that somebody left on a volume. */
#include <string.h>

#include "codec/mgt.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[MGT_SECTOR] = {0};
    uint64_t used;
    struct mgt m;
    memcpy(head, data, size < sizeof(head) ? size : sizeof(head));
    if (mgt_parse_size(head, &used) == 0 && (used > MGT_MAX || used % MGT_SECTOR))
        __builtin_trap();
    mgt_parse((struct view){(const char *)data, size}, &m);
    vec_each (v, &m.vdis)
        if (!str_is_uuid(v->uuid) || (*v->snapshot_of && !str_is_uuid(v->snapshot_of)) ||
            !v->name || !v->description || strlen(v->name) > 2 * (size_t)MGT_SECTOR)
            __builtin_trap();
    mgt_done(&m);
    return 0;
}
