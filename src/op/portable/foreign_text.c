/* foreign_text.c: the description of a machine that came without one; see foreign.h. Any thread. */
#include <stdio.h>

#include "op/portable/foreign.h"

#define MEMORY_USUAL (2ull << 30) /* as templates of Linux have it */
#define MEMORY_LEAST (16ull << 20)

static struct val *object(struct val *objects, const char *cls, const char *id)
{
    struct val *o = val_map(), *rec = val_map();
    val_put_str(o, "class", cls);
    val_put_str(o, "id", id);
    val_put(o, "snapshot", rec);
    val_add(objects, o);
    return rec;
}

static void put_number(struct val *rec, const char *name, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    val_put_str(rec, name, text);
}

static void add_machine(struct val *objects, const struct ova_vm *vm)
{
    static const char *const memory[] = {"memory_static_max", "memory_dynamic_max",
                                         "memory_dynamic_min", "memory_static_min"};
    struct val *rec = object(objects, "VM", "vm"), *boot = val_map();
    uint64_t bytes = vm->memory ? vm->memory : MEMORY_USUAL;
    val_put_str(rec, "name_label", vm->name);
    val_put_str(rec, "name_description", vm->description);
    val_put_str(rec, "power_state", "Halted");
    for (size_t i = 0; i < ARRAY_LEN(memory); i++)
        put_number(rec, memory[i], bytes < MEMORY_LEAST ? MEMORY_LEAST : bytes);
    put_number(rec, "VCPUs_max", vm->cpus ? vm->cpus : 1);
    put_number(rec, "VCPUs_at_startup", vm->cpus ? vm->cpus : 1);
    val_put_str(rec, "actions_after_shutdown", "destroy");
    val_put_str(rec, "actions_after_reboot", "restart");
    val_put_str(rec, "actions_after_crash", "restart");
    val_put_str(rec, "HVM_boot_policy", "BIOS order");
    val_put_str(boot, "order", "cd");
    val_put_str(boot, "firmware", vm->is_uefi ? "uefi" : "bios");
    val_put(rec, "HVM_boot_params", boot);
    val_put_str(rec, "domain_type", "hvm");
}

static void add_disk(struct val *objects, const struct ova_vm *vm, size_t i)
{
    char id[32], name[32];
    snprintf(id, sizeof(id), "disk:%zu", i);
    snprintf(name, sizeof(name), " %zu", i);
    struct val *disk = object(objects, "VDI", id);
    _cleanup_(freep) char *label = mem_printf("%s%s", vm->name, i ? name : "");
    val_put_str(disk, "name_label", label);
    val_put_str(disk, "type", "user");
    put_number(disk, "virtual_size", vm->sizes[i]);
    snprintf(name, sizeof(name), "drive:%zu", i);
    struct val *drive = object(objects, "VBD", name);
    val_put_str(drive, "VM", "vm");
    val_put_str(drive, "VDI", id);
    put_number(drive, "userdevice", i < 3 ? i : i + 1); /* 3 is where people expect the CD */
    val_put_bool(drive, "bootable", i == 0);
    val_put_str(drive, "mode", "RW");
    val_put_str(drive, "type", "Disk");
    val_put_bool(drive, "unpluggable", true);
}

static void add_cd(struct val *objects)
{
    struct val *drive = object(objects, "VBD", "drive:cd");
    val_put_str(drive, "VM", "vm");
    val_put_str(drive, "userdevice", "3");
    val_put_str(drive, "mode", "RO");
    val_put_str(drive, "type", "CD");
    val_put_bool(drive, "unpluggable", true);
}

static void add_nic(struct val *objects, const struct ovf_nic *nic, size_t i)
{
    char id[32], network[32];
    snprintf(id, sizeof(id), "nic:%zu", i);
    snprintf(network, sizeof(network), "network:%zu", i);
    val_put_str(object(objects, "network", network), "name_label", nic->network);
    struct val *rec = object(objects, "VIF", id);
    val_put_str(rec, "VM", "vm");
    val_put_str(rec, "network", network);
    put_number(rec, "device", i);
    val_put_str(rec, "MAC", nic->mac);
    val_put_str(rec, "MTU", "1500");
    val_put_str(rec, "locking_mode", "network_default");
}

struct val *foreign_document(const struct ova_vm *vm)
{
    struct val *doc = val_map(), *version = val_map(), *objects = val_set();
    val_put_str(version, "export_vsn", "2");
    val_put_str(version, "xapi_major", "2");
    val_put(doc, "version", version);
    add_machine(objects, vm);
    for (size_t i = 0; i < vm->n_disks; i++)
        add_disk(objects, vm, i);
    add_cd(objects);
    for (size_t i = 0; i < vm->n_nics; i++)
        add_nic(objects, &vm->nics[i], i);
    val_put(doc, "objects", objects);
    return doc;
}
