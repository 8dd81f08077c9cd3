/* Any text, as a query on virtual machines: it is refused, or it can be matched. */
#include <stdlib.h>

#include "gen/typed.h"
#include "state/filter.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct row *row;
    if (!row)
        row = row_new(desc_classes[CLASS_VM], rstr_new("OpaqueRef:1"));
    _cleanup_(freep) char *text = mem_strndup((const char *)data, size);
    _cleanup_(filter_freep) struct filter *f = NULL;
    _cleanup_(err_freep) struct err *e = filter_parse(row->cls, text, &f);
    if (!e == !f)
        abort();
    if (f)
        (void)filter_match(f, row);
    return 0;
}
