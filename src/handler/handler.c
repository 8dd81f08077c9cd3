/* handler.c: the model's handlers as routes. Longest prefix wins; see handler.h. */
#include "handler/handler.h"

#include "base/mem.h"
#include "base/str.h"
#include "gen/http.h"
#include "handler/http.h"

static void refuse_unimplemented(void *arg, const struct net_request *req, struct net_stream *s)
{
    (void)net_stream_error(s, 501, "this path is known, but nothing serves it yet");
    net_stream_close(s);
}

static struct net_route route_of(const struct http_desc *d)
{
    static const enum net_kind kinds[] = {[HTTP_RPC] = NET_RPC,
                                          [HTTP_SIMPLE] = NET_SIMPLE,
                                          [HTTP_STREAM] = NET_TAKEOVER,
                                          [HTTP_FILES] = NET_FILES};
    bool refused = d->flags & HTTP_UNIMPLEMENTED, is_command = d->takeover == http_post_cli;
    return (struct net_route){.method = str_eq(d->method, "ANY") ? "*" : d->method,
                              .path_prefix = d->path,
                              .name = d->name,
                              .kind = kinds[d->form],
                              .gather = is_command ? HANDLER_CLI_MAX : 0,
                              .call = d->call,
                              .takeover = refused ? refuse_unimplemented : d->takeover};
}

const struct net_route *handler_routes(unsigned *ret_n)
{
    static struct net_route routes[HTTP_N];
    unsigned n = 0;
    for (unsigned i = 0; i < HTTP_N; i++)
        if (!str_eq(http_descs[i].path, "/") || http_descs[i].form != HTTP_FILES)
            routes[n++] = route_of(&http_descs[i]);
    *ret_n = n;
    return routes;
}
