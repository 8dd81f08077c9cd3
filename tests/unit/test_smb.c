/*
 * test_smb.c: SMB as bytes: answers cut off anywhere, challenges that are none, sums, names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <errno.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/backend/smb_auth.h"
#include "disk/backend/smb_place.h"
#include "disk/backend/smb_wire.h"

/* RFC 1320's own examples. */
static void test_md4(void **state)
{
    static const struct {
        const char *text;
        uint32_t sum[4];
    } known[] = {
        {"", {0x31d6cfe0, 0xd16ae931, 0xb73c59d7, 0xe0c089c0}},
        {"abc", {0xa448017a, 0xaf21d852, 0x5fc10ae8, 0x7aa6729d}},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         {0xe33b4ddc, 0x9c38f219, 0x9c3e7b16, 0x4fcc0536}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        uint8_t sum[16];
        smb_md4(known[i].text, strlen(known[i].text), sum);
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(get_be32(sum + 4 * k), known[i].sum[k]);
    }
}

/* ---- answers ---- */

static struct view answer(uint8_t *msg, size_t size, unsigned structure)
{
    struct smb_head h = {.flags = SMB_FLAG_ANSWER, .credits = 3, .message = 7, .status = 5};
    memset(msg, 0, size);
    smb_head_put(&h, msg);
    put_le16(msg + SMB_HEAD, (uint16_t)structure);
    return (struct view){(char *)msg, size};
}

static void test_head(void **state)
{
    uint8_t msg[SMB_HEAD];
    struct smb_head h;
    (void)state;
    smb_head_put(&(struct smb_head){.flags = SMB_FLAG_ANSWER,
                                    .credits = 3,
                                    .message = 7,
                                    .tree = 9,
                                    .session = 11,
                                    .status = SMB_PENDING},
                 msg);
    assert_int_equal(smb_head_parse(msg, sizeof(msg), &h), 0);
    assert_true(h.credits == 3 && h.message == 7 && h.tree == 9 && h.session == 11);
    assert_int_equal(h.status, SMB_PENDING);
    for (size_t size = 0; size < sizeof(msg); size++)
        assert_int_equal(smb_head_parse(msg, size, &h), -EBADMSG);
    msg[0] = 0xff; /* of SMB 1 */
    assert_int_equal(smb_head_parse(msg, sizeof(msg), &h), -EBADMSG);
    smb_head_put(&(struct smb_head){.flags = 0}, msg);
    assert_int_equal(smb_head_parse(msg, sizeof(msg), &h), -EBADMSG);
}

static void test_negotiated(void **state)
{
    uint8_t bytes[SMB_HEAD + 64];
    struct smb_negotiated n;
    struct view msg = answer(bytes, sizeof(bytes), 65);
    (void)state;
    put_le16(bytes + SMB_HEAD + 2, 2);
    put_le16(bytes + SMB_HEAD + 4, SMB_3_0_2);
    put_le32(bytes + SMB_HEAD + 24, 4);
    put_le32(bytes + SMB_HEAD + 32, 1 << 20);
    put_le32(bytes + SMB_HEAD + 36, 1 << 23);
    assert_int_equal(smb_parse_negotiate(msg, &n), 0);
    assert_int_equal(n.dialect, SMB_3_0_2);
    assert_true(n.must_sign && n.has_credits && n.max_read == 1 << 20 && n.max_write == 1 << 23);
    put_le16(bytes + SMB_HEAD + 4, 0x0202);
    assert_int_equal(smb_parse_negotiate(msg, &n), -EPROTONOSUPPORT);
    put_le16(bytes + SMB_HEAD + 4, SMB_2_1);
    put_le32(bytes + SMB_HEAD + 32, 0);
    assert_int_equal(smb_parse_negotiate(msg, &n), -EBADMSG);
}

static void test_read(void **state)
{
    uint8_t bytes[SMB_HEAD + 16 + 100];
    struct view msg = answer(bytes, sizeof(bytes), 17), data;
    (void)state;
    bytes[SMB_HEAD + 2] = SMB_HEAD + 16;
    put_le32(bytes + SMB_HEAD + 4, 100);
    assert_int_equal(smb_parse_read(msg, &data), 0);
    assert_true(data.size == 100 && data.p == (char *)bytes + SMB_HEAD + 16);
    for (msg.size = 0; msg.size < sizeof(bytes); msg.size++)
        assert_int_equal(smb_parse_read(msg, &data), -EBADMSG);
    put_le32(bytes + SMB_HEAD + 4, UINT32_MAX);
    msg.size = sizeof(bytes);
    assert_int_equal(smb_parse_read(msg, &data), -EBADMSG);
}

/* Two entries, the second with a name that is longer than what there is. */
static void test_folder(void **state)
{
    uint8_t bytes[256] = {0};
    struct view rest = {(char *)bytes, 80 + 64 + 4};
    struct smb_entry e;
    (void)state;
    put_le32(bytes, 80);
    put_le64(bytes + 40, 123);
    put_le32(bytes + 60, 4);
    memcpy(bytes + 64, "a\0\xe9\0", 4);
    put_le32(bytes + 80 + 56, 0x10);
    put_le32(bytes + 80 + 60, 4);
    memcpy(bytes + 80 + 64, "b\0c\0", 4);
    assert_int_equal(smb_parse_entry(&rest, &e), 0);
    assert_string_equal(e.name, "a\xc3\xa9");
    assert_true(e.size == 123 && !e.is_folder);
    assert_int_equal(smb_parse_entry(&rest, &e), 0);
    assert_string_equal(e.name, "bc");
    assert_true(e.is_folder);
    assert_int_equal(smb_parse_entry(&rest, &e), -ENODATA);

    rest = (struct view){(char *)bytes + 80, 64 + 3};
    assert_int_equal(smb_parse_entry(&rest, &e), -EBADMSG);
    rest = (struct view){(char *)bytes, 100};
    put_le32(bytes, 8); /* leads back into itself */
    assert_int_equal(smb_parse_entry(&rest, &e), -EBADMSG);
    put_le32(bytes, 101);
    assert_int_equal(smb_parse_entry(&rest, &e), -EBADMSG);
}

static void test_space(void **state)
{
    uint8_t bytes[32] = {0};
    uint64_t size, left;
    struct view data = {(char *)bytes, sizeof(bytes)};
    (void)state;
    put_le64(bytes, 1000);
    put_le64(bytes + 8, 2000); /* more than there is */
    put_le32(bytes + 24, 8);
    put_le32(bytes + 28, 512);
    assert_int_equal(smb_parse_space(data, &size, &left), 0);
    assert_true(size == 4096000 && left == size);
    put_le64(bytes, UINT64_MAX);
    assert_int_equal(smb_parse_space(data, &size, &left), -EBADMSG);
}

static void test_statuses(void **state)
{
    (void)state;
    assert_int_equal(smb_errno(SMB_OK), 0);
    assert_int_equal(smb_errno(SMB_NO_SUCH_FILE), -ENOENT);
    assert_int_equal(smb_errno(0xc000007f), -ENOSPC);
    assert_int_equal(smb_errno(0xdeadbeef), -EIO);
    assert_true(smb_is_lost(0xc0000203) && !smb_is_lost(0xc000007f));
}

/* ---- logins ---- */

/* A server that calls itself "D" and tells the time. */
static size_t make_challenge(uint8_t *p)
{
    static const uint8_t pairs[] = {2, 0, 2, 0, 'D', 0, 7, 0, 8, 0, 1,
                                    2, 3, 4, 5, 6,   7, 8, 0, 0, 0, 0};
    memset(p, 0, 48);
    memcpy(p, "NTLMSSP", 8);
    put_le32(p + 8, 2);
    memcpy(p + 24, "01234567", 8);
    put_le16(p + 40, sizeof(pairs));
    put_le32(p + 44, 48);
    memcpy(p + 48, pairs, sizeof(pairs));
    return 48 + sizeof(pairs);
}

static int prove(const struct smb_login *who, struct view challenge, struct buf *out,
                 uint8_t key[16])
{
    const struct smb_flavour f = {.random = "abcdefg", .time = 5};
    buf_init(out, 65536);
    return smb_auth_answer(who, (struct view){"first", 5}, challenge, &f, out, key);
}

static void test_proof(void **state)
{
    char user[] = "D\\me", password[] = "secret", other[] = "Secret";
    uint8_t bytes[128], key[16], other_key[16];
    const struct smb_login who = {user, password}, liar = {user, other}, nobody = {NULL, NULL};
    struct view challenge = {(char *)bytes, make_challenge(bytes)};
    struct buf a, b;
    (void)state;
    assert_int_equal(prove(&who, challenge, &a, key), 0);
    const uint8_t *msg = (uint8_t *)a.data;
    assert_memory_equal(msg, "NTLMSSP\0\3\0\0\0", 12);
    assert_true(get_le32(msg + 24) + get_le16(msg + 20) <= a.size);
    /* the server's time goes back to it */
    assert_memory_equal(msg + get_le32(msg + 24) + 16 + 8, "\1\2\3\4\5\6\7\10", 8);
    assert_int_equal(prove(&liar, challenge, &b, other_key), 0);
    assert_memory_not_equal(key, other_key, sizeof(key));
    assert_memory_not_equal(msg + get_le32(msg + 24), b.data + get_le32(b.data + 24), 16);
    buf_done(&a);
    buf_done(&b);
    assert_int_equal(prove(&nobody, challenge, &a, key), 0);
    assert_int_equal(get_le16(a.data + 20), 0);
    buf_done(&a);
}

static void test_challenge_that_is_none(void **state)
{
    char user[] = "me", password[] = "secret";
    uint8_t bytes[128], key[16];
    const struct smb_login who = {user, password};
    struct view challenge = {(char *)bytes, make_challenge(bytes)};
    struct buf out;
    (void)state;
    for (size_t size = challenge.size; size-- > 0;) {
        assert_int_equal(prove(&who, (struct view){challenge.p, size}, &out, key), -EBADMSG);
        buf_done(&out);
    }
    put_le32(bytes + 44, UINT32_MAX);
    assert_int_equal(prove(&who, challenge, &out, key), -EBADMSG);
    buf_done(&out);
    make_challenge(bytes);
    bytes[48 + 18] = 1; /* the pairs do not end */
    assert_int_equal(prove(&who, challenge, &out, key), -EBADMSG);
    buf_done(&out);
}

/* What a message says is signed, not where its signature stands. */
static void test_signatures(void **state)
{
    static const uint16_t dialects[] = {SMB_2_1, SMB_3_0};
    uint8_t msg[200], key[SMB_KEY] = "0123456789abcde", first[SMB_SIGNATURE], second[SMB_SIGNATURE];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(dialects); i++) {
        struct smb_signer s;
        memset(msg, 'x', sizeof(msg));
        assert_int_equal(smb_signer_make(&s, dialects[i], key), 0);
        assert_int_equal(memcmp(s.key, key, SMB_KEY) == 0, dialects[i] == SMB_2_1);
        assert_int_equal(smb_signer_sign(&s, msg, sizeof(msg), first), 0);
        memset(msg + 48, 'y', SMB_SIGNATURE);
        assert_int_equal(smb_signer_sign(&s, msg, sizeof(msg), second), 0);
        assert_memory_equal(first, second, sizeof(first));
        msg[199] ^= 1;
        assert_int_equal(smb_signer_sign(&s, msg, sizeof(msg), second), 0);
        assert_memory_not_equal(first, second, sizeof(first));
    }
}

/* ---- names ---- */

static void test_places(void **state)
{
    static const struct {
        const char *url;
        int r;
        const char *address, *share, *path;
        unsigned port;
    } known[] = {
        {"smb://10.0.0.1/a", 0, "10.0.0.1", "a", "", 445},
        {"smb://10.0.0.1:10445/a//", 0, "10.0.0.1", "a", "", 10445},
        {"smb://[::1]:446/a b//c/./d//e/", 0, "::1", "a b", "c/d/e", 446},
        {"smb://[::1]/a//c/../d", 0, "::1", "a", "d", 445},
        {"smb://10.0.0.1/a//..", -EINVAL, NULL, NULL, NULL, 0},
        {"smb://10.0.0.1/a//b\\c", -EINVAL, NULL, NULL, NULL, 0},
        {"smb://10.0.0.1/a/b//c", -EINVAL, NULL, NULL, NULL, 0},
        {"smb://10.0.0.1", -EINVAL, NULL, NULL, NULL, 0},
        {"smb://10.0.0.1:0/a", -EINVAL, NULL, NULL, NULL, 0},
        {"smb://[::1/a", -EINVAL, NULL, NULL, NULL, 0},
        {"smb:///a", -EINVAL, NULL, NULL, NULL, 0},
        {"nfs://10.0.0.1/a", -EINVAL, NULL, NULL, NULL, 0},
        {"smb://%2Fnone%2Fthere@10.0.0.1/a", -EKEYREJECTED, NULL, NULL, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct smb_place p;
        assert_int_equal(smb_place_parse(known[i].url, &p), known[i].r);
        if (known[i].r == 0) {
            assert_string_equal(p.address, known[i].address);
            assert_string_equal(p.share, known[i].share);
            assert_string_equal(p.path, known[i].path);
            assert_int_equal(p.port, known[i].port);
        }
        smb_place_done(&p);
    }
}

static void test_login_of_a_place(void **state)
{
    char name[] = "/tmp/test_smb.XXXXXX", url[256];
    struct smb_place p;
    int fd = mkstemp(name);
    (void)state;
    assert_true(fd >= 0 && write(fd, "D\\me\nse\ncret", 12) == 12);
    close(fd);
    (void)snprintf(url, sizeof(url), "smb://%%2Ftmp%%2F%s@10.0.0.1/a//x", name + 5);
    assert_int_equal(smb_place_parse(url, &p), 0);
    assert_string_equal(p.login.user, "D\\me");
    assert_string_equal(p.login.password, "se\ncret");
    smb_place_done(&p);
    unlink(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_md4),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_negotiated),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_proof),
        cmocka_unit_test(test_challenge_that_is_none),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_login_of_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
