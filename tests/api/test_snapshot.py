"""Snapshots and clones: what they hold stays, what they share is told."""
import os
import subprocess
import time

import pytest

from simhost import BUILD, failure
from transfers import MIB, Client, pattern
import xapi

SIZE = 4 * MIB


@pytest.fixture(name="sr")
def local_storage(x):
    return x.SR.get_by_name_label("Local storage")[0]


@pytest.fixture(name="client")
def transfers(daemon, x):
    return Client(daemon, x)


def make_vdi(x, sr, name="disk", size=SIZE):
    return x.VDI.create({"name_label": name, "SR": sr, "virtual_size": str(size), "type": "user",
                         "sharable": False, "read_only": False, "other_config": {"k": "v"}})


def cairnctl(daemon, *words):
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "-s",
                           os.path.join(daemon.folder, "run", "cairnd.ctl"), *words],
                          check=True, text=True, stdout=subprocess.PIPE).stdout


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


def test_a_disk_goes_back_and_keeps_its_uuid(x, client, vdi):
    first, uuid = fill(client, vdi, "first"), x.VDI.get_uuid(vdi)
    snapshot = x.VDI.snapshot(vdi)
    fill(client, vdi, "second")
    x.VDI.revert(snapshot)
    assert read(client, vdi) == first == read(client, snapshot)
    assert x.VDI.get_uuid(vdi) == uuid and not x.VDI.get_is_a_snapshot(vdi)
    assert failure(x.VDI.revert, vdi)[0] == "HANDLE_INVALID"
    x.VDI.destroy(snapshot)


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


# ---- chains are kept short ----

@pytest.fixture(name="tidy")
def at_once(x, sr):
    """The repository is tidied at once; a function that waits until a condition holds."""
    x.SR.add_to_other_config(sr, "gc-delay", "0")

    def until(condition):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, x.VDI.get_all_records()
            time.sleep(0.05)
    yield until
    x.SR.remove_from_other_config(sr, "gc-delay")


def bases(x, sr):
    """Base copies, and what is just being tidied."""
    records = [(v, r) for v, r in x.VDI.get_all_records().items() if r["SR"] == sr]
    return [v for v, r in records if not r["managed"] or r["current_operations"]]


def test_nothing_is_left_of_deleted_snapshots(x, client, sr, vdi, tidy):
    snapshots, content = [], None
    for n in range(4):
        content = fill(client, vdi, f"content {n}")
        snapshots.append(x.VDI.snapshot(vdi))
    x.VDI.destroy(snapshots[0])
    x.VDI.destroy(snapshots[2])
    tidy(lambda: len(bases(x, sr)) == 2)
    assert read(client, snapshots[1]) == pattern("content 1", SIZE)
    assert read(client, snapshots[3]) == read(client, vdi) == content
    x.VDI.destroy(snapshots[1])
    x.VDI.destroy(snapshots[3])
    tidy(lambda: not bases(x, sr))
    assert read(client, vdi) == content and below(x, vdi) is None


def test_what_must_wait_waits_and_says_so(daemon, x, client, sr, vdi, tidy):
    x.SR.add_to_other_config(sr, "leaf-coalesce", "false")
    fill(client, vdi, "content")
    x.VDI.destroy(x.VDI.snapshot(vdi))
    tree = cairnctl(daemon, "sr", "tree", x.SR.get_uuid(sr))
    uuid = x.VDI.get_uuid(vdi)
    assert f"  disk 'disk' {uuid}  4.0 MiB" in tree and "base copy " in tree
    assert f"next: join {uuid}, waits: leaf-coalesce=false" in tree
    x.SR.remove_from_other_config(sr, "leaf-coalesce")
    tidy(lambda: not bases(x, sr))
    assert "next: nothing to do" in cairnctl(daemon, "sr", "tree", x.SR.get_uuid(sr))


def test_a_full_chain_is_refused_before_it_hurts(x, client, sr, vdi):
    x.SR.add_to_other_config(sr, "gc", "false")
    snapshots = []
    for n in range(29):
        fill(client, vdi, f"level {n}")
        snapshots.append(x.VDI.snapshot(vdi))
    fill(client, vdi, "last")
    assert failure(x.VDI.snapshot, vdi)[0] == "SR_BACKEND_FAILURE_109"
    told = [m for m in x.message.get_all_records().values() if m["name"] == "VDI_CHAIN_LONG"]
    assert [m["obj_uuid"] for m in told] == [x.VDI.get_uuid(vdi)] and "24 of at most 30" in told[0]["body"]
    for ref in snapshots:
        x.VDI.destroy(ref)
    x.SR.remove_from_other_config(sr, "gc")


def test_a_large_disk_sheds_what_it_has(x, client, sr, tidy):
    ref = make_vdi(x, sr, "large", 24 * MIB)
    content = fill(client, ref, "large")
    x.VDI.destroy(x.VDI.snapshot(ref))
    tidy(lambda: not bases(x, sr))
    assert read(client, ref)[:SIZE] == content
    assert "leaf-shed" not in x.VDI.get_sm_config(ref)
    x.VDI.destroy(ref)


# ---- whole VMs ----

@pytest.fixture(name="vm")
def machine(x, client, sr):
    """A VM with two disks that hold something, and a NIC."""
    template = x.VM.get_by_name_label("Other install media")[0]
    ref = x.VM.clone(template, "machine")
    x.VM.set_is_a_template(ref, False)
    for n in ("0", "1"):
        disk_ref = make_vdi(x, sr, f"disk {n}")
        fill(client, disk_ref, f"then {n}")
        x.VBD.create({"VM": ref, "VDI": disk_ref, "userdevice": n, "bootable": n == "0",
                      "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                      "qos_algorithm_type": "", "qos_algorithm_params": {}})
    network = x.network.get_all()[0]
    x.VIF.create({"VM": ref, "network": network, "device": "0", "MAC": "", "MTU": "1500",
                  "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    yield ref
    for each in [*x.VM.get_snapshots(ref), ref]:
        remove(x, each)


def remove(x, vm):
    if x.VM.get_power_state(vm) not in ("Halted", "Suspended"):
        x.VM.hard_shutdown(vm)
    disks = [v for _, v in disks_of(x, vm)]
    x.VM.destroy(vm)
    for ref in disks:
        x.VDI.destroy(ref)


def disks_of(x, vm):
    records = [x.VBD.get_record(b) for b in x.VM.get_VBDs(vm)]
    return sorted((r["userdevice"], r["VDI"]) for r in records if r["type"] == "Disk")


def contents(x, client, vm):
    return {n: read(client, v) for n, v in disks_of(x, vm)}


def macs(x, vm):
    return sorted(x.VIF.get_MAC(v) for v in x.VM.get_VIFs(vm))


def test_a_vm_is_snapshotted_and_reverted(x, client, vm):
    then, ids = contents(x, client, vm), disks_of(x, vm)
    snapshot = x.VM.snapshot(vm, "then")
    record = x.VM.get_record(snapshot)
    assert record["is_a_snapshot"] and record["is_a_template"] and record["snapshot_of"] == vm
    assert record["snapshot_info"] == {"power-state-at-snapshot": "Halted",
                                       "disk-snapshot-type": "crash_consistent"}
    assert x.VM.get_parent(vm) == snapshot and record["children"] == [vm]
    assert contents(x, client, snapshot) == then and macs(x, snapshot) == macs(x, vm)
    for n, ref in ids:
        fill(client, ref, f"now {n}")
    x.VM.set_name_label(vm, "renamed")
    x.VM.set_VCPUs_max(vm, 3)
    x.VM.revert(snapshot)
    assert contents(x, client, vm) == then and disks_of(x, vm) == ids
    assert x.VM.get_name_label(vm) == "machine" and x.VM.get_VCPUs_max(vm) != "3"
    assert macs(x, vm) == macs(x, snapshot) and not x.VM.get_is_a_template(vm)


def test_a_running_vm_is_reverted_to_its_checkpoint(x, client, vm):
    x.VM.start(vm, False, False)
    point = x.VM.checkpoint(vm, "point")
    assert x.VM.get_power_state(vm) == "Running"
    assert x.VM.get_power_state(point) == "Suspended"
    assert x.VDI.get_type(x.VM.get_suspend_VDI(point)) == "suspend"
    later = x.VM.snapshot(vm, "later")
    assert x.VM.get_snapshot_info(later)["power-state-at-snapshot"] == "Running"
    assert x.VM.get_parent(later) == point
    x.VM.revert(point)
    assert x.VM.get_power_state(vm) == "Suspended" and x.VM.get_parent(vm) == point
    assert x.VM.get_suspend_VDI(vm) != x.VM.get_suspend_VDI(point)
    x.VM.resume(vm, False, False)
    assert x.VM.get_power_state(vm) == "Running"


def test_a_disk_can_be_left_out(x, vm):
    (_, _), (_, second) = disks_of(x, vm)
    snapshot = x.VM.snapshot(vm, "one disk", [second])
    assert [n for n, _ in disks_of(x, snapshot)] == ["0"]


def test_a_disk_that_is_gone_comes_back(x, client, vm):
    then = contents(x, client, vm)
    snapshot = x.VM.snapshot(vm, "then")
    (_, _), (_, second) = disks_of(x, vm)
    x.VDI.destroy(second)
    x.VM.revert(snapshot)
    assert contents(x, client, vm) == then


def test_a_snapshot_becomes_a_vm(x, client, vm):
    snapshot = x.VM.snapshot(vm, "then")
    clone = x.VM.clone(snapshot, "from it")
    assert x.VM.get_is_a_template(clone) and not x.VM.get_is_a_snapshot(clone)
    x.VM.set_is_a_template(clone, False)
    assert contents(x, client, clone) == contents(x, client, vm)
    assert set(macs(x, clone)).isdisjoint(macs(x, vm))
    x.VM.start(clone, False, False)
    remove(x, clone)


def test_what_vms_refuse(x, vm):
    assert failure(x.VM.revert, vm)[0] == "OPERATION_NOT_ALLOWED"
    assert failure(x.VM.checkpoint, vm, "off")[0] == "VM_BAD_POWER_STATE"
    snapshot = x.VM.snapshot(vm, "then")
    assert failure(x.VM.snapshot, snapshot, "of it")[0] == "VM_IS_SNAPSHOT"
    assert failure(x.VM.start, snapshot, False, False)[0] == "VM_IS_SNAPSHOT"
    assert "revert" in x.VM.get_allowed_operations(snapshot)
