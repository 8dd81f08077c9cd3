"""Disks as qcow2 on logical volumes: chains of them, and disks that no VHD can hold; lvm2's tools and QEMU's look on."""
import json
import os
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, make_disk, run_host, run_vm_with, wait_for  # noqa: E402
from simhost import failure  # noqa: E402
from transfers import Client, pattern  # noqa: E402
from volumes import check, content, extents, loop_device, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB, GIB = 1 << 20, 1 << 30
DISK = 16 * MIB


def make(host, sr, size):
    return make_disk(host, sr, size, {"image-format": "qcow2"})


def make_sr(host, device):
    return host.x.SR.create(host.x.host.get_all()[0], {"device": device}, "0", "volumes", "", "lvm", "user", False, {})


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    with loop_device(tmp_path_factory.mktemp("lvm") / "device", 512 * MIB) as path:
        yield path


@pytest.fixture(scope="module")
def sr(host, device):
    ref = make_sr(host, device)
    host.x.SR.add_to_other_config(ref, "gc-delay", "0")
    yield ref
    for vdi in host.x.SR.get_VDIs(ref):
        if host.x.VDI.get_managed(vdi):
            host.x.VDI.destroy(vdi)
    tidied(host, device, ref)
    assert volumes(device) == {}


def tidied(host, device, sr):
    wait_for(lambda: all(r["managed"] and not r["current_operations"]
                         for r in host.x.VDI.get_all_records().values() if r["SR"] == sr), 120)
    check(host, device, sr)


def fill(host, vdi, data):
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body


def read(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return body


def below(host, vdi):
    ident = host.x.VDI.get_sm_config(vdi).get("vhd-parent")
    return host.x.VDI.get_by_uuid(ident) if ident else None


def good(host, device, vdi, folder):
    """To QEMU's tools, which read the same in it."""
    data, names = read(host, vdi), []
    while vdi:
        names.append(host.x.VDI.get_location(vdi))
        with open(folder / names[-1], "wb") as f:
            f.write(content(device, names[-1]))
        vdi = below(host, vdi)
    for name in names:
        subprocess.run(["qemu-img", "check", "-f", "qcow2", folder / name], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", folder / names[0], folder / "raw"], check=True)
    assert (folder / "raw").read_bytes() == data
    return data


def test_a_chain(host, device, sr, tmp_path):
    host.x.SR.add_to_other_config(sr, "gc", "false")
    vdi = make(host, sr, DISK)
    first, second = pattern("first", DISK), pattern("second", DISK)
    fill(host, vdi, first)
    snapshot = host.x.VDI.snapshot(vdi)
    assert below(host, vdi) and below(host, vdi) == below(host, snapshot)
    fill(host, vdi, second)
    clone = host.x.VDI.clone(snapshot)
    assert host.x.VDI.get_location(vdi) == "QCOW2-" + host.x.VDI.get_uuid(vdi)
    for one, wanted in ((vdi, second), (snapshot, first), (clone, first)):
        assert good(host, device, one, tmp_path) == wanted
    before = set(host.x.SR.get_VDIs(sr))
    host.x.SR.scan(sr)
    assert set(host.x.SR.get_VDIs(sr)) == before
    host.x.VDI.revert(snapshot)
    for one in (snapshot, clone):
        host.x.VDI.destroy(one)
    host.x.SR.remove_from_other_config(sr, "gc")
    tidied(host, device, sr)
    assert set(volumes(device)) == {"QCOW2-" + host.x.VDI.get_uuid(vdi)}
    assert good(host, device, vdi, tmp_path) == first
    host.x.VDI.destroy(vdi)


def test_under_a_guest(host, device, sr, tmp_path):
    vdi = make(host, sr, 32 * MIB)
    fill(host, vdi, guest_sector(host))
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 20)
        snapshot = host.x.VDI.snapshot(vdi)
        host.rounds(vm, 20)
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 20)
        host.restart()
        host.x.VDI.resize_online(vdi, str(40 * MIB))
        host.x.VDI.destroy(snapshot)
        tidied(host, device, sr)
        host.rounds(vm, 320)
    good(host, device, vdi, tmp_path)
    host.x.VDI.destroy(vdi)


def test_beyond_what_a_vhd_holds(host, tmp_path):
    """The format is chosen by the size; what is written at the end is there."""
    size = 2041 * GIB
    with open(tmp_path / "large", "wb") as f:
        f.truncate(2300 * GIB)
    with loop_device(tmp_path / "large", 0) as device:
        sr = make_sr(host, device)
        assert failure(make_disk, host, sr, 2043 * GIB, {"image-format": "vhd"})[0] == "SR_BACKEND_FAILURE_79"
        vdi = make_disk(host, sr, size)
        name = host.x.VDI.get_location(vdi)
        assert name == "QCOW2-" + host.x.VDI.get_uuid(vdi) and host.x.VDI.get_sm_config(vdi)["image-format"] == "qcow2"
        check(host, device, sr)
        data = pattern("end", 64 * 1024)
        chunk = struct.pack("<QI", size - len(data), len(data)) + data + struct.pack("<QI", 0, 0)
        status, _, body = Client(host, host.x).put("/import_raw_vdi", chunk, vdi=vdi, format="raw", chunked="true")
        assert status == 200, body
        ((on, at, length),) = extents(device, name)
        part = {"driver": "raw", "offset": at, "size": length, "file": {"driver": "host_device", "filename": on}}
        image = "json:" + json.dumps({"driver": "qcow2", "file": part})
        subprocess.run(["qemu-img", "check", image], check=True, stdout=subprocess.DEVNULL)
        info = json.loads(subprocess.run(["qemu-img", "map", "--output=json", image], check=True, text=True,
                                         capture_output=True).stdout)
        assert [(m["start"], m["length"]) for m in info if m["data"]] == [(size - len(data), len(data))]
        host.x.VDI.destroy(vdi)
        host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
        host.x.SR.destroy(sr)
