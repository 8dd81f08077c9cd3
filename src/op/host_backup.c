/* host_backup.c: see host_backup.h. */
#include "op/host_backup.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "op/blob.h"
#include "op/world.h"

#define PIECE 65536
#define FORM  "cairn-backup 1\n"

/* ---- out ---- */

static int put_to_file(void *arg, const void *p, size_t size)
{
    return fd_write_all(*(int *)arg, p, size);
}

static struct err *put_blobs(struct op *op, const struct snap *s, struct pack *p)
{
    snap_each (row, s, CLASS_blob) {
        const char *uuid = rec_blob(row)->uuid;
        _cleanup_(freep) char *name = mem_printf("blobs/%s", uuid);
        _cleanup_(fd_closep) int fd = -1;
        uint64_t size;
        TRY(op_check(op));
        struct err *e = blob_open(ops_of(op), uuid, &fd, &size);
        if (e && err_get_errno(e) == ENOENT)
            err_free(steal(&e)); /* nothing was put into it */
        TRY(e);
        if (fd >= 0)
            TRY(pack_fd(p, name, fd));
    }
    return NULL;
}

/* Written aside first: the archive must know its size before. */
static struct err *put_database(struct op *op, const struct snap *s, struct pack *p)
{
    const char *dir = ops_of(op)->cfg.state_dir;
    _cleanup_(fd_closep) int fd = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return err_errno(errno, "cannot write into '%s'", dir ? dir : "");
    TRY(dump_write(s, 0, put_to_file, &fd));
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_errno(errno, "cannot read the database again");
    return pack_fd(p, "database.xml", fd);
}

struct err *host_backup_write(struct op *op, pack_put_fn put, void *arg)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(pack_freep) struct pack *p = NULL;
    TRY(pack_new(PACK_TAR_GZ, put, arg, &p));
    TRY(pack_text(p, "backup.txt", FORM, strlen(FORM)));
    TRY(put_blobs(op, s, p));
    TRY(put_database(op, s, p));
    return pack_end(p);
}

/* ---- in ---- */

struct reader {
    struct op *op;
    const struct database_source *from;
    struct archive *archive;
    struct err *error; /* of the source */
    char piece[PIECE];
};

static la_ssize_t read_source(struct archive *a, void *arg, const void **ret)
{
    struct reader *r = arg;
    size_t n = 0;
    r->error = r->from->read(r->from->arg, r->piece, sizeof(r->piece), &n);
    *ret = r->piece;
    if (!r->error)
        return (la_ssize_t)n;
    archive_set_error(a, EIO, "cannot read");
    return -1;
}

static void reader_done(struct reader *r)
{
    if (r->archive)
        archive_read_free(r->archive);
    err_free(r->error);
}

static struct err *no_backup(struct reader *r)
{
    const char *why = archive_error_string(r->archive);
    if (r->error)
        return steal(&r->error);
    return err_wrap(err_RESTORE_INCOMPATIBLE_VERSION(), "this is no backup of a host: %s",
                    why ? why : "something else stands in it");
}

/* For database_source: of the member that is read. */
static struct err *read_member(void *arg, void *p, size_t size, size_t *ret)
{
    struct reader *r = arg;
    la_ssize_t n = archive_read_data(r->archive, p, size);
    if (n < 0)
        return no_backup(r);
    *ret = (size_t)n;
    return NULL;
}

static struct err *check_form(struct reader *r)
{
    char text[sizeof(FORM)] = "";
    size_t n = 0;
    TRY(read_member(r, text, sizeof(text) - 1, &n));
    return str_eq(text, FORM) ? NULL : no_backup(r);
}

static struct err *keep_blob(struct reader *r, const char *uuid)
{
    const char *state = ops_of(r->op)->cfg.state_dir;
    _cleanup_(freep) char *path = mem_printf("%s/blobs.staged/%s", state, uuid);
    _cleanup_(freep) char *piece = mem_zalloc(1, PIECE);
    if (!str_is_uuid(uuid))
        return no_backup(r);
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(errno, "cannot write '%s'", path);
    for (size_t n = 0;;) {
        TRY(op_check(r->op));
        TRY(read_member(r, piece, PIECE, &n));
        if (n == 0)
            return fsync(fd) < 0 ? err_errno(errno, "cannot write '%s'", path) : NULL;
        TRY(blob_check_space(ops_of(r->op), n));
        int e = fd_write_all(fd, piece, n);
        if (e < 0)
            return err_errno(-e, "cannot write '%s'", path);
    }
}

/* Up to the database, which is the last. */
static struct err *read_members(struct reader *r, struct dump_counts *ret)
{
    struct archive_entry *entry;
    bool known = false;
    while (archive_read_next_header(r->archive, &entry) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        if (!name || archive_entry_filetype(entry) != AE_IFREG)
            return no_backup(r);
        if (!known && str_eq(name, "backup.txt"))
            TRY(check_form(r));
        else if (known && str_starts(name, "blobs/"))
            TRY(keep_blob(r, name + strlen("blobs/")));
        else if (known && str_eq(name, "database.xml"))
            return database_restore(
                r->op, &(struct database_source){read_member, r, .with_blobs = true}, false, ret);
        else
            return no_backup(r);
        known = true;
    }
    return no_backup(r);
}

struct err *host_backup_restore(struct op *op, const struct database_source *from,
                                struct dump_counts *ret)
{
    const char *state = ops_of(op)->cfg.state_dir;
    _cleanup_(reader_done) struct reader r = {.op = op, .from = from};
    _cleanup_(freep) char *staged = mem_printf("%s/blobs.staged", state ? state : "");
    if (!state)
        return err_OPERATION_NOT_ALLOWED("this host's state is not in a file of its own");
    (void)fd_remove_tree(staged);
    int e = fd_mkdirs(staged, 0700);
    if (e < 0)
        return err_errno(-e, "cannot make the folder '%s'", staged);
    r.archive = archive_read_new();
    archive_read_support_filter_gzip(r.archive);
    archive_read_support_format_tar(r.archive);
    bool open = archive_read_open(r.archive, &r, NULL, read_source, NULL) == ARCHIVE_OK;
    struct err *failed = open ? read_members(&r, ret) : no_backup(&r);
    if (failed)
        (void)fd_remove_tree(staged);
    return failed;
}
