/* etcd.c: see etcd.h. */
#include "state/etcd.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/str.h"
#include "base/vec.h"
#include "codec/base64.h"
#include "codec/json.h"

#define CONNECT_MS 3000L
#define CALL_MS    10000L

struct etcd {
    VEC(char *) endpoints;
    size_t endpoint; /* the one in use */
    char *ca_file, *cert_file, *key_file;
    long timeout_ms;
    CURL *call;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];

    CURLM *multi;
    CURL *watch; /* NULL: none is on */
    char *watch_body;
    struct buf watch_in;
};

/* --- opening --- */

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *dup_or_null(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

struct err *etcd_open(const struct store_etcd_config *config, struct etcd **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_start);
    struct etcd *e = mem_new(struct etcd);
    struct view rest = view_of(config->endpoint), one;
    for (bool more = true; more;) {
        more = view_split(&rest, ',', &one);
        if (view_trim(one).size)
            vec_push(&e->endpoints, view_dup(view_trim(one)));
    }
    e->timeout_ms = config->timeout_ms ? (long)config->timeout_ms : CALL_MS;
    e->ca_file = dup_or_null(config->ca_file);
    e->cert_file = dup_or_null(config->cert_file);
    e->key_file = dup_or_null(config->key_file);
    e->call = curl_easy_init();
    e->multi = curl_multi_init();
    e->headers = curl_slist_append(NULL, "Content-Type: application/json");
    e->headers = curl_slist_append(e->headers, "Expect:");
    buf_init(&e->watch_in, ETCD_MAX_REPLY);
    if (!e->endpoints.n || !e->call || !e->multi || !e->headers) {
        etcd_close(e);
        return err_internal("no endpoint of etcd in '%s'", config->endpoint);
    }
    *ret = e;
    return NULL;
}

void etcd_close(struct etcd *e)
{
    if (!e)
        return;
    etcd_watch_stop(e);
    vec_each (p, &e->endpoints)
        free(*p);
    vec_done(&e->endpoints);
    curl_easy_cleanup(e->call);
    curl_multi_cleanup(e->multi);
    curl_slist_free_all(e->headers);
    buf_done(&e->watch_in);
    free(e->ca_file);
    free(e->cert_file);
    free(e->key_file);
    free(e);
}

usec_t etcd_timeout(const struct etcd *e)
{
    return (usec_t)e->timeout_ms * USEC_PER_MSEC;
}

/* --- calls --- */

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;
    buf_put(b, p, size * n);
    return buf_ok(b) ? size * n : 0;
}

static void set_up(struct etcd *e, CURL *curl, const char *path, struct buf *reply)
{
    _cleanup_(freep) char *url = mem_printf("%s%s", e->endpoints.v[e->endpoint], path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, e->headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, e->error);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    if (e->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, e->ca_file);
    if (e->cert_file)
        curl_easy_setopt(curl, CURLOPT_SSLCERT, e->cert_file);
    if (e->key_file)
        curl_easy_setopt(curl, CURLOPT_SSLKEY, e->key_file);
    e->error[0] = 0;
}

static struct err *refused(const char *path, long status, struct buf *reply, bool *ret_again)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    const char *text = "";
    if (json_parse((struct view){buf_str(reply), reply->size}, &v) == 0 && val_kind(v) == VAL_MAP)
        text = val_map_str(v, "error", "");
    *ret_again = status >= 500;
    return err_internal("etcd answers %s with status %ld: %s", path, status, text);
}

struct err *etcd_call(struct etcd *e, const char *path, struct buf *body, struct val **ret,
                      bool *ret_again)
{
    _cleanup_(buf_done) struct buf reply;
    buf_init(&reply, ETCD_MAX_REPLY);
    *ret_again = false;
    if (!buf_ok(body))
        return err_internal("a request to etcd is too large");
    set_up(e, e->call, path, &reply);
    curl_easy_setopt(e->call, CURLOPT_TIMEOUT_MS, e->timeout_ms);
    curl_easy_setopt(e->call, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->size);
    curl_easy_setopt(e->call, CURLOPT_POSTFIELDS, buf_str(body));
    CURLcode code = curl_easy_perform(e->call);
    if (code != CURLE_OK) {
        *ret_again = true;
        struct err *err = err_internal("etcd at '%s': %s", e->endpoints.v[e->endpoint],
                                       *e->error ? e->error : curl_easy_strerror(code));
        e->endpoint = (e->endpoint + 1) % e->endpoints.n;
        return err;
    }
    long status = 0;
    curl_easy_getinfo(e->call, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return refused(path, status, &reply, ret_again);
    struct val *v = NULL;
    if (json_parse((struct view){buf_str(&reply), reply.size}, &v) < 0 || val_kind(v) != VAL_MAP) {
        val_unref(v);
        return err_internal("etcd answers %s with something that is no JSON object", path);
    }
    *ret = v;
    return NULL;
}

/* --- watching --- */

struct err *etcd_watch_start(struct etcd *e, const char *key, const char *range_end,
                             uint64_t revision)
{
    _cleanup_(buf_done) struct buf body;
    etcd_watch_stop(e);
    buf_init(&body, 1 << 16);
    buf_puts(&body, "{\"create_request\":");
    json_begin_map(&body);
    etcd_put_bytes(&body, "key", view_of(key));
    etcd_put_bytes(&body, "range_end", view_of(range_end));
    etcd_put_number(&body, "start_revision", revision);
    json_end_map(&body);
    buf_putc(&body, '}');
    e->watch = curl_easy_init();
    if (!e->watch || !buf_ok(&body))
        return err_internal("etcd cannot be watched");
    e->watch_body = buf_take(&body);
    set_up(e, e->watch, "/v3/watch", &e->watch_in);
    curl_easy_setopt(e->watch, CURLOPT_POSTFIELDS, e->watch_body);
    curl_multi_add_handle(e->multi, e->watch);
    return NULL;
}

bool etcd_watch_is_on(const struct etcd *e)
{
    return e->watch;
}

void etcd_watch_stop(struct etcd *e)
{
    if (e->watch) {
        curl_multi_remove_handle(e->multi, e->watch);
        curl_easy_cleanup(e->watch);
    }
    e->watch = NULL;
    free(steal(&e->watch_body));
    buf_clear(&e->watch_in);
}

/* Takes one line off what has come in; false if there is none yet. */
static bool take_message(struct etcd *e, struct val **ret, struct err **ret_err)
{
    const char *end = e->watch_in.size ? memchr(e->watch_in.data, '\n', e->watch_in.size) : NULL;
    if (!end)
        return false;
    size_t size = (size_t)(end - e->watch_in.data);
    if (json_parse((struct view){e->watch_in.data, size}, ret) < 0 || val_kind(*ret) != VAL_MAP)
        *ret_err = err_internal("etcd's watch sends something that is no JSON object");
    buf_consume(&e->watch_in, size + 1);
    return true;
}

/* Lets bytes come in until the deadline at most. */
static struct err *watch_pump(struct etcd *e, usec_t deadline)
{
    int running = 0, left = 0;
    CURLMcode code = curl_multi_perform(e->multi, &running);
    CURLMsg *msg = curl_multi_info_read(e->multi, &left);
    if (code != CURLM_OK || msg || !running) {
        e->endpoint = (e->endpoint + 1) % e->endpoints.n;
        return err_internal("etcd's watch has ended: %s",
                            *e->error ? e->error : "the connection was closed");
    }
    if (e->watch_in.size && memchr(e->watch_in.data, '\n', e->watch_in.size))
        return NULL;
    usec_t now = clock_now();
    usec_t ms = deadline > now ? (deadline - now) / USEC_PER_MSEC + 1 : 0;
    if (curl_multi_poll(e->multi, NULL, 0, ms > 60000 ? 60000 : (int)ms, NULL) != CURLM_OK)
        return err_internal("etcd's watch cannot be waited for");
    return NULL;
}

struct err *etcd_watch_next(struct etcd *e, usec_t deadline, struct val **ret)
{
    struct err *err = NULL;
    struct val *v = NULL;
    while (!err && !take_message(e, &v, &err)) {
        if (clock_now() >= deadline) {
            *ret = NULL;
            return NULL;
        }
        err = watch_pump(e, deadline);
    }
    if (err) {
        val_unref(v);
        etcd_watch_stop(e);
        return err;
    }
    *ret = v;
    return NULL;
}

/* --- requests and replies --- */

void etcd_put_bytes(struct buf *b, const char *name, struct view bytes)
{
    json_put_key(b, view_of(name));
    buf_putc(b, '"');
    base64_put(b, bytes);
    buf_putc(b, '"');
}

void etcd_put_number(struct buf *b, const char *name, uint64_t n)
{
    json_put_key(b, view_of(name));
    buf_printf(b, "\"%" PRIu64 "\"", n);
}

uint64_t etcd_number(const struct val *map, const char *name)
{
    uint64_t n;
    const struct val *v = val_map_get(map, name);
    if (v && val_kind(v) == VAL_INT)
        return (uint64_t)val_get_int(v);
    return str_u64(view_of(val_map_str(map, name, "")), 0, UINT64_MAX, &n) < 0 ? 0 : n;
}

int etcd_bytes(const struct val *map, const char *name, struct buf *ret)
{
    return base64_get(view_of(val_map_str(map, name, "")), ret);
}

const struct val *etcd_map(const struct val *map, const char *name)
{
    const struct val *v = val_map_get(map, name);
    return v && val_kind(v) == VAL_MAP ? v : val_empty_map();
}

const struct val *etcd_set(const struct val *map, const char *name)
{
    const struct val *v = val_map_get(map, name);
    return v && val_kind(v) == VAL_SET ? v : val_empty_set();
}
