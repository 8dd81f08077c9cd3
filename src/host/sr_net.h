/*
 * sr_net.h: what kinds of storage on servers share: names to addresses, answers in XML. Private to
 * sr*.c.
 */
#pragma once

#include <netinet/in.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/sr_impl.h"

/* Why not another one, and what to do. */
#define SR_NFS_VERSIONS                                                                            \
    "cairn-diskd speaks version 3 to NFS servers, no other: leave nfsversion out, or say 3, and "  \
    "have the server offer it"

/* The address of a server in digits; SR_BACKEND_FAILURE_140 if its name is not known. */
struct err *sr_address(const char *server, char ret[INET6_ADDRSTRLEN]) _must_use_;

/* Probe's XML as XenServer's drivers lay it out: each element and each text on a line of its own.
 *
 *     struct sr_xml x;
 *     sr_xml_begin(&x, "SRlist");
 *     sr_xml_open(&x, "SR");
 *     sr_xml_text(&x, "UUID", uuid);
 *     sr_xml_close(&x, "SR");
 *     char *text = sr_xml_end(&x, "SRlist");
 */
struct sr_xml {
    struct buf buf;
    unsigned depth;
};
void sr_xml_begin(struct sr_xml *x, const char *root);
void sr_xml_open(struct sr_xml *x, const char *name);
void sr_xml_text(struct sr_xml *x, const char *name, const char *text);
void sr_xml_close(struct sr_xml *x, const char *name);
char *sr_xml_end(struct sr_xml *x, const char *root); /* the caller's; the buffer is gone */
