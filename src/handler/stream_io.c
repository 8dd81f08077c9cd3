/* stream_io.c: see stream_io.h. Stream threads. */
#include "handler/stream_io.h"

#include "base/rstr.h"
#include "gen/error.h"
#include "gen/typed.h"
#include "handler/handler.h"

static struct err *begin_upload(void *arg)
{
    return transfer_accept(arg);
}

static struct err *read_upload(void *arg, void *p, size_t size, size_t *ret_size)
{
    return transfer_read(arg, p, size, ret_size);
}

struct portable_io transfer_upload(struct transfer *x)
{
    return (struct portable_io){.arg = x, .begin = begin_upload, .read = read_upload};
}

static struct err *begin_download(void *arg)
{
    struct download *d = arg;
    return transfer_head_file(d->x, d->content_type, d->filename);
}

static struct err *write_download(void *arg, const void *p, size_t size)
{
    struct download *d = arg;
    return transfer_write(d->x, p, size);
}

struct portable_io transfer_download(struct download *d)
{
    return (struct portable_io){.arg = d, .begin = begin_download, .write = write_download};
}

struct err *transfer_find_sr(const struct transfer *x, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    _cleanup_(freep) char *ref = transfer_arg(x, "sr_id");
    _cleanup_(freep) char *uuid = transfer_arg(x, "sr_uuid");
    const struct rec_SR *sr = ref ? snap_SR(s, ref) : uuid ? snap_SR_by_uuid(s, uuid) : NULL;
    if (ref && !sr)
        return err_HANDLE_INVALID("SR", ref);
    if (uuid && !sr)
        return err_UUID_INVALID("SR", uuid);
    if (sr)
        *ret = rstr_new(sr->row.ref);
    return NULL;
}
