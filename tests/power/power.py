#!/usr/bin/env python3
"""power: cairn-diskd under load on a file system that records, and power cuts at every place of that.

  power [--cuts=N] [--steps=N] [--seed=N] [--device] [--format=vhd|qcow2]
        [--diskd=PROGRAM] [--keep]

The load is a guest's: writes, zeroes and flushes on one ring, with snapshots, new branches, growth,
merges and joins around it. What was sent, answered and flushed is remarked in the recording itself,
so the replay (replay.c) knows what must be there. With --device each image is a logical volume on a
block device full of rubbish: there the order of bitmaps and BAT, of clusters and tables matters, which
a file with holes forgives. A volume that is not used any more is given to a later image as it is.
Ends with 1 when something is lost.
"""
import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "disk"))

import diskd as disk_tests  # noqa: E402
from diskd import BUILD, Diskd, wait_for  # noqa: E402
from vhost import FLUSH, OK, OUT, WRITE_ZEROES, Vhost  # noqa: E402

MIB = 1 << 20
SECTORS_FIRST = 6 * MIB // 512
SECTORS_MAX = 12 * MIB // 512
DEPTH_MAX = 8
BRANCHES_MAX = 3
DEVICE = "device"        # as in record.h: what begins so
DEVICE_SIZE = 28 * MIB
DEVICES = 6
SECTORS_DEVICE = 24 * MIB // 512


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


class Recorder:
    """The file system, mounted."""

    def __init__(self, folder):
        self.log = os.path.join(folder, "log")
        self.mount = os.path.join(folder, "mnt")
        os.makedirs(self.mount)
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "tests", "power", "power-recorder"), self.log, self.mount])
        wait_for(lambda: os.path.ismount(self.mount) or self.process.poll() is not None)
        assert self.process.poll() is None, "the recorder does not run"
        self.marks = os.open(os.path.join(self.mount, "mark"), os.O_CREAT | os.O_WRONLY)

    def mark(self, *words):
        os.write(self.marks, (" ".join(map(str, words)) + "\n").encode())

    def close(self):
        os.close(self.marks)
        subprocess.run(["umount", self.mount], check=True)
        assert self.process.wait(20) == 0

    def abandon(self):
        subprocess.run(["umount", "-l", self.mount], check=False, capture_output=True)
        self.process.wait(20)


class Load:
    def __init__(self, recorder, diskd, seed, fmt, devices=None):
        self.r, self.d, self.random, self.format = recorder, diskd, random.Random(seed), fmt
        self.r.mark("format", fmt)
        self.sectors = SECTORS_DEVICE if devices else SECTORS_FIRST
        self.named = self.value = self.number = 0
        self.chain = []
        self.v = None
        self.under_way = []  # (number, at, n, token)
        self.flushing = None
        self.branches = {}   # id: chain; disks that nobody has open
        self.devices = devices
        self.chain = self.new_names(1)
        self.d.ok("create", path=self.path(self.chain[0]), format=fmt, size=self.sectors * 512)
        self.tell("disk")
        self.attach()

    # ---- names, marks ----
    def new_names(self, n):
        """Of images to come; fewer where devices are used up."""
        if self.devices:
            used = set(self.chain).union(*(c for _, c in self.branches.values()))
            return [name for name in sorted(self.devices) if name not in used][:n]
        self.named += n
        return [f"{self.named - i}.{self.format}" for i in range(n)]

    def path(self, name):
        if self.devices:
            return f"lv:VHD-{name}:{self.devices[name]}@0+{DEVICE_SIZE}"
        return os.path.join(self.r.mount, name)

    def unlink(self, name):
        """A volume is given to somebody else as it is."""
        if not self.devices:
            os.unlink(self.path(name))
            sync_folder(self.r.mount)

    def tell(self, word, chain=None, sectors=None):
        self.r.mark(word, 0, sectors or self.sectors, ",".join(chain or self.chain))

    def tell_branches(self, word, changed):
        """Chains of the other disks, with `changed` applied to each."""
        for id_, (sectors, chain) in self.branches.items():
            new = changed(chain)
            if new != chain:
                self.r.mark(word, id_, sectors, ",".join(new))
                if word == "disk":
                    self.branches[id_] = (sectors, new)

    # ---- open and closed ----
    def item(self, name):
        return {"path": self.path(name), "format": self.format}

    def finished(self, op, **args):
        answer = self.d.control(op, **args)
        while answer.get("pending"):
            time.sleep(0.002)
            answer = self.d.control("job", **{"of": op, "path": args["path"]}) \
                if op not in ("activate", "deactivate") else self.d.control(op, **args)
        assert answer["ok"], (op, args, answer)

    def attach(self):
        front = {"type": "vhost-user-blk", "path": os.path.join(self.d.folder, "d.vu")}
        self.d.ok("attach", id="d", vdi="d", size=self.sectors * 512, fronts=[front])
        self.open()
        self.v = Vhost(front["path"])

    def open(self):
        self.finished("activate", id="d", parents=[self.item(n) for n in self.chain[1:]],
                      **self.item(self.chain[0]))

    def close(self):
        """After that everything is durable."""
        self.settle()
        self.finished("deactivate", id="d")
        self.r.mark("durable")

    # ---- requests ----
    def place(self):
        while True:
            n = self.random.choice((1, 1, 3, 8, 8, 64, 200))
            at = self.random.randrange(self.sectors - n)
            if self.random.random() < 0.25:
                at = at // 4096 * 4096
            if all(at >= a + m or a >= at + n for _, a, m, _ in self.under_way):
                return at, n

    def write(self):
        at, n = self.place()
        self.number += 1
        if self.random.random() < 0.15:
            self.r.mark("write", self.number, at, n, 0)
            data = at.to_bytes(8, "little") + n.to_bytes(4, "little") + b"\1\0\0\0"
            token = self.v.submit(WRITE_ZEROES, 0, data)
        else:
            self.value += 1
            self.r.mark("write", self.number, at, n, self.value)
            token = self.v.submit(OUT, at, self.value.to_bytes(4, "little") * (128 * n))
        self.under_way.append((self.number, at, n, token))

    def flush(self):
        if self.flushing:
            return
        self.look()
        self.number += 1
        self.r.mark("flush", self.number)
        self.flushing = (self.number, self.v.submit(FLUSH, 0))

    def look(self):
        self.v.poll()
        for w in [w for w in self.under_way if self.v.done[w[3][0]]]:
            assert self.v.mem[w[3][1]] == OK
            self.r.mark("done", w[0])
            self.under_way.remove(w)
        if self.flushing and self.v.done[self.flushing[1][0]]:
            assert self.v.mem[self.flushing[1][1]] == OK
            self.r.mark("flushed", self.flushing[0])
            self.flushing = None

    def some_requests(self, most=12):
        for _ in range(self.random.randrange(most)):
            if len(self.v.free) > 2:
                self.write()
            if self.random.random() < 0.5:
                self.look()
            if self.random.random() < 0.12:
                self.flush()
        self.look()

    def settle(self):
        tokens = [w[3] for w in self.under_way]
        self.v.wait(tokens + ([self.flushing[1]] if self.flushing else []))
        self.look()
        assert not self.under_way and not self.flushing

    # ---- trees ----
    def snapshot(self):
        """The leaf becomes a base; now and then a second child of it is a disk of its own."""
        names = self.new_names(2)
        if len(self.chain) >= DEPTH_MAX or len(names) < 2:
            return
        self.close()
        base, (child, other) = self.chain[0], names
        self.finished("modify", hidden=True, **self.item(base))
        self.finished("create", path=self.path(child), format=self.format, parent=self.item(base))
        free = [i for i in range(1, BRANCHES_MAX + 1) if i not in self.branches]
        if free and self.random.random() < 0.4:
            self.finished("create", path=self.path(other), format=self.format, parent=self.item(base))
            self.r.mark("copy", free[0], 0)
            self.r.mark("disk", free[0], self.sectors, ",".join([other] + self.chain))
            self.branches[free[0]] = (self.sectors, [other] + self.chain)
        self.chain.insert(0, child)
        self.tell("disk")
        self.open()

    def children(self, name):
        chains = [self.chain] + [c for _, c in self.branches.values()]
        return {c[i - 1] for c in chains for i in range(1, len(c)) if c[i] == name}

    def drop_branch(self):
        if not self.branches:
            return
        id_ = self.random.choice(sorted(self.branches))
        _, chain = self.branches.pop(id_)
        self.r.mark("gone", id_)
        self.unlink(chain[0])

    def merge(self):
        """An image between goes into the one below it, while the leaf is written."""
        between = [i for i in range(1, len(self.chain) - 1)
                   if len(self.children(self.chain[i])) == 1
                   and self.children(self.chain[i + 1]) == {self.chain[i]}]
        if not between:
            return
        i = self.random.choice(between)
        middle, below, above = self.chain[i], self.chain[i + 1], self.chain[i - 1]
        answer = self.d.control("coalesce", parents=[self.item(n) for n in self.chain[i + 1:]],
                                **self.item(middle))
        while answer.get("pending"):
            self.some_requests(6)
            answer = self.d.control("job", of="coalesce", path=self.path(middle))
        assert answer["ok"], answer
        self.close()
        new = [n for n in self.chain if n != middle]
        self.tell("alt", new)
        self.tell_branches("alt", lambda c: [n for n in c if n != middle])
        self.finished("modify", parent=self.item(below), **self.item(above))
        self.chain = new
        self.tell("disk")
        self.tell_branches("disk", lambda c: [n for n in c if n != middle])
        self.unlink(middle)
        self.open()

    def join(self):
        """The leaf goes into the one below it, which takes its name (of a volume lvm2 would change that)."""
        if len(self.chain) < 2 or len(self.children(self.chain[1])) != 1:
            return
        self.close()
        leaf, below = self.chain[:2]
        self.finished("coalesce", parents=[self.item(n) for n in self.chain[1:]], **self.item(leaf))
        self.finished("modify", hidden=False, **self.item(below))
        self.tell("alt", self.chain[1:])
        if self.devices:
            self.chain.remove(leaf)
        else:
            self.tell("alt", [leaf] + self.chain[2:])
            os.rename(self.path(below), self.path(leaf))
            sync_folder(self.r.mount)
            self.chain.remove(below)
        self.tell("disk")
        self.open()

    def grow(self):
        if self.sectors >= SECTORS_MAX:
            return
        self.close()
        self.v.close()
        self.d.ok("detach", id="d")
        more = self.sectors + 2 * MIB // 512
        self.tell("alt", sectors=more)
        self.finished("resize", size=more * 512, **self.item(self.chain[0]))
        self.sectors = more
        self.tell("disk")
        self.attach()

    def reopen(self):
        self.close()
        self.open()

    def run(self, steps):
        acts = [self.snapshot, self.snapshot, self.merge, self.join, self.drop_branch, self.grow]
        if self.devices:  # chains of qcow2 on them nobody makes
            acts = acts[:-1] + [self.reopen] if self.format == "vhd" else [self.reopen]
        for n in range(steps):
            self.some_requests()
            if n % 4 == 3:
                self.random.choice(acts)()
        self.settle()
        self.flush()
        self.settle()


@contextlib.contextmanager
def rubbish(recorder):
    """Paths of block devices over files of the recorder, full of rubbish, by their names."""
    paths = {}
    try:
        for i in range(DEVICES):
            name = f"{DEVICE}{i}"
            image = os.path.join(recorder.mount, name)
            with open(image, "wb") as f:
                f.write(b"\xa5" * DEVICE_SIZE)
                os.fsync(f.fileno())
            paths[name] = subprocess.run(["losetup", "--show", "-f", image], check=True, text=True,
                                         capture_output=True).stdout.strip()
        sync_folder(recorder.mount)
        yield paths
    finally:
        for path in paths.values():
            subprocess.run(["losetup", "-d", path], check=True)


def record(folder, program, steps, seed, fmt="vhd", on_device=False):
    os.makedirs(os.path.join(folder, "run"))
    recorder = Recorder(folder)
    disk_tests.DISKD = program
    try:
        with (rubbish(recorder) if on_device else contextlib.nullcontext()) as devices, \
                Diskd(os.path.join(folder, "run")) as d:
            load = Load(recorder, d, seed, fmt, devices)
            load.run(steps)
            load.v.close()
            load.d.ok("detach", id="d", force=True)
    except BaseException:
        recorder.abandon()
        raise
    recorder.close()
    return recorder.log


def replay(log, cuts, seed):
    return subprocess.run([os.path.join(BUILD, "tests", "power", "power-replay"), log, str(cuts),
                           str(seed)], check=False).returncode


def main():
    p = argparse.ArgumentParser(add_help=True)
    p.add_argument("--cuts", type=int, default=300)
    p.add_argument("--steps", type=int, default=60)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--diskd", default=disk_tests.DISKD)
    p.add_argument("--device", action="store_true")
    p.add_argument("--format", default="vhd", choices=("vhd", "qcow2"))
    p.add_argument("--keep", action="store_true")
    a = p.parse_args()
    folder = tempfile.mkdtemp(prefix="cairn-power-")
    try:
        return replay(record(folder, a.diskd, a.steps, a.seed, a.format, a.device),
                      a.cuts, a.seed)
    finally:
        if not a.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
