"""Snapshots of guests that write and compare all the time, through cairn-diskd and QEMU."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm, wait_for  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def storage(host):
    return host.x.SR.get_by_name_label("Local storage")[0]


def bases(host):
    """Base copies, and what is just being tidied."""
    records = host.x.VDI.get_all_records().items()
    return [v for v, r in records
            if r["SR"] == storage(host) and (not r["managed"] or r["current_operations"])]


@pytest.fixture
def tidy(host):
    host.x.SR.add_to_other_config(storage(host), "gc-delay", "0")
    yield lambda: wait_for(lambda: not bases(host), 120)
    host.x.SR.remove_from_other_config(storage(host), "gc-delay")


def drop(host, vm):
    disks = [host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm)
             if host.x.VBD.get_type(b) == "Disk"]
    host.x.VM.destroy(vm)
    for vdi in disks:
        host.x.VDI.destroy(vdi)


def test_a_guest_writes_on_while_its_disk_is_snapshotted_and_tidied(host, vm, tidy):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    snapshots = []
    for n in range(3):
        snapshots.append(host.x.VM.snapshot(vm, f"snapshot {n}"))
        host.rounds(vm, 5)
    for snapshot in snapshots:
        drop(host, snapshot)
    tidy()
    host.rounds(vm, 5)
    assert host.x.VM.get_power_state(vm) == "Running"


def test_a_guest_goes_back_to_a_snapshot(host, vm, tidy):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    snapshot = host.x.VM.snapshot(vm, "then")
    host.rounds(vm, 5)
    host.x.VM.revert(snapshot)
    assert host.x.VM.get_power_state(vm) == "Halted"
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    drop(host, snapshot)
    tidy()
    host.rounds(vm, 5)


def test_a_guest_goes_back_to_a_checkpoint(host, vm, tidy):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    point = host.x.VM.checkpoint(vm, "point")
    host.rounds(vm, 5)
    host.x.VM.revert(point)
    host.x.VM.resume(vm, False, False)
    host.rounds(vm, 5)
    drop(host, point)
    tidy()
    host.rounds(vm, 5)


def test_a_dead_daemon_finds_its_chains_again(host, vm, tidy):
    host.x.VM.start(vm, False, False)
    snapshot = host.x.VM.snapshot(vm, "then")
    host.rounds(vm, 5)
    host.kill(vm, "cairn-diskd")
    host.rounds(vm, 5)
    host.restart()
    host.rounds(vm, 5)
    drop(host, snapshot)
    tidy()
