/* rbd_at.h: `cairn-diskd at` for Ceph: pools, RBD's namespaces, images. Private to the module. */
#pragma once

struct json_t;

int rbd_at(const char *verb, const char *url, const char *more, struct json_t **ret);
/* An answer that nobody asks for. */
void rbd_at_forget(struct json_t *answer);
