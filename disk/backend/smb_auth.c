/* smb_auth.c: see smb_auth.h. The algorithms but MD4 are libcrypto's. */
#include "disk/backend/smb_auth.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/vhd_text.h"
#include "disk/backend/smb_wire.h"

#define MAGIC        "NTLMSSP"
#define MAC_MAX      32
#define WIDE_MAX     1024  /* of a name or password in UTF-16 */
#define INFO_MAX     16384 /* of what a server says of itself */
#define HEAD         88    /* of the last message, the sum over all included */
#define MIC_AT       72
#define SIGNATURE_AT 48 /* in a header */

/* UTF-16, target, NTLM, always sign, extended, target's info, 128, 56 */
#define FLAGS       0xa0888205u
#define FLAG_SIGN   0x00000010u
#define FLAG_NOBODY 0x00000800u

enum pair_kind { PAIR_END = 0, PAIR_FLAGS = 6, PAIR_TIME = 7 };
#define HAS_MIC 2u

/* ---- sums ---- */

static int mac(const char *name, const char *detail, const char *value, const uint8_t key[SMB_KEY],
               const struct iovec *parts, int n, uint8_t out[MAC_MAX])
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(detail, (char *)(uintptr_t)value, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *algorithm = EVP_MAC_fetch(NULL, name, NULL);
    EVP_MAC_CTX *c = algorithm ? EVP_MAC_CTX_new(algorithm) : NULL;
    size_t size = 0;
    bool is_fine = c && EVP_MAC_init(c, key, SMB_KEY, params);
    for (int i = 0; i < n && is_fine; i++)
        is_fine = EVP_MAC_update(c, parts[i].iov_base, parts[i].iov_len);
    is_fine = is_fine && EVP_MAC_final(c, out, &size, MAC_MAX);
    EVP_MAC_CTX_free(c);
    EVP_MAC_free(algorithm);
    return is_fine ? 0 : -ENOTSUP;
}

static struct iovec part(const void *p, size_t size)
{
    return (struct iovec){(void *)(uintptr_t)p, size};
}

static int hmac_md5(const uint8_t key[SMB_KEY], const struct iovec *parts, int n,
                    uint8_t out[SMB_KEY])
{
    uint8_t sum[MAC_MAX];
    int r = mac("HMAC", OSSL_MAC_PARAM_DIGEST, "MD5", key, parts, n, sum);
    memcpy(out, sum, SMB_KEY);
    return r;
}

/* ---- NTLM ---- */

/* "DOMAIN\name" in two; the user's name in capitals, as NTLM wants it for its key. */
struct names {
    uint8_t user[WIDE_MAX], capitals[WIDE_MAX], domain[WIDE_MAX], password[WIDE_MAX];
    size_t user_size, domain_size, password_size;
};

static int names_of(const struct smb_login *who, struct names *ret)
{
    const char *slash = strchr(who->user, '\\'), *user = slash ? slash + 1 : who->user;
    _cleanup_(freep) char *domain =
        slash ? mem_strndup(who->user, (size_t)(slash - who->user)) : mem_strdup("");
    _cleanup_(freep) char *capitals = mem_strdup(user);
    for (char *s = capitals; *s; s++)
        if (islower((unsigned char)*s))
            *s = (char)toupper((unsigned char)*s);
    if (strlen(user) > WIDE_MAX / 2 || strlen(domain) > WIDE_MAX / 2 ||
        strlen(who->password) > WIDE_MAX / 2)
        return -EINVAL;
    ret->user_size = utf16_put(user, false, ret->user, WIDE_MAX);
    (void)utf16_put(capitals, false, ret->capitals, WIDE_MAX);
    ret->domain_size = utf16_put(domain, false, ret->domain, WIDE_MAX);
    ret->password_size = utf16_put(who->password, false, ret->password, WIDE_MAX);
    return 0;
}

void smb_auth_begin(struct buf *out)
{
    uint8_t msg[32] = MAGIC;
    put_le32(msg + 8, 1);
    put_le32(msg + 12, FLAGS | FLAG_SIGN);
    buf_put(out, msg, sizeof(msg));
}

struct challenge {
    uint8_t random[8];
    struct view info; /* pairs of kind and value, up to the one that ends them */
    uint64_t time;    /* 0: it does not tell */
};

/* `info` becomes what stands before its end. */
static int read_pairs(struct challenge *ret)
{
    struct cursor c = cursor_of(ret->info.p, ret->info.size);
    for (;;) {
        const uint8_t *begin = c.p;
        uint16_t kind = cursor_le16(&c), size = cursor_le16(&c);
        const uint8_t *value = cursor_take(&c, size);
        if (c.bad)
            return -EBADMSG;
        if (kind == PAIR_END) {
            ret->info.size = (size_t)((const char *)begin - ret->info.p);
            return 0;
        }
        if (kind == PAIR_TIME && size == 8)
            ret->time = get_le64(value);
    }
}

static int challenge_parse(struct view msg, struct challenge *ret)
{
    struct cursor c = cursor_of(msg.p, msg.size);
    char magic[8];
    cursor_copy(&c, magic, sizeof(magic));
    uint32_t kind = cursor_le32(&c);
    (void)cursor_take(&c, 8 + 4);
    *ret = (struct challenge){.time = 0};
    cursor_copy(&c, ret->random, sizeof(ret->random));
    (void)cursor_take(&c, 8);
    uint16_t size = cursor_le16(&c);
    (void)cursor_le16(&c);
    uint32_t at = cursor_le32(&c);
    if (c.bad || memcmp(magic, MAGIC, sizeof(magic)) != 0 || kind != 2 || size > INFO_MAX ||
        at > msg.size || size > msg.size - at)
        return -EBADMSG;
    ret->info = (struct view){msg.p + at, size};
    return read_pairs(ret);
}

/* What is proven: times, randomness, what the server says of itself. */
static void put_claim(struct buf *b, const struct challenge *ch, const struct smb_flavour *f)
{
    uint8_t head[28] = {1, 1}, pair[8 + 4] = {0};
    put_le64(head + 8, ch->time ? ch->time : f->time);
    memcpy(head + 16, f->random, sizeof(f->random));
    buf_put(b, head, sizeof(head));
    buf_put(b, ch->info.p, ch->info.size);
    put_le16(pair, PAIR_FLAGS);
    put_le16(pair + 2, 4);
    put_le32(pair + 4, HAS_MIC);
    buf_put(b, pair, sizeof(pair)); /* and the end of the pairs */
    buf_put(b, "\0\0\0\0", 4);
}

static int prove(const struct names *n, const struct challenge *ch, const struct buf *claim,
                 uint8_t ret_proof[16], uint8_t ret_key[SMB_KEY])
{
    uint8_t hash[16], owf[16];
    smb_md4(n->password, n->password_size, hash);
    const struct iovec who[] = {part(n->capitals, n->user_size), part(n->domain, n->domain_size)};
    int r = hmac_md5(hash, who, 2, owf);
    const struct iovec what[] = {part(ch->random, sizeof(ch->random)),
                                 part(claim->data, claim->size)};
    if (r == 0)
        r = hmac_md5(owf, what, 2, ret_proof);
    const struct iovec proof = part(ret_proof, 16);
    if (r == 0)
        r = hmac_md5(owf, &proof, 1, ret_key);
    OPENSSL_cleanse(hash, sizeof(hash));
    OPENSSL_cleanse(owf, sizeof(owf));
    return r;
}

/* A field of the last message: where its bytes are, and the bytes. */
static void put_field(struct buf *out, size_t from, size_t at, const struct iovec *parts, int n)
{
    size_t size = 0, where = out->size - from;
    for (int i = 0; i < n; i++) {
        buf_put(out, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    if (!buf_ok(out))
        return;
    uint8_t *field = (uint8_t *)out->data + from + at;
    put_le16(field, (uint16_t)size);
    put_le16(field + 2, (uint16_t)size);
    put_le32(field + 4, (uint32_t)where);
}

static void put_nobody(struct buf *out)
{
    uint8_t head[HEAD] = MAGIC;
    size_t from = out->size;
    const struct iovec nothing = part("", 0), lm = part("", 1);
    put_le32(head + 8, 3);
    put_le32(head + 60, FLAGS | FLAG_NOBODY);
    buf_put(out, head, sizeof(head));
    put_field(out, from, 12, &lm, 1);
    for (size_t at = 20; at <= 52; at += 8)
        put_field(out, from, at, &nothing, 1);
}

/* The sum over all three messages, the last with zeroes in its place. */
static int put_sum(struct view first, struct view challenge, struct buf *out, size_t from,
                   const uint8_t key[SMB_KEY])
{
    if (!buf_ok(out))
        return -EBADMSG;
    const struct iovec all[] = {part(first.p, first.size), part(challenge.p, challenge.size),
                                part(out->data + from, out->size - from)};
    uint8_t sum[SMB_KEY];
    int r = hmac_md5(key, all, 3, sum);
    memcpy(out->data + from + MIC_AT, sum, sizeof(sum));
    return r;
}

static int put_proof(struct names *n, const struct challenge *ch, const struct smb_flavour *f,
                     struct buf *out, uint8_t ret_key[SMB_KEY])
{
    uint8_t head[HEAD] = MAGIC, proof[16], no_lm[24] = {0};
    size_t from = out->size;
    _cleanup_(buf_done) struct buf claim;
    buf_init(&claim, INFO_MAX + 64);
    put_claim(&claim, ch, f);
    int r = buf_ok(&claim) ? prove(n, ch, &claim, proof, ret_key) : -EBADMSG;
    if (r < 0)
        return r;
    const struct iovec domain = part(n->domain, n->domain_size), user = part(n->user, n->user_size),
                       nothing = part("", 0), lm = part(no_lm, sizeof(no_lm));
    const struct iovec nt[] = {part(proof, sizeof(proof)), part(claim.data, claim.size)};
    put_le32(head + 8, 3);
    put_le32(head + 60, FLAGS | FLAG_SIGN);
    buf_put(out, head, sizeof(head));
    put_field(out, from, 28, &domain, 1);
    put_field(out, from, 36, &user, 1);
    put_field(out, from, 44, &nothing, 1);
    put_field(out, from, 12, &lm, 1);
    put_field(out, from, 20, nt, 2);
    put_field(out, from, 52, &nothing, 1);
    return 0;
}

int smb_auth_answer(const struct smb_login *who, struct view first, struct view challenge,
                    const struct smb_flavour *flavour, struct buf *out, uint8_t ret_key[SMB_KEY])
{
    struct challenge ch;
    struct names n = {.user_size = 0};
    size_t from = out->size;
    memset(ret_key, 0, SMB_KEY);
    int r = challenge_parse(challenge, &ch);
    if (r < 0)
        return r;
    if (!who->user) {
        put_nobody(out);
        return 0;
    }
    r = names_of(who, &n);
    if (r == 0)
        r = put_proof(&n, &ch, flavour, out, ret_key);
    if (r == 0)
        r = put_sum(first, challenge, out, from, ret_key);
    OPENSSL_cleanse(&n, sizeof(n));
    return r;
}

/* ---- signatures ---- */

int smb_signer_make(struct smb_signer *s, uint16_t dialect, const uint8_t session_key[SMB_KEY])
{
    /* SP 800-108 in counter mode: counter, label, zero, context, bits. */
    static const uint8_t what[] = "\0\0\0\1"
                                  "SMB2AESCMAC\0"
                                  "\0"
                                  "SmbSign\0"
                                  "\0\0\0\x80";
    uint8_t sum[MAC_MAX];
    *s = (struct smb_signer){.is_used = true, .dialect = dialect};
    memcpy(s->key, session_key, SMB_KEY);
    if (dialect < SMB_3_0)
        return 0;
    const struct iovec all = part(what, sizeof(what) - 1);
    int r = mac("HMAC", OSSL_MAC_PARAM_DIGEST, "SHA256", session_key, &all, 1, sum);
    memcpy(s->key, sum, SMB_KEY);
    return r;
}

int smb_signer_sign(const struct smb_signer *s, const void *msg, size_t size,
                    uint8_t ret[SMB_SIGNATURE])
{
    static const uint8_t zeroes[SMB_SIGNATURE];
    const char *p = msg;
    uint8_t sum[MAC_MAX];
    const struct iovec parts[] = {part(p, SIGNATURE_AT), part(zeroes, sizeof(zeroes)),
                                  part(p + SMB_HEAD, size - SMB_HEAD)};
    int r = s->dialect < SMB_3_0
                ? mac("HMAC", OSSL_MAC_PARAM_DIGEST, "SHA256", s->key, parts, 3, sum)
                : mac("CMAC", OSSL_MAC_PARAM_CIPHER, "AES-128-CBC", s->key, parts, 3, sum);
    memcpy(ret, sum, SMB_SIGNATURE);
    return r;
}
