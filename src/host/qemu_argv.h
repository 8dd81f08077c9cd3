/*
 * qemu_argv.h: a boot record as QEMU's command line. Private to src/host and its tests.
 *
 * A pure function of the record and the paths, so that resume, reboot and migration show the guest
 * the same machine. Golden tests keep it (tests/golden/qemu_argv); a change there is a change of
 * what guests see, and needs a new machine type of ours.
 *
 * Where devices are on the root bus (slot.function):
 *
 *     01.0 VGA   02.0 xHCI   03.0 virtio-serial   04.0 virtio-rng
 *     08.0-6     root ports of NIC 0 to 6
 *     10.0-11.7  root ports of disk 0 to 15: always there, for hot plug
 *     12.0-12.7  root ports of PCI bridges, 30 further disks each (slot 1 to 30): 16 to 254;
 *                there when such a disk is
 *     18.0-1d.7  AHCI controllers 1 to 42; controller 0 is the chip set's own (1f.2). Device number
 *                n sits on controller n / 6, port n % 6
 */
#pragma once

#include "host/boot.h"

struct qemu_paths {
    const char *program;  /* QEMU */
    const char *dir;      /* of this guest: sockets, pid file */
    const char *disk_dir; /* of its cairn-diskd: <device>.vu, <device>.nbd */
    const char *firmware; /* BOOT_UEFI: code */
    const char *nvram;    /* BOOT_UEFI: the guest's own variables */
    int64_t now_s;        /* seconds since 1970, for a clock that is not at UTC */
    bool restore;         /* wait for a saved state instead of booting */
};

/* NULL-terminated; free with qemu_argv_free(). */
char **qemu_argv(const struct boot *b, const struct qemu_paths *p);
void qemu_argv_free(char **argv);

#define QEMU_AHCI_PORTS 6

/* What hot plug needs to name the same things. Owned by the caller. */
char *qemu_disk_bus(unsigned device);     /* of a virtio disk: "dp3", "db0" */
unsigned qemu_disk_slot(unsigned device); /* its slot there */
/* Request queues of a virtio disk: one per virtual CPU that there may be, so that CPUs added later
 * do not change the device. */
unsigned qemu_disk_queues(const struct boot *b);
char *qemu_nic_bus(unsigned device); /* "np0" */
/* The start of the VDI's uuid. */
void qemu_serial(const struct image *image, char out[21]);
/* ASCII letters, digits, '.', '_' and '-' of a name, at most 40. Owned by the caller. */
char *qemu_safe_name(const char *name);
