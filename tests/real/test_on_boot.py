"""A real guest whose disk forgets at each start what it wrote."""
import hashlib
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from mounts import is_in_memory  # noqa: E402
from realhost import run_host, run_vm  # noqa: E402
from test_metrics import disk_counters  # noqa: E402
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


def test_a_guest_reads_what_its_disk_is_built_on_from_the_page_cache(host, vm):
    vdi = disk_of(host, vm)
    snapshot = host.x.VDI.snapshot(vdi)
    host.x.VM.start(vm, False, False)
    key = "read-caching-enabled-on-" + host.x.host.get_uuid(host.x.host.get_all()[0])
    assert host.x.VDI.get_sm_config(vdi)[key] == "true"
    host.rounds(vm, 2)
    cache = disk_counters(host, host.x_uuid[vm])["cache"]
    assert cache["hit"] + cache["miss"] > 0 or is_in_memory(host.folder)
    host.x.VM.hard_shutdown(vm)
    host.x.SR.add_to_other_config(host.x.VDI.get_SR(vdi), "o_direct", "true")
    host.x.VM.start(vm, False, False)
    assert host.x.VDI.get_sm_config(vdi)[key] == "false"
    host.rounds(vm, 2)
    assert disk_counters(host, host.x_uuid[vm])["cache"] == {"hit": 0, "miss": 0}
    host.x.SR.remove_from_other_config(host.x.VDI.get_SR(vdi), "o_direct")
    host.x.VDI.destroy(snapshot)
