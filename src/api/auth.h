/*
 * auth.h: is this the right password?
 *
 * A checker is asked on one of the auth threads and may take its time. Two exist: a file of hashes
 * (development runs) and the machine's accounts through cairn-privd and PAM (installed hosts). A
 * right password is remembered for five minutes as a keyed hash in memory, so that clients that log
 * in for every call are quick; a wrong one always takes the slow path.
 *
 *     struct auth *a;
 *     a = auth_new_file("var/passwd");
 *     auth_check_async(a, "root", "secret", on_checked, call);   // on_checked on an auth thread
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct auth;

/* What a checker says about a good password. */
struct auth_facts {
    bool superuser;
    uint32_t roles; /* bit 1<<enum role; all lower ones included; 0: only what a subject gives */
};

struct auth_ops {
    /* On an auth thread. NULL and *ret if the password is right, SESSION_AUTHENTICATION_FAILED if
     * not. */
    struct err *(*check)(void *arg, const char *user, const char *password, struct auth_facts *ret);
    /* Likewise: gives the account a new password. NULL: cannot. CHANGE_PASSWORD_REJECTED. */
    struct err *(*change)(void *arg, const char *user, const char *password);
    void (*free)(void *arg); /* may be NULL */
};

/* SESSION_AUTHENTICATION_FAILED, naming the user. */
struct err *auth_refused(const char *user) _must_use_;

/* Two threads; `arg` is taken over. */
struct auth *auth_new(const struct auth_ops *ops, void *arg);
/* Lines "name:hash" with a hash of crypt(5), or "name:hash:role" for an account that is no
 * superuser but has one role of the model ("vm-operator"), or "subject" for one that has no role
 * but those of its subject. The file is read at each check. */
struct auth *auth_new_file(const char *path);
/* The machine's accounts, by PAM through cairn-privd on that socket: root and the members of group
 * cairn-admin are superusers, others have the roles of their subject. Their passwords are changed
 * with the machine's own means. */
struct auth *auth_new_priv(const char *socket);
/* No more than so many checks at once, of the two that are possible. */
void auth_set_max(struct auth *, unsigned n);
void auth_free(struct auth *); /* waits for checks under way; NULL is fine */

/* `done` takes over the error. It runs on an auth thread, or inside this call when the password is
 * remembered. A queue that is full refuses at once, with an internal error. */
typedef void (*auth_done_fn)(void *arg, struct err *e, const struct auth_facts *facts);
void auth_check_async(struct auth *, const char *user, const char *password, auth_done_fn done,
                      void *arg);
/* Changes a password, after a check of the old one unless that is NULL; forgets what was remembered
 * of the user. `facts` of `done` mean nothing. */
void auth_change_async(struct auth *, const char *user, const char *old, const char *password,
                       auth_done_fn done, void *arg);
/* Waits; not on a loop. */
struct err *auth_check(struct auth *, const char *user, const char *password,
                       struct auth_facts *ret) _must_use_;
/* Forgets remembered passwords, all (NULL) or one user's. */
void auth_forget(struct auth *, const char *user);
