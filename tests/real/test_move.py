"""Disks that go to another repository, with the bytes that their guest compares."""
import json
import os
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm, wait_for  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def disk_of(host, vm):
    return next(host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm)
                if host.x.VBD.get_type(b) == "Disk")


def make_sr(host, name):
    folder = os.path.join(host.folder, name)
    os.mkdir(folder)
    return folder, host.x.SR.create(host.x.host.get_all()[0], {"location": folder}, "0", name, "",
                                    "file", "user", False, {})


def test_a_guest_finds_its_bytes_on_the_other_repository(host, vm):
    folder, sr = make_sr(host, "second")
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    old = disk_of(host, vm)
    location = host.x.VDI.get_location(old)
    host.rounds(vm, 2)
    host.x.VM.hard_shutdown(vm)
    snapshot = host.x.VDI.snapshot(old)  # a chain is moved as one disk
    new = host.x.VDI.pool_migrate(old, sr, {})
    assert disk_of(host, vm) == new and host.x.VDI.get_SR(new) == sr
    assert os.path.exists(os.path.join(folder, host.x.VDI.get_location(new)))
    assert host.x.VDI.get_all().count(old) == 0
    assert location not in [host.x.VDI.get_location(v) for v in host.x.VDI.get_all()]
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)
    host.x.VDI.destroy(snapshot)


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
    os.kill(host.pid_of(vm, "cairn-diskd"), signal.SIGKILL)
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
            os.kill(host.pid_of(vm, who), signal.SIGKILL)
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


def test_a_snapshot_from_before_is_still_good(host, vm):
    sr = make_sr(host, "third")[1]
    then = host.x.VM.snapshot(vm, "then")
    old_sr = host.x.VDI.get_SR(disk_of(host, vm))
    new = host.x.VDI.pool_migrate(disk_of(host, vm), sr, {})
    host.x.VM.revert(then)
    assert host.x.VDI.get_SR(disk_of(host, vm)) == old_sr and host.x.VDI.get_SR(new) == sr
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)
    host.x.VDI.destroy(new)
