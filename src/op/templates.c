/*
 * templates.c: reads guest templates from their files and keeps the default templates' records.
 */
#include "op/templates.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/vec.h"

#define FILE_MAX (1 << 20)
#define SUFFIX   ".templates"

/* ---- one template ---- */

static void template_done(struct template *t)
{
    free(t->name);
    free(t->description);
    free(t->firmware);
    free(t->bus);
    free(t->order);
    free(t->distro);
    free(t->reference);
}

static char *dup(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

/* Everything of `from` but its name. */
static void inherit(struct template *t, const struct template *from)
{
    char *name = t->name;
    t->name = NULL;
    template_done(t);
    *t = *from;
    t->name = name;
    t->description = dup(from->description);
    t->firmware = dup(from->firmware);
    t->bus = dup(from->bus);
    t->order = dup(from->order);
    t->distro = dup(from->distro);
    t->reference = dup(from->reference);
    t->abstract = false;
}

void templates_done(struct templates *ts)
{
    for (size_t i = 0; i < ts->n; i++)
        template_done(&ts->v[i]);
    vec_done(ts);
}

static const struct template *find(const struct templates *ts, const char *name)
{
    for (size_t i = 0; i < ts->n; i++) {
        if (strcmp(ts->v[i].name, name) == 0)
            return &ts->v[i];
    }
    return NULL;
}

/* ---- parsing ---- */

static int set_text(char **slot, struct view value)
{
    free(*slot);
    *slot = view_dup(value);
    return 0;
}

static int set_flag(bool *slot, struct view value)
{
    *slot = view_eq(value, "true");
    return *slot || view_eq(value, "false") ? 0 : -1;
}

static int add_disk(struct template *t, struct view value)
{
    if (view_eq(value, "none")) {
        t->n_disks = 0;
        return 0;
    }
    if (t->n_disks == ARRAY_LEN(t->disks))
        return -1;
    return str_size(value, &t->disks[t->n_disks++]);
}

static int set_text_key(struct template *t, struct view key, struct view value, bool *ret_known)
{
    const struct {
        const char *key;
        char **slot;
    } texts[] = {{"description", &t->description},
                 {"firmware", &t->firmware},
                 {"bus", &t->bus},
                 {"order", &t->order},
                 {"distro", &t->distro},
                 {"reference", &t->reference}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (view_eq(key, texts[i].key))
            return set_text(texts[i].slot, value);
    }
    *ret_known = false;
    return 0;
}

static int set_number_key(struct template *t, struct view key, struct view value)
{
    if (view_eq(key, "memory"))
        return str_size(value, &t->memory_bytes);
    if (view_eq(key, "memory_min"))
        return str_size(value, &t->memory_min_bytes);
    if (view_eq(key, "max_memory"))
        return str_size(value, &t->max_memory_bytes);
    if (view_eq(key, "vcpus"))
        return str_i64(value, 1, 1024, &t->vcpus);
    if (view_eq(key, "max_vcpus"))
        return str_i64(value, 1, 1024, &t->max_vcpus);
    if (view_eq(key, "disk"))
        return add_disk(t, value);
    if (view_eq(key, "tpm"))
        return set_flag(&t->tpm, value);
    if (view_eq(key, "viridian"))
        return set_flag(&t->viridian, value);
    if (view_eq(key, "abstract"))
        return set_flag(&t->abstract, value);
    return -1;
}

static int set_key(struct templates *ts, struct view key, struct view value)
{
    struct template *t = &ts->v[ts->n - 1];
    bool known = true;
    if (view_eq(key, "from")) {
        _cleanup_(freep) char *name = view_dup(value);
        const struct template *from = find(ts, name);
        if (!from || from == t)
            return -1;
        inherit(t, from);
        return 0;
    }
    int rc = set_text_key(t, key, value, &known);
    return known ? rc : set_number_key(t, key, value);
}

static int parse_line(struct templates *ts, struct view line)
{
    struct view key;
    line = view_trim(line);
    if (line.size == 0 || line.p[0] == '#')
        return 0;
    if (line.p[0] == '[') {
        if (line.p[line.size - 1] != ']' || line.size < 3)
            return -1;
        struct template t = {.name = view_dup((struct view){line.p + 1, line.size - 2})};
        bool twice = find(ts, t.name) != NULL;
        vec_push(ts, t);
        return twice ? -1 : 0;
    }
    if (ts->n == 0 || !view_split(&line, '=', &key))
        return -1;
    return set_key(ts, view_trim(key), view_trim(line));
}

struct err *templates_parse(const char *file, const char *text, struct templates *ret)
{
    struct view rest = view_of(text), line;
    bool more = true;
    for (unsigned n = 1; more; n++) {
        more = view_split(&rest, '\n', &line);
        if (parse_line(ret, line) < 0)
            return err_internal("%s:%u: not understood: '%.*s'", file, n, (int)line.size, line.p);
    }
    return NULL;
}

static int is_template_file(const struct dirent *d)
{
    return str_ends(d->d_name, SUFFIX);
}

static struct err *read_file(const char *dir, const char *name, struct templates *ret)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, FILE_MAX);
    int rc = fd_read_file(path, FILE_MAX, &b);
    if (rc < 0)
        return err_errno(-rc, "cannot read '%s'", path);
    return templates_parse(path, buf_str(&b), ret);
}

struct err *templates_read(const char *dir, struct templates *ret)
{
    struct dirent **names = NULL;
    struct err *e = NULL;
    int n = scandir(dir, &names, is_template_file, alphasort);
    if (n < 0)
        return err_errno(errno, "cannot read '%s'", dir);
    for (int i = 0; i < n; i++) {
        if (!e)
            e = read_file(dir, names[i]->d_name, ret);
        free(names[i]);
    }
    free(names);
    return e;
}

/* ---- records ---- */

static struct val *disks_xml(const struct template *tp)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4096);
    buf_puts(&b, "<provision>");
    for (size_t i = 0; i < tp->n_disks; i++)
        buf_printf(&b, "<disk device=\"%zu\" size=\"%llu\" sr=\"\" bootable=\"%s\" type=\"%s\"/>",
                   i, (unsigned long long)tp->disks[i], i ? "false" : "true",
                   i ? "user" : "system");
    buf_puts(&b, "</provision>");
    return val_str(buf_str(&b));
}

static char *recommendations(const struct template *tp)
{
    uint64_t max_memory = tp->max_memory_bytes ? tp->max_memory_bytes : UINT64_C(1536) << 30;
    long long max_vcpus = tp->max_vcpus ? (long long)tp->max_vcpus : 32;
    return mem_printf("<restrictions>"
                      "<restriction field=\"memory-static-max\" max=\"%llu\"/>"
                      "<restriction field=\"vcpus-max\" max=\"%lld\"/>"
                      "<restriction property=\"number-of-vbds\" max=\"%d\"/>"
                      "<restriction property=\"number-of-vifs\" max=\"%d\"/>%s"
                      "</restrictions>",
                      (unsigned long long)max_memory, max_vcpus, BOOT_DISKS_MAX, BOOT_NICS,
                      str_eq(tp->firmware, "uefi")
                          ? "<restriction field=\"supports-bios\" value=\"no\"/>"
                            "<restriction field=\"supports-uefi\" value=\"yes\"/>"
                          : "");
}

static struct val *platform(const struct template *tp)
{
    struct val *p = val_map();
    val_put_str(p, "acpi", "1");
    val_put_str(p, "apic", "true");
    val_put_str(p, "nx", "true");
    val_put_str(p, "pae", "true");
    val_put_str(p, "viridian", tp->viridian ? "true" : "false");
    val_put_str(p, "device-bus", tp->bus ? tp->bus : "virtio");
    if (str_eq(tp->firmware, "uefi"))
        val_put_str(p, "secureboot", "auto");
    if (tp->tpm)
        val_put_str(p, "vtpm", "true");
    return p;
}

static struct val *other_config(const struct template *tp)
{
    struct val *oc = val_map();
    val_put_str(oc, "default_template", "true");
    val_put_str(oc, "install-methods", "cdrom");
    val_put_str(oc, "base_template_name", tp->name);
    if (tp->distro)
        val_put_str(oc, "install-distro", tp->distro);
    if (tp->n_disks)
        val_put(oc, "disks", disks_xml(tp));
    return oc;
}

static void fill(struct rec_VM *vm, const struct template *tp)
{
    int64_t memory = (int64_t)(tp->memory_bytes ? tp->memory_bytes : 512 * MIB);
    int64_t least = (int64_t)(tp->memory_min_bytes ? tp->memory_min_bytes : 128 * MIB);
    struct val *boot = val_map();
    val_put_str(boot, "order", tp->order ? tp->order : "cdn");
    val_put_str(boot, "firmware", tp->firmware ? tp->firmware : "bios");
    rstr_set(&vm->name_description, tp->description ? tp->description : "");
    vm->is_a_template = true;
    vm->is_default_template = true;
    vm->memory_static_min = least < memory ? least : memory;
    vm->memory_static_max = vm->memory_dynamic_max = vm->memory_dynamic_min = memory;
    vm->VCPUs_max = vm->VCPUs_at_startup = tp->vcpus ? tp->vcpus : 1;
    vm->actions_after_shutdown = ON_NORMAL_EXIT_DESTROY;
    vm->actions_after_reboot = ON_NORMAL_EXIT_RESTART;
    vm->actions_after_crash = ON_CRASH_BEHAVIOUR_RESTART;
    vm->domain_type = DOMAIN_TYPE_HVM;
    vm->domid = -1;
    rstr_set(&vm->HVM_boot_policy, BIOS_ORDER);
    val_assign(&vm->HVM_boot_params, boot);
    val_assign(&vm->platform, platform(tp));
    _cleanup_(freep) char *rec = recommendations(tp);
    rstr_set(&vm->recommendations, rec);
    if (tp->reference)
        rstr_set(&vm->reference_label, tp->reference);
}

static bool has_cd(struct txn *t, const struct rec_VM *vm)
{
    bool found = false;
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = txn_VBD(t, ref);
        found = found || (vbd && vbd->type == VBD_TYPE_CD);
    }
    return found;
}

static const struct rec_VM *existing(struct txn *t, const char *name)
{
    _cleanup_(val_unrefp) struct val *refs = snap_by_name(txn_snap(t), CLASS_VM, name);
    const struct rec_VM *found = NULL;
    val_each (ref, refs) {
        const struct rec_VM *vm = txn_VM(t, ref);
        if (vm && vm->is_default_template)
            found = vm;
    }
    return found;
}

void template_put(struct txn *t, const struct template *tp)
{
    if (tp->abstract)
        return;
    const struct rec_VM *old = existing(t, tp->name);
    struct rec_VM *vm = old ? txn_edit_VM(t, old->row.ref) : txn_add_VM(t);
    rstr_set(&vm->name_label, tp->name);
    fill(vm, tp);
    struct val *oc = other_config(tp);
    const char *seed = val_map_str(vm->other_config, "mac_seed", NULL);
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    val_put_str(oc, "mac_seed", seed ? seed : uuid);
    val_assign(&vm->other_config, oc);
    if (old && has_cd(t, vm))
        return;
    struct rec_VBD *cd = txn_add_VBD(t);
    rstr_set(&cd->VM, vm->row.ref);
    rstr_set(&cd->userdevice, "3");
    rstr_set(&cd->device, "xvdd");
    cd->type = VBD_TYPE_CD;
    cd->mode = VBD_MODE_RO;
    cd->empty = true;
}
