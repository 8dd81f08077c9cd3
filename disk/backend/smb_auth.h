/*
 * smb_auth.h: who we are, and proof of it: NTLMv2 by NTLMSSP, and signatures of messages.
 *
 * The server is an enemy until it has signed something with a key that only who knows the password
 * can have; what it sends is read by total functions. Errors are -errno: -EBADMSG for what is no
 * challenge, -ENOTSUP when the library lacks an algorithm. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/str.h"

#define SMB_KEY       16
#define SMB_SIGNATURE 16

struct smb_login {
    char *user;     /* "name", "DOMAIN\name"; NULL: nobody */
    char *password; /* NULL with it */
};

/* What a session's first two messages carry. `flavour` is what is random in the second, and the
 * time in units of 100 ns since 1601, for a server that does not tell its own. */
struct smb_flavour {
    uint8_t random[8];
    uint64_t time;
};
void smb_auth_begin(struct buf *out);
/* *ret_key is the session's; of no meaning for nobody. */
int smb_auth_answer(const struct smb_login *who, struct view first, struct view challenge,
                    const struct smb_flavour *flavour, struct buf *out, uint8_t ret_key[SMB_KEY]);

/* The key that messages are signed with in a dialect. */
struct smb_signer {
    bool is_used;
    uint16_t dialect;
    uint8_t key[SMB_KEY];
};
int smb_signer_make(struct smb_signer *s, uint16_t dialect, const uint8_t session_key[SMB_KEY]);
/* Of a message whose place for the signature is taken for zeroes. */
int smb_signer_sign(const struct smb_signer *s, const void *msg, size_t size,
                    uint8_t ret[SMB_SIGNATURE]);

void smb_md4(const void *p, size_t size, uint8_t ret[16]);
