/*
 * smb_place.h: names of what is on SMB servers. Private to the module of "smb://".
 *
 *     smb://[LOGIN@]ADDRESS[:PORT]/SHARE[//PATH]
 *
 * ADDRESS is in digits, one of IPv6 in brackets. LOGIN is the path of a file, every slash written
 * as "%2F", which holds the user's name, a line feed and the password; the user may be
 * "DOMAIN\name". Without it nobody logs in, as servers let guests do. Functions return 0 or -errno.
 */
#pragma once

#include <stdint.h>

#include "disk/backend/smb_auth.h"

struct smb_place {
    char *address, *share;
    char *path; /* clean: no "." and "..", no slash at either end; "" is the share itself */
    uint16_t port;
    struct smb_login login;
};
int smb_place_parse(const char *url, struct smb_place *ret);
/* Without the login, which is of no matter to names. */
int smb_place_parse_path(const char *url, char **ret);
void smb_place_done(struct smb_place *p);
