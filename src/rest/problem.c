/*
 * problem.c: what an error of XenAPI is in HTTP: a status, and a body as in RFC 9457 that carries
 * code and parameters unchanged. Any thread.
 */
#include <string.h>

#include "base/str.h"
#include "codec/json.h"
#include "rest/rest_impl.h"

/* Sorted by status. What stands in no row is a refusal by the state of things: 409. */
static const struct {
    const char *code;
    unsigned status;
} statuses[] = {
    {"FIELD_TYPE_ERROR", 400},
    {"INVALID_VALUE", 400},
    {"MESSAGE_PARAMETER_COUNT_MISMATCH", 400},
    {"VALUE_NOT_SUPPORTED", 400},
    {"SESSION_AUTHENTICATION_FAILED", 401},
    {"SESSION_INVALID", 401},
    {"HOST_IS_SLAVE", 421},
    {"RBAC_PERMISSION_DENIED", 403},
    {"PERMISSION_DENIED", 403},
    {"HANDLE_INVALID", 404},
    {"UUID_INVALID", 404},
    {"MESSAGE_METHOD_UNKNOWN", 404},
    {"MESSAGE_REMOVED", 410},
    {"STALE_RECORD", 412},
    {"INTERNAL_ERROR", 500},
    {"NOT_IMPLEMENTED", 501},
    {"HOST_STILL_BOOTING", 503},
    {"TOO_MANY_PENDING_TASKS", 503},
};

unsigned rest_status(const struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        if (err_is(e, statuses[i].code))
            return statuses[i].status;
    return 409;
}

/* A sentence for people: the parameter that is one, or the code with all of them. */
static char *detail_of(const struct err *e)
{
    struct buf b; /* its memory goes to the caller */
    buf_init(&b, 65536);
    buf_puts(&b, err_code(e));
    for (unsigned i = 0; i < err_n_params(e); i++)
        buf_printf(&b, "%s %s", i ? "," : ":", err_param(e, i));
    return buf_take(&b);
}

/* "VM_BAD_POWER_STATE" -> "VM bad power state", "INVALID_VALUE" -> "Invalid value". */
static char *title_of(const char *code)
{
    char *title = mem_strdup(code);
    bool initials = strcspn(code, "_") <= 3;
    for (char *c = title + 1; c[-1] && *c; c++) {
        initials = initials && *c != '_';
        if (*c == '_')
            *c = ' ';
        else if (!initials && *c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    }
    return title;
}

void rest_put_problem(struct buf *b, unsigned status, const struct err *e)
{
    _cleanup_(freep) char *detail = detail_of(e), *title = title_of(err_code(e));
    _cleanup_(freep) char *type = mem_printf("/openapi.json#/x-errors/%s", err_code(e));
    json_begin_map(b);
    json_put_key(b, view_of("type"));
    json_put_str(b, view_of(type));
    json_put_key(b, view_of("title"));
    json_put_str(b, view_of(title));
    json_put_key(b, view_of("status"));
    json_put_int(b, status);
    json_put_key(b, view_of("detail"));
    json_put_str(b, view_of(detail));
    json_put_key(b, view_of("code"));
    json_put_str(b, view_of(err_code(e)));
    json_put_key(b, view_of("params"));
    json_begin_set(b);
    for (unsigned i = 0; i < err_n_params(e); i++)
        json_put_str(b, view_of(err_param(e, i)));
    json_end_set(b);
    json_end_map(b);
    buf_putc(b, '\n');
}
