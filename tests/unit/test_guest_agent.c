/*
 * test_guest_agent.c: what is asked of the agents inside guests. What an agent did is looked for in
 * the guest's file of the simulated world.
 */
#include "op/world.h"

#include "../torture/lab_test.h"

#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"

/* What the guest's agent has done, as JSON; "" if nothing. The caller's. */
static char *inside(void)
{
    _cleanup_(buf_done) struct buf text;
    _cleanup_(buf_done) struct buf part;
    _cleanup_(val_unrefp) struct val *world = NULL;
    _cleanup_(freep) char *path = mem_printf("%s/run/world/%s.guest", lab_dir, now()->uuid);
    buf_init(&text, 1 << 20);
    buf_init(&part, 1 << 20);
    assert_int_equal(fd_read_file(path, 1 << 20, &text), 0);
    assert_int_equal(json_parse((struct view){text.data, text.size}, &world), 0);
    const struct val *v = val_map_get(world, "inside");
    if (v)
        json_put_val(&part, v);
    return mem_strdup(buf_str(&part));
}

static void expect_inside(const char *part)
{
    _cleanup_(freep) char *text = inside();
    if (part ? !strstr(text, part) : *text)
        print_error("inside: %s\n", text);
    assert_true(part ? strstr(text, part) != NULL : !*text);
}

static struct err *permit_txn(struct txn *t, void *arg)
{
    struct rec_pool *pool = txn_edit_pool(t, w.ops->pool_ref);
    val_assign(&pool->other_config,
               val_with(pool->other_config, "allow_guest_agent_run_script", "true"));
    return NULL;
}

static void permit(void)
{
    ok(db_write(w.db, "permission", permit_txn, NULL));
}

static struct err *call(const char *plugin, const char *fn, const char *script, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *args = val_map();
    val_put_str(args, "username", "root");
    val_put_str(args, "password", "secret");
    if (script)
        val_put_str(args, "script", script);
    return lab_ask(&w, ret, VM_call_plugin, w.vm, .vm = w.vm, .plugin = plugin, .fn = fn,
                   .args = args);
}

#define SCRIPT(text, ret) call("guest-agent-operation", "run-script", (text), (ret))

static void scripts_run_in_the_guest(void **state)
{
    struct val *got = NULL;
    refused(SCRIPT("ls", &got), "VM_BAD_POWER_STATE");
    START();
    guest_does(SIM_AGENT, 9);
    permit();
    ok(SCRIPT("exit 3", &got));
    assert_string_equal(val_get_str(got), "{\"rc\":3,\"stdout\":\"exit 3\",\"stderr\":\"\"}");
    val_unrefp(&got);
    expect_inside("\"ran\":[\"/bin/sh\",\"-c\",\"exit 3\"]");
}

static void what_no_script_may(void **state)
{
    struct val *got = NULL;
    char big[1026];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    START();
    guest_does(SIM_AGENT, 9);
    refused(SCRIPT("ls", &got), "FEATURE_RESTRICTED");
    permit();
    refused(SCRIPT(NULL, &got), "XENAPI_PLUGIN_FAILURE");
    refused(SCRIPT(big, &got), "XENAPI_PLUGIN_FAILURE");
    refused(call("guest-agent-operation", "request-rdp-on", "", &got), "XENAPI_PLUGIN_FAILURE");
    refused(call("guest-agent-operation", "dance", "", &got), "XENAPI_PLUGIN_FAILURE");
    expect(call("other", "run-script", "ls", &got), "XENAPI_MISSING_PLUGIN other");
    expect_inside(NULL);
}

static void a_guest_without_an_agent_runs_nothing(void **state)
{
    struct val *got = NULL;
    permit();
    START();
    refused(SCRIPT("ls", &got), "XENAPI_PLUGIN_FAILURE");
}

static void guests_are_told_the_settings_of_the_pool(void **state)
{
    START();
    guest_does(SIM_AGENT, 9);
    ok(lab_call(&w, host_apply_guest_agent_config, NULL, .host = w.host_ref));
    expect_inside("\"/run/cairn-guest-agent.json\":\"{}\\n\"");
    ok(lab_call(&w, pool_add_to_guest_agent_config, NULL, .self = w.ops->pool_ref, .key = "a",
                .value = "1"));
    expect_inside("{\\\"a\\\":\\\"1\\\"}");
    refused(lab_call(&w, pool_add_to_guest_agent_config, NULL, .self = w.ops->pool_ref, .key = "a",
                     .value = "2"),
            "MAP_DUPLICATE_KEY");
    ok(lab_call(&w, pool_remove_from_guest_agent_config, NULL, .self = w.ops->pool_ref,
                .key = "a"));
    expect_inside("\"/run/cairn-guest-agent.json\":\"{}\\n\"");
}

#define T(f) cmocka_unit_test_setup_teardown(f, lab_test_begin, lab_test_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(scripts_run_in_the_guest),
        T(what_no_script_may),
        T(a_guest_without_an_agent_runs_nothing),
        T(guests_are_told_the_settings_of_the_pool),
    };
    return cmocka_run_group_tests_name("guest_agent", tests, NULL, NULL);
}
