/* Any text as a dump of the database: it is refused, or its rows can be kept and read again. */
#include <stdlib.h>

#include "gen/rec.h"
#include "state/dump.h"
#include "tests/fuzz/fuzz.h"

static struct err *keep(void *arg, struct row *r)
{
    _cleanup_(buf_done) struct buf data;
    unsigned skipped = 0;
    (void)arg;
    buf_init(&data, 64 << 20);
    row_encode(r, &data);
    struct row *again = row_new(r->cls, rstr_new(r->ref));
    if (row_decode(again, (struct view){buf_str(&data), data.size}, &skipped) < 0 || skipped)
        abort();
    row_unref(again);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(dump_reader_freep) struct dump_reader *r =
        dump_reader_new(&(struct dump_reader_config){.row = keep});
    struct dump_counts counts = {0};
    struct err *e = NULL;
    for (size_t i = 0; i < size && !e; i += 64) /* pieces end anywhere */
        e = dump_feed(r, data + i, size - i < 64 ? size - i : 64);
    if (!e)
        e = dump_finish(r, &counts);
    if (!e && counts.manifest.schema_major != DUMP_SCHEMA_MAJOR)
        abort();
    err_free(e);
    return 0;
}
