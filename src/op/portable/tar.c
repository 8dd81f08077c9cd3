/* tar.c: libarchive between a stream and members; see tar.h. The operation's thread. */
#include "op/portable/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

#include "op/portable/portable_impl.h"

#define IN_SIZE (256u << 10) /* taken from the stream at once */

/* ---- out ---- */

struct tar_out {
    struct archive *a;
    const struct portable_io *io;
    struct err *failed; /* of the stream */
};

static la_ssize_t on_write(struct archive *a, void *data, const void *p, size_t size)
{
    struct tar_out *t = data;
    if (!t->failed)
        t->failed = t->io->write(t->io->arg, p, size);
    if (!t->failed)
        return (la_ssize_t)size;
    archive_set_error(a, EPIPE, "the stream is broken");
    return -1;
}

static struct err *out_failed(struct tar_out *t)
{
    if (t->failed)
        return steal(&t->failed);
    return err_internal("cannot write the archive: %s", archive_error_string(t->a));
}

static int set_compression(struct archive *a, enum tar_compression c)
{
    switch (c) {
    case TAR_GZIP:
        return archive_write_add_filter_gzip(a);
    case TAR_ZSTD:
        return archive_write_add_filter_zstd(a);
    case TAR_PLAIN:
        break;
    }
    return ARCHIVE_OK;
}

struct err *tar_out_new(const struct portable_io *io, enum tar_compression compression,
                        struct tar_out **ret)
{
    _cleanup_(tar_out_freep) struct tar_out *t = mem_new(struct tar_out);
    t->io = io;
    t->a = archive_write_new();
    if (!t->a || archive_write_set_format_ustar(t->a) != ARCHIVE_OK ||
        set_compression(t->a, compression) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(t->a, compression == TAR_PLAIN ? 0 : (int)IN_SIZE) !=
            ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(t->a, 1) != ARCHIVE_OK ||
        archive_write_open2(t->a, t, NULL, on_write, NULL, NULL) != ARCHIVE_OK)
        return out_failed(t);
    *ret = steal(&t);
    return NULL;
}

struct err *tar_out_put(struct tar_out *t, const char *name, const void *p, size_t size)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    bool ok = archive_write_header(t->a, entry) == ARCHIVE_OK;
    archive_entry_free(entry);
    if (ok && size)
        ok = archive_write_data(t->a, p, size) == (la_ssize_t)size;
    return ok && !t->failed ? NULL : out_failed(t);
}

struct err *tar_out_end(struct tar_out *t)
{
    return archive_write_close(t->a) == ARCHIVE_OK && !t->failed ? NULL : out_failed(t);
}

void tar_out_free(struct tar_out *t)
{
    if (!t)
        return;
    if (t->a) {
        (void)archive_write_fail(t->a); /* nothing more is to be written */
        (void)archive_write_free(t->a);
    }
    err_free(t->failed);
    free(t);
}

/* ---- in ---- */

struct tar_in {
    struct archive *a;
    struct archive_entry *entry; /* looked at, not taken yet; owned by `a` */
    const struct portable_io *io;
    struct err *failed;
    uint64_t seen;
    bool ended; /* the stream has */
    bool open;
    bool any;  /* a member was seen: it is an archive */
    bool over; /* and this is its end */
    char room[IN_SIZE];
};

static la_ssize_t on_read(struct archive *a, void *data, const void **ret)
{
    struct tar_in *t = data;
    size_t n = 0;
    if (!t->failed && !t->ended)
        t->failed = t->io->read(t->io->arg, t->room, sizeof(t->room), &n);
    if (t->failed) {
        archive_set_error(a, EIO, "the stream is broken");
        return -1;
    }
    t->ended = n == 0;
    t->seen += n;
    *ret = t->room;
    return (la_ssize_t)n;
}

struct tar_in *tar_in_new(const struct portable_io *io)
{
    struct tar_in *t = mem_new(struct tar_in);
    t->io = io;
    t->a = archive_read_new();
    (void)archive_read_support_filter_gzip(t->a);
    (void)archive_read_support_filter_zstd(t->a);
    (void)archive_read_support_format_tar(t->a);
    return t;
}

void tar_in_free(struct tar_in *t)
{
    if (!t)
        return;
    (void)archive_read_free(t->a);
    err_free(t->failed);
    free(t);
}

static struct err *in_failed(struct tar_in *t)
{
    if (t->failed)
        return steal(&t->failed);
    if (t->ended && t->any)
        return err_IMPORT_ERROR_PREMATURE_EOF();
    const char *why = archive_error_string(t->a);
    return import_error("this is no archive: %s", why ? why : "nothing can be read");
}

struct err *tar_in_peek(struct tar_in *t, const char **ret_name, uint64_t *ret_size)
{
    *ret_name = NULL;
    if (!t->open && archive_read_open2(t->a, t, NULL, on_read, NULL, NULL) != ARCHIVE_OK)
        return in_failed(t);
    t->open = true;
    if (!t->entry) {
        int r = t->over ? ARCHIVE_EOF : archive_read_next_header(t->a, &t->entry);
        t->over = r == ARCHIVE_EOF && !t->failed;
        if (r != ARCHIVE_OK)
            t->entry = NULL;
        if (r != ARCHIVE_OK)
            return t->over ? NULL : in_failed(t);
        t->any = true;
    }
    const char *name = archive_entry_pathname(t->entry);
    if (!name || archive_entry_filetype(t->entry) != AE_IFREG || archive_entry_size(t->entry) < 0)
        return import_error("the archive has a member that is no file");
    *ret_name = name;
    *ret_size = (uint64_t)archive_entry_size(t->entry);
    return NULL;
}

struct err *tar_in_take(struct tar_in *t, void *p, size_t size)
{
    t->entry = NULL;
    for (size_t have = 0; have < size;) {
        la_ssize_t n = archive_read_data(t->a, (char *)p + have, size - have);
        if (n <= 0)
            return in_failed(t);
        have += (size_t)n;
    }
    return NULL;
}

struct err *tar_in_read(struct tar_in *t, void *p, size_t size, size_t *ret_size)
{
    la_ssize_t n = archive_read_data(t->a, p, size);
    if (n < 0)
        return in_failed(t);
    *ret_size = (size_t)n;
    return NULL;
}

void tar_in_skip(struct tar_in *t)
{
    t->entry = NULL;
}

uint64_t tar_in_seen(const struct tar_in *t)
{
    return t->seen;
}
