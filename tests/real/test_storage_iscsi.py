"""The units of a real iSCSI target as disks, with CHAP."""
import os
import sys
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, run_host, run_vm_with  # noqa: E402
from simhost import failure  # noqa: E402
from storageserver import Iscsi, Network  # noqa: E402
from transfers import Client, pattern  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
USER = ("cairn", "secret-of-16-byte")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("tgt")) as net:
        server = Iscsi(net, luns=(32 * MIB, 8 * MIB), chap=USER)
        yield server.start()


def config(server, **more):
    return {"target": server.net.address, "targetIQN": server.iqn, "chapuser": USER[0],
            "chappassword": USER[1], **more}


def probe(host, where):
    return host.x.SR.probe(host.x.host.get_all()[0], where, "iscsi", {})


@pytest.fixture(scope="module")
def sr(host, target):
    me = host.x.host.get_all()[0]
    return host.x.SR.create(me, config(target), "0", "san", "", "iscsi", "user", True, {})


def test_probe_leads_to_the_units(host, target):
    where = config(target)
    assert failure(probe, host, {})[0] == "SR_BACKEND_FAILURE_95"
    told = failure(probe, host, {k: v for k, v in where.items() if k != "targetIQN"})
    assert told[0] == "SR_BACKEND_FAILURE_96"
    targets = [t.findtext("TargetIQN").strip() for t in ET.fromstring(told[3])]
    assert targets == [target.iqn]
    units = ET.fromstring(probe(host, where))
    assert [int(u.findtext("size")) for u in units] == [32 * MIB, 8 * MIB]
    assert units[0].findtext("serial").strip() == "serial1"


def test_what_cannot_be(host, target):
    def code(**more):
        return failure(probe, host, config(target, **more))[0]
    assert code(chappassword="another-secret-16") == "SR_BACKEND_FAILURE_68"
    assert code(port="3261") == "SR_BACKEND_FAILURE_141"
    assert code(port="none") == "SR_BACKEND_FAILURE_142"
    assert code(target="no-such-host.invalid") == "SR_BACKEND_FAILURE_140"


def test_the_password_is_kept_as_a_secret(host, sr):
    pbd = host.x.SR.get_PBDs(sr)[0]
    kept = host.x.PBD.get_device_config(pbd)
    assert "chappassword" not in kept
    secret = host.x.secret.get_by_uuid(kept["chappassword_secret"])
    assert host.x.secret.get_value(secret) == USER[1]
    host.x.PBD.unplug(pbd)
    host.x.PBD.plug(pbd)


def test_a_unit_is_copied_and_filled(host, target, sr):
    """To a repository of files by cairn-diskd alone, and back into the unit, with what it had."""
    content, home = pattern("unit", 8 * MIB), host.x.SR.get_by_name_label("Local storage")[0]
    web = Client(host, host.x)
    with open(target.luns[1], "r+b") as f:
        f.write(content[:4 * MIB] + bytes(2 * MIB) + content[6 * MIB:])
    (unit,) = (v for v in host.x.SR.get_VDIs(sr) if int(host.x.VDI.get_virtual_size(v)) == 8 * MIB)
    copy = host.x.VDI.copy(unit, home)
    body = web.get("/export_raw_vdi", vdi=copy)[2]
    assert body == content[:4 * MIB] + bytes(2 * MIB) + content[6 * MIB:]
    assert web.put("/import_raw_vdi", content[::-1], vdi=copy)[0] == 200
    assert host.x.VDI.copy(copy, "OpaqueRef:NULL", "OpaqueRef:NULL", unit) == unit
    with open(target.luns[1], "rb") as f:
        assert f.read() == content[::-1]
    host.x.VDI.destroy(copy)


def test_units_are_disks_and_a_guest_writes_through_an_outage(host, target, sr):
    disks = {int(host.x.VDI.get_virtual_size(v)): v for v in host.x.SR.get_VDIs(sr)}
    assert set(disks) == {32 * MIB, 8 * MIB}
    with open(target.luns[0], "r+b") as f:
        f.write(guest_sector(host))
    with run_vm_with(host, disks[32 * MIB]) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        target.stop()
        target.start()
        host.rounds(vm, 10)
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 5)


def test_target_is_away_when_it_is_asked(host, target, sr):
    target.stop()
    try:
        assert failure(host.x.SR.scan, sr)[0] == "SR_BACKEND_FAILURE_141"
    finally:
        target.start()
    host.x.SR.scan(sr)
