"""Disks that go to another repository, with the bytes that their guest compares."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm  # noqa: E402

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
    with pytest.raises(Exception, match="VDI_IN_USE"):
        host.x.VDI.pool_migrate(old, sr, {})
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
