/* sr_share.c: see sr_share.h. */
#include "host/sr_share.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host_impl.h"
#include "host/sr_net.h"

#define URL_MAX 4096

bool sr_share_is(const char *location)
{
    return str_starts(location, "//") || str_starts(location, "\\\\");
}

static char *login_path(const struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *name =
        sr->uuid[0] ? mem_strdup(sr->uuid) : mem_printf("probe-%p", (const void *)sr);
    return mem_printf("%s/sr-login/%s", h->run_dir, name);
}

struct err *sr_share_login(struct host *h, const struct sr_ref *sr, const struct sr_share *share)
{
    _cleanup_(freep) char *path = login_path(h, sr);
    _cleanup_(freep) char *dir = mem_printf("%s/sr-login", h->run_dir);
    _cleanup_(freep) char *text = mem_printf("%s\n%s", share->user, share->password);
    if (!share->user[0])
        return NULL;
    int r = strchr(share->user, '\n') ? -EINVAL : fd_mkdirs(dir, 0700);
    if (r == 0)
        r = fd_replace_file(path, text, strlen(text), 0600);
    return r < 0 ? sr_error(SR_GENERAL, "The login cannot be kept", strerror(-r)) : NULL;
}

void sr_share_logout(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *path = login_path(h, sr);
    (void)unlink(path);
}

/* Slashes in place of backslashes, none at the end, and none of the names "", "." and "..". */
static char *names_of(const char *location)
{
    char *text = mem_strdup(location + 2);
    for (char *s = text; *s; s++)
        if (*s == '\\')
            *s = '/';
    for (size_t n = strlen(text); n && text[n - 1] == '/'; n--)
        text[n - 1] = '\0';
    struct view rest = view_of(text), name;
    bool more = true, is_clean = true;
    while (more) {
        more = view_split(&rest, '/', &name);
        is_clean = is_clean && name.size && !view_eq(name, ".") && !view_eq(name, "..");
    }
    if (!is_clean)
        text[0] = '\0';
    return text;
}

static void put_login(struct buf *b, const struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *login = login_path(h, sr);
    for (const char *s = login; *s; s++)
        *s == '/' ? buf_puts(b, "%2F") : buf_putc(b, *s);
    buf_putc(b, '@');
}

struct err *sr_share_url(struct host *h, const struct sr_ref *sr, const struct sr_share *share,
                         char **ret)
{
    char address[INET6_ADDRSTRLEN];
    _cleanup_(buf_done) struct buf b = {.data = NULL};
    _cleanup_(freep) char *names =
        sr_share_is(share->location) ? names_of(share->location) : mem_strdup("");
    char *name = strchr(names, '/');
    *ret = NULL;
    if (!name)
        return NULL;
    *name++ = '\0';
    char *below = strchr(name, '/');
    if (below)
        *below++ = '\0';
    TRY(sr_address(names, address));
    bool is_six = strchr(address, ':');
    buf_init(&b, URL_MAX);
    buf_puts(&b, "smb://");
    if (share->user[0])
        put_login(&b, h, sr);
    buf_printf(&b, is_six ? "[%s]" : "%s", address);
    buf_printf(&b, "/%s//%s%s%s", name, below ? below : "", below && share->folder[0] ? "/" : "",
               share->folder);
    if (buf_ok(&b))
        *ret = buf_take(&b);
    return NULL;
}

const char *sr_share_why(int r)
{
    switch (-r) {
    case EHOSTUNREACH:
        return "the server does not answer";
    case EKEYREJECTED:
        return "the server does not accept the name and the password";
    case ENXIO:
        return "the server has no such share";
    case ENOTSUP:
        return "the share wants to be spoken to encrypted, which this host cannot do";
    case EPROTONOSUPPORT:
        return "the server speaks none of SMB 2.1, 3.0 and 3.0.2";
    default:
        return strerror(-r);
    }
}
