"""A repository without room: requests wait, nobody is told of errors, everything else goes on."""
import os
import struct
import subprocess

import pytest

from diskd import nbd_uri, qemu_io, vhdcheck, wait_for
from vhost import IN, IOERR, OK, OUT, SIZE, UVA, Vhost

MIB = 1 << 20
ROOM = 12 * MIB
PIECE = 64 << 10


class Small:
    """A disk of 64 MiB in a file system of 12 MiB, of which something else holds the larger part."""

    def __init__(self, diskd, kind):
        self.diskd, self.folder = diskd, diskd.path("small")
        os.makedirs(self.folder)
        if kind == "tmpfs":
            argv = ["-t", "tmpfs", "-o", f"size={ROOM}", "small"]
        else:
            image = diskd.path("small.img")
            subprocess.run(["truncate", "-s", str(ROOM), image], check=True)
            subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=True)
            argv = ["-o", "loop", image]
        subprocess.run(["mount", *argv, self.folder], check=True)
        self.rest = os.path.join(self.folder, "rest")
        with open(self.rest, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, ROOM - 6 * MIB)

    def make_room(self):
        os.unlink(self.rest)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


@pytest.fixture(params=["tmpfs", "ext4"])
def small(diskd, request):
    s = Small(diskd, request.param)
    diskd.disk("small/a.vhd", "vhd", 64 * MIB, ("nbd", "vu"), parks=True)
    yield s
    if diskd.process.poll() is None and diskd.activated:
        diskd.control("deactivate", id="small/a.vhd")  # may say that there is no room
        diskd.activated.clear()
        wait_for(lambda: stats(diskd)["state"] == "attached")
    s.close()


def stats(diskd):
    return diskd.stats("small/a.vhd")


def sector(i):
    return i * PIECE // 512


def data(i):
    return bytes([i % 251 + 1]) * PIECE


def fill(v, diskd):
    """Writes until requests are parked; returns those that were answered, and the others."""
    done = 0
    while True:
        tokens = [v.submit(OUT, sector(done + i), data(done + i)) for i in range(16)]
        wait_for(lambda: v.poll() or all(v.done[t[0]] for t in tokens) or stats(diskd)["parked"])
        if stats(diskd)["parked"]:
            v.poll()
            return done, tokens
        assert v.wait(tokens) == [OK] * 16
        done += 16
        assert done * PIECE < ROOM, "there is room without end"


def check(v, n):
    for first in range(0, n, 16):
        tokens = [v.submit(IN, sector(i), size=PIECE) for i in range(first, min(n, first + 16))]
        assert v.wait(tokens) == [OK] * len(tokens)
        for i, t in enumerate(tokens, first):
            assert bytes(v.mem[t[2]:t[2] + PIECE]) == data(i), i


def test_writes_wait_and_go_on(diskd, small):
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        done, tokens = fill(v, diskd)
        what = diskd.ok("query", id="small/a.vhd")["disks"][0]
        assert what["parked"]["code"] == "ENOSPC" and what["parked"]["requests"] >= 1
        assert what["state"] == "active"
        check(v, done)
        assert v.flush() == OK
        small.make_room()
        assert v.wait(tokens) == [OK] * 16
        assert not stats(diskd)["parked"] and stats(diskd)["errors"]["write"] == 0
        check(v, done + 16)
    diskd.deactivate("small/a.vhd")
    vhdcheck(diskd.path("small/a.vhd"))


def test_a_ring_stops_and_starts_while_they_wait(diskd, small):
    """What a guest's pause does: the stop is answered, and the start takes up what was in flight."""
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        done, tokens = fill(v, diskd)
        for _ in range(3):
            v.stop()
            v.poll()
            assert not stats(diskd)["parked"]
            free, answered, seen, avail = v.free, v.done, v.seen, v.avail_idx
            v.start()
            v.free, v.done, v.seen, v.avail_idx = free, answered, seen, avail
            wait_for(lambda: stats(diskd)["parked"])
        small.make_room()
        diskd.ok("retry")
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)


def test_memory_is_told_anew_while_they_wait(diskd, small):
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        done, tokens = fill(v, diskd)
        v.tell(5, struct.pack("<IIQQQQ", 1, 0, 0, SIZE, UVA, 0), [v.memfd])
        wait_for(lambda: stats(diskd)["parked"])
        small.make_room()
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)


def test_killed_while_they_wait(diskd, small):
    v = Vhost(diskd.path("small/a.vhd.vu"))
    done, tokens = fill(v, diskd)
    diskd.kill()
    v.poll()
    seen, free, answered = v.seen, v.free, v.done
    diskd.restart()
    v.close()
    with Vhost(diskd.path("small/a.vhd.vu"), memory=v.memfd, inflight=v.inflight) as v:
        v.seen, v.free, v.done = seen, free, answered
        wait_for(lambda: stats(diskd)["parked"])
        small.make_room()
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)
    diskd.deactivate("small/a.vhd")
    vhdcheck(diskd.path("small/a.vhd"))


def test_opened_without_room_for_a_footer(diskd, small):
    """As after a death before it was written: the image is good by the copy at its beginning."""
    image = diskd.path("small/a.vhd")
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        assert v.wait([v.submit(OUT, 0, data(0))]) == [OK]
        diskd.control("deactivate", id="small/a.vhd")
        wait_for(lambda: stats(diskd)["state"] == "attached")
        os.truncate(image, os.stat(image).st_size - 512)
        with pytest.raises(OSError, match="No space"), open(os.path.join(small.folder, "more"), "wb", 0) as f:
            while f.write(bytes(4096)):
                pass
        diskd.activated_again("small/a.vhd")
        check(v, 1)
        assert v.wait([v.submit(OUT, 0, data(0))]) == [OK] and v.flush() == OK
        tokens = [v.submit(OUT, at, data(1)) for at in (sector(1), 4 * MIB // 512)]
        wait_for(lambda: stats(diskd)["parked"])
        small.make_room()
        assert v.wait(tokens) == [OK] * 2
        check(v, 2)
    diskd.deactivate("small/a.vhd")
    vhdcheck(image)


def test_closed_and_opened_while_they_wait(diskd, small):
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        done, tokens = fill(v, diskd)
        diskd.control("deactivate", id="small/a.vhd")
        wait_for(lambda: stats(diskd)["state"] == "attached")
        small.make_room()
        diskd.activated_again("small/a.vhd")
        assert v.wait(tokens) == [OK] * 16
        check(v, done + 16)


def test_the_client_leaves_and_another_comes(diskd, small):
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        done, _ = fill(v, diskd)
    wait_for(lambda: not stats(diskd)["parked"])
    with Vhost(diskd.path("small/a.vhd.vu")) as v:
        check(v, done)
        small.make_room()
        assert v.write(sector(done), data(done)) == OK
    argv = ["qemu-io", "-f", "raw", "-c", "write -P 7 32M 16M", nbd_uri(diskd, "small/a.vhd")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as p:
        wait_for(lambda: stats(diskd)["parked"])
        p.kill()
    wait_for(lambda: not stats(diskd)["parked"])


def test_who_halts_is_told_that_there_is_no_room_and_asks_again(diskd):
    """What QEMU is told of an emulated disk: it stops its guest then."""
    s = Small(diskd, "tmpfs")
    try:
        uri = diskd.disk("small/c.vhd", "vhd", 64 * MIB, ("nbd",), halts=True)
        argv = ["qemu-io", "-f", "raw", "-c", "write -P 7 0 32M", uri]
        p = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert "No space left on device" in p.stdout + p.stderr
        assert diskd.stats("small/c.vhd")["parked"]["code"] == "ENOSPC"
        qemu_io(uri, "read -P 7 0 64k", "write -P 7 0 64k")
        assert diskd.stats("small/c.vhd")["parked"]  # nobody has asked again for what was refused
        s.make_room()
        diskd.ok("retry", id="small/c.vhd")
        assert diskd.stats("small/c.vhd")["parked"]
        qemu_io(uri, "read -P 7 0 64k")
        assert diskd.stats("small/c.vhd")["parked"]
        qemu_io(uri, "write -P 8 0 8M", "flush", "read -P 8 0 8M")
        assert diskd.stats("small/c.vhd")["parked"] is None
        diskd.deactivate("small/c.vhd")
    finally:
        s.close()


def test_who_does_not_ask_for_it_is_told(diskd):
    s = Small(diskd, "tmpfs")
    try:
        diskd.disk("small/b.vhd", "vhd", 64 * MIB, ("vu",))
        with Vhost(diskd.path("small/b.vhd.vu")) as v:
            answers = []
            for first in range(0, 160, 16):
                tokens = [v.submit(OUT, sector(i), data(i)) for i in range(first, first + 16)]
                answers += v.wait(tokens)
            assert IOERR in answers and diskd.stats("small/b.vhd")["parked"] is None
            assert v.call_and_wait(IN, 0, size=PIECE) == (OK, data(0))
        diskd.control("deactivate", id="small/b.vhd")
        diskd.activated.clear()
        wait_for(lambda: diskd.stats("small/b.vhd")["state"] == "attached")
    finally:
        s.close()
