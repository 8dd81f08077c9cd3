/*
 * smb_at.c: what a repository needs of an SMB share besides its images. One-shot commands, and what
 * they share with opening a file. Everything here blocks.
 *
 * A name that changed is flushed with its folder: a server would be free to forget it otherwise.
 */
#include "disk/backend/smb_at.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "disk/ring.h"

#define LIST_SIZE 65536u
#define INFO_SIZE 512u
#define BUSY_MS   5000
#define AGAIN_MS  100
#define SHARE_ALL (SMB_SHARE_READ | SMB_SHARE_WRITE | SMB_SHARE_DELETE)

int smb_connect(const struct smb_place *place, struct smb_conn **ret)
{
    struct smb_conn *c = smb_conn_new(place, 0);
    int r = smb_conn_wait(c);
    if (r < 0) {
        smb_conn_free(c);
        return r == -ENOTCONN ? -EHOSTUNREACH : r;
    }
    *ret = c;
    return 0;
}

static int open_once(struct smb_conn *c, const struct smb_create *how, struct smb_opened *ret)
{
    struct smb_call call;
    _cleanup_(buf_done) struct buf answer;
    buf_init(&answer, SMB_MESSAGE_MAX);
    smb_call_begin(&call, SMB_CREATE);
    smb_put_create(&call.msg, how);
    int r = smb_conn_ask(c, &call, &answer, NULL);
    return r < 0 ? r : smb_parse_create((struct view){answer.data, answer.size}, ret);
}

/* Who has died still has his files open until the server notices. */
int smb_open(struct smb_conn *c, const struct smb_create *how, struct smb_opened *ret)
{
    uint64_t end = ring_now_us() / 1000 + BUSY_MS;
    int r;
    while ((r = open_once(c, how, ret)) == -EBUSY && ring_now_us() / 1000 < end)
        (void)poll(NULL, 0, AGAIN_MS);
    return r;
}

void smb_close(struct smb_conn *c, const struct smb_id *id)
{
    struct smb_call call;
    smb_call_begin(&call, SMB_CLOSE);
    smb_put_close(&call.msg, id);
    (void)smb_conn_ask(c, &call, NULL, NULL);
}

static int look(struct smb_conn *c, const char *path, uint32_t access, uint32_t options,
                struct smb_opened *ret)
{
    const struct smb_create how = {.access = SMB_MAY_LOOK | access,
                                   .share = SHARE_ALL,
                                   .options = options,
                                   .disposition = SMB_OPEN,
                                   .path = path};
    return smb_open(c, &how, ret);
}

void smb_settle(struct smb_conn *c, const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *folder = mem_strndup(path, slash ? (size_t)(slash - path) : 0);
    struct smb_opened o;
    struct smb_call call;
    if (look(c, folder, SMB_MAY_ADD, SMB_IS_FOLDER, &o) < 0)
        return;
    smb_call_begin(&call, SMB_FLUSH);
    smb_put_flush(&call.msg, &o.id);
    (void)smb_conn_ask(c, &call, NULL, NULL);
    smb_close(c, &o.id);
}

int smb_set(struct smb_conn *c, const struct smb_id *id, enum smb_info what, struct view data)
{
    struct smb_call call;
    smb_call_begin(&call, SMB_SET_INFO);
    smb_put_set(&call.msg, id, what, data);
    return smb_conn_ask(c, &call, NULL, NULL);
}

int smb_query(struct smb_conn *c, const struct smb_id *id, enum smb_info what, struct buf *msg,
              struct view *ret)
{
    struct smb_call call;
    buf_init(msg, SMB_MESSAGE_MAX);
    smb_call_begin(&call, SMB_QUERY_INFO);
    smb_put_query(&call.msg, id, what, INFO_SIZE);
    int r = smb_conn_ask(c, &call, msg, NULL);
    return r < 0 ? r : smb_parse_info((struct view){msg->data, msg->size}, ret);
}

/* ---- the verbs ---- */

static int add_entries(struct view data, json_t *entries)
{
    struct smb_entry *e = mem_new(struct smb_entry);
    int r;
    while ((r = smb_parse_entry(&data, e)) == 0) {
        json_t *name = json_string(e->name);
        if (!name || strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
            json_decref(name);
        else
            (void)json_array_append_new(entries,
                                        json_pack("{s:o, s:b, s:I}", "name", name, "folder",
                                                  e->is_folder, "size", (json_int_t)e->size));
    }
    free(e);
    return r == -ENODATA ? 0 : r;
}

/* One answer's worth; 1: there is no more. */
static int list_some(struct smb_conn *c, const struct smb_id *id, json_t *entries)
{
    struct smb_call call;
    _cleanup_(buf_done) struct buf answer;
    struct view data;
    uint32_t status = 0;
    buf_init(&answer, SMB_MESSAGE_MAX);
    smb_call_begin(&call, SMB_QUERY_DIRECTORY);
    smb_put_list(&call.msg, id, LIST_SIZE);
    int r = smb_conn_ask(c, &call, &answer, &status);
    if (status == SMB_NO_MORE_FILES || status == SMB_NO_SUCH_FILE)
        return 1;
    if (r == 0)
        r = smb_parse_info((struct view){answer.data, answer.size}, &data);
    return r < 0 ? r : add_entries(data, entries);
}

static int list(struct smb_conn *c, const char *path, json_t **ret)
{
    struct smb_opened o;
    int r = look(c, path, SMB_MAY_READ, SMB_IS_FOLDER, &o);
    if (r < 0)
        return r;
    json_t *entries = json_array();
    while (r == 0)
        r = list_some(c, &o.id, entries);
    smb_close(c, &o.id);
    if (r < 0)
        json_decref(entries);
    else
        *ret = json_pack("{s:o}", "entries", entries);
    return r < 0 ? r : 0;
}

static int stat_path(struct smb_conn *c, const char *path, json_t **ret)
{
    struct smb_opened o;
    struct view data;
    _cleanup_(buf_done) struct buf msg = {.data = NULL};
    uint64_t inode = 0;
    int r = look(c, path, 0, 0, &o);
    if (r < 0)
        return r;
    r = smb_query(c, &o.id, SMB_FILE_INTERNAL, &msg, &data);
    if (r == 0)
        r = smb_parse_internal(data, &inode);
    smb_close(c, &o.id);
    if (r == 0)
        *ret = json_pack("{s:b, s:I, s:I, s:I}", "folder", o.is_folder, "size", (json_int_t)o.size,
                         "allocated", (json_int_t)o.allocated, "inode", (json_int_t)inode);
    return r;
}

static int space(struct smb_conn *c, const char *path, json_t **ret)
{
    struct smb_opened o;
    struct view data;
    _cleanup_(buf_done) struct buf msg = {.data = NULL};
    uint64_t size = 0, left = 0;
    int r = look(c, path, 0, 0, &o);
    if (r < 0)
        return r;
    r = smb_query(c, &o.id, SMB_FS_SIZE, &msg, &data);
    if (r == 0)
        r = smb_parse_space(data, &size, &left);
    smb_close(c, &o.id);
    if (r == 0)
        *ret = json_pack("{s:I, s:I}", "size", (json_int_t)size, "free", (json_int_t)left);
    return r;
}

/* Something is opened, one thing about it is set, and both folders are flushed. */
static int set_at(struct smb_conn *c, const char *path, uint32_t access, uint32_t options,
                  enum smb_info what, struct view data)
{
    struct smb_opened o;
    int r = look(c, path, access, options, &o);
    if (r < 0)
        return r;
    r = smb_set(c, &o.id, what, data);
    smb_close(c, &o.id);
    if (r == 0)
        smb_settle(c, path);
    return r;
}

static int name_at(struct smb_conn *c, const char *from, const char *to, enum smb_info what)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(buf_done) struct buf data = {.data = NULL};
    int r = to ? smb_place_parse_path(to, &path) : -EINVAL;
    if (r < 0)
        return r;
    buf_init(&data, SMB_MESSAGE_MAX);
    smb_put_name(&data, path, what == SMB_FILE_RENAME);
    uint32_t access = what == SMB_FILE_RENAME ? SMB_MAY_DELETE : SMB_MAY_WRITE;
    r = set_at(c, from, access, 0, what, (struct view){data.data, data.size});
    if (r == 0)
        smb_settle(c, path);
    return r;
}

static int make_folder(struct smb_conn *c, const char *path)
{
    struct smb_opened o;
    const struct smb_create how = {.access = SMB_MAY_LOOK,
                                   .share = SHARE_ALL,
                                   .options = SMB_IS_FOLDER,
                                   .disposition = SMB_CREATE_NEW,
                                   .path = path};
    int r = smb_open(c, &how, &o);
    if (r < 0)
        return r;
    smb_close(c, &o.id);
    smb_settle(c, path);
    return 0;
}

static int drop(struct smb_conn *c, const char *path, uint32_t options)
{
    return set_at(c, path, SMB_MAY_DELETE, options, SMB_FILE_DISPOSITION, (struct view){"\1", 1});
}

static int run(struct smb_conn *c, const char *verb, const char *path, const char *more,
               json_t **ret)
{
    if (strcmp(verb, "list") == 0)
        return list(c, path, ret);
    if (strcmp(verb, "stat") == 0)
        return stat_path(c, path, ret);
    if (strcmp(verb, "space") == 0)
        return space(c, path, ret);
    *ret = json_object();
    if (strcmp(verb, "rename") == 0)
        return name_at(c, path, more, SMB_FILE_RENAME);
    if (strcmp(verb, "link") == 0)
        return name_at(c, path, more, SMB_FILE_LINK);
    if (strcmp(verb, "unlink") == 0)
        return drop(c, path, SMB_IS_FILE);
    if (strcmp(verb, "mkdir") == 0)
        return make_folder(c, path);
    if (strcmp(verb, "rmdir") == 0)
        return drop(c, path, SMB_IS_FOLDER);
    return -ENOTSUP;
}

int smb_at(const char *verb, const char *url, const char *more, json_t **ret)
{
    struct smb_place place;
    struct smb_conn *c = NULL;
    int r = smb_place_parse(url, &place);
    if (r < 0)
        return r;
    r = smb_connect(&place, &c);
    if (r == 0)
        r = run(c, verb, place.path, more, ret);
    smb_conn_free(c);
    smb_place_done(&place);
    return r;
}
