"""Disks that go to another repository, with the bytes that their guest compares."""
import hashlib
import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import make_disk, run_host, run_vm, state, wait_for  # noqa: E402
from transfers import Client, pattern  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def disk_of(host, vm):
    return next(host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm)
                if host.x.VBD.get_type(b) == "Disk")


def make_sr(host, name):
    folder = os.path.join(host.folder, name)
    os.mkdir(folder)
    sr = host.x.SR.create(host.x.host.get_all()[0], {"location": folder}, "0", name, "", "file",
                          "user", False, {})
    host.x.SR.add_to_other_config(sr, "gc-delay", "0")
    return folder, sr


def test_a_guest_finds_its_bytes_on_the_other_repository(host, vm):
    folder, sr = make_sr(host, "second")
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    old = disk_of(host, vm)
    location = host.x.VDI.get_location(old)
    host.rounds(vm, 2)
    host.x.VM.hard_shutdown(vm)
    new = host.x.VDI.pool_migrate(old, sr, {})
    assert disk_of(host, vm) == new and host.x.VDI.get_SR(new) == sr
    assert os.path.exists(os.path.join(folder, host.x.VDI.get_location(new)))
    assert host.x.VDI.get_all().count(old) == 0
    assert location not in [host.x.VDI.get_location(v) for v in host.x.VDI.get_all()]
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)


def served(host, vm):
    """The paths of the images that the guest's cairn-diskd has been told."""
    with open(os.path.join(host.folder, "run", "disk", host.x.VM.get_uuid(vm), "disks.json"),
              encoding="utf-8") as f:
        return [d["image"]["path"] for d in json.load(f)["disks"]]


def test_a_disk_moves_under_its_guest(host, vm):
    """There and back while it writes and compares; then its processes die, and it still does."""
    folder, sr = make_sr(host, "fourth")
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 3)
    first = disk_of(host, vm)
    home = host.x.VDI.get_SR(first)
    path = served(host, vm)[0]
    there = host.x.VDI.pool_migrate(first, sr, {})
    assert disk_of(host, vm) == there and host.x.VDI.get_SR(there) == sr
    assert served(host, vm) == [os.path.join(folder, host.x.VDI.get_location(there))]
    assert not os.path.exists(path)
    host.rounds(vm, 3)
    host.kill(vm, "cairn-diskd")
    host.rounds(vm, 3)
    host.restart()
    host.rounds(vm, 2)
    back = host.x.VDI.pool_migrate(there, home, {})
    host.rounds(vm, 3)
    host.x.VM.suspend(vm)
    asleep = host.x.VDI.pool_migrate(back, sr, {})
    host.x.VM.resume(vm, False, False)
    host.rounds(vm, 3)
    host.x.VM.hard_reboot(vm)
    host.rounds(vm, 3)
    host.x.VM.hard_shutdown(vm)
    host.x.VDI.pool_migrate(asleep, home, {})


@pytest.fixture
def device(tmp_path):
    """Full of what somebody left there."""
    with open(tmp_path / "device", "wb") as f:
        f.write(b"\xa5" * (128 << 20))
    loop = subprocess.run(["losetup", "--show", "-f", f.name], check=True, text=True,
                          capture_output=True).stdout.strip()
    yield loop
    subprocess.run(["losetup", "-d", loop], check=True)


def test_to_a_volume_and_to_another_format(host, vm, device):
    volumes = host.x.SR.create(host.x.host.get_all()[0], {"device": device}, "0", "volumes", "",
                               "lvm", "user", False, {})
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)
    disk = disk_of(host, vm)
    home = host.x.VDI.get_SR(disk)
    disk = host.x.VDI.pool_migrate(disk, volumes, {})
    assert host.x.VDI.get_location(disk) == "VHD-" + host.x.VDI.get_uuid(disk)
    host.rounds(vm, 2)
    disk = host.x.VDI.pool_migrate(disk, home, {"dest-img-format": "qcow2"})
    assert served(host, vm)[0].endswith(".qcow2")
    assert host.x.VDI.get_sm_config(disk)["image-format"] == "qcow2"
    host.rounds(vm, 2)
    disk = host.x.VDI.pool_migrate(disk, volumes, {"dest-img-format": "vhd"})
    host.rounds(vm, 2)
    host.x.VM.hard_shutdown(vm)
    host.x.VDI.pool_migrate(disk, home, {"dest-img-format": "vhd"})
    host.x.PBD.unplug(host.x.SR.get_PBDs(volumes)[0])
    host.x.SR.destroy(volumes)


def test_what_fails_is_no_matter_to_the_guest(host, vm):
    """A target without room, and a data path and a daemon that die over it."""
    folder, sr = make_sr(host, "fifth")
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 3)
    disk = disk_of(host, vm)
    home = host.x.VDI.get_SR(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tiny", folder], check=True)
    try:
        with pytest.raises(Exception, match="SR_BACKEND_FAILURE|OUT_OF_SPACE|INTERNAL"):
            host.x.VDI.pool_migrate(disk, sr, {})
        host.rounds(vm, 3)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    for who in ("cairn-diskd", "cairnd"):
        task = host.x.Async.VDI.pool_migrate(disk, sr, {})
        if who == "cairnd":
            host.restart()
        else:
            host.kill(vm, who)
        wait_for(lambda t=task: host.x.task.get_status(t) != "pending")
        host.rounds(vm, 3)
        disk = disk_of(host, vm)
        if host.x.VDI.get_SR(disk) == sr:  # it had come through
            disk = host.x.VDI.pool_migrate(disk, home, {})
        path = served(host, vm)[0]
        assert not [n for n in os.listdir(folder) if n.endswith(".vhd")]
    host.rounds(vm, 3)
    assert os.path.exists(path)
    host.x.VM.hard_shutdown(vm)


def content(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return hashlib.sha256(body).hexdigest()


def snapshots_of(host, vm):
    """Disks of its snapshots, by what those are called."""
    return {host.x.VM.get_name_label(s): disk_of(host, s) for s in host.x.VM.get_snapshots(vm)}


def contents_of(host, vm):
    return {name: content(host, vdi) for name, vdi in snapshots_of(host, vm).items()}


def room_on(host, sr):
    host.x.SR.scan(sr)
    return sum(int(r["physical_utilisation"]) for r in host.x.VDI.get_all_records().values() if r["SR"] == sr)


def take_snapshots(host, vm):
    """Each after the guest has written; the last with its memory."""
    for name in ("first", "second"):
        host.rounds(vm, 30)
        host.x.VM.snapshot(vm, name)
    host.rounds(vm, 30)
    host.x.VM.checkpoint(vm, "third")
    host.rounds(vm, 30)


def drop_snapshots(host, vm):
    for s in host.x.VM.get_snapshots(vm):
        host.remove_vm(s)


def check_all_at(host, vm, sr, wanted):
    """Records and contents: what belongs together still does."""
    disk = disk_of(host, vm)
    disks = snapshots_of(host, vm)
    records = {name: host.x.VDI.get_record(vdi) for name, vdi in disks.items()}
    assert {r["SR"] for r in records.values()} == {sr}
    assert all(r["is_a_snapshot"] and r["snapshot_of"] == disk for r in records.values())
    assert sorted(host.x.VDI.get_snapshots(disk)) == sorted(disks.values())
    times = [records[name]["snapshot_time"].value for name in ("first", "second", "third")]
    assert times == sorted(times)
    assert contents_of(host, vm) == wanted


def check_reverts(host, vm):
    """The guest compares what it finds; the checkpoint goes on with its memory."""
    by_name = {host.x.VM.get_name_label(s): s for s in host.x.VM.get_snapshots(vm)}
    host.x.VM.revert(by_name["third"])
    assert state(host, vm)[0] == "Suspended"
    host.x.VM.resume(vm, False, False)
    host.rounds(vm, 5)
    host.x.VM.revert(by_name["first"])
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)


@pytest.mark.parametrize("power", ["Running", "Halted", "Suspended"])
def test_snapshots_come_along(host, vm, power):
    sr = make_sr(host, "with " + power)[1]
    home = host.x.VDI.get_SR(disk_of(host, vm))
    host.x.VM.start(vm, False, False)
    take_snapshots(host, vm)
    if power != "Running":
        getattr(host.x.VM, "suspend" if power == "Suspended" else "hard_shutdown")(vm)
    wanted = contents_of(host, vm)
    old = snapshots_of(host, vm).values()
    host.x.VDI.pool_migrate(disk_of(host, vm), sr, {})
    assert not set(old) & set(host.x.VDI.get_all())
    check_all_at(host, vm, sr, wanted)
    if power != "Running":
        getattr(host.x.VM, "resume" if power == "Suspended" else "start")(vm, False, False)
    host.rounds(vm, 10)
    check_reverts(host, vm)
    host.x.VDI.pool_migrate(disk_of(host, vm), home, {})
    check_all_at(host, vm, home, wanted)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)
    drop_snapshots(host, vm)
    wait_for(lambda: not host.x.SR.get_VDIs(sr))


def test_what_snapshots_share_is_there_once(host):
    sr = make_sr(host, "shared")[1]
    disk = make_disk(host, host.x.SR.get_by_name_label("Local storage")[0], 64 << 20)
    client = Client(host, host.x)
    assert client.put("/import_raw_vdi", pattern("shared", 64 << 20), vdi=disk, format="raw")[0] == 200
    snapshots = [host.x.VDI.snapshot(disk) for _ in range(4)]
    wanted = content(host, disk)
    new = host.x.VDI.pool_migrate(disk, sr, {"dest-img-format": "qcow2"})
    moved = host.x.VDI.get_snapshots(new)
    assert len(moved) == len(snapshots)
    assert {content(host, v) for v in moved + [new]} == {wanted}
    assert room_on(host, sr) < 80 << 20
    for vdi in moved + [new]:
        assert host.x.VDI.get_sm_config(vdi)["image-format"] == "qcow2"
        host.x.VDI.destroy(vdi)
    wait_for(lambda: not host.x.SR.get_VDIs(sr))


def test_a_snapshot_that_is_larger_stays(host):
    """Of a disk that was reverted to what it was before it grew; nothing shrinks."""
    sr = make_sr(host, "smaller")[1]
    home = host.x.SR.get_by_name_label("Local storage")[0]
    disk = make_disk(host, home, 8 << 20)
    small = host.x.VDI.snapshot(disk)
    host.x.VDI.resize(disk, str(16 << 20))
    large = host.x.VDI.snapshot(disk)
    assert int(host.x.VDI.get_virtual_size(large)) == 16 << 20
    host.x.VDI.revert(small)
    new = host.x.VDI.pool_migrate(disk, sr, {})
    assert [int(host.x.VDI.get_virtual_size(v)) for v in host.x.VDI.get_snapshots(new)] == [8 << 20]
    assert int(host.x.VDI.get_virtual_size(new)) == 8 << 20
    assert host.x.VDI.get_SR(large) == home
    for vdi in host.x.VDI.get_snapshots(new) + [new, large]:
        host.x.VDI.destroy(vdi)


def test_a_snapshot_alone(host, vm):
    """It stays one of its disk's, wherever it is."""
    sr = make_sr(host, "alone")[1]
    then = host.x.VM.snapshot(vm, "then")
    old, disk = disk_of(host, then), disk_of(host, vm)
    wanted = content(host, old), host.x.VDI.get_snapshot_time(old).value
    new = host.x.VDI.pool_migrate(old, sr, {})
    assert (content(host, new), host.x.VDI.get_snapshot_time(new).value) == wanted
    assert host.x.VDI.get_is_a_snapshot(new) and host.x.VDI.get_snapshot_of(new) == disk
    host.x.VM.revert(then)
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)
    host.remove_vm(then)
