/*
 * lab.h: a whole simulated host without the wire, for torture and for tests of operations.
 *
 *     struct lab w;
 *     TRY(lab_open(dir, &w));                 // store, simulator, tasks, first start, recovery
 *     TRY(lab_call(&w, VM_start, vm, .vm = vm));
 *     char *wrong = lab_check(&w);            // NULL: everything agrees
 *     lab_close(&w);
 *
 * Everything lives under one folder, so a world can be opened again after its process has died.
 */
#pragma once

#include "gen/error.h"
#include "gen/msg.h"
#include "gen/rec.h"
#include "gen/typed.h"
#include "host/host.h"
#include "host/sim.h"
#include "op/ops.h"
#include "state/db.h"
#include "state/row.h"
#include "task/task.h"
#include "task/waitable.h"

struct lab {
    char *dir;
    struct db *db;
    struct host *host;
    struct tasks *tasks;
    struct ops *ops;
    const char *host_ref, *sr, *iso, *network, *vm; /* rstr; vm: of lab_make_vm */
};

/* How many seconds guests of labs opened from now on may take to obey; 1 unless a test says else.
 */
extern unsigned lab_wait_s;
/* Where cairn-privd is asked for settings of the machine; NULL: they are files of <dir>/machine. */
extern const char *lab_privd;

/* Opens the folder's world; whatever a dead process left there is recovered. */
struct err *lab_open(const char *dir, struct lab *ret) _must_use_;
void lab_close(struct lab *w);

struct err *lab_call_(struct lab *w, const char *name, msg_fn fn, const char *self,
                      const void *args, size_t size, struct val **ret) _must_use_;
#define lab_call(w, cls_msg, self, ...)                                                            \
    lab_call_((w), #cls_msg, (msg_fn)(void (*)(void))msg_##cls_msg, (self),                        \
              &(struct args_##cls_msg){__VA_ARGS__}, sizeof(struct args_##cls_msg), NULL)
#define lab_ask(w, ret, cls_msg, self, ...)                                                        \
    lab_call_((w), #cls_msg, (msg_fn)(void (*)(void))msg_##cls_msg, (self),                        \
              &(struct args_##cls_msg){__VA_ARGS__}, sizeof(struct args_##cls_msg), (ret))

/* A VM with a disk of 8 MiB, an empty CD drive and a NIC; its ref is in w->vm. */
struct err *lab_make_vm(struct lab *w) _must_use_;
/* More objects, not attached to anything that runs; the ref is an rstr of the caller's. */
struct err *lab_make_vdi(struct lab *w, const char **ret) _must_use_;
struct err *lab_add_disk(struct lab *w, const char **ret_vbd) _must_use_;
struct err *lab_add_nic(struct lab *w, const char **ret_vif) _must_use_;
/* The VM as it is now; the caller drops the row. */
const struct rec_VM *lab_vm(struct lab *w);
/* The VDI of the first disk there is: an rstr of the caller's. */
const char *lab_disk_of_vm(struct lab *w);
/* Waits until no operation runs and nothing waits in the queue of internal work. */
void lab_settle(struct lab *w);

/* What does not agree, one line each, or NULL: journal, claims, tasks, reservations, guests, disk
 * processes, volumes, boot records, consoles, suspend images. Owned by the caller. */
char *lab_check(struct lab *w);
