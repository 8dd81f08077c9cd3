/* database.c: see database.h. */
#include "op/database.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/vec.h"
#include "gen/msg.h"
#include "op/blob.h"
#include "op/crashdump.h"
#include "op/world.h"
#include "state/restore.h"

#define PIECE      65536
#define ROWS_A_TXN 50

/* ---- copies ---- */

static int put_to_file(void *arg, const void *p, size_t size)
{
    return fd_write_all(*(int *)arg, p, size);
}

/* Whole or as it was. */
static struct err *write_copy(struct ops *ops, const struct snap *s, const char *name)
{
    _cleanup_(freep) char *dir = mem_printf("%s/backup", ops->cfg.state_dir);
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    _cleanup_(freep) char *new = mem_printf("%s.new", path);
    int r = fd_mkdirs(dir, 0700);
    if (r < 0)
        return err_errno(-r, "cannot make the folder '%s'", dir);
    _cleanup_(fd_closep) int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(errno, "cannot write '%s'", new);
    TRY(dump_write(s, 0, put_to_file, &fd));
    if (fsync(fd) < 0 || rename(new, path) < 0)
        return err_errno(errno, "cannot write '%s'", path);
    return NULL;
}

struct err *database_backup(struct ops *ops, bool force)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    if (!ops->cfg.state_dir || (!force && snap_generation(s) == ops->backed_up))
        return NULL;
    if (atomic_flag_test_and_set(&ops->backing_up))
        return NULL; /* it is being written at this moment */
    struct err *e = write_copy(ops, s, "state.xml");
    if (!e)
        ops->backed_up = snap_generation(s);
    atomic_flag_clear(&ops->backing_up);
    return e;
}

struct err *ops_backup(struct ops *ops)
{
    TRY(blob_sweep(ops, false));
    TRY(crashdumps_follow(ops));
    return database_backup(ops, false);
}

struct err *msg_host_request_backup(struct op *op, const struct args_host_request_backup *a,
                                    struct val **ret)
{
    TRY(need_own_host(op, a->host));
    struct ops *ops = ops_of(op);
    bool is_newer = (int64_t)ops->backed_up < a->generation;
    return a->force || is_newer ? database_backup(ops, a->force) : NULL;
}

/* ---- what does not fit this machine ---- */

struct doomed {
    int cls;
    const char *ref; /* rstr */
};

struct mender {
    struct ops *ops;
    const struct snap *live;
    bool with_blobs;
    struct guest_item *guests;
    size_t n_guests;
    VEC(struct doomed) doomed;
    VEC(const char *) vms; /* rstr: those whose power state is to be looked at */
    size_t at;             /* in one of the two: where the next transaction goes on */
};

static void doom(struct mender *m, int cls, const char *ref)
{
    if (!ref_is_null(ref))
        vec_push(&m->doomed, ((struct doomed){cls, rstr_new(ref)}));
}

static bool is_of_host(const struct row *r, const struct field_desc *f, const char *host)
{
    _cleanup_(val_unrefp) struct val *v = row_get(r, f);
    return str_eq(val_get_str(v), host);
}

/* Everything that says in a field `host` that it is that host's. */
static void doom_belongings(struct mender *m, const struct snap *s, const char *host)
{
    for (unsigned i = 0; i < snap_n_classes(s); i++) {
        const struct class_desc *cls = snap_class(s, (int)i);
        const struct field_desc *f = desc_field(cls, "host");
        if (!dump_has_table(cls) || !f || f->type->kind != TYPE_REF || f->type->cls != CLASS_host)
            continue;
        snap_each (r, s, cls->num)
            if (is_of_host(r, f, host))
                doom(m, cls->num, r->ref);
    }
}

static void doom_host(struct mender *m, const struct snap *s, const struct rec_host *h)
{
    const struct rec_VM *domain = snap_VM(s, h->control_domain);
    doom_belongings(m, s, h->row.ref);
    doom(m, CLASS_host_metrics, h->metrics);
    if (domain && domain->is_control_domain) {
        doom(m, CLASS_VM_metrics, domain->metrics);
        doom(m, CLASS_VM, domain->row.ref);
    }
    doom(m, CLASS_host, h->row.ref);
}

static struct err *find_doomed(struct mender *m, const struct snap *s)
{
    const struct rec_pool *pool = rec_pool(snap_first(s, CLASS_pool));
    if (!pool || !snap_host(s, pool->master))
        return err_wrap(err_RESTORE_INCOMPATIBLE_VERSION(), "there is no pool with a coordinator");
    snap_each (r, s, CLASS_host)
        if (!str_eq(r->ref, pool->master))
            doom_host(m, s, rec_host(r));
    return NULL;
}

static struct err *remove_doomed(struct txn *t, void *arg)
{
    struct mender *m = arg;
    for (size_t end = m->at + ROWS_A_TXN; m->at < end && m->at < m->doomed.n; m->at++)
        txn_delete(t, m->doomed.v[m->at].cls, m->doomed.v[m->at].ref);
    return NULL;
}

/* ---- guests ---- */

static bool is_live(const struct rec_VM *vm)
{
    return vm->power_state == VM_POWER_STATE_RUNNING || vm->power_state == VM_POWER_STATE_PAUSED;
}

static bool runs_here(const struct mender *m, const char *uuid)
{
    for (size_t i = 0; i < m->n_guests; i++) {
        enum guest_state state = m->guests[i].info.state;
        if (str_eq(m->guests[i].vm, uuid) && (state == GUEST_RUNNING || state == GUEST_PAUSED))
            return true;
    }
    return false;
}

static struct err *find_vms(struct mender *m, const struct snap *s)
{
    for (size_t i = 0; i < m->n_guests; i++) {
        if (snap_VM_by_uuid(s, m->guests[i].vm) || !runs_here(m, m->guests[i].vm))
            continue;
        _cleanup_(freep) char *why =
            mem_printf("VM '%s' runs here and is not part of that database; shut it down first",
                       m->guests[i].vm);
        return err_OPERATION_NOT_ALLOWED(why);
    }
    snap_each (r, s, CLASS_VM) {
        const struct rec_VM *vm = rec_VM(r);
        if (!vm->is_control_domain && (is_live(vm) || runs_here(m, vm->uuid)))
            vec_push(&m->vms, rstr_new(r->ref));
    }
    return NULL;
}

/* What its process was started with is known here, and not by an older copy. */
static void keep_running(struct txn *t, const struct mender *m, struct rec_VM *vm)
{
    const struct rec_boot *now = snap_boot_by_uuid(m->live, vm->uuid);
    const struct rec_VM *live = snap_VM_by_uuid(m->live, vm->uuid);
    if (!now || !live)
        return;
    boot_drop(t, vm->uuid);
    struct row *kept = txn_add(t, CLASS_boot, NULL, vm->uuid);
    desc_each_field (f, now->row.cls) {
        _cleanup_(val_unrefp) struct val *v = row_get(&now->row, f);
        int r = row_set(kept, f, v);
        assert(r == 0); /* the same field of the same class */
    }
    rstr_assign(&((struct rec_boot *)kept)->VM, vm->row.ref);
    vm->power_state = live->power_state;
}

static struct err *settle_vms(struct txn *t, void *arg)
{
    struct mender *m = arg;
    for (size_t end = m->at + ROWS_A_TXN; m->at < end && m->at < m->vms.n; m->at++) {
        struct rec_VM *vm = txn_edit_VM(t, m->vms.v[m->at]);
        if (vm && runs_here(m, vm->uuid))
            keep_running(t, m, vm);
        else if (vm)
            vm_becomes_halted(t, vm->row.ref);
    }
    return NULL;
}

static struct err *note_blobs(struct txn *t, void *arg)
{
    (void)arg;
    setting_put(t, BLOBS_STAGED, "yes");
    return NULL;
}

static struct err *mend(struct db *staged, void *arg)
{
    struct mender *m = arg;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(staged);
    TRY(find_doomed(m, s));
    TRY(find_vms(m, s));
    if (m->with_blobs)
        TRY(db_write(staged, "blobs of a restore", note_blobs, NULL));
    for (m->at = 0; m->at < m->vms.n;)
        TRY(db_write(staged, "VMs of a restore", settle_vms, m));
    for (m->at = 0; m->at < m->doomed.n;)
        TRY(db_write(staged, "other hosts", remove_doomed, m));
    return NULL;
}

static void mender_done(struct mender *m)
{
    vec_each (d, &m->doomed)
        rstr_unref(d->ref);
    vec_each (vm, &m->vms)
        rstr_unref(*vm);
    vec_done(&m->doomed);
    vec_done(&m->vms);
    guest_items_free(m->guests, m->n_guests);
}

/* ---- restore ---- */

/* What is under way would go on in a database that does not know it. */
static struct err *check_quiet(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    snap_each (r, s, CLASS_op) {
        const struct rec_op *other = rec_op(r);
        if (!str_eq(other->uuid, op_id(op)))
            return err_OTHER_OPERATION_IN_PROGRESS("task", other->task, other->message, r->ref);
    }
    return NULL;
}

static struct err *read_all(struct op *op, const struct database_source *from, struct restore *r)
{
    _cleanup_(freep) char *piece = mem_zalloc(1, PIECE);
    size_t n = 0;
    for (;;) {
        TRY(op_check(op));
        TRY(from->read(from->arg, piece, PIECE, &n));
        if (n == 0)
            return NULL;
        TRY(restore_feed(r, piece, n));
    }
}

struct err *database_restore(struct op *op, const struct database_source *from, bool dry_run,
                             struct dump_counts *ret)
{
    struct ops *ops = ops_of(op);
    _cleanup_(restore_freep) struct restore *r = NULL;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(mender_done) struct mender m = {
        .ops = ops, .live = s, .with_blobs = from->with_blobs};
    if (!ops->cfg.store_path || !ops->cfg.state_dir)
        return err_OPERATION_NOT_ALLOWED("this host's state is not in a file of its own");
    TRY(restore_begin(&(struct restore_config){.path = ops->cfg.store_path, .db = op->db}, &r));
    TRY(read_all(op, from, r));
    TRY(restore_finish(r, ret));
    TRY(host_list(ops->cfg.host, &m.guests, &m.n_guests));
    TRY(restore_mend(r, mend, &m));
    if (dry_run)
        return NULL;
    TRY(check_quiet(op));
    TRY(write_copy(ops, s, "before-restore.xml"));
    return restore_commit(r);
}
