"""The npm package xen-api logs in, lists, watches, starts and stops a guest, on both transports."""
import json
import os
import subprocess

import pytest

from simhost import PASSWORD


def drive(daemon, transport, vm):
    argv = ["node", "xen_api.mjs", daemon.url, "root", PASSWORD, transport, vm]
    done = subprocess.run(argv, cwd=os.path.dirname(os.path.abspath(__file__)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("transport", ["json-rpc", "xml-rpc", "auto"])
def test_xen_api(daemon, x, node_modules, guest, transport):
    got = drive(daemon, transport, guest)
    assert got["types"]["VM"] == len(x.VM.get_all())
    assert got["types"]["pool"] == 1 and got["types"]["host"] == 1
    assert got["types"]["SR"] == len(x.SR.get_all())
    assert got["running"] == "Running" and got["barrier"] == "Running"
    assert "Running" in got["seen"] and got["seen"][-1] == "Halted"
    assert got["error"]["code"] == "HANDLE_INVALID"
    assert got["error"]["params"] == ["VM", "OpaqueRef:none"]
    assert got["failed"]["code"] == "VM_BAD_POWER_STATE"
    assert got["failed"]["params"] == [guest, "paused", "halted"]
    assert got["created"].startswith("OpaqueRef:")
    assert got["pool"] in x.pool.get_all()
    assert x.VM.get_name_description(guest) == "set by xen-api"
    assert x.VM.get_other_config(guest)["xen-api"] == "was here"
