/*
 * sr_cbt.c: see sr_cbt.h. A log is read whole, changed, and put in the place of the old one by
 * renaming; a chain of logs is changed from its middle to its ends, so that a repetition finds its
 * way. Called through operations; nothing is kept between calls.
 */
#include "host/sr_cbt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "codec/base64.h"
#include "codec/cbtlog.h"
#include "gen/error.h"
#include "host/host_impl.h"
#include "host/sr_impl.h"
#include "host/sr_store.h"

#define CHAIN_MAX 4096 /* more logs in a row are a circle */

struct log {
    struct cbtlog_header head;
    struct buf bytes; /* the whole file */
};

static void log_done(struct log *l)
{
    buf_done(&l->bytes);
}

static uint8_t *bitmap(struct log *l)
{
    return (uint8_t *)l->bytes.data + CBTLOG_HEADER;
}

static size_t bitmap_size(const struct log *l)
{
    return (size_t)cbtlog_bitmap_size(l->head.disk_size);
}

/* ---- places ---- */

/* Where the logs of a repository are: a folder, on this host or on a server. */
struct shelf {
    struct host *h;
    char *folder;
};

static void shelf_done(struct shelf *shelf)
{
    free(shelf->folder);
}

static struct err *shelf_of(struct host *h, const struct sr_ref *sr, struct shelf *ret)
{
    const struct sr_kind *k = sr_kind(sr->type);
    ret->h = h;
    ret->folder = k && k->folder && k->location_of ? k->folder(h, sr) : NULL;
    return ret->folder ? NULL : err_SR_OPERATION_NOT_SUPPORTED(sr->uuid);
}

bool sr_cbt_is_supported(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(shelf_done) struct shelf shelf = {0};
    struct err *e = shelf_of(h, sr, &shelf);
    err_free(e);
    return !e;
}

char *sr_cbt_beside(const char *image_path)
{
    static const char *const suffixes[] = {".vhd", ".qcow2"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_ends(image_path, suffixes[i]))
            return mem_printf("%.*s" SR_CBT_SUFFIX, (int)(strlen(image_path) - strlen(suffixes[i])),
                              image_path);
    return NULL;
}

bool sr_cbt_has_log(struct host *h, const char *image_path)
{
    _cleanup_(freep) char *path = sr_cbt_beside(image_path);
    return path && store_exists(h, path);
}

static char *path_in(const struct shelf *shelf, const char *uuid)
{
    return mem_printf("%s/%s" SR_CBT_SUFFIX, shelf->folder, uuid);
}

/* ---- one log ---- */

static struct err *not_whole(const char *uuid)
{
    return sr_error(SR_CBT_NOT_WHOLE, "Changed blocks are not all recorded", uuid);
}

/* *ret_there false: there is none, and *ret is empty. */
static struct err *load(const struct shelf *shelf, const char *uuid, struct log *ret,
                        bool *ret_there)
{
    _cleanup_(freep) char *path = path_in(shelf, uuid);
    buf_done(&ret->bytes);
    buf_init(&ret->bytes, CBTLOG_MAX);
    *ret_there = false;
    int r = uuid[0] ? store_read(shelf->h, path, &ret->bytes) : -ENOENT;
    if (r == -ENOENT)
        return NULL;
    if (r < 0)
        return sr_error(SR_CBT_NOT_WHOLE, "A log of changed blocks cannot be read", strerror(-r));
    if (cbtlog_parse((const uint8_t *)ret->bytes.data, ret->bytes.size, &ret->head) < 0)
        return not_whole(uuid);
    *ret_there = true;
    return NULL;
}

/* While the disk is paused nobody has its log open. One that is open all the same was left so by a
 * process that was killed; what is in the page cache is all that it knew. */
static struct err *load_paused(const struct shelf *shelf, const char *uuid, struct log *ret,
                               bool *ret_there)
{
    char text[37] = "";
    TRY(load(shelf, uuid, ret, ret_there));
    if (!*ret_there || ret->head.is_whole || !ret->head.boot)
        return NULL;
    _cleanup_(fd_closep) int fd = open(CBTLOG_BOOT_ID, O_RDONLY | O_CLOEXEC);
    ret->head.is_whole =
        fd >= 0 && fd_read_all(fd, text, 36) == 0 && cbtlog_boot(text) == ret->head.boot;
    return NULL;
}

static struct err *save(const struct shelf *shelf, const char *uuid, struct log *l)
{
    _cleanup_(freep) char *path = path_in(shelf, uuid);
    uint8_t head[CBTLOG_HEADER];
    cbtlog_format(&l->head, head);
    memcpy(l->bytes.data, head, sizeof(head));
    int r = store_replace(shelf->h, path, l->bytes.data, l->bytes.size);
    if (r < 0)
        return sr_error(r == -ENOSPC ? SR_NO_SPACE : SR_GENERAL,
                        "A log of changed blocks cannot be written", strerror(-r));
    return NULL;
}

static struct err *drop(const struct shelf *shelf, const char *uuid)
{
    _cleanup_(freep) char *path = path_in(shelf, uuid);
    int r = store_unlink(shelf->h, path);
    if (r < 0 && r != -ENOENT)
        return sr_error(SR_GENERAL, "A log of changed blocks cannot be removed", strerror(-r));
    return NULL;
}

static void make_empty(struct log *l, uint64_t disk_size)
{
    size_t size = CBTLOG_HEADER + (size_t)cbtlog_bitmap_size(disk_size);
    l->head = (struct cbtlog_header){.is_whole = true, .disk_size = disk_size};
    buf_done(&l->bytes);
    buf_init(&l->bytes, CBTLOG_MAX);
    char *room = buf_reserve(&l->bytes, size);
    memset(room, 0, size);
    buf_added(&l->bytes, size);
}

/* What the other one tells, too; a longer one's end is of a disk that was larger once. */
static void add(struct log *l, struct log *other)
{
    size_t mine = bitmap_size(l), its = bitmap_size(other);
    cbtlog_merge(bitmap(l), bitmap(other), mine < its ? mine : its);
    l->head.is_whole = l->head.is_whole && other->head.is_whole;
}

static void set_uuid(uint8_t slot[16], const char *uuid)
{
    if (cbtlog_uuid_parse(uuid, slot) < 0)
        memset(slot, 0, 16);
}

static bool is_uuid(const uint8_t slot[16], const char *uuid)
{
    char text[37];
    cbtlog_uuid_text(slot, text);
    return str_eq(text, uuid);
}

/* Who comes behind that one from now on; one that is gone needs not know. */
static struct err *set_child(const struct shelf *shelf, const uint8_t whose[16], const char *child)
{
    char uuid[37];
    bool there;
    _cleanup_(log_done) struct log l = {0};
    cbtlog_uuid_text(whose, uuid);
    TRY(load(shelf, uuid, &l, &there));
    if (!there || is_uuid(l.head.child, child))
        return NULL;
    set_uuid(l.head.child, child);
    return save(shelf, uuid, &l);
}

/* ---- changes ---- */

static struct err *begin(const struct shelf *shelf, const char *uuid, uint64_t disk_size)
{
    _cleanup_(log_done) struct log l = {0};
    make_empty(&l, disk_size);
    return save(shelf, uuid, &l);
}

static struct err *set_parent(const struct shelf *shelf, const uint8_t whose[16],
                              const char *parent)
{
    char uuid[37];
    bool there;
    _cleanup_(log_done) struct log l = {0};
    cbtlog_uuid_text(whose, uuid);
    TRY(load(shelf, uuid, &l, &there));
    if (!there)
        return NULL;
    set_uuid(l.head.parent, parent);
    return save(shelf, uuid, &l);
}

static struct err *end(const struct shelf *shelf, const char *uuid)
{
    bool there;
    _cleanup_(log_done) struct log l = {0};
    _cleanup_(err_freep) struct err *broken = load(shelf, uuid, &l, &there);
    if (!broken && there) {
        TRY(set_child(shelf, l.head.parent, ""));
        TRY(set_parent(shelf, l.head.child, ""));
    }
    return drop(shelf, uuid);
}

static struct err *split(const struct shelf *shelf, const char *uuid, const char *snapshot)
{
    bool there;
    _cleanup_(log_done) struct log l = {0};
    TRY(load_paused(shelf, uuid, &l, &there));
    if (!there || is_uuid(l.head.parent, snapshot))
        return NULL; /* it has been done before */
    set_uuid(l.head.child, uuid);
    TRY(save(shelf, snapshot, &l));
    TRY(set_child(shelf, l.head.parent, snapshot));
    bool whole = l.head.is_whole;
    make_empty(&l, l.head.disk_size);
    l.head.is_whole = whole;
    set_uuid(l.head.parent, snapshot);
    return save(shelf, uuid, &l);
}

static struct err *unsplit(const struct shelf *shelf, const char *uuid, const char *snapshot)
{
    bool there, there_now;
    _cleanup_(log_done) struct log l = {0}, now = {0};
    TRY(load(shelf, snapshot, &l, &there));
    if (!there)
        return NULL;
    TRY(load_paused(shelf, uuid, &now, &there_now));
    if (there_now)
        add(&l, &now);
    memset(l.head.child, 0, 16);
    TRY(save(shelf, uuid, &l));
    TRY(set_child(shelf, l.head.parent, uuid));
    return drop(shelf, snapshot);
}

/* A log that cannot be read takes what it knew with it. */
static struct err *give_to_child(const struct shelf *shelf, const char *uuid, struct log *l)
{
    char child[37], parent[37];
    bool there;
    _cleanup_(log_done) struct log next = {0};
    cbtlog_uuid_text(l->head.child, child);
    cbtlog_uuid_text(l->head.parent, parent);
    TRY(load_paused(shelf, child, &next, &there));
    if (!there || !is_uuid(next.head.parent, uuid))
        return NULL;
    add(&next, l);
    set_uuid(next.head.parent, parent);
    return save(shelf, child, &next);
}

static struct err *remove_log(const struct shelf *shelf, const char *uuid)
{
    char child[37];
    bool there;
    _cleanup_(log_done) struct log l = {0};
    _cleanup_(err_freep) struct err *broken = load(shelf, uuid, &l, &there);
    if (broken || !there)
        return drop(shelf, uuid);
    cbtlog_uuid_text(l.head.child, child);
    TRY(give_to_child(shelf, uuid, &l));
    TRY(set_child(shelf, l.head.parent, child));
    return drop(shelf, uuid);
}

/* ---- from one disk to another ---- */

/* The logs behind that of `from` up to that of `to`, added up in *ret, which is as large as `to`.
 */
static struct err *sum(const struct shelf *shelf, const char *from, const char *to, struct log *ret)
{
    bool there;
    char uuid[37];
    _cleanup_(log_done) struct log l = {0}, last = {0};
    TRY(load(shelf, to, &last, &there));
    if (there)
        TRY(load(shelf, from, &l, &there));
    if (!there)
        return sr_error(SR_CBT_CHANGES, "Changed blocks are not recorded", from);
    make_empty(ret, last.head.disk_size);
    for (unsigned n = 0; n < CHAIN_MAX; n++) {
        cbtlog_uuid_text(l.head.child, uuid);
        TRY(load(shelf, uuid, &l, &there));
        if (!there)
            break;
        if (!l.head.is_whole)
            return not_whole(uuid);
        if (l.head.disk_size > ret->head.disk_size)
            return sr_error(SR_CBT_NOT_WHOLE, "The disk was larger before", uuid);
        add(ret, &l);
        if (str_eq(uuid, to))
            return NULL;
    }
    return sr_error(SR_CBT_CHANGES, "No recorded way leads from one disk to the other", to);
}

struct err *sr_cbt_changes(struct host *h, const struct sr_ref *sr, const char *from,
                           const char *to, struct buf *ret)
{
    _cleanup_(shelf_done) struct shelf shelf = {0};
    _cleanup_(log_done) struct log l = {0};
    TRY(shelf_of(h, sr, &shelf));
    TRY(sum(&shelf, from, to, &l));
    cbtlog_turn(bitmap(&l), bitmap_size(&l));
    base64_put(ret, (struct view){(const char *)bitmap(&l), bitmap_size(&l)});
    return buf_ok(ret) ? NULL : err_internal("a log of changed blocks is too large");
}

/* The content of now differs from that of the log before by what lies between the snapshot and
 * that one. What was written since may as well be told. */
static struct err *revert(const struct shelf *shelf, const char *uuid, const char *snapshot,
                          bool *ret)
{
    bool there;
    _cleanup_(log_done) struct log l = {0}, between = {0};
    *ret = false;
    TRY(load_paused(shelf, uuid, &l, &there));
    struct err *e = there ? sum(shelf, snapshot, uuid, &between) : NULL;
    if (e || !there) {
        err_free(e);
        return NULL;
    }
    add(&l, &between);
    *ret = true;
    return save(shelf, uuid, &l);
}

/* ---- in turn ---- */

/* Changes of a repository's logs one after the other; executed again when they are repeated. */
#define IN_TURN(what, call)                                                                        \
    do {                                                                                           \
        _cleanup_(shelf_done) struct shelf shelf = {0};                                            \
        TRY(shelf_of(h, sr, &shelf));                                                              \
        _cleanup_(freep) char *subject = mem_printf("cbt %s", sr->uuid);                           \
        _cleanup_(turn_end) struct turn turn = {0};                                                \
        struct verb any = *v;                                                                      \
        any.id.op = NULL;                                                                          \
        if (turn_begin(&turn, h, &any, what, subject))                                             \
            turn_done(&turn, call);                                                                \
        return turn_result(&turn);                                                                 \
    } while (0)

struct err *sr_cbt_begin(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *uuid, uint64_t disk_size)
{
    IN_TURN("cbt begin", begin(&shelf, uuid, disk_size));
}

struct err *sr_cbt_end(struct host *h, const struct verb *v, const struct sr_ref *sr,
                       const char *uuid)
{
    IN_TURN("cbt end", end(&shelf, uuid));
}

struct err *sr_cbt_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *uuid, const char *snapshot)
{
    IN_TURN("cbt split", split(&shelf, uuid, snapshot));
}

struct err *sr_cbt_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *uuid, const char *snapshot)
{
    IN_TURN("cbt unsplit", unsplit(&shelf, uuid, snapshot));
}

struct err *sr_cbt_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *uuid)
{
    IN_TURN("cbt delete", remove_log(&shelf, uuid));
}

struct err *sr_cbt_revert(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *uuid, const char *snapshot, bool *ret_kept)
{
    IN_TURN("cbt revert", revert(&shelf, uuid, snapshot, ret_kept));
}

struct err *sr_cbt_info(struct host *h, const struct sr_ref *sr, const char *uuid,
                        struct sr_cbt_info *ret)
{
    _cleanup_(shelf_done) struct shelf shelf = {0};
    _cleanup_(log_done) struct log l = {0};
    *ret = (struct sr_cbt_info){0};
    TRY(shelf_of(h, sr, &shelf));
    _cleanup_(err_freep) struct err *broken = load(&shelf, uuid, &l, &ret->is_there);
    ret->file_bytes = l.bytes.size;
    if (broken || !ret->is_there) {
        ret->is_there = ret->is_there || broken;
        return NULL;
    }
    ret->is_whole = l.head.is_whole;
    cbtlog_uuid_text(l.head.child, ret->child);
    return NULL;
}
