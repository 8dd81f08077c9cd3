"""qcow2 disks beside VHDs: chosen by size or by name, and under a guest that writes and compares."""
import os
import struct
import subprocess
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, run_host, wait_for  # noqa: E402
from transfers import Client, query, sparse  # noqa: E402
import xapi  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB, GIB = 1 << 20, 1 << 30


def storage(host):
    return host.x.SR.get_by_name_label("Local storage")[0]


def folder_of(host, sr):
    folder = os.path.join(host.folder, "sr", host.x.SR.get_uuid(sr))
    return folder if os.path.isdir(folder) else os.path.join(host.folder, "sr")


def make(host, size, **sm_config):
    return host.x.VDI.create({"name_label": "disk", "name_description": "", "SR": storage(host),
                              "virtual_size": str(size), "type": "user", "sharable": False,
                              "read_only": False, "other_config": {},
                              "sm_config": {k.replace("_", "-"): v for k, v in sm_config.items()}})


def format_of(host, vdi):
    return host.x.VDI.get_sm_config(vdi)["image-format"], host.x.VDI.get_location(vdi).split(".")[-1]


def test_which_format(host):
    ext = [r for r in host.x.SM.get_all_records().values() if r["type"] == "ext"][0]
    assert set(ext["supported_image_formats"]) == {"vhd", "qcow2", "raw"}
    made = []
    for size, wish, format in ((10 * MIB, {}, "vhd"), (2040 * GIB, {}, "vhd"), (2041 * GIB, {}, "qcow2"),
                               (16381 * GIB, {}, "qcow2"), (10 * MIB, {"image_format": "qcow2"}, "qcow2"),
                               (10 * MIB, {"image_format": "raw"}, "raw"), (10 * MIB, {"type": "raw"}, "raw")):
        made.append(make(host, size, **wish))
        assert format_of(host, made[-1]) == (format, format)
        assert int(host.x.VDI.get_virtual_size(made[-1])) == size
    for size, wish in ((16382 * GIB, {}), (2041 * GIB, {"image_format": "vhd"})):
        with pytest.raises(xapi.Failure) as e:
            make(host, size, **wish)
        assert e.value.details[0] == "SR_BACKEND_FAILURE_79"
    with pytest.raises(xapi.Failure):
        make(host, 10 * MIB, image_format="vmdk")
    for vdi in made:
        host.x.VDI.destroy(vdi)


def install(host, sr):
    """A qcow2 image with the guest in its first sector, made by QEMU."""
    name = str(uuid.uuid4())
    sector, raw = guest_sector(host), os.path.join(host.folder, "scratch", "guest.raw")
    with open(raw, "wb") as f:
        f.write(sector)
    os.truncate(raw, 32 * MIB)
    path = os.path.join(folder_of(host, sr), name + ".qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    host.x.SR.scan(sr)
    return host.x.VDI.get_by_uuid(name)


def bases(host):
    return [v for v, r in host.x.VDI.get_all_records().items()
            if r["SR"] == storage(host) and (not r["managed"] or r["current_operations"])]


def test_a_guest_on_qcow2_is_snapshotted_killed_and_tidied(host):
    sr = storage(host)
    host.x.SR.add_to_other_config(sr, "gc-delay", "0")
    vdi = install(host, sr)
    assert format_of(host, vdi) == ("qcow2", "qcow2")
    vm = host.make_vm(vdi=vdi)
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    snapshots = []
    for n in range(2):
        snapshots.append(host.x.VM.snapshot(vm, f"snapshot {n}"))
        host.rounds(vm, 5)
    host.kill(vm, "cairn-diskd")
    host.rounds(vm, 5)
    for snapshot in snapshots:
        disks = [host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(snapshot)
                 if host.x.VBD.get_type(b) == "Disk"]
        assert [format_of(host, d) for d in disks] == [("qcow2", "qcow2")]
        host.x.VM.destroy(snapshot)
        for disk in disks:
            host.x.VDI.destroy(disk)
    wait_for(lambda: not bases(host), 120)
    host.rounds(vm, 5)
    host.x.VM.hard_shutdown(vm)
    path = os.path.join(folder_of(host, sr), host.x.VDI.get_location(vdi))
    subprocess.run(["qemu-img", "check", "-f", "qcow2", path], check=True)
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    host.remove_vm(vm)


@pytest.fixture
def untidied(host):
    """What the house does by itself holds disks for a moment: not while they are destroyed."""
    host.x.SR.add_to_other_config(storage(host), "gc", "false")
    yield
    host.x.SR.remove_from_other_config(storage(host), "gc")


def destroyed(host, vm):
    """A snapshot and what it alone has."""
    own = [host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm) if host.x.VBD.get_type(b) == "Disk"]
    memory = host.x.VM.get_suspend_VDI(vm)
    host.x.VM.destroy(vm)
    for vdi in [*own, memory]:
        if vdi in host.x.VDI.get_all():
            host.x.VDI.destroy(vdi)


def test_a_guest_travels_with_its_snapshots(host, untidied, tmp_path):
    """From qcow2 disks into an archive and out of it: the guest goes on, goes back to a snapshot, and
    wakes in the middle of what it did at a checkpoint."""
    x, vm = host.x, host.make_vm(vdi=install(host, storage(host)), name="traveller")
    x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    tree = [x.VM.checkpoint(vm, "awake")]
    host.rounds(vm, 5)
    tree.append(x.VM.snapshot(vm, "later"))
    host.rounds(vm, 5)
    x.VM.hard_shutdown(vm)
    file = str(tmp_path / "vm.xva")
    for path, method, more in (("/export", "-o", {"ref": vm, "export_snapshots": "true",
                                                  "preserve_power_state": "true",
                                                  "use_compression": "zstd"}),
                               ("/import", "-T", {})):
        task = x.task.create("travel", "")
        subprocess.run(["curl", "-sS", method, file, host.url + query(path, session_id=x.ref,
                                                                     task_id=task, **more)], check=True)
        assert x.task.get_error_info(task) == []
        if path == "/export":
            host.remove_vm(vm)
            for snapshot in tree:
                destroyed(host, snapshot)
    new, = [v for v in x.VM.get_by_name_label("traveller") if not x.VM.get_is_a_snapshot(v)]
    host.x_uuid[new] = x.VM.get_uuid(new)
    copies = {x.VM.get_name_label(s): s for s in x.VM.get_snapshots(new)}
    assert x.VM.get_parent(new) == copies["later"] and x.VM.get_parent(copies["later"]) == copies["awake"]
    x.VM.start(new, False, False)
    host.rounds(new, 5)
    x.VM.hard_shutdown(new)
    x.VM.revert(copies["later"])
    x.VM.start(new, False, False)
    host.rounds(new, 5)
    x.VM.revert(copies["awake"])
    assert x.VM.get_power_state(new) == "Suspended"
    x.VM.resume(new, False, False)
    host.rounds(new, 5)
    host.remove_vm(new)
    for snapshot in copies.values():
        destroyed(host, snapshot)
    assert not host.leftovers()


def test_what_goes_out_as_qcow2(host, untidied, tmp_path):
    """Of any disk: whole and as a difference, read by QEMU; and the whole comes in again."""
    x, web = host.x, Client(host, host.x)
    vdi, raw = make(host, 16 * MIB, image_format="qcow2"), tmp_path / "d.raw"
    raw.write_bytes(sparse(16 * MIB))
    assert web.put("/import_raw_vdi", raw.read_bytes(), vdi=vdi)[0] == 200
    snapshot = x.VDI.snapshot(vdi)
    piece = struct.pack("<QI", 9 * MIB, 4096) + b"x" * 4096 + bytes(12)
    assert web.put("/import_raw_vdi", piece, vdi=vdi, chunked="true")[0] == 200
    names = {v: str(tmp_path / (x.VDI.get_uuid(v) + ".qcow2")) for v in (snapshot, vdi)}
    for ref, more in ((snapshot, {}), (vdi, {"base": snapshot})):
        status, _, body = web.get("/export_raw_vdi", vdi=ref, format="qcow2", **more)
        assert status == 200
        with open(names[ref], "wb") as f:
            f.write(body)
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", names[ref]], check=True)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", names[snapshot], raw],
                   check=True)
    with open(raw, "r+b") as f:
        f.seek(9 * MIB)
        f.write(b"x" * 4096)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", names[vdi], raw],
                   check=True)
    assert os.path.getsize(names[vdi]) == 6 * 65536, "header, L1, two of counts, L2, data"
    other = make(host, 16 * MIB)
    with open(names[snapshot], "rb") as f:
        assert web.put("/import_raw_vdi", f.read(), vdi=other, format="qcow2")[0] == 200
    assert web.get("/export_raw_vdi", vdi=other)[2] == sparse(16 * MIB)
    for ref in (other, snapshot, vdi):
        x.VDI.destroy(ref)


def test_a_guest_cannot_make_another_format_of_its_disk(host):
    """Who writes a VHD into his raw disk, whose parent he names, has a raw disk with a VHD in it."""
    vdi = make(host, 10 * MIB, image_format="raw")
    path = os.path.join(folder_of(host, storage(host)), host.x.VDI.get_location(vdi))
    subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", path + ".vhd", "64M"], check=True)
    with open(path + ".vhd", "rb") as f:
        image = f.read()
    os.unlink(path + ".vhd")
    with open(path, "r+b") as f:
        f.write(image[:512])
        f.seek(10 * MIB - 512)
        f.write(image[-512:])
    host.x.VDI.update(vdi)
    host.x.SR.scan(storage(host))
    assert int(host.x.VDI.get_virtual_size(vdi)) == 10 * MIB and format_of(host, vdi) == ("raw", "raw")
    host.x.VDI.destroy(vdi)
