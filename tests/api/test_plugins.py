"""host.call_plugin: programs of the plugin folder."""
import os

import pytest

from simhost import failure

PLUGIN = """#!/usr/bin/python3
import sys, xmlrpc.client
(session, args), fn = xmlrpc.client.loads(sys.argv[1])
if fn == "echo":
    answer = {"Status": "Success", "Value": f"{session} {args['text']}"}
elif fn == "refuse":
    answer = {"Status": "Failure", "ErrorDescription": ["MY_CODE", "a", "b"]}
elif fn == "babble":
    print("no XML")
    sys.exit(0)
else:
    print("half")
    print("why", file=sys.stderr)
    sys.exit(3)
print(xmlrpc.client.dumps((answer,), methodresponse=True))
"""


@pytest.fixture
def plugin(daemon):
    folder = os.path.join(daemon.folder, "plugins")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "tests")
    with open(path, "w", encoding="utf-8") as f:
        f.write(PLUGIN)
    os.chmod(path, 0o755)
    yield "tests"
    os.unlink(path)


def test_what_a_plugin_answers(x, plugin):
    host = x.host.get_all()[0]
    assert x.host.call_plugin(host, plugin, "echo", {"text": "<hello> \u00fc"}) == \
        f"{x.ref} <hello> \u00fc"
    assert failure(x.host.call_plugin, host, plugin, "refuse", {}) == ["MY_CODE", "a", "b"]
    task = x.call("Async.host.call_plugin", host, plugin, "echo", {"text": "task"})
    assert x.wait(task) == f"<value>{x.ref} task</value>"


def test_what_goes_wrong(daemon, x, plugin):
    host = x.host.get_all()[0]
    assert failure(x.host.call_plugin, host, plugin, "no such function", {}) == \
        ["XENAPI_PLUGIN_FAILURE", "3", "half\n", "why\n"]
    assert failure(x.host.call_plugin, host, plugin, "babble", {})[:3] == \
        ["XENAPI_PLUGIN_FAILURE", "no answer of a call", "no XML\n"]
    for name in ("absent", "../users", ".", ""):
        assert failure(x.host.call_plugin, host, name, "f", {}) == ["XENAPI_MISSING_PLUGIN", name]
    assert failure(x.host.call_plugin, "OpaqueRef:x", plugin, "echo", {})[0] == "HANDLE_INVALID"
    with daemon.connect("pool-operator") as low:
        assert failure(low.host.call_plugin, host, plugin, "echo", {})[0] == \
            "RBAC_PERMISSION_DENIED"


@pytest.fixture
def guest(x):
    """A VM that runs."""
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "calls plugins")
    x.VM.set_is_a_template(vm, False)
    x.VM.start(vm, False, False)
    yield vm
    if x.VM.get_power_state(vm) != "Halted":
        x.VM.hard_shutdown(vm)
    x.VM.destroy(vm)


def test_plugins_for_those_who_look_after_vms(daemon, x, plugin, guest):
    folder = os.path.join(daemon.folder, "plugins")
    os.symlink(os.path.join(folder, plugin), os.path.join(folder, "vm-tests"))
    with daemon.connect("vm-operator") as low:
        call = low.VM.call_host_plugin
        assert call(guest, "vm-tests", "echo", {"text": "hello"}) == f"{low.ref} hello"
        assert failure(call, guest, "vm-tests", "refuse", {}) == ["MY_CODE", "a", "b"]
        assert failure(call, guest, plugin, "echo", {}) == ["XENAPI_MISSING_PLUGIN", plugin]
    assert x.VM.call_host_plugin(guest, plugin, "echo", {"text": "a"}) == f"{x.ref} a"
    x.VM.hard_shutdown(guest)
    assert failure(x.VM.call_host_plugin, guest, plugin, "echo", {"text": "a"}) == \
        ["VM_BAD_POWER_STATE", guest, "running, paused", "halted"]
    os.unlink(os.path.join(folder, "vm-tests"))


def test_scripts_in_guests_need_permission_and_role(daemon, x):
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "scripted")
    x.VM.provision(vm)
    x.VM.start(vm, False, False)
    pool, key = x.pool.get_all()[0], "allow_guest_agent_run_script"
    call = (vm, "guest-agent-operation", "run-script",
            {"username": "root", "password": "p", "script": "true"})
    with daemon.connect("vm-operator") as low:
        assert failure(low.VM.call_plugin, *call) == ["FEATURE_RESTRICTED"]
        x.pool.add_to_other_config(pool, key, "true")
        assert failure(low.VM.call_plugin, *call)[0] == "RBAC_PERMISSION_DENIED"
    assert failure(x.VM.call_plugin, *call)[:2] == ["XENAPI_PLUGIN_FAILURE", "failed to execute fn"]
    x.pool.remove_from_other_config(pool, key)
    x.VM.hard_shutdown(vm)
    x.VM.destroy(vm)
