/* smb_wire.c: see smb_wire.h. */
#include "disk/backend/smb_wire.h"

#include <errno.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/vhd_text.h"

#define PROTOCOL    0x424d53feu /* fe 'S' 'M' 'B' */
#define EPOCH_S     11644473600 /* from 1601 to 1970 */
#define TICKS       10000000u   /* of 100 ns in a second */
#define PATH_BYTES  8192        /* of a path in UTF-16 */
#define IS_FOLDER   0x10u       /* file attributes */
#define NORMAL      0x80u
#define IMPERSONATE 2u
#define CAN_CREDITS 4u /* capabilities: large requests */

/* ---- writing ---- */

static void put16(struct buf *b, unsigned v)
{
    uint8_t p[2];
    put_le16(p, (uint16_t)v);
    buf_put(b, p, sizeof(p));
}

static void put32(struct buf *b, uint32_t v)
{
    uint8_t p[4];
    put_le32(p, v);
    buf_put(b, p, sizeof(p));
}

static void put64(struct buf *b, uint64_t v)
{
    uint8_t p[8];
    put_le64(p, v);
    buf_put(b, p, sizeof(p));
}

static void put_zeroes(struct buf *b, size_t n)
{
    static const uint8_t zeroes[32];
    buf_put(b, zeroes, n);
}

static void put_id(struct buf *b, const struct smb_id *id)
{
    buf_put(b, id->bytes, sizeof(id->bytes));
}

/* As UTF-16, `from` written as `to`; returns the bytes. What is too long makes the buffer full. */
static size_t wide_of(const char *text, char from, uint16_t to, uint8_t out[PATH_BYTES])
{
    size_t size = utf16_put(text, false, out, PATH_BYTES);
    for (size_t i = 0; i + 1 < size; i += 2)
        if (get_le16(out + i) == (uint8_t)from)
            put_le16(out + i, to);
    return size;
}

void smb_head_put(const struct smb_head *h, uint8_t out[SMB_HEAD])
{
    memset(out, 0, SMB_HEAD);
    put_le32(out, PROTOCOL);
    put_le16(out + 4, SMB_HEAD);
    put_le16(out + 6, h->charge);
    put_le32(out + 8, h->status);
    put_le16(out + 12, h->command);
    put_le16(out + 14, h->credits);
    put_le32(out + 16, h->flags);
    put_le32(out + 20, h->next);
    put_le64(out + 24, h->message);
    put_le32(out + 36, h->tree);
    put_le64(out + 40, h->session);
}

void smb_put_negotiate(struct buf *b, const uint8_t guid[16], bool must_sign)
{
    static const uint16_t dialects[] = {SMB_2_1, SMB_3_0, SMB_3_0_2};
    put16(b, 36);
    put16(b, ARRAY_LEN(dialects));
    put16(b, must_sign ? 3 : 1);
    put16(b, 0);
    put32(b, CAN_CREDITS);
    buf_put(b, guid, 16);
    put64(b, 0);
    for (size_t i = 0; i < ARRAY_LEN(dialects); i++)
        put16(b, dialects[i]);
}

void smb_put_session(struct buf *b, struct view token, bool must_sign, uint64_t previous)
{
    put16(b, 25);
    buf_putc(b, 0);
    buf_putc(b, must_sign ? 3 : 1);
    put32(b, 0);
    put32(b, 0);
    put16(b, SMB_HEAD + 24);
    put16(b, (unsigned)token.size);
    put64(b, previous);
    buf_put(b, token.p, token.size);
}

void smb_put_tree(struct buf *b, const char *server, const char *share)
{
    uint8_t wide[PATH_BYTES];
    _cleanup_(freep) char *path = mem_printf("\\\\%s\\%s", server, share);
    size_t size = wide_of(path, '\\', '\\', wide);
    put16(b, 9);
    put16(b, 0);
    put16(b, SMB_HEAD + 8);
    put16(b, (unsigned)size);
    buf_put(b, wide, size);
}

void smb_put_create(struct buf *b, const struct smb_create *c)
{
    uint8_t wide[PATH_BYTES];
    size_t size = wide_of(c->path, '/', '\\', wide);
    put16(b, 57);
    put16(b, 0); /* no oplock */
    put32(b, IMPERSONATE);
    put64(b, 0);
    put64(b, 0);
    put32(b, c->access);
    put32(b, NORMAL);
    put32(b, c->share);
    put32(b, c->disposition);
    put32(b, c->options);
    put16(b, SMB_HEAD + 56);
    put16(b, (unsigned)size);
    put64(b, 0); /* no contexts */
    buf_put(b, wide, size);
    if (size == 0)
        buf_putc(b, 0); /* there must be something */
}

void smb_put_close(struct buf *b, const struct smb_id *id)
{
    put16(b, 24);
    put16(b, 0);
    put32(b, 0);
    put_id(b, id);
}

void smb_put_flush(struct buf *b, const struct smb_id *id)
{
    smb_put_close(b, id); /* the same bytes */
}

void smb_put_read(struct buf *b, const struct smb_id *id, uint64_t at, uint32_t size)
{
    put16(b, 49);
    put16(b, SMB_HEAD + 16); /* where the data shall be in the answer */
    put32(b, size);
    put64(b, at);
    put_id(b, id);
    put_zeroes(b, 16);
    buf_putc(b, 0);
}

void smb_put_write(struct buf *b, const struct smb_id *id, uint64_t at, uint32_t size)
{
    put16(b, 49);
    put16(b, SMB_HEAD + 48);
    put32(b, size);
    put64(b, at);
    put_id(b, id);
    put64(b, 0);
    put32(b, 0);
    put32(b, 1); /* write through */
}

void smb_put_list(struct buf *b, const struct smb_id *id, uint32_t max)
{
    put16(b, 33);
    buf_putc(b, SMB_FILE_FOLDER_ENTRY >> 8);
    buf_putc(b, 0);
    put32(b, 0);
    put_id(b, id);
    put16(b, SMB_HEAD + 32);
    put16(b, 2);
    put32(b, max);
    put16(b, '*');
}

void smb_put_query(struct buf *b, const struct smb_id *id, enum smb_info what, uint32_t max)
{
    put16(b, 41);
    buf_putc(b, (char)(what & 0xff));
    buf_putc(b, (char)(what >> 8));
    put32(b, max);
    put_zeroes(b, 16);
    put_id(b, id);
    buf_putc(b, 0);
}

void smb_put_set(struct buf *b, const struct smb_id *id, enum smb_info what, struct view data)
{
    put16(b, 33);
    buf_putc(b, (char)(what & 0xff));
    buf_putc(b, (char)(what >> 8));
    put32(b, (uint32_t)data.size);
    put16(b, SMB_HEAD + 32);
    put16(b, 0);
    put32(b, 0);
    put_id(b, id);
    buf_put(b, data.p, data.size);
}

void smb_put_name(struct buf *b, const char *path, bool replaces)
{
    uint8_t wide[PATH_BYTES];
    size_t size = wide_of(path, '/', '\\', wide);
    buf_putc(b, replaces);
    put_zeroes(b, 7 + 8);
    put32(b, (uint32_t)size);
    buf_put(b, wide, size);
    if (size < 4)
        put_zeroes(b, 4 - size); /* servers want 24 bytes */
}

void smb_put_ioctl(struct buf *b, const struct smb_id *id, uint32_t code)
{
    put16(b, 57);
    put16(b, 0);
    put32(b, code);
    put_id(b, id);
    put_zeroes(b, 24);
    put32(b, 1); /* a control code of the file system */
    put32(b, 0);
}

void smb_put_echo(struct buf *b)
{
    put16(b, 4);
    put16(b, 0);
}

/* ---- reading ---- */

static struct cursor body_of(struct view msg, unsigned structure)
{
    struct cursor c = cursor_of(msg.p, msg.size);
    (void)cursor_take(&c, SMB_HEAD);
    if (cursor_le16(&c) != structure)
        c.bad = true;
    return c;
}

/* Bytes that the message says are somewhere in it. */
static int part_of(struct view msg, size_t at, size_t size, struct view *ret)
{
    if (at > msg.size || size > msg.size - at)
        return -EBADMSG;
    *ret = size ? (struct view){msg.p + at, size} : (struct view){msg.p, 0};
    return 0;
}

static int64_t seconds_of(uint64_t ticks)
{
    return (int64_t)(ticks / TICKS) - EPOCH_S;
}

static int verdict(const struct cursor *c)
{
    return c->bad ? -EBADMSG : 0;
}

int smb_head_parse(const void *p, size_t size, struct smb_head *ret)
{
    struct cursor c = cursor_of(p, size);
    uint32_t protocol = cursor_le32(&c);
    uint16_t structure = cursor_le16(&c);
    *ret = (struct smb_head){.charge = cursor_le16(&c)};
    ret->status = cursor_le32(&c);
    ret->command = cursor_le16(&c);
    ret->credits = cursor_le16(&c);
    ret->flags = cursor_le32(&c);
    ret->next = cursor_le32(&c);
    ret->message = cursor_le64(&c);
    (void)cursor_le32(&c);
    ret->tree = cursor_le32(&c);
    ret->session = cursor_le64(&c);
    (void)cursor_take(&c, 16);
    if (c.bad || protocol != PROTOCOL || structure != SMB_HEAD || !(ret->flags & SMB_FLAG_ANSWER))
        return -EBADMSG;
    return 0;
}

int smb_parse_negotiate(struct view msg, struct smb_negotiated *ret)
{
    struct cursor c = body_of(msg, 65);
    uint16_t mode = cursor_le16(&c), dialect = cursor_le16(&c);
    (void)cursor_take(&c, 2 + 16);
    uint32_t can = cursor_le32(&c);
    (void)cursor_le32(&c);
    *ret = (struct smb_negotiated){.dialect = dialect,
                                   .must_sign = mode & 2,
                                   .has_credits = can & CAN_CREDITS,
                                   .max_read = cursor_le32(&c)};
    ret->max_write = cursor_le32(&c);
    bool is_known = dialect == SMB_2_1 || dialect == SMB_3_0 || dialect == SMB_3_0_2;
    if (c.bad)
        return -EBADMSG;
    return !is_known                                                   ? -EPROTONOSUPPORT
           : ret->max_read < SMB_CREDIT || ret->max_write < SMB_CREDIT ? -EBADMSG
                                                                       : 0;
}

int smb_parse_session(struct view msg, struct smb_session *ret)
{
    struct cursor c = body_of(msg, 9);
    uint16_t flags = cursor_le16(&c), at = cursor_le16(&c), size = cursor_le16(&c);
    *ret = (struct smb_session){.is_guest = flags & 3, .must_encrypt = flags & 4};
    return c.bad ? -EBADMSG : part_of(msg, at, size, &ret->token);
}

int smb_parse_tree(struct view msg, bool *ret_must_encrypt)
{
    struct cursor c = body_of(msg, 16);
    uint16_t kind = cursor_le16(&c);
    *ret_must_encrypt = cursor_le32(&c) & 0x8000;
    return c.bad ? -EBADMSG : (kind & 0xff) != 1 ? -ENOTBLK : 0;
}

int smb_parse_create(struct view msg, struct smb_opened *ret)
{
    struct cursor c = body_of(msg, 89);
    (void)cursor_take(&c, 2 + 4 + 8 + 8);
    *ret = (struct smb_opened){.mtime = seconds_of(cursor_le64(&c))};
    (void)cursor_le64(&c);
    ret->allocated = cursor_le64(&c);
    ret->size = cursor_le64(&c);
    ret->is_folder = cursor_le32(&c) & IS_FOLDER;
    (void)cursor_le32(&c);
    cursor_copy(&c, ret->id.bytes, sizeof(ret->id.bytes));
    return verdict(&c);
}

int smb_parse_read(struct view msg, struct view *ret)
{
    struct cursor c = body_of(msg, 17);
    uint8_t at = cursor_u8(&c);
    (void)cursor_u8(&c);
    uint32_t size = cursor_le32(&c);
    return c.bad ? -EBADMSG : part_of(msg, at, size, ret);
}

int smb_parse_write(struct view msg, uint32_t *ret)
{
    struct cursor c = body_of(msg, 17);
    (void)cursor_le16(&c);
    *ret = cursor_le32(&c);
    return verdict(&c);
}

int smb_parse_info(struct view msg, struct view *ret)
{
    struct cursor c = body_of(msg, 9);
    uint16_t at = cursor_le16(&c);
    uint32_t size = cursor_le32(&c);
    return c.bad ? -EBADMSG : part_of(msg, at, size, ret);
}

int smb_parse_facts(struct view data, struct smb_opened *ret)
{
    struct cursor c = cursor_of(data.p, data.size);
    (void)cursor_take(&c, 8 + 8);
    *ret = (struct smb_opened){.mtime = seconds_of(cursor_le64(&c))};
    (void)cursor_le64(&c);
    ret->allocated = cursor_le64(&c);
    ret->size = cursor_le64(&c);
    ret->is_folder = cursor_le32(&c) & IS_FOLDER;
    return verdict(&c);
}

int smb_parse_internal(struct view data, uint64_t *ret)
{
    struct cursor c = cursor_of(data.p, data.size);
    *ret = cursor_le64(&c);
    return verdict(&c);
}

int smb_parse_space(struct view data, uint64_t *ret_size, uint64_t *ret_free)
{
    struct cursor c = cursor_of(data.p, data.size);
    uint64_t all = cursor_le64(&c), ours = cursor_le64(&c);
    (void)cursor_le64(&c);
    uint64_t sectors = cursor_le32(&c), bytes = cursor_le32(&c), unit = sectors * bytes;
    if (c.bad || __builtin_mul_overflow(all, unit, ret_size) ||
        __builtin_mul_overflow(ours, unit, ret_free))
        return -EBADMSG;
    if (*ret_size > INT64_MAX)
        *ret_size = INT64_MAX;
    if (*ret_free > *ret_size)
        *ret_free = *ret_size;
    return 0;
}

int smb_parse_entry(struct view *rest, struct smb_entry *ret)
{
    if (rest->size == 0)
        return -ENODATA;
    struct cursor c = cursor_of(rest->p, rest->size);
    uint32_t next = cursor_le32(&c);
    (void)cursor_take(&c, 4 + 4 * 8);
    ret->size = cursor_le64(&c);
    (void)cursor_le64(&c);
    ret->is_folder = cursor_le32(&c) & IS_FOLDER;
    uint32_t size = cursor_le32(&c);
    const uint8_t *name = cursor_take(&c, size);
    if (c.bad || (next && (next < 64 || next > rest->size)))
        return -EBADMSG;
    (void)utf16_parse(name, size, false, ret->name, sizeof(ret->name));
    *rest = next ? view_cut(*rest, next) : (struct view){rest->p, 0};
    return 0;
}

/* ---- what a status means ---- */

int smb_errno(uint32_t status)
{
    static const struct {
        uint32_t status;
        int err;
    } known[] = {
        {SMB_OK, 0},
        {SMB_END_OF_FILE, ENODATA},
        {SMB_NO_SUCH_FILE, ENOENT},
        {0xc000000d, EINVAL},       /* INVALID_PARAMETER */
        {0xc0000010, EOPNOTSUPP},   /* INVALID_DEVICE_REQUEST */
        {0xc0000022, EACCES},       /* ACCESS_DENIED */
        {0xc0000033, EINVAL},       /* OBJECT_NAME_INVALID */
        {0xc0000034, ENOENT},       /* OBJECT_NAME_NOT_FOUND */
        {0xc0000035, EEXIST},       /* OBJECT_NAME_COLLISION */
        {0xc000003a, ENOENT},       /* OBJECT_PATH_NOT_FOUND */
        {0xc0000043, EBUSY},        /* SHARING_VIOLATION */
        {0xc0000044, EDQUOT},       /* QUOTA_EXCEEDED */
        {0xc0000054, EBUSY},        /* FILE_LOCK_CONFLICT */
        {0xc0000056, EBUSY},        /* DELETE_PENDING */
        {0xc000006d, EKEYREJECTED}, /* LOGON_FAILURE */
        {0xc000006e, EKEYREJECTED}, /* ACCOUNT_RESTRICTION */
        {0xc0000071, EKEYREJECTED}, /* PASSWORD_EXPIRED */
        {0xc0000072, EKEYREJECTED}, /* ACCOUNT_DISABLED */
        {0xc000007f, ENOSPC},       /* DISK_FULL */
        {0xc000009a, ENOBUFS},      /* INSUFFICIENT_RESOURCES */
        {0xc00000a2, EROFS},        /* MEDIA_WRITE_PROTECTED */
        {0xc00000ba, EISDIR},       /* FILE_IS_A_DIRECTORY */
        {0xc00000bb, EOPNOTSUPP},   /* NOT_SUPPORTED */
        {0xc00000cc, ENXIO},        /* BAD_NETWORK_NAME */
        {0xc00000d4, EXDEV},        /* NOT_SAME_DEVICE */
        {0xc0000101, ENOTEMPTY},    /* DIRECTORY_NOT_EMPTY */
        {0xc0000103, ENOTDIR},      /* NOT_A_DIRECTORY */
        {0xc0000121, EACCES},       /* CANNOT_DELETE */
        {0xc000015b, EKEYREJECTED}, /* LOGON_TYPE_NOT_GRANTED */
        {0xc0000193, EKEYREJECTED}, /* ACCOUNT_EXPIRED */
        {0xc0000224, EKEYREJECTED}, /* PASSWORD_MUST_CHANGE */
        {0xc0000234, EKEYREJECTED}, /* ACCOUNT_LOCKED_OUT */
        {0xc0000265, EMLINK},       /* TOO_MANY_LINKS */
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].status == status)
            return -known[i].err;
    return -EIO;
}

bool smb_is_lost(uint32_t status)
{
    switch (status) {
    case 0xc0000128: /* FILE_CLOSED */
    case 0xc0000008: /* INVALID_HANDLE */
    case 0xc0000203: /* USER_SESSION_DELETED */
    case 0xc000035c: /* NETWORK_SESSION_EXPIRED */
    case 0xc00000c9: /* NETWORK_NAME_DELETED */
    case 0xc000009a: /* INSUFFICIENT_RESOURCES */
    case 0xc0000205: /* INSUFF_SERVER_RESOURCES */
    case 0xc0000120: /* CANCELLED */
    case 0xc000013c: /* REMOTE_DISCONNECT */
        return true;
    default:
        return false;
    }
}
