/* pack.c: see pack.h. */
#include "op/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop/loop.h"

#define PIECE 65536

struct pack {
    struct archive *archive;
    pack_put_fn put;
    void *arg;
    int error; /* of put, negative; 0: none */
    bool ended;
};

static la_ssize_t write_out(struct archive *a, void *arg, const void *p, size_t size)
{
    struct pack *k = arg;
    k->error = k->put(k->arg, p, size);
    if (k->error == 0)
        return (la_ssize_t)size;
    archive_set_error(a, -k->error, "cannot write");
    return -1;
}

static struct err *check(struct pack *p, la_ssize_t r, const char *doing)
{
    if (r >= ARCHIVE_WARN)
        return NULL;
    const char *why = archive_error_string(p->archive);
    return err_errno(p->error ? -p->error : EIO, "%s the archive: %s", doing, why ? why : "?");
}

static int choose(struct archive *a, enum pack_form form)
{
    if (form == PACK_ZIP)
        return archive_write_set_format_zip(a);
    int r = archive_write_set_format_pax_restricted(a);
    if (r == ARCHIVE_OK && form == PACK_TAR_GZ)
        r = archive_write_add_filter_gzip(a);
    if (r == ARCHIVE_OK && form == PACK_TAR_BZ2)
        r = archive_write_add_filter_bzip2(a);
    return r;
}

struct err *pack_new(enum pack_form form, pack_put_fn put, void *arg, struct pack **ret)
{
    _cleanup_(pack_freep) struct pack *p = mem_new(struct pack);
    p->put = put;
    p->arg = arg;
    p->archive = archive_write_new();
    TRY(check(p, choose(p->archive, form), "beginning"));
    archive_write_set_bytes_in_last_block(p->archive, 1);
    TRY(check(p, archive_write_open2(p->archive, p, NULL, write_out, NULL, NULL), "beginning"));
    *ret = steal(&p);
    return NULL;
}

static struct err *begin_member(struct pack *p, const char *name, uint64_t size)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0600);
    archive_entry_set_size(e, (la_int64_t)size);
    archive_entry_set_mtime(e, (time_t)(clock_wall() / USEC_PER_SEC), 0);
    int r = archive_write_header(p->archive, e);
    archive_entry_free(e);
    return check(p, r, "writing");
}

struct err *pack_text(struct pack *p, const char *name, const void *text, size_t size)
{
    TRY(begin_member(p, name, size));
    return size ? check(p, archive_write_data(p->archive, text, size), "writing") : NULL;
}

struct err *pack_fd(struct pack *p, const char *name, int fd)
{
    struct stat st;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_internal("'%s' is no regular file", name);
    uint64_t left = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
    TRY(begin_member(p, name, left));
    char piece[PIECE];
    while (left > 0) {
        ssize_t n = read(fd, piece, left < sizeof(piece) ? (size_t)left : sizeof(piece));
        if (n <= 0) /* it has become shorter meanwhile: zeros follow */
            return NULL;
        TRY(check(p, archive_write_data(p->archive, piece, (size_t)n), "writing"));
        left -= (uint64_t)n;
    }
    return NULL;
}

struct err *pack_end(struct pack *p)
{
    TRY(check(p, archive_write_close(p->archive), "ending"));
    p->ended = true;
    return NULL;
}

void pack_free(struct pack *p)
{
    if (!p)
        return;
    if (p->archive) {
        if (!p->ended) /* else freeing would end it, and it would seem whole */
            (void)archive_write_fail(p->archive);
        archive_write_free(p->archive);
    }
    free(p);
}
