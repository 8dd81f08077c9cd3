"""qcow2 images: judged by QEMU's own tools, after writing, merging, growing and dying."""
import os

from diskd import nbd_uri, qemu_io, run

MIB = 1 << 20


def create(d, name, **more):
    return d.ok("create", path=d.path(name), format="qcow2", **more)


def link(d, name, fmt="qcow2"):
    return {"path": d.path(name), "format": fmt}


def activate(d, disk, leaf, *parents):
    d.activated[disk] = dict(id=disk, path=d.path(leaf), format="qcow2", parents=list(parents))
    d.activated_again(disk)


def check(path):
    run("qemu-img", "check", "-f", "qcow2", path)


def is_same(d, leaf, other, fmt="raw"):
    run("qemu-img", "compare", "-f", "qcow2", "-F", fmt, d.path(leaf), other)


def model(d, *commands):
    """The same writes on a raw file, by another writer."""
    path = d.path("model.raw")
    if not os.path.exists(path):
        with open(path, "wb") as f:
            f.truncate(32 * MIB)
    qemu_io(path, *commands)
    return path


FIRST = ("write -P 1 0 3M", "write -P 2 70k 1k", "write -P 3 9M 512", "write -z 1M 256k",
         "write -P 4 33550336 4k")
SECOND = ("write -P 5 100k 3k", "write -z 64k 4k", "write -z 2M 256k", "write -P 6 12M 1M", "discard 9M 64k")


def test_writes(diskd):
    diskd.disk("a", "qcow2", 32 * MIB)
    qemu_io(nbd_uri(diskd, "a"), *FIRST, "flush")
    other = model(diskd, *FIRST)
    diskd.deactivate("a")
    check(diskd.path("a"))
    is_same(diskd, "a", other)


def test_death_and_repair(diskd):
    """What was answered survives; the image is dirty, and whole again when it was closed."""
    diskd.disk("a", "qcow2", 32 * MIB)
    qemu_io(nbd_uri(diskd, "a"), *FIRST)
    other = model(diskd, *FIRST)
    diskd.kill()
    with open(diskd.path("a"), "rb") as f:
        f.seek(79)
        assert f.read(1) == b"\1"
    diskd.restart()
    diskd.deactivate("a")
    check(diskd.path("a"))
    is_same(diskd, "a", other)


def test_children_and_coalesce(diskd):
    diskd.disk("leaf", "qcow2", 32 * MIB)
    uri = nbd_uri(diskd, "leaf")
    qemu_io(uri, *FIRST)
    diskd.deactivate("leaf")
    os.rename(diskd.path("leaf"), diskd.path("base"))
    diskd.ok("modify", path=diskd.path("base"), format="qcow2", hidden=True)
    create(diskd, "leaf", parent=link(diskd, "base"))
    activate(diskd, "leaf", "leaf", link(diskd, "base"))
    writes = SECOND[:4]
    qemu_io(uri, *writes)
    other = model(diskd, *FIRST, *writes)
    diskd.deactivate("leaf")
    info = diskd.ok("info", path=diskd.path("base"), format="qcow2")
    assert info["hidden"] and info["type"] == "dynamic"
    info = diskd.ok("info", path=diskd.path("leaf"), format="qcow2")
    assert info["parent_name"] == "base" and info["type"] == "differencing"
    check(diskd.path("leaf"))
    is_same(diskd, "leaf", other)
    args = dict(path=diskd.path("leaf"), format="qcow2", parents=[link(diskd, "base")])
    answer = diskd.control("coalesce", **args)
    while answer.get("pending"):
        answer = diskd.control("coalesce", **args)
    assert answer["ok"], answer
    check(diskd.path("base"))
    is_same(diskd, "base", other)


def test_growing_and_foreign_parent(diskd):
    """A child of an image that QEMU made; larger than one L1 table's cluster can tell."""
    run("qemu-img", "create", "-q", "-f", "qcow2", diskd.path("q"), "32M")
    qemu_io(diskd.path("q"), "write -P 7 1M 1M", fmt="qcow2")
    create(diskd, "c", parent=link(diskd, "q"))
    size = 5 << 40
    assert diskd.ok("resize", path=diskd.path("c"), format="qcow2", size=size)["size"] == size
    check(diskd.path("c"))
    diskd.attach("c", size)
    activate(diskd, "c", "c", link(diskd, "q"))
    qemu_io(nbd_uri(diskd, "c"), "write -P 8 1536k 512", f"write -P 9 {size - 512} 512",
            "read -P 7 1M 512k", "read -P 8 1536k 512", "read -P 7 1573376 523776")
    diskd.deactivate("c")
    check(diskd.path("c"))
    qemu_io(diskd.path("c"), "read -P 7 1M 512k", "read -P 8 1536k 512", "read -P 0 4M 1M",
            f"read -P 9 {size - 512} 512", fmt="qcow2")


def test_refused_by_name(diskd):
    def fails(option, reason, words):
        path = diskd.path("f" + str(len(option)))
        run("qemu-img", "create", "-q", "-f", "qcow2", *option, path, "32M")
        answer = diskd.control("resize", path=path, format="qcow2", size=64 * MIB)
        assert not answer["ok"] and words in str(answer), (reason, answer)
    fails(("-o", "compat=0.10"), "old", "version 2")
    fails(("-o", "cluster_size=4096"), "small", "64 KiB")
    fails(("-o", "extended_l2=on,cluster_size=131072"), "extended", "not known")
    path = diskd.path("s")
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "32M")
    run("qemu-img", "snapshot", "-c", "one", path)
    answer = diskd.control("info", path=path, format="qcow2")
    assert not answer["ok"] and "internal snapshots" in str(answer)
