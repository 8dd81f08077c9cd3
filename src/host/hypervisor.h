/*
 * hypervisor.h: what a hypervisor must do; for those who implement one (sim, qemu) and for host.c.
 *
 * Operations do not call these functions, they call host.h, which checks epochs, executes each verb
 * once and passes on to the table given when the host was made. A guest is named by its VM's uuid.
 * Verbs run on operation threads, may take as long as they need up to their deadline, look at
 * verb_check() while they wait, and leave things as they were when they fail. Two verbs on one
 * guest never run at the same time, except `kill`, `query` and `facts`, which may come at any
 * moment.
 *
 *     absent --build--> paused --unpause--> running --shutdown, a guest's own doing--> ...
 *        ^                 ^---pause--------'    |
 *        '----------- kill, power-off, crash ----'
 *
 * What a guest does by itself is told as a fact: posted from a thread of the back end, through the
 * one function given at creation, after it is true (a guest said to be gone has no process left).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/val.h"
#include "host/boot.h"
#include "host/sample.h"

/* Names one execution of one step of one operation. */
struct verb_id {
    uint64_t epoch;  /* who commands; older ones are refused */
    const char *op;  /* the operation's ref */
    unsigned step;   /* its step, counted from 0 */
    unsigned serial; /* the verb inside the step */
};

/* How a verb is executed. Everything but `id` may be zero: no deadline means 60 s. */
struct verb {
    struct verb_id id;
    uint64_t deadline; /* usec_t by clock_now() */
    bool (*cancelled)(void *arg);
    void (*progress)(void *arg, double done); /* 0 … 1 */
    void *arg;
};

enum guest_state {
    GUEST_ABSENT,
    GUEST_PAUSED,
    GUEST_RUNNING,
    GUEST_STOPPED, /* powered off by itself, not yet taken away (kill) */
};

enum host_fact_kind {
    FACT_SHUTDOWN,       /* the guest powered itself off and is gone */
    FACT_REBOOT,         /* the guest was reset from inside and runs on: it takes the next domid */
    FACT_REBOOT_STOPPED, /* it wanted to reboot, but its record says reboot_stops: it is gone */
    FACT_CRASHED,        /* its kernel gave up (panic) and it was taken away */
    FACT_LOST,           /* its process died, not by its own doing; `reason` says how */
    FACT_MEMORY,         /* the guest gave memory back or took some: `memory_bytes` it has now */
    FACT_RTC,            /* the guest set its clock: `rtc_offset_s` against UTC */
    FACT_AGENT,          /* data of the guest agent: `data`, a map (see below); empty: agent gone */
    FACT_DISK_ERROR, /* diskd of `vm` died or answered an error; `reason`; it is being restarted */
    FACT_DISK_OK,    /* and is back */
    FACT_DISK_WAITS, /* requests wait for a full or unreachable repository; `reason`: "0 ENOSPC" */
    FACT_DISK_GOES_ON, /* they were taken; `reason`: "0 " */
    FACT_DISK_SILENT,  /* the guest's process is connected to its disks and does not use them */
    FACT_SR_CHANGED,   /* `sr`: its directory changed, scan it */
    FACT_SR_LOW,       /* `sr`: little is left for its disks to grow; `reason`: "MIB-LEFT MIB" */
    FACT_DISK_GONE,  /* the guest let go of a disk after nobody waited any more; `reason`: its id */
    FACT_NIC_GONE,   /* and of a NIC */
    FACT_ROOT_NAMED, /* the guest said that it looks for its root on a disk named as under Xen;
                        `reason`: "/dev/xvda1" */
    FACT_CBT_LOST,   /* changed blocks of a disk are not all recorded; `reason`: the VDI's uuid */
};

/* Borrowed; valid during the call. The receiver copies what it keeps and does not block. */
struct host_fact {
    enum host_fact_kind kind;
    const char *vm; /* uuid, NULL for facts of the host */
    const char *sr; /* uuid or NULL */
    int64_t domid;  /* of the guest it was true of: a fact about an older one is stale */
    const char *reason;
    int64_t rtc_offset_s;
    uint64_t memory_bytes;
    const struct val *data;
};
typedef void (*host_fact_fn)(void *arg, const struct host_fact *f);

/*
 * The agent's data is a map with the keys of VM_guest_metrics:
 *   "os_version"  map: name, distro, major, minor, uname
 *   "networks"    map: "0/ip", "0/ipv4/0", "0/ipv6/0"
 *   "other"       map: "feature-shutdown", "feature-suspend" … = "1"
 *   "version"     string, of the agent
 */

struct guest_info {
    enum guest_state state;
    int64_t domid;
    int64_t pid;           /* of its process, 0 in the simulator */
    uint64_t memory_bytes; /* what it has now */
    unsigned cpus;         /* likewise */
    int64_t start_time;    /* seconds since 1970, 0 if absent */
    bool agent;            /* an agent answers */
    bool is_silent;        /* its process does not answer: whether it is paused is not known */
};

/* One guest in a listing: what runs, whether recorded or not. Owned by the caller. */
struct guest_item {
    char *vm;
    struct guest_info info;
    struct boot *boot; /* the record it runs by; NULL if that was lost */
};

enum shutdown_how { SHUTDOWN_AGENT, SHUTDOWN_ACPI };
enum guest_trigger { TRIGGER_NMI, TRIGGER_POWER, TRIGGER_WAKE };

struct hypervisor_ops {
    const char *name; /* "sim", "qemu" */

    /* Takes up the guests that run already; NULL: there is nothing to do. */
    struct err *(*start)(void *hv);

    /* Makes the guest, paused. `from` is an image that save() filled, or NULL for a cold start. Its
     * disks are attached already. */
    struct err *(*build)(void *hv, const struct verb *v, const struct boot *b,
                         const struct image *from);
    struct err *(*unpause)(void *hv, const struct verb *v, const char *vm);
    struct err *(*pause)(void *hv, const struct verb *v, const char *vm);
    /* Has it stopped by itself, at an emulated disk whose repository is full or away? It counts as
     * running. And has it try to go on. Both may be NULL. */
    bool (*is_halted)(void *hv, const char *vm);
    struct err *(*go_on)(void *hv, const struct verb *v, const char *vm);
    /* Asks the guest; whether it does is seen as a fact. SHUTDOWN_AGENT fails if none answers. */
    struct err *(*shutdown)(void *hv, const struct verb *v, const char *vm, enum shutdown_how how,
                            bool reboot);
    /* Takes it away, without asking. Absent is fine. No fact is posted for it afterwards. */
    struct err *(*kill)(void *hv, const struct verb *v, const char *vm);

    struct err *(*plug_disk)(void *hv, const struct verb *v, const char *vm,
                             const struct boot_disk *d);
    struct err *(*unplug_disk)(void *hv, const struct verb *v, const char *vm, unsigned device,
                               bool force);
    struct err *(*insert_cd)(void *hv, const struct verb *v, const char *vm,
                             const struct boot_disk *d);
    struct err *(*eject_cd)(void *hv, const struct verb *v, const char *vm, unsigned device);
    struct err *(*plug_nic)(void *hv, const struct verb *v, const char *vm,
                            const struct boot_nic *n);
    struct err *(*unplug_nic)(void *hv, const struct verb *v, const char *vm, unsigned device,
                              bool force);

    /* Gives it more virtual CPUs, up to its record's cpus_max; they cannot be taken away. */
    struct err *(*set_cpus)(void *hv, const struct verb *v, const char *vm, unsigned cpus);
    /* Has its virtual CPUs run on these CPUs of the host only (struct boot, cpu_mask). */
    struct err *(*set_cpu_mask)(void *hv, const struct verb *v, const char *vm, const char *mask);
    /* Asks it to make do with so much of its memory; that it does is seen as a fact. */
    struct err *(*set_memory)(void *hv, const struct verb *v, const char *vm, uint64_t bytes);
    /* Presses a button or raises an interrupt. */
    struct err *(*trigger)(void *hv, const struct verb *v, const char *vm, enum guest_trigger what);

    /* Asks the guest's agent something in the words of QEMU's agent (guest-exec …) and waits for
     * its answer; an error if none answers. `args` is a borrowed map, *ret the caller's. */
    struct err *(*ask_agent)(void *hv, const struct verb *v, const char *vm, const char *command,
                             const struct val *args, struct val **ret);

    /* Stops the guest, writes its memory and devices to the image, takes it away. If it fails the
     * guest runs on as before. */
    struct err *(*save)(void *hv, const struct verb *v, const char *vm, const struct image *to);
    /* The bytes of `save` that an image for this guest must hold at least. */
    struct err *(*save_size)(void *hv, const char *vm, uint64_t *ret_bytes);

    /* After a reboot from inside, tells which domid it has now. */
    struct err *(*set_domid)(void *hv, const struct verb *v, const char *vm, int64_t domid);

    struct err *(*query)(void *hv, const char *vm, struct guest_info *ret);
    /* All guests of this host that exist, in any state; array and items are the caller's. */
    struct err *(*list)(void *hv, struct guest_item **ret, size_t *ret_n);

    /* What it has used so far, see host/sample.h: fills in what it can learn. May come at any
     * moment, from one thread. */
    void (*sample)(void *hv, const char *vm, struct guest_sample *s);

    /* The socket of the console; NULL result: the guest has none. Owned by the caller. */
    char *(*vnc_path)(void *hv, const char *vm);
    /* A new descriptor that carries the serial console both ways, starting with what was kept
     * (at most 64 KiB). Closing it detaches. */
    struct err *(*serial_open)(void *hv, const char *vm, int *ret_fd);

    void (*free)(void *hv);
};

/* For those who implement verbs: the deadline as clock_now() time; cancelled or late as an error
 * (TASK_CANCELLED, or INTERNAL_ERROR naming `what`). */
uint64_t verb_deadline(const struct verb *v);
struct err *verb_check(const struct verb *v, const char *what) _must_use_;
void verb_progress(const struct verb *v, double done);

void guest_items_free(struct guest_item *items, size_t n);
const char *guest_state_name(enum guest_state s);
