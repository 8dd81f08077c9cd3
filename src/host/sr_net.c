/* sr_net.c: see sr_net.h. Called by kinds of storage on operation threads. */
#include "host/sr_net.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include "codec/xml.h"

#define XML_MAX (4u << 20)

struct err *sr_address(const char *server, char ret[INET6_ADDRSTRLEN])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    unsigned char room[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, server, room) == 1 || inet_pton(AF_INET6, server, room) == 1) {
        snprintf(ret, INET6_ADDRSTRLEN, "%s", server);
        return NULL;
    }
    int r = getaddrinfo(server, NULL, &hints, &list);
    if (r == 0)
        r = getnameinfo(list->ai_addr, list->ai_addrlen, ret, INET6_ADDRSTRLEN, NULL, 0,
                        NI_NUMERICHOST);
    if (list)
        freeaddrinfo(list);
    return r == 0 ? NULL : sr_error(SR_DNS, "Incorrect DNS name, unable to resolve.", server);
}

static void indent(struct sr_xml *x)
{
    for (unsigned i = 0; i < x->depth; i++)
        buf_putc(&x->buf, '\t');
}

void sr_xml_begin(struct sr_xml *x, const char *root)
{
    *x = (struct sr_xml){.depth = 0};
    buf_init(&x->buf, XML_MAX);
    buf_puts(&x->buf, "<?xml version=\"1.0\" ?>\n");
    sr_xml_open(x, root);
}

void sr_xml_open(struct sr_xml *x, const char *name)
{
    indent(x);
    buf_printf(&x->buf, "<%s>\n", name);
    x->depth++;
}

void sr_xml_text(struct sr_xml *x, const char *name, const char *text)
{
    sr_xml_open(x, name);
    indent(x);
    xml_put_text(&x->buf, view_of(text));
    buf_putc(&x->buf, '\n');
    sr_xml_close(x, name);
}

void sr_xml_close(struct sr_xml *x, const char *name)
{
    x->depth--;
    indent(x);
    buf_printf(&x->buf, "</%s>\n", name);
}

char *sr_xml_end(struct sr_xml *x, const char *root)
{
    sr_xml_close(x, root);
    return buf_take(&x->buf);
}
