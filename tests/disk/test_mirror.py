"""A disk copied to another image while its guest writes: both are the same, or nothing has happened."""
import os
import subprocess

import pytest

from diskd import nbd_uri, qemu_io, run, vhdcheck, wait_for
from test_kills import UNIT, UNITS, Load, Model, content, read_back
from vhost import DISCARD, OK, OUT, Vhost

MIB = 1 << 20
SIZE = UNITS * UNIT
MIRROR_UNIT = 64 << 10


def start(d, name, to, fmt, **more):
    return d.ok("mirror", id=name, path=d.path(to), format=fmt, **more)


def job(d, to):
    return d.control("job", path=d.path(to), of="mirror")


def is_ready(d, to):
    answer = job(d, to)
    assert answer["ok"], answer
    return answer["result"].get("ready", False)


def ended(d, to):
    """The answer of a mirror that has ended."""
    wait_for(lambda: not job(d, to).get("result", {}).get("pending"))
    return job(d, to)


def same(d, a, fmt_a, b, fmt_b, parents=None):
    """Two images that are closed, by their content."""
    for name, fmt, below in ((a, fmt_a, None), (b, fmt_b, parents)):
        d.attach("r-" + name, d.ok("info", path=d.path(name))["size"], readonly=True)
        args = dict(id="r-" + name, path=d.path(name), format=fmt)
        d.ok("activate", **args, **({"parents": below} if below else {}))
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", nbd_uri(d, "r-" + a),
        nbd_uri(d, "r-" + b))
    for name in (a, b):
        d.ok("deactivate", id="r-" + name)
        d.ok("detach", id="r-" + name)
        d.attached.pop("r-" + name)


def drive(load, until):
    """Keeps requests under way until that is so."""
    while not until():
        for _ in range(40):
            if load.v.free:
                load.begin()
        load.settle()


def close(d, name):
    """The disk's image; storage takes its time."""
    wait_for(lambda: d.ok("deactivate", id=name).get("state") == "attached")
    d.activated.pop(name)


def complete(d, to):
    """What the guest has just changed may have to be copied first."""
    def is_taken():
        answer = d.control("complete", path=d.path(to))
        assert answer["ok"] or answer["error"]["code"] == "EAGAIN", answer
        return answer["ok"]
    wait_for(is_taken)


def switch(d, name, to, fmt):
    """What a move does in the end: the guest's requests go to the other image."""
    complete(d, to)
    close(d, name)
    answer = ended(d, to)
    assert answer["ok"], answer
    d.activated[name] = dict(id=name, path=d.path(to), format=fmt)
    d.activated_again(name)


@pytest.mark.parametrize("fmt, to", [("vhd", "vhd"), ("qcow2", "vhd"), ("vhd", "qcow2"),
                                     ("raw", "vhd-fixed")])
def test_a_guest_writes_all_the_time(diskd, fmt, to):
    diskd.disk("a", fmt, SIZE, ("vu",))
    diskd.create("b", to, SIZE)
    load = Load(Vhost(diskd.path("a.vu")), Model(5))
    drive(load, lambda: load.m.value > 300)
    start(diskd, "a", "b", to)
    drive(load, lambda: is_ready(diskd, "b"))
    drive(load, lambda: not load.v.free or len(load.under_way) > 20)
    switch(diskd, "a", "b", to)
    load.finish()
    read_back(load.v, load.m)
    assert set(diskd.stats("a")["errors"].values()) == {0}
    load.v.close()
    close(diskd, "a")
    if to == "vhd":
        vhdcheck(diskd.path("b"))


def test_a_disk_that_is_only_read(diskd):
    """And is read by others meanwhile, who keep it."""
    diskd.disk("a", "vhd", SIZE)
    qemu_io(nbd_uri(diskd, "a"), "write -P 7 1M 300k", "write -P 0 3M 64k")
    close(diskd, "a")
    diskd.create("b", "vhd", SIZE)
    for name in ("x", "y"):
        diskd.attach(name, SIZE, readonly=True)
        diskd.activated[name] = dict(id=name, path=diskd.path("a"), format="vhd")
        diskd.activated_again(name)
    start(diskd, "x", "b", "vhd")
    wait_for(lambda: is_ready(diskd, "b"))
    complete(diskd, "b")
    close(diskd, "x")
    answer = ended(diskd, "b")
    assert answer["ok"], answer
    run("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 1M 300k", nbd_uri(diskd, "y"))
    same(diskd, "a", "vhd", "b", "vhd")


def test_writes_at_one_place_at_the_same_time(diskd):
    """What the disk has in the end is what the copy has, whichever was last."""
    diskd.disk("a", "vhd", SIZE, ("vu",))
    diskd.create("b", "vhd", SIZE)
    with Vhost(diskd.path("a.vu")) as v:
        assert v.write(0, b"\1" * 65536) == OK
        start(diskd, "a", "b", "vhd")
        n = 0
        while not is_ready(diskd, "b") or n < 200:
            tokens = [v.submit(OUT, i % 3, bytes([(n + i) % 251]) * 8192) for i in range(32)]
            assert v.wait(tokens) == [OK] * 32
            n += 32
        tokens = [v.submit(OUT, i % 3, bytes([i]) * 8192) for i in range(32)]
        complete(diskd, "b")
        wait_for(lambda: v.poll() or all(v.done[t[0]] for t in tokens))
        close(diskd, "a")
        assert ended(diskd, "b")["ok"]
    same(diskd, "a", "vhd", "b", "vhd")


def test_zeroes_where_data_was_a_moment_ago(diskd):
    """The first round takes a new target for empty, which it is not where a piece was copied: the
    guest wipes what is being copied."""
    size = 64 * MIB
    diskd.disk("a", "vhd", size, ("vu",))
    diskd.create("b", "vhd", size)
    with Vhost(diskd.path("a.vu")) as v:
        for at in range(0, size, 256 << 10):
            assert v.write(at // 512, b"\1" * (256 << 10)) == OK
        start(diskd, "a", "b", "vhd")
        while not is_ready(diskd, "b"):
            at = job(diskd, "b")["result"].get("done", 0) & -MIRROR_UNIT
            tokens = [v.submit(OUT, piece // 512, bytes(MIRROR_UNIT))
                      for piece in range(at, min(at + MIB, size), MIRROR_UNIT)]
            assert v.wait(tokens) == [OK] * len(tokens)
        complete(diskd, "b")
        close(diskd, "a")
        assert ended(diskd, "b")["ok"]
    same(diskd, "a", "vhd", "b", "vhd")


def test_what_is_discarded_meanwhile_reads_as_zeroes(diskd):
    diskd.disk("a", "vhd", SIZE, ("vu",))
    diskd.create("b", "vhd", SIZE)
    with Vhost(diskd.path("a.vu")) as v:
        for at in range(0, SIZE, MIB):
            assert v.write(at // 512, b"\7" * 65536) == OK
        start(diskd, "a", "b", "vhd")
        wait_for(lambda: is_ready(diskd, "b"))
        half = (4 * MIB // 512).to_bytes(8, "little") + (8 * MIB // 512).to_bytes(4, "little")
        token = v.submit(DISCARD, 0, half + bytes(4))
        assert v.wait([token]) == [OK]
        complete(diskd, "b")
        close(diskd, "a")
        assert ended(diskd, "b")["ok"]
    same(diskd, "a", "vhd", "b", "vhd")
    assert os.stat(diskd.path("b")).st_blocks * 512 < SIZE


def test_only_what_differs_goes_into_a_child(diskd):
    diskd.disk("base", "vhd", SIZE, ("vu",))
    with Vhost(diskd.path("base.vu")) as v:
        for at in range(0, SIZE, 2 * MIB):
            assert v.write(at // 512, content(at // MIB + 1, 16)) == OK
    close(diskd, "base")
    diskd.ok("detach", id="base")
    diskd.attached.pop("base")
    base = {"path": diskd.path("base"), "format": "vhd"}
    run("cp", "--sparse=always", diskd.path("base"), diskd.path("a"))
    diskd.ok("create", path=diskd.path("b"), format="vhd", parent=base)
    diskd.attach("a", SIZE, ("vu",))
    diskd.activate("a", "vhd")
    with Vhost(diskd.path("a.vu")) as v:
        assert v.write(10 * MIB // 512, b"\5" * UNIT) == OK
        start(diskd, "a", "b", "vhd", parents=[base])
        wait_for(lambda: is_ready(diskd, "b"))
        assert v.write(20 * MIB // 512, b"\6" * UNIT) == OK
        complete(diskd, "b")
        close(diskd, "a")
        assert ended(diskd, "b")["ok"]
    assert diskd.ok("info", path=diskd.path("b"))["blocks_allocated"] == 2
    same(diskd, "a", "vhd", "b", "vhd", [base])


def test_a_full_target_is_no_matter_to_the_guest(diskd):
    os.makedirs(diskd.path("small"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "small", diskd.path("small")],
                   check=True)
    try:
        diskd.disk("a", "vhd", SIZE, ("vu",), parks=True)
        diskd.create("small/b", "vhd", SIZE)
        load = Load(Vhost(diskd.path("a.vu")), Model(6))
        for at in range(0, UNITS, 512):
            assert load.v.write(at * 8, content(7, 16)) == OK
            load.m.units[at:at + 16] = [7] * 16
        load.m.value = 7
        start(diskd, "a", "small/b", "vhd")
        drive(load, lambda: not job(diskd, "small/b")["ok"])
        assert job(diskd, "small/b")["error"]["code"] == "ENOSPC"
        drive(load, lambda: load.m.value > 400)
        load.finish()
        read_back(load.v, load.m)
        assert set(diskd.stats("a")["errors"].values()) == {0}
        assert not diskd.stats("a")["parked"]
        load.v.close()
        close(diskd, "a")
        vhdcheck(diskd.path("a"))
    finally:
        subprocess.run(["umount", "-l", diskd.path("small")], check=True)


def test_killed_in_the_middle(diskd):
    """The successor knows of no copy; the disk is what it was."""
    diskd.disk("a", "vhd", SIZE, ("vu",))
    diskd.create("b", "vhd", SIZE)
    load = Load(Vhost(diskd.path("a.vu")), Model(8))
    start(diskd, "a", "b", "vhd")
    drive(load, lambda: load.m.value > 100)
    memory, inflight, old = load.v.memfd, load.v.inflight, load.v
    diskd.kill()
    diskd.restart()
    old.close()
    load.v = Vhost(diskd.path("a.vu"), memory=memory, inflight=inflight)
    load.v.seen, load.v.free, load.v.done = old.seen, old.free, old.done
    load.v.avail_idx = old.avail_idx
    diskd.fails("job", "ENOENT", path=diskd.path("b"), of="mirror")
    load.finish()
    read_back(load.v, load.m)
    load.v.close()
    close(diskd, "a")
    vhdcheck(diskd.path("a"))


def test_closed_or_cancelled_before_it_was_whole(diskd):
    diskd.disk("a", "vhd", SIZE, ("vu",))
    diskd.create("b", "vhd", SIZE)
    with Vhost(diskd.path("a.vu")) as v:
        assert v.write(0, b"\1" * UNIT) == OK
        start(diskd, "a", "b", "vhd")
        wait_for(lambda: is_ready(diskd, "b"))
        diskd.ok("cancel", path=diskd.path("b"), of="mirror")
        assert ended(diskd, "b")["error"]["code"] == "ECANCELED"
        diskd.fails("complete", "ENOENT", path=diskd.path("b"))
        assert v.write(8, b"\2" * UNIT) == OK
        os.unlink(diskd.path("b"))
        diskd.create("b", "vhd", SIZE)
        start(diskd, "a", "b", "vhd")
        close(diskd, "a")
        assert ended(diskd, "b")["error"]["code"] == "ECANCELED"
        diskd.activate("a", "vhd")
        assert v.read(0, UNIT) == (OK, b"\1" * UNIT)


def test_what_cannot_be_copied_to(diskd):
    diskd.disk("a", "vhd", SIZE, ("vu",))
    diskd.create("b", "vhd", SIZE)
    diskd.create("short", "vhd", SIZE // 2)
    diskd.fails("mirror", "ENOENT", id="x", path=diskd.path("b"), format="vhd")
    diskd.fails("mirror", "EBUSY", id="a", path=diskd.path("a"), format="vhd")
    start(diskd, "a", "short", "vhd")
    assert ended(diskd, "short")["error"]["code"] == "ERANGE"
    start(diskd, "a", "missing", "vhd")
    assert ended(diskd, "missing")["error"]["code"] == "ENOENT"
    start(diskd, "a", "b", "vhd")
    diskd.create("c", "vhd", SIZE)
    diskd.fails("mirror", "EBUSY", id="a", path=diskd.path("c"), format="vhd")
