/* Any text, as a field or a whole row of the store: what is taken comes out as it went in. */
#include <stdlib.h>
#include <string.h>

#include "gen/typed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void field(struct row *r, const char *name, struct view text)
{
    const struct field_desc *f = desc_field(r->cls, name);
    _cleanup_(buf_done) struct buf once;
    _cleanup_(buf_done) struct buf twice;
    buf_init(&once, 1 << 24);
    buf_init(&twice, 1 << 24);
    if (row_parse(r, f, text) < 0)
        return;
    row_text(r, f, &once);
    if (row_parse(r, f, (struct view){buf_str(&once), once.size}) < 0)
        abort();
    row_text(r, f, &twice);
    if (strcmp(buf_str(&once), buf_str(&twice)) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(row_unrefp) const struct row *row =
        row_new(desc_classes[CLASS_VM], rstr_new("OpaqueRef:1"));
    struct row *r = (struct row *)(uintptr_t)row;
    struct view text = {(const char *)data, size};
    unsigned skipped;
    if (size > 1 << 16)
        return 0;
    (void)!row_decode(r, text, &skipped);
    field(r, "other_config", text);
    field(r, "tags", text);
    field(r, "memory_target", text);
    field(r, "power_state", text);
    field(r, "blocked_operations", text);
    return 0;
}
