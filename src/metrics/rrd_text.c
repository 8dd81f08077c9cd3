/*
 * rrd_text.c: a database as rrdtool's XML and as XenServer's JSON. Called by the HTTP handlers,
 * with the database locked for one part at a time; between two parts it may have gone on, which
 * shows as a row at the border that is newer than its place says.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json.h"
#include "codec/xml.h"
#include "metrics/rrd.h"

#define CELLS_A_PART 4096

void rrd_put_number(struct buf *b, double v)
{
    char text[40];
    if (isnan(v))
        buf_puts(b, "NaN");
    else if (isinf(v))
        buf_puts(b, v > 0 ? "Infinity" : "-Infinity");
    else if (v == 0)
        buf_puts(b, "0.0");
    else if (v == floor(v) && fabs(v) < 1e15)
        buf_put_int(b, (int64_t)v);
    else
        buf_put(b, text, (size_t)snprintf(text, sizeof(text), "%.7g", v));
}

void rrd_put_exact(struct buf *b, double v)
{
    char text[40];
    if (!isfinite(v) || v == floor(v))
        rrd_put_number(b, v);
    else
        buf_put(b, text, (size_t)snprintf(text, sizeof(text), "%.15g", v));
}

/* What a part of a database is: the head, the head of an archive, some of its rows, the end. */
struct piece {
    enum { PIECE_HEAD, PIECE_ARCHIVE, PIECE_ROWS, PIECE_END, PIECE_NONE } kind;
    unsigned archive;
    unsigned from, to; /* rows, the oldest is 0 */
};

static unsigned rows_a_part(const struct rrd *r)
{
    return CELLS_A_PART / (r->n_ds ? (unsigned)r->n_ds : 1u) + 1u;
}

static struct piece piece_of(const struct rrd *r, unsigned part)
{
    unsigned band = rows_a_part(r);
    if (part == 0)
        return (struct piece){.kind = PIECE_HEAD};
    part--;
    for (unsigned a = 0; a < r->n_archives; a++) {
        unsigned rows = r->archives[a].rows, parts = 1 + (rows + band - 1) / band;
        if (part >= parts) {
            part -= parts;
            continue;
        }
        if (part == 0)
            return (struct piece){.kind = PIECE_ARCHIVE, .archive = a};
        unsigned from = (part - 1) * band, to = from + band;
        return (struct piece){PIECE_ROWS, a, from, to < rows ? to : rows};
    }
    return (struct piece){.kind = part == 0 ? PIECE_END : PIECE_NONE};
}

/* ---- XML ---- */

static void tag_text(struct buf *b, const char *tag, const char *text)
{
    buf_printf(b, "<%s>", tag);
    xml_put_text(b, view_of(text));
    buf_printf(b, "</%s>", tag);
}

static void tag_number(struct buf *b, const char *tag, double v)
{
    buf_printf(b, "<%s>", tag);
    rrd_put_exact(b, v);
    buf_printf(b, "</%s>", tag);
}

/* rrdtool takes names of 19 characters at most and XenServer has longer ones. Any reader of XML
 * puts text and a CDATA section together again; rrdtool skips the latter, and so keeps the
 * beginning. */
#define RRDTOOL_NAME_MAX 19

static void tag_name(struct buf *b, const char *name)
{
    size_t size = strlen(name);
    bool plain =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == size;
    if (size <= RRDTOOL_NAME_MAX || !plain)
        tag_text(b, "name", name);
    else
        buf_printf(b, "<name>%.*s<![CDATA[%s]]></name>", RRDTOOL_NAME_MAX, name,
                   name + RRDTOOL_NAME_MAX);
}

static void xml_head(struct buf *b, const struct rrd *r)
{
    buf_printf(b,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rrd><version>0003</version>"
               "<step>%d</step><lastupdate>%lld</lastupdate>",
               RRD_STEP, (long long)r->updated);
    for (size_t i = 0; i < r->n_ds; i++) {
        const struct ds *d = &r->ds[i];
        buf_puts(b, "<ds>");
        tag_name(b, d->source->name);
        tag_text(b, "type", source_type_name(d->source->type));
        tag_number(b, "minimal_heartbeat", RRD_HEARTBEAT);
        tag_number(b, "min", d->source->min);
        tag_number(b, "max", d->source->max);
        tag_number(b, "last_ds", isnan(d->last) ? 0 : d->last);
        tag_number(b, "value", d->acc);
        buf_printf(b, "<unknown_sec>%d</unknown_sec></ds>", (int)d->unknown_s);
    }
}

static void xml_archive(struct buf *b, const struct rrd *r, unsigned a)
{
    const struct archive *x = &r->archives[a];
    if (a)
        buf_puts(b, "</database></rra>");
    buf_printf(b, "<rra><cf>%s</cf><pdp_per_row>%u</pdp_per_row><params>", cf_name(x->cf),
               x->steps);
    tag_number(b, "xff", x->xff);
    buf_puts(b, "</params><cdp_prep>");
    for (size_t i = 0; i < r->n_ds; i++) {
        const struct ring *g = rrd_ring(r, i, a);
        buf_puts(b, "<ds><primary_value>0.0</primary_value><secondary_value>0.0"
                    "</secondary_value>");
        tag_number(b, "value", g->cdp);
        buf_printf(b, "<unknown_datapoints>%u</unknown_datapoints></ds>", g->unknown);
    }
    buf_puts(b, "</cdp_prep><database>");
}

static void xml_row(struct buf *b, const struct rrd *r, unsigned a, unsigned back)
{
    buf_puts(b, "<row>");
    for (size_t i = 0; i < r->n_ds; i++) {
        buf_puts(b, "<v>");
        rrd_put_number(b, ring_peek(rrd_ring(r, i, a), back));
        buf_puts(b, "</v>");
    }
    buf_puts(b, "</row>");
}

bool rrd_put_xml(struct buf *b, const struct rrd *r, unsigned part)
{
    struct piece p = piece_of(r, part);
    if (p.kind == PIECE_HEAD)
        xml_head(b, r);
    else if (p.kind == PIECE_ARCHIVE)
        xml_archive(b, r, p.archive);
    else if (p.kind == PIECE_END)
        buf_puts(b, r->n_archives ? "</database></rra></rrd>" : "</rrd>");
    else
        for (unsigned i = p.from; i < p.to; i++)
            xml_row(b, r, p.archive, r->archives[p.archive].rows - 1 - i);
    return p.kind != PIECE_NONE;
}

/* ---- JSON: every number is a string ---- */

static void member_text(struct buf *b, const char *key, const char *text)
{
    buf_printf(b, "\"%s\":", key);
    json_put_str(b, view_of(text));
}

static void quoted(struct buf *b, double v)
{
    buf_putc(b, '"');
    rrd_put_exact(b, v);
    buf_putc(b, '"');
}

static void member_number(struct buf *b, const char *key, double v)
{
    buf_printf(b, ",\"%s\":", key);
    quoted(b, v);
}

static void json_head(struct buf *b, const struct rrd *r)
{
    buf_printf(b, "{\"version\":\"0003\",\"step\":\"%d\"", RRD_STEP);
    member_number(b, "lastupdate", r->updated);
    buf_puts(b, ",\"ds\":[");
    for (size_t i = 0; i < r->n_ds; i++) {
        const struct ds *d = &r->ds[i];
        buf_puts(b, i ? ",{" : "{");
        member_text(b, "name", d->source->name);
        buf_putc(b, ',');
        member_text(b, "type", source_type_name(d->source->type));
        member_number(b, "minimal_heartbeat", RRD_HEARTBEAT);
        member_number(b, "min", d->source->min);
        member_number(b, "max", d->source->max);
        member_number(b, "last_ds", isnan(d->last) ? 0 : d->last);
        member_number(b, "value", d->acc);
        member_number(b, "unknown_sec", (double)d->unknown_s);
        buf_putc(b, '}');
    }
    buf_puts(b, "],\"rra\":[");
}

static void json_archive(struct buf *b, const struct rrd *r, unsigned a)
{
    const struct archive *x = &r->archives[a];
    buf_printf(b, "%s{\"cf\":\"%s\",\"pdp_per_row\":\"%u\",\"params\":{\"xff\":", a ? "]}," : "",
               cf_name(x->cf), x->steps);
    quoted(b, x->xff);
    buf_puts(b, "},\"cdp_prep\":{\"ds\":[");
    for (size_t i = 0; i < r->n_ds; i++) {
        const struct ring *g = rrd_ring(r, i, a);
        buf_printf(b, "%s{\"primary_value\":\"0.0\",\"secondary_value\":\"0.0\"", i ? "," : "");
        member_number(b, "value", g->cdp);
        buf_printf(b, ",\"unknown_datapoints\":\"%u\"}", g->unknown);
    }
    buf_puts(b, "]},\"database\":[");
}

static void json_row(struct buf *b, const struct rrd *r, unsigned a, unsigned i)
{
    buf_puts(b, i ? ",[" : "[");
    for (size_t d = 0; d < r->n_ds; d++) {
        buf_puts(b, d ? ",\"" : "\"");
        rrd_put_number(b, ring_peek(rrd_ring(r, d, a), r->archives[a].rows - 1 - i));
        buf_putc(b, '"');
    }
    buf_putc(b, ']');
}

bool rrd_put_json(struct buf *b, const struct rrd *r, unsigned part)
{
    struct piece p = piece_of(r, part);
    if (p.kind == PIECE_HEAD)
        json_head(b, r);
    else if (p.kind == PIECE_ARCHIVE)
        json_archive(b, r, p.archive);
    else if (p.kind == PIECE_END)
        buf_puts(b, r->n_archives ? "]}]}" : "]}");
    else
        for (unsigned i = p.from; i < p.to; i++)
            json_row(b, r, p.archive, i);
    return p.kind != PIECE_NONE;
}
