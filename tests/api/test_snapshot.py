"""Snapshots and clones: what they hold stays, what they share is told."""
import pytest

from simhost import failure
from transfers import MIB, Client, pattern
import xapi

SIZE = 4 * MIB


@pytest.fixture(name="sr")
def local_storage(x):
    return x.SR.get_by_name_label("Local storage")[0]


@pytest.fixture(name="client")
def transfers(daemon, x):
    return Client(daemon, x)


def make_vdi(x, sr, name="disk"):
    return x.VDI.create({"name_label": name, "SR": sr, "virtual_size": str(SIZE), "type": "user",
                         "sharable": False, "read_only": False, "other_config": {"k": "v"}})


def fill(client, vdi, seed):
    content = pattern(seed, SIZE)
    assert client.put("/import_raw_vdi", content, vdi=vdi)[0] == 200
    return content


def read(client, vdi):
    return client.get("/export_raw_vdi", vdi=vdi)[2]


@pytest.fixture(name="vdi")
def disk(x, sr):
    ref = make_vdi(x, sr)
    yield ref
    try:
        x.VDI.destroy(ref)
    except xapi.Failure as e:
        assert e.code == "HANDLE_INVALID"


def below(x, vdi):
    """The record of what a VDI is built on; None if it stands alone."""
    uuid = x.VDI.get_sm_config(vdi).get("vhd-parent")
    return x.VDI.get_record(x.VDI.get_by_uuid(uuid)) if uuid else None


def test_a_snapshot_keeps_what_was_there(x, client, vdi):
    first = fill(client, vdi, "first")
    snapshot = x.VDI.snapshot(vdi)
    second = fill(client, vdi, "second")
    assert read(client, snapshot) == first and read(client, vdi) == second
    record = x.VDI.get_record(snapshot)
    assert record["is_a_snapshot"] and record["snapshot_of"] == vdi and record["managed"]
    assert x.VDI.get_snapshots(vdi) == [snapshot]
    assert record["name_label"] == "disk" and record["other_config"] == {"k": "v"}
    base = below(x, vdi)
    assert base["uuid"] == below(x, snapshot)["uuid"]
    assert (base["name_label"], base["managed"], base["read_only"]) == ("base copy", False, True)
    x.VDI.destroy(snapshot)


def test_a_clone_is_a_disk_of_its_own(x, client, vdi):
    first = fill(client, vdi, "first")
    clone = x.VDI.clone(vdi)
    second = fill(client, clone, "second")
    assert read(client, vdi) == first and read(client, clone) == second
    record = x.VDI.get_record(clone)
    assert not record["is_a_snapshot"] and record["snapshot_of"] in ("", "OpaqueRef:NULL")
    x.VDI.destroy(clone)


def test_what_was_not_written_gets_no_level(x, client, vdi):
    fill(client, vdi, "first")
    first, second = x.VDI.snapshot(vdi), x.VDI.snapshot(vdi)
    assert below(x, first)["uuid"] == below(x, second)["uuid"] == below(x, vdi)["uuid"]
    for snapshot in (first, second):
        x.VDI.destroy(snapshot)


def test_a_scan_leaves_the_tree_as_it_is(x, client, sr, vdi):
    fill(client, vdi, "first")
    snapshot = x.VDI.snapshot(vdi)
    before = {r: x.VDI.get_record(r) for r in x.SR.get_VDIs(sr)}
    x.SR.scan(sr)
    after = {r: x.VDI.get_record(r) for r in x.SR.get_VDIs(sr)}
    for ref, record in before.items():
        for field in ("managed", "sm_config", "name_label", "missing", "read_only"):
            assert after[ref][field] == record[field], field
    x.VDI.destroy(snapshot)


def test_what_cannot_be_snapshotted(x, sr, vdi):
    fill_me = x.VDI.snapshot(vdi)
    base = x.VDI.get_by_uuid(below(x, vdi)["uuid"])
    assert failure(x.VDI.snapshot, base) == ["VDI_NOT_MANAGED", base]
    assert "snapshot" not in x.VDI.get_allowed_operations(base)
    raw = x.VDI.create({"name_label": "raw", "SR": sr, "virtual_size": str(SIZE), "type": "user",
                        "sharable": False, "read_only": False, "other_config": {},
                        "sm_config": {"type": "raw"}})
    assert failure(x.VDI.snapshot, raw) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    assert failure(x.VDI.clone, raw) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    for ref in (raw, fill_me):
        x.VDI.destroy(ref)
