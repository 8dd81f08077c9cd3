"""Imports into a repository that has no room: the error says so, and nothing is left."""
import contextlib
import os
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import Host  # noqa: E402
from transfers import MIB, Client, pattern  # noqa: E402

ROOM = 24 * MIB


class SmallHost(Host):
    """A host with a file system of 24 MiB: mounted by root, else in a namespace of its own."""

    def argv(self):
        if os.geteuid() == 0:
            return super().argv()
        mount = 'mkdir -p "$0" && mount -t tmpfs -o size=24m small "$0" && exec "$@"'
        small = os.path.join(self.folder, "small")
        return ["unshare", "-rm", "sh", "-c", mount, small, *super().argv()]


@contextlib.contextmanager
def small_file_system(where):
    if os.geteuid() != 0:
        yield
        return
    os.makedirs(where)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", where], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", where], check=True)


@pytest.fixture(scope="module")
def host():
    with tempfile.TemporaryDirectory(prefix="cairn-full-", dir="/tmp") as folder:
        with small_file_system(os.path.join(folder, "small")):
            h = SmallHost(folder)
            yield h
            assert h.stop() == 0


@pytest.fixture(scope="module")
def sr(host):
    where = {"location": os.path.join(host.folder, "small", "sr")}
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", "small", "", "file", "user",
                            False, {})


def files(host):
    """What the repository holds, seen through the daemon's eyes."""
    root = f"/proc/{host.process.pid}/root{host.folder}/small/sr"
    return sorted(f for _, _, names in os.walk(root) for f in names)


def test_a_new_disk(host, sr):
    web = Client(host, host.x)
    task = web.task()
    web.put("/import_raw_vdi", pattern("large", 2 * ROOM), sr_id=sr, task_id=task)
    assert host.x.task.get_error_info(task) == ["OUT_OF_SPACE", sr]
    assert host.x.SR.get_VDIs(sr) == [] and [f for f in files(host) if f.endswith(".vhd")] == []
    assert not host.leftovers()


def test_a_vm(host, sr):
    """Its disk comes from a repository with room."""
    x, web = host.x, Client(host, host.x)
    large = x.SR.get_by_name_label("Local storage")[0]
    vdi = x.VDI.create({"name_label": "d", "SR": large, "virtual_size": str(2 * ROOM),
                        "type": "user", "sharable": False, "read_only": False, "other_config": {}})
    web.put("/import_raw_vdi", pattern("large", 2 * ROOM), vdi=vdi)
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "big")
    x.VM.set_is_a_template(vm, False)
    x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW",
                  "type": "Disk", "empty": False, "other_config": {}, "qos_algorithm_type": "",
                  "qos_algorithm_params": {}})
    archive = web.get("/export", ref=vm)[2]
    task, vms = web.task(), sorted(x.VM.get_all())
    web.put("/import", archive, sr_id=sr, task_id=task)
    assert x.task.get_error_info(task) == ["OUT_OF_SPACE", sr]
    assert sorted(x.VM.get_all()) == vms and x.SR.get_VDIs(sr) == []
    assert [f for f in files(host) if f.endswith(".vhd")] == [] and not host.leftovers()
