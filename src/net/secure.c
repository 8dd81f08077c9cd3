/*
 * secure.c: plain HTTP where HTTPS is to be had.
 *
 * A browser that comes from outside by plain HTTP is sent to the same page by HTTPS. Where only
 * HTTPS is wanted (net_set_https_only) that goes for all plain TCP, and what is no page is refused.
 * The local socket is never plain. Net threads.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "net/net_impl.h"

#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

bool net_set_https_only(struct net *n, bool on)
{
    if (on && !n->tls_port)
        return false;
    n->https_only = on;
    return true;
}

static bool is_loopback(const char *address)
{
    return str_starts(address, "127.") || str_eq(address, "::1");
}

static bool is_page(const struct net *n, const struct net_reply *r)
{
    return r->route == &n->files && !net_wants_websocket(&r->req);
}

/* "name", "name:port", "[address]:port": what stands before the port; NULL if it is none of them.
 */
static char *host_name(struct view host)
{
    _cleanup_(freep) char *text = view_dup(host);
    size_t size =
        *text == '[' ? strspn(text + 1, "0123456789abcdefABCDEF:.") + 2 : strspn(text, HOST_CHARS);
    bool whole = size && size <= strlen(text) && (*text != '[' || text[size - 1] == ']') &&
                 (!text[size] || text[size] == ':');
    return whole ? mem_strndup(text, size) : NULL;
}

/* Its third line is the location: there are clients that look for it there. */
static void put_redirect(const struct net *n, struct net_reply *r, const char *host)
{
    _cleanup_(freep) char *target = view_dup(r->head.target);
    unsigned port = n->tls_port;
    char colon[16] = "";
    if (port != 443)
        snprintf(colon, sizeof(colon), ":%u", port);
    buf_printf(&r->answer_head,
               "HTTP/1.1 301 Moved Permanently\r\ncontent-length: 0\r\n"
               "location: https://%s%s%s\r\nconnection: close\r\n"
               "cache-control: no-cache, no-store\r\n\r\n",
               host, colon, *target == '/' ? target : "/");
    r->status = 301;
}

bool secure_turn_away(struct net *n, struct net_reply *r)
{
    bool only = n->https_only;
    if (r->req.peer.kind != NET_TCP || !n->tls_port ||
        (!only && (!is_page(n, r) || is_loopback(r->req.peer.address))))
        return false;
    _cleanup_(freep) char *host = host_name(http_find(&r->head, "host"));
    if (is_page(n, r) && host)
        put_redirect(n, r, host);
    else if (only)
        reply_set_error(r, 403, "This host speaks HTTPS only");
    else
        return false;
    return true;
}
