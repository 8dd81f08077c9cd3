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
