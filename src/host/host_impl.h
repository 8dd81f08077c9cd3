/* host_impl.h: what the files of this folder share. Private to src/host and its tests. */
#pragma once

#include <pthread.h>

#include "base/vec.h"
#include "host/host.h"
#include "host/sr.h"
#include "loop/loop.h"

struct once;
struct sr_watches;
struct privd;

/* What an image says of itself; strings are the caller's (disk_info_done). */
struct disk_info {
    struct image image;
    char *parent;    /* path of the image below, "" if there is none */
    bool hidden;     /* nobody's disk: others are built on it */
    bool is_written; /* it has data of its own, and is more than a window to its parent */
    uint64_t allocated_bytes;
    uint64_t data_end;  /* bytes from its start behind which only a footer is; 0: not known */
    uint64_t own_bytes; /* of data in it, about: what merging it has to move */
};
void disk_info_done(struct disk_info *info);

/* How the disks of guests are served: diskctl.c (cairn-diskd), sim_disk.c. Verbs block. */
struct disk_ops {
    struct err *(*attach)(void *disks, const struct verb *v, const char *owner,
                          const struct boot_disk *d);
    struct err *(*detach)(void *disks, const struct verb *v, const char *owner, unsigned device);
    struct err *(*detach_all)(void *disks, const struct verb *v, const char *owner);
    struct err *(*list)(void *disks, char ***ret, size_t *ret_n);
    char *(*nbd_path)(void *disks, const char *owner, unsigned device); /* NULL: has none */
    /* The disk itself as a file, where there is no data path; the member may be NULL. */
    char *(*file_path)(void *disks, const char *owner, unsigned device);
    /* Images that no guest uses. */
    struct err *(*create)(void *disks, const struct verb *v, const char *path, const char *format,
                          uint64_t size);
    struct err *(*resize)(void *disks, const struct verb *v, const char *path, const char *format,
                          uint64_t size);
    struct err *(*info)(void *disks, const struct verb *v, const char *path, struct disk_info *ret);

    /* Chains. An empty image above `parent`, as large. */
    struct err *(*child)(void *disks, const struct verb *v, const char *path, const char *parent);
    struct err *(*set_hidden)(void *disks, const struct verb *v, const char *path, bool hidden);
    /* Another image below it, in which is what is in those between now. */
    struct err *(*set_parent)(void *disks, const struct verb *v, const char *path,
                              const char *parent);
    /* The image below it, `parent`, is known to it by another path from now on, that it will have.
     * NULL: nothing that is stored needs it. */
    struct err *(*name_parent)(void *disks, const struct verb *v, const char *path,
                               const char *parent, const char *called);
    /* Writes what is in the image into the one below it. What others read through either stays the
     * same, and it can be done again; nobody may write to either meanwhile. `rate`: bytes a second,
     * 0: as fast as it goes. */
    struct err *(*coalesce)(void *disks, const struct verb *v, const char *path, uint64_t rate);
    /* Whoever has that image attached: what he writes from now on waits, what he wrote is in the
     * image, which is closed. Who attaches it later waits too. Until resume, which opens the chain
     * as it is then; that also works, and does no harm, when nothing waits. */
    struct err *(*pause)(void *disks, const struct verb *v, const char *path);
    struct err *(*resume)(void *disks, const struct verb *v, const char *path);
    /* Whoever has that image somewhere in his chain opens his chain anew. */
    struct err *(*reopen)(void *disks, const struct verb *v, const char *path);
    /* Moving a disk that is in use, see host_disk_mirror(). `fill`: NULL in the simulator. */
    struct err *(*fill)(void *disks, const char *path, uint64_t size);
    struct err *(*mirror)(void *disks, const struct verb *v, const char *from,
                          const struct image *to);
    struct err *(*mirror_finish)(void *disks, const struct verb *v, const char *from,
                                 const char *to);
    struct err *(*mirror_drop)(void *disks, const struct verb *v, const char *from, const char *to);
    /* See host_disk_copy(). NULL in the simulator. */
    struct err *(*copy_out)(void *disks, const struct verb *v, const char *owner, unsigned device,
                            const struct image *to);
    struct err *(*switch_to)(void *disks, const struct verb *v, const char *from,
                             const struct image *to, bool held);
    struct err *(*go_on)(void *disks, const struct verb *v, const char *path);
    /* What cairn-diskd knows of a server's storage besides images (docs/diskd.md, `at`): the answer
     * to a verb about a URL, the caller's. NULL in the simulator. The error's errno is the
     * server's. */
    struct err *(*at)(void *disks, const char *verb, const char *path, const char *more,
                      struct val **ret);
    /* What they have done so far: fills in those of the list that it knows. */
    void (*sample)(void *disks, const char *owner, struct disk_sample *list, size_t n);
    /* As host_disk_waits(); NULL in the simulator. */
    bool (*waits)(void *disks, const char *owner, unsigned *ret_device, char *ret_code,
                  size_t size);
    /* All disks of an owner are open and none of its requests waits for storage, or an error after
     * some seconds. `ret_pid`: of the process that says so. Before and after a guest is stopped for
     * good: it must be the same one, or requests were left behind that nobody will do. NULL in the
     * simulator. */
    struct err *(*settled)(void *disks, const struct verb *v, const char *owner, int64_t *ret_pid);
    /* The owner asks again for what was refused. NULL in the simulator. */
    void (*again)(void *disks, const char *owner);
    /* Watches what runs already; called by host_start. */
    struct err *(*start)(void *disks);
    void (*free)(void *disks);
};

struct host {
    char *run_dir, *state_dir, *log_dir, *world_dir;
    char *qemu, *diskd, *privd, *plugins, *extensions, *machine_dir;
    uint64_t memory_bytes;
    unsigned sim_speed;
    host_fact_fn fact;
    void *fact_arg;
    struct host_caps caps;

    const struct hypervisor_ops *hv;
    void *hv_data;
    const struct disk_ops *disks;
    void *disks_data;
    struct loop *mon; /* QMP, processes, consoles, disk control; NULL in the simulator */

    struct sr_watches *watches; /* of the mon loop */
    struct privd *own_privd;    /* of the mon loop; NULL: somebody else looks after privd */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct once *once;
};

/* Posts a fact to whoever made the host, and wakes host_vm_wait(). Not with a lock held. */
void host_post(struct host *h, const struct host_fact *f);
/* Wakes host_vm_wait() alone. */
void host_poke(struct host *h);

/* Paths of a guest: <run_dir>/vm/<uuid>/<name>, <run_dir>/disk/<uuid>/<device>.<kind>. */
char *host_vm_path(const struct host *h, const char *vm, const char *name);
char *host_disk_path(const struct host *h, const char *owner, unsigned device, const char *kind);

/*
 * One execution of a verb. The turn is queued by `subject` (a VM, a repository): one at a time.
 *
 *     _cleanup_(turn_end) struct turn t = {0};
 *     if (turn_begin(&t, h, v, "pause", vm))
 *         turn_done(&t, h->hv->pause(h->hv_data, v, vm));
 *     return turn_result(&t);
 */
struct turn {
    struct host *host;
    char *key;     /* of the execution, NULL when it need not be remembered */
    char *subject; /* NULL: does not queue */
    struct err *result;
    bool begun;
};
bool turn_begin(struct turn *t, struct host *h, const struct verb *v, const char *what,
                const char *subject);
/* Takes the result over and remembers a copy of it. */
void turn_done(struct turn *t, struct err *e);
struct err *turn_result(struct turn *t);
void turn_end(struct turn *t);

struct once *once_new(void);
void once_free(struct once *o);

/* Ends all watching; on the mon loop or after it. */
void sr_watches_free(struct host *h);

/* As root and with no privd configured: one of our own, on run_dir/privd.sock, started again when
 * it dies, left running for our successor. Sets h->privd. */
void privd_start(struct host *h);
void privd_end(struct host *h); /* mon loop's thread */

/* Back ends. */
struct err *sim_new(struct host *h, const char *world_dir) _must_use_; /* sets hv and disks */
struct err *qemu_new(struct host *h) _must_use_;                       /* sets hv */
struct err *diskctl_new(struct host *h) _must_use_;                    /* sets disks */

extern const struct sr_kind sr_kind_dummy, sr_kind_ext, sr_kind_file, sr_kind_iscsi, sr_kind_iso,
    sr_kind_rbd, sr_kind_lvm, sr_kind_lvmohba, sr_kind_lvmoiscsi, sr_kind_nfs, sr_kind_smb,
    sr_kind_udev;
