/*
 * check.c: does everything agree? Looks at the records, at the simulated world and at the files of
 * the repository, and tells what one says and another does not.
 */
#include <dirent.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "codec/cbtlog.h"
#include "host/host_impl.h"
#include "lab.h"
#include "state/watch.h"
#include "task/claim.h"

static void check_claims(const struct snap *s, struct buf *out)
{
    for (unsigned cls = 0; cls < desc_n_classes; cls++) {
        const struct class_desc *c = desc_classes[cls];
        if (c->field_current < 0 || cls == CLASS_task)
            continue;
        snap_each (row, s, (int)cls) {
            _cleanup_(val_unrefp) struct val *v = row_get(row, &c->fields[c->field_current]);
            if (val_count(v) > 0)
                buf_printf(out, "%s %s is claimed for %s\n", c->name, row->ref, val_str_at(v, 0));
        }
    }
}

static void check_journal(const struct snap *s, struct buf *out)
{
    snap_each (row, s, CLASS_op)
        buf_printf(out, "journal: %s of %s is left\n", rec_op(row)->kind, rec_op(row)->object);
    snap_each (row, s, CLASS_task) {
        if (rec_task(row)->status == TASK_STATUS_TYPE_PENDING)
            buf_printf(out, "task %s is pending\n", rec_task(row)->name_label);
    }
}

static bool is_live(const struct rec_VM *vm)
{
    return !vm->is_control_domain &&
           (vm->power_state == VM_POWER_STATE_RUNNING || vm->power_state == VM_POWER_STATE_PAUSED);
}

/* ---- guests ---- */

static void check_guest(const struct snap *s, const struct guest_item *g, struct buf *out)
{
    const struct rec_VM *vm = snap_VM_by_uuid(s, g->vm);
    if (!vm || !is_live(vm)) {
        buf_printf(out, "guest %s is %s, its VM is not\n", g->vm, guest_state_name(g->info.state));
        return;
    }
    bool paused = vm->power_state == VM_POWER_STATE_PAUSED;
    if (paused != (g->info.state == GUEST_PAUSED))
        buf_printf(out, "guest %s is %s, its VM %s\n", g->vm, guest_state_name(g->info.state),
                   paused ? "paused" : "running");
    const struct rec_VM_metrics *m = snap_VM_metrics(s, vm->metrics);
    if (m && m->VCPUs_number != g->info.cpus)
        buf_printf(out, "guest %s has %u CPUs, its VM %lld\n", g->vm, g->info.cpus,
                   (long long)m->VCPUs_number);
    if (vm->memory_target != (int64_t)boot_target(g->boot))
        buf_printf(out, "guest %s shall use %llu bytes, its VM says %lld\n", g->vm,
                   (unsigned long long)boot_target(g->boot), (long long)vm->memory_target);
    if (vm->domid != g->info.domid)
        buf_printf(out, "guest %s has domid %lld, its VM %lld\n", g->vm, (long long)g->info.domid,
                   (long long)vm->domid);
}

static void check_guests(struct lab *w, const struct snap *s, struct buf *out)
{
    struct guest_item *items = NULL;
    size_t n = 0, live = 0;
    err_free(host_list(w->host, &items, &n));
    for (size_t i = 0; i < n; i++)
        check_guest(s, &items[i], out);
    guest_items_free(items, n);
    snap_each (row, s, CLASS_VM)
        live += is_live(rec_VM(row));
    if (live != n)
        buf_printf(out, "%zu VMs are up, %zu guests are there\n", live, n);
}

static void check_disks(struct lab *w, const struct snap *s, struct buf *out)
{
    char **owners = NULL;
    size_t n = 0;
    err_free(host_disks_list(w->host, &owners, &n));
    for (size_t i = 0; i < n; i++) {
        const struct rec_VM *vm = snap_VM_by_uuid(s, owners[i]);
        if (!vm || !is_live(vm))
            buf_printf(out, "disks of %s are still attached\n", owners[i]);
        free(owners[i]);
    }
    free(owners);
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What a guest's disk is: in its VDI, in its boot record, and in its data path. */
static void check_disk(struct lab *w, const struct rec_VM *vm, const struct boot_disk *d,
                       const struct rec_VDI *vdi, struct buf *out)
{
    if (!str_eq(last_name(d->image.path), vdi->location) || !str_eq(d->image.vdi, vdi->uuid))
        buf_printf(out, "boot record of %s has %s as disk %u, not %s\n", vm->name_label,
                   d->image.path, d->device, vdi->location);
    _cleanup_(freep) char *served =
        w->host->disks->file_path(w->host->disks_data, vm->uuid, d->device);
    if (!str_eq(served ? served : "", d->image.path))
        buf_printf(out, "disk %u of %s is served from '%s', not '%s'\n", d->device, vm->name_label,
                   served ? served : "", d->image.path);
}

static void check_images(struct lab *w, const struct snap *s, const struct rec_VM *vm,
                         struct buf *out)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_boot *row = snap_boot_by_uuid(s, vm->uuid);
    struct err *e = row ? boot_parse(row->record, &b) : NULL;
    err_free(e);
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct rec_VDI *vdi = vbd ? snap_VDI(s, vbd->VDI) : NULL;
        const struct boot_disk *d = b && vdi ? boot_disk_by_id(b, vbd->uuid) : NULL;
        if (d && vbd->type == VBD_TYPE_DISK)
            check_disk(w, vm, d, vdi, out);
    }
}

/* ---- records around a VM ---- */

static void check_devices(const struct snap *s, const struct rec_VM *vm, struct buf *out)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (vbd && vbd->currently_attached && !is_live(vm))
            buf_printf(out, "VBD %s of a VM that is not up is attached\n", vbd->userdevice);
    }
    val_each (ref, vm->VIFs) {
        const struct rec_VIF *vif = snap_VIF(s, ref);
        if (vif && vif->currently_attached && !is_live(vm))
            buf_printf(out, "VIF %s of a VM that is not up is attached\n", vif->device);
    }
}

static void check_vm(const struct snap *s, const struct rec_VM *vm, struct buf *out)
{
    bool suspended = vm->power_state == VM_POWER_STATE_SUSPENDED;
    bool has_boot = snap_boot_by_uuid(s, vm->uuid) != NULL;
    if (!ref_is_null(vm->scheduled_to_be_resident_on))
        buf_printf(out, "VM %s is still scheduled\n", vm->name_label);
    if (has_boot != (is_live(vm) || suspended))
        buf_printf(out, "VM %s: boot record %s\n", vm->name_label, has_boot ? "left" : "missing");
    if (suspended != (snap_VDI(s, vm->suspend_VDI) != NULL))
        buf_printf(out, "VM %s: suspend image %s\n", vm->name_label,
                   suspended ? "missing" : "left");
    if (!is_live(vm) && val_count(vm->consoles) > 0)
        buf_printf(out, "VM %s: a console is left\n", vm->name_label);
    if (is_live(vm) == ref_is_null(vm->resident_on))
        buf_printf(out, "VM %s: resident_on is wrong\n", vm->name_label);
    check_devices(s, vm, out);
}

static void check_vms(struct lab *w, const struct snap *s, struct buf *out)
{
    size_t images = 0, suspended = 0;
    snap_each (row, s, CLASS_VM) {
        if (!rec_VM(row)->is_control_domain)
            check_vm(s, rec_VM(row), out);
        if (is_live(rec_VM(row)))
            check_images(w, s, rec_VM(row), out);
        suspended += rec_VM(row)->power_state == VM_POWER_STATE_SUSPENDED;
    }
    snap_each (row, s, CLASS_VDI)
        images += rec_VDI(row)->type == VDI_TYPE_SUSPEND && rec_VDI(row)->managed;
    if (images != suspended)
        buf_printf(out, "%zu suspend images, %zu suspended VMs\n", images, suspended);
    if (snap_count(s, CLASS_boot) > snap_count(s, CLASS_VM))
        buf_puts(out, "boot records of nobody\n");
}

/* ---- volumes ---- */

static bool is_known(const struct snap *s, const char *sr, const char *location)
{
    snap_each (row, s, CLASS_VDI) {
        if (str_eq(rec_VDI(row)->SR, sr) && str_eq(rec_VDI(row)->location, location))
            return true;
    }
    return false;
}

/* What a VDI is built on exists, and is nobody's disk. */
static void check_chains(const struct snap *s, struct buf *out)
{
    snap_each (row, s, CLASS_VDI) {
        const char *below = val_map_str(rec_VDI(row)->sm_config, "vhd-parent", NULL);
        const struct rec_VDI *parent = below ? snap_VDI_by_uuid(s, below) : NULL;
        if (below && (!parent || parent->managed))
            buf_printf(out, "VDI %s is built on %s, which is %s\n", rec_VDI(row)->uuid, below,
                       parent ? "a disk" : "not there");
    }
}

static void check_paused(struct lab *w, struct buf *out)
{
    _cleanup_(freep) char *world = mem_printf("%s/run/world", w->dir);
    _cleanup_(freep) char *text = sim_world_text(world);
    if (strstr(text, "paused "))
        buf_printf(out, "disks are still paused:\n%s", text);
}

static bool read_log(struct lab *w, const char *uuid, struct cbtlog_header *ret)
{
    _cleanup_(freep) char *path = mem_printf("%s/sr/%s.cbtlog", w->dir, uuid);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    return fd_read_file(path, 1 << 20, &b) == 0 &&
           cbtlog_parse((const uint8_t *)b.data, b.size, ret) == 0;
}

/* A log of changed blocks is of a VDI that says so, and is where its neighbours say it is. */
static void check_log(struct lab *w, const struct snap *s, const char *name, struct buf *out)
{
    char uuid[37] = "", parent[37], child[37];
    struct cbtlog_header h, before;
    memcpy(uuid, name, strlen(name) - strlen(".cbtlog") < 37 ? strlen(name) - 7 : 36);
    const struct rec_VDI *vdi = snap_VDI_by_uuid(s, uuid);
    if (!vdi || !vdi->cbt_enabled)
        buf_printf(out, "log %s is of no VDI that records\n", name);
    if (!read_log(w, uuid, &h)) {
        buf_printf(out, "log %s is none\n", name);
        return;
    }
    cbtlog_uuid_text(h.parent, parent);
    if (*parent && read_log(w, parent, &before)) {
        cbtlog_uuid_text(before.child, child);
        if (!str_eq(child, uuid))
            buf_printf(out, "log %s comes after %s, which is followed by '%s'\n", uuid, parent,
                       child);
    } else if (*parent) {
        buf_printf(out, "log %s comes after %s, which is not there\n", uuid, parent);
    }
}

static void check_folder(struct lab *w, const struct snap *s, struct buf *out)
{
    _cleanup_(freep) char *path = mem_printf("%s/sr", w->dir);
    DIR *d = opendir(path);
    size_t files = 0, records = 0, logs = 0, recording = 0;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (e->d_name[0] == '.')
            continue;
        if (str_ends(e->d_name, ".cbtlog")) {
            check_log(w, s, e->d_name, out);
            logs++;
            continue;
        }
        files++;
        if (!is_known(s, w->sr, e->d_name))
            buf_printf(out, "file %s has no VDI\n", e->d_name);
    }
    if (d)
        closedir(d);
    snap_each (row, s, CLASS_VDI)
        records += str_eq(rec_VDI(row)->SR, w->sr) && rec_VDI(row)->type != VDI_TYPE_CBT_METADATA;
    snap_each (row, s, CLASS_VDI)
        recording += rec_VDI(row)->cbt_enabled;
    if (logs != recording)
        buf_printf(out, "%zu logs, %zu VDIs record\n", logs, recording);
    if (files != records)
        buf_printf(out, "%zu files, %zu VDIs\n", files, records);
}

/* The second folder is a repository if and only if there is an SR on it. */
static void check_second_folder(struct lab *w, const struct snap *s, struct buf *out)
{
    _cleanup_(freep) char *path = mem_printf("%s/sr2", w->dir);
    bool has_sr = false, has_files = false;
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        has_files = has_files || (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."));
    if (d)
        closedir(d);
    snap_each (row, s, CLASS_PBD)
        has_sr = has_sr || str_eq(val_map_str(rec_PBD(row)->device_config, "location", ""), path);
    if (has_sr != has_files)
        buf_printf(out, "second repository: records %d, files %d\n", has_sr, has_files);
}

/* Computing it anew changes nothing. */
static void check_allowed(struct lab *w, struct buf *out)
{
    _cleanup_(snap_unrefp) struct snap *before = snap_get(w->db);
    err_free(claim_refresh_all(w->db));
    _cleanup_(snap_unrefp) struct snap *now = snap_get(w->db);
    _cleanup_(changes_done) struct changes changes = {0};
    struct watch_set all = {0};
    watch_set_add_all(&all);
    if (watch_changes(now, snap_token(before), &all, &changes) < 0)
        buf_puts(out, "what changed cannot be told\n");
    for (size_t i = 0; i < changes.n; i++)
        buf_printf(out, "allowed_operations of %s %s were old\n",
                   desc_classes[changes.v[i].cls]->name, changes.v[i].ref);
}

char *lab_check(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    struct buf out;
    buf_init(&out, 1 << 20);
    check_journal(s, &out);
    check_claims(s, &out);
    check_guests(w, s, &out);
    check_disks(w, s, &out);
    check_vms(w, s, &out);
    check_folder(w, s, &out);
    check_chains(s, &out);
    check_paused(w, &out);
    check_second_folder(w, s, &out);
    check_allowed(w, &out);
    char *text = out.size ? buf_take(&out) : NULL;
    buf_done(&out);
    return text;
}
