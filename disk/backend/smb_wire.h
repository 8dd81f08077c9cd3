/*
 * smb_wire.h: messages of SMB 2 and 3 as bytes, requests out and answers in.
 *
 * Requests are appended to a buffer that already holds the header's 64 bytes; answers are read from
 * the whole message, header included, which the server may have filled with anything: every
 * function is total, and returns -EBADMSG for what no server would say. What an answer holds as
 * bytes (a view) stays the message's. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define SMB_HEAD        64
#define SMB_MESSAGE_MAX ((1u << 20) + (1u << 16)) /* bytes of one that are taken */
#define SMB_NAME_MAX    1024                      /* of a name in a folder, as UTF-8 with its NUL */
#define SMB_CREDIT      65536u                    /* bytes of payload that one credit pays for */

enum smb_command {
    SMB_NEGOTIATE = 0,
    SMB_SESSION_SETUP = 1,
    SMB_TREE_CONNECT = 3,
    SMB_CREATE = 5,
    SMB_CLOSE = 6,
    SMB_FLUSH = 7,
    SMB_READ = 8,
    SMB_WRITE = 9,
    SMB_IOCTL = 11,
    SMB_ECHO = 13,
    SMB_QUERY_DIRECTORY = 14,
    SMB_QUERY_INFO = 16,
    SMB_SET_INFO = 17
};

enum smb_dialect { SMB_2_1 = 0x0210, SMB_3_0 = 0x0300, SMB_3_0_2 = 0x0302 };

/* NTSTATUS, as far as they mean something here. */
#define SMB_OK              0u
#define SMB_PENDING         0x00000103u
#define SMB_NO_MORE_FILES   0x80000006u
#define SMB_END_OF_FILE     0xc0000011u
#define SMB_MORE_PROCESSING 0xc0000016u
#define SMB_NO_SUCH_FILE    0xc000000fu

#define SMB_FLAG_ANSWER     1u
#define SMB_FLAG_ASYNC      2u
#define SMB_FLAG_SIGNED     8u

struct smb_head {
    uint16_t charge, command, credits;
    uint32_t status, flags, next, tree;
    uint64_t message, session;
};
void smb_head_put(const struct smb_head *h, uint8_t out[SMB_HEAD]);
/* An answer's; the message is at least as long as a header. */
int smb_head_parse(const void *p, size_t size, struct smb_head *ret);

/* -errno for what a server answers; 0 for SMB_OK. */
int smb_errno(uint32_t status);
/* The session or the connection is of no use any more: another one may be. */
bool smb_is_lost(uint32_t status);

struct smb_id {
    uint8_t bytes[16];
};

/* ---- requests ---- */

#define SMB_MAY_READ     0x00120081u /* data, attributes, and to wait for them */
#define SMB_MAY_WRITE    0x00000106u /* data, behind the end, attributes */
#define SMB_MAY_DELETE   0x00010000u
#define SMB_MAY_LOOK     0x00100080u /* attributes */
#define SMB_MAY_ADD      0x00000002u /* files to a folder */

#define SMB_SHARE_READ   1u
#define SMB_SHARE_WRITE  2u
#define SMB_SHARE_DELETE 4u

enum smb_disposition { SMB_OPEN = 1, SMB_CREATE_NEW = 2 };

#define SMB_IS_FOLDER 0x00000001u
#define SMB_IS_FILE   0x00000040u
#define SMB_REPARSE   0x00200000u /* the link, not what it leads to */

struct smb_create {
    uint32_t access, share, options;
    enum smb_disposition disposition;
    const char *path; /* UTF-8, slashes between names, none at the beginning */
};

enum smb_info {
    SMB_FILE_FOLDER_ENTRY = 0x0101, /* type in the low byte, class in the high one */
    SMB_FILE_INTERNAL = 0x0601,
    SMB_FILE_RENAME = 0x0a01,
    SMB_FILE_LINK = 0x0b01,
    SMB_FILE_DISPOSITION = 0x0d01,
    SMB_FILE_END = 0x1401,
    SMB_FILE_FACTS = 0x2201,
    SMB_FS_SIZE = 0x0702
};

#define SMB_SET_SPARSE 0x000900c4u

void smb_put_negotiate(struct buf *b, const uint8_t guid[16], bool must_sign);
void smb_put_session(struct buf *b, struct view token, bool must_sign, uint64_t previous);
void smb_put_tree(struct buf *b, const char *server, const char *share);
void smb_put_create(struct buf *b, const struct smb_create *c);
void smb_put_close(struct buf *b, const struct smb_id *id);
void smb_put_flush(struct buf *b, const struct smb_id *id);
void smb_put_read(struct buf *b, const struct smb_id *id, uint64_t at, uint32_t size);
/* The payload is appended by the caller. The server has it on stable storage when it answers. */
void smb_put_write(struct buf *b, const struct smb_id *id, uint64_t at, uint32_t size);
void smb_put_list(struct buf *b, const struct smb_id *id, uint32_t max);
void smb_put_query(struct buf *b, const struct smb_id *id, enum smb_info what, uint32_t max);
void smb_put_set(struct buf *b, const struct smb_id *id, enum smb_info what, struct view data);
/* The data of SMB_FILE_RENAME and SMB_FILE_LINK. */
void smb_put_name(struct buf *b, const char *path, bool replaces);
void smb_put_ioctl(struct buf *b, const struct smb_id *id, uint32_t code);
void smb_put_echo(struct buf *b);

/* ---- answers ---- */

struct smb_negotiated {
    uint16_t dialect;
    bool must_sign;
    bool has_credits; /* requests may be larger than 64 KiB */
    uint32_t max_read, max_write;
};
struct smb_session {
    bool is_guest, must_encrypt;
    struct view token;
};
struct smb_opened {
    struct smb_id id;
    uint64_t size, allocated; /* bytes */
    int64_t mtime;            /* seconds since 1970 */
    bool is_folder;
};
struct smb_entry {
    char name[SMB_NAME_MAX];
    uint64_t size;
    bool is_folder;
};

int smb_parse_negotiate(struct view msg, struct smb_negotiated *ret);
int smb_parse_session(struct view msg, struct smb_session *ret);
/* Whether the share wants everything encrypted. */
int smb_parse_tree(struct view msg, bool *ret_must_encrypt);
int smb_parse_create(struct view msg, struct smb_opened *ret);
int smb_parse_read(struct view msg, struct view *ret);
int smb_parse_write(struct view msg, uint32_t *ret);
/* Of SMB_QUERY_INFO and SMB_QUERY_DIRECTORY. */
int smb_parse_info(struct view msg, struct view *ret);

int smb_parse_facts(struct view data, struct smb_opened *ret); /* all but the id */
int smb_parse_internal(struct view data, uint64_t *ret);
int smb_parse_space(struct view data, uint64_t *ret_size, uint64_t *ret_free);
/* The next of a folder's entries; -ENODATA when there is none. A name that is too long is cut. */
int smb_parse_entry(struct view *rest, struct smb_entry *ret);
