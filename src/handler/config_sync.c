/*
 * config_sync.c: GET of what members of a pool keep alike beside the database: the accounts of a
 * development run. An installed host's accounts are the machine's, and nobody is told of them.
 * Stream threads.
 */
#include <errno.h>

#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"
#include "gen/http.h"
#include "handler/handler.h"
#include "handler/transfer.h"

#define FILE_MAX (1u << 20)

/* The hash in the line `root:HASH` or `root:HASH:ROLE`; NULL if there is none. The caller's. */
static char *hash_of_root(const char *path)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, FILE_MAX);
    if (fd_read_file(path, FILE_MAX, &text) < 0)
        return NULL;
    struct view rest = {buf_str(&text), text.size}, line, name, hash;
    for (bool more = true; more;) {
        more = view_split(&rest, '\n', &line);
        if (view_split(&line, ':', &name) && view_eq(name, "root")) {
            view_split(&line, ':', &hash);
            return view_dup(view_trim(hash));
        }
    }
    return NULL;
}

struct err *http_get_config_sync(struct transfer *x, struct val **ret)
{
    (void)ret;
    _cleanup_(buf_done) struct buf body;
    _cleanup_(val_unrefp) struct val *v = val_map();
    _cleanup_(freep) char *hash = x->h->users_file ? hash_of_root(x->h->users_file) : NULL;
    if (hash)
        val_put_str(v, "password", hash);
    buf_init(&body, FILE_MAX);
    json_put_val(&body, v);
    return transfer_send(x, "application/json", &body);
}
