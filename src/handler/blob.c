/*
 * blob.c: GET and PUT of /blob. What a public blob holds is anybody's to read; everything else
 * needs a session. Stream threads.
 */
#include "op/blob.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "handler/transfer.h"
#include "op/ops.h"

#define PIECE 65536

/* ---- out ---- */

struct opened {
    int fd;
    char *mime_type;
    char length[24];
};

static void opened_done(struct opened *o)
{
    fd_closep(&o->fd);
    free(o->mime_type);
}

/* What its maker called it, if that can stand in a header. */
static const char *header_safe(const char *mime_type)
{
    for (const char *p = mime_type; *p; p++)
        if (*p < ' ' || *p > '~')
            return "application/octet-stream";
    return mime_type;
}

/* Its length; and whoever may make a blob must not thereby run scripts in the name of this host. */
#define HEADERS_OF(o)                                                                              \
    {                                                                                              \
        {"Content-Length", (o).length},                                                            \
            {"Content-Security-Policy", "sandbox; default-src 'none'"},                            \
            {"X-Content-Type-Options", "nosniff"},                                                 \
    }

static struct err *open_blob(struct handlers *h, const struct rec_blob *blob, struct opened *ret)
{
    uint64_t size = 0;
    struct err *e = blob_open(h->ops, blob->uuid, &ret->fd, &size);
    if (e && err_get_errno(e) == ENOENT) { /* nothing was ever put into it */
        err_free(e);
        return err_HANDLE_INVALID("blob", blob->row.ref);
    }
    TRY(e);
    ret->mime_type = mem_strdup(header_safe(blob->mime_type));
    snprintf(ret->length, sizeof(ret->length), "%llu", (unsigned long long)size);
    return NULL;
}

static struct err *send_blob(struct transfer *x, struct val **ret)
{
    (void)ret;
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    _cleanup_(opened_done) struct opened o = {.fd = -1};
    TRY(transfer_object(x, CLASS_blob, &ref));
    const struct rec_blob *blob = snap_blob(s, ref);
    if (!blob)
        return err_HANDLE_INVALID("blob", ref);
    TRY(open_blob(x->h, blob, &o));
    const struct net_header headers[] = HEADERS_OF(o);
    TRY(transfer_head(x, o.mime_type, headers, ARRAY_LEN(headers)));
    char piece[PIECE];
    for (ssize_t n; (n = read(o.fd, piece, sizeof(piece))) != 0;) {
        if (n < 0)
            return err_errno(errno, "cannot read blob '%s'", ref);
        TRY(transfer_write(x, piece, (size_t)n));
    }
    return NULL;
}

/* Without a session there is no task and nothing to cancel. */
static void send_to_anybody(struct handlers *h, const struct rec_blob *blob, struct net_stream *s)
{
    _cleanup_(opened_done) struct opened o = {.fd = -1};
    struct err *e = open_blob(h, blob, &o);
    if (e) {
        handler_refuse(s, e);
        net_stream_close(s);
        return;
    }
    const struct net_header headers[] = HEADERS_OF(o);
    int r = net_stream_head(s, 200, o.mime_type, headers, ARRAY_LEN(headers));
    char piece[PIECE];
    for (ssize_t n = 1; r >= 0 && n > 0;) {
        n = read(o.fd, piece, sizeof(piece));
        r = n < 0 ? -errno : net_stream_write(s, piece, (size_t)n);
    }
    if (r < 0)
        net_stream_abort(s);
    else
        net_stream_close(s);
}

static const struct rec_blob *public_blob(const struct snap *s, const struct net_request *req)
{
    _cleanup_(freep) char *ref = http_query_get(req->query, "ref");
    _cleanup_(freep) char *uuid = http_query_get(req->query, "uuid");
    const struct rec_blob *blob = ref    ? snap_blob(s, ref)
                                  : uuid ? snap_blob_by_uuid(s, uuid)
                                         : NULL;
    return blob && blob->public ? blob : NULL;
}

static bool has_credentials(const struct net_request *req)
{
    _cleanup_(freep) char *cookie = http_cookie_get(req->head, "session_id");
    _cleanup_(freep) char *query = http_query_get(req->query, "session_id");
    return cookie || query || http_find(req->head, "authorization").p;
}

void http_get_blob(void *arg, const struct net_request *req, struct net_stream *stream)
{
    struct handlers *h = arg;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(h->db);
    const struct rec_blob *blob = has_credentials(req) ? NULL : public_blob(s, req);
    if (blob)
        send_to_anybody(h, blob, stream);
    else
        transfer_serve(h, HTTP_GET_BLOB, send_blob, req, stream);
}

/* ---- in ---- */

static struct err *copy_in(struct transfer *x, struct blob_writer *w, uint64_t length)
{
    char piece[PIECE];
    size_t n = 0;
    for (uint64_t done = 0;; done += n) {
        TRY(transfer_read(x, piece, sizeof(piece), &n));
        if (n == 0)
            return NULL;
        TRY(blob_write(w, piece, n));
        if (length)
            transfer_progress(x, (double)done / (double)length);
    }
}

struct err *http_put_blob(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct ops *ops = x->h->ops;
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    _cleanup_(blob_writer_freep) struct blob_writer *w = NULL;
    uint64_t length = 0;
    TRY(transfer_object(x, CLASS_blob, &ref));
    if (!transfer_length(x, &length) && !x->req->head->chunked)
        return transfer_missing("Content-Length");
    TRY(blob_check_space(ops, length));
    TRY(blob_write_begin(ops, ref, &w));
    TRY(transfer_accept(x));
    TRY(copy_in(x, w, length));
    return blob_write_end(w);
}
