"""A disk that grows under a guest that writes and compares all the time."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm  # noqa: E402
import xapi  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)
MIB = 1 << 20


def disk_of(host, vm):
    return next(host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm) if host.x.VBD.get_type(b) == "Disk")


def test_a_disk_grows_under_its_guest(host, vm):
    vdi = disk_of(host, vm)
    size = int(host.x.VDI.get_virtual_size(vdi))
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    for more in (32 * MIB, 64 * MIB):
        host.x.VDI.resize_online(vdi, str(size + more))
        assert int(host.x.VDI.get_virtual_size(vdi)) == size + more
        host.rounds(vm, 5)
    host.kill(vm, "cairn-diskd")
    host.rounds(vm, 5)
    host.restart()
    host.rounds(vm, 5)
    with pytest.raises(xapi.Failure) as e:
        host.x.VDI.resize_online(vdi, str(size))
    assert e.value.details[0] == "VDI_TOO_SMALL"
    host.x.VM.hard_shutdown(vm)
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
