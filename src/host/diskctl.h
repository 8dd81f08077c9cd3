/* diskctl.h: what diskctl.c, disk_talk.c and disk_revive.c share. Private to src/host. */
#pragma once

#include "base/vec.h"
#include "host/host_impl.h"
#include "loop/child.h"

struct revive;

/* The disks of one owner and the process that serves them. */
struct disk_set {
    struct diskctl *dc;
    char *owner;
    struct boot *record; /* its disks are those of this set; under dc->lock */

    /* of the mon loop */
    struct child *child; /* NULL: no process */
    bool ending;         /* its end is wanted */
    usec_t spawned;
    struct revive *revive; /* under way, or NULL */
};

struct diskctl {
    struct host *host;
    char *program;
    pthread_mutex_t lock;
    VEC(struct disk_set *) sets;
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

/* ---- disk_sample.c ---- */
void disk_sample(void *disks, const char *owner, struct disk_sample *list, size_t n);

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
