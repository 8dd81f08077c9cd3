/*
 * world.h: what the files of src/op share; private to the folder.
 */
#pragma once

#include <stdatomic.h>

#include "base/err.h"
#include "base/rstr.h"
#include "base/val.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "gen/typed.h"
#include "host/host.h"
#include "host/sr.h"
#include "loop/loop.h"
#include "op/ops.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op.h"
#include "task/task.h"

struct measure;
struct metrics;
struct tidy;
struct sr_space;
struct observers;

struct ops {
    struct ops_config cfg;       /* strings are owned */
    const char *host_ref;        /* rstr; the host record, REF_NULL before first_start */
    const char *pool_ref;        /* rstr */
    int64_t ticked_s;            /* when ops_tick looked last; of its thread */
    _Atomic(unsigned) nbd_port;  /* 0: nobody listens */
    _Atomic(uint64_t) backed_up; /* generation of the copy that ops_backup made last */
    atomic_flag backing_up;
    usec_t next_certificate_alerts; /* of the chores' thread */
    struct observers *observers;
    struct metrics *metrics;
    struct tidy *tidy;               /* chains of disks, see tidy.h */
    struct sr_space *space;          /* of the thread of ops_space() */
    struct measure *measure;         /* of the thread of ops_measure() */
    _Atomic(usec_t) save_metrics_at; /* by clock_now(); 0: nobody has asked */
};

struct ops *ops_of(const struct op *op);

#define KIB          (UINT64_C(1) << 10)
#define MIB          (UINT64_C(1) << 20)
#define VERB_TIME    (60 * USEC_PER_SEC) /* what a verb may take unless said otherwise */
#define RELEASE_TIME (3 * USEC_PER_SEC)  /* for a guest to give back a device it has just got */

/* A verb of this step: identity, deadline from now, cancel and progress of the operation. */
struct verb op_verb(struct op *op, usec_t time);
/* A verb outside of operations (first start, recovery, ticks): always executed. */
struct verb ops_verb(usec_t time);

/* op_write() or op_commit(). */
typedef struct err *(*op_write_fn)(struct op *op, const char *name, txn_fn fn, void *arg);

/* The last step of a table whose work was records all along: from here on nothing is undone. */
struct err *step_keep(struct op *op) _must_use_;

/* Members of a record given to a constructor; what is missing or of another kind is zero. */
int64_t rec_int(const struct val *rec, const char *key);
bool rec_bool(const struct val *rec, const char *key);
double rec_float(const struct val *rec, const char *key);
const char *rec_str(const struct val *rec, const char *key);       /* "" if missing */
const struct val *rec_map(const struct val *rec, const char *key); /* empty if missing */
int rec_enum(const struct val *rec, const char *key, const struct enum_desc *e);

/* Sets the fields that a constructor is given; FIELD_TYPE_ERROR. */
struct err *rec_take_given(struct row *row, const struct val *rec) _must_use_;

int64_t now_s(void); /* seconds since 1970 */

/* Records by ref from a snapshot; HANDLE_INVALID if there is none. */
struct err *need_VM(const struct snap *s, const char *ref, const struct rec_VM **ret) _must_use_;
struct err *need_VBD(const struct snap *s, const char *ref, const struct rec_VBD **ret) _must_use_;
struct err *need_VIF(const struct snap *s, const char *ref, const struct rec_VIF **ret) _must_use_;
struct err *need_VDI(const struct snap *s, const char *ref, const struct rec_VDI **ret) _must_use_;
struct err *need_SR(const struct snap *s, const char *ref, const struct rec_SR **ret) _must_use_;

/* OTHER_OPERATION_IN_PROGRESS for an object of class `cls` in whose current_operations is one. */
struct err *need_idle(const char *cls, const char *ref, const struct val *operations) _must_use_;
/* Deletes the rows that a set of references names. */
void delete_refs(struct txn *t, int cls, const struct val *refs);

/* ---- device.c: names and numbers of devices ---- */

/* 0 -> "xvda", 25 -> "xvdz", 26 -> "xvdaa". */
void device_name(unsigned number, char *out, size_t size);
/* "0", "xvda", "hdb", "sdc"; false if it is none of these or too high. */
bool device_number(const char *userdevice, unsigned *ret);

/* ---- boot_build.c: settings -> boot record ---- */

/* The record of the VM as it stands now. Asks the storage for the images' paths. */
struct err *boot_build(struct op *op, const struct snap *s, const struct rec_VM *vm, int64_t domid,
                       struct boot **ret) _must_use_;
/* One disk or NIC of it. */
struct err *boot_build_disk(struct op *op, const struct snap *s, const struct rec_VBD *vbd,
                            struct boot_disk **ret) _must_use_;
struct err *boot_build_nic(const struct rec_VM *vm, const struct rec_VIF *vif,
                           struct boot_nic **ret) _must_use_;
/* The image of a VDI for diskd. */
struct err *boot_build_image(struct op *op, const struct snap *s, const struct rec_VDI *vdi,
                             bool readonly, struct image *ret) _must_use_;

/* VM.HVM_boot_policy of a VM that starts as HVM_boot_params say; "" starts from PV_kernel. */
#define BIOS_ORDER "BIOS order"

/* ---- bios.c ---- */

/* Gives a VM that has no BIOS strings the general ones. */
void bios_settle(struct txn *t, const char *vm);
void bios_to_boot(const struct rec_VM *vm, struct boot *b);

/* ---- boot_row.c: the stored boot record of a VM ---- */

struct err *boot_load(const struct snap *s, const struct rec_VM *vm, struct boot **ret) _must_use_;
void boot_put(struct txn *t, const struct rec_VM *vm, const struct boot *b);
void boot_drop(struct txn *t, const char *vm_uuid);

/* ---- place.c ---- */

/* May this VM run on this host now? Memory that others have reserved counts as taken. */
struct err *place_check(struct ops *ops, const struct snap *s, const struct rec_VM *vm) _must_use_;
uint64_t place_memory_of(const struct rec_VM *vm);
/* Of the host's memory, what running and starting guests other than `except` take. */
uint64_t place_memory_taken(const struct snap *s, const char *host_ref, const char *except);

/* ---- vm_state.c: what a change of power state means for the records ---- */

void vm_becomes_running(struct txn *t, const char *vm, const char *host, bool paused,
                        const struct boot *b);
void vm_becomes_halted(struct txn *t, const char *vm);
void vm_becomes_suspended(struct txn *t, const char *vm);
/* How many virtual CPUs it has now. */
void vm_count_cpus(struct txn *t, struct rec_VM *vm, unsigned n);
/* The next domid; never given twice. */
int64_t domid_next(struct txn *t);

/* ---- alert.c ---- */

void alert_add(struct txn *t, const char *name, int64_t priority, enum cls cls,
               const char *obj_uuid, const char *body);

/* ---- sr_space.c ---- */

struct sr_space *sr_space_new(void);
void sr_space_free(struct sr_space *sp); /* NULL is fine */

/* ---- root_device.c ---- */

/* Tells what to do about a kernel of the VM's that is told root=/dev/xvda1, once. On core. */
void root_check(struct txn *t, const struct rec_VM *vm);

/* ---- licence.c ---- */

/* What clients are told of licences: editions, parameters, restrictions. On core. */
void licence_put(struct txn *t, struct rec_host *host, struct rec_pool *pool);

/* ---- host_machine.c ---- */

/* Takes access away whose time is over. */
struct err *host_ssh_expire(struct ops *ops) _must_use_;

/* ---- host_power.c ---- */

/* At a start: a host that was not disabled for good takes guests again. On core. */
void host_enable_again(struct txn *t, struct rec_host *h);

/* ---- certificate.c ---- */

/* Called every few seconds: alerts about what expires. */
struct err *certificates_tick(struct ops *ops) _must_use_;

/* ---- console_place.c ---- */

/* "https://192.0.2.1/console?uuid=…"; the caller frees. */
char *console_location(struct txn *t, const char *address, const char *uuid);

/* ---- setting.c: small facts that belong to no object ---- */

/* Borrowed from the snapshot; "" if there is none. */
const char *setting_get(const struct snap *s, const char *key);
void setting_put(struct txn *t, const char *key, const char *value); /* "" forgets it */

/* ---- sr_ref.c ---- */

/* How the storage layer is told of an SR; strings borrowed from the snapshot. SR_NO_PBDS and
 * SR_HAS_NO_PBDS when it is not attached to this host. */
struct err *sr_ref_of(const struct snap *s, const struct rec_SR *sr, bool must_be_attached,
                      struct sr_ref *ret) _must_use_;
