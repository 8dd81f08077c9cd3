/*
 * report.c: GET of what tells about the host: status report, logs, audit log. Stream threads.
 */
#include "op/report.h"

#include <errno.h>

#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "handler/handler.h"
#include "handler/transfer.h"

struct sink {
    struct transfer *x;
    struct err *error; /* of the connection; whoever writes knows only that it failed */
};

static int put(void *arg, const void *p, size_t size)
{
    struct sink *s = arg;
    if (!s->error)
        s->error = transfer_write(s->x, p, size);
    return s->error ? -EPIPE : 0;
}

/* What clients call the forms, and what they expect to be told of them. */
static const struct form {
    const char *name, *content_type, *file;
    enum pack_form form;
} forms[] = {{"tar", "appliation/x-tar", "status.tar", PACK_TAR}, /* so it is spelt for ever */
             {"tar.bz2", "application/x-bzip2", "status.tar.bz2", PACK_TAR_BZ2},
             {"zip", "application/zip", "status.zip", PACK_ZIP}};

static const struct form *form_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (!name || str_eq(forms[i].name, name))
            return &forms[i];
    return NULL;
}

static struct err *list(struct transfer *x)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    report_capabilities(&b);
    return transfer_send(x, "text/xml", &b);
}

struct err *http_get_system_status(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct sink sink = {.x = x};
    _cleanup_(freep) char *output = transfer_arg(x, "output");
    _cleanup_(freep) char *entries = transfer_arg(x, "entries");
    _cleanup_(freep) char *listing = transfer_arg(x, "list");
    if (listing)
        return list(x);
    const struct form *f = form_of(output);
    if (!f)
        return err_INVALID_VALUE("output", output);
    TRY(transfer_head_file(x, f->content_type, f->file));
    struct err *e = report_write(x->op, entries && *entries ? entries : NULL, f->form, put, &sink);
    return err_first(sink.error, e);
}

struct err *http_get_host_logs_download(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct sink sink = {.x = x};
    TRY(transfer_head_file(x, "application/gzip", "logs.tar.gz"));
    struct err *e = report_write_logs(x->op, PACK_TAR_GZ, put, &sink);
    return err_first(sink.error, e);
}

struct err *http_get_audit_log(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct sink sink = {.x = x};
    int64_t when;
    _cleanup_(freep) char *since = transfer_arg(x, "since");
    if (since && *since && str_parse_datetime(view_of(since), &when) < 0)
        return err_INVALID_VALUE("since", since);
    TRY(transfer_head(x, "text/plain", NULL, 0));
    struct err *e = api_audit_read(x->h->api, since ? since : "", put, &sink);
    return err_first(sink.error, e);
}
