/*
 * transfer_vm.c: /export, /import and their metadata forms. The work is op/portable's; here are the
 * parameters. Stream threads.
 */
#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "handler/stream_io.h"

/* ---- export ---- */

static enum portable_compression compression_of(const struct transfer *x)
{
    _cleanup_(freep) char *text = transfer_arg(x, "use_compression");
    if (text && str_eq(text, "zstd"))
        return PORTABLE_ZSTD;
    bool gzip = text && (str_eq(text, "true") || str_eq(text, "gzip"));
    return gzip ? PORTABLE_GZIP : PORTABLE_PLAIN;
}

static char *filename_of(const struct transfer *x, const char *vm)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    const struct rec_VM *row = vm ? snap_VM(s, vm) : NULL;
    return mem_printf("%s.xva", row ? row->uuid : "pool");
}

struct err *http_get_export(struct transfer *x, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *vm = NULL;
    TRY(transfer_object(x, CLASS_VM, &vm));
    _cleanup_(freep) char *filename = filename_of(x, vm);
    struct download d = {x, "application/octet-stream", filename};
    struct portable_io io = transfer_download(&d);
    return vm_export(x->op,
                     &(struct vm_out){.vm = vm,
                                      .keep_state = transfer_flag(x, "preserve_power_state", false),
                                      .snapshots = transfer_flag(x, "export_snapshots", false),
                                      .compression = compression_of(x),
                                      .io = &io});
}

/* Is a kind of device in the list "vif,vbd"? */
static bool is_excluded(const struct transfer *x, const char *kind)
{
    _cleanup_(freep) char *list = transfer_arg(x, "excluded_device_types");
    struct view rest = view_of(list ? list : ""), one;
    while (rest.size) {
        view_split(&rest, ',', &one);
        if (view_ieq(view_trim(one), kind))
            return true;
    }
    return false;
}

struct err *http_get_export_metadata(struct transfer *x, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *vm = NULL;
    if (!transfer_flag(x, "all", false))
        TRY(transfer_object(x, CLASS_VM, &vm));
    _cleanup_(freep) char *filename = filename_of(x, vm);
    struct download d = {x, "application/octet-stream", filename};
    struct portable_io io = transfer_download(&d);
    return vm_export(
        x->op, &(struct vm_out){.vm = vm,
                                .metadata = true,
                                .with_control_domains = transfer_flag(x, "include_dom0", true),
                                .no_disks = is_excluded(x, "vbd"),
                                .no_nics = is_excluded(x, "vif"),
                                .snapshots = transfer_flag(x, "export_snapshots", true),
                                .io = &io});
}

/* ---- import ---- */

/* The parameters "vdi:OLD=NEW". */
static struct val *renamed_vdis(const struct transfer *x)
{
    struct val *map = val_map();
    struct view query = x->req->query;
    char *name, *value;
    while (http_query_next(&query, &name, &value)) {
        if (str_starts(name, "vdi:"))
            val_put_str(map, name + 4, value);
        free(name);
        free(value);
    }
    return map;
}

/* What comes is known by its content, but for the bytes of a disk that begins with nothing. */
static struct err *find_format(const struct transfer *x, bool *ret_raw)
{
    _cleanup_(freep) char *name = transfer_arg(x, "format");
    *ret_raw = name && str_eq(name, "raw");
    if (!name || *ret_raw)
        return NULL;
    return err_VALUE_NOT_SUPPORTED("format", name, "only raw can be said; anything else is seen");
}

static struct err *receive(struct transfer *x, bool metadata, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *sr = NULL;
    _cleanup_(val_unrefp) struct val *vdis = renamed_vdis(x);
    _cleanup_(freep) char *name = transfer_arg(x, "name_label");
    uint64_t length = 0;
    bool raw = false;
    struct portable_io io = transfer_upload(x);
    if (x->req->head->chunked)
        return err_IMPORT_ERROR_CANNOT_HANDLE_CHUNKED();
    TRY(transfer_find_sr(x, &sr));
    TRY(find_format(x, &raw));
    if (!transfer_length(x, &length))
        length = 0;
    transfer_allow_short(x); /* an archive knows where it ends */
    return vm_import(x->op,
                     &(struct vm_in){.metadata = metadata,
                                     .restore = transfer_flag(x, "restore", false),
                                     .force = transfer_flag(x, "force", false),
                                     .dry_run = metadata && transfer_flag(x, "dry_run", false),
                                     .sr = sr,
                                     .vdis = vdis,
                                     .name = name,
                                     .length = length,
                                     .raw = raw,
                                     .io = &io},
                     ret);
}

struct err *http_put_import(struct transfer *x, struct val **ret)
{
    return receive(x, false, ret);
}

struct err *http_put_import_metadata(struct transfer *x, struct val **ret)
{
    return receive(x, true, ret);
}
