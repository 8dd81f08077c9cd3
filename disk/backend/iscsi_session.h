/*
 * iscsi_session.h: a session with an iSCSI target. Private to the module of "iscsi://".
 *
 *     iscsi://ADDRESS[:PORT]/IQN/LUN[?chap=FILE]     the file holds the user's name, a line feed
 * and the secret
 */
#pragma once

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

struct iscsi_place {
    char *portal;        /* "10.0.0.1:3260" */
    char *iqn;           /* "": none was given */
    int lun;             /* -1: none was given */
    char *user, *secret; /* NULL: no CHAP */
};

int iscsi_place_parse(const char *url, struct iscsi_place *ret);
void iscsi_place_done(struct iscsi_place *p);

/* Blocks; of no use on the loop until autoreconnect is switched on. -EKEYREJECTED: the target does
 * not accept who we are; -EHOSTUNREACH: nobody answers there. Without an IQN a discovery session,
 * without a LUN one that asks for nothing. */
int iscsi_session_open(const struct iscsi_place *p, struct iscsi_context **ret);
