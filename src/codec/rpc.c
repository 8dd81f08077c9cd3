/* rpc.c: see rpc.h. */
#include "codec/rpc.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/rstr.h"
#include "codec/json.h"
#include "codec/xml.h"

void rpc_request_done(struct rpc_request *req)
{
    free(req->id);
    free(req->method);
    val_unref(req->params);
    *req = (struct rpc_request){0};
}

/* The id has to be a number without fraction or a string, and is sent back as it came. */
static int take_id(const struct val *call, char **ret)
{
    const struct val *id = val_map_get(call, "id");
    if (!id || (val_kind(id) != VAL_INT && val_kind(id) != VAL_STRING))
        return -EINVAL;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    json_put_val(&b, id);
    *ret = buf_take(&b);
    return 0;
}

static bool is_version_2(const struct val *call)
{
    const struct val *v = val_map_get(call, "jsonrpc");
    return v && val_kind(v) == VAL_STRING && str_eq(val_get_str(v), "2.0");
}

/* An array is the parameters; in 2.0 nothing is none of them, and an object is the only one. */
static struct val *take_params(const struct val *call, unsigned version)
{
    const struct val *p = val_map_get(call, "params");
    if (p && val_kind(p) == VAL_SET)
        return val_ref(p);
    if (version == 1 || (p && val_kind(p) != VAL_MAP))
        return NULL;
    struct val *set = val_set();
    if (p)
        val_add(set, val_ref(p));
    return set;
}

static int parse_json(struct view body, struct rpc_request *req)
{
    _cleanup_(val_unrefp) struct val *call = NULL;
    int r = json_parse(body, &call);
    if (r < 0)
        return r;
    if (val_kind(call) != VAL_MAP)
        return -EINVAL;
    req->version = is_version_2(call) ? 2 : 1;
    r = take_id(call, &req->id);
    if (r < 0)
        return r;
    const struct val *method = val_map_get(call, "method");
    if (!method || val_kind(method) != VAL_STRING)
        return -EINVAL;
    req->method = mem_strdup(val_get_str(method));
    req->params = take_params(call, req->version);
    return req->params ? 0 : -EINVAL;
}

static int parse_body(enum rpc_format format, struct view body, struct rpc_request *ret)
{
    _cleanup_(rpc_request_done) struct rpc_request req = {.format = format};
    int r = format == RPC_JSON ? parse_json(body, &req)
                               : xml_parse_call(body, &req.method, &req.params);
    if (r < 0)
        return r;
    *ret = req;
    req = (struct rpc_request){0};
    return 0;
}

/* A copy in which each byte that is part of no character has become '?'. */
static char *repair_utf8(struct view body)
{
    char *copy = view_dup(body);
    for (size_t i = 0; i < body.size;) {
        size_t n = 1;
        while (n <= 4 && i + n <= body.size && !str_is_utf8((struct view){copy + i, n}))
            n++;
        if (n > 4 || i + n > body.size) {
            copy[i] = '?';
            n = 1;
        }
        i += n;
    }
    return copy;
}

int rpc_parse(enum rpc_format format, struct view body, struct rpc_request *ret)
{
    int r = parse_body(format, body, ret);
    if (r >= 0 || str_is_utf8(body))
        return r;
    _cleanup_(freep) char *repaired = repair_utf8(body);
    r = parse_body(format, (struct view){repaired, body.size}, ret);
    if (r >= 0)
        ret->invalid_utf8 = true;
    return r;
}

const char *rpc_content_type(enum rpc_format format)
{
    return format == RPC_XML ? "text/xml" : "application/json";
}

#define XML_HEAD    "<?xml version=\"1.0\"?><methodResponse><params><param>"
#define XML_TAIL    "</param></params></methodResponse>"
#define XML_STATUS  "<value><struct><member><name>Status</name><value>"
#define XML_SUCCESS XML_STATUS "Success</value></member><member><name>Value</name>"
#define XML_FAILURE XML_STATUS "Failure</value></member><member><name>ErrorDescription</name>"
#define XML_END     "</member></struct></value>"

struct rpc_out rpc_begin_bare(const struct rpc_request *req, struct buf *b)
{
    if (req->format == RPC_XML)
        buf_puts(b, XML_HEAD);
    else
        buf_puts(b, req->version == 2 ? "{\"jsonrpc\":\"2.0\",\"result\":" : "{\"result\":");
    return (struct rpc_out){.b = b, .format = req->format};
}

void rpc_end_bare(const struct rpc_request *req, struct rpc_out *o)
{
    if (req->format == RPC_XML) {
        buf_puts(o->b, XML_TAIL);
        return;
    }
    buf_puts(o->b, req->version == 2 ? ",\"id\":" : ",\"error\":null,\"id\":");
    buf_puts(o->b, req->id);
    buf_putc(o->b, '}');
}

struct rpc_out rpc_begin_success(const struct rpc_request *req, struct buf *b)
{
    struct rpc_out o = rpc_begin_bare(req, b);
    if (req->format == RPC_XML)
        buf_puts(b, XML_SUCCESS);
    return o;
}

void rpc_end_success(const struct rpc_request *req, struct rpc_out *o)
{
    if (req->format == RPC_XML)
        buf_puts(o->b, XML_END);
    rpc_end_bare(req, o);
}

static void put_strings(struct rpc_out *o, const char *first, unsigned n, const char *const *more)
{
    rpc_begin_set(o);
    if (first)
        rpc_put_str(o, first);
    for (unsigned i = 0; i < n; i++)
        rpc_put_str(o, more[i]);
    rpc_end_set(o);
}

void rpc_put_failure(const struct rpc_request *req, struct buf *b, const char *code, unsigned n,
                     const char *const *params)
{
    struct rpc_out o = {.b = b, .format = req->format};
    if (req->format == RPC_XML) {
        buf_puts(b, XML_HEAD XML_FAILURE);
        put_strings(&o, code, n, params);
        buf_puts(b, XML_END XML_TAIL);
        return;
    }
    if (req->version == 2) {
        buf_puts(b, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":");
        rpc_put_str(&o, code);
        buf_puts(b, ",\"data\":");
        put_strings(&o, NULL, n, params);
        buf_putc(b, '}');
    } else {
        buf_puts(b, "{\"result\":null,\"error\":");
        put_strings(&o, code, n, params);
    }
    buf_puts(b, ",\"id\":");
    buf_puts(b, req->id);
    buf_putc(b, '}');
}

void rpc_put_call(struct buf *b, const char *method, const struct val *params)
{
    struct rpc_out o = {.b = b, .format = RPC_XML};
    buf_puts(b, "<?xml version=\"1.0\"?><methodCall><methodName>");
    xml_put_text(b, view_of(method));
    buf_puts(b, "</methodName><params>");
    for (size_t i = 0; i < val_count(params); i++) {
        buf_puts(b, "<param>");
        rpc_put_val(&o, val_at(params, i));
        buf_puts(b, "</param>");
    }
    buf_puts(b, "</params></methodCall>");
}

void rpc_put_str_n(struct rpc_out *o, const char *s, size_t size)
{
    struct view text = {s, size};
    if (o->format == RPC_XML)
        xml_put_str(o->b, text);
    else
        json_put_str(o->b, text);
}

void rpc_put_str(struct rpc_out *o, const char *s)
{
    rpc_put_str_n(o, s, strlen(s));
}

void rpc_put_int(struct rpc_out *o, int64_t i)
{
    if (o->format == RPC_JSON)
        json_put_int(o->b, i);
    else if (o->i4)
        xml_put_i4(o->b, i);
    else
        xml_put_int(o->b, i);
}

void rpc_put_bool(struct rpc_out *o, bool v)
{
    if (o->format == RPC_XML)
        xml_put_bool(o->b, v);
    else
        json_put_bool(o->b, v);
}

void rpc_put_float(struct rpc_out *o, double d)
{
    if (o->format == RPC_XML)
        xml_put_float(o->b, d);
    else
        json_put_float(o->b, d);
}

void rpc_put_datetime(struct rpc_out *o, int64_t seconds)
{
    if (o->format == RPC_XML)
        xml_put_datetime(o->b, seconds);
    else
        json_put_datetime(o->b, seconds);
}

void rpc_put_void(struct rpc_out *o)
{
    rpc_put_str_n(o, "", 0);
}

void rpc_begin_set(struct rpc_out *o)
{
    if (o->format == RPC_XML)
        xml_begin_set(o->b);
    else
        json_begin_set(o->b);
}

void rpc_end_set(struct rpc_out *o)
{
    if (o->format == RPC_XML)
        xml_end_set(o->b);
    else
        json_end_set(o->b);
}

void rpc_begin_map(struct rpc_out *o)
{
    if (o->format == RPC_XML)
        xml_begin_map(o->b);
    else
        json_begin_map(o->b);
}

static void put_key(struct rpc_out *o, struct view key)
{
    if (o->format == RPC_XML)
        xml_put_key(o->b, key);
    else
        json_put_key(o->b, key);
}

void rpc_put_key(struct rpc_out *o, const char *key)
{
    put_key(o, view_of(key));
}

void rpc_end_map(struct rpc_out *o)
{
    if (o->format == RPC_XML)
        xml_end_map(o->b);
    else
        json_end_map(o->b);
}

static void put_set(struct rpc_out *o, const struct val *v)
{
    rpc_begin_set(o);
    for (size_t i = 0; i < val_count(v); i++)
        rpc_put_val(o, val_at(v, i));
    rpc_end_set(o);
}

static void put_map(struct rpc_out *o, const struct val *v)
{
    rpc_begin_map(o);
    for (size_t i = 0; i < val_count(v); i++) {
        const char *key = val_key_at(v, i);
        put_key(o, (struct view){key, rstr_size(key)});
        rpc_put_val(o, val_at(v, i));
    }
    rpc_end_map(o);
}

void rpc_put_val(struct rpc_out *o, const struct val *v)
{
    switch (val_kind(v)) {
    case VAL_VOID:
        rpc_put_void(o);
        break;
    case VAL_BOOL:
        rpc_put_bool(o, val_get_bool(v));
        break;
    case VAL_INT:
        rpc_put_int(o, val_get_int(v));
        break;
    case VAL_FLOAT:
        rpc_put_float(o, val_get_float(v));
        break;
    case VAL_STRING:
        rpc_put_str_n(o, val_get_str(v), rstr_size(val_get_str(v)));
        break;
    case VAL_DATETIME:
        rpc_put_datetime(o, val_get_int(v));
        break;
    case VAL_SET:
        put_set(o, v);
        break;
    case VAL_MAP:
        put_map(o, v);
        break;
    }
}

int rpc_to_int(const struct val *v, int64_t *ret)
{
    if (val_kind(v) == VAL_STRING)
        return str_i64(view_of(val_get_str(v)), INT64_MIN, INT64_MAX, ret) < 0 ? -EINVAL : 0;
    if (val_kind(v) != VAL_INT)
        return -EINVAL;
    *ret = val_get_int(v);
    return 0;
}

int rpc_to_float(const struct val *v, double *ret)
{
    switch (val_kind(v)) {
    case VAL_FLOAT:
        *ret = val_get_float(v);
        return 0;
    case VAL_INT:
        *ret = (double)val_get_int(v);
        return 0;
    case VAL_STRING:
        return str_double(view_of(val_get_str(v)), ret);
    default:
        return -EINVAL;
    }
}

int rpc_to_bool(const struct val *v, bool *ret)
{
    if (val_kind(v) != VAL_BOOL)
        return -EINVAL;
    *ret = val_get_bool(v);
    return 0;
}

int rpc_to_datetime(const struct val *v, int64_t *ret)
{
    if (val_kind(v) == VAL_STRING)
        return str_parse_datetime(view_of(val_get_str(v)), ret);
    if (val_kind(v) != VAL_DATETIME)
        return -EINVAL;
    *ret = val_get_int(v);
    return 0;
}

int rpc_to_str(const struct val *v, const char **ret)
{
    if (val_kind(v) != VAL_STRING)
        return -EINVAL;
    *ret = val_get_str(v);
    return 0;
}
