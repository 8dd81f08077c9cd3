/*
 * transfer_vdi.c: GET /export_raw_vdi and PUT /import_raw_vdi. The work is op/portable's; here are
 * the parameters and the two ends of the stream. Stream threads.
 */
#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "handler/stream_io.h"
#include "op/portable/portable.h"

/* ---- parameters ---- */

/* The VDI that a parameter names by reference or uuid; NULL if the parameter is absent. */
static struct err *find_vdi(const struct transfer *x, const char *param, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    _cleanup_(freep) char *name = transfer_arg(x, param);
    if (!name)
        return NULL;
    const struct rec_VDI *vdi = snap_VDI(s, name);
    if (!vdi)
        vdi = snap_VDI_by_uuid(s, name);
    if (!vdi)
        return str_is_uuid(name) ? err_UUID_INVALID("VDI", name) : err_HANDLE_INVALID("VDI", name);
    *ret = rstr_new(vdi->row.ref);
    return NULL;
}

static struct err *find_format(const struct transfer *x, enum portable_format *ret)
{
    _cleanup_(freep) char *name = transfer_arg(x, "format");
    if (portable_format_of(name ? name : "raw", ret))
        return NULL;
    return err_VALUE_NOT_SUPPORTED("format", name, "a disk comes as raw, vhd, tar, qcow2 or vmdk");
}

/* ---- export ---- */

static const struct {
    const char *content_type, *suffix;
} forms[] = {
    [PORTABLE_RAW] = {"application/octet-stream", "raw"},
    [PORTABLE_VHD] = {"application/vhd", "vhd"},
    [PORTABLE_TAR] = {"application/x-tar", "tar"},
    [PORTABLE_QCOW2] = {"application/x-qemu-disk", "qcow2"},
};

struct err *http_get_export_raw_vdi(struct transfer *x, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    _cleanup_(rstr_unrefp) const char *base = NULL;
    enum portable_format format;
    TRY(find_vdi(x, "vdi", &vdi));
    TRY(find_vdi(x, "base", &base));
    TRY(find_format(x, &format));
    if (!vdi)
        return transfer_missing("vdi");
    if (format > PORTABLE_OUT)
        return err_VALUE_NOT_SUPPORTED("format", "", "a disk goes out as raw, vhd, qcow2 or tar");
    if (base && format != PORTABLE_VHD && format != PORTABLE_QCOW2)
        return err_VALUE_NOT_SUPPORTED("base", base, "only VHD and qcow2 can be a difference");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    const struct rec_VDI *row = snap_VDI(s, vdi);
    _cleanup_(freep) char *filename =
        mem_printf("%s.%s", row ? row->uuid : "disk", forms[format].suffix);
    struct download d = {x, forms[format].content_type, filename};
    struct portable_io io = transfer_download(&d);
    return vdi_export(x->op,
                      &(struct vdi_stream){.vdi = vdi, .base = base, .format = format, .io = &io});
}

/* ---- import ---- */

static struct err *check_new(const struct transfer *x, const struct vdi_stream *st)
{
    if (!st->sr)
        return transfer_missing("vdi, or sr_id or sr_uuid for a new one");
    if (st->format != PORTABLE_RAW || st->chunked)
        return err_VALUE_NOT_SUPPORTED("format", "", "a new VDI can be made of raw bytes only");
    if (!st->size_bytes)
        return err_INVALID_VALUE("content-length", "");
    return NULL;
}

/* Is the announced length more than the disk could take? */
static bool is_unbelievable(const struct transfer *x, const char *vdi, uint64_t length)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    const struct rec_VDI *row = snap_VDI(s, vdi);
    return row && length > (uint64_t)row->virtual_size;
}

struct err *http_put_import_raw_vdi(struct transfer *x, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    _cleanup_(rstr_unrefp) const char *sr = NULL;
    _cleanup_(freep) char *chunked = transfer_arg(x, "chunked");
    _cleanup_(freep) char *name = transfer_arg(x, "name_label");
    struct portable_io io = transfer_upload(x);
    struct vdi_stream st = {.name = name, .chunked = chunked != NULL, .io = &io};
    TRY(find_vdi(x, "vdi", &vdi));
    TRY(transfer_find_sr(x, &sr));
    TRY(find_format(x, &st.format));
    if (!transfer_length(x, &st.size_bytes))
        st.size_bytes = 0;
    st.vdi = vdi;
    st.sr = sr;
    if (!vdi)
        TRY(check_new(x, &st));
    /* Clients that do not know the length announce a very large one and cut the connection. A VHD
     * and pieces say themselves when they are complete. */
    st.open_end = vdi && is_unbelievable(x, vdi, st.size_bytes);
    if (st.format != PORTABLE_RAW || st.chunked || st.open_end)
        transfer_allow_short(x);
    return vdi_import(x->op, &st, ret);
}
