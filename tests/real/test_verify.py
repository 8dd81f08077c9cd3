"""Guests that write and compare without end, while their disks are snapshotted, reverted and tidied.

On every kind of repository, over real servers. CAIRN_VERIFY_ROUNDS says how often; `make verify` asks
for 20. The guest compares what it has just written and what it wrote 300 rounds before; what a disk
reads after a revert is compared with what the snapshot read.
"""
import hashlib
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import guest_sector, run_host, run_vm_on, run_vm_with, wait_for  # noqa: E402
from storageserver import Iscsi, Network, Nfs  # noqa: E402
from transfers import Client  # noqa: E402

ROUNDS = int(os.environ.get("CAIRN_VERIFY_ROUNDS", "1"))
MIB = 1 << 20
host = pytest.fixture(scope="module")(run_host)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("net")) as n:
        yield n


def create(host, kind, where):
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", "verify " + kind, "", kind, "user",
                            kind not in ("ext", "file"), {})


def repository(host, net, kind):
    """A repository and the folder of its files."""
    if kind == "nfs":
        nfs = Nfs(net, exports=("v",)).start()
        sr = create(host, kind, {"server": net.address, "serverpath": nfs.exports["v"]})
        return sr, os.path.join(nfs.exports["v"], host.x.SR.get_uuid(sr))
    folder = os.path.join(host.folder, "verify-" + kind)
    os.makedirs(folder)
    return create(host, kind, {"location": folder}), folder


def disk_of(host, vm):
    return next(host.x.VBD.get_VDI(b) for b in host.x.VM.get_VBDs(vm)
                if host.x.VBD.get_type(b) == "Disk")


def digest(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200 and len(body) == 32 * MIB, status
    return hashlib.sha256(body).hexdigest()


def drop(host, snapshot):
    vdi = disk_of(host, snapshot)
    host.x.VM.destroy(snapshot)
    host.x.VDI.destroy(vdi)


def tidied(host, sr):
    records = [r for r in host.x.VDI.get_all_records().values() if r["SR"] == sr]
    return all(r["managed"] and not r["current_operations"] for r in records)


@pytest.mark.parametrize("kind", ["ext", "file", "nfs"])
def test_snapshots_reverts_and_tidying(host, net, kind):
    sr, folder = repository(host, net, kind)
    host.x.SR.add_to_other_config(sr, "gc-delay", "0")
    with run_vm_on(host, sr, folder) as vm:
        for n in range(ROUNDS):
            host.x.VM.start(vm, False, False)
            host.rounds(vm, 320)
            first = host.x.VM.snapshot(vm, f"first {n}")
            host.rounds(vm, 320)
            second = host.x.VM.snapshot(vm, f"second {n}")
            host.rounds(vm, 20)
            drop(host, first)
            host.rounds(vm, 320)
            wanted = digest(host, disk_of(host, second))
            host.x.VM.revert(second)
            assert host.x.VM.get_power_state(vm) == "Halted"
            assert digest(host, disk_of(host, vm)) == wanted
            host.x.VM.start(vm, False, False)
            host.rounds(vm, 20)
            drop(host, second)
            host.rounds(vm, 320)
            wait_for(lambda: tidied(host, sr), 120)
            host.rounds(vm, 20)
            host.x.VM.hard_shutdown(vm)


def test_a_unit_of_a_target(host, net):
    target = Iscsi(net, luns=(32 * MIB,)).start()
    with open(target.luns[0], "r+b") as f:
        f.write(guest_sector(host))
    sr = create(host, "iscsi", {"target": net.address, "targetIQN": target.iqn})
    with run_vm_with(host, host.x.SR.get_VDIs(sr)[0]) as vm:
        host.x.VM.start(vm, False, False)
        for _ in range(ROUNDS):
            host.rounds(vm, 320)
            os.kill(host.pid_of(vm, "cairn-diskd"), 9)
            host.rounds(vm, 320)
