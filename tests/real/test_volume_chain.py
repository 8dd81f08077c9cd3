"""Snapshots, clones and their tidying on logical volumes; lvm2's tools and vhdcheck look on."""
import os
import re
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, make_disk, run_host, run_vm_with, wait_for  # noqa: E402
from simhost import BUILD, failure  # noqa: E402
from transfers import Client, pattern  # noqa: E402
from volumes import check, extents, loop_device, tool, vhdcheck, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
DISK = 16 * MIB
FULL = 24 * MIB  # 16 MiB, tables of a disk of 2 TiB, a bitmap of 4 KiB a block: six extents


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    with loop_device(tmp_path_factory.mktemp("lvm") / "device", 256 * MIB) as path:
        yield path


@pytest.fixture(scope="module")
def sr(host, device):
    ref = host.x.SR.create(host.x.host.get_all()[0], {"device": device}, "0", "volumes", "", "lvm", "user", False, {})
    yield ref
    for vdi in host.x.SR.get_VDIs(ref):
        if host.x.VDI.get_managed(vdi):
            host.x.VDI.destroy(vdi)
    tidy(host, device, ref)
    assert volumes(device) == {}


@pytest.fixture
def quiet(host, sr):
    """Nothing is tidied meanwhile."""
    host.x.SR.add_to_other_config(sr, "gc", "false")
    yield
    host.x.SR.remove_from_other_config(sr, "gc")


def tidy(host, device, sr):
    """All that can be tidied is: no base copies are left."""
    host.x.SR.remove_from_other_config(sr, "gc-delay")
    host.x.SR.add_to_other_config(sr, "gc-delay", "0")
    wait_for(lambda: all(r["managed"] and not r["current_operations"]
                         for r in host.x.VDI.get_all_records().values() if r["SR"] == sr), 120)
    check(host, device, sr)


def fill(host, vdi, data):
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body


def read(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return body


def chain(host, vdi):
    """Names of the volumes from a disk downwards, as the records have them."""
    names = []
    while vdi:
        names.append(host.x.VDI.get_location(vdi))
        below = host.x.VDI.get_sm_config(vdi).get("vhd-parent")
        vdi = host.x.VDI.get_by_uuid(below) if below else None
    return names


def bottom(host, vdi):
    while "vhd-parent" in host.x.VDI.get_sm_config(vdi):
        vdi = host.x.VDI.get_by_uuid(host.x.VDI.get_sm_config(vdi)["vhd-parent"])
    return vdi


def test_snapshots_and_clones(host, device, sr, quiet, tmp_path):
    vdi = make_disk(host, sr, DISK)
    first, second = pattern("first", DISK), pattern("second", DISK)
    fill(host, vdi, first)
    snapshot = host.x.VDI.snapshot(vdi)
    name, snap_name = host.x.VDI.get_location(vdi), host.x.VDI.get_location(snapshot)
    assert name == "VHD-" + host.x.VDI.get_uuid(vdi) and snap_name == "VHD-" + host.x.VDI.get_uuid(snapshot)
    base = chain(host, vdi)[1]
    assert chain(host, vdi) == [name, base] and chain(host, snapshot) == [snap_name, base]
    assert volumes(device) == {name: FULL, snap_name: FULL, base: FULL - 4 * MIB}, "it grows no more"
    assert host.x.VDI.get_physical_utilisation(bottom(host, vdi)) == str(FULL - 4 * MIB)
    check(host, device, sr)
    fill(host, vdi, second)
    clone = host.x.VDI.clone(snapshot)
    assert read(host, snapshot) == first and read(host, vdi) == second and read(host, clone) == first
    for one in (vdi, snapshot, clone):
        vhdcheck(device, chain(host, one), tmp_path)
    host.x.VDI.destroy(clone)
    before = {host.x.VDI.get_uuid(v) for v in host.x.SR.get_VDIs(sr)}
    host.x.SR.scan(sr)
    assert {host.x.VDI.get_uuid(v) for v in host.x.SR.get_VDIs(sr)} == before
    assert chain(host, vdi) == [name, base]
    for one in (snapshot, vdi):
        host.x.VDI.destroy(one)


def tree(host, sr):
    env = dict(os.environ, CAIRN_CONTROL=os.path.join(host.folder, "run", "cairnd.ctl"))
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "sr", "tree", host.x.SR.get_uuid(sr)], env=env,
                          check=True, capture_output=True, text=True).stdout


def test_a_merge_without_room_says_so(host, device, sr):
    """The base copy needs one more extent; when there is one, the work goes on."""
    tidy(host, device, sr)
    vdi = make_disk(host, sr, DISK)
    data = pattern("no room", DISK)
    fill(host, vdi, data)
    host.x.SR.add_to_other_config(sr, "gc", "false")
    host.x.VDI.destroy(host.x.VDI.snapshot(vdi))
    group = "VG_XenStorage-" + host.x.SR.get_uuid(sr)
    waits = re.compile(rf"next: join {host.x.VDI.get_uuid(vdi)} in \d+ s again, it failed: ")
    tool(device, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-qq", "-l", "100%FREE", "-n", "foreign", group)
    try:
        host.x.SR.remove_from_other_config(sr, "gc")
        wait_for(lambda: waits.search(tree(host, sr)))
        assert len(chain(host, vdi)) == 2 and read(host, vdi) == data
    finally:
        tool(device, "lvremove", "-qq", "-y", f"{group}/foreign")
    tidy(host, device, sr)
    assert len(chain(host, vdi)) == 1 and read(host, vdi) == data
    host.x.SR.add_to_other_config(sr, "gc", "false")
    host.x.VDI.destroy(host.x.VDI.snapshot(vdi))
    host.x.SR.remove_from_other_config(sr, "gc")
    assert "it failed" not in tree(host, sr), "that was another time"
    tidy(host, device, sr)
    host.x.VDI.destroy(vdi)


def test_tidied(host, device, sr, tmp_path):
    vdi = make_disk(host, sr, DISK)
    data, snapshots = bytearray(pattern("tree", DISK)), []
    fill(host, vdi, bytes(data))
    for n in range(2):
        snapshots.append(host.x.VDI.snapshot(vdi))
        data[n * MIB:(n + 1) * MIB] = pattern(f"level {n}", MIB)
        fill(host, vdi, bytes(data))
    for one in snapshots:
        host.x.VDI.destroy(one)
    tidy(host, device, sr)
    assert volumes(device) == {chain(host, vdi)[0]: FULL} and len(chain(host, vdi)) == 1
    assert read(host, vdi) == data
    vhdcheck(device, chain(host, vdi), tmp_path)
    host.x.VDI.destroy(vdi)


def test_reverted(host, device, sr):
    vdi = make_disk(host, sr, DISK)
    fill(host, vdi, pattern("then", DISK))
    snapshot, uuid = host.x.VDI.snapshot(vdi), host.x.VDI.get_uuid(vdi)
    fill(host, vdi, pattern("now", DISK))
    host.x.VDI.revert(snapshot)
    assert host.x.VDI.get_uuid(vdi) == uuid and read(host, vdi) == pattern("then", DISK)
    check(host, device, sr)
    host.x.VDI.destroy(snapshot)
    tidy(host, device, sr)
    assert read(host, vdi) == pattern("then", DISK)
    host.x.VDI.destroy(vdi)


def test_without_room(host, device, sr, quiet):
    """What cannot be made leaves nothing behind."""
    vdi = make_disk(host, sr, 70 * MIB)
    before = volumes(device)
    other = make_disk(host, sr, 50 * MIB)
    for call in (host.x.VDI.snapshot, host.x.VDI.clone):
        assert failure(call, vdi)[0] == "SR_BACKEND_FAILURE_44"
        assert set(volumes(device)) == set(before) | {host.x.VDI.get_location(other)}
    host.x.VDI.destroy(other)
    host.x.VDI.destroy(vdi)


def install(host, sr):
    vdi = make_disk(host, sr, 32 * MIB)
    fill(host, vdi, guest_sector(host) + bytes(32 * MIB - 512))
    return vdi


def drop(host, vm):
    disks = [host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm) if host.x.VBD.get_type(b) == "Disk"]
    host.x.VM.destroy(vm)
    for vdi in disks:
        host.x.VDI.destroy(vdi)


def test_under_a_guest(host, device, sr):
    """It writes and compares while its disk is snapshotted, grown and tidied, and its data path and
    the daemon die."""
    vdi = install(host, sr)
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 3)
        snapshot = host.x.VM.snapshot(vm, "first")
        host.rounds(vm, 3)
        host.x.VDI.resize_online(vdi, str(40 * MIB))
        host.rounds(vm, 3)
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 3)
        host.restart()
        host.rounds(vm, 3)
        drop(host, snapshot)
        tidy(host, device, sr)
        host.rounds(vm, 3)
    host.x.VDI.destroy(vdi)
    tidy(host, device, sr)


def test_over_several_devices(host, tmp_path):
    """What the guest goes on writing is not where its disk was."""
    with loop_device(tmp_path / "a", 64 * MIB) as a, loop_device(tmp_path / "b", 96 * MIB) as b:
        both = f"{a},{b}"
        sr = host.x.SR.create(host.x.host.get_all()[0], {"device": both}, "0", "two", "", "lvm", "user", False, {})
        vdi = install(host, sr)
        with run_vm_with(host, vdi) as vm:
            host.x.VM.start(vm, False, False)
            host.rounds(vm, 3)
            snapshot = host.x.VM.snapshot(vm, "first")
            devices = {on for name in volumes(both) for on, _, _ in extents(both, name)}
            assert devices == {a, b}
            host.rounds(vm, 3)
            drop(host, snapshot)
            tidy(host, both, sr)
            host.rounds(vm, 3)
        host.x.VDI.destroy(vdi)
        host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
        host.x.SR.destroy(sr)


def test_back_to_a_checkpoint(host, device, sr):
    vdi = install(host, sr)
    host.x.host.set_suspend_image_sr(host.x.host.get_all()[0], host.x.SR.get_by_name_label("Local storage")[0])
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 3)
        point = host.x.VM.checkpoint(vm, "point")
        host.rounds(vm, 3)
        host.x.VM.revert(point)
        host.x.VM.resume(vm, False, False)
        host.rounds(vm, 3)
        drop(host, point)
        tidy(host, device, sr)
        host.rounds(vm, 3)
    host.x.VDI.destroy(vdi)


def test_a_disk_that_forgets(host, device, sr):
    vdi = install(host, sr)
    was = read(host, vdi)
    host.x.VDI.set_on_boot(vdi, "reset")
    with run_vm_with(host, vdi) as vm:
        for _ in range(2):
            host.x.VM.start(vm, False, False)
            host.rounds(vm, 3)
            host.x.VM.hard_shutdown(vm)
            assert read(host, vdi) != was
        host.x.VM.start(vm, False, False)
        check(host, device, sr)
    host.x.VDI.set_on_boot(vdi, "persist")
    tidy(host, device, sr)
    host.x.VDI.destroy(vdi)
