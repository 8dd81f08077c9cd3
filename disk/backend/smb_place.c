/* smb_place.c: see smb_place.h. Called on job threads and by one-shot commands. */
#include "disk/backend/smb_place.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"

#define SCHEME    "smb://"
#define SLASH     "%2F"
#define PORT      445
#define LOGIN_MAX 1024
#define PATH_MOST 4096

static void free_secret(char *s)
{
    if (s)
        OPENSSL_cleanse(s, strlen(s));
    free(s);
}

void smb_place_done(struct smb_place *p)
{
    free(p->address);
    free(p->share);
    free(p->path);
    free(p->login.user);
    free_secret(p->login.password);
    *p = (struct smb_place){.port = 0};
}

static char *with_slashes(struct view text)
{
    char *out = mem_strndup(text.p, text.size), *to = out;
    for (const char *from = out; *from;) {
        bool is_slash = str_starts(from, SLASH);
        *to++ = is_slash ? '/' : *from;
        from += is_slash ? strlen(SLASH) : 1;
    }
    *to = '\0';
    return out;
}

static int read_login(struct view path, struct smb_login *ret)
{
    _cleanup_(buf_done) struct buf text;
    _cleanup_(freep) char *file = with_slashes(path);
    buf_init(&text, LOGIN_MAX);
    int r = fd_read_file(file, LOGIN_MAX, &text);
    if (r < 0)
        return r == -ENOENT ? -EKEYREJECTED : r;
    const char *s = buf_str(&text), *end = strchr(s, '\n');
    if (!end || end == s)
        return -EINVAL;
    ret->user = mem_strndup(s, (size_t)(end - s));
    ret->password = mem_strdup(end + 1);
    OPENSSL_cleanse(text.data, text.size);
    return 0;
}

/* ADDRESS[:PORT] */
static int read_host(struct view host, struct smb_place *ret)
{
    bool is_six = host.size && host.p[0] == '[';
    const char *end = is_six ? memchr(host.p, ']', host.size) : NULL;
    if (is_six && !end)
        return -EINVAL;
    size_t size = is_six ? (size_t)(end - host.p) - 1 : host.size;
    const char *colon = is_six ? end + 1 : memchr(host.p, ':', host.size);
    struct view port = {NULL, 0};
    uint64_t n = PORT;
    if (colon && colon < host.p + host.size) {
        port = view_cut(host, (size_t)(colon - host.p));
        size = is_six ? size : (size_t)(colon - host.p);
    }
    if (size == 0 || (port.size && (port.p[0] != ':' || str_u64(view_cut(port, 1), 1, 65535, &n))))
        return -EINVAL;
    ret->address = mem_strndup(host.p + is_six, size);
    ret->port = (uint16_t)n;
    return 0;
}

/* The last name goes; -EINVAL above the share. */
static int go_up(struct buf *b)
{
    if (b->size == 0)
        return -EINVAL;
    while (b->size && b->data[b->size - 1] != '/')
        b->size--;
    if (b->size)
        b->size--;
    return 0;
}

static int clean_path(struct view path, char **ret)
{
    _cleanup_(buf_done) struct buf b;
    struct view name;
    bool more = path.size;
    int r = 0;
    buf_init(&b, PATH_MOST);
    while (more && r == 0) {
        more = view_split(&path, '/', &name);
        if (view_eq(name, ".."))
            r = go_up(&b);
        else if (name.size && !view_eq(name, ".")) {
            if (b.size)
                buf_putc(&b, '/');
            buf_put(&b, name.p, name.size);
        }
    }
    if (r == 0 && (!buf_ok(&b) || memchr(buf_str(&b), '\\', b.size)))
        r = -EINVAL;
    if (r == 0)
        *ret = mem_strndup(buf_str(&b), b.size);
    return r;
}

/* What comes behind the server's name, in two. */
static int read_names(struct view rest, char **ret_share, char **ret_path)
{
    const char *mark = memmem(rest.p, rest.size, "//", 2);
    size_t size = mark ? (size_t)(mark - rest.p) : rest.size;
    struct view path = mark ? view_cut(rest, size + 2) : (struct view){rest.p, 0};
    if (size && rest.p[size - 1] == '/')
        size--;
    if (size == 0 || memchr(rest.p, '/', size) || memchr(rest.p, '\\', size))
        return -EINVAL;
    if (ret_share)
        *ret_share = mem_strndup(rest.p, size);
    return clean_path(path, ret_path);
}

static int begin(const char *url, struct view *ret_host, struct view *ret_rest)
{
    *ret_rest = view_of(url);
    if (!view_starts(*ret_rest, SCHEME))
        return -EINVAL;
    *ret_rest = view_cut(*ret_rest, strlen(SCHEME));
    return view_split(ret_rest, '/', ret_host) ? 0 : -EINVAL;
}

int smb_place_parse_path(const char *url, char **ret)
{
    struct view host, rest;
    int r = begin(url, &host, &rest);
    return r < 0 ? r : read_names(rest, NULL, ret);
}

int smb_place_parse(const char *url, struct smb_place *ret)
{
    struct view host, rest, login;
    *ret = (struct smb_place){.port = 0};
    int r = begin(url, &host, &rest);
    if (r == 0 && memchr(host.p, '@', host.size) && view_split(&host, '@', &login))
        r = read_login(login, &ret->login);
    if (r == 0)
        r = read_host(host, ret);
    if (r == 0)
        r = read_names(rest, &ret->share, &ret->path);
    if (r < 0)
        smb_place_done(ret);
    return r;
}
