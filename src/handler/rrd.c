/*
 * rrd.c: measurements over HTTP: /rrd_updates, the whole databases, /metrics. Stream threads.
 *
 * Documents go out piece by piece as src/metrics writes them. /rrd_updates chooses its form by the
 * Accept header before the query's `json`, as XenServer does, so that `curl` gets JSON; the whole
 * databases are XML unless `json` is given, so that `curl` gets what rrdtool restores.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/transfer.h"
#include "metrics/metrics.h"
#include "op/ops.h"
#include "state/db.h"
#include "task/task.h"

#define BODY_MAX  (64u << 20)
#define UUIDS_MAX 4096

static struct metrics *metrics_of(const struct transfer *x)
{
    return ops_metrics(x->op->world);
}

/* ---- the way out ---- */

struct way_out {
    struct transfer *x;
    struct err *e;
};

static int put(void *arg, struct buf *b)
{
    struct way_out *w = arg;
    w->e = transfer_write(w->x, b->data, b->size);
    buf_clear(b);
    return w->e ? -EPIPE : 0;
}

/* What a document came to: the connection's error, or its own. */
static struct err *came_to(struct way_out *w, int r)
{
    if (w->e)
        return w->e;
    return r < 0 ? err_errno(-r, "cannot write the measurements") : NULL;
}

static struct err *head(struct transfer *x, const char *type)
{
    static const struct net_header cors[] = {{"Access-Control-Allow-Origin", "*"},
                                             {"Access-Control-Allow-Headers", "X-Requested-With"}};
    return transfer_head(x, type, cors, ARRAY_LEN(cors));
}

/* ---- which form ---- */

/* The weight that an Accept header gives to a type, and whether it names it. */
static double weight_of(struct view accept, const char *type, bool *ret_named)
{
    double best = -1;
    struct view item;
    *ret_named = false;
    while (accept.size) {
        (void)view_split(&accept, ',', &item);
        struct view range, parameter;
        (void)view_split(&item, ';', &range);
        double q = 1;
        while (item.size) {
            (void)view_split(&item, ';', &parameter);
            parameter = view_trim(parameter);
            if (view_starts(parameter, "q=") && str_double(view_cut(parameter, 2), &q) < 0)
                q = 0;
        }
        range = view_trim(range);
        bool named = view_ieq(range, type);
        if (named || (!*ret_named && view_eq(range, "*/*")))
            best = q;
        *ret_named |= named;
    }
    return best;
}

static bool wants_json(const struct transfer *x)
{
    struct view accept = http_find(x->req->head, "Accept");
    _cleanup_(freep) char *json = transfer_arg(x, "json");
    if (!accept.p)
        return json != NULL;
    bool json_named, xml_named;
    double as_json = weight_of(accept, "application/json", &json_named);
    double as_xml = weight_of(accept, "text/xml", &xml_named);
    return as_json > as_xml || (as_json == as_xml && as_json > 0 && (json_named || !xml_named));
}

/* ---- /rrd_updates ---- */

/* The values of a parameter that may be repeated; "all" and "none" stand for themselves. */
struct uuids {
    const char *v[UUIDS_MAX];
    size_t n;
    bool all, given;
};

static void uuids_free(struct uuids **u)
{
    for (size_t i = 0; *u && i < (*u)->n; i++)
        free((void *)(uintptr_t)(*u)->v[i]);
    free(*u);
}

static struct uuids *uuids_of(const struct transfer *x, const char *parameter)
{
    struct uuids *u = mem_new(struct uuids);
    struct view query = x->req->query;
    char *name, *value;
    while (http_query_next(&query, &name, &value)) {
        if (str_eq(name, parameter)) {
            u->given = true;
            u->all |= str_eq(value, "all");
            if (u->n < UUIDS_MAX && str_is_uuid(value))
                u->v[u->n++] = steal(&value);
        }
        free(name);
        free(value);
    }
    return u;
}

static struct err *number_of(const struct transfer *x, const char *name, bool must, int64_t *ret)
{
    _cleanup_(freep) char *text = transfer_arg(x, name);
    if (!text)
        return must ? transfer_missing(name) : NULL;
    double v;
    if (str_double(view_of(text), &v) < 0 || !(v >= -1e12 && v <= 1e12))
        return must ? transfer_missing(name) : NULL;
    *ret = (int64_t)v;
    return NULL;
}

struct err *http_rrd_updates(struct transfer *x, struct val **ret)
{
    struct metrics_query q = {.json = wants_json(x)};
    TRY(number_of(x, "start", true, &q.start));
    TRY(number_of(x, "interval", false, &q.interval));
    _cleanup_(freep) char *cf = transfer_arg(x, "cf");
    q.has_cf = cf && cf_parse(view_of(cf), &q.cf);
    q.host = transfer_flag(x, "host", false);
    _cleanup_(uuids_free) struct uuids *vms = uuids_of(x, "vm_uuid");
    _cleanup_(uuids_free) struct uuids *srs = uuids_of(x, "sr_uuid");
    q.vms = vms->v;
    q.n_vms = vms->n;
    q.all_vms = vms->all || !vms->given;
    q.srs = srs->v;
    q.n_srs = srs->n;
    q.all_srs = srs->all;
    TRY(head(x, q.json ? "application/json" : "text/xml"));
    struct way_out w = {.x = x};
    return came_to(&w, metrics_updates(metrics_of(x), &q, &(struct metrics_sink){put, &w}));
}

/* ---- whole databases ---- */

/* The head is sent with the first piece, so that what is not there is a 404. */
static int put_with_head(void *arg, struct buf *b)
{
    struct way_out *w = arg;
    if (!w->x->answered)
        w->e = head(w->x, transfer_flag(w->x, "json", false) ? "application/json" : "text/xml");
    return w->e ? -EPIPE : put(arg, b);
}

static struct err *whole(struct transfer *x, enum metrics_owner owner, const char *uuid)
{
    static const char *const classes[] = {"host", "VM", "SR"};
    struct way_out w = {.x = x};
    int r = metrics_write_rrd(metrics_of(x), owner, uuid, transfer_flag(x, "json", false),
                              &(struct metrics_sink){put_with_head, &w});
    if (r == -ENOENT && !w.e)
        return err_UUID_INVALID(classes[owner], uuid);
    return came_to(&w, r);
}

static struct err *whole_of_query(struct transfer *x, enum metrics_owner owner)
{
    _cleanup_(freep) char *uuid = transfer_arg(x, "uuid");
    return uuid ? whole(x, owner, uuid) : transfer_missing("uuid");
}

struct err *http_vm_rrd(struct transfer *x, struct val **ret)
{
    return whole_of_query(x, OWNER_VM);
}

struct err *http_get_vm_rrds(struct transfer *x, struct val **ret)
{
    return whole_of_query(x, OWNER_VM);
}

struct err *http_sr_rrd(struct transfer *x, struct val **ret)
{
    return whole_of_query(x, OWNER_SR);
}

/* Of this host, whatever uuid is given: there is no other. */
struct err *http_host_rrd(struct transfer *x, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->op->db);
    const struct rec_host *host = snap_host(s, tasks_host_ref(x->op->tasks));
    return whole(x, OWNER_HOST, host ? host->uuid : "");
}

struct err *http_get_host_rrds(struct transfer *x, struct val **ret)
{
    return http_host_rrd(x, ret);
}

/* ---- PUT /rrd ---- */

static struct err *read_body(struct transfer *x, struct buf *b)
{
    char piece[65536];
    for (;;) {
        size_t n = 0;
        TRY(transfer_read(x, piece, sizeof(piece), &n));
        if (!n)
            return NULL;
        buf_put(b, piece, n);
        if (!buf_ok(b))
            return err_internal("the database has more than %u bytes", BODY_MAX);
    }
}

static struct err *owner_of(const struct transfer *x, const char *uuid, enum metrics_owner *ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->op->db);
    if (snap_by_uuid(s, CLASS_VM, uuid))
        *ret = OWNER_VM;
    else if (snap_by_uuid(s, CLASS_host, uuid))
        *ret = OWNER_HOST;
    else if (snap_by_uuid(s, CLASS_SR, uuid))
        *ret = OWNER_SR;
    else
        return err_UUID_INVALID("VM", uuid);
    return NULL;
}

struct err *http_rrd(struct transfer *x, struct val **ret)
{
    _cleanup_(freep) char *uuid = transfer_arg(x, "uuid");
    if (!uuid)
        return transfer_missing("uuid");
    enum metrics_owner owner = OWNER_VM;
    TRY(owner_of(x, uuid, &owner));
    TRY(transfer_accept(x));
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, BODY_MAX);
    TRY(read_body(x, &b));
    int r = metrics_put_xml(metrics_of(x), owner, uuid, view_of(buf_str(&b)));
    return r < 0 ? err_errno(-r, "the database of '%s' cannot be read", uuid) : NULL;
}

/* ---- /metrics ---- */

static char *name_of(void *arg, enum metrics_owner owner, const char *uuid)
{
    static const int classes[] = {CLASS_host, CLASS_VM, CLASS_SR};
    const struct row *row = snap_by_uuid(arg, classes[owner], uuid);
    if (!row)
        return NULL;
    const char *name = owner == OWNER_HOST ? rec_host(row)->name_label
                       : owner == OWNER_VM ? rec_VM(row)->name_label
                                           : rec_SR(row)->name_label;
    return mem_strdup(name);
}

struct err *http_get_metrics(struct transfer *x, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->op->db);
    TRY(head(x, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    struct way_out w = {.x = x};
    return came_to(&w,
                   metrics_openmetrics(metrics_of(x), name_of, s, &(struct metrics_sink){put, &w}));
}
