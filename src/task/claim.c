/*
 * claim.c: the op rules, asked and kept.
 *
 * One function (claim_check) decides; claim_take, allowed_operations (allowed.c) and
 * VM.assert_operation_valid all come here. Rows are read through their descriptors, so a class gets
 * claims by having the fields allowed_operations and current_operations and rules in the model.
 */
#include "task/claim.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "state/db.h"
#include "state/row.h"
#include "state/txn.h"
#include "task/claim_class.h"
#include "task/claim_rules.h"

/* ---- reading an object ---- */

static const void *member(const struct row *row, const struct field_desc *f)
{
    return (const char *)row + f->offset;
}

static const struct val *val_member(const struct row *row, int field)
{
    return *(const struct val *const *)member(row, &row->cls->fields[field]);
}

static const struct enum_desc *op_enum(const struct class_desc *c)
{
    return c->field_allowed < 0 ? NULL : c->fields[c->field_allowed].type->elem->enm;
}

const struct row *claim_view_row(const struct claim_view *v, int cls, const char *ref)
{
    return v->txn ? txn_row(v->txn, cls, ref) : snap_row(v->snap, cls, ref);
}

const struct op_desc *claim_rule(const struct class_desc *c, int operation)
{
    return operation >= 0 && (unsigned)operation < c->n_ops ? c->ops[operation] : NULL;
}

/* ---- the steps of a check, in the order in which a caller sees them ---- */

static struct err *check_blocked(const struct row *row, const char *op_name)
{
    const struct field_desc *f = claim_class(row->cls)->blocked;
    const struct val *blocked = f ? *(const struct val *const *)member(row, f) : NULL;
    if (!blocked || !val_count(blocked))
        return NULL;
    const char *why = val_map_str(blocked, op_name, NULL);
    return why ? err_OPERATION_BLOCKED(row->ref, why) : NULL;
}

static unsigned state_of(const struct row *row)
{
    const struct field_desc *f = &row->cls->fields[row->cls->field_state];
    if (f->type->kind == TYPE_BOOL)
        return *(const bool *)member(row, f);
    return *(const unsigned *)member(row, f);
}

static void lower_name(char *out, size_t size, const char *name)
{
    size_t n = 0;
    for (; name[n] && n + 1 < size; n++)
        out[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 32) : name[n];
    out[n] = '\0';
}

static struct err *bad_power_state(const struct row *row, const struct op_desc *rule,
                                   unsigned state)
{
    const struct enum_desc *e = row->cls->fields[row->cls->field_state].type->enm;
    char expected[128] = "", actual[32], one[32];
    for (unsigned i = 0; i < e->n_values; i++) {
        if (!(rule->states & 1u << i))
            continue;
        lower_name(one, sizeof(one), e->values[i]);
        size_t at = strlen(expected);
        snprintf(expected + at, sizeof(expected) - at, "%s%s", at ? ", " : "", one);
    }
    lower_name(actual, sizeof(actual), e->values[state]);
    return err_VM_BAD_POWER_STATE(row->ref, expected, actual);
}

/* 1 if the error names the object, 0 if it has no parameter. */
static unsigned takes_ref(const char *code)
{
    for (unsigned i = 0; i < err_n_codes; i++)
        if (str_eq(err_codes[i].name, code))
            return err_codes[i].n_params > 0;
    return 1;
}

bool claim_state_fits(const struct row *row, const struct op_desc *rule)
{
    return !rule->states || row->cls->field_state < 0 || rule->states >> state_of(row) & 1;
}

static struct err *check_state(const struct row *row, const struct op_desc *rule)
{
    if (claim_state_fits(row, rule))
        return NULL;
    if (rule->state_error)
        return err_make(rule->state_error, __FILE__, __LINE__, takes_ref(rule->state_error),
                        row->ref);
    if (row->cls->num == CLASS_VM)
        return bad_power_state(row, rule, state_of(row));
    return err_OPERATION_NOT_ALLOWED("the object is not in the right state");
}

static bool may_run_along(const struct op_desc *rule, int other)
{
    return other >= 0 && other < 128 && (rule->along[other / 64] >> (other % 64) & 1);
}

/* One name as it is, several in braces. */
static void list_text(struct buf *b, const struct val *set)
{
    if (val_count(set) == 1) {
        buf_puts(b, val_str_at(set, 0));
        return;
    }
    for (size_t i = 0; i < val_count(set); i++)
        buf_printf(b, "%s%s", i ? "," : "{", val_str_at(set, i));
    buf_putc(b, '}');
}

static struct err *check_concurrency(const struct claim_view *v, const struct row *row,
                                     const struct op_desc *rule)
{
    const struct enum_desc *e = op_enum(row->cls);
    const struct val *running = val_member(row, row->cls->field_current);
    if (!val_count(running))
        return NULL;
    _cleanup_(val_unrefp) struct val *ops = val_set();
    _cleanup_(val_unrefp) struct val *holders = val_set();
    for (size_t i = 0; i < val_count(running); i++) {
        const char *name = val_str_at(running, i);
        bool own = v->holder && str_eq(val_key_at(running, i), v->holder);
        if (own || may_run_along(rule, desc_enum_value(e, name)))
            continue;
        val_add_str(ops, name);
        val_add_str(holders, val_key_at(running, i));
    }
    if (val_count(ops) == 0)
        return NULL;
    _cleanup_(buf_done) struct buf a, b;
    buf_init(&a, 4096);
    buf_init(&b, 4096);
    list_text(&a, ops);
    list_text(&b, holders);
    return err_OTHER_OPERATION_IN_PROGRESS(row->cls->name, row->ref, buf_str(&a), buf_str(&b));
}

static struct err *check_vm_kind(const struct rec_VM *vm, const struct op_desc *rule,
                                 const char *op_name)
{
    unsigned f = rule->flags;
    if (vm->is_a_snapshot) {
        if (!(f & (OP_ON_SNAPSHOT | OP_SNAPSHOT_ONLY)))
            return err_VM_IS_SNAPSHOT(vm->row.ref, op_name);
    } else if (vm->is_a_template) {
        unsigned need = OP_ON_DEFAULT_TEMPLATE | (vm->is_default_template ? 0 : OP_ON_TEMPLATE);
        if (!(f & need))
            return err_make("VM_IS_TEMPLATE", __FILE__, __LINE__, 2, vm->row.ref, op_name);
    }
    if ((f & OP_TEMPLATE_ONLY) && !vm->is_a_template)
        return err_OPERATION_NOT_ALLOWED("the VM is not a template");
    if ((f & OP_SNAPSHOT_ONLY) && !vm->is_a_snapshot)
        return err_OPERATION_NOT_ALLOWED("the VM is not a snapshot");
    if (vm->is_control_domain && !(f & OP_ON_CONTROL_DOMAIN))
        return err_OPERATION_NOT_ALLOWED("this operation is not allowed on a control domain");
    return NULL;
}

static struct err *check_named(const struct claim_view *v, const struct row *row,
                               const struct op_desc *rule)
{
    if (!rule->custom)
        return NULL;
    claim_rule_fn fn = claim_rule_named(rule->custom);
    return fn ? fn(v, row, rule->op) : err_internal("no rule is named '%s'", rule->custom);
}

struct err *claim_check(const struct claim_view *v, const struct row *row, int operation)
{
    const struct op_desc *rule = claim_rule(row->cls, operation);
    const struct enum_desc *e = op_enum(row->cls);
    if (!rule || !e)
        return err_OPERATION_NOT_ALLOWED("no such operation on this object");
    const char *name = e->values[operation];
    TRY(check_blocked(row, name));
    TRY(check_state(row, rule));
    TRY(check_concurrency(v, row, rule));
    if (row->cls->num == CLASS_VM)
        TRY(check_vm_kind(rec_VM(row), rule, name));
    return check_named(v, row, rule);
}

/* ---- lists of claims ---- */

typedef VEC(struct claim) claim_vec;

static void add_claim(claim_vec *list, const struct claim_view *v, int cls, const char *ref,
                      int operation);

/* What the rule of one claim asks of the objects around it. */
static void add_related(claim_vec *list, const struct claim_view *v, const struct row *row,
                        const struct claim_desc *cd)
{
    const struct field_desc *f = &row->cls->fields[cd->field];
    if (f->type->kind == TYPE_REF) {
        add_claim(list, v, f->type->cls, *(const char *const *)member(row, f), cd->op);
        return;
    }
    const struct val *refs = *(const struct val *const *)member(row, f);
    for (size_t i = 0; i < val_count(refs); i++)
        add_claim(list, v, f->type->elem->cls, val_str_at(refs, i), cd->op);
}

static bool is_listed(const claim_vec *list, int cls, const char *ref)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->v[i].cls == cls && strcmp(list->v[i].ref, ref) == 0)
            return true;
    }
    return false;
}

/* Claims go down one way (VM, device, VDI, SR), so this ends; a disk used twice is listed once. */
static void add_claim(claim_vec *list, const struct claim_view *v, int cls, const char *ref,
                      int operation)
{
    const struct row *row = ref_is_null(ref) ? NULL : claim_view_row(v, cls, ref);
    if (!row || is_listed(list, cls, ref))
        return;
    vec_push(list, ((struct claim){cls, rstr_new(ref), operation}));
    const struct op_desc *rule = claim_rule(row->cls, operation);
    for (unsigned i = 0; rule && i < rule->n_claims; i++)
        add_related(list, v, row, &rule->claims[i]);
}

struct err *claim_list_op(const struct claim_view *v, int cls, const char *ref, int operation,
                          struct claim **ret, unsigned *ret_n)
{
    if (!claim_view_row(v, cls, ref))
        return err_HANDLE_INVALID(desc_classes[cls]->name, ref);
    claim_vec list = {0};
    add_claim(&list, v, cls, ref, operation);
    *ret = list.v;
    *ret_n = (unsigned)list.n;
    return NULL;
}

struct err *claim_list(const struct claim_view *v, const struct msg_desc *msg, const char *ref,
                       struct claim **ret, unsigned *ret_n)
{
    *ret = NULL;
    *ret_n = 0;
    if (!msg || !msg->op || !ref)
        return NULL;
    return claim_list_op(v, msg->cls, ref, msg->op->op, ret, ret_n);
}

void claim_list_free(struct claim *claims, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        rstr_unref(claims[i].ref);
    free(claims);
}

/* ---- taking and dropping ---- */

static void set_current(struct txn *t, const struct claim *c, const char *holder, bool on)
{
    struct row *row = txn_edit(t, c->cls, c->ref);
    if (!row)
        return;
    const struct field_desc *f = &row->cls->fields[row->cls->field_current];
    const struct val **slot = (const struct val **)((char *)row + f->offset);
    const char *name = op_enum(row->cls)->values[c->operation];
    val_assign(slot, on ? val_with(*slot, holder, name) : val_without(*slot, holder));
}

struct err *claim_take(struct txn *t, const struct claim *claims, unsigned n, const char *holder)
{
    struct claim_view v = {.txn = t, .holder = holder};
    for (unsigned i = 0; i < n; i++) {
        const struct row *row = txn_row(t, claims[i].cls, claims[i].ref);
        if (!row)
            return err_HANDLE_INVALID(desc_classes[claims[i].cls]->name, claims[i].ref);
        TRY(claim_check(&v, row, claims[i].operation));
    }
    for (unsigned i = 0; i < n; i++)
        set_current(t, &claims[i], holder, true);
    return NULL;
}

void claim_drop(struct txn *t, const struct claim *claims, unsigned n, const char *holder)
{
    for (unsigned i = 0; i < n; i++)
        set_current(t, &claims[i], holder, false);
}

void claim_restore(struct txn *t, const struct claim *claims, unsigned n, const char *holder)
{
    for (unsigned i = 0; i < n; i++)
        set_current(t, &claims[i], holder, true);
}
