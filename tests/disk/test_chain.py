"""Differencing images: snapshots under a running client, merging, new parents, death in between."""
import os
import threading

import pytest

from diskd import VHDCHECK, Diskd, nbd_uri, qemu_io, run, vhdcheck, wait_for

MIB = 1 << 20


def chain(d, *names):
    return [{"path": d.path(n), "format": "vhd"} for n in names]


def activate(d, disk, leaf, *parents):
    d.activated[disk] = dict(id=disk, path=d.path(leaf), format="vhd", parents=chain(d, *parents))
    d.activated_again(disk)


def child(d, name, parent, **more):
    return d.ok("create", path=d.path(name), format="vhd", parent=chain(d, parent)[0], **more)


def snapshot(d, disk, leaf, base, *parents):
    """The leaf's file becomes `base`, and a new leaf goes on from it; waiting requests go on, too."""
    d.deactivate(disk)
    os.rename(d.path(leaf), d.path(base))
    d.ok("modify", path=d.path(base), format="vhd", hidden=True)
    child(d, leaf, base)
    activate(d, disk, leaf, base, *parents)


def coalesce(d, name, *parents, **more):
    args = dict(path=d.path(name), format="vhd", parents=chain(d, *parents), **more)
    answer = d.control("coalesce", **args)
    while answer.get("pending"):
        answer = d.control("coalesce", **args)
    assert answer["ok"], answer
    return answer["result"]


@pytest.fixture
def three(diskd):
    """leaf -> middle -> base, with something in each; read by a client."""
    diskd.disk("leaf", "vhd", 16 * MIB)
    uri = nbd_uri(diskd, "leaf")
    qemu_io(uri, "write -P 1 0 16M")
    snapshot(diskd, "leaf", "leaf", "base")
    qemu_io(uri, "write -P 2 1M 2M", "write -P 2 8M 512", "write -z 10M 1M")
    snapshot(diskd, "leaf", "leaf", "middle", "base")
    qemu_io(uri, "write -P 3 2M 512", "write -P 3 12M 2M")
    return diskd


LOOKS = ("read -P 1 0 1M", "read -P 2 1M 1M", "read -P 3 2M 512", "read -P 2 2097664 1048064",
         "read -P 1 3M 5M", "read -P 2 8M 512", "read -P 1 8389120 1M", "read -P 0 10M 1M",
         "read -P 1 11M 1M", "read -P 3 12M 2M", "read -P 1 14M 2M")


def test_chain_by_another_reader(diskd, tmp_path):
    """libvhdi, over FUSE, which finds the parents by itself. It takes eight sectors for present when
    one of them is, so all is written by 4 KiB."""
    diskd.disk("leaf", "vhd", 16 * MIB)
    uri, there = nbd_uri(diskd, "leaf"), tmp_path / "there"
    qemu_io(uri, "write -P 1 0 16M")
    snapshot(diskd, "leaf", "leaf", "base")
    qemu_io(uri, "write -P 2 1M 2M", "write -P 2 8M 4k", "write -z 10M 1M")
    snapshot(diskd, "leaf", "leaf", "middle", "base")
    qemu_io(uri, "write -P 3 2M 4k", "write -P 3 12M 2M")
    run("nbdcopy", uri, str(tmp_path / "plain"))
    diskd.deactivate("leaf")
    there.mkdir()
    run("vhdimount", diskd.path("leaf"), str(there))
    try:  # vhdi1 is the root of the chain
        run("cmp", str(tmp_path / "plain"), str(there / "vhdi3"))
    finally:
        run("umount", "-l", str(there))


def test_chain_under_a_client(three):
    qemu_io(nbd_uri(three, "leaf"), *LOOKS)
    three.deactivate("leaf")
    run(VHDCHECK, "--chain", *(three.path(n) for n in ("leaf", "middle", "base")))
    info = three.ok("info", path=three.path("middle"))
    base = three.ok("info", path=three.path("base"))
    assert info["parent_uuid"] == base["uuid"] and info["parent_path"] == "./base"
    assert info["hidden"] and base["hidden"] and base["type"] == "dynamic"


def test_coalesce_under_a_client(three, tmp_path):
    """Another process merges; the client reads and writes on, before and behind the new parent."""
    uri = nbd_uri(three, "leaf")
    (tmp_path / "gc").mkdir()
    with Diskd(tmp_path / "gc") as gc:
        result = coalesce(gc, str(tmp_path / "middle"), str(tmp_path / "base"))
        assert result["done"] == result["total"] > 0
        qemu_io(uri, *LOOKS)
        assert coalesce(gc, str(tmp_path / "middle"), str(tmp_path / "base")) == result  # again
    three.deactivate("leaf")
    three.ok("modify", path=three.path("leaf"), format="vhd", parent=chain(three, "base")[0])
    os.unlink(three.path("middle"))
    activate(three, "leaf", "leaf", "base")
    qemu_io(uri, *LOOKS)
    three.deactivate("leaf")
    run(VHDCHECK, "--chain", three.path("leaf"), three.path("base"))
    assert run(VHDCHECK, "--chain", three.path("leaf"), check=False).returncode == 1


def test_leaf_coalesce(three):
    three.deactivate("leaf")
    coalesce(three, "leaf", "middle", "base")
    os.rename(three.path("middle"), three.path("leaf"))
    three.ok("modify", path=three.path("leaf"), format="vhd", hidden=False)
    activate(three, "leaf", "leaf", "base")
    qemu_io(nbd_uri(three, "leaf"), *LOOKS)


def test_coalesce_excludes(three):
    """Not with a writer of either image; with readers."""
    middle, leaf = three.path("middle"), three.path("leaf")
    fails = three.control("coalesce", path=leaf, format="vhd", parents=chain(three, "middle"))
    while fails.get("pending"):
        fails = three.control("job", path=leaf, of="coalesce")
        fails = fails.get("result") or fails
    assert fails["error"]["code"] == "EBUSY"
    three.fails("coalesce", "EINVAL", path=middle, format="vhd", parents=[])
    three.create("other", "vhd", 4 * MIB)
    three.fails("coalesce", "EINVAL", path=middle, format="vhd", parents=chain(three, "other"))
    assert three.ok("info", path=three.path("other"))["size"] == 4 * MIB


def test_cancelled_and_killed(three, tmp_path):
    """Slow enough to be caught; what was merged stays, and the next one finishes."""
    (tmp_path / "gc").mkdir()
    uri = nbd_uri(three, "leaf")
    args = dict(path=three.path("middle"), format="vhd", parents=chain(three, "base"), rate=1)
    gc = Diskd(tmp_path / "gc")
    for end in ("cancel", "quit", "kill"):
        waiting = threading.Thread(target=gc.control, args=("coalesce",), kwargs=args)
        waiting.start()
        waiting.join()
        job = gc.ok("job", path=args["path"], of="coalesce")
        assert job["pending"] and job["done"] < job["total"]
        assert gc.ok("query")["jobs"][0]["op"] == "coalesce"
        gc.fails("quit", "EBUSY")
        if end == "cancel":
            gc.ok("cancel", path=args["path"], of="coalesce")
            wait_for(lambda: not gc.ok("query")["jobs"])
            gc.fails("job", "ECANCELED", path=args["path"], of="coalesce")
        elif end == "quit":
            gc.close()
            gc = Diskd(tmp_path / "gc")
        else:
            gc.kill()
    qemu_io(uri, *LOOKS)
    coalesce(three, "middle", "base")
    qemu_io(uri, *LOOKS)


def test_child_is_larger_than_its_parent(diskd):
    diskd.disk("leaf", "vhd", 4 * MIB)
    uri = nbd_uri(diskd, "leaf")
    qemu_io(uri, "write -P 1 0 4M")
    diskd.deactivate("leaf")
    diskd.ok("detach", id="leaf")
    child(diskd, "big", "leaf", size=8 * MIB)
    diskd.attach("big", 8 * MIB)
    activate(diskd, "big", "big", "leaf")
    uri = nbd_uri(diskd, "big")
    qemu_io(uri, "read -P 1 0 4M", "read -P 0 4M 4M", "write -P 2 3M 2M")
    diskd.deactivate("big")
    coalesce(diskd, "big", "leaf")
    assert diskd.ok("info", path=diskd.path("leaf"))["size"] == 8 * MIB
    vhdcheck(diskd.path("leaf"))
    os.rename(diskd.path("leaf"), diskd.path("big"))
    activate(diskd, "big", "big")
    qemu_io(uri, "read -P 1 0 3M", "read -P 2 3M 2M", "read -P 0 5M 3M")


def test_raw_parent(diskd):
    diskd.disk("root.raw", "raw", 4 * MIB)
    qemu_io(nbd_uri(diskd, "root.raw"), "write -P 1 0 4M")
    diskd.deactivate("root.raw")
    parent = {"path": diskd.path("root.raw"), "format": "raw"}
    diskd.ok("create", path=diskd.path("leaf"), format="vhd", parent=parent)
    diskd.attach("leaf", 4 * MIB)
    diskd.ok("activate", id="leaf", path=diskd.path("leaf"), format="vhd", parents=[parent])
    qemu_io(nbd_uri(diskd, "leaf"), "write -P 2 1M 512", "read -P 1 0 1M", "read -P 2 1M 512",
            "read -P 1 2M 2M")
    diskd.ok("deactivate", id="leaf")
    diskd.ok("coalesce", path=diskd.path("leaf"), format="vhd", parents=[parent])
    qemu_io(diskd.path("root.raw"), "read -P 1 0 1M", "read -P 2 1M 512", "read -P 1 2M 2M")
