/*
 * chunks.c: a disk as members of an archive: PREFIX/00000000, PREFIX/00000000.xxhash, …
 *
 * A chunk is 1 MiB, the last one shorter. Chunks of zeroes may be missing, but for the first and
 * the last. Its number is not always its place: a chunk of length 0, which slow exporters send to
 * keep the connection alive, uses a number up. So the reader adds up: each number left out is a
 * chunk of zeroes. Each chunk is followed by its sum: XXH64 in capital letters, of old archives
 * SHA-1.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "op/portable/chunks.h"
#include "op/portable/portable_impl.h"

#define UNIT     ((size_t)1 << 20)
#define UNIT_MAX ((size_t)16 << 20) /* of others' archives */

static void xxhash_text(const void *p, size_t size, char out[17])
{
    snprintf(out, 17, "%016llX", (unsigned long long)XXH64(p, size, 0));
}

/* ---- out ---- */

static struct err *put_chunk(struct tar_out *t, const char *prefix, unsigned number, const void *p,
                             size_t size)
{
    char name[128], sum[17];
    snprintf(name, sizeof(name), "%s/%08u", prefix, number);
    TRY(tar_out_put(t, name, p, size));
    snprintf(name, sizeof(name), "%s/%08u.xxhash", prefix, number);
    xxhash_text(p, size, sum);
    return tar_out_put(t, name, sum, 16);
}

struct err *chunks_send(struct tar_out *t, const char *prefix, const struct disk_out *out)
{
    _cleanup_(freep) char *room = mem_zalloc(UNIT, 1);
    struct walk w;
    struct piece p;
    bool more;
    walk_init(&w, out->disk, out->size, UNIT);
    for (unsigned number = 0;; number++) {
        TRY(op_check(out->op));
        TRY(walk_next(&w, room, &p, &more));
        if (!more)
            return NULL;
        bool edge = p.at == 0 || p.at + p.size == out->size;
        if (p.zero && edge)
            memset(room, 0, p.size);
        if (edge || (!p.zero && !is_all_zero(room, p.size)))
            TRY(put_chunk(t, prefix, number, room, p.size));
        if (out->moved)
            out->moved(out->moved_arg, p.size);
    }
}

/* ---- in ---- */

void chunks_done(struct chunks_in *c)
{
    free(c->room);
}

/* "PREFIX/00000012" into its number; false if it is not of that prefix or no chunk. */
static bool parse_name(const char *name, const char *prefix, uint64_t *ret)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 && name[n] == '/' && strlen(name + n + 1) >= 8 &&
           str_u64(view_of(name + n + 1), 0, UINT32_MAX, ret) == 0;
}

static bool sha1_fits(const void *p, size_t size, const char *text)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    char hex[41];
    unsigned n = 0;
    if (EVP_Digest(p, size, sum, &n, EVP_sha1(), NULL) != 1 || n != 20)
        return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return strncmp(text, hex, 40) == 0;
}

static bool xxhash_fits(const void *p, size_t size, const char *text)
{
    char sum[17];
    xxhash_text(p, size, sum);
    return strncasecmp(text, sum, 16) == 0;
}

/* The member behind a chunk, if it is its sum. */
static struct err *check_sum(struct chunks_in *c, const char *chunk, size_t size)
{
    const char *name;
    char text[64] = "";
    uint64_t length = 0;
    size_t n = strlen(chunk);
    TRY(tar_in_peek(c->tar, &name, &length));
    if (!name || strncmp(name, chunk, n) != 0)
        return NULL;
    bool xx = str_eq(name + n, ".xxhash"), sha = str_eq(name + n, ".checksum");
    if (!xx && !sha)
        return NULL;
    if (length >= sizeof(text))
        return import_error("the sum of '%s' is too long", chunk);
    TRY(tar_in_take(c->tar, text, (size_t)length));
    if (xx ? xxhash_fits(c->room, size, text) : sha1_fits(c->room, size, text))
        return NULL;
    return c->force ? NULL : err_IMPORT_ERROR_SOME_CHECKSUMS_FAILED();
}

static struct err *make_room(struct chunks_in *c, uint64_t size)
{
    if (size > UNIT_MAX)
        return import_error("a chunk of %llu bytes is too large", (unsigned long long)size);
    if (!c->unit)
        c->unit = size;
    if (size > c->room_size || !c->room) {
        free(c->room);
        c->room_size = size > UNIT ? (size_t)size : UNIT;
        c->room = mem_zalloc(c->room_size, 1);
    }
    return NULL;
}

struct place {
    uint64_t at, next_number;
};

/* The disk is zero from here to there. */
static struct err *clear_to(struct disk_in *in, struct place *p, uint64_t to)
{
    if (to > in->size)
        return import_error("the chunks are longer than the disk");
    if (p->at < to)
        TRY(diskio_zero(in->disk, to - p->at, p->at));
    p->at = to;
    return NULL;
}

static struct err *take_chunk(struct chunks_in *c, struct disk_in *in, struct place *p,
                              uint64_t number)
{
    const char *peeked;
    uint64_t size = 0, gap = 0;
    TRY(tar_in_peek(c->tar, &peeked, &size));
    _cleanup_(freep) char *name = mem_strdup(peeked);
    if (number < p->next_number)
        return import_error("chunk '%s' comes too late", name);
    TRY(make_room(c, size));
    TRY(tar_in_take(c->tar, c->room, (size_t)size));
    TRY(check_sum(c, name, (size_t)size));
    if (__builtin_mul_overflow(number - p->next_number, c->unit, &gap) || gap > in->size - p->at ||
        size > in->size - p->at - gap)
        return import_error("chunk '%s' lies behind the end of the disk", name);
    TRY(clear_to(in, p, p->at + gap));
    TRY(disk_put(in->disk, c->room, (size_t)size, p->at));
    p->at += size;
    p->next_number = number + 1;
    return NULL;
}

struct err *chunks_receive(struct chunks_in *c, const char *prefix, struct disk_in *in)
{
    struct place p = {0};
    for (;;) {
        const char *name;
        uint64_t size, number = 0;
        TRY(op_check(in->op));
        TRY(tar_in_peek(c->tar, &name, &size));
        if (!name || !parse_name(name, prefix, &number))
            break;
        TRY(take_chunk(c, in, &p, number));
        if (c->moved)
            c->moved(c->moved_arg, p.at);
    }
    if (p.at < in->expected) /* the last chunk is never left out */
        return err_IMPORT_ERROR_PREMATURE_EOF();
    return clear_to(in, &p, in->size);
}

/* ---- an archive of one disk ---- */

#define ALONE "vdi"

struct err *tar_send_disk(const struct disk_out *out)
{
    _cleanup_(tar_out_freep) struct tar_out *t = NULL;
    TRY(tar_out_new(out->io, TAR_PLAIN, &t));
    TRY(chunks_send(t, ALONE, out));
    return tar_out_end(t);
}

struct err *tar_receive_disk(struct disk_in *in)
{
    _cleanup_(tar_in_freep) struct tar_in *t = tar_in_new(in->src.io);
    _cleanup_(chunks_done) struct chunks_in c = {.tar = t};
    const char *name;
    uint64_t size;
    TRY(tar_in_peek(t, &name, &size));
    if (!name || strncmp(name, ALONE "/", 4) != 0)
        return err_IMPORT_ERROR_UNEXPECTED_FILE(ALONE "/00000000", name ? name : "");
    TRY(chunks_receive(&c, ALONE, in));
    source_drain(&in->src);
    return NULL;
}
