"""Cancelling what runs: operations are held in the middle, so nothing here depends on timing."""
import threading
import time

import pytest

from held import Held
from simhost import failure, run_daemon
from test_tasks import ended

MIB = 1 << 20


@pytest.fixture(scope="module")
def house():
    yield from run_daemon()


@pytest.fixture
def hx(house):
    with house.connect() as session:
        yield session


@pytest.fixture
def guest(hx):
    """A VM with one disk."""
    template = hx.VM.get_by_name_label("Other install media")[0]
    vm = hx.VM.clone(template, "to be cancelled")
    hx.VM.provision(vm)
    sr = hx.pool.get_default_SR(hx.pool.get_all()[0])
    vdi = hx.VDI.create({"SR": sr, "virtual_size": str(8 * MIB), "type": "user", "sharable": False,
                         "read_only": False, "other_config": {}, "name_label": "disk"})
    hx.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": False, "mode": "RW",
                   "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
                   "qos_algorithm_type": "", "qos_algorithm_params": {}})
    yield vm
    if hx.VM.get_power_state(vm) != "Halted":
        hx.VM.hard_shutdown(vm)
    hx.VM.destroy(vm)
    hx.VDI.destroy(vdi)


def traces(x, vm):
    """What an operation on a VM must not leave behind."""
    disks = [x.VBD.get_record(v) for v in x.VM.get_VBDs(vm)]
    return (x.VM.get_power_state(vm), x.VM.get_current_operations(vm),
            [(d["currently_attached"], d["current_operations"]) for d in disks],
            sorted(x.VDI.get_all()), x.host.get_resident_VMs(x.host.get_all()[0]))


POINTS = ("choose host/before", "reserve memory/after", "attach disks/after",
          "build guest/before", "build guest/after", "unpause/after")


@pytest.mark.parametrize("point", POINTS)
def test_a_start(house, hx, guest, point):
    before = traces(hx, guest)
    with Held(house, "VM.start/" + point) as held:
        task = hx.call("Async.VM.start", guest, False, False)
        held.wait()
        assert hx.task.get_allowed_operations(task) == ["cancel"]
        assert hx.VM.get_current_operations(guest) == {task: "start"}
        began = time.monotonic()
        hx.task.cancel(task)
        record = ended(hx, task)
        assert time.monotonic() - began < 30
    assert record["status"] == "cancelled" and record["progress"] == 1.0
    assert record["error_info"] == ["TASK_CANCELLED", task]
    assert record["allowed_operations"] == [] and record["current_operations"] == {}
    assert traces(hx, guest) == before
    hx.task.destroy(task)
    hx.VM.start(guest, False, False)
    assert hx.VM.get_power_state(guest) == "Running"


def test_a_start_that_somebody_waits_for(house, hx, guest):
    """A synchronous call is cancelled by its task as well."""
    before = traces(hx, guest)
    with Held(house, "VM.start/build guest/before") as held, house.connect() as other:
        errors = []
        caller = threading.Thread(
            target=lambda: errors.append(failure(other.VM.start, guest, False, False)))
        caller.start()
        held.wait()
        task = list(hx.VM.get_current_operations(guest))[0]
        hx.task.cancel(task)
        caller.join(30)
        assert errors == [["TASK_CANCELLED", task]]
    assert traces(hx, guest) == before
    assert task not in hx.task.get_all()


def test_a_copy_of_a_disk(house, hx, guest):
    disks = [v for v in hx.VM.get_VBDs(guest) if hx.VBD.get_type(v) == "Disk"]
    vdi = hx.VBD.get_VDI(disks[0])
    sr = hx.VDI.get_SR(vdi)
    before = sorted(hx.VDI.get_all()), hx.SR.get_virtual_allocation(sr)
    for point in ("make volume/after", "copy content/before", "copy content/after"):
        with Held(house, "VDI.copy/" + point) as held:
            task = hx.call("Async.VDI.copy", vdi, sr)
            held.wait()
            hx.task.cancel(task)
            assert ended(hx, task)["status"] == "cancelled"
        assert (sorted(hx.VDI.get_all()), hx.SR.get_virtual_allocation(sr)) == before
        assert hx.VDI.get_current_operations(vdi) == {}
        hx.task.destroy(task)


def test_what_cannot_turn_back_any_more(house, hx, guest):
    with Held(house, "VM.start/mark running/after") as held:
        task = hx.call("Async.VM.start", guest, False, False)
        held.wait()
        assert hx.task.get_allowed_operations(task) == []
        assert failure(hx.task.cancel, task)[0] == "OPERATION_NOT_ALLOWED"
    assert ended(hx, task)["status"] == "success"
    assert failure(hx.task.cancel, task)[0] == "OPERATION_NOT_ALLOWED"
    hx.task.destroy(task)


def test_progress_moves(house, hx, guest):
    """Each step adds its share, told by events."""
    seen = []
    for point in ("reserve memory/before", "build guest/before"):
        with Held(house, "VM.start/" + point) as held:
            task = hx.call("Async.VM.start", guest, False, False)
            held.wait()
            batch = hx.call("event.from", [f"task/{task}"], "", 10.0)
            seen.append(batch["events"][0]["snapshot"]["progress"])
            assert hx.task.get_progress(task) == seen[-1]
            hx.task.cancel(task)
            ended(hx, task)
            hx.task.destroy(task)
    assert 0 < seen[0] < seen[1] < 1


def test_a_task_destroyed_while_it_runs(house, hx, guest):
    with Held(house, "VM.start/build guest/before") as held:
        task = hx.call("Async.VM.start", guest, False, False)
        held.wait()
        hx.task.destroy(task)
        assert hx.task.get_current_operations(task)[task] == "destroy"
        assert task in hx.task.get_all()
    end = time.monotonic() + 30
    while task in hx.task.get_all():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert hx.VM.get_power_state(guest) == "Running"


def test_only_its_owner_cancels(house, hx, guest):
    with Held(house, "VM.start/build guest/before") as held, house.connect("vm-operator") as low:
        task = hx.call("Async.VM.start", guest, False, False)
        held.wait()
        assert failure(low.task.cancel, task)[:2] == ["RBAC_PERMISSION_DENIED", "task.destroy/any"]
        assert hx.task.get_status(task) == "pending"
    assert ended(hx, task)["status"] == "success"
    hx.task.destroy(task)
