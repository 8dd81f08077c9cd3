/*
 * create.c: images on their way in: creation, growth, description. Blocking; the job thread and
 * the one-shot commands of diskd.c call it.
 */
#include "disk/create.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "disk/image_vhd.h"

/* Where the parts of a dynamic image lie. */
struct layout {
    uint32_t n_blocks;
    uint64_t table_at, batmap_at, end; /* bytes */
    uint32_t batmap_sectors;
};

static uint64_t round_size(enum image_format format, uint64_t size);
static int fill_new(int fd, enum image_format format, uint64_t size, uint8_t uuid[16]);
static int fill_dynamic(int fd, const struct vhd_footer *f);
static int sync_with_folder(int fd, const char *path);
static struct layout layout_of(uint64_t size, uint64_t table_at);
static int write_tables(int fd, const struct layout *l, uint64_t size, const uint32_t *bat,
                        const uint8_t *full, uint32_t n_old);
static int grow_fixed(struct image *im, uint64_t size);
static int grow_dynamic(struct image *im, uint64_t size);

static void close_and_remove(int fd, const char *path, struct image_why *why, int r)
{
    fd_close(fd);
    (void)unlink(path);
    why_set(why, "cannot create '%s': %s", path, strerror(-r));
}

int image_create(const char *path, enum image_format format, uint64_t size, struct image_made *ret,
                 struct image_why *why)
{
    struct image_made made = {.size = round_size(format, size)};
    if (made.size == 0) {
        why_set(why, "cannot create '%s': the size is not possible", path);
        return -EINVAL;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        int r = -errno;
        why_set(why, "cannot create '%s': %s", path, strerror(-r));
        return r;
    }
    int r = fill_new(fd, format, made.size, made.uuid);
    if (r == 0)
        r = sync_with_folder(fd, path);
    if (r < 0) {
        close_and_remove(fd, path, why, r);
        return r;
    }
    fd_close(fd);
    *ret = made;
    return 0;
}

static uint64_t round_size(enum image_format format, uint64_t size)
{
    if (format != IMAGE_RAW)
        return vhd_round_size(size);
    if (size == 0 || size > INT64_MAX - VHD_SECTOR)
        return 0;
    return (size + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

static int fill_new(int fd, enum image_format format, uint64_t size, uint8_t uuid[16])
{
    if (format == IMAGE_RAW)
        return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
    str_random(uuid, 16);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    struct vhd_footer f = {
        .data_offset = format == IMAGE_VHD ? VHD_HEADER_AT : UINT64_MAX,
        .timestamp = (uint32_t)(time(NULL) - VHD_UNIX_EPOCH),
        .creator = "tap",
        .creator_version = VHD_CREATOR_VERSION,
        .original_size = size,
        .current_size = size,
        .geometry = vhd_geometry_of(size),
        .type = format == IMAGE_VHD ? VHD_DYNAMIC : VHD_FIXED,
    };
    memcpy(f.uuid, uuid, 16);
    if (format == IMAGE_VHD)
        return fill_dynamic(fd, &f);
    int r = posix_fallocate(fd, 0, (off_t)size);
    if (r && r != EOPNOTSUPP && r != EINVAL)
        return -r;
    uint8_t bytes[VHD_FOOTER_SIZE];
    vhd_footer_put(&f, bytes);
    return fd_pwrite_all(fd, bytes, sizeof(bytes), (off_t)size);
}

static int fill_dynamic(int fd, const struct vhd_footer *f)
{
    struct layout l = layout_of(f->current_size, VHD_TABLE_AT);
    struct vhd_header h = {
        .table_offset = l.table_at, .max_bat_size = l.n_blocks, .block_size = VHD_BLOCK_SIZE};
    uint8_t bytes[VHD_FOOTER_SIZE + VHD_HEADER_SIZE];
    vhd_footer_put(f, bytes);
    vhd_header_put(&h, bytes + VHD_FOOTER_SIZE);
    int r = write_tables(fd, &l, f->current_size, NULL, NULL, 0);
    if (r == 0)
        r = fd_pwrite_all(fd, bytes, sizeof(bytes), 0);
    if (r == 0)
        r = fd_pwrite_all(fd, bytes, VHD_FOOTER_SIZE, (off_t)l.end);
    return r;
}

static struct layout layout_of(uint64_t size, uint64_t table_at)
{
    struct layout l = {.n_blocks = (uint32_t)((size + VHD_BLOCK_SIZE - 1) / VHD_BLOCK_SIZE),
                       .table_at = table_at};
    l.batmap_at = l.table_at + vhd_bat_size(l.n_blocks);
    l.batmap_sectors = (l.n_blocks / 8 + VHD_SECTOR) / VHD_SECTOR;
    l.end = l.batmap_at + (l.batmap_sectors + 1ull) * VHD_SECTOR;
    return l;
}

/* BAT and batmap in one piece; the first n_old blocks as given, the others absent. */
static int write_tables(int fd, const struct layout *l, uint64_t size, const uint32_t *bat,
                        const uint8_t *full, uint32_t n_old)
{
    struct blockmap m = {0};
    size_t total = (size_t)(l->end - l->table_at);
    _cleanup_(freep) uint8_t *bytes = mem_try_alloc(total, 1);
    if (!bytes || blockmap_init(&m, l->n_blocks, VHD_BLOCK_SIZE) < 0)
        return -ENOMEM;
    if (n_old)
        memcpy(m.bat, bat, (size_t)n_old * sizeof(*bat));
    for (uint32_t i = 0; i < n_old; i++)
        if (full[i / 8] & (0x80u >> i % 8))
            blockmap_set_full(&m, i);
    uint64_t bat_size = l->batmap_at - l->table_at;
    for (uint32_t i = 0; i < bat_size / VHD_SECTOR; i++)
        blockmap_bat_sector(&m, i, bytes + (size_t)i * VHD_SECTOR);
    uint8_t *map = bytes + bat_size + VHD_SECTOR;
    memset(map, 0, (size_t)l->batmap_sectors * VHD_SECTOR);
    memcpy(map, m.full, (size_t)l->n_blocks / 8 + 1);
    struct vhd_batmap_header h = {
        .offset = l->batmap_at + VHD_SECTOR,
        .sectors = l->batmap_sectors,
        .checksum = vhd_checksum(map, vhd_batmap_sum_size(size)),
    };
    vhd_batmap_put(&h, bytes + bat_size);
    blockmap_done(&m);
    return fd_pwrite_all(fd, bytes, total, (off_t)l->table_at);
}

static int sync_with_folder(int fd, const char *path)
{
    if (fsync(fd) < 0)
        return -errno;
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *folder =
        slash ? mem_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strdup(".");
    _cleanup_(fd_closep) int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return -errno;
    return 0;
}

int image_resize(const char *path, enum image_format format, uint64_t size, uint64_t *ret_size,
                 struct image_why *why)
{
    struct image *im;
    int r = image_open(path, format, false, &im, why);
    if (r < 0)
        return r;
    uint64_t wanted = round_size(format, size);
    const char *reason = NULL;
    if (wanted == 0 || wanted < im->size)
        r = -EINVAL, reason = "an image can only grow, up to the format's limit";
    else if (im->has_parent || (format == IMAGE_VHD && im->map.block_size != VHD_BLOCK_SIZE))
        r = -EOPNOTSUPP, reason = "this kind of image cannot grow";
    else if (wanted == im->size)
        r = 0;
    else if (format == IMAGE_RAW)
        r = ftruncate(im->fd, (off_t)wanted) < 0 ? -errno : 0;
    else
        r = format == IMAGE_VHD ? grow_dynamic(im, wanted) : grow_fixed(im, wanted);
    if (r < 0)
        why_set(why, "cannot grow '%s': %s", path, reason ? reason : strerror(-r));
    int c = image_close(im, r < 0 ? NULL : why);
    if (r == 0)
        r = c;
    if (r == 0)
        *ret_size = wanted;
    return r;
}

static void set_size(struct image *im, uint64_t size)
{
    im->footer.current_size = size;
    im->footer.geometry = vhd_geometry_of(size);
    /* Only then do all readers take the size itself. */
    memcpy(im->footer.creator, "tap", 4);
    im->footer.creator_version = VHD_CREATOR_VERSION;
    im->footer.creator_os = 0;
    im->size = size;
    vhd_footer_put(&im->footer, im->footer_bytes);
}

/* The new footer first, then zeroes over the old one: a crash in between shows either size. */
static int grow_fixed(struct image *im, uint64_t size)
{
    uint64_t old = im->size;
    off_t end = lseek(im->fd, 0, SEEK_END);
    if (end < 0 || (uint64_t)end - old > VHD_FOOTER_SIZE)
        return end < 0 ? -errno : -EOPNOTSUPP;
    set_size(im, size);
    if (fallocate(im->fd, FALLOC_FL_KEEP_SIZE, (off_t)old, (off_t)(size - old)) < 0 &&
        errno != EOPNOTSUPP)
        return -errno;
    int r = fd_pwrite_all(im->fd, im->footer_bytes, VHD_FOOTER_SIZE, (off_t)size);
    if (r == 0 && fdatasync(im->fd) < 0)
        r = -errno;
    static const uint8_t zeroes[VHD_FOOTER_SIZE];
    if (r == 0)
        r = fd_pwrite_all(im->fd, zeroes, sizeof(zeroes), (off_t)old);
    return r;
}

/*
 * New tables are written behind everything else, made durable, and then the first kilobyte and a
 * half, header and footer, switches over to them in one write. The old tables' place is lost.
 */
static int grow_dynamic(struct image *im, uint64_t size)
{
    uint64_t at = im->map.next_free * VHD_SECTOR;
    struct layout l = layout_of(size, at);
    if (im->footer.data_offset != VHD_HEADER_AT)
        return -EOPNOTSUPP;
    int r = write_tables(im->fd, &l, size, im->map.bat, im->map.full, im->map.n_blocks);
    uint8_t bytes[VHD_FOOTER_SIZE + VHD_HEADER_SIZE];
    set_size(im, size);
    struct vhd_header h = {
        .table_offset = l.table_at, .max_bat_size = l.n_blocks, .block_size = VHD_BLOCK_SIZE};
    vhd_header_put(&h, bytes + VHD_FOOTER_SIZE);
    memcpy(bytes, im->footer_bytes, VHD_FOOTER_SIZE);
    if (r == 0)
        r = fd_pwrite_all(im->fd, bytes, VHD_FOOTER_SIZE, (off_t)l.end);
    if (r == 0 && fdatasync(im->fd) < 0)
        r = -errno;
    if (r == 0)
        r = fd_pwrite_all(im->fd, bytes, sizeof(bytes), 0);
    return r;
}

static int guess_format(int fd, uint64_t file_size, enum image_format *ret)
{
    uint8_t bytes[VHD_FOOTER_SIZE];
    struct vhd_footer f;
    const char *reason;
    uint64_t at;
    *ret = IMAGE_RAW;
    int r = image_vhd_end_footer(fd, file_size, &f, bytes, &at, &reason);
    if (r == -ENOENT || r == -EINVAL)
        r = file_size < sizeof(bytes) ? -EINVAL : fd_pread_all(fd, bytes, sizeof(bytes), 0);
    else if (r == 0)
        vhd_footer_put(&f, bytes);
    if (r == -EINVAL)
        return 0;
    if (r < 0)
        return r;
    if (vhd_footer_parse(bytes, sizeof(bytes), &f, &reason) == 0)
        *ret = f.type == VHD_FIXED ? IMAGE_VHD_FIXED : IMAGE_VHD;
    return 0;
}

static int fill_info(int fd, const enum image_format *format, struct image_info *info)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    info->file_size = (uint64_t)st.st_size;
    info->allocated = (uint64_t)st.st_blocks * 512;
    if (S_ISBLK(st.st_mode)) {
        off_t end = lseek(fd, 0, SEEK_END);
        if (end < 0)
            return -errno;
        info->file_size = info->allocated = (uint64_t)end;
    }
    if (format)
        info->format = *format;
    else
        return guess_format(fd, info->file_size, &info->format);
    return 0;
}

/* image_open without a lock: reading a footer under a writer is harmless. */
static int inspect(struct image *im, struct image_info *info, const char **ret_why)
{
    int r = 0;
    im->size = info->file_size / VHD_SECTOR * VHD_SECTOR;
    if (info->format == IMAGE_VHD_FIXED)
        r = image_vhd_open_fixed(im, info->file_size, ret_why);
    else if (info->format == IMAGE_VHD)
        r = image_vhd_open_dynamic(im, info->file_size, ret_why);
    if (r < 0)
        return r;
    info->size = im->size;
    info->footer = im->footer;
    info->has_end_footer = im->is_footer_at_end;
    info->block_size = im->map.block_size;
    info->n_blocks = im->map.n_blocks;
    info->n_allocated = im->map.n_allocated;
    memcpy(info->parent_uuid, im->header.parent_uuid, 16);
    memcpy(info->parent_name, im->header.parent_name, sizeof(info->parent_name));
    return 0;
}

int image_info(const char *path, const enum image_format *format, struct image_info *ret,
               struct image_why *why)
{
    struct image_info info = {0};
    const char *reason = NULL;
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int r = fd < 0 ? -errno : fill_info(fd, format, &info);
    if (r == 0) {
        struct image im = {.format = info.format, .fd = fd, .is_readonly = true};
        r = inspect(&im, &info, &reason);
        blockmap_done(&im.map);
    }
    if (r < 0) {
        why_set(why, "cannot read '%s': %s", path, reason ? reason : strerror(-r));
        return r;
    }
    *ret = info;
    return 0;
}
