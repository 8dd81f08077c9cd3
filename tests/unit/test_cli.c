/* Tests of src/cli: commands against a small world of objects, by what the user sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli_fixture.h"

/* ---- listing ---- */

static void lists_have_upstreams_layout(void **state)
{
    expect(*state, "vm-list\nname-label=demo",
           "uuid ( RO)           : " UUID_DEMO "\n"
           "     name-label ( RW): demo\n"
           "    power-state ( RO): running\n"
           "\n"
           "\n"
           "[0]");
    expect(*state, "sr-list\nparams=name-label,uuid",
           "uuid ( RO)          : " UUID_SR "\n"
           "    name-label ( RW): Local storage\n"
           "\n"
           "\n"
           "[0]");
}

static void minimal_prints_first_fields_joined(void **state)
{
    expect(*state, "vm-list\n--minimal", UUID_DEMO "," UUID_OTHER "\n[0]");
    expect(*state, "vm-list\nparams=name-label\nminimal=true", "demo,a\\, \\\\b\n[0]");
    expect(*state, "vm-list\nname-label=none\n--minimal", "\n[0]");
    expect(*state, "template-list\n--minimal", UUID_TMPL "\n[0]");
}

static void filters_look_into_maps_and_sets(void **state)
{
    expect(*state, "vm-list\nother-config:colour=green\n--minimal", UUID_DEMO "\n[0]");
    expect(*state, "vm-list\nother-config-colour=green\n--minimal", UUID_DEMO "\n[0]");
    expect(*state, "vm-list\nother-config:colour=red\n--minimal", "\n[0]");
    expect(*state, "vm-list\ntags:contains=b,c\n--minimal", UUID_DEMO "\n[0]");
    expect(*state, "vm-list\npower-state=halted\n--minimal", UUID_OTHER "\n[0]");
    expect(*state, "vm-list\nno-such=1", "! Error: Unknown field 'no-such'\n[1]");
    expect(*state, "vm-list\ndatabase:vdi-uuid=1",
           "! Error: Reading another database (database:vdi-uuid) is not supported\n[1]");
}

/* Some 130 bytes a VM: whole messages in pieces of 16 KiB, not a write each. */
static void a_list_of_many_is_few_writes(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 500; i++) {
        _cleanup_(freep) char *ref = mem_printf("OpaqueRef:many%d", i);
        _cleanup_(freep) char *uuid = mem_printf("77777777-7777-7777-7777-%012d", i);
        world_add(w, "VM", ref, uuid, "many");
    }
    run_as(w, true, "vm-list", NULL, &out);
    assert_true(out.size > 500 * 100);
    assert_true(n_writes <= out.size / 16384 + 2);
}

static void who_only_reads_is_answered_before_his_hello(void **state)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    run_silent(*state, "vm-list\nname-label=demo\n--minimal", &out);
    assert_string_equal(buf_str(&out), UUID_DEMO "\n[0]");
    assert_int_equal(n_writes, 1);
}

static void nothing_is_changed_for_who_does_not_speak_the_protocol(void **state)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    run_silent(*state, "vm-pause\nvm=demo", &out);
    assert_string_equal(buf_str(&out), "");
    expect_calls(*state, "");
    expect(*state, "vm-pause\nvm=demo", "[0]");
    expect_calls(*state, "VM.pause OpaqueRef:demo\n");
}

/* ---- param-* ---- */

static void param_get_prints_values_and_keys(void **state)
{
    const char *get = "vm-param-get\nuuid=" UUID_DEMO "\n";
    _cleanup_(freep) char *map = mem_printf("%sparam-name=other-config", get);
    _cleanup_(freep) char *key = mem_printf("%sparam-name=other-config\nparam-key=size", get);
    _cleanup_(freep) char *no = mem_printf("%sparam-name=other-config\nparam-key=k", get);
    _cleanup_(freep) char *set = mem_printf("%sparam-name=tags", get);
    _cleanup_(freep) char *ref = mem_printf("%sparam-name=affinity", get);
    _cleanup_(freep) char *null = mem_printf("%sparam-name=suspend-VDI-uuid", get);
    _cleanup_(freep) char *through = mem_printf("%sparam-name=os-version", get);
    expect(*state, map, "colour: green; size: XL\n[0]");
    expect(*state, key, "XL\n[0]");
    expect(*state, no, "! Error: Key k not found in map\n[1]");
    expect(*state, set, "a, b,c\n[0]");
    expect(*state, ref, "55555555-5555-5555-5555-555555555555\n[0]");
    expect(*state, null, "<not in database>\n[0]");
    expect(*state, through, "<not in database>\n[0]");
}

static void wrong_uuids_and_missing_parameters_are_named(void **state)
{
    expect(*state, "vm-param-get\nuuid=x\nparam-name=uuid",
           "! The uuid you supplied was invalid.\n! type: VM\n! uuid: x\n[1]");
    expect(*state, "vm-param-get\nparam-name=uuid",
           "! Required parameter not found: uuid\n! For usage run: 'xe help'\n[1]");
    expect(*state, "vm-fly", "! Unknown command: vm-fly\n! For usage run: 'xe help'\n[1]");
    expect(*state, "vm-list\nloose",
           "! Syntax error: 'loose' is not of the form name=value\n"
           "! For usage run: 'xe help'\n[1]");
}

static void param_set_calls_the_setters(void **state)
{
    struct world *w = *state;
    expect(w,
           "vm-param-set\nuuid=" UUID_DEMO "\nname-label=new\nmemory-static-max=512MiB\n"
           "other-config:colour=red\nis-a-template=true\naffinity=",
           "[0]");
    expect_calls(w, "VM.set_name_label OpaqueRef:demo new\n"
                    "VM.set_memory_static_max OpaqueRef:demo 536870912\n"
                    "VM.remove_from_other_config OpaqueRef:demo colour\n"
                    "VM.add_to_other_config OpaqueRef:demo colour red\n"
                    "VM.set_is_a_template OpaqueRef:demo true\n"
                    "VM.set_affinity OpaqueRef:demo OpaqueRef:NULL\n");
    expect(w, "vm-param-set\nuuid=" UUID_DEMO "\npower-state=halted",
           "! Error: Field 'power-state' is read-only.\n[1]");
    expect(w, "vm-param-set\nuuid=" UUID_DEMO "\nVCPUs-max=many",
           "! Error: Parameter VCPUs-max must be an integer\n[1]");
    expect_calls(w, "");
}

static void param_add_remove_and_clear_change_members(void **state)
{
    struct world *w = *state;
    expect(w, "vm-param-add\nuuid=" UUID_DEMO "\nparam-name=tags\nparam-key=z", "[0]");
    expect(w, "vm-param-add\nuuid=" UUID_DEMO "\nparam-name=other-config\nk=v", "[0]");
    expect(w, "vm-param-remove\nuuid=" UUID_DEMO "\nparam-name=tags\nparam-key=a", "[0]");
    expect(w, "vm-param-clear\nuuid=" UUID_DEMO "\nparam-name=other-config", "[0]");
    expect_calls(w, "VM.add_tags OpaqueRef:demo z\n"
                    "VM.add_to_other_config OpaqueRef:demo k v\n"
                    "VM.remove_tags OpaqueRef:demo a\n"
                    "VM.remove_from_other_config OpaqueRef:demo colour\n"
                    "VM.remove_from_other_config OpaqueRef:demo size\n");
    expect(w, "vm-param-remove\nuuid=" UUID_DEMO "\nparam-name=other-config\nparam-key=none",
           "! Error: Key none is not in map\n[1]");
}

/* ---- commands ---- */

static void selectors_take_names_uuids_and_fields(void **state)
{
    struct world *w = *state;
    expect(w, "vm-pause\nvm=demo", "[0]");
    expect(w, "vm-pause\nvm=" UUID_DEMO, "[0]");
    expect(w, "vm-pause\npower-state=running", "[0]");
    expect_calls(w, "VM.pause OpaqueRef:demo\nVM.pause OpaqueRef:demo\nVM.pause OpaqueRef:demo\n");
    expect(w, "vm-pause\nvm=none", "! Error: No matching VMs found\n[1]");
    expect(w, "vm-pause",
           "! Error: Multiple matches found. --multiple required to complete the operation\n[1]");
    expect(w, "vm-pause\n--multiple", "[0]");
    expect_calls(w, "VM.pause OpaqueRef:demo\nVM.pause OpaqueRef:other\n");
    expect(w, "vm-pause\nvm=Other install media", "! Error: No matching VMs found\n[1]");
}

static void start_and_shutdown_pass_their_options(void **state)
{
    struct world *w = *state;
    expect(w, "vm-start\nvm=demo\npaused=true", "[0]");
    expect(w, "vm-start\nvm=demo\non=box", "[0]");
    expect(w, "vm-shutdown\nvm=demo", "[0]");
    expect(w, "vm-shutdown\nvm=demo\n--force", "[0]");
    expect_calls(w, "VM.start OpaqueRef:demo true false\n"
                    "VM.start_on OpaqueRef:demo OpaqueRef:host false false\n"
                    "VM.clean_shutdown OpaqueRef:demo\n"
                    "VM.hard_shutdown OpaqueRef:demo\n");
}

static struct err *bad_power_state(void)
{
    return err_make("VM_BAD_POWER_STATE", __FILE__, __LINE__, 3, "OpaqueRef:demo", "halted",
                    "running");
}

static void api_errors_become_sentences(void **state)
{
    struct world *w = *state;
    w->fail = "VM.start";
    w->with = bad_power_state;
    expect(w, "vm-start\nvm=demo",
           "! You attempted an operation on a VM that was not in an appropriate power state at "
           "the time; for example, you attempted to start a VM that was already running.\n"
           "! vm: " UUID_DEMO " (demo)\n"
           "! expected: halted\n"
           "! actual: running\n[1]");
}

static void install_prints_the_uuid_alone(void **state)
{
    struct world *w = *state;
    expect(w, "vm-install\ntemplate=Other install media\nnew-name-label=x",
           "00000000-0000-0000-0000-0000000000ff\n[0]");
    expect_calls(w, "VM.clone OpaqueRef:tmpl x\n"
                    "VM.set_name_description OpaqueRef:new Installed via xe CLI\n"
                    "VM.set_suspend_SR OpaqueRef:new OpaqueRef:NULL\n"
                    "VM.provision OpaqueRef:new\n");
    expect(w,
           "vm-install\ntemplate-uuid=" UUID_TMPL "\nnew-name-label=x\nsr-name-label=Local storage",
           "00000000-0000-0000-0000-0000000000ff\n[0]");
    expect_calls(w, "VM.clone OpaqueRef:tmpl x\n"
                    "VM.set_name_description OpaqueRef:new Installed via xe CLI\n"
                    "VM.set_suspend_SR OpaqueRef:new OpaqueRef:sr\n"
                    "VM.provision OpaqueRef:new\n");
    expect(w, "vm-install\ntemplate=demo\nnew-name-label=x", "! Error: No templates matched\n[1]");
    expect(w, "vm-install\ntemplate=demo",
           "! Required parameter not found: new-name-label\n! For usage run: 'xe help'\n[1]");
}

static void install_takes_the_vm_away_on_failure(void **state)
{
    struct world *w = *state;
    w->fail = "VM.provision";
    w->with = bad_power_state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 16);
    run_as(w, true, "vm-install\ntemplate=Other install media\nnew-name-label=x", NULL, &out);
    assert_true(str_ends(buf_str(&out), "[1]"));
    assert_true(str_ends(buf_str(&w->calls), "VM.destroy OpaqueRef:new\n"));
}

static void install_without_storage_names_both_parameters(void **state)
{
    struct world *w = *state;
    struct val *tmpl = (struct val *)val_map_get(world_table(w, "VM"), "OpaqueRef:tmpl");
    struct val *config = val_map();
    val_put_str(config, "disks", "<provision><disk device=\"0\" sr=\"\"/></provision>");
    val_put(tmpl, "other_config", config);
    expect(w, "vm-install\ntemplate=Other install media\nnew-name-label=x",
           "00000000-0000-0000-0000-0000000000ff\n[0]");
    assert_non_null(strstr(buf_str(&w->calls),
                           "disks <provision><disk device=\"0\" sr=\"" UUID_SR "\"/></provision>"));
    val_put_str((struct val *)val_map_get(world_table(w, "pool"), "OpaqueRef:pool"), "default_SR",
                "OpaqueRef:NULL");
    expect(w, "vm-install\ntemplate=Other install media\nnew-name-label=x",
           "! Error: Failed to find a valid default SR for the Pool. Please provide an "
           "sr-name-label or sr-uuid parameter.\n[1]");
}

static void uninstall_tells_what_is_lost_and_asks(void **state)
{
    struct world *w = *state;
    struct val *vdi =
        world_add(w, "VDI", "OpaqueRef:vdi", "77777777-7777-7777-7777-777777777777", "disk");
    struct val *vbd =
        world_add(w, "VBD", "OpaqueRef:vbd", "88888888-8888-8888-8888-888888888888", "");
    struct val *owner = val_map(), *vbds = val_set();
    val_put_str(owner, "owner", "");
    val_put(vbd, "other_config", owner);
    val_put_str(vbd, "type", "Disk");
    val_put_str(vbd, "VDI", "OpaqueRef:vdi");
    val_add_str(vbds, "OpaqueRef:vbd");
    val_put((struct val *)val_map_get(world_table(w, "VM"), "OpaqueRef:demo"), "VBDs", vbds);
    (void)vdi;
    const char *list = "The following items are about to be destroyed\n"
                       "VM : " UUID_DEMO " (demo)\n"
                       "VDI: 77777777-7777-7777-7777-777777777777 (disk)\n";
    _cleanup_(buf_done) struct buf out;
    _cleanup_(freep) char *no = mem_printf("%sType 'yes' to continue\n<3>\n"
                                           "Aborted (you typed: 'no')\n[1]",
                                           list);
    buf_init(&out, 1 << 16);
    run_as(w, true, "vm-uninstall\nvm=demo", "no", &out);
    assert_string_equal(buf_str(&out), no);
    expect_calls(w, "");
    buf_clear(&out);
    run_as(w, true, "vm-uninstall\nvm=demo", "", &out);
    assert_non_null(
        strstr(buf_str(&out), "! Error: Nothing was typed; force=true answers yes\n[1]"));
    expect_calls(w, "");
    _cleanup_(freep) char *yes = mem_printf("%sAll objects destroyed\n[0]", list);
    expect(w, "vm-uninstall\nvm=demo\nforce=true", yes);
    expect_calls(w, "VM.hard_shutdown OpaqueRef:demo\nVM.destroy OpaqueRef:demo\n"
                    "VDI.destroy OpaqueRef:vdi\n");
}

static void strangers_need_a_password(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 16);
    run_as(w, false, "vm-list\n--minimal\nusername=root\npassword=right", NULL, &out);
    assert_string_equal(buf_str(&out), UUID_DEMO "," UUID_OTHER "\n[0]");
    assert_true(was_patient);
    buf_clear(&out);
    run_as(w, false, "vm-list\nusername=root\npassword=wrong", NULL, &out);
    assert_false(was_patient);
    assert_string_equal(buf_str(&out), "! Authentication failed\n! For usage run: 'xe help'\n[1]");
    buf_clear(&out);
    run_as(w, false, "vm-list", NULL, &out);
    assert_string_equal(buf_str(&out),
                        "! Username/password must be specified\n! For usage run: 'xe help'\n[1]");
}

static void calls_of_the_table_carry_their_parameters(void **state)
{
    struct world *w = *state;
    expect(w, "sr-introduce\nuuid=u\nname-label=n\ntype=ext\nshared=true", UUID_SR "\n[0]");
    expect(w, "host-disable\nhost=box", "[0]");
    expect(w, "vm-memory-set\nvm=demo\nmemory=1GiB", "[0]");
    expect_calls(w, "SR.introduce u n  ext  true {0}\n"
                    "host.disable OpaqueRef:host true\n"
                    "VM.set_memory OpaqueRef:demo 1073741824\n");
    expect(w, "vm-memory-set\nvm=demo\nmemory=much",
           "! Error: Parameter memory must be an integer\n[1]");
}

static void help_needs_no_session(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    run_as(w, false, "help\n--minimal", NULL, &out);
    assert_non_null(strstr(buf_str(&out), "vm-start"));
    assert_null(strstr(buf_str(&out), "vm-param-get"));
    buf_clear(&out);
    run_as(w, false, "help\nvm-start", NULL, &out);
    assert_non_null(strstr(buf_str(&out), "optional params: force, on, paused\n"));
    expect(w, "help\nvm-fly", "! Error: There is no command 'vm-fly'\n[1]");
}

#define test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(lists_have_upstreams_layout),
        test(minimal_prints_first_fields_joined),
        test(filters_look_into_maps_and_sets),
        test(a_list_of_many_is_few_writes),
        test(who_only_reads_is_answered_before_his_hello),
        test(nothing_is_changed_for_who_does_not_speak_the_protocol),
        test(param_get_prints_values_and_keys),
        test(wrong_uuids_and_missing_parameters_are_named),
        test(param_set_calls_the_setters),
        test(param_add_remove_and_clear_change_members),
        test(selectors_take_names_uuids_and_fields),
        test(start_and_shutdown_pass_their_options),
        test(api_errors_become_sentences),
        test(install_prints_the_uuid_alone),
        test(install_takes_the_vm_away_on_failure),
        test(install_without_storage_names_both_parameters),
        test(uninstall_tells_what_is_lost_and_asks),
        test(strangers_need_a_password),
        test(calls_of_the_table_carry_their_parameters),
        test(help_needs_no_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
