/*
 * boot.h: the boot record, what a guest sees for as long as it lives.
 *
 * An operation makes one from the VM's settings at start and stores it as JSON; from then on start,
 * resume, reboot and migration use the record, not the edited VM. Everything that a guest can see
 * follows from it by pure functions: QEMU's command line (qemu_argv.h), the PCI addresses (by class
 * and device number), the serial numbers of disks. Hot plug changes the record, through
 * boot_set_disk() and friends, and the changed record is stored by the operation.
 *
 *     _cleanup_(boot_freep) struct boot *b = boot_new(vm_uuid, "demo");
 *     b->memory = 256 << 20;
 *     boot_set_disk(b, &(struct boot_disk){.id = vbd, .device = 0, .image = {…}});
 *     _cleanup_(freep) char *json = boot_format(b);      // store
 *     TRY(boot_parse(json, &again));                      // after a restart
 *
 * A record owns all its strings; a `struct boot_disk` or `boot_nic` handed in is copied. Strings
 * are never NULL inside a record ("" means none). Not thread safe; a record has one owner.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

#define BOOT_MACHINE   "pc-q35-7.2" /* the newest machine type of the oldest QEMU we run on */
#define BOOT_DISKS_MAX 255          /* device numbers 0 … 254 */
#define BOOT_DISKS     16           /* numbers below this always have a slot for hot plug */
#define BOOT_NICS      7
#define BOOT_CPU_LAST  1023 /* highest number in a cpu_mask */

enum boot_firmware { BOOT_BIOS, BOOT_UEFI, BOOT_DIRECT };
enum boot_bus { BOOT_VIRTIO, BOOT_EMULATED, BOOT_TRANSFER /* no guest's: ours, as NBD */ };

/* An image as cairn-diskd opens it. */
struct image {
    char *vdi;  /* uuid; its first 20 characters are the disk's serial number, see image_serial() */
    char *path; /* absolute; "" for an empty drive */
    char *format; /* "vhd", "vhd-fixed", "qcow2", "raw" */
    uint64_t size_bytes;
    bool readonly;
    char *parents; /* the images below it, nearest first, a line "<format> <path>" each; filled in
                      when the disk is attached, "" before */
    /* Of its repository, see sr_tune.h. */
    uint64_t split, budget_bytes;
    char *budget_path;
    bool uncached; /* what is only read goes around the page cache */
    char *serial;  /* of a disk that has moved: what its guest knows it by; "": as `vdi` says */
    bool held;     /* nobody may open it, while it moves */
    char *copies;  /* folder where what is read of its parent is kept, see disk_copy.h; "": none */
    uint64_t
        quantum; /* by which its volume grows when room gets short, sr_thin.h; 0: it does not */
};
static inline const char *image_serial(const struct image *image)
{
    return image->serial && image->serial[0] ? image->serial : image->vdi;
}

struct boot_disk {
    char *id;        /* uuid of the VBD */
    unsigned device; /* number of the device: 0 is xvda; CDs count with the disks */
    bool cd;
    enum boot_bus bus; /* CDs are AHCI whatever this says */
    bool bootable;
    struct image image;              /* path "" is allowed for a CD only */
    uint64_t limit_bytes, limit_ops; /* of its traffic, a second; 0: none */
};

struct boot_nic {
    char *id; /* uuid of the VIF */
    unsigned device;
    enum boot_bus bus;
    char *mac; /* lower case, with colons */
    char *tap; /* interface made by the network back end; "" for a NIC that is connected nowhere */
    int64_t mtu; /* 0: 1500 */
};

struct boot {
    char *vm;      /* uuid */
    char *name;    /* for humans, any text; shown in process lists in a safe form */
    int64_t domid; /* never used twice between two boots of the host */

    char *machine; /* versioned machine type */
    char *accel;   /* "kvm", "tcg" */
    char *cpu;     /* QEMU's CPU model with flags, "qemu64", "host", "Haswell,-hle" */
    enum boot_firmware firmware;
    char *kernel, *ramdisk, *args; /* BOOT_DIRECT: absolute paths and the command line */
    char *order;                   /* letters c (disk), d (CD), n (network), tried in turn */
    bool secure_boot;              /* BOOT_UEFI */
    bool acpi;
    bool hyperv;       /* tell the guest Hyper-V's paravirtual features */
    bool reboot_stops; /* a reboot from inside ends the guest instead (actions_after_reboot) */

    unsigned cpus, cpus_max;
    char *cpu_mask; /* CPUs of the host that it may run on, "0,2,3"; "": all */
    unsigned cores_per_socket;
    uint64_t memory_bytes;
    int64_t rtc_offset_s; /* the guest's clock starts at UTC plus this */

    bool balloon;          /* it has a device to give memory back with */
    uint64_t target_bytes; /* how much of its memory it shall use; 0: all */

    bool vnc;
    char *keymap; /* "" for en-us */

    /* What the firmware says about maker and product; "" leaves it to the firmware. */
    char *bios_vendor, *bios_version;
    char *system_manufacturer, *system_product, *system_version, *system_serial;
    char *board_manufacturer, *board_product, *board_version, *board_serial;
    char *board_asset, *board_location, *chassis_asset;

    struct boot_disk *disks; /* by device number, ascending */
    size_t n_disks;
    struct boot_nic *nics;
    size_t n_nics;
};

struct boot *boot_new(const char *vm, const char *name);
void boot_free(struct boot *b); /* NULL is fine */
static inline void boot_freep(struct boot **b)
{
    boot_free(*b);
    *b = NULL;
}
struct boot *boot_copy(const struct boot *b);

/* The memory that the guest shall use. */
static inline uint64_t boot_target(const struct boot *b)
{
    return b->target_bytes ? b->target_bytes : b->memory_bytes;
}

/* Adds the device or replaces the one of the same number. */
void boot_set_disk(struct boot *b, const struct boot_disk *d);
void boot_set_nic(struct boot *b, const struct boot_nic *n);
void boot_del_disk(struct boot *b, unsigned device); /* absent is fine */
void boot_del_nic(struct boot *b, unsigned device);
struct boot_disk *boot_disk(const struct boot *b, unsigned device); /* borrowed, NULL if none */
struct boot_disk *boot_disk_by_id(const struct boot *b, const char *id);
struct boot_nic *boot_nic(const struct boot *b, unsigned device);
struct boot_nic *boot_nic_by_id(const struct boot *b, const char *id);

/* Whether a text is a list of CPU numbers, as cpu_mask is. */
bool boot_mask_is_valid(const char *mask);

/* JSON and back. Parsing refuses unknown members, bad ranges and duplicate device numbers. A record
 * of an earlier version lacks what came later: that guest has none of it. */
char *boot_format(const struct boot *b);
struct err *boot_parse(const char *json, struct boot **ret) _must_use_;
/* What boot_parse checks, for a record built by hand. */
struct err *boot_check(const struct boot *b) _must_use_;

/* Owned copies of a device, for callers that keep one outside a record. */
struct boot_disk *boot_disk_copy(const struct boot_disk *d);
void boot_disk_free(struct boot_disk *d);
struct boot_nic *boot_nic_copy(const struct boot_nic *n);
void boot_nic_free(struct boot_nic *n);
void image_copy(const struct image *from, struct image *ret);
void image_done(struct image *image);
/* The disk goes to another image: for its guest it stays the same disk, with its serial number, and
 * read only if it was. */
void image_move(struct image *image, const struct image *to);
