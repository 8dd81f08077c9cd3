/*
 * image.c: opening, mapping and closing images. Open and close block and run on the job thread;
 * image_map runs on the engine's. An image belongs to the chain that opened it.
 */
#include "disk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/image_vhd.h"

/* Of 10 ms each: how long a dead writer's last transfers are waited for. */
#define LOCK_STEPS 300

static const char *const format_names[] = {
    [IMAGE_RAW] = "raw", [IMAGE_VHD] = "vhd", [IMAGE_VHD_FIXED] = "vhd-fixed"};

static int open_file(struct image *im, struct image_why *why);
static int lock_file(int fd, bool readonly);
static int file_size(int fd, uint64_t *ret_size, bool *ret_device);
static void image_free(struct image *im);
static void image_freep(struct image **im);
static void map_dynamic(struct image *im, uint64_t at, uint64_t size, struct extent *ret);

const char *image_format_name(enum image_format f)
{
    return format_names[f];
}

int image_parse_format(const char *name, enum image_format *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(format_names); i++)
        if (strcmp(name, format_names[i]) == 0) {
            *ret = (enum image_format)i;
            return 0;
        }
    return -EINVAL;
}

int image_open(const char *path, enum image_format format, bool readonly, struct image **ret,
               struct image_why *why)
{
    _cleanup_(image_freep) struct image *im = mem_new(struct image);
    *im = (struct image){
        .format = format, .fd = -1, .path = mem_strdup(path), .is_readonly = readonly};
    int r = open_file(im, why);
    if (r < 0)
        return r;
    uint64_t size;
    bool is_device;
    r = file_size(im->fd, &size, &is_device);
    if (r < 0) {
        why_set(why, "cannot tell the size of '%s'", path);
        return r;
    }
    const char *reason = "";
    if (format == IMAGE_RAW)
        im->size = size / VHD_SECTOR * VHD_SECTOR;
    else if (format == IMAGE_VHD_FIXED)
        r = image_vhd_open_fixed(im, size, &reason);
    else if (is_device && !readonly)
        r = -EINVAL, reason = "a growing image cannot live on a block device";
    else
        r = image_vhd_open_dynamic(im, size, &reason);
    if (r < 0) {
        why_set(why, "cannot open '%s': %s", path, *reason ? reason : strerror(-r));
        return r;
    }
    *ret = steal(&im);
    return 0;
}

int image_close(struct image *im, struct image_why *why)
{
    if (!im)
        return 0;
    int r = 0;
    if (!im->is_readonly) {
        if (im->format == IMAGE_VHD)
            r = image_vhd_finish(im);
        int s = fdatasync(im->fd) < 0 ? -errno : 0;
        if (r == 0)
            r = s;
        if (r < 0)
            why_set(why, "cannot finish '%s': %s", im->path, strerror(-r));
    }
    image_free(im);
    return r;
}

void image_map(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    if (im->format == IMAGE_VHD)
        map_dynamic(im, at, size, ret);
    else
        *ret = (struct extent){.kind = EXTENT_DATA, .size = size, .offset = at};
}

static void map_dynamic(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    struct blockmap *m = &im->map;
    uint32_t block = (uint32_t)(at / m->block_size);
    uint64_t inside = at % m->block_size;
    if (size > m->block_size - inside)
        size = m->block_size - inside;
    *ret = (struct extent){.kind = EXTENT_HOLE, .size = size, .block = block};
    if (m->bat[block] == VHD_UNALLOCATED)
        return;
    ret->offset = blockmap_data_at(m, block) + inside;
    ret->kind = EXTENT_DATA;
    if (blockmap_is_full(m, block))
        return;
    const struct bitmap *b = blockmap_find(m, block);
    if (!b || b->state == BITMAP_LOADING) {
        ret->kind = EXTENT_LOAD;
        return;
    }
    bool present;
    uint32_t first = (uint32_t)(inside / VHD_SECTOR);
    uint32_t last = (uint32_t)((inside + size - 1) / VHD_SECTOR);
    uint64_t end =
        (first + (uint64_t)bitmap_run(b, first, last - first + 1, &present)) * VHD_SECTOR;
    if (end - inside < size)
        ret->size = end - inside;
    if (!present)
        ret->kind = EXTENT_HOLE;
}

static int open_file(struct image *im, struct image_why *why)
{
    im->fd = open(im->path, (im->is_readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY);
    if (im->fd < 0) {
        int r = -errno;
        why_set(why, "cannot open '%s': %s", im->path, strerror(-r));
        return r;
    }
    int r = lock_file(im->fd, im->is_readonly);
    if (r < 0)
        why_set(why, "cannot lock '%s': %s", im->path,
                r == -EBUSY ? "another process has it open" : strerror(-r));
    return r;
}

/*
 * A writer locks the whole file, a reader its first byte: enough to keep them apart.
 *
 * The transfers of a diskd that was killed go on in the kernel after its death, and would overwrite
 * what we write; they hold the file, and so the lock, until the last of them is done. There is no
 * event for that with a deadline, hence the steps.
 */
static int lock_file(int fd, bool readonly)
{
    static const struct timespec step = {.tv_nsec = 10 * 1000 * 1000};
    struct flock l = {.l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    l.l_len = readonly ? 1 : 0;
    for (int i = 0; i < LOCK_STEPS; i++) {
        if (fcntl(fd, F_OFD_SETLK, &l) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return -errno;
        (void)nanosleep(&step, NULL);
    }
    return -EBUSY;
}

static int file_size(int fd, uint64_t *ret_size, bool *ret_device)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_device = S_ISBLK(st.st_mode);
    if (S_ISBLK(st.st_mode))
        return ioctl(fd, BLKGETSIZE64, ret_size) < 0 ? -errno : 0;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static void image_free(struct image *im)
{
    fd_close(im->fd);
    blockmap_done(&im->map);
    free(im->path);
    free(im);
}

static void image_freep(struct image **im)
{
    if (*im)
        image_free(*im);
}

void why_set(struct image_why *why, const char *fmt, ...)
{
    if (!why)
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why->text, sizeof(why->text), fmt, ap);
    va_end(ap);
}
