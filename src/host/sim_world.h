/* sim_world.h: the files behind the simulator. Private to sim*.c. */
#pragma once

#include "host/host_impl.h"
#include "host/sim.h"

struct sim_guest {
    enum guest_state state;
    int64_t start_time;
    int64_t rtc_offset_s;
    uint64_t memory_bytes; /* that it uses */
    int64_t agent;         /* last part of its address, 0: no agent */
    bool deaf;
    struct val *inside; /* what its agent has done there, see sim_agent.c; NULL: nothing */
    struct boot *boot;
};

struct sim {
    struct host *host;
    char *dir;
    pthread_mutex_t lock; /* of fail_*; a leaf */
    char *fail_verb;
    unsigned fail_in;
};

/* Opens the world for this thread and others out of it, until world_close. */
struct err *world_open(const struct sim *s, int *ret_lock) _must_use_;
void world_closep(int *lock);
/* NULL result: there is no such guest. Owned by the caller. */
struct err *world_guest(const struct sim *s, const char *vm, struct sim_guest **ret) _must_use_;
struct err *world_put_guest(const struct sim *s, const struct sim_guest *g) _must_use_;
struct err *world_del_guest(const struct sim *s, const char *vm) _must_use_;
void sim_guest_freep(struct sim_guest **g);

/* The disks an owner has: a map from device number to path. Owned by the caller. */
struct err *world_disks(const struct sim *s, const char *owner, struct val **ret) _must_use_;
/* An empty map takes the file away. */
struct err *world_put_disks(const struct sim *s, const char *owner, const struct val *disks)
    _must_use_;

/* Names of files that end in `suffix`, without it; array and strings are the caller's. */
struct err *world_names(const char *dir, const char *suffix, char ***ret, size_t *ret_n) _must_use_;

/* The error that a test has asked for, if this call is the one. */
struct err *sim_fault(struct sim *s, const char *verb) _must_use_;

/* ---- sim_agent.c ---- */
struct err *sim_ask_agent(void *hv, const struct verb *v, const char *vm, const char *command,
                          const struct val *args, struct val **ret);

/* ---- sim_sample.c ---- */
void sim_sample(void *hv, const char *vm, struct guest_sample *s);
void sim_sample_disks(void *disks, const char *vm, struct disk_sample *list, size_t n);

/* ---- sim_chain.c ---- */
/* Fills in what the world knows of the image at info->image.path. */
struct err *sim_chain_info(const struct sim *s, struct disk_info *info) _must_use_;
void sim_chain_forget(const struct sim *s, const char *image);
bool sim_is_paused(const struct sim *s, const char *image);
struct err *sim_child(void *disks, const struct verb *v, const char *path, const char *parent);
struct err *sim_set_hidden(void *disks, const struct verb *v, const char *path, bool hidden);
struct err *sim_set_parent(void *disks, const struct verb *v, const char *path, const char *parent);
struct err *sim_coalesce(void *disks, const struct verb *v, const char *path, uint64_t rate);
struct err *sim_disk_pause(void *disks, const struct verb *v, const char *image);
struct err *sim_disk_resume(void *disks, const struct verb *v, const char *image);
struct err *sim_disk_reopen(void *disks, const struct verb *v, const char *image);
/* Makes `to`, which is there, hold what is read through `from`. */
struct err *sim_copy(const char *from, const char *to) _must_use_;

/* ---- sim_move.c ---- */
struct err *sim_mirror(void *disks, const struct verb *v, const char *from, const struct image *to);
struct err *sim_mirror_finish(void *disks, const struct verb *v, const char *from, const char *to);
struct err *sim_mirror_drop(void *disks, const struct verb *v, const char *from, const char *to);
struct err *sim_switch(void *disks, const struct verb *v, const char *from, const struct image *to,
                       bool held);
struct err *sim_go_on(void *disks, const struct verb *v, const char *path);

extern const struct hypervisor_ops sim_ops;
extern const struct disk_ops sim_disk_ops;
