/*
 * nbd.h: numbers of the NBD protocol's handshake ("fixed newstyle"), for both of its ends here:
 * cairn-diskd serves disks (disk/nbd_proto.h), the gate before it (handler/nbd_door.h) passes
 * options on. Names and values are those of the protocol's specification.
 */
#pragma once

#define NBD_INIT_MAGIC    0x4e42444d41474943ull /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC  0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_ANSWER_MAGIC  0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC  0x67446698u /* a reply without chunks */
#define NBD_CHUNK_MAGIC   0x668e33efu

/* Of the greeting, and of the client's answer to it. */
enum { NBD_GREET_NEWSTYLE = 1, NBD_GREET_NO_ZEROES = 2 };

enum { NBD_OPTION_MAX = 8192 }; /* bytes of one option; longer ones end the connection */
enum nbd_option_kind {
    NBD_OPTION_EXPORT_NAME = 1,
    NBD_OPTION_ABORT = 2,
    NBD_OPTION_LIST = 3,
    NBD_OPTION_STARTTLS = 5,
    NBD_OPTION_INFO = 6,
    NBD_OPTION_GO = 7,
    NBD_OPTION_STRUCTURED = 8,
    NBD_OPTION_LIST_META = 9,
    NBD_OPTION_SET_META = 10
};

#define NBD_ANSWER_ACK     1u
#define NBD_ANSWER_SERVER  2u
#define NBD_ANSWER_INFO    3u
#define NBD_ANSWER_META    4u
#define NBD_ANSWER_ERROR   (1u << 31)
#define NBD_ANSWER_UNSUP   (NBD_ANSWER_ERROR + 1)
#define NBD_ANSWER_POLICY  (NBD_ANSWER_ERROR + 2)
#define NBD_ANSWER_INVALID (NBD_ANSWER_ERROR + 3)
#define NBD_ANSWER_TLS     (NBD_ANSWER_ERROR + 5)
#define NBD_ANSWER_UNKNOWN (NBD_ANSWER_ERROR + 6)
enum { NBD_INFO_EXPORT = 0, NBD_INFO_BLOCK_SIZE = 3 };
