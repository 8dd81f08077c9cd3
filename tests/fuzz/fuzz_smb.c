/*
 * fuzz_smb.c: what an SMB server says. Input: one byte that chooses how the rest is read; a message
 * with a right header, as one that is none goes no further.
 */
#include <string.h>

#include "codec/bytes.h"
#include "disk/backend/smb_auth.h"
#include "disk/backend/smb_wire.h"
#include "tests/fuzz/fuzz.h"

static void check_inside(struct view msg, struct view part)
{
    if (part.p < msg.p || part.size > msg.size || (size_t)(part.p - msg.p) > msg.size - part.size)
        __builtin_trap();
}

static void read_folder(struct view msg)
{
    struct smb_entry e;
    struct view rest;
    if (smb_parse_info(msg, &rest) < 0)
        return;
    check_inside(msg, rest);
    size_t before = rest.size + 1;
    while (rest.size < before && smb_parse_entry(&rest, &e) == 0) {
        before = rest.size + 1;
        if (memchr(e.name, '\0', sizeof(e.name)) == NULL)
            __builtin_trap();
        if (rest.size)
            check_inside(msg, rest);
    }
}

static void read_challenge(struct view msg)
{
    char user[] = "D\\u", password[] = "p";
    const struct smb_login who = {user, password};
    const struct smb_flavour f = {.time = 1};
    struct smb_session s;
    uint8_t key[SMB_KEY];
    struct buf out;
    if (smb_parse_session(msg, &s) < 0)
        return;
    check_inside(msg, s.token);
    buf_init(&out, 65536);
    (void)smb_auth_answer(&who, (struct view){"", 0}, s.token, &f, &out, key);
    buf_done(&out);
}

static void read_rest(struct view msg)
{
    struct smb_negotiated n;
    struct smb_opened o;
    struct view data;
    uint64_t a, b;
    uint32_t count;
    bool encrypts;
    if (smb_parse_negotiate(msg, &n) == 0 && n.max_write < SMB_CREDIT)
        __builtin_trap();
    (void)smb_parse_tree(msg, &encrypts);
    (void)smb_parse_create(msg, &o);
    (void)smb_parse_write(msg, &count);
    if (smb_parse_read(msg, &data) == 0)
        check_inside(msg, data);
    if (smb_parse_info(msg, &data) < 0)
        return;
    (void)smb_parse_facts(data, &o);
    (void)smb_parse_internal(data, &a);
    if (smb_parse_space(data, &a, &b) == 0 && b > a)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t room[SMB_HEAD + 65536];
    struct smb_head h = {.flags = SMB_FLAG_ANSWER};
    if (size < 1 || size > 65536)
        return 0;
    smb_head_put(&h, room);
    memcpy(room + SMB_HEAD, data + 1, size - 1);
    struct view msg = {(char *)room, SMB_HEAD + size - 1};
    if (smb_head_parse(room, msg.size, &h) < 0)
        __builtin_trap();
    data[0] % 3 == 0 ? read_folder(msg) : data[0] % 3 == 1 ? read_challenge(msg) : read_rest(msg);
    return 0;
}
