/* The generated tables and how they are looked up. */
#include "state/desc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gen/error.h"
#include "gen/rec.h"

static void finds_classes_by_both_names(void **state)
{
    const struct class_desc *vm = desc_class_by_name("VM");

    assert_non_null(vm);
    assert_int_equal(vm->num, CLASS_VM);
    assert_ptr_equal(desc_class_by_lname("vm"), vm);
    assert_ptr_equal(desc_class_by_lname("Vm"), vm);
    assert_null(desc_class_by_name("vm"));
    assert_null(desc_class_by_name(""));
    for (unsigned i = 0; i < desc_n_classes; i++) {
        assert_ptr_equal(desc_class_by_name(desc_classes[i]->name), desc_classes[i]);
        assert_ptr_equal(desc_class_by_lname(desc_classes[i]->lname), desc_classes[i]);
    }
}

static void finds_each_message_by_both_forms(void **state)
{
    char name[200];

    for (unsigned i = 0; i < desc_n_msgs; i++) {
        const struct msg_desc *m = desc_msgs[i];

        assert_int_equal(m->num, i);
        snprintf(name, sizeof(name), "%s.%s", desc_classes[m->cls]->name, m->name);
        assert_ptr_equal(desc_msg(name), m);
        name[strlen(desc_classes[m->cls]->name)] = '_';
        assert_non_null(desc_msg(name));
    }
    assert_ptr_equal(desc_msg("VM_start"), desc_msg("VM.start"));
    assert_ptr_equal(desc_msg("VM_guest_metrics_get_live"), desc_msg("VM_guest_metrics.get_live"));
    assert_null(desc_msg("VM.Start"));
    assert_null(desc_msg("VM"));
    assert_null(desc_msg("VM.start.x"));
    assert_null(desc_msg("."));
    assert_null(desc_msg(""));
}

static void lists_the_messages_of_a_class(void **state)
{
    unsigned total = 0;

    for (unsigned i = 0; i < desc_n_classes; i++) {
        const struct class_desc *c = desc_classes[i];

        for (unsigned k = 0; k < c->n_msgs; k++)
            assert_int_equal(c->msgs[k]->cls, i);
        total += c->n_msgs;
    }
    assert_int_equal(total, desc_n_msgs);
}

static void relations_point_at_each_other(void **state)
{
    for (unsigned i = 0; i < desc_n_classes; i++)
        desc_each_field (f, desc_classes[i]) {
            if (!(f->flags & FIELD_DERIVED))
                continue;
            const struct field_desc *there = &desc_classes[f->rel_class]->fields[f->rel_field];

            assert_int_equal(f->type->kind, TYPE_SET);
            assert_int_equal(there->type->kind, TYPE_REF);
            assert_int_equal(there->rel_class, i);
            assert_ptr_equal(&desc_classes[i]->fields[there->rel_field], f);
        }
}

static void reads_enums_in_any_case(void **state)
{
    assert_int_equal(desc_enum_value(&enum_vm_power_state, "Halted"), VM_POWER_STATE_HALTED);
    assert_int_equal(desc_enum_value(&enum_vm_power_state, "sUSPENDED"), VM_POWER_STATE_SUSPENDED);
    assert_int_equal(desc_enum_value(&enum_vm_power_state, "Halt"), -1);
}

static void names_types(void **state)
{
    char buf[200];
    const struct msg_desc *m = desc_msg("VM.get_all_records");

    assert_string_equal(desc_type_name(m->result, buf, sizeof(buf)), "map(ref VM,record VM)");
    m = desc_msg("VM.get_allowed_operations");
    assert_string_equal(desc_type_name(m->result, buf, sizeof(buf)), "set(enum vm_operations)");
}

static void knows_roles_and_alerts(void **state)
{
    assert_int_equal(desc_role_by_name("vm-admin"), ROLE_VM_ADMIN);
    assert_int_equal(desc_role_by_name("local-root"), ROLE_UNCHECKED);
    assert_string_equal(desc_role_name(ROLE_LOCAL_ROOT), "local-root");
    assert_int_equal(desc_alert_priority("VM_STARTED"), 5);
    assert_int_equal(desc_alert_priority("HOST_KERNEL_ENCOUNTERED_ERROR_OOM"), 2);
    assert_int_equal(desc_alert_priority("OF_OUR_OWN"), 3);
}

static void errors_carry_their_parameters(void **state)
{
    _cleanup_(err_freep) struct err *e = err_VM_BAD_POWER_STATE("OpaqueRef:1", "halted", "running");

    assert_string_equal(err_code(e), "VM_BAD_POWER_STATE");
    assert_int_equal(err_n_params(e), 3);
    assert_string_equal(err_param(e, 2), "running");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_classes_by_both_names),
        cmocka_unit_test(finds_each_message_by_both_forms),
        cmocka_unit_test(lists_the_messages_of_a_class),
        cmocka_unit_test(relations_point_at_each_other),
        cmocka_unit_test(reads_enums_in_any_case),
        cmocka_unit_test(names_types),
        cmocka_unit_test(knows_roles_and_alerts),
        cmocka_unit_test(errors_carry_their_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
