/*
 * sr_store.h: folders and files of a repository, on this host or on a server.
 *
 * A local path is a matter of system calls. A URL ("nfs://…") names a file on a server that only
 * cairn-diskd's modules can speak to: it is asked, one question a process (docs/diskd.md, `at`). So
 * kinds whose volumes are files need not know where these are.
 *
 *     int r = store_rename(h, part, path);
 *
 * Functions return 0 or -errno and block; operation threads. Private to sr*.c.
 */
#pragma once

#include "host/host_impl.h"

struct store_entry {
    char *name;
    uint64_t size_bytes;
    bool is_folder;
};
struct store_list {
    VEC(struct store_entry) entries; /* without "." and ".." */
};
void store_list_done(struct store_list *l);

bool store_is_remote(const char *path);
bool store_exists(struct host *h, const char *path);
/* Two names of one file? */
bool store_is_one(struct host *h, const char *a, const char *b);
int store_list(struct host *h, const char *folder, struct store_list *ret);
int store_size(struct host *h, const char *path, uint64_t *ret_bytes);
/* Without its holes: what was discarded takes no space. */
int store_taken(struct host *h, const char *path, uint64_t *ret_bytes);
int store_space(struct host *h, const char *folder, struct sr_stat *ret);
/* A whole file into *ret, which has its limit: -EFBIG. */
int store_read(struct host *h, const char *path, struct buf *ret);
/* A whole file in the place of another, or anew; a crash leaves the old one or the new. */
int store_replace(struct host *h, const char *path, const void *p, size_t size);
int store_rename(struct host *h, const char *from, const char *to);
int store_link(struct host *h, const char *from, const char *to);
int store_unlink(struct host *h, const char *path);
int store_mkdir(struct host *h, const char *folder);
int store_rmdir(struct host *h, const char *folder);
