"""Changed-block tracking, as far as a host without a data path has it: who may, what is on disk,
what snapshots, deletions and reverts make of the logs. That bits are set is in tests/real."""
import base64
import glob
import os
import struct
import uuid

import pytest

from simhost import failure

MIB = 1 << 20
SIZE = 4 * MIB
HEADER = struct.Struct("<16s16sIIQ")


@pytest.fixture(name="sr")
def local_storage(x):
    return x.SR.get_by_name_label("Local storage")[0]


@pytest.fixture(name="vdi")
def disk(x, sr):
    ref = x.VDI.create({"name_label": "tracked", "SR": sr, "virtual_size": str(SIZE),
                        "type": "user", "sharable": False, "read_only": False, "other_config": {}})
    yield ref
    for one in [*x.VDI.get_snapshots(ref), ref] if ref in x.VDI.get_all() else []:
        x.VDI.destroy(one)


class Logs:
    """The logs as files."""

    def __init__(self, daemon, x):
        self.x = x
        self.top = os.path.join(daemon.folder, "**", "")

    def path(self, vdi):
        found = glob.glob(self.top + self.x.VDI.get_uuid(vdi) + ".cbtlog", recursive=True)
        return found[0] if found else None

    def read(self, vdi):
        with open(self.path(vdi), "rb") as f:
            bytes_ = f.read()
        parent, child, whole, _, size = HEADER.unpack(bytes_[:48])
        return {"parent": parent, "child": child, "whole": whole, "size": size,
                "bits": bytes_[48:]}

    def mark(self, vdi, *blocks):
        """As if the guest had written there."""
        with open(self.path(vdi), "r+b") as f:
            bits = bytearray(f.read())
            for b in blocks:
                bits[48 + b // 8] |= 1 << b % 8
            f.seek(0)
            f.write(bits)

    def uuid(self, vdi):
        return uuid.UUID(self.x.VDI.get_uuid(vdi)).bytes


@pytest.fixture(name="logs")
def logs_of(daemon, x):
    return Logs(daemon, x)


def changed(x, a, b):
    bits = base64.b64decode(x.VDI.list_changed_blocks(a, b))
    assert len(bits) * 8 * 65536 == SIZE
    return [i for i in range(len(bits) * 8) if bits[i // 8] >> 7 - i % 8 & 1]


NONE = bytes(16)


def test_enable_and_disable(x, logs, vdi):
    assert not x.VDI.get_cbt_enabled(vdi) and logs.path(vdi) is None
    x.VDI.enable_cbt(vdi)
    x.VDI.enable_cbt(vdi)
    assert x.VDI.get_cbt_enabled(vdi)
    assert logs.read(vdi) == {"parent": NONE, "child": NONE, "whole": 1, "size": SIZE,
                              "bits": bytes(8)}
    x.VDI.disable_cbt(vdi)
    x.VDI.disable_cbt(vdi)
    assert not x.VDI.get_cbt_enabled(vdi) and logs.path(vdi) is None


def test_a_snapshot_takes_the_log(x, logs, vdi):
    x.VDI.enable_cbt(vdi)
    logs.mark(vdi, 1)
    first = x.VDI.snapshot(vdi)
    logs.mark(vdi, 2, 63)
    second = x.VDI.snapshot(vdi)
    logs.mark(vdi, 9)
    assert x.VDI.get_cbt_enabled(first) and x.VDI.get_cbt_enabled(second)
    assert [logs.read(v)["parent"] for v in (first, second, vdi)] == \
        [NONE, logs.uuid(first), logs.uuid(second)]
    assert [logs.read(v)["child"] for v in (first, second, vdi)] == \
        [logs.uuid(second), logs.uuid(vdi), NONE]
    assert changed(x, first, second) == [2, 63]
    assert changed(x, first, vdi) == [2, 9, 63]
    assert failure(x.VDI.list_changed_blocks, second, first)[0] == "SR_BACKEND_FAILURE_460"
    assert failure(x.VDI.list_changed_blocks, first, first)[0] == "SR_BACKEND_FAILURE_460"


def test_what_is_deleted_goes_on_in_the_next(x, logs, vdi):
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    logs.mark(vdi, 5)
    second = x.VDI.snapshot(vdi)
    logs.mark(vdi, 6)
    path = logs.path(second)
    x.VDI.destroy(second)
    assert not os.path.exists(path)
    assert changed(x, first, vdi) == [5, 6]
    assert logs.read(vdi)["parent"] == logs.uuid(first)
    assert logs.read(first)["child"] == logs.uuid(vdi)


def test_data_is_destroyed_and_the_log_stays(x, logs, sr, vdi):
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    logs.mark(vdi, 7)
    second = x.VDI.snapshot(vdi)
    location = x.VDI.get_location(first)
    x.VDI.data_destroy(first)
    x.VDI.data_destroy(first)
    record = x.VDI.get_record(first)
    assert record["type"] == "cbt_metadata" and record["cbt_enabled"]
    assert "vhd-parent" not in record["sm_config"]
    assert not os.path.exists(os.path.join(os.path.dirname(logs.path(vdi)), location))
    x.SR.scan(sr)
    assert not x.VDI.get_missing(first) and x.VDI.get_managed(first)
    assert changed(x, first, second) == [7]
    for call in (x.VDI.snapshot, x.VDI.clone, x.VDI.revert, lambda v: x.VDI.resize(v, str(2 * SIZE)),
                 lambda v: x.VDI.copy(v, sr)):
        assert failure(call, first) == ["VDI_INCOMPATIBLE_TYPE", first, "cbt_metadata"]
    vm = x.VM.get_by_name_label("Other install media")[0]
    assert failure(x.VBD.create, {"VM": vm, "VDI": first, "userdevice": "0", "bootable": False,
                                  "mode": "RO", "type": "Disk", "empty": False, "other_config": {},
                                  "qos_algorithm_type": "", "qos_algorithm_params": {}}
                   )[0] == "VDI_INCOMPATIBLE_TYPE"
    x.VDI.destroy(first)
    assert first not in x.VDI.get_all() and logs.read(second)["parent"] == NONE


def test_a_revert_tells_what_it_changed(x, logs, vdi):
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    logs.mark(vdi, 3)
    second = x.VDI.snapshot(vdi)
    logs.mark(vdi, 4)
    x.VDI.revert(first)
    assert x.VDI.get_cbt_enabled(vdi)
    assert changed(x, second, vdi) == [3, 4]


def test_a_revert_to_before_gives_it_up(x, logs, vdi):
    before = x.VDI.snapshot(vdi)
    x.VDI.enable_cbt(vdi)
    x.VDI.revert(before)
    assert not x.VDI.get_cbt_enabled(vdi) and logs.path(vdi) is None


def test_what_is_not_whole_is_not_believed(x, logs, vdi):
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    with open(logs.path(vdi), "r+b") as f:
        f.seek(32)
        f.write(b"\0")
    assert failure(x.VDI.list_changed_blocks, first, vdi)[0] == "SR_BACKEND_FAILURE_459"
    second = x.VDI.snapshot(vdi)
    assert failure(x.VDI.list_changed_blocks, first, second)[0] == "SR_BACKEND_FAILURE_459"


def test_a_log_that_a_killed_process_left_open(x, logs, vdi):
    """In this boot of the machine: what it knew is all there, a snapshot takes it for whole."""
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    logs.mark(vdi, 11)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
        words = struct.unpack("<IIII", uuid.UUID(f.read().strip()).bytes)
    with open(logs.path(vdi), "r+b") as f:
        f.seek(32)
        f.write(struct.pack("<II", 0, words[0] ^ words[1] ^ words[2] ^ words[3]))
    second = x.VDI.snapshot(vdi)
    assert changed(x, first, second) == [11] and logs.read(vdi)["whole"] == 1


def test_who_may_not(x, sr, vdi):
    snapshot = x.VDI.snapshot(vdi)
    assert failure(x.VDI.enable_cbt, snapshot)[0] == "OPERATION_NOT_ALLOWED"
    assert failure(x.VDI.disable_cbt, snapshot)[0] == "OPERATION_NOT_ALLOWED"
    assert failure(x.VDI.data_destroy, vdi)[0] == "OPERATION_NOT_ALLOWED"
    assert failure(x.VDI.data_destroy, snapshot) == ["VDI_NO_CBT_METADATA", snapshot]
    assert failure(x.VDI.list_changed_blocks, snapshot, vdi)[0] == "SR_BACKEND_FAILURE_460"
    raw = x.VDI.create({"name_label": "raw", "SR": sr, "virtual_size": str(SIZE), "type": "user",
                        "sharable": False, "read_only": False, "other_config": {},
                        "sm_config": {"type": "raw"}})
    assert failure(x.VDI.enable_cbt, raw) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    x.VDI.destroy(raw)
    odd = x.VDI.create({"name_label": "odd", "SR": sr, "virtual_size": str(SIZE),
                        "type": "redo_log", "sharable": False, "read_only": False,
                        "other_config": {}})
    assert failure(x.VDI.enable_cbt, odd) == ["VDI_INCOMPATIBLE_TYPE", odd, "redo_log"]
    x.VDI.destroy(odd)


def test_a_snapshot_that_is_used_keeps_its_data(x, vdi):
    x.VDI.enable_cbt(vdi)
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "tracked")
    x.VM.provision(vm)
    x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": False, "mode": "RW",
                  "type": "Disk", "empty": False, "other_config": {}, "qos_algorithm_type": "",
                  "qos_algorithm_params": {}})
    try:
        taken = x.VM.snapshot(vm, "s")
        vbd = next(b for b in x.VM.get_VBDs(taken) if x.VBD.get_type(b) == "Disk")
        vdi_of = x.VBD.get_VDI(vbd)
        assert x.VDI.get_cbt_enabled(vdi_of)
        assert failure(x.VDI.data_destroy, vdi_of) == ["VDI_IN_USE", vdi_of, "data_destroy"]
        x.VBD.destroy(vbd)
        x.VDI.data_destroy(vdi_of)
        x.VM.destroy(taken)
    finally:
        x.VM.destroy(vm)


def test_a_disk_that_is_found_again_has_its_log(x, logs, sr, vdi):
    x.VDI.enable_cbt(vdi)
    first, uuid_ = x.VDI.snapshot(vdi), x.VDI.get_uuid(vdi)
    logs.mark(vdi, 8)
    x.VDI.forget(vdi)
    x.SR.scan(sr)
    again = x.VDI.get_by_uuid(uuid_)
    assert x.VDI.get_cbt_enabled(again) and changed(x, first, again) == [8]
    x.VDI.destroy(first)
    x.VDI.destroy(again)


def test_features_say_so(x):
    features = {r["type"]: r["features"] for r in x.SM.get_all_records().values()}
    can = {t for t, names in features.items() if "VDI_CONFIG_CBT" in names}
    assert {"ext", "nfs"} <= can and not can & {"iso", "iscsi", "lvm", "lvmohba", "udev"}, can
