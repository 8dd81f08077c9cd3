/* smb_at.h: `cairn-diskd at` for servers of SMB: folders, names, space. Private to the module. */
#pragma once

#include "disk/backend/smb_conn.h"

struct json_t;

int smb_at(const char *verb, const char *url, const char *more, struct json_t **ret);

/* Opens, -EBUSY after some seconds; the answer in *ret. */
int smb_open(struct smb_conn *c, const struct smb_create *how, struct smb_opened *ret);
void smb_close(struct smb_conn *c, const struct smb_id *id);
/* The server has the names in the folder of `path` on stable storage, as far as it can say. */
void smb_settle(struct smb_conn *c, const char *path);
int smb_set(struct smb_conn *c, const struct smb_id *id, enum smb_info what, struct view data);
int smb_query(struct smb_conn *c, const struct smb_id *id, enum smb_info what, struct buf *msg,
              struct view *ret);
/* A connection that is ready. */
int smb_connect(const struct smb_place *place, struct smb_conn **ret);
