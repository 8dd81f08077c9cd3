"""Every step of an operation breaks, with QEMU and cairn-diskd below it.

As tests/torture does on the simulator: the n-th fault point fails, or the daemon dies at the n-th
mark, for all n; then it is started again, and everything is looked at from the outside. The gate
walks the operations that touch a guest most; `make torture-real` walks all.
"""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, state, wait_for  # noqa: E402
from simhost import BUILD, xapi  # noqa: E402

DIED = 86  # FAULT_EXIT of task/fault.h
MOST_POINTS = 120


def running(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 1)


def suspended(host, vm):
    running(host, vm)
    host.x.VM.suspend(vm)


def unplugged(host, vm):
    running(host, vm)
    sr = host.x.SR.get_by_name_label("Local storage")[0]
    vdi = host.x.VDI.create({"name_label": "torture", "name_description": "", "SR": sr,
                             "virtual_size": str(8 << 20), "type": "user", "sharable": False,
                             "read_only": False, "other_config": {}})
    host.x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "1", "bootable": False, "mode": "RW",
                       "type": "Disk", "empty": False, "other_config": {},
                       "qos_algorithm_type": "", "qos_algorithm_params": {}})


def second_disk(host, vm):
    return next(v for v in host.x.VM.get_VBDs(vm) if host.x.VBD.get_userdevice(v) == "1")


def plugged(host, vm):
    unplugged(host, vm)
    host.x.VBD.plug(second_disk(host, vm))


SCENARIOS = {
    "start": (lambda host, vm: None, lambda host, vm: host.x.VM.start(vm, False, False)),
    "suspend": (running, lambda host, vm: host.x.VM.suspend(vm)),
    "resume": (suspended, lambda host, vm: host.x.VM.resume(vm, False, False)),
    "hard-shutdown": (running, lambda host, vm: host.x.VM.hard_shutdown(vm)),
    "hard-reboot": (running, lambda host, vm: host.x.VM.hard_reboot(vm)),
    "pause": (running, lambda host, vm: host.x.VM.pause(vm)),
    "vbd-plug": (unplugged, lambda host, vm: host.x.VBD.plug(second_disk(host, vm))),
    "vbd-unplug": (plugged, lambda host, vm: host.x.VBD.unplug(second_disk(host, vm))),
}
IN_THE_GATE = ("start", "suspend", "vbd-plug")
WALKED = SCENARIOS if os.environ.get("CAIRN_TORTURE") == "all" else IN_THE_GATE

host = pytest.fixture(scope="module")(run_host)


def fault(host, *words):
    env = dict(os.environ, CAIRN_CONTROL=os.path.join(host.folder, "run", "cairnd.ctl"))
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "fault", *words], env=env, check=True,
                          capture_output=True, text=True).stdout


def attempt(host, vm, act):
    """Runs the disturbed call; what it says is its own affair, what it leaves is ours."""
    try:
        act(host, vm)
    except (xapi.Failure, OSError, EOFError) as e:
        return e
    return None


def struck(host, way, said):
    """Did the armed point strike? A daemon that died is started again."""
    if way == "die" and died(host, said):
        host.restart()
        return True
    hit = " struck none" not in fault(host)
    fault(host, "clear")
    return hit


def died(host, said):
    """A death may come before the call's answer or, in what is cleared up later, behind it."""
    if not isinstance(said, OSError):
        try:
            fault(host)
            return False
        except subprocess.CalledProcessError:
            pass
    assert host.process.wait(5) == DIED
    return True


def check(host, vm):
    power, _, operations = wait_for(lambda: idle(host, vm))
    live = power in ("Running", "Paused")
    assert live == bool(host.pid_of(vm, "qemu-system")), power
    assert live == bool(host.pid_of(vm, "cairn-diskd")), power
    assert (power == "Suspended") == (host.x.VM.get_suspend_VDI(vm) != "OpaqueRef:NULL")
    images = [v for v in host.x.VDI.get_all_records().values() if v["type"] == "suspend"]
    assert len(images) == (power == "Suspended")
    for vbd in host.x.VM.get_VBDs(vm):
        record = host.x.VBD.get_record(vbd)
        assert live or not record["currently_attached"]
        assert not record["current_operations"]
    return power


def idle(host, vm):
    """The state, once nothing goes on any more."""
    pending = [t for t in host.x.task.get_all_records().values() if t["status"] == "pending"]
    now = state(host, vm)
    return now if not pending and not now[2] else None


def lives_on(host, vm, power):
    """Whatever was left can be used."""
    if power == "Suspended":
        host.x.VM.resume(vm, False, False)
    elif power == "Halted":
        host.x.VM.start(vm, False, False)
    elif power == "Paused":
        host.x.VM.unpause(vm)
    host.rounds(vm, 1)
    host.remove_vm(vm)
    assert wait_for(lambda: not host.leftovers()), host.leftovers()


@pytest.mark.parametrize("way", ["fail", "die"])
@pytest.mark.parametrize("name", list(WALKED))
def test_broken_at_every_point(host, name, way):
    setup, act = SCENARIOS[name]
    for n in range(1, MOST_POINTS):
        vm = host.make_vm(f"{name} {way} {n}")
        setup(host, vm)
        fault(host, way, str(n))
        said = attempt(host, vm, act)
        hit = struck(host, way, said)
        lives_on(host, vm, check(host, vm))
        if not hit:
            assert n > 3, "no step was broken"
            return
    raise AssertionError("the operation has no end")
