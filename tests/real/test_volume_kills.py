"""Snapshots on logical volumes and images of a Ceph pool, and their end, with the daemon dying at every
mark of them; then lvm2's tools, or Ceph's, find what there was before or what there should be, and the
content is right."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cephserver  # noqa: E402
from realhost import make_disk, run_host, wait_for  # noqa: E402
from simhost import BUILD, xapi  # noqa: E402
from storageserver import Network  # noqa: E402
from transfers import Client, pattern  # noqa: E402
from volumes import check, loop_device, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20
DISK = 4 * MIB
DIED = 86  # FAULT_EXIT of task/fault.h
MOST_POINTS = 120
# The gate takes every third mark, of volumes; `make torture-real` all.
ALL = os.environ.get("CAIRN_TORTURE") == "all"
STEP = 1 if ALL else 3
KINDS = ["lvm"] + ["rbd"] * (ALL and cephserver.is_installed())


class Group:
    kind = "lvm"

    def __init__(self, device):
        self.device, self.config = device, {"device": device}

    def names(self, host, sr):
        return set(volumes(self.device))

    def check(self, host, sr):
        check(host, self.device, sr)


class Pool:
    kind = "rbd"

    def __init__(self, ceph):
        self.ceph = ceph
        self.config = {"monitors": ceph.net.address, "pool": ceph.pool, "user": "cairn", "password": ceph.key}

    def names(self, host, sr):
        return set(self.ceph.tool("rbd", "-p", self.ceph.pool, "--namespace", host.x.SR.get_uuid(sr), "ls").split())

    def check(self, host, sr):
        host.x.SR.scan(sr)


@pytest.fixture(scope="module", params=KINDS)
def device(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lvm":
        with loop_device(folder / "device", 128 * MIB) as path:
            yield Group(path)
    else:
        with Network(folder) as net:
            yield Pool(cephserver.Ceph(net).start())


@pytest.fixture(scope="module")
def sr(host, device):
    ref = host.x.SR.create(host.x.host.get_all()[0], device.config, "0", "volumes", "", device.kind, "user", False, {})
    host.x.SR.add_to_other_config(ref, "gc-delay", "0")
    host.x.SR.add_to_other_config(ref, "gc", "false")
    return ref


def set_gc(host, sr, value):
    host.x.SR.remove_from_other_config(sr, "gc")
    host.x.SR.add_to_other_config(sr, "gc", value)


def fault(host, *words):
    env = dict(os.environ, CAIRN_CONTROL=os.path.join(host.folder, "run", "cairnd.ctl"))
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "fault", *words], env=env, check=True,
                          capture_output=True, text=True).stdout


def fill(host, vdi, data):
    status, _, body = Client(host, host.x).put("/import_raw_vdi", data, vdi=vdi, format="raw")
    assert status == 200, body


def read(host, vdi):
    status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=vdi, format="raw")
    assert status == 200, body
    return body


def disks(host, sr):
    return {v: r for v, r in host.x.VDI.get_all_records().items() if r["SR"] == sr}


def is_idle(host, sr):
    return not any(r["current_operations"] for r in disks(host, sr).values())


def ends(host, is_done):
    """Whether the daemon died before it was done; if so, it is started again."""
    def look():
        if host.process.poll() is not None:
            return "died"
        try:
            return is_done() and "done"
        except (OSError, EOFError):
            return None
    how = wait_for(look)
    try:
        fault(host, "clear")
    except subprocess.CalledProcessError:
        how = "died"
    if how == "died":
        assert host.process.wait(60) == DIED
        host.restart()
    return how == "died"


def attempt(call, *args):
    try:
        return call(*args)
    except (xapi.Failure, OSError, EOFError):
        return None


def sound(host, device, sr):
    """Each volume has a record and each record a volume."""
    wait_for(lambda: is_idle(host, sr))
    device.check(host, sr)
    assert {r["location"] for r in disks(host, sr).values()} == device.names(host, sr)


def struck(host, way, is_done):
    """Whether the n-th mark was there."""
    if way == "die":
        return ends(host, is_done)
    hit = " struck none" not in fault(host)
    fault(host, "clear")
    return hit


@pytest.mark.parametrize("way", ["die", "fail"])
def test_a_snapshot(host, device, sr, way):
    then, now = pattern("then", DISK), pattern("now", DISK)
    for n in range(1, MOST_POINTS, STEP):
        set_gc(host, sr, "false")
        vdi = make_disk(host, sr, DISK)
        fill(host, vdi, then)
        fault(host, way, str(n))
        attempt(host.x.VDI.snapshot, vdi)
        hit = struck(host, way, lambda: is_idle(host, sr))
        sound(host, device, sr)
        (*snapshots,) = [v for v, r in disks(host, sr).items() if r["is_a_snapshot"]]
        assert len(device.names(host, sr)) == 1 + 2 * len(snapshots) and len(snapshots) <= 1
        fill(host, vdi, now)
        assert [read(host, s) for s in snapshots] == [then] * len(snapshots)
        for one in snapshots:
            host.x.VDI.destroy(one)
        set_gc(host, sr, "true")
        wait_for(lambda: all(r["managed"] for r in disks(host, sr).values()) and is_idle(host, sr))
        assert read(host, vdi) == now
        host.x.VDI.destroy(vdi)
        if not hit:
            assert n > 5, "it did not get far"
            return
    raise AssertionError("the operation has no end")


def test_a_revert(host, device, sr):
    """It is done, now or after the start, or the disk is as it was."""
    then, now = pattern("then", DISK), pattern("now", DISK)
    set_gc(host, sr, "false")
    vdi = make_disk(host, sr, DISK)
    fill(host, vdi, then)
    snapshot, uuid = host.x.VDI.snapshot(vdi), host.x.VDI.get_uuid(vdi)
    for n in range(1, MOST_POINTS, STEP):
        fill(host, vdi, now)
        fault(host, "die", str(n))
        attempt(host.x.VDI.revert, snapshot)
        died = ends(host, lambda: is_idle(host, sr))
        sound(host, device, sr)
        assert len(device.names(host, sr)) == 3 and host.x.VDI.get_uuid(vdi) == uuid
        assert read(host, snapshot) == then and read(host, vdi) in (then, now)
        if not died:
            assert n > 10 and read(host, vdi) == then
            break
    else:
        raise AssertionError("the operation has no end")
    host.x.VDI.destroy(snapshot)
    set_gc(host, sr, "true")
    wait_for(lambda: set(disks(host, sr)) == {vdi} and is_idle(host, sr))
    assert read(host, vdi) == then
    host.x.VDI.destroy(vdi)


def test_a_join(host, device, sr):
    """The base copy of a snapshot that went becomes one with the disk."""
    now = pattern("now", DISK)
    for n in range(1, MOST_POINTS, STEP):
        set_gc(host, sr, "false")
        vdi = make_disk(host, sr, DISK)
        fill(host, vdi, pattern("then", DISK))
        host.x.VDI.destroy(host.x.VDI.snapshot(vdi))
        fill(host, vdi, now)
        fault(host, "die", str(n))
        attempt(set_gc, host, sr, "true")
        died = ends(host, lambda: set(disks(host, sr)) == {vdi} and is_idle(host, sr))
        set_gc(host, sr, "true")
        wait_for(lambda: set(disks(host, sr)) == {vdi} and is_idle(host, sr))
        sound(host, device, sr)
        assert len(device.names(host, sr)) == 1 and read(host, vdi) == now
        host.x.VDI.destroy(vdi)
        if not died:
            assert n > 10, "it did not get far"
            return
    raise AssertionError("the operation has no end")
