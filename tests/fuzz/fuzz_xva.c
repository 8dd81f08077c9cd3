/*
 * fuzz_xva.c: archives of VMs: tar in any compression, the description in it, and each of its
 * objects brought into the types of the model. Input: an archive, or a bare description behind '<'.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "gen/rec.h"
#include "op/portable/ova.h"
#include "op/portable/tar.h"

#define DESCRIPTION_MAX (1u << 20)

struct input {
    const uint8_t *p;
    size_t size;
};

static struct err *read_input(void *arg, void *p, size_t size, size_t *ret)
{
    struct input *in = arg;
    *ret = size < in->size ? size : in->size;
    memcpy(p, in->p, *ret);
    in->p += *ret;
    in->size -= *ret;
    return NULL;
}

static void take_all(const struct ova_object *obj, const struct val *refs)
{
    const struct class_desc *c = desc_class_by_name(obj->cls);
    if (!c)
        return;
    struct row *row = row_new(c, ref_new());
    desc_each_field (f, c)
        err_free(ova_take(row, f, obj->rec, refs));
    row_unref(row);
}

static void read_description(struct view text)
{
    struct ova_in o = {0};
    _cleanup_(val_unrefp) struct val *refs = val_map();
    struct err *e = ova_parse(text, &o);
    for (size_t i = 0; !e && i < ova_count(&o); i++) {
        struct ova_object obj = ova_at(&o, i);
        const struct class_desc *c = desc_class_by_name(obj.cls);
        _cleanup_(freep) char *key = ova_key(c ? c->num : -1, obj.id);
        val_put_str(refs, key, "OpaqueRef:found");
        take_all(&obj, refs);
    }
    err_free(e);
    ova_in_done(&o);
}

static struct err *read_member(struct tar_in *t, bool first, bool *ret_more)
{
    const char *name;
    uint64_t size;
    TRY(tar_in_peek(t, &name, &size));
    *ret_more = name && size <= DESCRIPTION_MAX;
    if (!*ret_more)
        return NULL;
    _cleanup_(freep) char *text = mem_zalloc((size_t)size + 1, 1);
    TRY(tar_in_take(t, text, (size_t)size));
    if (first)
        read_description((struct view){text, (size_t)size});
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == '<') {
        read_description((struct view){(const char *)data, size});
        return 0;
    }
    struct input in = {data, size};
    struct portable_io io = {.arg = &in, .read = read_input};
    struct tar_in *t = tar_in_new(&io);
    struct err *e = NULL;
    bool more = true;
    for (unsigned n = 0; !e && more && n < 1000; n++)
        e = read_member(t, n == 0, &more);
    err_free(e);
    tar_in_free(t);
    return 0;
}
