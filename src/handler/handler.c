/* handler.c: the table of routes. Longest prefix wins; see handler.h. */
#include "handler/handler.h"

#include "base/mem.h"

static const struct net_route routes[] = {
    {.method = "POST",
     .path_prefix = "/",
     .name = "post_root",
     .kind = NET_RPC,
     .call = handler_rpc_xml},
    {.method = "POST",
     .path_prefix = "/jsonrpc",
     .name = "post_jsonrpc",
     .kind = NET_RPC,
     .call = handler_rpc_json},
    {.method = "OPTIONS",
     .path_prefix = "/",
     .name = "options",
     .kind = NET_SIMPLE,
     .call = handler_options},
    {.method = "POST",
     .path_prefix = "/cli",
     .name = "post_cli",
     .kind = NET_TAKEOVER,
     .takeover = handler_cli},
    {.method = "CONNECT",
     .path_prefix = "/console",
     .name = "connect_console",
     .kind = NET_TAKEOVER,
     .takeover = handler_console},
    {.method = "GET",
     .path_prefix = "/console",
     .name = "connect_console_ws",
     .kind = NET_TAKEOVER,
     .takeover = handler_console},
};

const struct net_route *handler_routes(unsigned *ret_n)
{
    *ret_n = ARRAY_LEN(routes);
    return routes;
}
