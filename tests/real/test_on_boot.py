"""A real guest whose disk forgets at each start what it wrote."""
import hashlib
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm  # noqa: E402
from transfers import Client  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def disk_of(host, vm):
    return next(host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm)
                if host.x.VBD.get_type(b) == "Disk")


def content(host, vdi):
    return hashlib.sha256(Client(host, host.x).get("/export_raw_vdi", vdi=vdi)[2]).hexdigest()


def test_a_guest_finds_its_disk_as_it_was(host, vm):
    vdi = disk_of(host, vm)
    then = content(host, vdi)
    host.x.VDI.set_on_boot(vdi, "reset")
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    host.x.VM.hard_reboot(vm)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)
    assert content(host, vdi) != then  # what it wrote is there until it starts again
    host.x.VM.start(vm, True, False)
    host.x.VM.hard_shutdown(vm)
    assert content(host, vdi) == then
