"""Disks and VMs as files, through the real data path: cairn-diskd reads and writes, QEMU boots."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm  # noqa: E402
from simhost import failure  # noqa: E402
from transfers import MIB, Client, query, sparse  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)

GIB = 1 << 30
CONTENT = sparse(16 * MIB)


@pytest.fixture
def web(host):
    return Client(host, host.x)


@pytest.fixture
def disk(host):
    """Makes disks of the default repository; they go at the end."""
    made = []

    def make(size):
        made.append(host.x.VDI.create({
            "name_label": "moved", "SR": host.x.SR.get_by_name_label("Local storage")[0],
            "virtual_size": str(size), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}}))
        return made[-1]

    yield make
    for vdi in made:
        host.x.VDI.destroy(vdi)


def path_of(host, vdi):
    """The image where the repository keeps it."""
    name = host.x.VDI.get_uuid(vdi) + ".vhd"
    for top, _, files in os.walk(os.path.join(host.folder, "sr")):
        if name in files:
            return os.path.join(top, name)
    raise AssertionError(f"{name} is nowhere")


def same(a, a_format, b, b_format):
    subprocess.run(["qemu-img", "compare", "-f", a_format, "-F", b_format, a, b], check=True,
                   stdout=subprocess.PIPE)


def transferred(host, method, path, file, **args):
    """curl, as an administrator would; the task must end well."""
    task = host.x.task.create("curl", "")
    url = host.url + query(path, session_id=host.x.ref, task_id=task, **args)
    how = ["-o", file] if method == "GET" else ["-T", file]
    subprocess.run(["curl", "-sS", *how, url], check=True)
    assert host.x.task.get_error_info(task) == []
    return host.x.task.get_result(task)


def test_an_imported_guest_boots(host, vm, tmp_path):
    file = str(tmp_path / "vm.xva")
    transferred(host, "GET", "/export", file, ref=vm, use_compression="zstd")
    before = set(host.x.VM.get_all())
    transferred(host, "PUT", "/import", file)
    new = (set(host.x.VM.get_all()) - before).pop()
    host.x_uuid[new] = host.x.VM.get_uuid(new)
    try:
        host.x.VM.start(new, False, False)
        host.rounds(new, 10)
    finally:
        host.remove_vm(new)
    assert not host.leftovers()


def test_a_suspended_guest_goes_on_elsewhere(host, vm, tmp_path):
    """With preserve_power_state the memory travels too; the VM it came from is gone."""
    x, file = host.x, str(tmp_path / "vm.xva")
    x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    x.VM.suspend(vm)
    transferred(host, "GET", "/export", file, ref=vm, preserve_power_state="true",
                use_compression="zstd")
    before = set(x.VM.get_all())
    transferred(host, "PUT", "/import", file)
    new = (set(x.VM.get_all()) - before).pop()
    host.x_uuid[new] = x.VM.get_uuid(new)
    try:
        assert x.VM.get_power_state(new) == "Suspended"
        assert x.VM.get_suspend_VDI(new) != x.VM.get_suspend_VDI(vm)
        x.VM.resume(new, False, False)
        host.rounds(new, 10)
        assert x.VM.get_power_state(vm) == "Suspended"
    finally:
        host.remove_vm(new)
    x.VM.hard_shutdown(vm)


def test_formats(host, web, disk, tmp_path):
    raw, vhd = tmp_path / "d.raw", tmp_path / "d.vhd"
    raw.write_bytes(CONTENT)
    vdi = disk(len(CONTENT))
    transferred(host, "PUT", "/import_raw_vdi", str(raw), vdi=vdi)
    same(path_of(host, vdi), "vpc", raw, "raw")
    transferred(host, "GET", "/export_raw_vdi", str(vhd), vdi=vdi, format="vhd")
    same(vhd, "vpc", raw, "raw")
    assert vhd.stat().st_size < len(CONTENT)
    other = disk(len(CONTENT))
    transferred(host, "PUT", "/import_raw_vdi", str(vhd), vdi=other, format="vhd")
    same(path_of(host, other), "vpc", raw, "raw")
    assert web.get("/export_raw_vdi", vdi=other)[2] == CONTENT
    assert int(host.x.VDI.get_physical_utilisation(other)) < len(CONTENT), "holes stayed holes"
    assert not host.leftovers()


def test_a_copy_has_the_contents(host, disk, tmp_path):
    vdi = disk(len(CONTENT))
    (tmp_path / "d.raw").write_bytes(CONTENT)
    transferred(host, "PUT", "/import_raw_vdi", str(tmp_path / "d.raw"), vdi=vdi)
    copy = host.x.VDI.copy(vdi, host.x.VDI.get_SR(vdi))
    try:
        same(path_of(host, copy), "vpc", tmp_path / "d.raw", "raw")
    finally:
        host.x.VDI.destroy(copy)


def test_what_differs_is_copied_to_another_repository(host, vm, disk, tmp_path):
    """As a backup tool does it: a copy of a snapshot is brought up to date."""
    sr = host.x.SR.create(host.x.host.get_all()[0], {"location": str(tmp_path)}, "0", "second", "", "file", "user", False, {})
    vdi, web = disk(len(CONTENT)), Client(host, host.x)
    assert web.put("/import_raw_vdi", CONTENT, vdi=vdi)[0] == 200
    snapshot = host.x.VDI.snapshot(vdi)
    into = host.x.VDI.copy(snapshot, sr)
    later = bytearray(CONTENT)
    later[5 * MIB + 512:5 * MIB + 1024], later[9 * MIB:10 * MIB] = b"\x5a" * 512, bytes(MIB)
    assert web.put("/import_raw_vdi", bytes(later), vdi=vdi)[0] == 200
    assert host.x.VDI.copy(vdi, "OpaqueRef:NULL", snapshot, into) == into
    assert web.get("/export_raw_vdi", vdi=into)[2] == bytes(later)
    host.x.VM.start(vm, False, False)
    (used,) = (host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm) if host.x.VBD.get_type(b) == "Disk")
    assert failure(host.x.VDI.copy, vdi, "OpaqueRef:NULL", snapshot, used)[:2] == ["VDI_IN_USE", used]
    host.rounds(vm, 3)
    host.x.VM.hard_shutdown(vm)
    for one in (snapshot, into):
        host.x.VDI.destroy(one)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.destroy(sr)
    assert not host.leftovers()


def peak(host):
    """Most memory that the daemon has had, in bytes."""
    with open(f"/proc/{host.process.pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM"))


def test_memory_does_not_grow_with_the_disk(host, disk, tmp_path):
    """2 GiB with 64 MiB of data in them, in every form, with less than 48 MiB more."""
    raw = tmp_path / "d.raw"
    with open(raw, "wb") as f:
        for n in range(64):
            f.seek(n * 31 * MIB)
            f.write(os.urandom(MIB))
        f.truncate(2 * GIB)
    vdi, other = disk(2 * GIB), disk(2 * GIB)
    before = peak(host)
    transferred(host, "PUT", "/import_raw_vdi", str(raw), vdi=vdi)
    for form in ("vhd", "tar", "qcow2"):
        file = str(tmp_path / form)
        transferred(host, "GET", "/export_raw_vdi", file, vdi=vdi, format=form)
        assert os.path.getsize(file) < GIB // 2
        transferred(host, "PUT", "/import_raw_vdi", file, vdi=other, format=form)
        same(path_of(host, other), "vpc", raw, "raw")
        os.unlink(file)
    assert peak(host) - before < 48 * MIB


def test_a_disk_in_use_is_refused(host, vm, web):
    host.x.VM.start(vm, False, False)
    vdi = next(host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm)
               if host.x.VBD.get_type(b) == "Disk")
    status, _, body = web.get("/export_raw_vdi", vdi=vdi)
    assert status == 500 and b"VDI_IN_USE" in body
    assert web.put("/import_raw_vdi", b"x" * 512, vdi=vdi)[0] == 500
    host.rounds(vm, 3)
