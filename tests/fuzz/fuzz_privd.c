/* Any bytes as a request to cairn-privd; what is accepted has all its members, of their kinds. */
#include <stdlib.h>

#include "privd/verbs.h"
#include "tests/fuzz/fuzz.h"

static void use(const struct request *r)
{
    for (unsigned i = 0; i < REQUEST_MEMBERS && r->verb->members[i].name; i++) {
        const struct member *m = &r->verb->members[i];
        if (!request_has(r, m->name) && !m->optional)
            abort();
        if (m->kind == VAL_STRING && m->rule(request_str(r, m->name)) && request_has(r, m->name))
            abort();
        if (m->kind == VAL_INT &&
            (request_int(r, m->name) < m->min || request_int(r, m->name) > m->max))
            abort();
        if (m->kind == VAL_BOOL)
            (void)request_bool(r, m->name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(request_done) struct request r = {0};
    struct err *e = request_parse(verbs, (struct view){(const char *)data, size}, &r);
    if (!e)
        use(&r);
    err_free(e);
    return 0;
}
