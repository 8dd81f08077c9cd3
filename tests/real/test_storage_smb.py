"""Repositories on a real SMB server: the host's own calls, and guests that write there."""
import os
import sys
import xml.etree.ElementTree as ET

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import make_disk, run_host, run_vm_on  # noqa: E402
from simhost import failure  # noqa: E402
from storageserver import Network, Smb  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20


@pytest.fixture(scope="module")
def smb(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("smb")) as net:
        yield Smb(net, small={"small": 4}).start()


def config(smb, share="a", **more):
    return {"server": f"//{smb.net.address}/{share}", "username": "root", "password": smb.password,
            **more}


def create(host, where, name="smb"):
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", name, "", "smb", "user", True, {})


@pytest.fixture(scope="module")
def sr(host, smb):
    return create(host, config(smb))


def probe(host, where):
    return host.x.SR.probe(host.x.host.get_all()[0], where, "smb", {})


def probe_failure(host, where):
    return failure(probe, host, where)


def logins(host):
    folder = os.path.join(host.folder, "run", "sr-login")
    return os.listdir(folder) if os.path.isdir(folder) else []


def test_probe_leads_to_the_repository(host, smb, sr):
    uuid = host.x.SR.get_uuid(sr)
    found = ET.fromstring(probe(host, config(smb)))
    assert [e.findtext("UUID").strip() for e in found] == [uuid]
    me = host.x.host.get_all()[0]
    known, = host.x.SR.probe_ext(me, config(smb), "smb", {})
    assert known["sr"]["uuid"] == uuid and known["complete"]
    os.makedirs(os.path.join(smb.shares["a"], "sub"), exist_ok=True)
    deeper = config(smb, server=f"\\\\{smb.net.address}\\a\\sub\\")
    free, = host.x.SR.probe_ext(me, deeper, "smb", {})
    assert "sr" not in free and free["configuration"] == deeper


def test_what_cannot_be(host, smb):
    assert probe_failure(host, {})[0] == "SR_BACKEND_FAILURE_102"
    for wrong in (config(smb, password="no"), config(smb, "none"), config(smb, server="a"),
                  config(smb, server=f"//{smb.net.address}"), config(smb, "a/../a"), config(smb, "a/none"),
                  {"server": config(smb)["server"]}):
        assert probe_failure(host, wrong)[0] == "SR_BACKEND_FAILURE_111", wrong
    assert probe_failure(host, config(smb, password=""))[0] == "SR_BACKEND_FAILURE_115"
    assert probe_failure(host, config(smb, server="//no-such-host.invalid/a"))[0] == "SR_BACKEND_FAILURE_140"
    assert failure(create, host, config(smb, password="no"), "refused")[0] == "SR_BACKEND_FAILURE_111"
    assert host.x.SR.get_by_name_label("refused") == []


def test_password_is_kept_as_a_secret(host, sr):
    told = host.x.PBD.get_device_config(host.x.SR.get_PBDs(sr)[0])
    assert "password" not in told and host.x.secret.get_by_uuid(told["password_secret"])


def test_files_are_where_xenserver_has_them(host, smb, sr):
    folder = os.path.join(smb.shares["a"], host.x.SR.get_uuid(sr))
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


def test_guest_writes_on_while_the_server_is_away(host, smb, sr):
    folder = os.path.join(smb.shares["a"], host.x.SR.get_uuid(sr))
    with run_vm_on(host, sr, folder) as vm:
        host.x.VM.start(vm, False, False)
        host.rounds(vm, 5)
        smb.stop()
        smb.start()
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


def test_forgotten_and_adopted(host, smb):
    """Another host's repository: its disks are found, and names come back by introducing it."""
    where = config(smb, "guests", username="", password="")
    sr = create(host, where, "one")
    vdi = make_disk(host, sr, 8 * MIB)
    uuid, sr_uuid = host.x.VDI.get_uuid(vdi), host.x.SR.get_uuid(sr)
    assert os.path.exists(os.path.join(smb.shares["guests"], sr_uuid, uuid + ".vhd"))
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)
    again = host.x.SR.introduce(sr_uuid, "again", "", "smb", "user", True, {})
    secret = host.x.secret.create({"value": smb.password, "other_config": {}})
    pbd = host.x.PBD.create({"host": host.x.host.get_all()[0], "SR": again, "other_config": {},
                             "device_config": {"server": where["server"], "username": "root",
                                               "password_secret": host.x.secret.get_uuid(secret)}})
    host.x.PBD.plug(pbd)
    assert sr_uuid in logins(host)
    assert host.x.VDI.get_SR(host.x.VDI.get_by_uuid(uuid)) == again
    host.x.VDI.destroy(host.x.VDI.get_by_uuid(uuid))
    host.x.PBD.unplug(pbd)
    assert sr_uuid not in logins(host)
    host.x.SR.destroy(again)
    assert os.listdir(smb.shares["guests"]) == [] and sr_uuid not in logins(host)


def test_full_share(host, smb):
    """A disk that does not fit is refused, and nothing is left of it."""
    sr = create(host, config(smb, "small"), "small")
    folder = os.path.join(smb.shares["small"], host.x.SR.get_uuid(sr))
    make_disk(host, sr, 1 * MIB)
    smb.inside(f"head -c 8000000 /dev/zero > {smb.shares['small']}/rest; true")
    full = failure(make_disk, host, sr, 2040 << 30)
    assert full[0] == "SR_BACKEND_FAILURE_44", full
    assert len(smb.inside(f"ls {folder}").split()) == 1


def test_library_on_a_share(host, smb):
    """CD images, by both ways of writing where they are."""
    with open(os.path.join(smb.shares["a"], "tools.iso"), "wb") as f:
        f.write(b"\1" * MIB)
    me = host.x.host.get_all()[0]

    def library(**where):
        return host.x.SR.create(me, {"type": "cifs", "username": "root", "cifspassword": smb.password, **where},
                                "0", "CDs", "", "iso", "iso", True, {})
    sr = library(location=f"\\\\{smb.net.address}\\a")
    host.x.SR.scan(sr)
    vdi, = host.x.SR.get_VDIs(sr)
    record = host.x.VDI.get_record(vdi)
    assert (record["location"], int(record["virtual_size"]), record["read_only"]) == ("tools.iso", MIB, True)
    where = f"//{smb.net.address}/a"

    def refused(**wrong):
        return failure(lambda: library(**{"location": where, **wrong}))[0]
    assert refused(cifspassword="no") == refused(vers="1.0") == "SR_BACKEND_FAILURE_222"
    assert refused(location=where + "/../a") == "SR_BACKEND_FAILURE_225"
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)


def test_server_is_away_when_it_is_asked(host, smb, sr):
    smb.stop()
    try:
        assert failure(host.x.SR.scan, sr)[0] == "SR_BACKEND_FAILURE_47"
        assert probe_failure(host, config(smb))[0] == "SR_BACKEND_FAILURE_111"
    finally:
        smb.start()
    host.x.SR.scan(sr)
