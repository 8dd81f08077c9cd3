/* query.c: what stands inside targets, cookies and credentials; see http.h. */
#include <ctype.h>
#include <string.h>

#include "http/http.h"

static int hex(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
                                        : -1;
}

char *http_decode(struct view text, bool plus)
{
    _cleanup_(freep) char *out = mem_zalloc(text.size + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.p[i];
        if (c == '%') {
            if (text.size - i < 3 || hex(text.p[i + 1]) < 0 || hex(text.p[i + 2]) < 0)
                return NULL;
            c = (char)(hex(text.p[i + 1]) << 4 | hex(text.p[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (!c)
            return NULL;
        out[n++] = c;
    }
    out[n] = '\0';
    return steal(&out);
}

void http_put_encoded(struct buf *b, struct view text, const char *keep)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c && (isalnum(c) || strchr("-._~", c) || strchr(keep, c)) && c < 0x80)
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

/* Takes "name=value" off the list; names may stand alone. Text that cannot be decoded is skipped
 * with its pair. */
static bool next_pair(struct view *list, const char *separators, bool plus, char **ret_name,
                      char **ret_value)
{
    while (list->size) {
        size_t n = 0;
        while (n < list->size && !strchr(separators, list->p[n]))
            n++;
        struct view value = {list->p, n}, name;
        *list = view_cut(*list, n + 1);
        value = view_trim(value);
        if (!value.size)
            continue;
        view_split(&value, '=', &name);
        _cleanup_(freep) char *k = http_decode(name, plus);
        _cleanup_(freep) char *v = http_decode(value, plus);
        if (!k || !v)
            continue;
        *ret_name = steal(&k);
        *ret_value = steal(&v);
        return true;
    }
    return false;
}

bool http_query_next(struct view *query, char **ret_name, char **ret_value)
{
    return next_pair(query, "&", true, ret_name, ret_value);
}

static char *find_pair(struct view list, const char *separators, bool plus, const char *name)
{
    _cleanup_(freep) char *k = NULL;
    _cleanup_(freep) char *v = NULL;
    while (next_pair(&list, separators, plus, &k, &v)) {
        if (str_eq(k, name))
            return steal(&v);
        freep(&k);
        freep(&v);
    }
    return NULL;
}

char *http_query_get(struct view query, const char *name)
{
    return find_pair(query, "&", true, name);
}

char *http_cookie_get(const struct http_head *h, const char *name)
{
    for (unsigned i = 0; i < h->n_headers; i++) {
        if (!view_ieq(h->headers[i].name, "cookie"))
            continue;
        char *v = find_pair(h->headers[i].value, ";&", false, name);
        if (v)
            return v;
    }
    return NULL;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static char *base64_text(struct view in)
{
    while (in.size && in.p[in.size - 1] == '=')
        in.size--;
    _cleanup_(freep) char *out = mem_zalloc(in.size + 1, 1);
    size_t n = 0;
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < in.size; i++) {
        int d = base64_digit(in.p[i]);
        if (d < 0)
            return NULL;
        bits = (bits << 6 | (unsigned)d) & 0xffff;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        out[n] = (char)(bits >> have);
        if (!out[n++])
            return NULL;
    }
    return steal(&out);
}

bool http_basic_auth(const struct http_head *h, char **ret_user, char **ret_password)
{
    struct view value = http_find(h, "authorization"), scheme;
    if (!value.p || !view_split(&value, ' ', &scheme) || !view_ieq(scheme, "basic"))
        return false;
    _cleanup_(freep) char *text = base64_text(view_trim(value));
    char *colon = text ? strchr(text, ':') : NULL;
    if (!colon)
        return false;
    *ret_password = mem_strdup(colon + 1);
    *ret_user = mem_strndup(text, (size_t)(colon - text));
    return true;
}
