/*
 * lockout.h: slows down who guesses passwords.
 *
 * Wrong passwords are counted for each address and user, and for each address alone (one password
 * tried on many users). Beyond a number that people reach by mistyping, further tries are refused
 * without looking at the password, for a second first, then for twice as long each time, up to five
 * minutes. A right password ends the count of its address and user; a quarter of an hour without a
 * wrong one ends any. Nobody can lock out somebody at another address, and the local socket's
 * superuser is never asked for a password.
 *
 *     TRY(lockout_begin(l, address, user));
 *     ... the password is looked at, then one of ...
 *     lockout_passed(l, address, user);
 *     lockout_undecided(l, address, user);             // it could not be looked at
 *     if (lockout_failed(l, address, user, &seconds))
 *         alert the administrators
 *
 * A table of fixed size: under a flood of addresses the least recently seen ones go. Addresses of
 * IPv6 count by their /64. Any thread; one leaf mutex. Private to api/.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define LOCKOUT_FREE    5  /* wrong passwords of an address and user */
#define LOCKOUT_SPRAYED 50 /* of an address */
#define LOCKOUT_AT_ONCE 64 /* tries of an address and user that are being looked at */

struct lockout;

struct lockout *lockout_new(void);
void lockout_free(struct lockout *); /* NULL is fine */

/* SESSION_AUTHENTICATION_FAILED if it is too early. `address` is "" for the local socket. */
struct err *lockout_begin(struct lockout *, const char *address, const char *user) _must_use_;
/* Counts a wrong password; true if tries are refused from now on and were not before. */
bool lockout_failed(struct lockout *, const char *address, const char *user, unsigned *ret_seconds);
void lockout_passed(struct lockout *, const char *address, const char *user);
void lockout_undecided(struct lockout *, const char *address, const char *user);
