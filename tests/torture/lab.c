/* lab.c: see lab.h. */
#include "lab.h"

#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "state/store.h"
#include "task/claim.h"

/* ---- opening ---- */

unsigned lab_wait_s = 1;
const char *lab_privd;

static char *under(const char *dir, const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static struct err *open_host(struct lab *w)
{
    _cleanup_(freep) char *run = under(w->dir, "run");
    _cleanup_(freep) char *state = under(w->dir, "state");
    _cleanup_(freep) char *machine = under(w->dir, "machine");
    struct host_config c = {.run_dir = run,
                            .privd = lab_privd,
                            .machine_dir = lab_privd ? NULL : machine,
                            .state_dir = state,
                            .simulate = true,
                            .memory_bytes = UINT64_C(4) << 30,
                            .fact = ops_fact,
                            .fact_arg = &w->ops};
    return host_new(&c, &w->host);
}

static struct err *open_ops(struct lab *w)
{
    _cleanup_(freep) char *sr = under(w->dir, "sr");
    _cleanup_(freep) char *iso = under(w->dir, "iso");
    _cleanup_(freep) char *state = under(w->dir, "state");
    struct ops_config oc = {.db = w->db,
                            .tasks = w->tasks,
                            .host = w->host,
                            .hostname = "test",
                            .sr_dir = sr,
                            .iso_dir = iso,
                            .state_dir = state,
                            .version = "0.1.0",
                            .shutdown_wait_s = lab_wait_s};
    TRY(ops_new(&oc, &w->ops));
    TRY(first_start(w->ops));
    TRY(host_start(w->host));
    return ops_recover(w->ops);
}

static const char *named(const struct snap *s, int cls, const char *name)
{
    _cleanup_(val_unrefp) struct val *refs = snap_by_name(s, cls, name);
    return val_count(refs) ? rstr_new(val_str_at(refs, 0)) : rstr_new(REF_NULL);
}

static void find_objects(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    w->host_ref = rstr_new(snap_first(s, CLASS_host)->ref);
    w->sr = named(s, CLASS_SR, "Local storage");
    w->iso = named(s, CLASS_SR, "ISO library");
    w->network = rstr_new(snap_first(s, CLASS_network)->ref);
    w->vm = named(s, CLASS_VM, "guest");
}

struct err *lab_open(const char *dir, struct lab *w)
{
    struct store *store = NULL;
    memset(w, 0, sizeof(*w));
    w->dir = mem_strdup(dir);
    static const char *const folders[] = {"run", "state", "sr", "iso", "sr2"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        _cleanup_(freep) char *path = under(dir, folders[i]);
        if (fd_mkdirs(path, 0755) < 0)
            return err_internal("cannot make '%s'", path);
    }
    _cleanup_(freep) char *iso = under(dir, "iso/cd.iso");
    if (access(iso, F_OK) < 0 &&
        (fd_replace_file(iso, "CD", 2, 0644) < 0 || truncate(iso, 64 << 10) < 0))
        return err_internal("cannot make '%s'", iso);
    _cleanup_(freep) char *path = under(dir, "state.db");
    TRY(store_sqlite_open(path, STORE_WRITE, &store));
    TRY(db_open(&(struct db_config){.store = store}, &w->db));
    ops_register();
    ops_rules(w->db);
    TRY(open_host(w));
    TRY(tasks_new(&(struct tasks_config){.db = w->db, .host = w->host}, &w->tasks));
    TRY(open_ops(w));
    find_objects(w);
    return NULL;
}

void lab_close(struct lab *w)
{
    lab_settle(w);
    host_free(w->host);
    (void)tasks_stop(w->tasks, clock_now() + 10 * USEC_PER_SEC);
    ops_free(w->ops);
    db_close(w->db);
    rstr_unref(w->host_ref);
    rstr_unref(w->sr);
    rstr_unref(w->iso);
    rstr_unref(w->network);
    rstr_unref(w->vm);
    free(w->dir);
}

/* ---- calls ---- */

struct err *lab_call_(struct lab *w, const char *name, msg_fn fn, const char *self,
                      const void *args, size_t size, struct val **ret)
{
    struct run_request rq = {.msg = desc_msg(name),
                             .fn = fn,
                             .args = mem_dup(args, size),
                             .self = self,
                             .caller = caller_internal};
    return tasks_call(w->tasks, &rq, ret);
}

static struct err *nothing(struct txn *t, void *arg)
{
    return NULL;
}

void lab_settle(struct lab *w)
{
    usec_t until = clock_now() + 60 * USEC_PER_SEC;
    /* The simulator tells of its guests on the caller's thread: what it had to tell is a
     * transaction on its way or queued work by now, and each may bring forth the other. */
    do {
        (void)tasks_settle(w->tasks, until);
        err_free(db_write(w->db, "settle", nothing, NULL)); /* what was posted before is done */
    } while (!tasks_settle(w->tasks, 0) && clock_now() < until);
}

/* ---- a VM ---- */

static struct val *vm_record(void)
{
    struct val *r = val_map(), *boot = val_map();
    val_put_str(boot, "order", "cd");
    val_put_str(r, "name_label", "guest");
    val_put_int(r, "memory_static_min", 64 << 20);
    val_put_int(r, "memory_static_max", 64 << 20);
    val_put_int(r, "memory_dynamic_min", 64 << 20);
    val_put_int(r, "memory_dynamic_max", 64 << 20);
    val_put_int(r, "VCPUs_max", 1);
    val_put_int(r, "VCPUs_at_startup", 1);
    val_put_str(r, "actions_after_reboot", "restart");
    val_put(r, "HVM_boot_params", boot);
    return r;
}

static struct val *vbd_record(const char *vm, const char *vdi, const char *type, const char *device)
{
    struct val *r = val_map();
    val_put_str(r, "VM", vm);
    val_put_str(r, "VDI", vdi ? vdi : REF_NULL);
    val_put_bool(r, "empty", vdi == NULL);
    val_put_str(r, "type", type);
    val_put_str(r, "mode", str_eq(type, "CD") ? "RO" : "RW");
    val_put_str(r, "userdevice", device);
    return r;
}

static struct err *make(struct lab *w, const char *name, msg_fn fn, struct val *rec,
                        const char **ret_ref)
{
    struct {
        const struct val *args;
    } a = {rec};
    _cleanup_(val_unrefp) struct val *result = NULL;
    struct err *e = lab_call_(w, name, fn, NULL, &a, sizeof(a), &result);
    val_unref(rec);
    if (!e && ret_ref)
        *ret_ref = rstr_new(val_get_str(result));
    return e;
}

#define MAKE(w, cls, rec, ret)                                                                     \
    make((w), #cls "_create", (msg_fn)(void (*)(void))msg_##cls##_create, (rec), (ret))

struct err *lab_make_vdi(struct lab *w, const char **ret)
{
    struct val *r = val_map();
    val_put_str(r, "SR", w->sr);
    val_put_str(r, "name_label", "disk");
    val_put_int(r, "virtual_size", 8 << 20);
    val_put_str(r, "type", "user");
    return MAKE(w, VDI, r, ret);
}

struct err *lab_make_vm(struct lab *w)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    rstr_unref(w->vm);
    w->vm = NULL;
    TRY(MAKE(w, VM, vm_record(), &w->vm));
    TRY(lab_make_vdi(w, &vdi));
    TRY(MAKE(w, VBD, vbd_record(w->vm, vdi, "Disk", "0"), NULL));
    TRY(MAKE(w, VBD, vbd_record(w->vm, NULL, "CD", "3"), NULL));
    struct val *vif = val_map();
    val_put_str(vif, "VM", w->vm);
    val_put_str(vif, "network", w->network);
    val_put_str(vif, "device", "0");
    return MAKE(w, VIF, vif, NULL);
}

struct err *lab_add_disk(struct lab *w, const char **ret_vbd)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    TRY(lab_make_vdi(w, &vdi));
    return MAKE(w, VBD, vbd_record(w->vm, vdi, "Disk", "autodetect"), ret_vbd);
}

struct err *lab_add_nic(struct lab *w, const char **ret_vif)
{
    struct val *vif = val_map();
    val_put_str(vif, "VM", w->vm);
    val_put_str(vif, "network", w->network);
    val_put_str(vif, "device", "autodetect");
    return MAKE(w, VIF, vif, ret_vif);
}

const struct rec_VM *lab_vm(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    const struct rec_VM *vm = snap_VM(s, w->vm);
    return vm ? rec_VM(row_ref(&vm->row)) : NULL;
}

const char *lab_disk_of_vm(struct lab *w)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    snap_each (row, s, CLASS_VBD) {
        if (rec_VBD(row)->type == VBD_TYPE_DISK)
            return rstr_ref(rec_VBD(row)->VDI);
    }
    return rstr_new(REF_NULL);
}
