"""Guests that write and compare without end, while their disks are snapshotted, reverted, tidied and moved.

On every kind of repository, over real servers. CAIRN_VERIFY_ROUNDS says how often; `make verify` asks
for 20. The guest compares what it has just written and what it wrote 300 rounds before; what a disk
reads after a revert is compared with what the snapshot read.
"""
import contextlib
import hashlib
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cephserver  # noqa: E402
from realhost import guest_sector, make_disk, run_host, run_vm_with, wait_for  # noqa: E402
from storageserver import Iscsi, Network, Nfs, Smb  # noqa: E402
from transfers import Client  # noqa: E402
from volumes import check, loop_device  # noqa: E402

ROUNDS = int(os.environ.get("CAIRN_VERIFY_ROUNDS", "1"))
MIB = 1 << 20
host = pytest.fixture(scope="module")(run_host)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("net")) as n:
        yield n


def create(host, kind, where, **settings):
    return host.x.SR.create(host.x.host.get_all()[0], where, "0", "verify " + kind, "", kind, "user",
                            kind not in ("ext", "file", "lvm"), settings)


@contextlib.contextmanager
def in_folder(host, net, kind):
    folder = os.path.join(host.folder, "verify-" + kind)
    os.makedirs(folder)
    yield create(host, kind, {"location": folder})


@contextlib.contextmanager
def on_server(host, net, kind):
    nfs = Nfs(net, exports=("v",)).start()
    yield create(host, kind, {"server": net.address, "serverpath": nfs.exports["v"]})


@contextlib.contextmanager
def on_share(host, net, kind):
    smb = Smb(net).start()
    yield create(host, kind, {"server": f"//{net.address}/a", "username": "root", "password": smb.password})


@contextlib.contextmanager
def on_volumes(host, net, kind):
    """Thin ones grow by 16 MiB."""
    settings = {"allocation": "xlvhd", "allocation_quantum": str(16 * MIB)} if kind == "thin" else {}
    with loop_device(os.path.join(host.folder, "device-" + kind), 512 * MIB) as device:
        sr = create(host, "lvm", {"device": device}, **settings)
        yield sr
        check(host, device, sr)
        host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
        host.x.SR.destroy(sr)


@contextlib.contextmanager
def in_cluster(host, net, kind):
    with contextlib.ExitStack() as stack:
        ceph = cephserver.Ceph(net).start()
        stack.callback(ceph.stop)
        sr = create(host, kind, {"monitors": net.address, "pool": ceph.pool, "user": "cairn", "password": ceph.key})
        yield sr
        host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
        host.x.SR.destroy(sr)


REPOSITORIES = {"ext": in_folder, "file": in_folder, "nfs": on_server, "lvm": on_volumes, "thin": on_volumes}
# What starting a cluster takes is spent once in the gate, in test_storage_rbd.py.
if ROUNDS > 1 and cephserver.is_installed():
    REPOSITORIES["rbd"] = in_cluster
if ROUNDS > 1:
    REPOSITORIES["smb"] = on_share  # slow: a process asks for each name, and logs in


@contextlib.contextmanager
def guest_on(host, sr):
    """The disk goes with it, snapshots and all that is below them."""
    vdi = make_disk(host, sr, 32 * MIB)
    status, _, body = Client(host, host.x).put("/import_raw_vdi", guest_sector(host), vdi=vdi, format="raw")
    assert status == 200, body
    vm = host.make_vm(vdi=vdi)
    yield vm
    host.remove_vm(vm)
    wait_for(lambda: not host.x.SR.get_VDIs(sr), 120)


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


def move(host, vm, sr):
    """Under its guest."""
    vdi = host.x.VDI.pool_migrate(disk_of(host, vm), sr, {})
    assert host.x.VDI.get_SR(vdi) == sr and disk_of(host, vm) == vdi


def tidied(host, sr):
    records = [r for r in host.x.VDI.get_all_records().values() if r["SR"] == sr]
    return all(r["managed"] and not r["current_operations"] for r in records)


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_snapshots_reverts_tidying_and_moves(host, net, kind):
    home = host.x.SR.get_by_name_label("Local storage")[0]
    with REPOSITORIES[kind](host, net, kind) as sr, guest_on(host, sr) as vm:
        host.x.SR.add_to_other_config(sr, "gc-delay", "0")
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
            for place in (home, sr):
                move(host, vm, place)
                host.rounds(vm, 20)
                assert host.x.VDI.get_SR(disk_of(host, second)) == place
                assert digest(host, disk_of(host, second)) == wanted
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
            host.kill(vm, "cairn-diskd")
            host.rounds(vm, 320)
