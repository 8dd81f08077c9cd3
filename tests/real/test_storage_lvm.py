"""Disks on logical volumes of a real device, which lvm2's own tools look at all the time."""
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, make_disk, run_host, run_vm_with  # noqa: E402
from simhost import failure  # noqa: E402
from transfers import Client  # noqa: E402
from volumes import check, loop_device, report, tool, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
DISK = 32 * MIB


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    with loop_device(tmp_path_factory.mktemp("lvm") / "device", 320 * MIB) as path:
        yield path


def create(host, device, kind="lvm", **more):
    where = {"SCSIid" if kind == "lvmohba" else "device": device, **more}
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", "volumes", "", kind, "user", False, {})


@pytest.fixture(scope="module")
def sr(host, device):
    return create(host, device)


def probe(host, device, devices=None):
    found = ET.fromstring(host.x.SR.probe(host.x.host.get_all()[0], {"device": device}, "lvm", {}))
    ways = host.x.SR.probe_ext(host.x.host.get_all()[0], {"device": device}, "lvm", {})
    (vg,) = report(devices or device, "vgs", "vg_size,vg_free") if found else ({},)
    assert [(int(w["sr"]["total_space"]), int(w["sr"]["free_space"])) for w in ways if "sr" in w] == (
        [(int(vg["vg_size"]), int(vg["vg_free"]))] if found else [])
    return [(s.findtext("UUID").strip(), s.findtext("Devlist").strip()) for s in found]


def test_what_cannot_be(host, tmp_path):
    with open(tmp_path / "foreign", "wb") as f:
        f.truncate(64 * MIB)
    loop = subprocess.run(["losetup", "--show", "-f", f.name], check=True, text=True,
                          capture_output=True).stdout.strip()
    try:
        subprocess.run(["mkfs.ext4", "-q", "-L", "precious", loop], check=True)
        told = failure(create, host, loop)
        assert told[0] == "SR_BACKEND_FAILURE_16" and "precious" in told[3], told
        assert failure(create, host, "")[0] == "SR_BACKEND_FAILURE_90"
        assert failure(create, host, "", "lvmohba")[0] == "SR_BACKEND_FAILURE_107"
        assert failure(create, host, "relative")[0] == "SR_BACKEND_FAILURE_91"
        assert failure(create, host, "/dev/null@1+2")[0] == "SR_BACKEND_FAILURE_91"
        assert failure(create, host, "/dev/nowhere")[0] == "SR_BACKEND_FAILURE_91"
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


def test_disks_are_volumes(host, device, sr):
    check(host, device, sr)
    assert probe(host, device) == [(host.x.SR.get_uuid(sr), device)]
    vdi = make_disk(host, sr, DISK)
    name = "VHD-" + host.x.VDI.get_uuid(vdi)
    assert host.x.VDI.get_location(vdi) == name
    # 32 MiB, tables of a disk of 2 TiB, a bitmap of 4 KiB a block: ten extents.
    assert volumes(device) == {name: 40 * MIB}
    check(host, device, sr)
    host.x.VDI.resize(vdi, str(2 * DISK))
    assert int(host.x.VDI.get_virtual_size(vdi)) == 2 * DISK
    assert volumes(device) == {name: 72 * MIB}
    assert failure(host.x.VDI.resize, vdi, str(DISK))[0] in ("SR_BACKEND_FAILURE_79", "VDI_TOO_SMALL")
    told = failure(make_disk, host, sr, 1 << 30)
    assert told[0] == "SR_BACKEND_FAILURE_44" and "are free" in told[3], told
    assert "enable_cbt" not in host.x.VDI.get_allowed_operations(vdi)
    assert failure(host.x.VDI.enable_cbt, vdi) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    assert "vdi_enable_cbt" not in host.x.SR.get_allowed_operations(sr)
    host.x.VDI.destroy(vdi)
    assert volumes(device) == {}
    check(host, device, sr)


def install(host, sr):
    """A disk with the guest in its first sector; the device's rubbish shows nowhere else."""
    vdi = make_disk(host, sr, DISK)
    client = Client(host, host.x)
    image = guest_sector(host) + bytes(DISK - 512)
    status, _, body = client.put("/import_raw_vdi", image, vdi=vdi, format="raw")
    assert status == 200, body
    status, _, body = client.get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200 and body == image
    return vdi


def test_a_guest_on_volumes(host, device, sr):
    """Its disk grows, so that the volume has two segments; deaths in between; another volume is
    made and removed under it."""
    vdi, between = install(host, sr), make_disk(host, sr, DISK)
    host.x.VDI.resize(vdi, str(2 * DISK))
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        other = make_disk(host, sr, DISK)
        host.rounds(vm, 5)
        host.x.VDI.destroy(other)
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 5)
        host.restart()
        host.rounds(vm, 5)
        check(host, device, sr)
        host.x.VM.hard_shutdown(vm)
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
    for one in (between, vdi):
        host.x.VDI.destroy(one)
    assert volumes(device) == {}


def test_introduced_again(host, device, sr):
    """What lvm2 made in the group is not ours to show; what was half made is removed."""
    uuid, vdi = host.x.SR.get_uuid(sr), make_disk(host, sr, DISK)
    name = host.x.VDI.get_location(vdi)
    pbd = host.x.SR.get_PBDs(sr)[0]
    config = host.x.PBD.get_device_config(pbd)
    host.x.PBD.unplug(pbd)
    host.x.SR.forget(sr)
    for extra in ("foreign", "new-" + uuid):
        tool(device, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-qq", "-L", "4M", "-n", extra, "VG_XenStorage-" + uuid)
    sr = host.x.SR.introduce(uuid, "again", "", "lvm", "user", False, {})
    pbd = host.x.PBD.create({"host": host.x.host.get_all()[0], "SR": sr, "device_config": config,
                             "other_config": {}})
    host.x.PBD.plug(pbd)
    host.x.SR.scan(sr)
    (vdi,) = host.x.SR.get_VDIs(sr)
    assert host.x.VDI.get_location(vdi) == name and int(host.x.VDI.get_virtual_size(vdi)) == DISK
    assert set(volumes(device)) == {name, "foreign"}
    assert failure(host.x.SR.destroy, sr)[0] in ("SR_HAS_PBD", "SR_NOT_EMPTY")
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(pbd)
    told = failure(host.x.SR.destroy, sr)
    assert told[0] == "SR_BACKEND_FAILURE_39" and told[3] == "foreign", told
    assert set(volumes(device)) == {"foreign"} and host.x.SR.get_uuid(sr) == uuid
    tool(device, "lvremove", "-qq", "-y", f"VG_XenStorage-{uuid}/foreign")
    host.x.SR.destroy(sr)
    assert probe(host, device) == []


def test_a_unit_of_an_hba(host, device):
    sr = create(host, device, "lvmohba", force="true")
    vdi = make_disk(host, sr, DISK)
    check(host, device, sr)
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.destroy(sr)


def test_a_raw_volume_does_not_show_what_is_behind_it(host, device):
    sr = create(host, device, force="true")
    uuid = host.x.SR.get_uuid(sr)
    tool(device, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-qq", "-L", "8M", "-n", "LV-" + uuid, "VG_XenStorage-" + uuid)
    host.x.SR.scan(sr)
    (vdi,) = host.x.SR.get_VDIs(sr)
    assert failure(host.x.VDI.resize, vdi, str(16 * MIB))[0] == "SR_BACKEND_FAILURE_110"
    assert volumes(device) == {"LV-" + uuid: 8 * MIB}
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.destroy(sr)


def test_several_devices(host, device, tmp_path):
    """A disk that neither has room for."""
    with open(tmp_path / "second", "wb") as f:
        f.truncate(96 * MIB)
    second = subprocess.run(["losetup", "--show", "-f", f.name], check=True, text=True,
                            capture_output=True).stdout.strip()
    try:
        both = f"{second},{device}"
        sr = create(host, both, force="true")
        assert int(host.x.SR.get_physical_size(sr)) > 350 * MIB
        large, vdi = make_disk(host, sr, 250 * MIB), make_disk(host, sr, 96 * MIB)
        client = Client(host, host.x)
        image = b"".join(bytes([n % 251 + 1]) * MIB for n in range(96))
        status, _, body = client.put("/import_raw_vdi", image, vdi=vdi, format="raw")
        assert status == 200, body
        pbd = host.x.SR.get_PBDs(sr)[0]
        host.x.PBD.unplug(pbd)
        uuid = host.x.SR.get_uuid(sr)
        assert probe(host, device, both) == [(uuid, device)]
        host.x.PBD.plug(pbd)
        status, _, body = client.get("/export_raw_vdi", vdi=vdi, format="raw")
        assert status == 200 and body == image
        host.x.VDI.destroy(vdi)
        host.x.VDI.destroy(large)
        host.x.PBD.unplug(pbd)
        host.x.SR.destroy(sr)
        assert probe(host, second) == probe(host, device) == []
    finally:
        subprocess.run(["losetup", "-d", second], check=True)
