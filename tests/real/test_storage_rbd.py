"""Images of a real Ceph pool as disks and chains of them: one monitor, one OSD, CephX."""
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cephserver  # noqa: E402
from realhost import guest_sector, make_disk, run_host, run_vm_with, wait_for  # noqa: E402
from simhost import BUILD, failure  # noqa: E402
from storageserver import Network  # noqa: E402
from transfers import Client, pattern  # noqa: E402

pytestmark = pytest.mark.skipif(not cephserver.is_installed(), reason="Ceph is not installed")
host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
DISK = 32 * MIB


@pytest.fixture(scope="module")
def ceph(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("ceph")) as net:
        yield cephserver.Ceph(net).start()


def config(ceph, **more):
    return {"monitors": ceph.net.address, "pool": ceph.pool, "user": "cairn", "password": ceph.key, **more}


def create(host, where):
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", "ceph", "", "rbd", "user", True, {})


@pytest.fixture(scope="module")
def sr(host, ceph):
    return create(host, config(ceph))


def probe(host, where):
    return host.x.SR.probe(host.x.host.get_all()[0], where, "rbd", {})


def images(host, ceph, sr):
    out = ceph.tool("rbd", "-p", ceph.pool, "--namespace", host.x.SR.get_uuid(sr), "ls")
    return set(out.split())


def test_probe_leads_to_the_repository(host, ceph, sr):
    assert failure(probe, host, {})[0] == "SR_BACKEND_FAILURE_102"
    told = failure(probe, host, config(ceph, pool=""))
    assert told[0] == "SR_BACKEND_FAILURE_101"
    assert [p.text.strip() for p in ET.fromstring(told[3])] == [ceph.pool]
    found = ET.fromstring(probe(host, config(ceph)))
    assert [e.findtext("UUID").strip() for e in found] == [host.x.SR.get_uuid(sr)]


def test_what_cannot_be(host, ceph):
    def told(**more):
        return failure(probe, host, config(ceph, **more))
    assert told(pool="none")[0] == "SR_BACKEND_FAILURE_101"
    assert told(pool="a/b")[0] == "SR_BACKEND_FAILURE_101"
    assert told(monitors="a/b")[0] == "SR_BACKEND_FAILURE_102"
    wrong = told(password="AQAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAA==")
    assert wrong[:3] == ["SR_BACKEND_FAILURE_47", "", "The cluster does not accept the login"], wrong


def test_the_key_is_kept_as_a_secret(host, sr):
    kept = host.x.PBD.get_device_config(host.x.SR.get_PBDs(sr)[0])
    assert "password" not in kept and "password_secret" in kept


def fill(host, vdi, data):
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body


def read(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return body


@pytest.mark.parametrize("form", ("vhd", "qcow2", "raw"))
def test_disks_are_images(host, ceph, sr, form):
    vdi = make_disk(host, sr, DISK, {"image-format": form})
    name = f"{host.x.VDI.get_uuid(vdi)}.{form}"
    assert images(host, ceph, sr) == {name} and host.x.VDI.get_location(vdi) == name
    host.x.VDI.resize(vdi, str(2 * DISK))
    assert int(host.x.VDI.get_virtual_size(vdi)) == 2 * DISK
    data = bytes(range(256)) * 4096 + bytes(2 * DISK - MIB)
    fill(host, vdi, data)
    assert read(host, vdi) == data
    host.x.SR.scan(sr)
    assert 0 < int(host.x.VDI.get_physical_utilisation(vdi)) <= 16 * MIB
    refused = {"enable_cbt": host.x.VDI.enable_cbt}
    if form == "raw":
        refused.update(snapshot=host.x.VDI.snapshot, clone=host.x.VDI.clone)
    for call in refused.values():
        assert failure(call, vdi) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    host.x.VDI.destroy(vdi)
    assert images(host, ceph, sr) == set()


def base_of(host, vdi):
    return host.x.VDI.get_sm_config(vdi).get("vhd-parent")


def tidy(host, sr, n_bases=0):
    """All that can be tidied is: so many base copies are left."""
    def look():
        records = [r for r in host.x.VDI.get_all_records().values() if r["SR"] == sr]
        return (sum(not r["managed"] for r in records) == n_bases
                and not any(r["current_operations"] for r in records))
    host.x.SR.add_to_other_config(sr, "gc-delay", "0")
    wait_for(look, 120)
    host.x.SR.remove_from_other_config(sr, "gc-delay")


def test_snapshots_clones_and_their_tidying(host, ceph, sr):
    """The second snapshot is larger than the first, so what is merged into must grow."""
    size, larger = 8 * MIB, 16 * MIB
    one, two = pattern("one", size), pattern("two", 3 * MIB)
    vdi = make_disk(host, sr, size)
    fill(host, vdi, one)
    first = host.x.VDI.snapshot(vdi)
    base = host.x.VDI.get_by_uuid(base_of(host, vdi))
    assert base_of(host, first) == base_of(host, vdi) and not host.x.VDI.get_managed(base)
    host.x.VDI.resize(vdi, str(larger))
    fill(host, vdi, two)
    second = host.x.VDI.snapshot(vdi)
    now = two + one[len(two):] + bytes(larger - size)
    clone = host.x.VDI.clone(first)
    fill(host, vdi, pattern("three", MIB))
    fill(host, clone, pattern("four", MIB))
    assert read(host, second) == now and read(host, first) == one
    env = dict(os.environ, CAIRN_CONTROL=os.path.join(host.folder, "run", "cairnd.ctl"))
    tree = subprocess.run([os.path.join(BUILD, "cairnctl"), "sr", "tree", host.x.SR.get_uuid(sr)], env=env,
                          check=True, capture_output=True, text=True).stdout
    for ref in (vdi, first, second, clone, base):
        assert host.x.VDI.get_uuid(ref)[:8] in tree, tree
    host.x.SR.scan(sr)
    assert base_of(host, clone) == base_of(host, first)
    host.x.VDI.destroy(first)
    host.x.VDI.destroy(clone)
    tidy(host, sr, n_bases=1)
    assert read(host, second) == now
    assert read(host, vdi) == pattern("three", MIB) + now[MIB:]
    host.x.VDI.destroy(second)
    tidy(host, sr)
    assert read(host, vdi) == pattern("three", MIB) + now[MIB:]
    assert images(host, ceph, sr) == {host.x.VDI.get_location(vdi)}
    host.x.VDI.destroy(vdi)


def test_a_snapshot_of_qcow2(host, ceph, sr):
    size, larger = 4 * MIB, 8 * MIB
    one, two = pattern("one", size), pattern("two", MIB)
    vdi = make_disk(host, sr, size, {"image-format": "qcow2"})
    fill(host, vdi, one)
    snapshot = host.x.VDI.snapshot(vdi)
    host.x.VDI.resize(vdi, str(larger))
    fill(host, vdi, two)
    assert read(host, snapshot) == one
    host.x.VDI.destroy(snapshot)
    tidy(host, sr)
    assert read(host, vdi) == two + one[MIB:] + bytes(larger - size)
    assert images(host, ceph, sr) == {host.x.VDI.get_location(vdi)}
    host.x.VDI.destroy(vdi)


def open_by_hand(host, ceph, sr, vdi):
    """Another writer, one who does not know of this host's locks."""
    name = f"{ceph.pool}/{host.x.SR.get_uuid(sr)}/{host.x.VDI.get_location(vdi)}"
    return subprocess.run(["ip", "netns", "exec", ceph.net.name, "timeout", "3", "rbd", "bench",
                           "--io-type", "write", "--io-size", "4096", "--io-total", "4096", name],
                          env=ceph.env, capture_output=True, text=True, check=False)


def test_a_guest_writes_through_an_outage_and_nobody_else_does(host, ceph, sr):
    vdi = make_disk(host, sr, DISK)
    status, _, body = Client(host, host.x).put(
        "/import_raw_vdi", guest_sector(host) + bytes(DISK - 512), vdi=vdi, format="raw")
    assert status == 200, body
    with run_vm_with(host, vdi) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        host.x.VM.snapshot(vm, "then")
        host.rounds(vm, 5)
        assert open_by_hand(host, ceph, sr, vdi).returncode != 0
        ceph.stop()
        ceph.start()
        host.rounds(vm, 10)
        os.kill(host.pid_of(vm, "cairn-diskd"), 9)
        host.rounds(vm, 5)


def test_forgotten_and_adopted(host, ceph):
    sr = create(host, config(ceph))
    uuid, vdi = host.x.SR.get_uuid(sr), make_disk(host, sr, 8 * MIB)
    name = host.x.VDI.get_uuid(vdi)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)
    sr = host.x.SR.introduce(uuid, "again", "", "rbd", "user", True, {})
    pbd = host.x.PBD.create({"host": host.x.host.get_all()[0], "SR": sr, "device_config": config(ceph),
                             "other_config": {}})
    host.x.PBD.plug(pbd)
    host.x.VDI.destroy(host.x.VDI.get_by_uuid(name))
    ceph.tool("rbd", "create", "--size", "1", f"{ceph.pool}/{uuid}/foreign")
    host.x.PBD.unplug(pbd)
    told = failure(host.x.SR.destroy, sr)
    assert told[0] == "SR_BACKEND_FAILURE_39" and told[3] == "foreign", told
    ceph.tool("rbd", "rm", f"{ceph.pool}/{uuid}/foreign")
    host.x.SR.destroy(sr)
    assert uuid not in probe(host, config(ceph))
