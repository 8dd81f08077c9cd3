/*
 * qemu_argv.c: a boot record as QEMU's command line.
 *
 * Called by qemu_vm.c on operation threads. Pure memory. Values that come from outside (paths) have
 * their commas doubled, as QEMU's option parser wants it.
 */
#include "host/qemu_argv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/vec.h"

#define PORTS_PER_SLOT   8
#define NIC_SLOT         0x08
#define DISK_SLOT        0x10
#define BRIDGE_SLOT      0x12
#define DISKS_PER_BRIDGE 30
#define AHCI_SLOT        0x18
#define AHCI_CONTROLLERS 43
#define TB_SIZE_MIB      32
#define DISK_QUEUES_MAX  16 /* of cairn-diskd */
#define SMBIOS_MAX       (32U << 10)

struct args {
    VEC(char *) v;
};

static void add(struct args *a, const char *option, const char *value)
{
    vec_push(&a->v, mem_strdup(option));
    if (value)
        vec_push(&a->v, mem_strdup(value));
}

static void addf(struct args *a, const char *option, const char *fmt, ...) _printf_(3, 4);
static void addf(struct args *a, const char *option, const char *fmt, ...)
{
    char *value = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&value, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    vec_push(&a->v, mem_strdup(option));
    vec_push(&a->v, value);
}

/* With commas doubled. Owned by the caller. */
static char *quoted(const char *path)
{
    char *out = mem_zalloc(2 * strlen(path) + 1, 1), *p = out;
    for (; *path; path++) {
        if (*path == ',')
            *p++ = ',';
        *p++ = *path;
    }
    return out;
}

static char *socket_path(const char *dir, const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    return quoted(path);
}

char *qemu_safe_name(const char *name)
{
    char *out = mem_zalloc(41, 1);
    size_t n = 0;
    for (; *name && n < 40; name++) {
        char c = *name;
        bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        out[n++] = safe ? c : '_';
    }
    return out;
}

void qemu_serial(const struct image *image, char out[21])
{
    snprintf(out, 21, "%s", image_serial(image));
}

char *qemu_disk_bus(unsigned device)
{
    if (device < BOOT_DISKS)
        return mem_printf("dp%u", device);
    return mem_printf("db%u", (device - BOOT_DISKS) / DISKS_PER_BRIDGE);
}

unsigned qemu_disk_slot(unsigned device)
{
    return device < BOOT_DISKS ? 0 : 1 + (device - BOOT_DISKS) % DISKS_PER_BRIDGE;
}

unsigned qemu_disk_queues(const struct boot *b)
{
    return b->cpus_max < DISK_QUEUES_MAX ? b->cpus_max : DISK_QUEUES_MAX;
}

char *qemu_nic_bus(unsigned device)
{
    return mem_printf("np%u", device);
}

static bool is_ahci(const struct boot_disk *d)
{
    return d->cd || d->bus == BOOT_EMULATED;
}

/* --- the order of booting --- */

/* How many devices come before this one: by the letters of the order, in a letter by device number,
 * disks that are marked as bootable first. 0: the guest does not boot from it. */
static unsigned boot_index(const struct boot *b, char letter, unsigned device, bool bootable)
{
    const char *order = b->order[0] ? b->order : "cd";
    unsigned index = 1;
    for (const char *o = order; *o; o++) {
        for (size_t i = 0; i < b->n_disks && *o != 'n'; i++) {
            const struct boot_disk *d = &b->disks[i];
            bool in_class = d->cd == (*o == 'd');
            bool before = *o != letter || d->bootable > bootable ||
                          (d->bootable == bootable && d->device < device);
            index += in_class && before;
        }
        for (size_t i = 0; i < b->n_nics && *o == 'n'; i++)
            index += *o != letter || b->nics[i].device < device;
        if (*o == letter)
            return index;
    }
    return 0;
}

static void put_boot_index(char out[24], const struct boot *b, char letter, unsigned device,
                           bool bootable)
{
    unsigned index = b->firmware == BOOT_DIRECT ? 0 : boot_index(b, letter, device, bootable);
    out[0] = '\0';
    if (index)
        snprintf(out, 24, ",bootindex=%u", index);
}

/* --- pieces --- */

static void add_machine(struct args *a, const struct boot *b)
{
    addf(a, "-machine", "%s,memory-backend=mem,usb=off,vmport=off,graphics=%s%s", b->machine,
         b->vnc ? "on" : "off", b->secure_boot ? ",smm=on" : "");
    if (str_eq(b->accel, "tcg"))
        addf(a, "-accel", "tcg,thread=multi,tb-size=%u", TB_SIZE_MIB);
    else
        add(a, "-accel", b->accel);
    addf(a, "-cpu", "%s%s", b->cpu,
         b->hyperv && str_eq(b->accel, "kvm")
             ? ",hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-time,hv-vpindex"
             : "");
    unsigned cores = b->cpus_max % b->cores_per_socket == 0 ? b->cores_per_socket : 1;
    addf(a, "-smp", "cpus=%u,maxcpus=%u,sockets=%u,cores=%u,threads=1", b->cpus, b->cpus_max,
         b->cpus_max / cores, cores);
    addf(a, "-m", "size=%lluk", (unsigned long long)(b->memory_bytes >> 10));
    addf(a, "-object", "memory-backend-memfd,id=mem,size=%llu,share=on",
         (unsigned long long)(b->memory_bytes >> 10 << 10));
    if (!b->acpi)
        add(a, "-no-acpi", NULL);
}

static void add_clock(struct args *a, const struct boot *b, const struct qemu_paths *p)
{
    const char *drift = str_eq(b->accel, "kvm") ? ",driftfix=slew" : "";
    if (!b->rtc_offset_s) {
        addf(a, "-rtc", "base=utc,clock=host%s", drift);
        return;
    }
    time_t t = (time_t)(p->now_s + b->rtc_offset_s);
    struct tm tm;
    char text[32];
    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    addf(a, "-rtc", "base=%s,clock=host%s", text, drift);
}

static void add_firmware(struct args *a, const struct boot *b, const struct qemu_paths *p)
{
    if (b->firmware == BOOT_UEFI) {
        _cleanup_(freep) char *code = quoted(p->firmware);
        _cleanup_(freep) char *nvram = quoted(p->nvram);
        addf(a, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=%s", code);
        addf(a, "-drive", "if=pflash,unit=1,format=raw,file=%s", nvram);
        if (b->secure_boot)
            add(a, "-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    if (b->firmware == BOOT_DIRECT) {
        add(a, "-kernel", b->kernel);
        if (b->ramdisk[0])
            add(a, "-initrd", b->ramdisk);
        if (b->args[0])
            add(a, "-append", b->args);
    }
    add(a, "-boot", "strict=on");
}

/* One SMBIOS table: `fields` are name, value in turn; nothing is said when all are empty. */
static void add_smbios(struct args *a, unsigned type, const char *const *fields, size_t n)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, SMBIOS_MAX);
    for (size_t i = 0; i < n; i += 2) {
        _cleanup_(freep) char *value = quoted(fields[i + 1]);
        if (*value)
            buf_printf(&out, ",%s=%s", fields[i], value);
    }
    if (out.size)
        addf(a, "-smbios", "type=%u%s", type, buf_str(&out));
}

static void add_bios_strings(struct args *a, const struct boot *b)
{
    const char *bios[] = {"vendor", b->bios_vendor, "version", b->bios_version};
    const char *sys[] = {"manufacturer", b->system_manufacturer, "product", b->system_product,
                         "version",      b->system_version,      "serial",  b->system_serial};
    const char *board[] = {"manufacturer", b->board_manufacturer, "product",  b->board_product,
                           "version",      b->board_version,      "serial",   b->board_serial,
                           "asset",        b->board_asset,        "location", b->board_location};
    const char *chassis[] = {"asset", b->chassis_asset};
    add_smbios(a, 0, bios, ARRAY_LEN(bios));
    add_smbios(a, 1, sys, ARRAY_LEN(sys));
    add_smbios(a, 2, board, ARRAY_LEN(board));
    add_smbios(a, 3, chassis, ARRAY_LEN(chassis));
}

static void add_channel(struct args *a, const struct qemu_paths *p, const char *id)
{
    _cleanup_(freep) char *name = mem_printf("%s.sock", id);
    _cleanup_(freep) char *path = socket_path(p->dir, name);
    addf(a, "-chardev", "socket,id=%s,path=%s,server=on,wait=off", id, path);
}

static void add_control(struct args *a, const struct qemu_paths *p)
{
    add_channel(a, p, "qmp");
    add(a, "-mon", "chardev=qmp,mode=control");
    add_channel(a, p, "serial");
    add(a, "-device", "isa-serial,chardev=serial,index=0");
    add_channel(a, p, "agent");
    add(a, "-device", "virtio-serial-pci,id=vser,bus=pcie.0,addr=03.0");
    add(a, "-device",
        "virtserialport,id=agentport,bus=vser.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0");
    add(a, "-object", "rng-random,id=rng,filename=/dev/urandom");
    add(a, "-device", "virtio-rng-pci,rng=rng,bus=pcie.0,addr=04.0");
    _cleanup_(freep) char *pid = mem_printf("%s/pid", p->dir);
    add(a, "-pidfile", pid);
}

static void add_display(struct args *a, const struct boot *b, const struct qemu_paths *p)
{
    if (!b->vnc) {
        add(a, "-display", "none");
        return;
    }
    _cleanup_(freep) char *path = socket_path(p->dir, "vnc.sock");
    addf(a, "-vnc", "unix:%s", path);
    if (b->keymap[0])
        add(a, "-k", b->keymap);
    add(a, "-device", "VGA,id=vga,bus=pcie.0,addr=01.0,vgamem_mb=16");
    add(a, "-device", "qemu-xhci,id=usb,bus=pcie.0,addr=02.0");
    add(a, "-device", "usb-tablet,bus=usb.0");
}

static void add_root_port(struct args *a, const char *id, unsigned chassis, unsigned slot,
                          unsigned function)
{
    addf(a, "-device", "pcie-root-port,id=%s,bus=pcie.0,chassis=%u,addr=%02x.%u%s,io-reserve=0", id,
         chassis, slot, function, function == 0 ? ",multifunction=on" : "");
}

/* Chassis numbers: 1 to 16 disks, 17 to 23 NICs, 24 to 31 bridges. */
static void add_ports(struct args *a, const struct boot *b)
{
    for (unsigned n = 0; n < BOOT_NICS; n++) {
        char id[16];
        snprintf(id, sizeof(id), "np%u", n);
        add_root_port(a, id, 17 + n, NIC_SLOT, n);
    }
    for (unsigned n = 0; n < BOOT_DISKS; n++) {
        char id[16];
        snprintf(id, sizeof(id), "dp%u", n);
        add_root_port(a, id, 1 + n, DISK_SLOT + n / PORTS_PER_SLOT, n % PORTS_PER_SLOT);
    }
    unsigned bridges = 0;
    for (size_t i = 0; i < b->n_disks; i++)
        if (!is_ahci(&b->disks[i]) && b->disks[i].device >= BOOT_DISKS)
            bridges = (b->disks[i].device - BOOT_DISKS) / DISKS_PER_BRIDGE + 1;
    for (unsigned n = 0; n < bridges; n++) {
        char id[16];
        snprintf(id, sizeof(id), "bp%u", n);
        add_root_port(a, id, 24 + n, BRIDGE_SLOT, n);
        addf(a, "-device", "pcie-pci-bridge,id=db%u,bus=bp%u,addr=00.0", n, n);
    }
}

/* The controllers that have a device, and function 0 of each slot that has one. */
static void add_ahci(struct args *a, const struct boot *b)
{
    bool used[AHCI_CONTROLLERS] = {false};
    for (size_t i = 0; i < b->n_disks; i++) {
        if (!is_ahci(&b->disks[i]))
            continue;
        unsigned k = b->disks[i].device / QEMU_AHCI_PORTS;
        used[k] = true;
        if (k)
            used[(k - 1) / PORTS_PER_SLOT * PORTS_PER_SLOT + 1] = true;
    }
    for (unsigned k = 1; k < AHCI_CONTROLLERS; k++) {
        unsigned function = (k - 1) % PORTS_PER_SLOT;
        if (used[k])
            addf(a, "-device", "ich9-ahci,id=ahci%u,bus=pcie.0,addr=%02x.%u%s", k,
                 AHCI_SLOT + (k - 1) / PORTS_PER_SLOT, function,
                 function == 0 ? ",multifunction=on" : "");
    }
}

static char *disk_socket(const struct qemu_paths *p, unsigned device, const char *kind)
{
    _cleanup_(freep) char *name = mem_printf("%u.%s", device, kind);
    return socket_path(p->disk_dir, name);
}

static void add_virtio_disk(struct args *a, const struct boot *b, const struct qemu_paths *p,
                            const struct boot_disk *d)
{
    char index[24];
    put_boot_index(index, b, 'c', d->device, d->bootable);
    _cleanup_(freep) char *path = disk_socket(p, d->device, "vu");
    _cleanup_(freep) char *bus = qemu_disk_bus(d->device);
    addf(a, "-chardev", "socket,id=vu%u,path=%s,reconnect=1", d->device, path);
    addf(a, "-device",
         "vhost-user-blk-pci,id=disk%u,chardev=vu%u,num-queues=%u,bus=%s,addr=%02x.0%s%s",
         d->device, d->device, qemu_disk_queues(b), bus, qemu_disk_slot(d->device),
         d->device < BOOT_DISKS ? "" : ",disable-legacy=on", index);
}

static void add_ahci_disk(struct args *a, const struct boot *b, const struct qemu_paths *p,
                          const struct boot_disk *d)
{
    char index[24], bus[24], serial[21];
    put_boot_index(index, b, d->cd ? 'd' : 'c', d->device, d->bootable);
    unsigned k = d->device / QEMU_AHCI_PORTS, port = d->device % QEMU_AHCI_PORTS;
    if (k)
        snprintf(bus, sizeof(bus), "ahci%u.%u", k, port);
    else
        snprintf(bus, sizeof(bus), "ide.%u", port);
    _cleanup_(freep) char *path = disk_socket(p, d->device, "nbd");
    bool medium = d->image.path[0] != '\0';
    if (medium)
        addf(a, "-blockdev",
             "driver=nbd,node-name=node%u,server.type=unix,server.path=%s,reconnect-delay=3600,"
             "discard=unmap,read-only=%s",
             d->device, path, d->cd || d->image.readonly ? "on" : "off");
    qemu_serial(&d->image, serial);
    if (d->cd && medium)
        addf(a, "-device", "ide-cd,id=disk%u,bus=%s,drive=node%u%s", d->device, bus, d->device,
             index);
    else if (d->cd)
        addf(a, "-device", "ide-cd,id=disk%u,bus=%s%s", d->device, bus, index);
    else
        addf(a, "-device",
             "ide-hd,id=disk%u,bus=%s,drive=node%u,serial=%s,werror=enospc,rerror=enospc%s",
             d->device, bus, d->device, serial, index);
}

static void add_nic(struct args *a, const struct boot *b, const struct boot_nic *n)
{
    char index[24], mtu[24] = "";
    put_boot_index(index, b, 'n', n->device, false);
    if (n->bus == BOOT_VIRTIO && n->mtu && n->mtu != 1500)
        snprintf(mtu, sizeof(mtu), ",host_mtu=%lld", (long long)n->mtu);
    if (n->tap[0])
        addf(a, "-netdev", "tap,id=net%u,ifname=%s,script=no,downscript=no,vnet_hdr=off", n->device,
             n->tap);
    else
        addf(a, "-netdev", "hubport,id=net%u,hubid=%u", n->device, n->device);
    addf(a, "-device", "%s,id=nic%u,netdev=net%u,mac=%s,bus=np%u,addr=00.0%s%s",
         n->bus == BOOT_EMULATED ? "e1000e" : "virtio-net-pci", n->device, n->device, n->mac,
         n->device, mtu, index);
}

char **qemu_argv(const struct boot *b, const struct qemu_paths *p)
{
    struct args a = {0};
    _cleanup_(freep) char *name = qemu_safe_name(b->name);
    add(&a, p->program, NULL);
    addf(&a, "-name", "guest=%s,debug-threads=on", name);
    add(&a, "-uuid", b->vm);
    add(&a, "-nodefaults", NULL);
    add(&a, "-no-user-config", NULL);
    add(&a, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    add(&a, "-msg", "timestamp=on");
    add_machine(&a, b);
    add_clock(&a, b, p);
    add_firmware(&a, b, p);
    add_bios_strings(&a, b);
    addf(&a, "-action", "reboot=%s,shutdown=poweroff,panic=shutdown",
         b->reboot_stops ? "shutdown" : "reset");
    add(&a, "-device", "pvpanic"); /* a port of the chipset: needs no slot */
    add_control(&a, p);
    if (b->balloon)
        add(&a, "-device", "virtio-balloon-pci,id=balloon,bus=pcie.0,addr=05.0");
    add_display(&a, b, p);
    add_ports(&a, b);
    add_ahci(&a, b);
    for (size_t i = 0; i < b->n_disks; i++) {
        if (is_ahci(&b->disks[i]))
            add_ahci_disk(&a, b, p, &b->disks[i]);
        else
            add_virtio_disk(&a, b, p, &b->disks[i]);
    }
    for (size_t i = 0; i < b->n_nics; i++)
        add_nic(&a, b, &b->nics[i]);
    add(&a, "-S", NULL);
    if (p->restore)
        add(&a, "-incoming", "defer");
    vec_push(&a.v, NULL);
    return a.v.v;
}

void qemu_argv_free(char **argv)
{
    for (char **s = argv; s && *s; s++)
        free(*s);
    free(argv);
}
