"""Volumes that begin small and grow under who writes to them; lvm2's tools look on."""
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, make_disk, run_host, run_vm_with, state, wait_for  # noqa: E402
from simhost import BUILD, failure  # noqa: E402
from transfers import Client, pattern  # noqa: E402
from volumes import check, loop_device, vhdcheck, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
EMPTY = 8 * MIB
QUANTUM = 16 * MIB
GUEST = 32 * MIB
STEPS = ("growth/volume/before", "growth/volume/after", "growth/record/after", "growth/told/after")


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    with loop_device(tmp_path_factory.mktemp("thin") / "device", 256 * MIB) as path:
        yield path


def create(host, device, **config):
    return host.x.SR.create(host.x.host.get_all()[0], {"device": device}, "0", "thin", "", "lvm",
                            "user", False, config)


@pytest.fixture(scope="module")
def sr(host, device):
    ref = create(host, device, allocation="xlvhd")
    host.x.SR.add_to_other_config(ref, "gc-delay", "0")
    return ref


def drop(host, sr):
    for pbd in host.x.SR.get_PBDs(sr):
        host.x.PBD.unplug(pbd)
    host.x.SR.destroy(sr)


def size_of(host, device, vdi):
    return volumes(device)[host.x.VDI.get_location(vdi)]


def fill(host, vdi, data):
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body


def read(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return body


def alerts(host, sr):
    uuid = host.x.SR.get_uuid(sr)
    return [m["name"] for m in host.x.message.get_all_records().values() if m["obj_uuid"] == uuid]


def test_what_is_in_force_is_shown(host, device, sr):
    config = host.x.SR.get_sm_config(sr)
    assert config["initial_allocation"] == "0" and config["allocation_quantum"] == str(QUANTUM)
    where = [host.x.host.get_all()[0], {"device": device}, "0", "no", "", "lvm", "user", False]
    for wrong in ({"allocation": "thinner"}, {"allocation": "xlvhd", "allocation_quantum": "much"}):
        assert failure(host.x.SR.create, *where, wrong)[0] == "INVALID_VALUE"


def test_a_transfer_grows_its_volume(host, device, sr, tmp_path):
    vdi = make_disk(host, sr, 96 * MIB)
    assert size_of(host, device, vdi) == EMPTY
    data = pattern("thin", 64 * MIB) + bytes(32 * MIB)
    fill(host, vdi, data)
    assert 64 * MIB < size_of(host, device, vdi) < 96 * MIB
    assert read(host, vdi) == data
    check(host, device, sr)
    vhdcheck(device, [host.x.VDI.get_location(vdi)], tmp_path)
    copy = host.x.VDI.copy(vdi, sr)
    assert read(host, copy) == data
    for one in (vdi, copy):
        host.x.VDI.destroy(one)
    assert volumes(device) == {}


def test_a_transfer_that_finds_no_room_is_told(host, device, sr):
    vdi = make_disk(host, sr, 400 * MIB)
    web = Client(host, host.x)
    task = web.task()
    web.put("/import_raw_vdi", pattern("much", 320 * MIB), vdi=vdi, format="raw", task_id=task)
    assert host.x.task.get_error_info(task)[0] == "OUT_OF_SPACE"
    host.x.VDI.destroy(vdi)
    check(host, device, sr)


def install(host, sr):
    vdi = make_disk(host, sr, GUEST)
    fill(host, vdi, guest_sector(host))
    return vdi


def test_snapshots_begin_small_and_are_tidied(host, device, sr, tmp_path):
    vdi = make_disk(host, sr, 48 * MIB)
    data = bytearray(pattern("below", 48 * MIB))
    fill(host, vdi, bytes(data))
    snapshot = host.x.VDI.snapshot(vdi)
    assert size_of(host, device, vdi) == size_of(host, device, snapshot) == EMPTY
    data[:32 * MIB] = pattern("above", 32 * MIB)
    fill(host, vdi, bytes(data[:32 * MIB]))
    assert 32 * MIB < size_of(host, device, vdi) <= 56 * MIB
    host.x.VDI.destroy(snapshot)
    wait_for(lambda: all(host.x.VDI.get_managed(v) and not host.x.VDI.get_current_operations(v)
                         for v in host.x.SR.get_VDIs(sr)), 120)
    assert read(host, vdi) == data
    vhdcheck(device, [host.x.VDI.get_location(vdi)], tmp_path)
    host.x.VDI.destroy(vdi)


def test_a_guest_s_volume_grows(host, device, sr, tmp_path):
    """Whoever dies meanwhile: the guest goes on."""
    vdi = install(host, sr)
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 5)
        host.restart()
        host.rounds(vm, 5)
        wait_for(lambda: size_of(host, device, vdi) > EMPTY)
        assert state(host, vm)[0] == "Running"
    check(host, device, sr)
    vhdcheck(device, [host.x.VDI.get_location(vdi)], tmp_path)
    host.x.VDI.destroy(vdi)


def test_a_guest_waits_for_room(host, device, sr):
    """Another disk has all that is left, full from the beginning."""
    size = int(host.x.SR.get_physical_size(sr)) - EMPTY - 8 * MIB
    other = host.x.VDI.create({"name_label": "other", "SR": sr, "virtual_size": str(size), "type": "user",
                               "sharable": False, "read_only": False, "other_config": {},
                               "sm_config": {"initial_allocation": str(size)}})
    assert host.x.VDI.get_sm_config(other)["allocation_quantum"] == str(QUANTUM)
    assert size < size_of(host, device, other)
    vdi = install(host, sr)
    assert size_of(host, device, vdi) == EMPTY
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        wait_for(lambda: "SR_FULL" in alerts(host, sr))
        assert state(host, vm)[0] == "Running"
        host.x.VDI.destroy(other)
        host.rounds(vm, 5)
        wait_for(lambda: "SR_GOES_ON" in alerts(host, sr))
        assert size_of(host, device, vdi) > EMPTY
    host.x.VDI.destroy(vdi)


def forget_alerts(host, sr):
    uuid = host.x.SR.get_uuid(sr)
    for ref, m in host.x.message.get_all_records().items():
        if m["obj_uuid"] == uuid:
            host.x.message.destroy(ref)


def test_little_that_is_left_is_told_once(host, device, sr):
    """Once it is less than four steps, and again after there was more."""
    forget_alerts(host, sr)
    for n in (1, 2):
        vdi = make_disk(host, sr, 200 * MIB)
        fill(host, vdi, pattern("most of it", 200 * MIB))
        wait_for(lambda: alerts(host, sr).count("SR_LOW_SPACE") == n)
        host.x.VDI.destroy(vdi)
    bodies = [m["body"] for m in host.x.message.get_all_records().values() if m["name"] == "SR_LOW_SPACE"]
    assert all("of 2" in body and "enlarge" in body for body in bodies), bodies


def test_a_guest_waits_while_nobody_makes_room(host, device, sr):
    """Somebody is told, a transfer fails, and both go on when cairn-privd is back."""
    forget_alerts(host, sr)
    vdi, other, web = make_disk(host, sr, GUEST), make_disk(host, sr, GUEST), Client(host, host.x)
    socket = os.path.join(host.folder, "run", "privd.sock")
    with run_vm_with(host, vdi) as vm:
        os.rename(socket, socket + ".away")
        try:
            fill(host, vdi, guest_sector(host))
            host.x.VM.start(vm, False, False)
            wait_for(lambda: "SR_FULL" in alerts(host, sr))
            assert state(host, vm)[0] == "Running" and size_of(host, device, vdi) == EMPTY
            task = web.task()
            web.put("/import_raw_vdi", pattern("much", GUEST), vdi=other, format="raw", task_id=task)
            assert host.x.task.get_error_info(task)[0] == "OUT_OF_SPACE"
        finally:
            os.rename(socket + ".away", socket)
        host.rounds(vm, 5)
        wait_for(lambda: "SR_GOES_ON" in alerts(host, sr))
    fill(host, other, pattern("much", GUEST))
    for one in (vdi, other):
        host.x.VDI.destroy(one)
    check(host, device, sr)


def fault(host, *words):
    env = dict(os.environ, CAIRN_CONTROL=os.path.join(host.folder, "run", "cairnd.ctl"))
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "fault", *words], env=env, check=True,
                          capture_output=True, text=True).stdout


def known(host, vm):
    """How large its cairn-diskd knows the guest's volume to be; None while there is none."""
    path = os.path.join(host.folder, "run", "disk", host.x.VM.get_uuid(vm), "ctl.sock")
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.settimeout(5)
            s.connect(path)
            s.sendall(b'{"op": "stats"}\n')
            (disk,) = json.loads(s.makefile().readline())["result"]["disks"]
        except (OSError, ValueError):
            return None
    return disk["room"] and disk["room"]["size"]


def begin_to_grow(host, vm, step):
    """Its volume is small, and the growth that comes at once stands still at that step."""
    fault(host, "hold", step)
    host.x.VM.start(vm, False, False)
    wait_for(lambda: fault(host, "held") == "reached\n")


def break_off(host, vm, who):
    if who == "cairn-diskd":
        host.kill(vm, who)
        fault(host, "release")
        return
    host.stop(signal.SIGKILL)
    if who == "both":
        host.kill(vm, "cairn-diskd")
    host.start()
    host.x = host.connect()


def chain(device, host, sr, vdi):
    """Volumes from a disk down to what it is built on."""
    base = next(r["location"] for r in (host.x.VDI.get_record(v) for v in host.x.SR.get_VDIs(sr))
                if not r["managed"])
    return [host.x.VDI.get_location(vdi), base]


@pytest.mark.parametrize("who", ["cairnd", "cairn-diskd", "both"])
def test_who_dies_while_a_volume_grows_loses_nothing(host, device, sr, tmp_path, who):
    golden = install(host, sr)
    for step in STEPS:
        vdi = host.x.VDI.clone(golden, {})
        assert size_of(host, device, vdi) == EMPTY
        with run_vm_with(host, vdi) as vm:
            begin_to_grow(host, vm, step)
            break_off(host, vm, who)
            host.rounds(vm, 5)
            wait_for(lambda: EMPTY < size_of(host, device, vdi) == known(host, vm))
            assert size_of(host, device, vdi) == EMPTY + QUANTUM, step
            assert state(host, vm)[0] == "Running"
            check(host, device, sr)
        vhdcheck(device, chain(device, host, sr, vdi), tmp_path)
        host.x.VDI.destroy(vdi)
    host.x.VDI.destroy(golden)
    wait_for(lambda: not volumes(device))
    check(host, device, sr)


def test_one_that_was_full_becomes_thin(host, device, sr):
    """What was made before stays as it is."""
    drop(host, sr)
    thick = create(host, device)
    first = make_disk(host, thick, GUEST)
    here = host.x.host.get_all()[0]
    enable = host.x.LVHD.enable_thin_provisioning
    assert failure(enable, here, thick, "-1", "0")[0] == "INVALID_VALUE"
    local = host.x.SR.get_by_name_label("Local storage")[0]
    assert failure(enable, here, local, "0", "0")[0] == "SR_OPERATION_NOT_SUPPORTED"
    enable(here, thick, str(12 * MIB), "0")
    config = host.x.SR.get_sm_config(thick)
    assert config["allocation"] == "xlvhd" and config["allocation_quantum"] == str(QUANTUM)
    assert host.x.VDI.get_sm_config(first)["initial_allocation"] == str(GUEST)
    second = make_disk(host, thick, GUEST)
    assert size_of(host, device, first) > GUEST and size_of(host, device, second) == 12 * MIB
    for vdi in (first, second):
        host.x.VDI.destroy(vdi)
    drop(host, thick)
