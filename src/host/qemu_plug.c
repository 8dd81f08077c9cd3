/*
 * qemu_plug.c: devices that come and go while the guest runs.
 *
 * Part of the QEMU back end, called on operation threads. A virtio disk goes into the root port
 * that its number names (qemu_argv.h); devices on AHCI cannot be plugged, which QEMU does not know
 * how to, but the medium of a CD drive can be changed. The guest must let a device go: without its
 * consent before the deadline the verb fails with DEVICE_DETACH_TIMEOUT and nothing has changed.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "gen/error.h"
#include "host/qemu_argv.h"
#include "host/qemu_vm.h"

#define DETACH_WAIT (30 * USEC_PER_SEC)

static struct val *one(const char *key, const char *value)
{
    struct val *v = val_map();
    val_put_str(v, key, value);
    return v;
}

static char *name(const char *prefix, unsigned device)
{
    return mem_printf("%s%u", prefix, device);
}

static bool is_ahci(const struct boot_disk *d)
{
    return d->cd || d->bus == BOOT_EMULATED;
}

/* Deletes something that may not be there; what QEMU says to that is no error. */
static void try_delete(struct guest *g, const struct verb *v, const char *command, const char *key,
                       const char *id)
{
    err_free(guest_qmp(g, v, command, one(key, id), NULL));
}

static bool was_deleted(const struct guest *g, const void *arg)
{
    for (size_t i = 0; i < g->deleted.n; i++)
        if (str_eq(g->deleted.v[i], arg))
            return true;
    return false;
}

static void forget_deleted(struct guest *g, const char *id)
{
    pthread_mutex_lock(&g->qemu->lock);
    for (size_t i = g->deleted.n; i > 0; i--) {
        if (!str_eq(g->deleted.v[i - 1], id))
            continue;
        free(g->deleted.v[i - 1]);
        vec_remove(&g->deleted, i - 1);
    }
    pthread_mutex_unlock(&g->qemu->lock);
}

/* --- disks --- */

static struct val *chardev_args(const char *id, const char *path)
{
    struct val *args = one("id", id), *backend = val_map(), *data = val_map(), *addr = val_map();
    struct val *where = one("path", path);
    val_put_str(addr, "type", "unix");
    val_put(addr, "data", where);
    val_put(data, "addr", addr);
    val_put_bool(data, "server", false);
    val_put_int(data, "reconnect", 1);
    val_put_str(backend, "type", "socket");
    val_put(backend, "data", data);
    val_put(args, "backend", backend);
    return args;
}

static struct val *disk_args(const struct boot *b, const struct boot_disk *d, const char *id,
                             const char *chardev)
{
    struct val *args = val_map();
    _cleanup_(freep) char *bus = qemu_disk_bus(d->device);
    char addr[8];
    snprintf(addr, sizeof(addr), "%02x.0", qemu_disk_slot(d->device));
    val_put_str(args, "driver", "vhost-user-blk-pci");
    val_put_str(args, "id", id);
    val_put_str(args, "chardev", chardev);
    val_put_int(args, "num-queues", qemu_disk_queues(b));
    val_put_str(args, "bus", bus);
    val_put_str(args, "addr", addr);
    if (d->device >= BOOT_DISKS)
        val_put_bool(args, "disable-legacy", true);
    return args;
}

struct err *qemu_plug_disk(void *hv, const struct verb *v, const char *vm,
                           const struct boot_disk *d)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    if (is_ahci(d))
        return err_OPERATION_NOT_ALLOWED(
            "A CD drive or disk on the emulated bus cannot be plugged while the VM runs");
    if (d->device >= BOOT_DISKS)
        return err_OPERATION_NOT_ALLOWED(
            "Devices with number 16 and up cannot be plugged while the VM runs");
    const struct boot_disk *now = boot_disk(g->boot, d->device);
    if (now && str_eq(now->id, d->id))
        return NULL; /* it never left */
    if (now)
        return err_internal("guest '%s' has a disk %u already", vm, d->device);
    _cleanup_(freep) char *id = name("disk", d->device);
    forget_deleted(g, id);
    _cleanup_(freep) char *chardev = name("vu", d->device);
    _cleanup_(freep) char *path = host_disk_path(g->qemu->host, vm, d->device, "vu");
    TRY(guest_qmp(g, v, "chardev-add", chardev_args(chardev, path), NULL));
    struct err *e = guest_qmp(g, v, "device_add", disk_args(g->boot, d, id, chardev), NULL);
    if (e) {
        try_delete(g, v, "chardev-remove", "id", chardev);
        return e;
    }
    pthread_mutex_lock(&g->qemu->lock);
    boot_set_disk(g->boot, d);
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

static void count_waiting(struct guest *g, int more)
{
    pthread_mutex_lock(&g->qemu->lock);
    g->unplugging += (unsigned)more;
    pthread_mutex_unlock(&g->qemu->lock);
}

/* A guest that was asked before and took no notice may still be at it, or have let go by now. */
static struct err *ask_to_release(struct guest *g, const struct verb *v, const char *id)
{
    pthread_mutex_lock(&g->qemu->lock);
    bool gone = was_deleted(g, id);
    pthread_mutex_unlock(&g->qemu->lock);
    struct err *e = gone ? NULL : guest_qmp(g, v, "device_del", one("id", id), NULL);
    bool asked = e && strstr(err_param(e, 0), "in the process of unplug");
    if (!asked)
        return e;
    err_free(e);
    return NULL;
}

static struct err *unplug_device(struct guest *g, const struct verb *v, const char *id,
                                 const char *type, const char *uuid)
{
    struct verb late = *v;
    usec_t most = clock_now() + DETACH_WAIT;
    late.deadline = verb_deadline(v) < most ? verb_deadline(v) : most;
    count_waiting(g, 1);
    struct err *e = ask_to_release(g, v, id);
    if (!e)
        e = guest_wait(g, &late, "unplugging", was_deleted, id);
    count_waiting(g, -1);
    if (!e)
        forget_deleted(g, id);
    if (!e || err_is(e, "TASK_CANCELLED") || guest_state(g) == GUEST_ABSENT)
        return e;
    err_free(e);
    return err_DEVICE_DETACH_TIMEOUT(type, uuid);
}

struct err *qemu_unplug_disk(void *hv, const struct verb *v, const char *vm, unsigned device,
                             bool force)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    const struct boot_disk *d = boot_disk(g->boot, device);
    if (!d)
        return NULL;
    if (is_ahci(d))
        return err_OPERATION_NOT_ALLOWED(
            "A CD drive or disk on the emulated bus cannot be unplugged while the VM runs");
    _cleanup_(freep) char *id = name("disk", device);
    _cleanup_(freep) char *chardev = name("vu", device);
    TRY(unplug_device(g, v, id, "VBD", d->id));
    try_delete(g, v, "chardev-remove", "id", chardev);
    pthread_mutex_lock(&g->qemu->lock);
    boot_del_disk(g->boot, device);
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

/* --- CDs --- */

static struct val *medium_args(const char *node, const char *path)
{
    struct val *args = val_map(), *server = one("type", "unix");
    val_put_str(server, "path", path);
    val_put_str(args, "driver", "nbd");
    val_put_str(args, "node-name", node);
    val_put(args, "server", server);
    val_put_int(args, "reconnect-delay", 3600);
    val_put_bool(args, "read-only", true);
    return args;
}

static struct err *drive(struct guest *g, unsigned device, struct boot_disk **ret)
{
    *ret = boot_disk(g->boot, device);
    if (!*ret || !(*ret)->cd)
        return err_internal("guest '%s' has no CD drive %u", g->vm, device);
    return NULL;
}

struct err *qemu_insert_cd(void *hv, const struct verb *v, const char *vm,
                           const struct boot_disk *d)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    struct boot_disk *now = NULL;
    TRY(guest_get(hv, vm, &g));
    TRY(drive(g, d->device, &now));
    if (str_eq(now->image.path, d->image.path))
        return NULL; /* it never left */
    if (now->image.path[0])
        return err_internal("CD drive %u of guest '%s' is not empty", d->device, vm);
    _cleanup_(freep) char *id = name("disk", d->device);
    _cleanup_(freep) char *node = name("node", d->device);
    _cleanup_(freep) char *path = host_disk_path(g->qemu->host, vm, d->device, "nbd");
    TRY(guest_qmp(g, v, "blockdev-add", medium_args(node, path), NULL));
    struct val *open = one("id", id), *insert = one("id", id);
    val_put_bool(open, "force", true);
    val_put_str(insert, "node-name", node);
    struct err *e = guest_qmp(g, v, "blockdev-open-tray", open, NULL);
    if (e)
        val_unref(insert);
    else
        e = guest_qmp(g, v, "blockdev-insert-medium", insert, NULL);
    if (e) {
        try_delete(g, v, "blockdev-del", "node-name", node);
        return e;
    }
    TRY(guest_qmp(g, v, "blockdev-close-tray", one("id", id), NULL));
    pthread_mutex_lock(&g->qemu->lock);
    boot_set_disk(g->boot, d);
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

struct err *qemu_eject_cd(void *hv, const struct verb *v, const char *vm, unsigned device)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    struct boot_disk *now = NULL;
    TRY(guest_get(hv, vm, &g));
    TRY(drive(g, device, &now));
    _cleanup_(freep) char *id = name("disk", device);
    _cleanup_(freep) char *node = name("node", device);
    struct val *open = one("id", id);
    val_put_bool(open, "force", true);
    TRY(guest_qmp(g, v, "blockdev-open-tray", open, NULL));
    TRY(guest_qmp(g, v, "blockdev-remove-medium", one("id", id), NULL));
    TRY(guest_qmp(g, v, "blockdev-close-tray", one("id", id), NULL));
    try_delete(g, v, "blockdev-del", "node-name", node);
    pthread_mutex_lock(&g->qemu->lock);
    now->image.path[0] = '\0';
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

/* --- NICs --- */

static struct val *netdev_args(const struct boot_nic *n, const char *id)
{
    struct val *args = one("id", id);
    if (n->tap[0]) {
        val_put_str(args, "type", "tap");
        val_put_str(args, "ifname", n->tap);
        val_put_str(args, "script", "no");
        val_put_str(args, "downscript", "no");
        val_put_bool(args, "vnet_hdr", false);
    } else {
        val_put_str(args, "type", "hubport");
        val_put_int(args, "hubid", n->device);
    }
    return args;
}

static struct val *nic_args(const struct boot_nic *n, const char *id, const char *netdev)
{
    struct val *args = one("id", id);
    _cleanup_(freep) char *bus = qemu_nic_bus(n->device);
    bool virtio = n->bus == BOOT_VIRTIO;
    val_put_str(args, "driver", virtio ? "virtio-net-pci" : "e1000e");
    val_put_str(args, "netdev", netdev);
    val_put_str(args, "mac", n->mac);
    val_put_str(args, "bus", bus);
    val_put_str(args, "addr", "00.0");
    if (virtio && n->mtu && n->mtu != 1500)
        val_put_int(args, "host_mtu", n->mtu);
    return args;
}

static struct err *set_link(struct guest *g, const struct verb *v, const struct boot_nic *n)
{
    _cleanup_(freep) char *id = name("nic", n->device);
    struct val *args = one("name", id);
    val_put_bool(args, "up", n->tap[0] != '\0');
    return guest_qmp(g, v, "set_link", args, NULL);
}

struct err *qemu_set_links(struct guest *g, const struct verb *v)
{
    for (size_t i = 0; i < g->boot->n_nics; i++)
        TRY(set_link(g, v, &g->boot->nics[i]));
    return NULL;
}

struct err *qemu_plug_nic(void *hv, const struct verb *v, const char *vm, const struct boot_nic *n)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    const struct boot_nic *now = boot_nic(g->boot, n->device);
    if (now && str_eq(now->id, n->id))
        return NULL; /* it never left */
    if (now)
        return err_internal("guest '%s' has a NIC %u already", vm, n->device);
    _cleanup_(freep) char *id = name("nic", n->device);
    forget_deleted(g, id);
    _cleanup_(freep) char *netdev = name("net", n->device);
    TRY(guest_qmp(g, v, "netdev_add", netdev_args(n, netdev), NULL));
    struct err *e = guest_qmp(g, v, "device_add", nic_args(n, id, netdev), NULL);
    if (!e)
        e = set_link(g, v, n);
    if (e) {
        try_delete(g, v, "netdev_del", "id", netdev);
        return e;
    }
    pthread_mutex_lock(&g->qemu->lock);
    boot_set_nic(g->boot, n);
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

struct err *qemu_unplug_nic(void *hv, const struct verb *v, const char *vm, unsigned device,
                            bool force)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    const struct boot_nic *n = boot_nic(g->boot, device);
    if (!n)
        return NULL;
    _cleanup_(freep) char *id = name("nic", device);
    _cleanup_(freep) char *netdev = name("net", device);
    TRY(unplug_device(g, v, id, "VIF", n->id));
    try_delete(g, v, "netdev_del", "id", netdev);
    pthread_mutex_lock(&g->qemu->lock);
    boot_del_nic(g->boot, device);
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}
