"""Repositories on a real NFS server: the host's own calls, and guests that write there."""
import os
import sys
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import make_disk, run_host, run_vm_on, wait_for  # noqa: E402
from simhost import failure  # noqa: E402
from storageserver import Network, Nfs  # noqa: E402
from transfers import Client, sparse  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20


@pytest.fixture(scope="module")
def nfs(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("nfs")) as net:
        yield Nfs(net, exports=("a", "b"), small={"small": 4}).start()


def config(nfs, export="a", **more):
    return {"server": nfs.net.address, "serverpath": nfs.exports[export], **more}


def create(host, where, sm_config=None, name="nfs"):
    me = host.x.host.get_all()[0]
    return host.x.SR.create(me, where, "0", name, "", "nfs", "user", True, sm_config or {})


@pytest.fixture(scope="module")
def sr(host, nfs):
    return create(host, config(nfs))


def probe(host, where, **sm_config):
    return host.x.SR.probe(host.x.host.get_all()[0], where, "nfs", sm_config)


def probe_failure(host, where):
    return failure(probe, host, where)


def test_probe_leads_to_the_export(host, nfs, sr):
    """As XenCenter does it: without a path the exports are told, with one the repositories."""
    assert probe_failure(host, {})[0] == "SR_BACKEND_FAILURE_102"
    told = probe_failure(host, {"server": nfs.net.address})
    assert told[0] == "SR_BACKEND_FAILURE_101"
    paths = {e.findtext("Path").strip() for e in ET.fromstring(told[3])}
    assert paths == set(nfs.exports.values())
    found = ET.fromstring(probe(host, config(nfs)))
    assert [e.findtext("UUID").strip() for e in found] == [host.x.SR.get_uuid(sr)]


def test_probe_as_records(host, nfs, sr):
    me = host.x.host.get_all()[0]
    ways = host.x.SR.probe_ext(me, {"server": nfs.net.address}, "nfs", {})
    assert {w["configuration"]["serverpath"] for w in ways} == set(nfs.exports.values())
    known, = host.x.SR.probe_ext(me, config(nfs), "nfs", {})
    assert known["sr"]["uuid"] == host.x.SR.get_uuid(sr) and known["complete"]
    free, = host.x.SR.probe_ext(me, config(nfs, "b"), "nfs", {})
    assert "sr" not in free and free["configuration"] == config(nfs, "b")
    gone = failure(host.x.SR.probe_ext, me, config(nfs, serverpath="/none"), "nfs", {})
    assert gone[0] == "SR_BACKEND_FAILURE_73"


def test_a_disk_is_copied_there_and_back(host, sr):
    content, home = sparse(8 * MIB), host.x.SR.get_by_name_label("Local storage")[0]
    vdi, web = make_disk(host, home, len(content)), Client(host, host.x)
    assert web.put("/import_raw_vdi", content, vdi=vdi)[0] == 200
    there = host.x.VDI.copy(vdi, sr)
    back = host.x.VDI.copy(there, home)
    for one in (there, back):
        assert web.get("/export_raw_vdi", vdi=one)[2] == content
    for one in (vdi, there, back):
        host.x.VDI.destroy(one)


def test_what_cannot_be(host, nfs):
    assert probe_failure(host, config(nfs, nfsversion="4.1"))[0] == "SR_BACKEND_FAILURE_72"
    assert probe_failure(host, config(nfs, serverpath="/none"))[0] == "SR_BACKEND_FAILURE_73"
    assert probe_failure(host, config(nfs, serverpath="/a/../b"))[0] == "SR_BACKEND_FAILURE_101"
    unknown = probe_failure(host, {"server": "no-such-host.invalid"})
    assert unknown[0] == "SR_BACKEND_FAILURE_140"


def test_files_are_where_xenserver_has_them(host, nfs, sr):
    folder = os.path.join(nfs.exports["a"], host.x.SR.get_uuid(sr))
    vdi = make_disk(host, sr, 64 * MIB)
    uuid = host.x.VDI.get_uuid(vdi)
    assert os.path.exists(os.path.join(folder, uuid + ".vhd"))
    host.x.VDI.resize(vdi, str(80 * MIB))
    assert int(host.x.VDI.get_virtual_size(vdi)) == 80 * MIB
    os.rename(os.path.join(folder, uuid + ".vhd"), os.path.join(folder, "gone"))
    host.x.SR.scan(sr)
    assert host.x.VDI.get_missing(vdi)
    os.rename(os.path.join(folder, "gone"), os.path.join(folder, uuid + ".vhd"))
    host.x.SR.scan(sr)
    assert not host.x.VDI.get_missing(vdi)
    host.x.VDI.destroy(vdi)
    assert os.listdir(folder) == []
    assert 0 < int(host.x.SR.get_physical_utilisation(sr)) < int(host.x.SR.get_physical_size(sr))


def test_guest_writes_on_while_the_server_is_away(host, nfs, sr):
    folder = os.path.join(nfs.exports["a"], host.x.SR.get_uuid(sr))
    with run_vm_on(host, sr, folder) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        nfs.stop()
        nfs.start()
        host.rounds(vm, 10)
        assert host.x.VM.get_power_state(vm) == "Running"
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 5)
        disk = next(b for b in host.x.VM.get_VBDs(vm) if host.x.VBD.get_type(b) == "Disk")
        snapshot = host.x.VDI.snapshot(host.x.VBD.get_VDI(disk), {})
        host.rounds(vm, 5)
        host.x.VM.hard_shutdown(vm)
        assert host.x.VDI.get_is_a_snapshot(snapshot)
        host.x.VDI.destroy(snapshot)


def test_local_and_remote_disks_in_one_guest(host, sr):
    """The process that serves the local disk is exchanged for one that knows NFS, unnoticed."""
    local = host.x.SR.get_by_name_label("Local storage")[0]
    with run_vm_on(host, local) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 3)
        before = host.pid_of(vm, "cairn-diskd")
        vdi = make_disk(host, sr, 8 * MIB)
        vbd = host.x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "1", "bootable": False,
                                 "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                                 "qos_algorithm_type": "", "qos_algorithm_params": {}})
        host.x.VBD.plug(vbd)
        assert host.pid_of(vm, "cairn-diskd") not in (None, before)
        host.rounds(vm, 3)


def test_forgotten_and_adopted(host, nfs):
    """Another host's repository: its disks are found, and names come back by introducing it."""
    sr = create(host, config(nfs, "b"), {"nosubdir": "true"}, "one")
    vdi = make_disk(host, sr, 8 * MIB)
    uuid, sr_uuid = host.x.VDI.get_uuid(vdi), host.x.SR.get_uuid(sr)
    assert os.path.exists(os.path.join(nfs.exports["b"], uuid + ".vhd"))
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)
    again = host.x.SR.introduce(sr_uuid, "again", "", "nfs", "user", True, {"nosubdir": "true"})
    pbd = host.x.PBD.create({"host": host.x.host.get_all()[0], "SR": again,
                             "device_config": config(nfs, "b"), "other_config": {}})
    host.x.PBD.plug(pbd)
    assert host.x.VDI.get_SR(host.x.VDI.get_by_uuid(uuid)) == again
    host.x.VDI.destroy(host.x.VDI.get_by_uuid(uuid))
    host.x.PBD.unplug(pbd)
    host.x.SR.destroy(again)
    assert os.listdir(nfs.exports["b"]) == []


def test_full_export(host, nfs):
    """A disk that does not fit is refused, and nothing is left of it."""
    sr = create(host, config(nfs, "small"), name="small")
    folder = os.path.join(nfs.exports["small"], host.x.SR.get_uuid(sr))
    make_disk(host, sr, 1 * MIB)
    nfs.inside(f"head -c 8000000 /dev/zero > {nfs.exports['small']}/rest; true")
    full = failure(make_disk, host, sr, 2040 << 30)
    assert full[0] == "SR_BACKEND_FAILURE_44", full
    assert len(nfs.inside(f"ls {folder}").split()) == 1


def test_server_is_away_when_it_is_asked(host, nfs, sr):
    nfs.stop()
    try:
        assert failure(host.x.SR.scan, sr)[0] == "SR_BACKEND_FAILURE_47"
        assert probe_failure(host, config(nfs))[0] == "SR_BACKEND_FAILURE_73"
        assert probe_failure(host, {"server": nfs.net.address})[0] == "SR_BACKEND_FAILURE_108"
    finally:
        nfs.start()
    host.x.SR.scan(sr)
    wait_for(lambda: host.x.PBD.get_currently_attached(host.x.SR.get_PBDs(sr)[0]))
