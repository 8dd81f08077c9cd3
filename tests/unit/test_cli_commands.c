/* Tests of src/cli: what commands do beyond handing parameters on - suggestions, records, files,
 * waiting, long work, confirmations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/suggest.h"
#include "cli_fixture.h"

static struct val *object(struct world *w, const char *cls, const char *ref)
{
    return (struct val *)val_map_get(world_table(w, cls), ref);
}

/* ---- what was meant ---- */

static void the_nearest_word_is_suggested(void **state)
{
    struct suggest s = {.word = "vm-strat"};
    (void)state;
    suggest_offer(&s, "vm-reset");
    assert_null(s.best);
    suggest_offer(&s, "vm-start");
    suggest_offer(&s, "vm-strap");
    assert_string_equal(s.best, "vm-start");
    assert_int_equal(s.distance, 1); /* two letters swapped are one error */
    struct suggest brief = {.word = "vm"};
    suggest_offer(&brief, "vms");
    assert_null(brief.best);
}

static void misspelt_words_are_met_with_a_suggestion(void **state)
{
    struct world *w = *state;
    expect(
        w, "vm-strat\nvm=demo",
        "! Unknown command: vm-strat\n! Did you mean 'vm-start'?\n! For usage run: 'xe help'\n[1]");
    expect(w, "vm-list\nnam-label=x",
           "! Error: Unknown field 'nam-label'; did you mean 'name-label'?\n[1]");
    expect(w, "vbd-eject\nuuid=x\nforse=true",
           "! Ignoring unknown parameter 'forse'\n"
           "! The uuid you supplied was invalid.\n! type: VBD\n! uuid: x\n[1]");
    expect(w, "vbd-eject\nuuid=x\n:key=nameless",
           "! Ignoring unknown parameter ':key'\n"
           "! The uuid you supplied was invalid.\n! type: VBD\n! uuid: x\n[1]");
    expect(w, "sr-introduce\nuuid=u\nname-label=n\ntype=ext\nsharde=true\nsm-config:a=b",
           "! Ignoring unknown parameter 'sharde'; did you mean 'shared'?\n" UUID_SR "\n[0]");
}

static void nobody_means_the_control_domain_by_saying_nothing(void **state)
{
    struct world *w = *state;
    val_put_bool(object(w, "VM", "OpaqueRef:demo"), "is_control_domain", true);
    val_put_bool(object(w, "VM", "OpaqueRef:other"), "is_control_domain", true);
    expect(w, "vm-start", "! Error: No matching VMs found; name one by vm=<uuid or name>\n[1]");
    expect(w, "vm-clone\nnew-name-label=x",
           "! Error: No matching VMs found; name one by vm=<uuid or name>\n[1]");
    expect_calls(w, "");
    expect(w, "vm-start\nvm=demo", "[0]");
    expect_calls(w, "VM.start OpaqueRef:demo false false\n");
}

static struct err *no_memory(void)
{
    return err_make("HOST_NOT_ENOUGH_FREE_MEMORY", __FILE__, __LINE__, 2, "4294967296",
                    "1288490188");
}

static void refusals_give_numbers_and_what_helps(void **state)
{
    struct world *w = *state;
    w->fail = "VM.start";
    w->with = no_memory;
    expect(w, "vm-start\nvm=demo",
           "! The host has not enough free memory.\n"
           "! needed: 4294967296 (4.0 GiB)\n! available: 1288490188 (1.2 GiB)\n"
           "! What helps: shut down or suspend other VMs, or give this one less: "
           "xe vm-memory-set.\n[1]");
}

/* ---- records and files ---- */

static void calls_can_take_records(void **state)
{
    struct world *w = *state;
    expect(w,
           "vmss-create\nname-label=n\ntype=snapshot\nfrequency=daily\nschedule:hour=3\n"
           "schedule:min=0",
           "\n[0]");
    expect_calls(w, "VMSS.create {7}\n");
    expect(w, "vmss-create\nname-label=n\ntype=snapshot\nfrequency=daily\nenabled=perhaps",
           "! Error: Parameter enabled must be a boolean (true or false)\n[1]");
}

static void calls_can_take_files(void **state)
{
    struct world *w = *state;
    expect_with(w, "pool-install-ca-certificate\nfilename=/tmp/ca.pem", "<ok>PEM",
                "<1 /tmp/ca.pem>\n[0]");
    expect_calls(w, "pool.install_ca_certificate ca.pem PEM\n");
    expect_with(w, "pool-install-ca-certificate\nfilename=/tmp/ca.pem", "<failed>",
                "<1 /tmp/ca.pem>\n! Error: Failed to read the file /tmp/ca.pem\n[1]");
    expect_with(
        w, "host-call-plugin\nhost-uuid=" UUID_HOST "\nplugin=p\nfn=f\nargs:a=1\nargs:b:file=f",
        "<ok>text", "<1 f>\n\n[0]");
    expect_calls(w, "host.call_plugin OpaqueRef:host p f {2}\n");
}

static void force_chooses_the_other_message(void **state)
{
    struct world *w = *state;
    world_add(w, "VBD", "OpaqueRef:vbd", "88888888-8888-8888-8888-888888888888", "");
    expect(w, "vbd-unplug\nuuid=88888888-8888-8888-8888-888888888888", "[0]");
    expect(w, "vbd-unplug\nuuid=88888888-8888-8888-8888-888888888888\nforce=true", "[0]");
    expect_calls(w, "VBD.unplug OpaqueRef:vbd\nVBD.unplug_force OpaqueRef:vbd\n");
}

/* ---- fields that are only written whole ---- */

static void members_of_such_fields_are_changed_one_by_one(void **state)
{
    struct world *w = *state;
    struct val *set = val_set(), *map = val_map();
    struct val *o =
        world_add(w, "Observer", "OpaqueRef:o", "77777777-7777-7777-7777-777777777777", "");
    const char *which = "uuid=77777777-7777-7777-7777-777777777777";
    val_add_str(set, "a");
    val_add_str(set, "b");
    val_put_str(map, "k", "v");
    val_put(o, "endpoints", set);
    val_put(o, "attributes", map);
    static const char *const lines[] = {
        "observer-param-add\n%s\nparam-name=endpoints\nparam-key=c",
        "observer-param-remove\n%s\nparam-name=endpoints\nparam-key=a",
        "observer-param-add\n%s\nparam-name=attributes\nx=y\nz=1",
        "observer-param-remove\n%s\nparam-name=attributes\nparam-key=k",
        "observer-param-set\n%s\nattributes:x=y",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        _cleanup_(buf_done) struct buf words;
        buf_init(&words, 4096);
        buf_printf(&words, lines[i], which);
        expect(w, buf_str(&words), "[0]");
    }
    expect_calls(w, "Observer.set_endpoints OpaqueRef:o {3}\n"
                    "Observer.set_endpoints OpaqueRef:o {1}\n"
                    "Observer.set_attributes OpaqueRef:o {3}\n"
                    "Observer.set_attributes OpaqueRef:o {0}\n"
                    "Observer.set_attributes OpaqueRef:o {2}\n");
}

/* ---- waiting ---- */

static void third_event_changes_the_vm(struct world *w)
{
    static unsigned n;
    if (++n % 3)
        return;
    struct val *vm = object(w, "VM", "OpaqueRef:other"), *tags = val_set();
    val_put_str(vm, "power_state", "Running");
    val_add_str(tags, "ready");
    val_put(vm, "tags", tags);
}

static void event_wait_knows_its_whole_grammar(void **state)
{
    struct world *w = *state;
    w->on_event = third_event_changes_the_vm;
    expect(w, "event-wait\nclass=vm\nuuid=" UUID_OTHER "\npower-state=running", "[0]");
    val_put_str(object(w, "VM", "OpaqueRef:other"), "power_state", "Halted");
    val_put(object(w, "VM", "OpaqueRef:other"), "tags", val_set());
    expect(w, "event-wait\nclass=vm\nuuid=" UUID_OTHER "\ntags:contains=ready", "[0]");
    expect(w, "event-wait\nclass=vm\nuuid=" UUID_OTHER "\npower-state=/=halted", "[0]");
    expect(w, "event-wait\nclass=vm\nother-config:colour=green\nother-config:size=/=XS", "[0]");
    expect(w, "event-wait\nclass=vm\nname-label=/=demo\ntags:contains=/=b,c", "[0]");
    expect(w, "event-wait\nclass=vm\nno-such=1", "! Error: Unknown field 'no-such'\n[1]");
    expect(w, "event-wait\nclass=nothing", "! Error: There is no class 'nothing'\n[1]");
}

/* ---- long work ---- */

static void progress_runs_a_task_and_tells(void **state)
{
    struct world *w = *state;
    w->task_states = view_of("0 0.25 0.5 <value>OpaqueRef:demo</value>");
    expect(w, "vm-clone\nvm=demo\nnew-name-label=x\n--progress",
           "! \rVM.clone:   0 %! \rVM.clone:  25 %! \rVM.clone:  50 %! \n" UUID_DEMO "\n[0]");
    expect_calls(w, "Async.VM.clone OpaqueRef:demo x\ntask.destroy OpaqueRef:task\n");
    w->task_states = view_of("SR_FULL");
    expect(w, "vm-clone\nvm=demo\nnew-name-label=x\n--progress",
           "! The storage repository is full.\n! requested: <unknown>\n! maximum: <unknown>\n"
           "! What helps: destroy what is not needed (xe vdi-list sr-uuid=<SR>) or use another "
           "repository (xe sr-list).\n[1]");
}

#define TRANSFER(what) "<12 " what "session_id=OpaqueRef:session&task_id=OpaqueRef:task>\n"

static void files_go_through_handlers_under_a_task(void **state)
{
    struct world *w = *state;
    const char *words = "audit-log-get\nfilename=out\nsince=2026-01-01T00:00:00Z&x";
    const char *seen = TRANSFER("out /audit_log?since=2026-01-01T00:00:00Z%26x&");
    _cleanup_(freep) char *fine = mem_printf("%s[0]", seen);
    _cleanup_(freep) char *full = mem_printf("%s! The host is in use.\n! host: <unknown>\n"
                                             "! type: <unknown>\n! ref: <unknown>\n[1]",
                                             seen);
    _cleanup_(freep) char *unseen =
        mem_printf("%s! Error: The transfer failed: the server never saw it\n[1]", seen);
    w->task_states = view_of("0 <value></value>");
    expect_with(w, words, "<ok>", fine);
    expect_calls(w, "task.set_progress OpaqueRef:task -1\ntask.destroy OpaqueRef:task\n");
    w->task_states = view_of("0 <value></value>");
    expect_with(w, "pool-dump-database\nfile-name=out", "<ok>",
                TRANSFER("out /pool/xmldbdump?") "[0]");
    w->task_states = view_of("HOST_IN_USE");
    expect_with(w, words, "<failed>", full);
    w->task_states = view_of("-1");
    expect_with(w, words, "<failed>", unseen);
}

static bool serves_blobs(const char *handler)
{
    return strcmp(handler, "get_blob") == 0;
}

static void commands_without_their_handler_are_not_offered(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    w->serves = serves_blobs;
    expect(w, "audit-log-get\nfilename=out",
           "! Error: The command audit-log-get is not implemented by this host\n[1]");
    run_as(w, true, "help\naudit-log-get\nblob-get", NULL, &out);
    assert_non_null(strstr(buf_str(&out), "This host does not implement this command yet."));
    assert_non_null(strstr(buf_str(&out), "Write what a blob holds"));
    buf_clear(&out);
    run_as(w, true, "help\n--all", NULL, &out);
    assert_null(strstr(buf_str(&out), "audit-log-get"));
}

static void restoring_the_database_is_confirmed(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 16);
    run_as(w, true, "pool-restore-database\nfile-name=db", "", &out);
    assert_non_null(strstr(buf_str(&out), "will be lost.\nType 'yes' to continue\n"));
    assert_true(str_ends(buf_str(&out), "! Error: Nothing was typed; force=true answers yes\n[1]"));
    expect_calls(w, "");
}

static void forgetting_a_host_names_what_is_lost(void **state)
{
    struct world *w = *state;
    struct val *vms = val_set();
    _cleanup_(buf_done) struct buf out;
    val_add_str(vms, "OpaqueRef:demo");
    val_put(object(w, "host", "OpaqueRef:host"), "resident_VMs", vms);
    buf_init(&out, 1 << 16);
    run_as(w, true, "host-forget\nuuid=" UUID_HOST, "no", &out);
    assert_non_null(
        strstr(buf_str(&out), "Host: " UUID_HOST " (box)\nVM : " UUID_DEMO " (demo)\n"));
    assert_true(str_ends(buf_str(&out), "Aborted (you typed: 'no')\n[1]"));
    expect_calls(w, "");
    expect(w, "host-forget\nuuid=" UUID_HOST "\nforce=true", "[0]");
    expect_calls(w, "host.destroy OpaqueRef:host\n");
}

/* ---- consoles ---- */

static void a_vm_without_a_text_console_has_a_page(void **state)
{
    struct world *w = *state;
    struct val *consoles = val_set();
    expect(w, "console\nvm=demo", "! Error: No text console available (is the VM running?)\n[1]");
    struct val *rfb = world_add(w, "console", "OpaqueRef:rfb", "c0", "");
    val_put_str(rfb, "protocol", "rfb");
    val_put_str(rfb, "location", "https://10.0.0.1:8443/console?uuid=c0");
    val_add_str(consoles, "OpaqueRef:rfb");
    val_put(object(w, "VM", "OpaqueRef:demo"), "consoles", consoles);
    expect(w, "console\nvm=demo",
           "The VM has no text console; a browser shows its screen at\n"
           "https://10.0.0.1:8443/console.html?uuid=" UUID_DEMO "\n[0]");
}

#define test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_word_is_suggested),
        test(misspelt_words_are_met_with_a_suggestion),
        test(nobody_means_the_control_domain_by_saying_nothing),
        test(refusals_give_numbers_and_what_helps),
        test(calls_can_take_records),
        test(calls_can_take_files),
        test(force_chooses_the_other_message),
        test(members_of_such_fields_are_changed_one_by_one),
        test(event_wait_knows_its_whole_grammar),
        test(progress_runs_a_task_and_tells),
        test(files_go_through_handlers_under_a_task),
        test(commands_without_their_handler_are_not_offered),
        test(restoring_the_database_is_confirmed),
        test(forgetting_a_host_names_what_is_lost),
        test(a_vm_without_a_text_console_has_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
