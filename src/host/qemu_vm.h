/*
 * qemu_vm.h: what the files of the QEMU back end share. Private to src/host.
 *
 * One `struct guest` per QEMU process. It is owned by the list in `struct qemu` and by each verb
 * that works on it (guest_get, guest_unrefp); the last one frees it. The mon loop owns the process,
 * the monitor, console and agent of a guest; a verb reaches them through mon_run() and qmp_call().
 *
 *     <run_dir>/vm/<uuid>/   boot.json  pid  qmp.sock  serial.sock  agent.sock  vnc.sock
 * console.ring
 *
 * boot.json is written before QEMU is started, so who finds a QEMU finds its record.
 */
#pragma once

#include "base/vec.h"
#include "host/agent.h"
#include "host/console.h"
#include "host/host_impl.h"
#include "host/qmp.h"
#include "loop/child.h"

struct guest {
    struct qemu *qemu;
    char *vm;
    struct boot *boot; /* changes by verbs, one at a time; read by others under qemu->lock */

    /* under qemu->lock */
    unsigned refs;
    enum guest_state state;
    int64_t domid;
    int64_t start_time;
    pid_t pid;
    bool halted;  /* it has stopped by itself, at a disk; else as state says */
    bool killing; /* its end is wanted: no fact */
    bool gone;    /* no process any more */
    bool agent_alive;
    uint64_t memory_bytes; /* that it uses: what its balloon leaves */
    char *shutdown;        /* reason of the SHUTDOWN event, NULL before one */
    VEC(char *) deleted;   /* ids of devices that DEVICE_DELETED has named */
    unsigned unplugging;   /* calls that wait for one */
    struct qmp *qmp;       /* set once; NULL before it answers, and when it does not */
    bool has_ports;        /* its console and agent are connected */
    bool meeting;          /* somebody connects it */
    bool met;              /* and has: all of the above, and its state is known */

    /* of the thread that samples */
    struct {
        int *threads; /* of its virtual CPUs, in order */
        size_t n_threads;
        bool reports;        /* its balloon driver was asked to report */
        usec_t next_try;     /* when a monitor that did not answer is asked again */
        usec_t next_meeting; /* and connected */
    } sampling;

    /* of the mon loop */
    struct child *child;
    struct console *console;
    struct agent *agent;
};

struct qemu {
    struct host *host;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of any guest's members above */
    VEC(struct guest *) guests;
};

/* --- qemu_vm.c --- */
char *guest_path(const struct guest *g, const char *name);
/* With a reference; an error when it is absent. */
struct err *guest_get(struct qemu *q, const char *vm, struct guest **ret) _must_use_;
struct guest *guest_find(struct qemu *q, const char *vm); /* with a reference, or NULL */
enum guest_state guest_state(const struct guest *g);
void guest_unrefp(struct guest **g);
/* Writes boot.json as the record is now. */
struct err *guest_write_record(struct guest *g) _must_use_;
/* A monitor command by the verb's deadline; `args` is taken over. */
struct err *guest_qmp(struct guest *g, const struct verb *v, const char *command, struct val *args,
                      struct val **ret) _must_use_;
/* The same with a descriptor for QEMU, which stays the caller's. */
struct err *guest_qmp_fd(struct guest *g, const struct verb *v, const char *command,
                         struct val *args, int fd, struct val **ret) _must_use_;
/* Waits until fn(g) holds; checks the verb meanwhile. fn runs with qemu->lock held. */
struct err *guest_wait(struct guest *g, const struct verb *v, const char *what,
                       bool (*fn)(const struct guest *g, const void *arg), const void *arg)
    _must_use_;
/* Ends the process, waits until it is gone, removes its files. No fact is posted. */
struct err *guest_end(struct guest *g) _must_use_;

/* --- qemu_guest.c: a guest's life on the mon loop --- */
struct guest *guest_new(struct qemu *q, const char *vm, const struct boot *b);
/* Starts its process. */
struct err *guest_spawn(struct guest *g, char *const *argv) _must_use_;
struct err *guest_adopt(struct guest *g, pid_t pid, uint64_t start) _must_use_;
/* Connects monitor, console and agent, and reads what state it is in. By who made it; after him by
 * guest_meet(), which goes on where he had to give up, and waits a moment for who is at it. */
struct err *guest_connect(struct guest *g, const struct verb *v) _must_use_;
struct err *guest_meet(struct guest *g) _must_use_;
/* Lets go of everything on the loop; the process lives on. */
void guest_let_go(struct guest *g);
void guest_post(struct guest *g, enum host_fact_kind kind, const char *reason, int64_t rtc,
                const struct val *data);
struct err *guest_attach_console(struct guest *g, int *ret_fd) _must_use_;
struct err *guest_ask_shutdown(struct guest *g, bool reboot) _must_use_;
/* One request to its agent. */
struct err *guest_ask_agent(struct guest *g, const struct verb *v, const char *command,
                            const struct val *args, struct val **ret) _must_use_;

/* --- qemu_plug.c --- */
struct err *qemu_plug_disk(void *hv, const struct verb *v, const char *vm,
                           const struct boot_disk *d);
struct err *qemu_unplug_disk(void *hv, const struct verb *v, const char *vm, unsigned device,
                             bool force);
struct err *qemu_insert_cd(void *hv, const struct verb *v, const char *vm,
                           const struct boot_disk *d);
struct err *qemu_eject_cd(void *hv, const struct verb *v, const char *vm, unsigned device);
struct err *qemu_plug_nic(void *hv, const struct verb *v, const char *vm, const struct boot_nic *n);
struct err *qemu_unplug_nic(void *hv, const struct verb *v, const char *vm, unsigned device,
                            bool force);
/* A NIC that is connected nowhere has its link down. */
struct err *qemu_set_links(struct guest *g, const struct verb *v) _must_use_;

/* --- qemu_live.c --- */
struct err *qemu_set_cpus(void *hv, const struct verb *v, const char *vm, unsigned cpus);
struct err *qemu_set_cpu_mask(void *hv, const struct verb *v, const char *vm, const char *mask);
/* Puts its virtual CPUs where the record wants them; a host that cannot is no reason to fail. */
void qemu_pin_cpus(struct guest *g, const struct verb *v);
struct err *qemu_set_memory(void *hv, const struct verb *v, const char *vm, uint64_t bytes);
struct err *qemu_trigger(void *hv, const struct verb *v, const char *vm, enum guest_trigger what);
/* Asks how much memory it uses; one without a balloon uses all. */
void qemu_learn_memory(struct guest *g, const struct verb *v);
/* A new guest is told if it shall use less than it has. */
struct err *qemu_set_target(struct guest *g, const struct verb *v) _must_use_;

/* --- qemu_sample.c --- */
void qemu_sample(void *hv, const char *vm, struct guest_sample *s);

/* --- qemu_save.c --- */
struct err *qemu_save(void *hv, const struct verb *v, const char *vm, const struct image *to);
struct err *qemu_save_size(void *hv, const char *vm, uint64_t *ret_bytes);
/* Fills a guest that was started to be restored. */
struct err *qemu_restore(struct guest *g, const struct verb *v, const struct image *from)
    _must_use_;
