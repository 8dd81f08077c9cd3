"""cairn-diskd killed again and again under a guest's requests: no error, no wrong byte.

Nothing is ever flushed: what was answered must be there all the same. CAIRN_KILLS says how often;
`make kills` asks for 1000.
"""
import os
import random

import pytest

from diskd import run, vhdcheck, wait_for
from vhost import IN, OK, OUT, WRITE_ZEROES, Vhost

MIB = 1 << 20
KILLS = int(os.environ.get("CAIRN_KILLS", "20"))
SIZE = 48 * MIB
UNIT = 4096
UNITS = SIZE // UNIT
LONGEST = 24


class Model:
    """What the disk must read: a number for each 4 KiB; 0 is zeroes."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.units = [0] * UNITS
        self.busy = set()
        self.value = 0

    def place(self):
        """A range that no request under way touches."""
        while True:
            n = self.random.choice((1, 1, 2, 5, LONGEST))
            at = self.random.randrange(UNITS - n)
            if self.random.random() < 0.3:
                at = at // 512 * 512  # the begin of a block
            mine = set(range(at, at + n))
            if not mine & self.busy:
                self.busy |= mine
                return at, n

    def free(self, at, n):
        self.busy -= set(range(at, at + n))


def content(value, n):
    return value.to_bytes(4, "little") * (UNIT // 4 * n)


class Load:
    """Requests under way on one ring, which outlives the device."""

    def __init__(self, v, model):
        self.v, self.m, self.under_way = v, model, []

    def begin(self):
        at, n = self.m.place()
        kind = self.m.random.choice((OUT, OUT, OUT, OUT, IN, WRITE_ZEROES))
        if kind == OUT:
            self.m.value += 1
            token = self.v.submit(OUT, at * 8, content(self.m.value, n))
            want = [self.m.value] * n
        elif kind == IN:
            token, want = self.v.submit(IN, at * 8, size=n * UNIT), self.m.units[at:at + n]
        else:
            data = (at * 8).to_bytes(8, "little") + (n * 8).to_bytes(4, "little") + b"\1\0\0\0"
            token, want = self.v.submit(WRITE_ZEROES, 0, data), [0] * n
        self.under_way.append((kind, at, n, token, want))

    def settle(self):
        """Takes in what was answered."""
        self.v.poll()
        for r in [r for r in self.under_way if self.v.done[r[3][0]]]:
            kind, at, n, token, want = r
            self.under_way.remove(r)
            assert self.v.mem[token[1]] == OK, f"an error at {at}"
            if kind == IN:
                got = bytes(self.v.mem[token[2]:token[2] + n * UNIT])
                assert got == b"".join(content(w, 1) for w in want), f"wrong bytes at {at}"
            self.m.units[at:at + n] = want
            self.m.free(at, n)

    def finish(self):
        self.v.wait([r[3] for r in self.under_way])
        self.settle()


def reborn(diskd, old, name):
    """The device died: another takes its place, the guest and its ring are the same."""
    diskd.kill()
    diskd.restart()
    old.close()
    v = Vhost(diskd.path(name + ".vu"), memory=old.memfd, inflight=old.inflight)
    v.seen, v.free, v.done, v.avail_idx = old.seen, old.free, old.done, old.avail_idx
    return v


def read_back(v, model):
    for at in range(0, UNITS, LONGEST):
        n = min(LONGEST, UNITS - at)
        status, data = v.read(at * 8, n * UNIT)
        assert status == OK
        assert data == b"".join(content(w, 1) for w in model.units[at:at + n]), f"wrong at {at}"


def child_of_full(diskd, fmt):
    """A disk whose every first write has to hide something of its parent."""
    diskd.disk("base", fmt, SIZE, ("vu",))
    model = Model(12)
    v = Vhost(diskd.path("base.vu"))
    for at in range(0, UNITS, 256):
        model.value += 1
        assert v.write(at * 8, content(model.value, 256)) == OK
        model.units[at:at + 256] = [model.value] * 256
    v.close()
    diskd.deactivate("base")
    diskd.ok("detach", id="base")
    del diskd.attached["base"]
    base = {"path": diskd.path("base"), "format": fmt}
    diskd.ok("create", path=diskd.path("child"), format=fmt, parent=base)
    diskd.attach("child", SIZE, ("vu",))
    diskd.activated["child"] = dict(id="child", path=diskd.path("child"), format=fmt,
                                        parents=[base])
    diskd.activated_again("child")
    return "child", model


def new_disk(diskd, fmt):
    diskd.disk("a", fmt, SIZE, ("vu",))
    return "a", Model(11)


@pytest.mark.parametrize("fmt", ["vhd", "qcow2"])
@pytest.mark.parametrize("make", [new_disk, child_of_full])
def test_killed_under_load(diskd, make, fmt):
    name, model = make(diskd, fmt)
    load = Load(Vhost(diskd.path(name + ".vu")), model)
    for n in range(KILLS):
        for _ in range(model.random.randrange(1, 30)):
            if load.v.free:
                load.begin()
            if model.random.random() < 0.4:
                load.settle()
        if n % 3 == 0 and load.under_way:
            seen = load.v.seen
            wait_for(lambda before=seen: load.v.used_idx() != before)
        load.v = reborn(diskd, load.v, name)
        if n % 7 == 6:
            load.finish()
    load.finish()
    read_back(load.v, model)
    assert diskd.stats(name)["errors"] == {k: 0 for k in ("read", "write", "flush", "discard",
                                                          "zeroes")}
    load.v.close()
    diskd.deactivate(name)
    if fmt == "vhd":
        vhdcheck(diskd.path(name))
    else:
        run("qemu-img", "check", "-q", "-f", "qcow2", diskd.path(name))
