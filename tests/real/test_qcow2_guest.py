"""qcow2 disks beside VHDs: chosen by size or by name, and under a guest that writes and compares."""
import os
import subprocess
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, run_host, wait_for  # noqa: E402
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
    os.kill(host.pid_of(vm, "cairn-diskd"), 9)
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
