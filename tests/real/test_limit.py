"""Limits of a VBD reach the process that serves its disk, and hold over that process's death."""
import json
import os
import signal
import socket
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm, wait_for  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def limit(host, vm):
    """What this guest's cairn-diskd goes by; None while there is none."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(os.path.join(host.folder, "run", "disk", host.x_uuid[vm], "ctl.sock"))
            s.sendall(b'{"op":"query"}\n')
            disks = json.loads(s.makefile().readline())["result"]["disks"]
        except (OSError, ValueError):
            return None
    return next((d["limit"] for d in disks if d["id"] == "0"), None)


def test_limits_of_a_vbd(host, vm):
    vbd = next(v for v in host.x.VM.get_VBDs(vm) if host.x.VBD.get_userdevice(v) == "0")
    assert host.x.VBD.get_qos_supported_algorithms(vbd) == ["ratelimit"]
    host.x.VBD.set_qos_algorithm_type(vbd, "ratelimit")
    host.x.VBD.set_qos_algorithm_params(vbd, {"kbps": "20480", "iops": "500"})
    host.x.VM.start(vm, False, False)
    want = {"bytes": 20480 * 1024, "ops": 500}
    assert limit(host, vm) == want
    host.rounds(vm, 3)
    pid = host.pid_of(vm, "diskd")
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: host.pid_of(vm, "diskd") not in (None, pid) and limit(host, vm) == want, 30)
    host.rounds(vm, 3)
    host.x.VM.hard_shutdown(vm)
    host.x.VBD.set_qos_algorithm_type(vbd, "")
    host.x.VM.start(vm, False, False)
    assert limit(host, vm) == {"bytes": 0, "ops": 0}
