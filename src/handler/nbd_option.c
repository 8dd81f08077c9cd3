/* nbd_option.c: what clients of the gate say before the first request; see nbd_door.h. Pure. */
#include <string.h>

#include "codec/bytes.h"
#include "handler/nbd_door.h"
#include "http/http.h"

static bool has_length(uint32_t kind)
{
    return kind == NBD_OPTION_INFO || kind == NBD_OPTION_GO || kind == NBD_OPTION_LIST_META ||
           kind == NBD_OPTION_SET_META;
}

bool nbd_option_name(const struct nbd_option *o, struct view *ret)
{
    struct cursor c = cursor_of(o->data, o->size);
    if (o->kind != NBD_OPTION_EXPORT_NAME && !has_length(o->kind))
        return false;
    size_t size = has_length(o->kind) ? cursor_be32(&c) : c.left;
    const uint8_t *p = cursor_take(&c, size);
    *ret = (struct view){(const char *)p, p ? size : 0};
    return p != NULL;
}

void nbd_option_put_nameless(const struct nbd_option *o, struct buf *out)
{
    struct view name;
    if (!nbd_option_name(o, &name))
        name = (struct view){NULL, 0};
    uint32_t skip = (uint32_t)name.size + (has_length(o->kind) ? 4 : 0);
    uint32_t rest = o->size - skip;
    uint8_t head[20] = {0};
    put_be64(head, NBD_OPTION_MAGIC);
    put_be32(head + 8, o->kind);
    put_be32(head + 12, rest + (has_length(o->kind) ? 4 : 0));
    buf_put(out, head, has_length(o->kind) ? 20 : 16);
    buf_put(out, o->data + skip, rest);
}

bool nbd_export_parse(struct view name, char **ret_uuid, char **ret_session)
{
    if (memchr(name.p, '\0', name.size))
        return false;
    struct view query = name, path;
    bool has_query = view_split(&query, '?', &path);
    if (path.size && path.p[0] == '/')
        path = view_cut(path, 1);
    _cleanup_(freep) char *uuid = view_dup(path);
    _cleanup_(freep) char *session = has_query ? http_query_get(query, "session_id") : NULL;
    if (!session || !str_is_uuid(uuid))
        return false;
    *ret_uuid = steal(&uuid);
    *ret_session = steal(&session);
    return true;
}
