/*
 * boot.c: the boot record as a C struct and as JSON.
 *
 * Called by operations (which make and store records) and by the back ends (which keep a copy of
 * what each guest runs by). Members are described once, in the tables below; making, copying,
 * freeing, writing and reading walk them. Pure memory, any thread.
 */
#include "host/boot.h"

#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/val.h"
#include "codec/json.h"

#define BOOT_JSON_MAX (1U << 20)

enum member_kind { M_TEXT, M_BOOL, M_UNSIGNED, M_INT64, M_UINT64, M_CHOICE, M_IMAGE };

struct member {
    const char *name;
    size_t offset;
    enum member_kind kind;
    int64_t min, max;           /* numbers */
    const char *const *choices; /* M_CHOICE, NULL-terminated */
};

static const char *const firmwares[] = {"bios", "uefi", "direct", NULL};
static const char *const buses[] = {"virtio", "emulated", "transfer", NULL};

#define AT(type, member) #member, offsetof(type, member)

static const struct member image_members[] = {
    {AT(struct image, vdi), M_TEXT, 0, 0, NULL},
    {AT(struct image, path), M_TEXT, 0, 0, NULL},
    {AT(struct image, format), M_TEXT, 0, 0, NULL},
    {AT(struct image, size_bytes), M_UINT64, 0, INT64_MAX, NULL},
    {AT(struct image, readonly), M_BOOL, 0, 0, NULL},
    {AT(struct image, parents), M_TEXT, 0, 0, NULL},
    {AT(struct image, split), M_UINT64, 0, INT64_MAX, NULL},
    {AT(struct image, budget_bytes), M_UINT64, 0, INT64_MAX, NULL},
    {AT(struct image, budget_path), M_TEXT, 0, 0, NULL},
    {AT(struct image, uncached), M_BOOL, 0, 0, NULL},
    {AT(struct image, serial), M_TEXT, 0, 0, NULL},
    {AT(struct image, held), M_BOOL, 0, 0, NULL},
    {AT(struct image, copies), M_TEXT, 0, 0, NULL},
    {AT(struct image, quantum), M_UINT64, 0, INT64_MAX, NULL},
};
#define IMAGE_NEEDED 5u /* the others came later */

static const struct member disk_members[] = {
    {AT(struct boot_disk, id), M_TEXT, 0, 0, NULL},
    {AT(struct boot_disk, device), M_UNSIGNED, 0, BOOT_DISKS_MAX - 1, NULL},
    {AT(struct boot_disk, cd), M_BOOL, 0, 0, NULL},
    {AT(struct boot_disk, bus), M_CHOICE, 0, 0, buses},
    {AT(struct boot_disk, bootable), M_BOOL, 0, 0, NULL},
    {AT(struct boot_disk, image), M_IMAGE, 0, 0, NULL},
    {AT(struct boot_disk, limit_bytes), M_UINT64, 0, INT64_MAX, NULL},
    {AT(struct boot_disk, limit_ops), M_UINT64, 0, INT64_MAX, NULL},
};
#define DISK_NEEDED (ARRAY_LEN(disk_members) - 2) /* those that every version wrote */

static const struct member nic_members[] = {
    {AT(struct boot_nic, id), M_TEXT, 0, 0, NULL},
    {AT(struct boot_nic, device), M_UNSIGNED, 0, BOOT_NICS - 1, NULL},
    {AT(struct boot_nic, bus), M_CHOICE, 0, 0, buses},
    {AT(struct boot_nic, mac), M_TEXT, 0, 0, NULL},
    {AT(struct boot_nic, tap), M_TEXT, 0, 0, NULL},
    {AT(struct boot_nic, mtu), M_INT64, 0, 65535, NULL},
};

static const struct member boot_members[] = {
    {AT(struct boot, vm), M_TEXT, 0, 0, NULL},
    {AT(struct boot, name), M_TEXT, 0, 0, NULL},
    {AT(struct boot, domid), M_INT64, 0, INT64_MAX, NULL},
    {AT(struct boot, machine), M_TEXT, 0, 0, NULL},
    {AT(struct boot, accel), M_TEXT, 0, 0, NULL},
    {AT(struct boot, cpu), M_TEXT, 0, 0, NULL},
    {AT(struct boot, firmware), M_CHOICE, 0, 0, firmwares},
    {AT(struct boot, kernel), M_TEXT, 0, 0, NULL},
    {AT(struct boot, ramdisk), M_TEXT, 0, 0, NULL},
    {AT(struct boot, args), M_TEXT, 0, 0, NULL},
    {AT(struct boot, order), M_TEXT, 0, 0, NULL},
    {AT(struct boot, secure_boot), M_BOOL, 0, 0, NULL},
    {AT(struct boot, acpi), M_BOOL, 0, 0, NULL},
    {AT(struct boot, hyperv), M_BOOL, 0, 0, NULL},
    {AT(struct boot, reboot_stops), M_BOOL, 0, 0, NULL},
    {AT(struct boot, cpus), M_UNSIGNED, 1, 255, NULL},
    {AT(struct boot, cpus_max), M_UNSIGNED, 1, 255, NULL},
    {AT(struct boot, cores_per_socket), M_UNSIGNED, 1, 255, NULL},
    {AT(struct boot, memory_bytes), M_UINT64, 1 << 20, INT64_MAX, NULL},
    {AT(struct boot, rtc_offset_s), M_INT64, -(1LL << 40), 1LL << 40, NULL},
    {AT(struct boot, vnc), M_BOOL, 0, 0, NULL},
    {AT(struct boot, keymap), M_TEXT, 0, 0, NULL},
#define BOOT_MEMBERS_AT_FIRST 22 /* those above; a record may lack the ones below */
    {AT(struct boot, balloon), M_BOOL, 0, 0, NULL},
    {AT(struct boot, target_bytes), M_UINT64, 0, INT64_MAX, NULL},
    {AT(struct boot, bios_vendor), M_TEXT, 0, 0, NULL},
    {AT(struct boot, bios_version), M_TEXT, 0, 0, NULL},
    {AT(struct boot, system_manufacturer), M_TEXT, 0, 0, NULL},
    {AT(struct boot, system_product), M_TEXT, 0, 0, NULL},
    {AT(struct boot, system_version), M_TEXT, 0, 0, NULL},
    {AT(struct boot, system_serial), M_TEXT, 0, 0, NULL},
    {AT(struct boot, board_manufacturer), M_TEXT, 0, 0, NULL},
    {AT(struct boot, board_product), M_TEXT, 0, 0, NULL},
    {AT(struct boot, board_version), M_TEXT, 0, 0, NULL},
    {AT(struct boot, board_serial), M_TEXT, 0, 0, NULL},
    {AT(struct boot, board_asset), M_TEXT, 0, 0, NULL},
    {AT(struct boot, board_location), M_TEXT, 0, 0, NULL},
    {AT(struct boot, chassis_asset), M_TEXT, 0, 0, NULL},
    {AT(struct boot, cpu_mask), M_TEXT, 0, 0, NULL},
};

static void members_copy(const struct member *m, size_t n, const void *from, void *to);
static void members_done(const struct member *m, size_t n, void *p);
static struct val *members_to_val(const struct member *m, size_t n, const void *p);
static struct err *members_from_val(const struct member *m, size_t n, const struct val *v, void *p);
static struct err *some_from_val(const struct member *m, size_t n, size_t n_needed,
                                 const struct val *v, void *p);

#define WALK(table) (table), ARRAY_LEN(table)

struct boot *boot_new(const char *vm, const char *name)
{
    struct boot *b = mem_new(struct boot);
    struct boot blank = {.acpi = true,
                         .cpus = 1,
                         .cpus_max = 1,
                         .cores_per_socket = 1,
                         .vnc = true,
                         .balloon = true};
    members_copy(WALK(boot_members), &blank, b);
    free(b->vm);
    b->vm = mem_strdup(vm);
    free(b->name);
    b->name = mem_strdup(name);
    free(b->machine);
    b->machine = mem_strdup(BOOT_MACHINE);
    return b;
}

void boot_free(struct boot *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_disks; i++)
        members_done(WALK(disk_members), &b->disks[i]);
    for (size_t i = 0; i < b->n_nics; i++)
        members_done(WALK(nic_members), &b->nics[i]);
    free(b->disks);
    free(b->nics);
    members_done(WALK(boot_members), b);
    free(b);
}

struct boot *boot_copy(const struct boot *b)
{
    struct boot *c = mem_new(struct boot);
    members_copy(WALK(boot_members), b, c);
    for (size_t i = 0; i < b->n_disks; i++)
        boot_set_disk(c, &b->disks[i]);
    for (size_t i = 0; i < b->n_nics; i++)
        boot_set_nic(c, &b->nics[i]);
    return c;
}

void boot_set_disk(struct boot *b, const struct boot_disk *d)
{
    struct boot_disk copy;
    members_copy(WALK(disk_members), d, &copy);
    size_t i = 0;
    while (i < b->n_disks && b->disks[i].device < d->device)
        i++;
    if (i < b->n_disks && b->disks[i].device == d->device) {
        members_done(WALK(disk_members), &b->disks[i]);
    } else {
        b->disks = mem_realloc(b->disks, b->n_disks + 1, sizeof(*b->disks));
        memmove(&b->disks[i + 1], &b->disks[i], (b->n_disks - i) * sizeof(*b->disks));
        b->n_disks++;
    }
    b->disks[i] = copy;
}

void boot_set_nic(struct boot *b, const struct boot_nic *n)
{
    struct boot_nic copy;
    members_copy(WALK(nic_members), n, &copy);
    size_t i = 0;
    while (i < b->n_nics && b->nics[i].device < n->device)
        i++;
    if (i < b->n_nics && b->nics[i].device == n->device) {
        members_done(WALK(nic_members), &b->nics[i]);
    } else {
        b->nics = mem_realloc(b->nics, b->n_nics + 1, sizeof(*b->nics));
        memmove(&b->nics[i + 1], &b->nics[i], (b->n_nics - i) * sizeof(*b->nics));
        b->n_nics++;
    }
    b->nics[i] = copy;
}

void boot_del_disk(struct boot *b, unsigned device)
{
    struct boot_disk *d = boot_disk(b, device);
    if (!d)
        return;
    size_t i = (size_t)(d - b->disks);
    members_done(WALK(disk_members), d);
    memmove(d, d + 1, (b->n_disks - i - 1) * sizeof(*d));
    b->n_disks--;
}

void boot_del_nic(struct boot *b, unsigned device)
{
    struct boot_nic *n = boot_nic(b, device);
    if (!n)
        return;
    size_t i = (size_t)(n - b->nics);
    members_done(WALK(nic_members), n);
    memmove(n, n + 1, (b->n_nics - i - 1) * sizeof(*n));
    b->n_nics--;
}

struct boot_disk *boot_disk(const struct boot *b, unsigned device)
{
    for (size_t i = 0; i < b->n_disks; i++)
        if (b->disks[i].device == device)
            return &b->disks[i];
    return NULL;
}

struct boot_disk *boot_disk_by_id(const struct boot *b, const char *id)
{
    for (size_t i = 0; i < b->n_disks; i++)
        if (str_eq(b->disks[i].id, id))
            return &b->disks[i];
    return NULL;
}

struct boot_nic *boot_nic(const struct boot *b, unsigned device)
{
    for (size_t i = 0; i < b->n_nics; i++)
        if (b->nics[i].device == device)
            return &b->nics[i];
    return NULL;
}

struct boot_nic *boot_nic_by_id(const struct boot *b, const char *id)
{
    for (size_t i = 0; i < b->n_nics; i++)
        if (str_eq(b->nics[i].id, id))
            return &b->nics[i];
    return NULL;
}

struct boot_disk *boot_disk_copy(const struct boot_disk *d)
{
    struct boot_disk *c = mem_new(struct boot_disk);
    members_copy(WALK(disk_members), d, c);
    return c;
}

void boot_disk_free(struct boot_disk *d)
{
    if (!d)
        return;
    members_done(WALK(disk_members), d);
    free(d);
}

struct boot_nic *boot_nic_copy(const struct boot_nic *n)
{
    struct boot_nic *c = mem_new(struct boot_nic);
    members_copy(WALK(nic_members), n, c);
    return c;
}

void boot_nic_free(struct boot_nic *n)
{
    if (!n)
        return;
    members_done(WALK(nic_members), n);
    free(n);
}

void image_copy(const struct image *from, struct image *ret)
{
    members_copy(WALK(image_members), from, ret);
}

void image_done(struct image *image)
{
    members_done(WALK(image_members), image);
}

void image_move(struct image *image, const struct image *to)
{
    struct image moved;
    image_copy(to, &moved);
    free(moved.serial);
    moved.serial = mem_strdup(image_serial(image));
    moved.readonly = image->readonly;
    image_done(image);
    *image = moved;
}

char *boot_format(const struct boot *b)
{
    _cleanup_(val_unrefp) struct val *v = members_to_val(WALK(boot_members), b);
    struct val *disks = val_set(), *nics = val_set();
    for (size_t i = 0; i < b->n_disks; i++)
        val_add(disks, members_to_val(WALK(disk_members), &b->disks[i]));
    for (size_t i = 0; i < b->n_nics; i++)
        val_add(nics, members_to_val(WALK(nic_members), &b->nics[i]));
    val_put(v, "disks", disks);
    val_put(v, "nics", nics);
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, BOOT_JSON_MAX);
    json_put_val(&out, v);
    return buf_take(&out);
}

static struct err *parse_disks(const struct val *set, struct boot *b)
{
    if (!set || val_kind(set) != VAL_SET)
        return err_internal("boot record has no list of disks");
    for (size_t i = 0; i < val_count(set); i++) {
        struct boot_disk d = {0};
        struct err *e = some_from_val(WALK(disk_members), DISK_NEEDED, val_at(set, i), &d);
        if (!e && boot_disk(b, d.device))
            e = err_internal("boot record has two disks with device number %u", d.device);
        if (!e)
            boot_set_disk(b, &d);
        members_done(WALK(disk_members), &d);
        TRY(e);
    }
    return NULL;
}

static struct err *parse_nics(const struct val *set, struct boot *b)
{
    if (!set || val_kind(set) != VAL_SET)
        return err_internal("boot record has no list of network interfaces");
    for (size_t i = 0; i < val_count(set); i++) {
        struct boot_nic n = {0};
        struct err *e = members_from_val(WALK(nic_members), val_at(set, i), &n);
        if (!e && boot_nic(b, n.device))
            e = err_internal("boot record has two interfaces with device number %u", n.device);
        if (!e)
            boot_set_nic(b, &n);
        members_done(WALK(nic_members), &n);
        TRY(e);
    }
    return NULL;
}

struct err *boot_parse(const char *json, struct boot **ret)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    int r = json_parse(view_of(json), &v);
    if (r < 0)
        return err_errno(-r, "boot record is not JSON");
    if (val_kind(v) != VAL_MAP)
        return err_internal("boot record is not an object");
    _cleanup_(boot_freep) struct boot *b = mem_new(struct boot);
    const struct val *disks = val_map_get(v, "disks"), *nics = val_map_get(v, "nics");
    _cleanup_(val_unrefp) struct val *no_disks = val_without(v, "disks");
    _cleanup_(val_unrefp) struct val *rest = val_without(no_disks, "nics");
    TRY(some_from_val(WALK(boot_members), BOOT_MEMBERS_AT_FIRST, rest, b));
    TRY(parse_disks(disks, b));
    TRY(parse_nics(nics, b));
    TRY(boot_check(b));
    *ret = steal(&b);
    return NULL;
}

bool boot_mask_is_valid(const char *mask)
{
    struct view rest = view_of(mask), part;
    for (bool more = true; more;) {
        uint64_t cpu;
        more = view_split(&rest, ',', &part);
        if (str_u64(part, 0, BOOT_CPU_LAST, &cpu) < 0)
            return false;
    }
    return true;
}

static struct err *check_paths(const struct boot *b)
{
    if (b->firmware == BOOT_DIRECT && b->kernel[0] != '/')
        return err_internal("boot record names no kernel");
    for (size_t i = 0; i < b->n_disks; i++) {
        const struct boot_disk *d = &b->disks[i];
        if (!d->image.path[0] && !d->cd)
            return err_internal("disk %u has no image", d->device);
        if (d->image.path[0] && d->image.path[0] != '/' && !strstr(d->image.path, "://") &&
            !str_starts(d->image.path, "lv:"))
            return err_internal("path of disk %u is not absolute", d->device);
        if (d->image.path[0] && !d->image.size_bytes)
            return err_internal("image of disk %u has no size", d->device);
    }
    return NULL;
}

struct err *boot_check(const struct boot *b)
{
    if (!str_is_uuid(b->vm))
        return err_internal("boot record has no VM");
    if (b->cpus < 1 || b->cpus_max < b->cpus || b->cpus_max > 255 || !b->cores_per_socket)
        return err_internal("boot record asks for %u of %u CPUs", b->cpus, b->cpus_max);
    if (b->memory_bytes < 1 << 20)
        return err_internal("boot record asks for %llu bytes of memory",
                            (unsigned long long)b->memory_bytes);
    if (b->target_bytes > b->memory_bytes)
        return err_internal("boot record asks for more memory than there is");
    if (b->cpu_mask[0] && !boot_mask_is_valid(b->cpu_mask))
        return err_internal("'%s' is no list of CPUs", b->cpu_mask);
    if (b->order[strspn(b->order, "cdn")])
        return err_internal("boot order '%s' has other letters than c, d and n", b->order);
    return check_paths(b);
}

static void *slot(const struct member *m, const void *p)
{
    return (char *)(uintptr_t)p + m->offset;
}

static void member_copy(const struct member *m, const void *from, void *to)
{
    switch (m->kind) {
    case M_TEXT: {
        const char *s = *(char *const *)slot(m, from);
        *(char **)slot(m, to) = mem_strdup(s ? s : "");
        break;
    }
    case M_BOOL:
        *(bool *)slot(m, to) = *(bool *)slot(m, from);
        break;
    case M_UNSIGNED:
    case M_CHOICE:
        *(unsigned *)slot(m, to) = *(unsigned *)slot(m, from);
        break;
    case M_INT64:
    case M_UINT64:
        *(uint64_t *)slot(m, to) = *(uint64_t *)slot(m, from);
        break;
    case M_IMAGE:
        members_copy(WALK(image_members), slot(m, from), slot(m, to));
        break;
    }
}

static void members_copy(const struct member *m, size_t n, const void *from, void *to)
{
    for (size_t i = 0; i < n; i++)
        member_copy(&m[i], from, to);
}

static void members_done(const struct member *m, size_t n, void *p)
{
    for (size_t i = 0; i < n; i++) {
        if (m[i].kind == M_TEXT)
            freep(slot(&m[i], p));
        else if (m[i].kind == M_IMAGE)
            members_done(WALK(image_members), slot(&m[i], p));
    }
}

static struct val *member_to_val(const struct member *m, const void *p)
{
    switch (m->kind) {
    case M_TEXT:
        return val_str(*(char **)slot(m, p));
    case M_BOOL:
        return val_bool(*(bool *)slot(m, p));
    case M_UNSIGNED:
        return val_int(*(unsigned *)slot(m, p));
    case M_CHOICE:
        return val_str(m->choices[*(unsigned *)slot(m, p)]);
    case M_INT64:
    case M_UINT64:
        return val_int(*(int64_t *)slot(m, p));
    case M_IMAGE:
        return members_to_val(WALK(image_members), slot(m, p));
    }
    return val_str("");
}

static struct val *members_to_val(const struct member *m, size_t n, const void *p)
{
    struct val *v = val_map();
    for (size_t i = 0; i < n; i++)
        val_put(v, m[i].name, member_to_val(&m[i], p));
    return v;
}

static bool number_from_val(const struct member *m, const struct val *v, void *p)
{
    if (val_kind(v) != VAL_INT || val_get_int(v) < m->min || val_get_int(v) > m->max)
        return false;
    if (m->kind == M_UNSIGNED)
        *(unsigned *)slot(m, p) = (unsigned)val_get_int(v);
    else
        *(int64_t *)slot(m, p) = val_get_int(v);
    return true;
}

static bool choice_from_val(const struct member *m, const struct val *v, void *p)
{
    for (unsigned i = 0; val_kind(v) == VAL_STRING && m->choices[i]; i++) {
        if (str_eq(m->choices[i], val_get_str(v))) {
            *(unsigned *)slot(m, p) = i;
            return true;
        }
    }
    return false;
}

static struct err *member_from_val(const struct member *m, const struct val *v, void *p)
{
    bool fits = false;
    switch (m->kind) {
    case M_TEXT:
        fits = val_kind(v) == VAL_STRING;
        if (fits) {
            free(*(char **)slot(m, p));
            *(char **)slot(m, p) = mem_strdup(val_get_str(v));
        }
        break;
    case M_BOOL:
        fits = val_kind(v) == VAL_BOOL;
        if (fits)
            *(bool *)slot(m, p) = val_get_bool(v);
        break;
    case M_UNSIGNED:
    case M_INT64:
    case M_UINT64:
        fits = number_from_val(m, v, p);
        break;
    case M_CHOICE:
        fits = choice_from_val(m, v, p);
        break;
    case M_IMAGE:
        return some_from_val(WALK(image_members), IMAGE_NEEDED, v, slot(m, p));
    }
    return fits ? NULL : err_internal("boot record has a wrong value for '%s'", m->name);
}

/* The first n_needed members must be there, and no others than the n. What was read stays in `p`,
 * for members_done. */
static struct err *some_from_val(const struct member *m, size_t n, size_t n_needed,
                                 const struct val *v, void *p)
{
    size_t found = 0;
    if (val_kind(v) != VAL_MAP)
        return err_internal("boot record has a list where an object is expected");
    for (size_t i = 0; i < n; i++) {
        const struct val *item = val_map_get(v, m[i].name);
        if (!item && i < n_needed)
            return err_internal("boot record lacks '%s'", m[i].name);
        if (!item && m[i].kind == M_TEXT)
            *(char **)slot(&m[i], p) = mem_strdup("");
        if (!item)
            continue;
        TRY(member_from_val(&m[i], item, p));
        found++;
    }
    if (val_count(v) != found)
        return err_internal("boot record has unknown members");
    return NULL;
}

static struct err *members_from_val(const struct member *m, size_t n, const struct val *v, void *p)
{
    return some_from_val(m, n, n, v, p);
}
