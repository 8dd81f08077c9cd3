"""VM.call_plugin with the agent of a real guest: Debian's, in the demo guest. What a script did is
seen on the guest's serial console."""
import json
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import MIB, run_host, wait_for  # noqa: E402
from simhost import BUILD, TOP, failure  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
PERMISSION = "allow_guest_agent_run_script"


@pytest.fixture(scope="module")
def demo():
    """Kernel, initrd and root disk; made once for a build folder."""
    folder = os.environ.get("CAIRN_DEMO", os.path.join(BUILD, "demo"))
    path = f"{BUILD}:{os.environ['PATH']}"
    made = subprocess.run([os.path.join(TOP, "tools", "demo-guest"), folder], check=False,
                          env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL)
    assert made.returncode == 0, "the demo guest cannot be built; see what tools/demo-guest says"
    return folder


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        return f.read().strip()


def put_disk(host, demo):
    uuid, sr = read(demo, "root.uuid"), host.x.SR.get_by_name_label("Local storage")[0]
    place = os.path.join(host.folder, "sr", host.x.SR.get_uuid(sr))
    place = place if os.path.isdir(place) else os.path.join(host.folder, "sr")
    shutil.copyfile(os.path.join(demo, "root.vhd"), os.path.join(place, uuid + ".vhd"))
    host.x.SR.scan(sr)
    return host.x.VDI.get_by_uuid(uuid)


@pytest.fixture(scope="module")
def guest(host, demo):
    x = host.x
    vm = host.make_vm("demo", vdi=put_disk(host, demo))
    x.VM.set_memory_limits(vm, *[str(192 * MIB)] * 4)
    x.VM.set_HVM_boot_policy(vm, "")
    x.VM.set_PV_kernel(vm, os.path.join(demo, "vmlinuz"))
    x.VM.set_PV_ramdisk(vm, os.path.join(demo, "initrd"))
    x.VM.set_PV_args(vm, read(demo, "cmdline"))
    x.VM.start(vm, False, False)

    def answers():
        metrics = x.VM.get_guest_metrics(vm)
        return metrics != "OpaqueRef:NULL" and x.VM_guest_metrics.get_os_version(metrics).get("name")

    wait_for(answers, 300)
    x.pool.add_to_other_config(x.pool.get_all()[0], PERMISSION, "true")
    yield vm
    host.remove_vm(vm)


def script(text, **more):
    return "guest-agent-operation", "run-script", {"username": "root", "password": "", "script": text,
                                                   **more}


def wait_text(sock, wanted):
    seen = b""
    while wanted.encode() not in seen:
        seen += sock.recv(4096)
    sock.close()


def on_console(host, guest, command, wanted):
    """Types a line to the shell on the serial console and waits for an answer."""
    sock = host.listen(guest)
    sock.sendall(b"\n" + command.encode() + b"\n")
    wait_text(sock, wanted)


def test_a_script_runs_in_the_guest(host, guest):
    got = json.loads(host.x.VM.call_plugin(
        guest, *script("echo made$((40 + 2)) >/tmp/by-script; echo out; echo err >&2; exit 3")))
    assert (int(got["rc"]), got["stdout"], got["stderr"]) == (3, "out\n", "err\n")
    on_console(host, guest, "cat /tmp/by-script", "made42")


def test_output_is_cut(host, guest):
    got = json.loads(host.x.VM.call_plugin(guest, *script("yes | head -c 5000")))
    assert got["stdout"].startswith("y\ny\n") and got["stdout"].endswith(" (truncated)")
    assert len(got["stdout"]) == 1024


def test_a_script_that_waits_is_cancelled(host, guest):
    x, sock = host.x, host.listen(guest)
    task = x.call("Async.VM.call_plugin", guest,
                  *script("echo wait$((40 + 2)) >/dev/ttyS0; sleep 1000"))
    wait_text(sock, "wait42")
    wait_for(lambda: x.task.get_allowed_operations(task) == ["cancel"])
    x.task.cancel(task)
    wait_for(lambda: x.task.get_status(task) == "cancelled", 30)
    x.task.destroy(task)


def test_refusals(host, guest):
    x = host.x
    assert failure(x.VM.call_plugin, guest, *script("#" * 1025))[:2] == \
        ["XENAPI_PLUGIN_FAILURE", "length restriction"]
    assert failure(x.VM.call_plugin, guest, "guest-agent-operation", "run-script", {"script": "x"})[:2] \
        == ["XENAPI_PLUGIN_FAILURE", "missing argument"]
    pool = x.pool.get_all()[0]
    x.pool.remove_from_other_config(pool, PERMISSION)
    assert failure(x.VM.call_plugin, guest, *script("touch /tmp/forbidden")) == ["FEATURE_RESTRICTED"]
    x.pool.add_to_other_config(pool, PERMISSION, "true")
    got = json.loads(x.VM.call_plugin(guest, *script("ls /tmp/forbidden")))
    assert int(got["rc"]) != 0
