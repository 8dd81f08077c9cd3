/*
 * host.h: the hands of one host.
 *
 * Operations command a host through these verbs; the host commands hypervisor, disk processes and
 * storage. It has no policy and writes no state: what it finds out goes up as facts, through the
 * one function given at creation.
 *
 *     struct verb v = {.id = {epoch, op_ref, step, 0}, .deadline = clock_now() + 30 *
 * USEC_PER_SEC}; TRY(host_disks_attach(h, &v, boot));       // diskd serves them; idempotent
 *     TRY(host_vm_build(h, &v, boot, NULL));     // paused
 *     TRY(host_vm_unpause(h, &v, boot->vm));
 *
 * Once: a verb with an id that was executed before is not executed again and gives the same result;
 * an id of an older epoch than one seen is refused. An op of "" is executed always (internal use).
 * Recovery after a crash asks host_list(), host_disks_list() and host_vm_query() what is true;
 * every undo verb (kill, detach, vdi_delete) succeeds when there is nothing to undo.
 *
 * All functions but host_new, host_free and host_start may be called from any thread except a loop;
 * they block. Verbs on one VM queue up; verbs on different VMs run side by side.
 */
#pragma once

#include "host/boot.h"
#include "host/hypervisor.h"

struct host;

struct host_config {
    const char *run_dir; /* sockets, pid files, logs of guests; gone after a boot of the machine */
    const char *state_dir; /* UEFI variables and other lasting things of guests */
    const char *log_dir;   /* logs of guests and helpers; NULL: run_dir */
    bool simulate;         /* hypervisor and disks are simulated */
    unsigned sim_speed;    /* how much faster the simulated counters run; 0: as the clock */
    const char *world_dir; /* the simulated world outlives the process here; NULL: run_dir/world */
    const char *accel;     /* "kvm", "tcg", or NULL: find out */
    const char *qemu;      /* program; NULL: qemu-system-x86_64 on PATH */
    const char *diskd;     /* program; NULL: "cairn-diskd" beside this one, else on PATH */
    const char *privd;   /* socket of cairn-privd; NULL or "": as root one is started, else none */
    const char *plugins; /* folder of programs for host_run_plugin; NULL: none */
    const char *extensions;  /* folder of programs for host_run_extension; NULL: none */
    const char *machine_dir; /* settings of the machine are files there; NULL: privd makes them */
    uint64_t memory_bytes;   /* offered to guests; 0: what the machine has less a reserve */
    host_fact_fn fact;       /* called from threads of the host */
    void *fact_arg;
};

struct err *host_new(const struct host_config *c, struct host **ret) _must_use_;
/* Begins to watch what runs already; facts flow from here on, also about guests found. */
struct err *host_start(struct host *h) _must_use_;
/* Stops watching; guests and their disks run on. */
void host_free(struct host *h);
static inline void host_freep(struct host **h)
{
    host_free(*h);
    *h = NULL;
}

/* --- facts about the host --- */
struct host_caps {
    char *accel;        /* "kvm", "tcg", "sim" */
    char *accel_reason; /* a sentence: why this one */
    char *hypervisor;   /* "QEMU 7.2.22" */
    char *machine;      /* machine type for new guests */
    char *cpu;          /* CPU model for new guests */
    bool uefi;          /* OVMF is installed */
    bool root;          /* verbs that need root work: mount, tap, mkfs */
    unsigned cpus;
    uint64_t memory_bytes; /* for guests, in all */
    char *cpu_vendor, *cpu_model_name;
    int64_t cpu_mhz;
};
/* Borrowed from the host, fixed after host_new. */
const struct host_caps *host_caps(const struct host *h);
/* What further guests may take now. Blocks. */
uint64_t host_memory_free(struct host *h);
/* What a guest with this record takes from the host's memory. */
uint64_t host_guest_memory(const struct boot *b);

/* --- guests; see struct hypervisor_ops for what each promises --- */
struct err *host_vm_build(struct host *h, const struct verb *v, const struct boot *b,
                          const struct image *from) _must_use_;
struct err *host_vm_unpause(struct host *h, const struct verb *v, const char *vm) _must_use_;
struct err *host_vm_pause(struct host *h, const struct verb *v, const char *vm) _must_use_;
/* Has it stopped by itself, at a disk whose repository is full or away? Then it tries to go on. */
struct err *host_vm_go_on(struct host *h, const struct verb *v, const char *vm) _must_use_;
struct err *host_vm_shutdown(struct host *h, const struct verb *v, const char *vm,
                             enum shutdown_how how, bool reboot) _must_use_;
struct err *host_vm_kill(struct host *h, const struct verb *v, const char *vm) _must_use_;
struct err *host_vm_plug_disk(struct host *h, const struct verb *v, const char *vm,
                              const struct boot_disk *d) _must_use_;
struct err *host_vm_unplug_disk(struct host *h, const struct verb *v, const char *vm,
                                unsigned device, bool force) _must_use_;
struct err *host_vm_insert_cd(struct host *h, const struct verb *v, const char *vm,
                              const struct boot_disk *d) _must_use_;
struct err *host_vm_eject_cd(struct host *h, const struct verb *v, const char *vm, unsigned device)
    _must_use_;
struct err *host_vm_plug_nic(struct host *h, const struct verb *v, const char *vm,
                             const struct boot_nic *n) _must_use_;
struct err *host_vm_unplug_nic(struct host *h, const struct verb *v, const char *vm,
                               unsigned device, bool force) _must_use_;
struct err *host_vm_set_cpus(struct host *h, const struct verb *v, const char *vm, unsigned cpus)
    _must_use_;
struct err *host_vm_set_cpu_mask(struct host *h, const struct verb *v, const char *vm,
                                 const char *mask) _must_use_;
struct err *host_vm_set_memory(struct host *h, const struct verb *v, const char *vm, uint64_t bytes)
    _must_use_;
struct err *host_vm_trigger(struct host *h, const struct verb *v, const char *vm,
                            enum guest_trigger what) _must_use_;
/* Always executed (v->id.op is ""), for a repetition could not give the answer again. */
struct err *host_vm_ask_agent(struct host *h, const struct verb *v, const char *vm,
                              const char *command, const struct val *args, struct val **ret)
    _must_use_;
struct err *host_vm_save(struct host *h, const struct verb *v, const char *vm,
                         const struct image *to) _must_use_;
struct err *host_vm_save_size(struct host *h, const char *vm, uint64_t *ret_bytes) _must_use_;
struct err *host_vm_set_domid(struct host *h, const struct verb *v, const char *vm, int64_t domid)
    _must_use_;
/* Removes what outlives a guest's runs: UEFI variables, log. For a VM that is destroyed. */
struct err *host_vm_forget(struct host *h, const struct verb *v, const char *vm) _must_use_;
struct err *host_vm_query(struct host *h, const char *vm, struct guest_info *ret) _must_use_;
/* Waits until the guest's state is one of the bits 1 << GUEST_…; late: INTERNAL_ERROR with
 * ETIMEDOUT as its errno. Looks at v->cancelled. */
struct err *host_vm_wait(struct host *h, const struct verb *v, const char *vm, unsigned states,
                         enum guest_state *ret) _must_use_;
struct err *host_list(struct host *h, struct guest_item **ret, size_t *ret_n) _must_use_;
char *host_vm_vnc_path(struct host *h, const char *vm);
struct err *host_vm_serial_open(struct host *h, const char *vm, int *ret_fd) _must_use_;

/* --- disks: a VM's set is served by one process, which is started when needed and ends with the
 * last disk. `owner` is the VM's uuid, or a uuid made for a transfer. A disk on the emulated bus
 * and a CD are served as NBD, others as vhost-user: a transfer attaches its image as an emulated
 * disk. --- */
/* All disks of the record that have an image, ready for use by host_vm_build. */
struct err *host_disks_attach(struct host *h, const struct verb *v, const struct boot *b)
    _must_use_;
struct err *host_disk_attach(struct host *h, const struct verb *v, const char *owner,
                             const struct boot_disk *d) _must_use_;
struct err *host_disk_detach(struct host *h, const struct verb *v, const char *owner,
                             unsigned device) _must_use_;
/* All of them, and the process; what is not there is fine. */
struct err *host_disks_detach(struct host *h, const struct verb *v, const char *owner) _must_use_;
/* Owners that have a disk process; for recovery. Array and strings are the caller's. */
struct err *host_disks_list(struct host *h, char ***ret, size_t *ret_n) _must_use_;
/* Whether requests of a disk wait for a repository that is full or does not answer: of the first
 * such disk its device and the name of an errno. Asks its process, for 2 s at most. */
bool host_disk_waits(struct host *h, const char *owner, unsigned *ret_device, char *ret_code,
                     size_t size);
/*
 * The disk of a running guest goes to another image, which is new, of its size and open nowhere.
 *
 *     fill    a volume that grows gets all the room that a disk of `size` can ask for
 *     mirror  copies, and returns when both are nearly the same; changes are copied on from then on
 *     finish  the guest's requests wait, the rest is copied: both are the same and closed
 *     switch  `held`: from now on the disk is the other image, which nobody opens yet
 *     go_on   opens that one, and the guest's requests go on
 *
 *     drop    undoes mirror; resume: finish, when nothing was switched; switch back, not held:
 *             switch. Each does nothing when there is nothing to undo, or the guest is gone.
 *
 * Paths name images as whoever has them open knows them. An error leaves the old image in use.
 */
struct err *host_disk_fill(struct host *h, const char *path, uint64_t size) _must_use_;
struct err *host_disk_mirror(struct host *h, const struct verb *v, const char *from,
                             const struct image *to) _must_use_;
struct err *host_disk_mirror_finish(struct host *h, const struct verb *v, const char *from,
                                    const char *to) _must_use_;
struct err *host_disk_mirror_drop(struct host *h, const struct verb *v, const char *from,
                                  const char *to) _must_use_;
/* The content of an attached disk that nobody changes into an image that is new, of its size and
 * open nowhere, by the disk's own cairn-diskd: what is not there and blocks of zeroes are not
 * written. Both images are closed afterwards; the disk is attached still, and cannot be read. After
 * an error it is to be detached before the image is used. */
struct err *host_disk_copy(struct host *h, const struct verb *v, const char *owner, unsigned device,
                           const struct image *to) _must_use_;
/* False in the simulator, where the bytes go through diskio.h. */
bool host_can_copy(const struct host *h);
struct err *host_disk_resume(struct host *h, const struct verb *v, const char *path) _must_use_;
struct err *host_disk_switch(struct host *h, const struct verb *v, const char *from,
                             const struct image *to, bool held) _must_use_;
struct err *host_disk_go_on(struct host *h, const struct verb *v, const char *path) _must_use_;
/* The NBD socket of an attached disk, for transfers (see nbdio.h); NULL for disks served otherwise
 * and for simulated ones, whose image is a plain file. Owned by the caller. */
char *host_disk_nbd_path(struct host *h, const char *owner, unsigned device);

/* --- plugins --- */
struct plugin_run {
    int status;      /* of exit; -1: a signal ended it */
    char *out, *err; /* what it wrote; never NULL after success */
};
void plugin_run_done(struct plugin_run *r);
/* Runs a program of the plugin folder with one argument; by privd as root where there is one, else
 * as ourselves. XENAPI_MISSING_PLUGIN. */
struct err *host_run_plugin(struct host *h, const char *plugin, const char *argument,
                            struct plugin_run *ret) _must_use_;
/* Likewise a program of the folder of extensions, with "--xmlrpc" as its argument and the call on
 * stdin. MESSAGE_METHOD_UNKNOWN. */
struct err *host_run_extension(struct host *h, const char *extension, const char *call,
                               struct plugin_run *ret) _must_use_;
bool host_has_extension(const struct host *h, const char *extension);
