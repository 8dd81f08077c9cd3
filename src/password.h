/* password.h: makes the hashes that a users file holds (yescrypt, crypt(5)). */
#pragma once

/* Reads a password from stdin (one line), prints its hash; the exit code of --hash-password. */
int password_hash_main(void);
