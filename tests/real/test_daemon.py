"""The whole host with real guests: cairnd, cairn-diskd and QEMU, each killed in turn."""
import glob
import os
import random
import signal
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm, state, wait_for  # noqa: E402
from simhost import failure  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def test_a_guest_boots_from_its_vhd_and_writes(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 20)
    assert host.pid_of(vm, "qemu-system") and host.pid_of(vm, "cairn-diskd")
    host.x.VM.hard_shutdown(vm)
    assert not host.pid_of(vm, "qemu-system") and not host.pid_of(vm, "cairn-diskd")


def test_pause_really_stops_it(host, vm):
    host.x.VM.start(vm, True, False)
    assert state(host, vm)[0] == "Paused"
    host.x.VM.unpause(vm)
    host.rounds(vm, 5)
    host.x.VM.pause(vm)
    sock = host.listen(vm)
    sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            sock.recv(65536)
            sock.settimeout(0.5)
    host.x.VM.unpause(vm)
    host.rounds(vm, 5)


def test_killed_daemon_finds_its_guest_again(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    pid, domid = host.pid_of(vm, "qemu-system"), state(host, vm)[1]
    host.restart(signal.SIGKILL)
    assert state(host, vm) == ("Running", domid, {})
    assert host.pid_of(vm, "qemu-system") == pid
    host.rounds(vm, 5)
    assert failure(host.x.VM.start, vm, False, False)[0] == "VM_BAD_POWER_STATE"


def test_daemon_killed_in_the_middle_of_start(host, vm):
    """Whatever the moment: afterwards the guest runs and is recorded, or neither."""
    rnd = random.Random(7)
    seen = set()
    for _ in range(6):
        host.x.Async.VM.start(vm, False, False)
        time.sleep(rnd.random() * 0.3)
        host.restart(signal.SIGKILL)
        now, _, running = state(host, vm)
        assert running == {}
        assert (now == "Running") == bool(host.pid_of(vm, "qemu-system")), now
        assert not [t for t in host.x.task.get_all_records().values() if t["status"] == "pending"]
        seen.add(now)
        if now == "Running":
            host.rounds(vm, 3)
            host.x.VM.hard_shutdown(vm)
        assert not host.pid_of(vm, "cairn-diskd")
    assert seen <= {"Running", "Halted"}


def test_killed_qemu_is_halted_at_once(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)
    host.kill(vm, "qemu-system")
    wait_for(lambda: state(host, vm)[0] == "Halted")
    told = [m for m in host.x.message.get_all_records().values()
            if m["name"] == "VM_CRASHED" and m["obj_uuid"] == host.x.VM.get_uuid(vm)]
    assert len(told) == 1 and "signal 9" in told[0]["body"]
    wait_for(lambda: not host.pid_of(vm, "cairn-diskd"))
    wait_for(lambda: not host.x.VM.get_current_operations(vm))  # what cleans up behind it has ended
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)


def test_killed_diskd_loses_no_write(host, vm):
    host.x.VM.start(vm, False, False)
    for _ in range(3):
        host.rounds(vm, 10)
        old = host.pid_of(vm, "cairn-diskd")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: host.pid_of(vm, "cairn-diskd") not in (None, old))
        host.rounds(vm, 10)
    assert state(host, vm)[0] == "Running"


def test_daemon_and_diskd_killed_together(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    old = host.pid_of(vm, "cairn-diskd")
    host.process.kill()
    os.kill(old, signal.SIGKILL)
    host.restart(signal.SIGKILL)
    wait_for(lambda: host.pid_of(vm, "cairn-diskd") not in (None, old))
    host.rounds(vm, 10)


def test_a_guest_that_is_silent_when_the_daemon_starts(host, vm):
    """Nothing is said about it that is not known, and it is there as soon as it answers."""
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)
    host.kill(vm, "qemu-system", signal.SIGSTOP)
    try:
        host.restart(signal.SIGKILL)
        assert state(host, vm)[0] == "Running"
        assert "does not answer" in " ".join(failure(host.x.VM.pause, vm))
        assert state(host, vm)[0] == "Running"
    finally:
        host.kill(vm, "qemu-system", signal.SIGCONT)
    host.x.VM.pause(vm)
    assert state(host, vm)[0] == "Paused"
    host.x.VM.unpause(vm)
    host.rounds(vm, 10)


def test_reboot_takes_the_next_domid(host, vm):
    host.x.VM.start(vm, False, False)
    domid = int(state(host, vm)[1])
    host.rounds(vm, 2)  # a reset within its first milliseconds can leave the firmware hanging
    host.x.VM.hard_reboot(vm)
    assert int(state(host, vm)[1]) == domid + 1
    host.rounds(vm, 3)


def test_suspend_and_resume_go_on_where_it_was(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 10)
    host.x.VM.suspend(vm)
    assert state(host, vm)[0] == "Suspended"
    assert not host.pid_of(vm, "qemu-system")
    image = host.x.VM.get_suspend_VDI(vm)
    assert host.x.VDI.get_type(image) == "suspend"
    host.restart(signal.SIGKILL)
    assert state(host, vm)[0] == "Suspended"
    host.x.VM.resume(vm, False, False)
    host.rounds(vm, 10)
    assert failure(host.x.VDI.get_record, image)[0] == "HANDLE_INVALID"


def test_a_guest_deaf_to_shutdown_is_told_of(host, vm):
    host.x.VM.start(vm, False, False)
    assert failure(host.x.VM.clean_shutdown, vm)[0] == "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT"
    assert state(host, vm)[0] == "Running"
    host.rounds(vm, 3)


def test_missing_image_leaves_nothing_behind(host, vm):
    vdi = next(v for v in map(host.x.VBD.get_VDI, host.x.VM.get_VBDs(vm)) if v != "OpaqueRef:NULL")
    path = glob.glob(os.path.join(host.folder, "sr", "**", host.x.VDI.get_uuid(vdi) + ".vhd"),
                     recursive=True)[0]
    os.rename(path, path + ".away")
    details = failure(host.x.VM.start, vm, False, False)
    assert details[0].startswith("SR_BACKEND_FAILURE") or details[0] == "VDI_MISSING", details
    assert state(host, vm)[0] == "Halted" and state(host, vm)[2] == {}
    assert not host.pid_of(vm, "qemu-system") and not host.pid_of(vm, "cairn-diskd")
    os.rename(path + ".away", path)


def test_too_little_memory_gives_numbers(host, vm):
    huge = str(1 << 42)
    host.x.VM.set_memory_limits(vm, huge, huge, huge, huge)
    details = failure(host.x.VM.start, vm, False, False)
    assert details[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"
    assert int(details[1]) > int(details[2]) > 0
