/*
 * vm_change.h: messages that change fields of a VM's record in one transaction; private to src/op.
 *
 *     VM_CHANGE(set_order, {
 *         vm->order = a->value;
 *         return NULL;
 *     })
 *
 * makes the handler msg_VM_set_order. The block runs on core with the private copy `vm` and the
 * decoded arguments `a`, whose member `self` is the VM; an error leaves the record as it was.
 */
#pragma once

#include "gen/msg.h"
#include "op/world.h"

struct vm_change {
    const char *vm;
    struct err *(*apply)(struct rec_VM *vm, const void *args);
    const void *args;
};

/* For db_write; `arg` is a struct vm_change. */
struct err *vm_change_txn(struct txn *t, void *arg) _must_use_;

/* Adds an entry to a map of the record; MAP_DUPLICATE_KEY if the key is there already. */
struct err *vm_add_key(const struct val **map, const char *field, const struct rec_VM *vm,
                       const char *key, const char *value) _must_use_;

#define VM_CHANGE(message, code)                                                                   \
    static struct err *apply_##message(struct rec_VM *vm, const void *args)                        \
    {                                                                                              \
        const struct args_VM_##message *a = args;                                                  \
        code                                                                                       \
    }                                                                                              \
    struct err *msg_VM_##message(struct op *op, const struct args_VM_##message *a,                 \
                                 struct val **ret)                                                 \
    {                                                                                              \
        struct vm_change c = {a->self, apply_##message, a};                                        \
        return op_write(op, "VM." #message, vm_change_txn, &c);                                    \
    }
