/*
 * iscsi_at.c: which targets a portal tells, and which LUNs a target has. One-shot commands; the
 * session ends with the process, or is closed.
 */
#include "disk/backend/iscsi_at.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "disk/backend/iscsi_session.h"

#define LUNS_SIZE 16384
#define PAGE_SIZE 255
#define NEWS_MAX  4

static json_t *text_of(const char *s)
{
    size_t size = strlen(s);
    while (size && s[size - 1] == ' ')
        size--;
    while (size && *s == ' ')
        s++, size--;
    json_t *j = json_stringn(s, size);
    return j ? j : json_string("");
}

static json_t *list_targets(struct iscsi_context *c)
{
    json_t *list = json_array();
    struct iscsi_discovery_address *all = iscsi_discovery_sync(c);
    for (const struct iscsi_discovery_address *a = all; a; a = a->next)
        for (const struct iscsi_target_portal *p = a->portals; p; p = p->next)
            (void)json_array_append_new(list,
                                        json_pack("{s:o, s:o}", "iqn", text_of(a->target_name),
                                                  "portal", text_of(p->portal)));
    if (all)
        iscsi_free_discovery_data(c, all);
    return list;
}

/* As scsi_id writes it: a digit for the kind of name, then the name. */
static void put_designator(struct buf *out, const struct scsi_inquiry_device_designator *d)
{
    bool is_text = d->code_set != SCSI_CODESET_BINARY;
    buf_printf(out, "%d", (int)d->designator_type);
    for (int i = 0; i < d->designator_length; i++) {
        unsigned char byte = (unsigned char)d->designator[i];
        if (!is_text)
            buf_printf(out, "%02x", byte);
        else if (byte)
            buf_putc(out, isgraph(byte) ? (char)byte : '_');
    }
}

/* The best name of the unit: NAA, then EUI-64, then the vendor's. */
static const struct scsi_inquiry_device_designator *
best_designator(const struct scsi_inquiry_device_identification *id)
{
    const struct scsi_inquiry_device_designator *best = NULL;
    for (const struct scsi_inquiry_device_designator *d = id->designators; d; d = d->next) {
        bool is_name = d->designator_type >= SCSI_DESIGNATOR_TYPE_T10_VENDORT_ID &&
                       d->designator_type <= SCSI_DESIGNATOR_TYPE_NAA &&
                       d->association == SCSI_ASSOCIATION_LOGICAL_UNIT;
        if (is_name && (!best || d->designator_type > best->designator_type))
            best = d;
    }
    return best;
}

static void task_free(struct scsi_task **t)
{
    if (*t)
        scsi_free_scsi_task(*t);
}

/* What a page of inquiry says; NULL: nothing. */
static void *inquire(struct iscsi_context *c, int lun, int page, struct scsi_task **ret)
{
    *ret = iscsi_inquiry_sync(c, lun, page != 0, page, PAGE_SIZE);
    return *ret && (*ret)->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(*ret) : NULL;
}

static json_t *id_of(struct iscsi_context *c, int lun)
{
    _cleanup_(task_free) struct scsi_task *t = NULL;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 1024);
    const struct scsi_inquiry_device_identification *id =
        inquire(c, lun, SCSI_INQUIRY_PAGECODE_DEVICE_IDENTIFICATION, &t);
    const struct scsi_inquiry_device_designator *d = id ? best_designator(id) : NULL;
    if (d)
        put_designator(&text, d);
    return text_of(buf_str(&text));
}

static json_t *serial_of(struct iscsi_context *c, int lun)
{
    _cleanup_(task_free) struct scsi_task *t = NULL;
    const struct scsi_inquiry_unit_serial_number *n =
        inquire(c, lun, SCSI_INQUIRY_PAGECODE_UNIT_SERIAL_NUMBER, &t);
    return text_of(n && n->usn ? n->usn : "");
}

/* A new session has news for its first commands, which fail for them. */
static void take_news(struct iscsi_context *c, int lun)
{
    for (int i = 0; i < NEWS_MAX; i++) {
        _cleanup_(task_free) struct scsi_task *t = iscsi_testunitready_sync(c, lun);
        if (!t || t->status == SCSI_STATUS_GOOD)
            return;
    }
}

static json_t *describe(struct iscsi_context *c, int lun)
{
    take_news(c, lun);
    _cleanup_(task_free) struct scsi_task *t = NULL;
    _cleanup_(task_free) struct scsi_task *capacity = NULL;
    const struct scsi_inquiry_standard *inq = inquire(c, lun, 0, &t);
    if (!inq || inq->device_type != SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS)
        return NULL;
    capacity = iscsi_readcapacity16_sync(c, lun);
    const struct scsi_readcapacity16 *size =
        capacity && capacity->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(capacity) : NULL;
    if (!size)
        return NULL;
    uint64_t bytes = (size->returned_lba + 1) * size->block_length;
    return json_pack("{s:i, s:I, s:i, s:o, s:o, s:o}", "lun", lun, "size", (json_int_t)bytes,
                     "block", (int)size->block_length, "vendor",
                     text_of(inq->vendor_identification), "serial", serial_of(c, lun), "id",
                     id_of(c, lun));
}

static int list_luns(struct iscsi_context *c, json_t **ret)
{
    _cleanup_(task_free) struct scsi_task *t = iscsi_reportluns_sync(c, 0, LUNS_SIZE);
    const struct scsi_reportluns_list *luns =
        t && t->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(t) : NULL;
    if (!luns)
        return -EIO;
    json_t *list = json_array();
    for (uint32_t i = 0; i < luns->num; i++) {
        json_t *unit = describe(c, luns->luns[i]);
        if (unit)
            (void)json_array_append_new(list, unit);
    }
    *ret = json_pack("{s:o}", "luns", list);
    return 0;
}

int iscsi_at(const char *verb, const char *url, const char *more, json_t **ret)
{
    struct iscsi_place p = {0};
    struct iscsi_context *c = NULL;
    bool targets = strcmp(verb, "targets") == 0;
    if (more || (!targets && strcmp(verb, "luns") != 0))
        return -ENOTSUP;
    int r = iscsi_place_parse(url, &p);
    if (r == 0 && targets == (p.iqn[0] != '\0'))
        r = -EINVAL;
    if (r == 0)
        r = iscsi_session_open(&p, &c);
    iscsi_place_done(&p);
    if (r < 0)
        return r;
    if (targets)
        *ret = json_pack("{s:o}", "targets", list_targets(c));
    else
        r = list_luns(c, ret);
    (void)iscsi_logout_sync(c);
    iscsi_destroy_context(c);
    return r;
}
