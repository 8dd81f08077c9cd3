/* vm_fetch.c: VM.import, which takes an archive from where a URL says. Operation threads. */
#include "gen/msg.h"
#include "host/fetch.h"
#include "op/portable/portable_impl.h"

static struct err *begin(void *arg)
{
    return NULL;
}

static struct err *read_some(void *arg, void *p, size_t size, size_t *ret_size)
{
    return fetch_read(arg, p, size, ret_size);
}

static bool is_cancelled(void *arg)
{
    return op_is_cancelled(arg);
}

struct err *msg_VM_import(struct op *op, const struct args_VM_import *a, struct val **ret)
{
    _cleanup_(fetch_freep) struct fetch *f = NULL;
    if (!str_starts(a->url, "http://") && !str_starts(a->url, "https://"))
        return err_VALUE_NOT_SUPPORTED("url", a->url, "an archive is fetched by http or https");
    TRY(fetch_open(a->url, is_cancelled, op, &f));
    struct portable_io io = {.arg = f, .begin = begin, .read = read_some};
    struct vm_in in = {.restore = a->full_restore,
                       .force = a->force,
                       .sr = ref_is_null(a->sr) ? NULL : a->sr,
                       .io = &io};
    return portable_error(op, vm_import(op, &in, ret), "");
}
