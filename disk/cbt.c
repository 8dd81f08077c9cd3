/*
 * cbt.c: the log of changed blocks while its disk is open; see cbt.h. Called by disk.c: opening and
 * closing on a job thread, marking on the loop's.
 *
 * The order is that of promises: "open" is durable before the first write, the bits before "whole".
 */
#include "disk/cbt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "codec/cbtlog.h"

struct cbt {
    struct file *file;
    struct cbtlog_header head;
    uint8_t *bytes; /* the header's place and the bitmap: mapped, or a copy */
    size_t size;
    bool is_mapped;
    bool has_missed; /* something was written that has no bit */
};

const char *cbt_state_name(enum cbt_state s)
{
    static const char *const names[] = {
        [CBT_NONE] = "none", [CBT_TRACKING] = "tracking", [CBT_LOST] = "lost"};
    return names[s];
}

/* A number of this boot of the machine; 0 if it is not to be had. */
static uint32_t boot_number(void)
{
    char text[37] = "";
    _cleanup_(fd_closep) int fd = open(CBTLOG_BOOT_ID, O_RDONLY | O_CLOEXEC);
    return fd < 0 || fd_read_all(fd, text, 36) < 0 ? 0 : cbtlog_boot(text);
}

static int write_head(struct cbt *c, bool is_whole)
{
    uint8_t head[CBTLOG_HEADER];
    c->head.is_whole = is_whole;
    cbtlog_format(&c->head, head);
    int r = file_pwrite(c->file, head, sizeof(head), 0);
    return r < 0 ? r : file_sync(c->file);
}

/* Zeroes are written, not left as holes: a mapped hole may find no space when it is touched. */
static int grow(struct cbt *c, uint64_t disk_size, uint64_t file_size)
{
    static const uint8_t zeroes[4096];
    uint64_t end = CBTLOG_HEADER + cbtlog_bitmap_size(disk_size);
    int r = 0;
    for (uint64_t at = file_size; r == 0 && at < end;) {
        size_t n = end - at < sizeof(zeroes) ? (size_t)(end - at) : sizeof(zeroes);
        r = file_pwrite(c->file, zeroes, n, at);
        at += n;
    }
    c->head.disk_size = disk_size;
    return r;
}

static int load(struct cbt *c)
{
    c->size = CBTLOG_HEADER + (size_t)cbtlog_bitmap_size(c->head.disk_size);
    void *p = c->file->fd < 0 ? MAP_FAILED
                              : mmap(NULL, c->size, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_POPULATE, c->file->fd, 0);
    c->is_mapped = p != MAP_FAILED;
    c->bytes = c->is_mapped ? p : mem_zalloc(c->size, 1);
    if (!c->is_mapped)
        return file_pread(c->file, c->bytes, c->size, 0);
    c->head.boot = boot_number();
    return 0;
}

static void drop(struct cbt *c)
{
    if (c->is_mapped)
        (void)munmap(c->bytes, c->size);
    else
        free(c->bytes);
    file_close(c->file);
    free(c);
}

/* May it be believed, and go on? */
static bool is_good(const struct cbtlog_header *h, const struct file *f, uint64_t disk_size)
{
    bool is_ours = f->fd >= 0 && h->boot && h->boot == boot_number();
    return (h->is_whole || is_ours) && h->disk_size <= disk_size;
}

static int start(struct cbt *c, uint64_t disk_size)
{
    uint8_t head[CBTLOG_HEADER];
    struct file_stat st;
    int r = file_stat(c->file, &st);
    if (r == 0)
        r = file_pread(c->file, head, sizeof(head), 0);
    if (r < 0)
        return r == -ENODATA ? -ESTALE : r;
    if (cbtlog_parse(head, st.size, &c->head) < 0 || !is_good(&c->head, c->file, disk_size))
        return -ESTALE;
    if (c->head.disk_size < disk_size)
        r = grow(c, disk_size, st.size);
    if (r == 0)
        r = load(c);
    return r < 0 ? r : write_head(c, false);
}

int cbt_open(const char *path, uint64_t disk_size, struct cbt **ret, struct image_why *why)
{
    struct cbt *c = mem_new(struct cbt);
    int r = file_open(path, FILE_WRITE, &c->file);
    if (r < 0) {
        free(c);
        why_set(why, "cannot open '%s': %s", path, strerror(-r));
        return r;
    }
    r = start(c, disk_size);
    if (r < 0) {
        why_set(why, "'%s' does not tell all that was written: %s", path,
                r == -ESTALE ? "it was not closed, or is no log of this disk" : strerror(-r));
        drop(c);
        return r;
    }
    *ret = c;
    return 0;
}

void cbt_mark(struct cbt *c, uint64_t offset, uint64_t size)
{
    if (!c || cbtlog_mark(c->bytes + CBTLOG_HEADER, c->head.disk_size, offset, size))
        return;
    c->has_missed = true;
    if (c->is_mapped)
        put_le32(c->bytes + 36, 0); /* nobody goes on with it after our death */
}

int cbt_close(struct cbt *c)
{
    if (!c)
        return 0;
    int r = 0;
    if (!c->is_mapped)
        r = file_pwrite(c->file, c->bytes + CBTLOG_HEADER, c->size - CBTLOG_HEADER, CBTLOG_HEADER);
    if (r == 0)
        r = file_sync(c->file);
    if (r == 0 && c->has_missed)
        c->head.boot = 0;
    if (r == 0)
        r = write_head(c, !c->has_missed);
    drop(c);
    return r;
}

int cbt_read(const char *path, uint64_t disk_size, struct cbt_bitmap **ret)
{
    uint8_t head[CBTLOG_HEADER];
    struct cbtlog_header h;
    struct file_stat st;
    _cleanup_(file_closep) struct file *f = NULL;
    int r = file_open(path, FILE_READ, &f);
    if (r == 0)
        r = file_stat(f, &st);
    if (r == 0)
        r = file_pread(f, head, sizeof(head), 0);
    if (r == 0 && (cbtlog_parse(head, st.size, &h) < 0 || !h.is_whole || h.disk_size != disk_size))
        r = -ESTALE;
    if (r < 0)
        return r == -ENODATA ? -ESTALE : r;
    size_t size = (size_t)cbtlog_bitmap_size(disk_size);
    struct cbt_bitmap *b = mem_new(struct cbt_bitmap);
    b->disk_size = disk_size;
    b->bits = mem_zalloc(size, 1);
    r = file_pread(f, b->bits, size, CBTLOG_HEADER);
    if (r < 0)
        cbt_bitmap_free(b);
    else
        *ret = b;
    return r;
}

void cbt_bitmap_free(struct cbt_bitmap *b)
{
    if (b)
        free(b->bits);
    free(b);
}

bool cbt_bitmap_at(const struct cbt_bitmap *b, uint64_t at, uint64_t size, uint64_t *ret_size)
{
    uint64_t end = at + size, block = at / CBTLOG_BLOCK;
    bool is_marked = cbtlog_is_marked(b->bits, block);
    do
        block++;
    while (block * CBTLOG_BLOCK < end && cbtlog_is_marked(b->bits, block) == is_marked);
    *ret_size = (block * CBTLOG_BLOCK < end ? block * CBTLOG_BLOCK : end) - at;
    return is_marked;
}
