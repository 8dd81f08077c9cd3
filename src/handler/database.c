/* database.c: the database as one document, and the host's backup, out and in. Stream threads. */
#include "handler/transfer.h"

#include <errno.h>

#include "gen/http.h"
#include "handler/handler.h"
#include "op/database.h"
#include "op/host_backup.h"
#include "op/ops.h"
#include "state/dump.h"

struct sink {
    struct transfer *x;
    struct err *error; /* of the connection; the dump knows only that it failed */
};

static int put(void *arg, const void *p, size_t size)
{
    struct sink *s = arg;
    if (!s->error)
        s->error = transfer_write(s->x, p, size);
    return s->error ? -EPIPE : 0;
}

struct err *http_get_pool_xml_db_sync(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct sink sink = {.x = x};
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    TRY(transfer_head(x, "text/xml", NULL, 0));
    struct err *e = dump_write(s, 0, put, &sink);
    return err_first(sink.error, e);
}

static struct err *receive(void *arg, void *p, size_t size, size_t *ret)
{
    return transfer_read(arg, p, size, ret);
}

/* What came of it, for those who read answers. */
static struct err *report(struct transfer *x, const struct dump_counts *c, bool dry_run)
{
    _cleanup_(freep) char *text =
        mem_printf("%s rows=%llu ignored_rows=%llu ignored_values=%llu\n",
                   dry_run ? "fits" : "restored", (unsigned long long)c->rows,
                   (unsigned long long)c->unknown_rows, (unsigned long long)c->unknown_values);
    return transfer_write(x, text, strlen(text));
}

struct err *http_put_pool_xml_db_sync(struct transfer *x, struct val **ret)
{
    (void)ret;
    bool dry_run = transfer_flag(x, "dry_run", false);
    struct dump_counts counts = {0};
    if (transfer_is_empty(x))
        return transfer_missing("body");
    TRY(transfer_accept(x));
    const struct database_source from = {receive, x, .with_blobs = false};
    TRY(database_restore(x->op, &from, dry_run, &counts));
    struct err *e = report(x, &counts, dry_run);
    if (dry_run)
        return e;
    err_free(e); /* restored is restored, whoever listens */
    return ops_restart(x->op->world);
}

struct err *http_get_host_backup(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct sink sink = {.x = x};
    TRY(transfer_head_file(x, "application/gzip", "host-backup.tar.gz"));
    struct err *e = host_backup_write(x->op, put, &sink);
    return err_first(sink.error, e);
}

struct err *http_put_host_restore(struct transfer *x, struct val **ret)
{
    (void)ret;
    struct dump_counts counts = {0};
    if (transfer_is_empty(x))
        return transfer_missing("body");
    TRY(transfer_accept(x));
    TRY(host_backup_restore(x->op, &(struct database_source){receive, x, .with_blobs = true},
                            &counts));
    err_free(report(x, &counts, false));
    return ops_restart(x->op->world);
}
