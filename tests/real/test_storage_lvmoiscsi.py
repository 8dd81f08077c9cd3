"""Logical volumes on a unit of a real iSCSI target, which lvm2's own tools look at through a loop device."""
import contextlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, make_disk, run_host, run_vm_with, wait_for  # noqa: E402
from simhost import failure  # noqa: E402
from storageserver import Iscsi, Network  # noqa: E402
from transfers import Client, pattern  # noqa: E402
from volumes import check, tool, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
DISK = 8 * MIB
UNIT = 192 * MIB
USER = ("cairn", "secret-of-16-byte")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("tgt")) as net:
        yield Iscsi(net, luns=(UNIT, 32 * MIB), chap=USER).start()


def config(server, **more):
    return {"target": server.net.address, "targetIQN": server.iqn, "chapuser": USER[0],
            "chappassword": USER[1], **more}


def probe(host, where):
    return host.x.SR.probe(host.x.host.get_all()[0], where, "lvmoiscsi", {})


def ids(host, where):
    told = failure(probe, host, where)
    assert told[0] == "SR_BACKEND_FAILURE_107", told
    return {int(u.findtext("LUNid")): u.findtext("SCSIid").strip() for u in ET.fromstring(told[3])}


@pytest.fixture(scope="module")
def where(host, target):
    return config(target, SCSIid=ids(host, config(target))[1])


def create(host, where, **settings):
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", "san", "", "lvmoiscsi", "user", True, settings)


@pytest.fixture(scope="module")
def sr(host, where):
    ref = create(host, where)
    host.x.SR.add_to_other_config(ref, "gc-delay", "0")
    return ref


@contextlib.contextmanager
def looked_at(target, lun=0):
    """The file behind a unit, as lvm2's tools see it at this moment."""
    loop = subprocess.run(["losetup", "-r", "--show", "-f", target.luns[lun]], check=True, text=True,
                          capture_output=True).stdout.strip()
    try:
        yield loop
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


def is_sound(host, target, sr):
    with looked_at(target) as loop:
        check(host, loop, sr)
        return volumes(loop)


def test_probe_leads_to_a_unit(host, target):
    assert failure(probe, host, {})[0] == "SR_BACKEND_FAILURE_95"
    told = failure(probe, host, {k: v for k, v in config(target).items() if k != "targetIQN"})
    assert told[0] == "SR_BACKEND_FAILURE_96" and target.iqn in told[3]
    units = ids(host, config(target))
    assert sorted(units) == [1, 2]
    assert ids(host, config(target, SCSIid="nobody")) == units
    ways = host.x.SR.probe_ext(host.x.host.get_all()[0], config(target), "lvmoiscsi", {})
    assert [w["configuration"]["SCSIid"] for w in ways] == [units[1], units[2]]
    assert failure(probe, host, config(target, chappassword="another-secret-16"))[0] == "SR_BACKEND_FAILURE_68"
    assert failure(probe, host, config(target, incoming_chapuser="x"))[0] == "SR_BACKEND_FAILURE_68"
    assert len(ET.fromstring(probe(host, config(target, SCSIid=units[1])))) == 0
    assert os.listdir(os.path.join(host.folder, "run", "sr-login")) == []


def test_a_unit_of_somebody_else_is_refused(host, target, where):
    loop = subprocess.run(["losetup", "--show", "-f", target.luns[1]], check=True, text=True,
                          capture_output=True).stdout.strip()
    try:
        tool(loop, "pvcreate", "-qq", "-y", loop)
        tool(loop, "vgcreate", "-qq", "precious", loop)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)
    other = config(target, SCSIid=ids(host, config(target))[2])
    before = open(target.luns[1], "rb").read()
    told = failure(create, host, other)
    assert told[0] == "SR_BACKEND_FAILURE_16" and "precious" in told[3], told
    with open(target.luns[1], "r+b") as f:
        f.write(bytes(4096))
    told = failure(create, host, other)
    assert told[0] == "SR_BACKEND_FAILURE_16" and "carries data" in told[3], told
    assert open(target.luns[1], "rb").read() == bytes(4096) + before[4096:]


def test_disks_are_volumes(host, target, where, sr):
    assert is_sound(host, target, sr) == {}
    found = ET.fromstring(probe(host, where))
    assert [s.findtext("UUID").strip() for s in found] == [host.x.SR.get_uuid(sr)]
    vdi = make_disk(host, sr, DISK)
    name = "VHD-" + host.x.VDI.get_uuid(vdi)
    assert is_sound(host, target, sr) == {name: 16 * MIB}
    data = pattern("one", DISK)
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body
    between = make_disk(host, sr, DISK)
    host.x.VDI.resize(vdi, str(2 * DISK))
    assert is_sound(host, target, sr)[name] == 24 * MIB
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200 and body == data + bytes(DISK)
    told = failure(make_disk, host, sr, 1 << 30)
    assert told[0] == "SR_BACKEND_FAILURE_44" and "are free" in told[3], told
    for one in (between, vdi):
        host.x.VDI.destroy(one)
    assert is_sound(host, target, sr) == {}


def install(host, sr):
    vdi = make_disk(host, sr, DISK)
    status, _, body = Client(host, host.x).put("/import_raw_vdi", guest_sector(host) + bytes(DISK - 512),
                                               vdi=vdi, format="raw")
    assert status == 200, body
    return vdi


def read(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return body


def gone(host, target, sr):
    wait_for(lambda: not host.x.SR.get_VDIs(sr), 120)
    assert is_sound(host, target, sr) == {}


def test_a_guest_is_snapshotted_and_lives_through_deaths(host, target, sr):
    """Of the server under load, of what serves the disk, of the daemon; the chain is tidied."""
    vdi = install(host, sr)
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        snapshot = host.x.VDI.snapshot(vdi)
        host.rounds(vm, 5)
        assert len(is_sound(host, target, sr)) == 3
        then = read(host, snapshot)
        target.stop()
        target.start()
        host.rounds(vm, 5)
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 5)
        host.restart()
        host.rounds(vm, 5)
        assert read(host, snapshot) == then
        host.x.VDI.destroy(snapshot)
        host.rounds(vm, 5)
        wait_for(lambda: len(host.x.SR.get_VDIs(sr)) == 1, 120)
        host.rounds(vm, 5)
    host.x.VDI.destroy(vdi)
    gone(host, target, sr)


def test_a_server_that_is_away(host, target, sr):
    target.stop()
    try:
        assert failure(make_disk, host, sr, DISK)[0].startswith("SR_BACKEND_FAILURE_")
        assert failure(host.x.SR.scan, sr)[0].startswith("SR_BACKEND_FAILURE_")
    finally:
        target.start()
    host.x.SR.scan(sr)
    gone(host, target, sr)


def test_introduced_again(host, target, where, sr):
    uuid, vdi = host.x.SR.get_uuid(sr), make_disk(host, sr, DISK)
    data = pattern("kept", DISK)
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body
    name = host.x.VDI.get_location(vdi)
    pbd = host.x.SR.get_PBDs(sr)[0]
    kept = host.x.PBD.get_device_config(pbd)
    assert "chappassword" not in kept and "chappassword_secret" in kept
    host.x.PBD.unplug(pbd)
    host.x.SR.forget(sr)
    assert failure(create, host, where)[0] == "SR_BACKEND_FAILURE_16"
    sr = host.x.SR.introduce(uuid, "again", "", "lvmoiscsi", "user", True, {})
    pbd = host.x.PBD.create({"host": host.x.host.get_all()[0], "SR": sr, "device_config": where,
                             "other_config": {}})
    host.x.PBD.plug(pbd)
    host.x.SR.scan(sr)
    (vdi,) = host.x.SR.get_VDIs(sr)
    assert host.x.VDI.get_location(vdi) == name and read(host, vdi) == data
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(pbd)
    host.x.SR.destroy(sr)
    with looked_at(target) as loop:
        assert tool(loop, "pvs", "--noheadings").strip() == ""
    assert len(ET.fromstring(probe(host, where))) == 0
    assert not [n for n in os.listdir(os.path.join(host.folder, "run", "sr-login"))]


def test_thin_volumes_grow(host, target, where):
    sr = create(host, where, allocation="xlvhd", allocation_quantum=str(16 * MIB))
    vdi = make_disk(host, sr, 64 * MIB)
    name = host.x.VDI.get_location(vdi)
    assert is_sound(host, target, sr)[name] < 32 * MIB
    data = pattern("thin", 40 * MIB)
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data + bytes(24 * MIB), vdi=vdi, format="raw")
    assert status == 200, body
    assert read(host, vdi)[:40 * MIB] == data
    assert 40 * MIB < is_sound(host, target, sr)[name] < 76 * MIB
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.destroy(sr)
