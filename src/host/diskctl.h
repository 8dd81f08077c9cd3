/* diskctl.h: what diskctl.c and disk_*.c share. Private to src/host. */
#pragma once

#include "base/vec.h"
#include "host/host_impl.h"
#include "loop/child.h"

struct revive;
struct disk_room;

/* The disks of one owner and the process that serves them. */
struct disk_set {
    struct diskctl *dc;
    char *owner;
    struct boot *record; /* its disks are those of this set; under dc->lock */
    unsigned refs;       /* the list has one; under dc->lock */
    bool is_gone;        /* off the list; likewise */

    /* of the mon loop */
    struct child *child; /* NULL: no process */
    bool ending;         /* its end is wanted */
    bool killed;         /* and was not waited for */
    usec_t spawned;
    unsigned needs, has;   /* modules: bits by disk_schemes; has: those of the process */
    bool renewing;         /* it was ended for one with more of them */
    struct revive *revive; /* under way, or NULL */

    uint8_t waiting[(BOOT_DISKS_MAX + 7) / 8]; /* disks with parked requests; under dc->lock */
    uint8_t full[(BOOT_DISKS_MAX + 7) / 8];    /* their volumes cannot grow; likewise */
    bool roused; /* the guest was helped to find this process; likewise */
};

struct diskctl {
    struct host *host;
    char *program;
    pthread_mutex_t lock;
    VEC(struct disk_set *) sets;
    VEC(char *) paused;     /* paths of images that must not be opened; see disk_chain.c */
    VEC(char *) opening;    /* paths of images that are being opened or closed */
    char *growing;          /* that of a volume which is made larger: nobody opens it meanwhile */
    struct disk_room *room; /* disk_room.c */
};

static inline bool disk_is_vhost(const struct boot_disk *d)
{
    return !d->cd && d->bus == BOOT_VIRTIO;
}

/* One request and its answer over a connection of its own; blocks up to 10 s. The error's errno is
 * the one diskd names. `ret` is the whole answer; NULL: not wanted. */
struct err *disk_request(const char *socket, const struct val *request, struct val **ret)
    _must_use_;
struct err *disk_request_within(const char *socket, const struct val *request, unsigned seconds,
                                struct val **ret) _must_use_;
/* An answer that diskd has given, as an error or NULL. */
struct err *disk_answer_error(const struct val *answer) _must_use_;

/* The owner's process can open that path: if need be another takes its place. */
struct err *diskctl_need_modules(struct diskctl *dc, const struct verb *v, const char *owner,
                                 const char *path) _must_use_;

/* Repeats a request until it is done and no longer pending. `ret`: its result; NULL: not wanted. */
struct err *diskctl_complete(struct diskctl *dc, const struct verb *v, const char *owner,
                             struct val *request_taken, struct val **ret) _must_use_;
/* Has a process of its own do it, that ends afterwards. */
struct err *diskctl_alone(struct diskctl *dc, const struct verb *v, struct val *request_taken)
    _must_use_;
struct val *diskctl_request(const char *op, unsigned device);
/* With a reference; NULL: there is none. Its disks may go at any time, and it with the last. */
struct disk_set *diskctl_find(struct diskctl *dc, const char *owner);
void disk_set_unrefp(struct disk_set **s);
/* Of a set that is gone nothing is written. */
struct err *diskctl_write_record(struct disk_set *s) _must_use_;
struct err *diskctl_info(void *dc, const struct verb *v, const char *path, struct disk_info *ret)
    _must_use_;

/* ---- disk_chain.c: images below images ---- */

/* What is below an image, as struct image has it: the caller's. */
struct err *disk_below(struct diskctl *dc, const struct verb *v, const struct image *image,
                       char **ret) _must_use_;
/* Opens the image of a disk that is attached, with all below it; waits while it is paused. */
struct err *disk_open(struct disk_set *s, const struct verb *v, unsigned device) _must_use_;
/* Where volumes are that may have been renamed since the record was written. Blocks. */
void disk_look_again(struct disk_set *s);
/* Its volume is not made larger from here on, which is waited for, until it is let go. */
void disk_hold(struct diskctl *dc, const char *path);
void disk_let_go(struct diskctl *dc, const char *path);
/* Must it stay closed? Under dc->lock. */
bool disk_is_paused(const struct diskctl *dc, const char *path);
void disk_chain_done(struct diskctl *dc);
/* As struct disk_ops says. */
struct err *disk_child(void *dc, const struct verb *v, const char *path, const char *parent);
struct err *disk_set_hidden(void *dc, const struct verb *v, const char *path, bool hidden);
struct err *disk_set_parent(void *dc, const struct verb *v, const char *path, const char *parent);
struct err *disk_name_parent(void *dc, const struct verb *v, const char *path, const char *parent,
                             const char *called);
struct err *disk_coalesce(void *dc, const struct verb *v, const char *path, uint64_t rate);
struct err *disk_pause(void *dc, const struct verb *v, const char *path);
struct err *disk_resume(void *dc, const struct verb *v, const char *path);
struct err *disk_reopen(void *dc, const struct verb *v, const char *path);

/* ---- disk_move.c: the disk of a running guest goes elsewhere; as struct disk_ops says ---- */

struct err *disk_fill(void *dc, const char *path, uint64_t size);
struct err *disk_mirror(void *dc, const struct verb *v, const char *from, const struct image *to);
struct err *disk_mirror_finish(void *dc, const struct verb *v, const char *from, const char *to);
struct err *disk_mirror_drop(void *dc, const struct verb *v, const char *from, const char *to);
/* As host_disk_copy() says. */
struct err *disk_copy_out(void *dc, const struct verb *v, const char *owner, unsigned device,
                          const struct image *to);
struct err *disk_switch(void *dc, const struct verb *v, const char *from, const struct image *to,
                        bool held);
struct err *disk_go_on(void *dc, const struct verb *v, const char *path);

/* ---- disk_at.c: storage on servers ---- */

extern const char *const disk_schemes[]; /* NULL-terminated */
/* The modules for the URLs in a text, and for the disks of a set (under dc->lock). */
unsigned disk_needs(const char *text);
unsigned disk_needs_of(const struct disk_set *s);
struct err *disk_at(void *dc, const char *verb, const char *path, const char *more,
                    struct val **ret) _must_use_;

/* ---- disk_sample.c ---- */
void disk_sample(void *disks, const char *owner, struct disk_sample *list, size_t n);

/* ---- disk_wait.c ---- */

/* Looks at the disks of an answer to `stats`: what changed is told as facts. Thread of chores. */
void disk_notice(struct diskctl *dc, const char *owner, const struct val *disks);
/* As struct disk_ops says. */
struct err *disk_settled(void *dc, const struct verb *v, const char *owner, int64_t *ret_pid)
    _must_use_;
bool disk_waits(void *dc, const char *owner, unsigned *ret_device, char *ret_code, size_t size);
void disk_retry_all(void *dc, const char *owner);

struct val *disk_attach_request(const struct diskctl *dc, const char *owner,
                                const struct boot_disk *d);
struct val *disk_activate_request(const struct boot_disk *d);

/* Starts the process of a set; mon loop's thread. */
struct err *diskctl_spawn(struct disk_set *s) _must_use_;
void diskctl_post(struct disk_set *s, enum host_fact_kind kind, const char *reason);

/* Starts the process again and tells it all its disks; FACT_DISK_OK when it has them. Tries for
 * ever, ever more slowly up to every 2 s. Mon loop's thread. */
void disk_revive(struct disk_set *s);
void disk_revive_stop(struct disk_set *s);
