"""Guests whose repository is full, and guests whose cairn-diskd dies before they have used it."""
import os
import signal
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm, run_vm_on, state, wait_for  # noqa: E402
from simhost import failure  # noqa: E402
from storageserver import Network, Nfs  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)
MIB = 1 << 20


def kill_diskd(host, vm):
    old = host.pid_of(vm, "cairn-diskd")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: host.pid_of(vm, "cairn-diskd") not in (None, old))


@pytest.mark.parametrize("later", [0, 1])
def test_diskd_killed_before_the_first_request(host, vm, later):
    """QEMU does not come back by itself then; stopping it for a moment has it begin anew."""
    host.x.VM.start(vm, True, False)
    kill_diskd(host, vm)
    if later:
        host.x.VM.unpause(vm)
        kill_diskd(host, vm)
    else:
        host.x.VM.unpause(vm)
    host.rounds(vm, 3)
    assert state(host, vm)[0] == "Running"


def test_diskd_killed_while_the_guest_is_reset(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 3)
    host.x.VM.hard_reboot(vm)
    kill_diskd(host, vm)
    host.rounds(vm, 3)


@pytest.fixture
def small_sr(host):
    """A repository in a file system of 32 MiB: enough for all that the guest writes, if nothing else were there."""
    folder = tempfile.mkdtemp(prefix="small", dir=host.folder)
    image = folder + ".img"
    subprocess.run(["truncate", "-s", str(32 * MIB), image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    sr = host.x.SR.create(host.x.host.get_all()[0], {"location": os.path.join(folder, "sr")}, "0",
                          "narrow", "", "file", "user", False, {})
    yield sr, os.path.join(folder, "rest")
    pbd = host.x.SR.get_PBDs(sr)[0]
    host.x.PBD.unplug(pbd)
    host.x.SR.forget(sr)
    subprocess.run(["umount", folder], check=True)


def alerts(host, sr):
    uuid = host.x.SR.get_uuid(sr)
    return [m["name"] for m in host.x.message.get_all_records().values()
            if m["obj_uuid"] == uuid]


def parked(host, vm):
    """Whether a disk's requests wait, as diskd itself says it."""
    ctl = os.path.join(host.folder, "run", "disk", host.x_uuid[vm], "ctl.sock")
    out = subprocess.run(["socat", "-t", "2", "-", f"UNIX-CONNECT:{ctl}"], input='{"op": "query"}\n',
                         capture_output=True, text=True, check=False).stdout
    return '"code": "ENOSPC"' in out or '"code":"ENOSPC"' in out


def test_a_full_repository(host, small_sr):
    sr, rest = small_sr
    with run_vm_on(host, sr, os.path.join(os.path.dirname(rest), "sr")) as vm:
        with open(rest, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 24 * MIB)
        host.x.VM.start(vm, False, False)
        wait_for(lambda: parked(host, vm), 60)
        wait_for(lambda: "SR_FULL" in alerts(host, sr))
        assert state(host, vm)[0] == "Running"
        details = failure(host.x.VM.suspend, vm)
        assert details[0] == "SR_BACKEND_FAILURE_44" and "narrow" in details[3], details
        assert failure(host.x.VM.checkpoint, vm, "no")[0] == "SR_BACKEND_FAILURE_44"
        host.x.VM.pause(vm)
        host.x.VM.unpause(vm)
        wait_for(lambda: parked(host, vm))
        kill_diskd(host, vm)
        wait_for(lambda: parked(host, vm))
        host.x.VM.hard_shutdown(vm)
        host.x.VM.start(vm, False, False)
        wait_for(lambda: alerts(host, sr).count("SR_FULL") == 2, 60)
        os.unlink(rest)
        host.rounds(vm, 20)
        wait_for(lambda: "SR_GOES_ON" in alerts(host, sr))
        host.x.VM.suspend(vm)
        host.x.VM.resume(vm, False, False)
        host.rounds(vm, 3)


def test_a_full_repository_under_an_emulated_disk(host, small_sr):
    """Its driver would not wait for long: the guest stops at the request that has no room."""
    sr, rest = small_sr
    with run_vm_on(host, sr, os.path.join(os.path.dirname(rest), "sr")) as vm:
        host.x.VM.remove_from_platform(vm, "device-bus")
        host.x.VM.add_to_platform(vm, "device-bus", "emulated")
        with open(rest, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 24 * MIB)
        host.x.VM.start(vm, False, False)
        wait_for(lambda: "SR_FULL" in alerts(host, sr))
        assert state(host, vm)[0] == "Running"
        assert failure(host.x.VM.suspend, vm)[0] == "SR_BACKEND_FAILURE_44"
        host.x.VM.pause(vm)
        assert state(host, vm)[0] == "Paused"
        host.x.VM.unpause(vm)
        assert parked(host, vm) and "SR_GOES_ON" not in alerts(host, sr)
        kill_diskd(host, vm)
        host.restart()
        wait_for(lambda: parked(host, vm))
        assert state(host, vm)[0] == "Running"
        os.unlink(rest)
        host.rounds(vm, 20)
        wait_for(lambda: "SR_GOES_ON" in alerts(host, sr))
        host.x.VM.pause(vm)
        host.x.VM.unpause(vm)
        host.rounds(vm, 3)


def test_a_server_that_is_away(host, tmp_path_factory):
    """Pause and hard shutdown work, suspend is refused, and the guest goes on where it was."""
    with Network(tmp_path_factory.mktemp("net")) as net:
        nfs = Nfs(net, exports=("a",)).start()
        sr = host.x.SR.create(host.x.host.get_all()[0],
                              {"server": net.address, "serverpath": nfs.exports["a"]}, "0", "far",
                              "", "nfs", "user", True, {})
        with run_vm_on(host, sr, os.path.join(nfs.exports["a"], host.x.SR.get_uuid(sr))) as vm:
            host.x.VM.start(vm, False, False)
            host.rounds(vm, 3)
            nfs.stop()
            details = failure(host.x.VM.suspend, vm)
            assert details[0] == "SR_BACKEND_FAILURE_47" and "far" in details[3], details
            host.x.VM.pause(vm)
            host.x.VM.unpause(vm)
            nfs.start()
            host.rounds(vm, 3)
            nfs.stop()
            host.x.VM.hard_shutdown(vm)
            assert not host.pid_of(vm, "cairn-diskd")
            nfs.start()
            host.x.VM.start(vm, False, False)
            host.rounds(vm, 3)
