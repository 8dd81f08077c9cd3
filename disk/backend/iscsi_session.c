/* iscsi_session.c: see iscsi_session.h. Called on job threads and by one-shot commands. */
#include "disk/backend/iscsi_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define INITIATOR  "iqn.2026-11.org.cairn"
#define SECRET_MAX 1024
#define PATIENCE_S 20

void iscsi_place_done(struct iscsi_place *p)
{
    free(p->portal);
    free(p->iqn);
    free(p->user);
    free(p->secret);
    *p = (struct iscsi_place){0};
}

static int read_chap(const char *path, struct iscsi_place *ret)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, SECRET_MAX);
    int r = fd_read_file(path, SECRET_MAX, &text);
    if (r < 0)
        return r;
    const char *s = buf_str(&text), *end = strchr(s, '\n');
    if (!end)
        return -EINVAL;
    ret->user = mem_strndup(s, (size_t)(end - s));
    ret->secret = mem_strdup(end + 1);
    return 0;
}

static int parse_lun(const char *text, size_t size, int *ret)
{
    uint64_t n = 0;
    if (size && str_u64((struct view){text, size}, 0, 16383, &n) < 0)
        return -EINVAL;
    *ret = size ? (int)n : -1;
    return 0;
}

int iscsi_place_parse(const char *url, struct iscsi_place *ret)
{
    static const char scheme[] = "iscsi://", chap[] = "?chap=";
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
        return -EINVAL;
    const char *portal = url + sizeof(scheme) - 1, *query = strstr(portal, chap);
    size_t size = query ? (size_t)(query - portal) : strlen(portal);
    const char *end = portal + size, *slash = memchr(portal, '/', size);
    if (!slash || slash == portal)
        return -EINVAL;
    const char *iqn = slash + 1, *lun = memchr(iqn, '/', (size_t)(end - iqn));
    ret->portal = mem_strndup(portal, (size_t)(slash - portal));
    ret->iqn = mem_strndup(iqn, (size_t)((lun ? lun : end) - iqn));
    int r = lun ? parse_lun(lun + 1, (size_t)(end - lun - 1), &ret->lun) : 0;
    if (!lun)
        ret->lun = -1;
    if (r == 0 && query)
        r = read_chap(query + sizeof(chap) - 1, ret);
    if (r < 0)
        iscsi_place_done(ret);
    return r;
}

static int connect_to(struct iscsi_context *c, const struct iscsi_place *p)
{
    if (p->iqn[0] && p->lun >= 0)
        return iscsi_full_connect_sync(c, p->portal, p->lun);
    int r = iscsi_connect_sync(c, p->portal);
    return r == 0 ? iscsi_login_sync(c) : r;
}

static int errno_of(struct iscsi_context *c)
{
    const char *text = iscsi_get_error(c);
    if (strstr(text, "uthentication") || strstr(text, "uthorization") || strstr(text, "CHAP"))
        return -EKEYREJECTED;
    if (strstr(text, "arget not found") || strstr(text, "(515)"))
        return -ENOENT;
    return -EHOSTUNREACH;
}

int iscsi_session_open(const struct iscsi_place *p, struct iscsi_context **ret)
{
    struct iscsi_context *c = iscsi_create_context(INITIATOR);
    if (!c)
        return -ENOMEM;
    if (p->iqn[0])
        iscsi_set_targetname(c, p->iqn);
    iscsi_set_session_type(c, p->iqn[0] ? ISCSI_SESSION_NORMAL : ISCSI_SESSION_DISCOVERY);
    iscsi_set_header_digest(c, ISCSI_HEADER_DIGEST_NONE);
    if (p->user)
        iscsi_set_initiator_username_pwd(c, p->user, p->secret);
    iscsi_set_noautoreconnect(c, 1);
    iscsi_set_timeout(c, PATIENCE_S);
    if (connect_to(c, p) == 0) {
        *ret = c;
        return 0;
    }
    int r = errno_of(c);
    iscsi_destroy_context(c);
    return r;
}
