/*
 * observer_export.c: the thread `trace`, which hands ended spans on as Zipkin's JSON (version 2).
 *
 * A moment after something has ended, all that has ended until then goes out: an array of
 * spans for each endpoint of each observer that watches their part. In the folder that is a line of
 * a file; a file ends at 1 MiB, and ten are kept. An endpoint that fails loses what it was given:
 * spans are for looking at, nothing waits for them.
 */
#define LOG_MODULE "trace"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "codec/json.h"
#include "host/fetch.h"
#include "op/observer.h"
#include "op/world.h"
#include "task/waitable.h"

#define FOLDER     "dt/zipkinv2/json" /* below the log folder; where clients of this API look */
#define PAUSE      (200 * USEC_PER_MSEC)
#define BATCH_MAX  500 /* spans in one array */
#define BODY_MAX   (8u << 20)
#define FILE_BYTES (1 << 20)
#define FILES      10

struct observer_export {
    struct ops *ops;
    pthread_t thread;
    struct waitable end;
    atomic_bool ending;
    char *file; /* the one that is written; NULL: a new one is begun */
};

bool observer_is_endpoint(const char *text)
{
    const char *rest = strstr(text, "://");
    if (str_eq(text, "bugtool"))
        return true;
    return rest && (str_starts(text, "http://") || str_starts(text, "https://")) && rest[3] &&
           rest[3] != '/' && !text[strcspn(text, " \t\r\n\"<>")];
}

/* ---- a span as JSON ---- */

static void put_text(struct buf *b, const char *key, const char *text)
{
    json_put_key(b, view_of(key));
    json_put_str(b, view_of(text));
}

static void put_number(struct buf *b, const char *key, uint64_t n)
{
    json_put_key(b, view_of(key));
    json_put_int(b, (int64_t)n);
}

static void put_bytes(struct buf *b, const char *key, const uint8_t *p, size_t size)
{
    char text[40];
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", p[i]);
    put_text(b, key, text);
}

/* Whose span it is: the same for all of an observer. */
struct source {
    const struct rec_Observer *observer;
    const struct rec_host *host;
    const struct rec_pool *pool;
};

static void put_tags(struct buf *b, const struct source *from, const struct trace_done *d)
{
    json_put_key(b, view_of("tags"));
    json_begin_map(b);
    put_text(b, "xs.pool.uuid", from->pool ? from->pool->uuid : "");
    put_text(b, "xs.host.name", from->host ? from->host->name_label : "");
    put_text(b, "xs.host.uuid", from->host ? from->host->uuid : "");
    put_text(b, "xs.observer.name", from->observer->name_label);
    if (*d->task)
        put_text(b, "task", d->task);
    if (d->error)
        put_text(b, "error", d->error);
    const struct val *own = from->observer->attributes;
    for (size_t i = 0; i < val_count(own); i++) {
        _cleanup_(freep) char *key = mem_printf("user.%s", val_key_at(own, i));
        put_text(b, key, val_str_at(own, i));
    }
    json_end_map(b);
}

static void put_span(struct buf *b, const struct source *from, const struct trace_done *d)
{
    static const uint8_t none[sizeof(d->span.parent)];
    const struct trace_span *s = &d->span;
    json_begin_map(b);
    put_bytes(b, "id", s->id.span, sizeof(s->id.span));
    put_bytes(b, "traceId", s->id.trace, sizeof(s->id.trace));
    if (memcmp(s->parent, none, sizeof(none)) != 0)
        put_bytes(b, "parentId", s->parent, sizeof(s->parent));
    put_text(b, "name", d->name);
    put_number(b, "timestamp", s->wall);
    put_number(b, "duration", d->took);
    if (s->part == TRACE_CALLS)
        put_text(b, "kind", "SERVER");
    json_put_key(b, view_of("localEndpoint"));
    json_begin_map(b);
    put_text(b, "serviceName", trace_part_name(s->part));
    json_end_map(b);
    put_tags(b, from, d);
    json_end_map(b);
}

/* ---- the folder ---- */

static int is_ours(const struct dirent *d)
{
    size_t size = strlen(d->d_name);
    return str_starts(d->d_name, "xapi-") && size > 7 && str_eq(d->d_name + size - 7, ".ndjson");
}

/* Names begin alike and go on with their date. */
static void drop_old(const char *folder)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, is_ours, alphasort);
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = mem_printf("%s/%s", folder, list[i]->d_name);
        if (i < n - (FILES - 1))
            (void)unlink(path);
        free(list[i]);
    }
    free(list);
}

static char *new_file(const char *folder, const char *host)
{
    usec_t now = clock_wall();
    time_t seconds = (time_t)(now / USEC_PER_SEC);
    struct tm tm;
    char date[32];
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    return mem_printf("%s/xapi-%s-%s.%06" PRIu64 "Z.ndjson", folder, host, date,
                      now % USEC_PER_SEC);
}

static struct err *append(const char *path, const struct buf *b, off_t *ret_size)
{
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, b->data, b->size);
    if (r == 0)
        r = fd_write_all(fd, "\n", 1);
    if (r < 0)
        return err_errno(-r, "cannot write '%s'", path);
    *ret_size = lseek(fd, 0, SEEK_END);
    return NULL;
}

static struct err *write_down(struct observer_export *x, const char *host, const struct buf *b)
{
    const char *log_dir = x->ops->cfg.log_dir;
    if (!log_dir)
        return NULL;
    _cleanup_(freep) char *folder = mem_printf("%s/" FOLDER, log_dir);
    if (!x->file) {
        int r = fd_mkdirs(folder, 0700);
        if (r < 0)
            return err_errno(-r, "cannot make '%s'", folder);
        drop_old(folder);
        x->file = new_file(folder, host);
    }
    off_t size = 0;
    TRY(append(x->file, b, &size));
    if (size >= FILE_BYTES)
        free(steal(&x->file));
    return NULL;
}

/* ---- out ---- */

static bool is_ending(void *arg)
{
    return ((struct observer_export *)arg)->ending;
}

static struct err *send(struct observer_export *x, const char *endpoint, const struct source *from,
                        const struct buf *b)
{
    if (str_eq(endpoint, "bugtool"))
        return write_down(x, from->host ? from->host->uuid : "", b);
    return fetch_post(endpoint, "application/json", b, is_ending, x);
}

static void send_to_all(struct observer_export *x, const struct source *from, const struct buf *b)
{
    val_each (endpoint, from->observer->endpoints) {
        _cleanup_(err_freep) struct err *e = send(x, endpoint, from, b);
        _cleanup_(freep) char *why = e ? err_text(e) : NULL;
        if (e)
            log_warn("event=not-exported endpoint='%s' error='%s'", endpoint, why);
    }
}

/* An array of spans that the observer watches; *list goes on behind them. False: there are none. */
static bool put_batch(struct buf *b, const struct source *from, unsigned parts,
                      const struct trace_done **list)
{
    unsigned n = 0;
    json_begin_set(b);
    for (; *list && n < BATCH_MAX; *list = (*list)->next) {
        if (!(parts >> (*list)->span.part & 1))
            continue;
        put_span(b, from, *list);
        n++;
    }
    json_end_set(b);
    return n > 0;
}

static void export_for(struct observer_export *x, const struct source *from,
                       const struct trace_done *list)
{
    unsigned parts = observer_parts(x->ops, from->observer);
    while (parts && list) {
        _cleanup_(buf_done) struct buf b;
        buf_init(&b, BODY_MAX);
        if (put_batch(&b, from, parts, &list) && buf_ok(&b))
            send_to_all(x, from, &b);
    }
}

static void export_all(struct observer_export *x)
{
    uint64_t lost;
    struct trace_done *list = trace_take(&lost);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->ops->cfg.db);
    struct source from = {.host = snap_host(s, x->ops->host_ref),
                          .pool = snap_pool(s, x->ops->pool_ref)};
    if (lost)
        log_warn("event=spans-lost n=%" PRIu64, lost);
    snap_each (row, s, CLASS_Observer) {
        from.observer = rec_Observer(row);
        export_for(x, &from, list);
    }
    trace_done_free(list);
}

/* ---- the thread ---- */

static void *trace_main(void *arg)
{
    struct observer_export *x = arg;
    pthread_setname_np(pthread_self(), "trace");
    while (!x->ending) {
        trace_wait();
        waitable_wait(&x->end, NULL, clock_now() + PAUSE);
        export_all(x);
    }
    return NULL;
}

struct observer_export *observer_export_new(struct ops *ops)
{
    struct observer_export *x = mem_new(struct observer_export);
    x->ops = ops;
    if (pthread_create(&x->thread, NULL, trace_main, x) != 0)
        abort();
    return x;
}

void observer_export_free(struct observer_export *x)
{
    if (!x)
        return;
    x->ending = true;
    waitable_fire(&x->end);
    trace_wake();
    pthread_join(x->thread, NULL);
    free(x->file);
    free(x);
}
