/* mgt.c: see mgt.h. Each slot is a document of its own for expat; document types are refused. */
#include "codec/mgt.h"

#include <errno.h>
#include <expat.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define MAGIC "XSSM:"
#define MAJOR 1
#define HEAD  4u /* sectors before the first slot */
#define SLOT  2u /* sectors */
#define DEPTH 2  /* <vdi> and its fields */

struct reader {
    XML_Parser parser;
    struct mgt_vdi *vdi;
    struct buf text;
    unsigned depth;
    bool is_vdi, is_deleted;
};

static struct view number(struct view *rest)
{
    struct view n = {0};
    (void)view_split(rest, ':', &n);
    return view_trim(n);
}

int mgt_parse_size(const void *sector, uint64_t *ret)
{
    struct view rest = {sector, MGT_SECTOR};
    uint64_t size, major;
    if (!view_starts(rest, MAGIC))
        return -EINVAL;
    rest = view_cut(rest, strlen(MAGIC));
    if (str_u64(number(&rest), 0, MGT_MAX, &size) < 0 ||
        str_u64(number(&rest), MAJOR, MAJOR, &major) < 0)
        return -EINVAL;
    *ret = size / MGT_SECTOR * MGT_SECTOR;
    return 0;
}

static void on_start(void *arg, const char *name, const char **atts)
{
    struct reader *r = arg;
    (void)atts;
    if (r->depth == 0)
        r->is_vdi = str_eq(name, "vdi");
    if (++r->depth > DEPTH)
        (void)XML_StopParser(r->parser, XML_FALSE);
    buf_clear(&r->text);
}

static void on_text(void *arg, const char *text, int size)
{
    struct reader *r = arg;
    buf_put(&r->text, text, (size_t)size);
}

static void put(char **field, struct buf *text)
{
    free(*field);
    *field = mem_strdup(buf_ok(text) ? buf_str(text) : "");
}

static bool is_true(const char *text)
{
    return str_eq(text, "1") || str_eq(text, "True") || str_eq(text, "true");
}

static void on_field(struct reader *r, const char *name)
{
    struct mgt_vdi *v = r->vdi;
    const char *text = buf_ok(&r->text) ? buf_str(&r->text) : "";
    if (str_eq(name, "uuid"))
        put(&v->uuid, &r->text);
    else if (str_eq(name, "name_label"))
        put(&v->name, &r->text);
    else if (str_eq(name, "name_description"))
        put(&v->description, &r->text);
    else if (str_eq(name, "snapshot_of"))
        put(&v->snapshot_of, &r->text);
    else if (str_eq(name, "is_a_snapshot"))
        v->is_snapshot = is_true(text);
    else if (str_eq(name, "deleted"))
        r->is_deleted = is_true(text);
    else if (str_eq(name, "snapshot_time") &&
             str_parse_datetime(view_of(text), &v->snapshot_time) < 0)
        v->snapshot_time = 0;
}

static void on_end(void *arg, const char *name)
{
    struct reader *r = arg;
    if (r->depth-- == DEPTH)
        on_field(r, name);
    buf_clear(&r->text);
}

static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid,
                       int internal)
{
    struct reader *r = arg;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void vdi_done(struct mgt_vdi *v)
{
    free(v->uuid);
    free(v->name);
    free(v->description);
    free(v->snapshot_of);
}

static bool is_filling(char c)
{
    return c == '\0' || c == ' ';
}

static bool feed(XML_Parser parser, struct view sector, bool is_last)
{
    while (sector.size && is_filling(sector.p[sector.size - 1]))
        sector.size--;
    return XML_Parse(parser, sector.p, (int)sector.size, is_last) == XML_STATUS_OK;
}

/* False: nobody's. */
static bool parse_slot(struct view slot, struct mgt_vdi *ret)
{
    struct reader r = {.parser = XML_ParserCreate("UTF-8"), .vdi = ret};
    *ret = (struct mgt_vdi){0};
    if (!r.parser)
        return false;
    buf_init(&r.text, SLOT * MGT_SECTOR);
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    struct view first = {slot.p, MGT_SECTOR};
    bool ok = feed(r.parser, first, false) && feed(r.parser, view_cut(slot, MGT_SECTOR), true);
    XML_ParserFree(r.parser);
    buf_done(&r.text);
    return ok && r.is_vdi && !r.is_deleted && ret->uuid && str_is_uuid(ret->uuid);
}

static void fill_up(char **field)
{
    if (!*field)
        *field = mem_strdup("");
}

void mgt_parse(struct view bytes, struct mgt *ret)
{
    *ret = (struct mgt){0};
    if (bytes.size > MGT_MAX)
        bytes.size = MGT_MAX;
    for (size_t at = HEAD * MGT_SECTOR; bytes.size >= at + SLOT * MGT_SECTOR;
         at += SLOT * MGT_SECTOR) {
        struct mgt_vdi v;
        struct view slot = {bytes.p + at, SLOT * MGT_SECTOR};
        if (!parse_slot(slot, &v)) {
            vdi_done(&v);
            continue;
        }
        fill_up(&v.name);
        fill_up(&v.description);
        if (!v.snapshot_of || !str_is_uuid(v.snapshot_of)) {
            free(v.snapshot_of);
            v.snapshot_of = mem_strdup("");
        }
        vec_push(&ret->vdis, v);
    }
}

void mgt_done(struct mgt *m)
{
    vec_each (v, &m->vdis)
        vdi_done(v);
    vec_done(&m->vdis);
}

const struct mgt_vdi *mgt_find(const struct mgt *m, const char *uuid)
{
    for (size_t i = 0; i < m->vdis.n; i++)
        if (str_eq(m->vdis.v[i].uuid, uuid))
            return &m->vdis.v[i];
    return NULL;
}
