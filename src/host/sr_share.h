/*
 * sr_share.h: shares of SMB servers, as clients name them, for the kinds that are on one: "smb" and
 * "iso". Private to sr*.c; operation threads.
 *
 * The login is told to cairn-diskd by a file in the run folder, which attach writes, and which is
 * gone after a boot of the machine; a URL names it.
 */
#pragma once

#include "host/sr_impl.h"

struct sr_share {
    const char *location; /* "//server/share", "\\server\share", folders in the share behind it */
    const char *user;     /* "": a guest */
    const char *password;
    const char *folder; /* below the location; "" */
};

bool sr_share_is(const char *location);
/* The URL of the folder. -EINVAL: the location is none; *ret_e: the server's name is not known. */
struct err *sr_share_url(struct host *h, const struct sr_ref *sr, const struct sr_share *share,
                         char **ret) _must_use_;
struct err *sr_share_login(struct host *h, const struct sr_ref *sr, const struct sr_share *share)
    _must_use_;
void sr_share_logout(struct host *h, const struct sr_ref *sr);
/* What an errno of cairn-diskd's means to somebody who wants a share. */
const char *sr_share_why(int r);
