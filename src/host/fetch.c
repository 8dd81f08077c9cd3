/* fetch.c: libcurl, pulled instead of pushing; see fetch.h. Operation threads. */
#include "host/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "gen/error.h"

#define AHEAD_MAX  (1u << 20) /* kept of what has come */
#define POLL_MS    250
#define CONNECT_MS 30000L
#define SILENCE_S  60L
#define POST_MS    10000L

struct fetch {
    CURLM *multi;
    CURL *call;
    bool (*stop)(void *arg);
    void *stop_arg;
    struct buf ahead;
    size_t at; /* of ahead, read so far */
    bool paused, over;
    CURLcode result;
    char why[CURL_ERROR_SIZE];
};

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    if (f->ahead.size + size * n > AHEAD_MAX) {
        f->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    buf_put(&f->ahead, p, size * n);
    return size * n;
}

static void set_up(struct fetch *f, const char *url)
{
    curl_easy_setopt(f->call, CURLOPT_URL, url);
    curl_easy_setopt(f->call, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(f->call, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(f->call, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(f->call, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(f->call, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(f->call, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(f->call, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(f->call, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(f->call, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
    curl_easy_setopt(f->call, CURLOPT_ERRORBUFFER, f->why);
    curl_easy_setopt(f->call, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(f->call, CURLOPT_WRITEDATA, f);
}

struct err *fetch_open(const char *url, bool (*stop)(void *arg), void *arg, struct fetch **ret)
{
    _cleanup_(fetch_freep) struct fetch *f = mem_new(struct fetch);
    f->stop = stop;
    f->stop_arg = arg;
    buf_init(&f->ahead, AHEAD_MAX);
    f->call = curl_easy_init();
    f->multi = curl_multi_init();
    if (!f->call || !f->multi)
        return err_internal("no memory for a transfer");
    set_up(f, url);
    if (curl_multi_add_handle(f->multi, f->call) != CURLM_OK)
        return err_internal("cannot begin a transfer");
    *ret = steal(&f);
    return NULL;
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    if (f->multi && f->call)
        curl_multi_remove_handle(f->multi, f->call);
    curl_easy_cleanup(f->call);
    curl_multi_cleanup(f->multi);
    buf_done(&f->ahead);
    free(f);
}

static void look_for_end(struct fetch *f)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        f->over = true;
        f->result = m->data.result;
    }
}

static struct err *move(struct fetch *f)
{
    int running;
    if (f->stop && f->stop(f->stop_arg))
        return err_errno(ECANCELED, "the transfer was cancelled");
    if (f->paused) {
        f->paused = false;
        curl_easy_pause(f->call, CURLPAUSE_CONT);
    }
    if (curl_multi_perform(f->multi, &running) != CURLM_OK)
        return err_internal("the transfer broke");
    look_for_end(f);
    if (!f->over && f->ahead.size == 0)
        curl_multi_poll(f->multi, NULL, 0, POLL_MS, NULL);
    return NULL;
}

struct err *fetch_read(struct fetch *f, void *p, size_t size, size_t *ret_size)
{
    if (f->at == f->ahead.size) {
        f->at = 0;
        buf_clear(&f->ahead);
    }
    while (f->ahead.size == 0 && !f->over)
        TRY(move(f));
    if (f->ahead.size == 0 && f->result != CURLE_OK)
        return err_IMPORT_ERROR(*f->why ? f->why : curl_easy_strerror(f->result));
    size_t n = f->ahead.size - f->at < size ? f->ahead.size - f->at : size;
    if (n)
        memcpy(p, f->ahead.data + f->at, n);
    f->at += n;
    *ret_size = n;
    return NULL;
}

/* ---- giving ---- */

struct posting {
    bool (*stop)(void *arg);
    void *arg;
};

static int look_for_stop(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                         curl_off_t up)
{
    const struct posting *p = arg;
    return p->stop && p->stop(p->arg);
}

static size_t ignore_data(char *p, size_t size, size_t n, void *arg)
{
    return size * n;
}

static void curl_freep(CURL **call)
{
    curl_easy_cleanup(*call);
}

static void headers_freep(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

struct err *fetch_post(const char *url, const char *type, const struct buf *body,
                       bool (*stop)(void *arg), void *arg)
{
    _cleanup_(curl_freep) CURL *call = curl_easy_init();
    _cleanup_(freep) char *line = mem_printf("Content-Type: %s", type);
    _cleanup_(headers_freep) struct curl_slist *headers = curl_slist_append(NULL, line);
    struct posting p = {stop, arg};
    if (!call || !headers)
        return err_internal("no memory for a transfer");
    curl_easy_setopt(call, CURLOPT_URL, url);
    curl_easy_setopt(call, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(call, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(call, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call, CURLOPT_TIMEOUT_MS, POST_MS);
    curl_easy_setopt(call, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(call, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->size);
    curl_easy_setopt(call, CURLOPT_POSTFIELDS, body->data);
    curl_easy_setopt(call, CURLOPT_WRITEFUNCTION, ignore_data);
    curl_easy_setopt(call, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(call, CURLOPT_XFERINFOFUNCTION, look_for_stop);
    curl_easy_setopt(call, CURLOPT_XFERINFODATA, &p);
    CURLcode r = curl_easy_perform(call);
    return r == CURLE_OK ? NULL : err_internal("%s", curl_easy_strerror(r));
}
