"""Volumes that grow under their disk: room is asked for in time, and who comes too late waits."""
import os
import struct
import subprocess

import pytest

from diskd import vhdcheck, wait_for
from vhost import DISCARD, IN, OK, OUT, Vhost

MIB = 1 << 20
SIZE = 64 * MIB
FIRST = 16 * MIB
LOW = 8 * MIB
PIECE = 64 << 10
NAME = "leaf"
RUBBISH = b"\xa5"


class Device:
    """A block device that can become larger, full of what others have left there."""

    def __init__(self, diskd):
        self.file = diskd.path("volume")
        with open(self.file, "wb") as f:
            f.write(RUBBISH * FIRST)
        self.path = subprocess.run(["losetup", "--show", "-f", self.file], check=True, text=True,
                                   capture_output=True).stdout.strip()

    def enlarge(self, by):
        with open(self.file, "ab") as f:
            f.write(RUBBISH * by)
        subprocess.run(["losetup", "-c", self.path], check=True)

    def put(self, image):
        with open(self.file, "r+b") as f:
            f.write(image)

    def get(self):
        with open(self.file, "rb") as f:
            return f.read()

    def taken(self):
        return os.stat(self.file).st_blocks * 512

    def close(self):
        subprocess.run(["losetup", "-d", self.path], check=True)


class Extents:
    """A logical volume: pieces of 2 MiB that lie apart, one that becomes longer, then a second device."""
    STEP, LONG, SECOND = 2 * MIB, FIRST - 4 * MIB, FIRST + 4 * MIB

    def __init__(self, diskd):
        self.files = [diskd.path("dev0"), diskd.path("dev1")]
        for path in self.files:
            with open(path, "wb") as f:
                f.truncate(2 * SIZE)
        self.size = FIRST

    def extents(self):
        """Device, place, and the range of the volume."""
        pieces = [(0, at, at + self.STEP) for at in range(0, self.LONG, self.STEP)]
        pieces += [(0, self.LONG, min(self.size, self.SECOND))]
        pieces += [(1, at, at + self.STEP) for at in range(self.SECOND, self.size, self.STEP)]
        return [(self.files[d], MIB + at // 2 * 3, at, end) for d, at, end in pieces]

    @property
    def path(self):
        return "lv:v:" + ",".join(f"{f}@{place}+{end - at}" for f, place, at, end in self.extents())

    def enlarge(self, by):
        self.size += by

    def put(self, image):
        for file, place, at, end in self.extents():
            with open(file, "r+b") as f:
                f.seek(place)
                f.write(image[at:end])

    def get(self):
        content = b""
        for file, place, at, end in self.extents():
            with open(file, "rb") as f:
                f.seek(place)
                content += f.read(end - at)
        return content

    def taken(self):
        return sum(os.stat(path).st_blocks * 512 for path in self.files)

    def close(self):
        pass


class Volume:
    def __init__(self, diskd, kind):
        self.diskd = diskd
        diskd.create("new.vhd", "vhd", SIZE)
        with open(diskd.path("new.vhd"), "rb") as f:
            image = f.read()
        self.on = kind(diskd)
        self.on.put(image[:-512])

    @property
    def path(self):
        return self.on.path

    def enlarge(self, by):
        self.on.enlarge(by)
        if NAME in self.diskd.activated:
            self.diskd.activated[NAME]["path"] = self.path

    def grow(self, by):
        self.enlarge(by)
        return self.diskd.ok("grow", id=NAME, path=self.path)["room"]

    def attach(self, low=LOW):
        self.diskd.attach(NAME, SIZE, ("vu",), parks=True)
        self.diskd.activated[NAME] = dict(id=NAME, path=self.path, format="vhd", low_water=low)
        self.diskd.activated_again(NAME)

    def close(self):
        d = self.diskd
        if d.process.poll() is None and NAME in d.activated:
            d.control("deactivate", id=NAME)
            wait_for(lambda: stats(d)["state"] == "attached")
        self.on.close()


@pytest.fixture(params=[Device, Extents])
def volume(diskd, request):
    v = Volume(diskd, request.param)
    v.attach()
    yield v
    v.close()


def stats(diskd):
    return diskd.stats(NAME)


def wants(diskd):
    return stats(diskd)["room"]["wants"]


def data(i):
    return bytes([i % 251 + 1]) * PIECE


def write(v, first, n):
    return [v.submit(OUT, i * PIECE // 512, data(i)) for i in range(first, first + n)]


def until_parked(v, diskd):
    """Writes until requests wait; returns how many were answered, and those that were not."""
    done = 0
    while True:
        tokens = write(v, done, 16)
        wait_for(lambda: v.poll() or all(v.done[t[0]] for t in tokens) or stats(diskd)["parked"])
        if stats(diskd)["parked"]:
            v.poll()
            return done, tokens
        assert v.wait(tokens) == [OK] * 16
        done += 16
        assert done * PIECE < FIRST, "there is room without end"


def check(v, n):
    for first in range(0, n, 16):
        tokens = [v.submit(IN, i * PIECE // 512, size=PIECE) for i in range(first, first + 16)]
        assert v.wait(tokens) == [OK] * 16
        for i, t in enumerate(tokens, first):
            assert bytes(v.mem[t[2]:t[2] + PIECE]) == data(i), i


def whole(diskd, volume):
    """The closed volume, as a reader that goes by the footer at its end sees it."""
    diskd.deactivate(NAME)
    content = volume.on.get()
    assert content[-512:-504] == b"conectix"
    image = diskd.path("image.vhd")
    with open(image, "wb") as f:
        f.write(content)
    vhdcheck(image, "--foreign")  # what the bitmap denies is rubbish still


def test_asked_in_time_nobody_waits(diskd, volume):
    with Vhost(diskd.path(NAME + ".vu")) as v:
        done = grown = 0
        while done * PIECE < SIZE:
            assert v.wait(write(v, done, 16)) == [OK] * 16
            done += 16
            if wants(diskd):
                [disk] = diskd.ok("wants")["disks"]
                assert disk["id"] == NAME and disk["wants"] and disk["low"] == LOW
                assert disk["size"] - disk["used"] < LOW
                room = volume.grow(LOW)
                assert room["size"] == disk["size"] + LOW and not room["wants"]
                grown += 1
        assert grown > 3 and not wants(diskd)  # the image can ask for no more
        assert stats(diskd)["errors"]["write"] == 0 and not stats(diskd)["parked"]
        check(v, done)
    whole(diskd, volume)
    volume.attach()
    with Vhost(diskd.path(NAME + ".vu")) as v:
        check(v, done)


def test_who_waits_for_the_question_is_told(diskd, volume):
    asked = diskd.control("wants")
    assert asked["ok"] and asked["pending"]
    with Vhost(diskd.path(NAME + ".vu")) as v:
        diskd.control.send(op="wants", seq=1)
        done = 0
        tokens = write(v, 0, 1)
        while not v.wait(tokens) == [OK] or done * PIECE < FIRST - LOW:
            done += 2 * MIB // PIECE
            tokens = write(v, done, 1)
        answer = diskd.control.receive()
        assert answer["seq"] == 1
        if answer.get("pending"):  # on a machine that took more than a second for it
            answer = diskd.control("wants")
        assert [d["id"] for d in answer["result"]["disks"]] == [NAME]


def test_too_late_they_wait_and_go_on(diskd, volume):
    with Vhost(diskd.path(NAME + ".vu")) as v:
        done, tokens = until_parked(v, diskd)
        assert stats(diskd)["parked"]["code"] == "ENOSPC" and wants(diskd)
        check(v, done)
        assert v.flush() == OK
        diskd.ok("grow", id=NAME, path=volume.path)  # it has grown by nothing
        wait_for(lambda: stats(diskd)["parked"])
        volume.grow(16 * MIB)
        assert v.wait(tokens) == [OK] * 16
        assert not stats(diskd)["parked"] and stats(diskd)["errors"]["write"] == 0
        check(v, done + 16)
    whole(diskd, volume)


def test_a_guest_pauses_while_they_wait(diskd, volume):
    with Vhost(diskd.path(NAME + ".vu")) as v:
        done, tokens = until_parked(v, diskd)
        v.stop()
        v.poll()
        free, answered, seen, avail = v.free, v.done, v.seen, v.avail_idx
        volume.grow(16 * MIB)
        v.start()
        v.free, v.done, v.seen, v.avail_idx = free, answered, seen, avail
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)


@pytest.mark.parametrize("grows", ["while it is dead", "afterwards"])
def test_killed_while_they_wait(diskd, volume, grows):
    v = Vhost(diskd.path(NAME + ".vu"))
    done, tokens = until_parked(v, diskd)
    diskd.kill()
    v.poll()
    seen, free, answered = v.seen, v.free, v.done
    if grows == "while it is dead":
        volume.enlarge(16 * MIB)
    diskd.restart()
    v.close()
    with Vhost(diskd.path(NAME + ".vu"), memory=v.memfd, inflight=v.inflight) as v:
        v.seen, v.free, v.done = seen, free, answered
        if grows == "afterwards":
            wait_for(lambda: stats(diskd)["parked"])
            volume.grow(16 * MIB)
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)
    whole(diskd, volume)


def test_killed_when_it_has_grown(diskd, volume):
    """The footer is nowhere near the end then; the copy at the start counts."""
    with Vhost(diskd.path(NAME + ".vu")) as v:
        done, tokens = until_parked(v, diskd)
        volume.grow(16 * MIB)
        assert v.wait(tokens) == [OK] * 16
        diskd.kill()
    assert volume.on.get()[-512:-504] != b"conectix"
    diskd.restart()
    with Vhost(diskd.path(NAME + ".vu")) as v:
        check(v, done + 16)
    whole(diskd, volume)


def test_closed_and_enlarged_while_they_wait(diskd, volume):
    with Vhost(diskd.path(NAME + ".vu")) as v:
        done, tokens = until_parked(v, diskd)
        diskd.ok("deactivate", id=NAME)
        assert diskd.fails("grow", "EBUSY", id=NAME, path=volume.path)
        volume.enlarge(16 * MIB)
        diskd.activated_again(NAME)
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)


def test_what_is_discarded_goes_to_the_devices(diskd, volume):
    """The volume keeps its size; what is below it gets its space back."""
    with Vhost(diskd.path(NAME + ".vu")) as v:
        assert v.wait(write(v, 0, 16)) == [OK] * 16
        assert v.wait(write(v, 64, 16)) == [OK] * 16
        assert v.flush() == OK
        before = volume.on.taken()
        assert v.wait([v.submit(DISCARD, 0, struct.pack("<QII", 0, MIB // 512, 0))]) == [OK]
        assert v.flush() == OK
        assert volume.on.taken() <= before - MIB // 2
        assert v.read(0, PIECE) == (OK, bytes(PIECE))
        assert v.read(MIB * 4 // 512, PIECE) == (OK, data(64))


def test_what_cannot_grow_is_refused(diskd, volume):
    diskd.fails("grow", "ENOENT", id="other", path=volume.path)
    diskd.fails("grow", "EINVAL", id=NAME, path="/elsewhere")
    if isinstance(volume.on, Extents):
        name, first, *rest = volume.path.replace(",", ":").split(":")[1:]
        other = f"lv:{name}:" + ",".join([*rest, first, first])
        diskd.fails("grow", "EINVAL", id=NAME, path=other)  # larger, but its bytes are elsewhere
        assert stats(diskd)["room"]["size"] == FIRST
    diskd.disk("file.vhd", "vhd", SIZE, ("vu",))
    diskd.fails("grow", "EOPNOTSUPP", id="file.vhd", path=diskd.path("file.vhd"))
    assert diskd.stats("file.vhd")["room"] is None
    diskd.deactivate("file.vhd")
    diskd.fails("activate", "EINVAL", id="file.vhd", path=diskd.path("file.vhd"), format="vhd",
                low_water=512)
