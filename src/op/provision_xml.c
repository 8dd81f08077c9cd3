/* provision_xml.c: reads the list with expat; document types are refused, so nothing expands. */
#include "op/provision_xml.h"

#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "op/world.h"

struct reader {
    struct provision *out;
    XML_Parser parser;
    int error;
};

static const char *attribute(const char **atts, const char *name)
{
    for (; *atts; atts += 2) {
        if (strcmp(atts[0], name) == 0)
            return atts[1];
    }
    return "";
}

static bool copy(char *out, size_t size, const char *text)
{
    return (size_t)snprintf(out, size, "%s", text) < size;
}

static void on_disk(struct reader *r, const char **atts)
{
    struct provision *p = r->out;
    if (p->n == PROVISION_DISKS_MAX) {
        r->error = -E2BIG;
        return;
    }
    struct provision_disk *d = &p->disks[p->n];
    unsigned number;
    bool ok = device_number(attribute(atts, "device"), &number) &&
              copy(d->device, sizeof(d->device), attribute(atts, "device")) &&
              copy(d->sr, sizeof(d->sr), attribute(atts, "sr")) &&
              str_u64(view_of(attribute(atts, "size")), 1, INT64_MAX, &d->size_bytes) == 0;
    d->bootable = str_eq(attribute(atts, "bootable"), "true");
    d->system = str_eq(attribute(atts, "type"), "system");
    if (ok)
        p->n++;
    else
        r->error = -EINVAL;
}

static void on_start(void *arg, const char *name, const char **atts)
{
    struct reader *r = arg;
    if (!r->error && strcmp(name, "disk") == 0)
        on_disk(r, atts);
}

static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid,
                       int internal)
{
    struct reader *r = arg;
    r->error = -EINVAL;
    XML_StopParser(r->parser, XML_FALSE);
}

int provision_parse(const char *xml, struct provision *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (!*xml)
        return 0;
    struct reader r = {.out = ret, .parser = XML_ParserCreate("UTF-8")};
    if (!r.parser)
        return -ENOMEM;
    XML_SetUserData(r.parser, &r);
    XML_SetStartElementHandler(r.parser, on_start);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    size_t size = strlen(xml);
    bool ok = size < (1 << 20) && XML_Parse(r.parser, xml, (int)size, 1) == XML_STATUS_OK;
    XML_ParserFree(r.parser);
    if (r.error)
        return r.error;
    return ok ? 0 : -EINVAL;
}
