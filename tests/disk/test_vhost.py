"""The vhost-user-blk front end, seen from the guest's end of the socket."""
import os
import struct
import tempfile

import pytest

from diskd import nbd_uri, qemu_io, run, vhdcheck, wait_for
from vhost import (AVAIL, BUFFERS, DISCARD, F_DISCARD, F_EVENT_IDX, F_FLUSH, F_LOG_ALL, F_RO, GET_ID, IN,
                   INDIRECT, IOERR, NEXT, OK, OUT, P_INFLIGHT, P_LOG_SHMFD, SLOT, UNSUPP, USED, WRITE,
                   WRITE_ZEROES, Vhost)

MIB = 1 << 20


@pytest.fixture
def guest(diskd):
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"), serial="1234-abc")
    with Vhost(diskd.path("a.vhd.vu")) as v:
        v.diskd = diskd
        yield v


def test_offers(guest):
    assert guest.offered & F_LOG_ALL and guest.offered & F_FLUSH and guest.offered & F_DISCARD
    assert not guest.offered & F_RO
    assert guest.protocol & P_INFLIGHT and guest.protocol & P_LOG_SHMFD
    capacity, _size_max, seg_max = struct.unpack_from("<QII", guest.config())
    assert capacity == 64 * MIB // 512 and seg_max == 126
    assert guest.call_and_wait(GET_ID, 0, size=20) == (OK, b"1234-abc".ljust(20, b"\0"))


def test_written_is_read(guest):
    data = os.urandom(65536)
    assert guest.write(4095, data) == OK
    assert guest.flush() == OK
    assert guest.read(4095, 65536) == (OK, data)
    assert guest.read(4095 + 128, 4096) == (OK, bytes(4096))
    assert guest.read(100, 512) == (OK, bytes(512))


def test_many_at_once(guest):
    tokens = [guest.submit(OUT, i * 5000, bytes([i + 1]) * 4096) for i in range(24)]
    assert guest.wait(tokens) == [OK] * 24
    for i in range(24):
        assert guest.read(i * 5000, 4096) == (OK, bytes([i + 1]) * 4096)


def test_what_is_refused(guest):
    end = 64 * MIB // 512
    assert guest.write(end, b"x" * 512) == IOERR
    assert guest.write(end - 1, b"x" * 1024) == IOERR
    assert guest.write(2**63, b"x" * 512) == IOERR
    assert guest.write(0, b"x" * 100) == IOERR
    assert guest.call_and_wait(99, 0, b"x" * 512)[0] == UNSUPP
    assert guest.ranges(DISCARD, (end - 1, 2, 0)) == IOERR
    assert guest.ranges(DISCARD, (0, 8, 4)) == UNSUPP
    assert guest.write(0, b"y" * 512) == OK
    errors = guest.diskd.stats("a.vhd")["errors"]
    assert errors["write"] == 3 and errors["discard"] == 1


def test_discard_and_zeroes(guest):
    assert guest.write(0, b"x" * 131072) == OK
    assert guest.ranges(DISCARD, (8, 8, 0), (32, 16, 0)) == OK
    assert guest.ranges(WRITE_ZEROES, (64, 8, 1), (80, 8, 0)) == OK
    _, data = guest.read(0, 65536)
    zero = {s for s in range(128) if not any(data[s * 512:s * 512 + 512])}
    assert zero == {*range(8, 16), *range(32, 48), *range(64, 72), *range(80, 88)}


def test_chain_cut_anywhere(guest):
    """Header over three descriptors, data glued to the status."""
    at = BUFFERS
    struct.pack_into("<IIQ", guest.mem, at, IN, 0, 0)
    guest.write(0, b"q" * 512)
    struct.pack_into("<IIQ", guest.mem, at, IN, 0, 0)
    for i, (offset, size, flags) in enumerate(
            [(0, 3, NEXT), (3, 12, NEXT), (15, 1, NEXT), (100, 513, WRITE)]):
        guest.put_desc(i, at + offset, size, flags, i + 1)
    guest.done[0] = None
    guest.offer(0)
    wait_for(lambda: guest.poll() or guest.done[0])
    assert bytes(guest.mem[at + 100:at + 613]) == b"q" * 512 + b"\0"


def test_indirect(guest):
    at, table = BUFFERS, BUFFERS + 0x8000
    struct.pack_into("<IIQ", guest.mem, at, OUT, 0, 16)
    guest.mem[at + 512:at + 1024] = b"i" * 512
    struct.pack_into("<QIHHQIHHQIHH", guest.mem, table, at, 16, NEXT, 1, at + 512, 512, NEXT, 2,
                     at + 1024, 1, WRITE, 0)
    guest.put_desc(0, table, 48, INDIRECT)
    guest.done[0] = None
    guest.offer(0)
    wait_for(lambda: guest.poll() or guest.done[0])
    assert guest.read(16, 512) == (OK, b"i" * 512)


@pytest.mark.parametrize("descriptors", [
    [(BUFFERS, 16, NEXT, 0)],                                  # a circle
    [(BUFFERS, 16, NEXT, 500)],                                # behind the table
    [(1 << 40, 16, NEXT, 1), (BUFFERS, 1, WRITE, 0)],          # outside of memory
    [(BUFFERS, 16, NEXT, 1), (0x1fffff0, 4096, WRITE, 0)],     # over the end of memory
    [(BUFFERS, 1, NEXT | WRITE, 1), (BUFFERS, 16, 0, 0)],      # out behind in
    [(BUFFERS, 24, INDIRECT, 0)],                              # a table and a half
    [(1 << 50, 32, INDIRECT, 0)],
    [(2**64 - 8, 2**32 - 1, NEXT, 1), (BUFFERS, 1, WRITE, 0)],
])
def test_hostile_chains(guest, descriptors):
    for i, d in enumerate(descriptors):
        guest.put_desc(i, *d)
    guest.offer(0)
    wait_for(lambda: "bad-descriptors" in open(guest.diskd.path("diskd.log")).read())
    assert guest.diskd.ok("ping")["pid"] == guest.diskd.process.pid
    guest.close()
    with Vhost(guest.diskd.path("a.vhd.vu")) as again:
        assert again.write(0, b"x" * 512) == OK


@pytest.mark.parametrize("message", [
    struct.pack("<III", 1, 2, 0),                     # version 2
    struct.pack("<III", 5, 1, 1 << 30),               # a payload of a gigabyte
    struct.pack("<IIIQ", 8, 1, 8, 1 << 60),           # ring 0x10000000 …
    struct.pack("<IIIQ", 12, 1, 8, 0),                # a kick without descriptor
    struct.pack("<III", 77, 1, 0),
    struct.pack("<IIIQQ", 6, 1, 16, 1 << 40, 1 << 40),
])
def test_hostile_messages(guest, message):
    guest.sock.send(message)
    with pytest.raises((EOFError, ConnectionError)):
        guest.receive()
    assert guest.diskd.ok("ping")


def test_readonly(diskd):
    diskd.create("r.vhd", "vhd", 4 * MIB)
    diskd.attach("r.vhd", 4 * MIB, ("vu",), readonly=True)
    diskd.activate("r.vhd")
    with Vhost(diskd.path("r.vhd.vu")) as v:
        assert v.offered & F_RO and not v.offered & F_DISCARD
        assert v.write(0, b"x" * 512) == IOERR
        assert v.read(0, 512) == (OK, bytes(512))


def test_requests_wait_for_the_image(diskd):
    """Attached: the device answers, requests stay in the ring. Draining and back again, too."""
    diskd.create("a.vhd", "vhd", 4 * MIB)
    diskd.attach("a.vhd", 4 * MIB, ("vu",))
    with Vhost(diskd.path("a.vhd.vu")) as v:
        assert struct.unpack_from("<Q", v.config())[0] == 4 * MIB // 512
        for value in (b"1", b"2"):
            token = v.submit(OUT, 0, value * 512)
            v.config()
            v.poll()
            assert not v.done[token[0]]
            diskd.activate("a.vhd")
            assert v.wait([token]) == [OK]
            assert v.read(0, 512) == (OK, value * 512)
            diskd.deactivate("a.vhd")
            vhdcheck(diskd.path("a.vhd"))


def test_stop_tells_where(guest):
    for i in range(5):
        assert guest.write(i, b"x" * 512) == OK
    assert guest.stop() == 5


def test_writethrough(guest):
    before = guest.diskd.stats("a.vhd")["flush"]["ops"]
    guest.tell(25, struct.pack("<III", 32, 1, 0) + b"\0")
    assert guest.config()[32] == 0
    assert guest.write(0, b"x" * 512) == OK
    assert guest.diskd.stats("a.vhd")["flush"]["ops"] == before


def test_death_between_requests(guest):
    """kill -9 with requests in flight, again and again: each is answered once, none is lost."""
    d, memory, inflight = guest.diskd, guest.memfd, guest.inflight
    for round_ in range(4):
        tokens = [guest.submit(OUT, (round_ * 24 + i) * 1024, bytes([round_ * 24 + i + 1]) * 65536)
                  for i in range(24)]
        if round_ % 2:
            wait_for(lambda g=guest: g.used_idx() != g.seen)
        d.kill()
        guest.poll()
        seen, free, done = guest.seen, guest.free, guest.done
        d.restart()
        guest.close()
        guest = Vhost(d.path("a.vhd.vu"), memory=memory, inflight=inflight)
        guest.seen, guest.free, guest.done = seen, free, done
        assert guest.wait(tokens) == [OK] * 24
        guest.diskd = d
    for i in range(96):
        assert guest.read(i * 1024, 65536) == (OK, bytes([i + 1]) * 65536)
    guest.close()
    d.deactivate("a.vhd")
    vhdcheck(d.path("a.vhd"))


def test_dirty_log(guest):
    """Every page that the device changes is marked: data, status, used ring."""
    guest.write(0, b"d" * 8192)
    guest.start_log()
    guest.mem[BUFFERS:] = bytes(len(guest.mem) - BUFFERS)
    before = bytes(guest.mem)
    token = guest.submit(IN, 0, size=8192)
    assert guest.wait([token]) == [OK]
    after = bytes(guest.mem)
    mine = {0, AVAIL // 4096, token[2] // 4096}
    changed = {i // 4096 for i in range(0, len(after), 4096)
               if after[i:i + 4096] != before[i:i + 4096]} - mine
    marked = guest.dirty()
    assert len(changed) >= 3 and changed <= marked
    assert USED // 4096 in marked and token[2] // 4096 in marked and len(marked) < 8
    guest.write(0, b"e" * 4096)
    assert guest.dirty() == {USED // 4096, (BUFFERS + token[0] // 4 * SLOT + 16 + 4096) // 4096}


def test_without_event_idx(diskd):
    diskd.disk("a.vhd", "vhd", 4 * MIB, ("vu",))
    with Vhost(diskd.path("a.vhd.vu"), start=False) as v:
        v.features &= ~F_EVENT_IDX
        v.start()
        assert [v.write(i, b"x" * 512) for i in range(300)] == [OK] * 300


def test_image_is_what_was_written(guest):
    guest.write(2 * MIB // 512, b"z" * 65536)
    guest.flush()
    qemu_io(nbd_uri(guest.diskd, "a.vhd"), "read -P 0x7a 2M 64k", "read -P 0 0 2M")
    guest.diskd.deactivate("a.vhd")
    vhdcheck(guest.diskd.path("a.vhd"))
    qemu_io(guest.diskd.path("a.vhd"), "read -P 0x7a 2M 64k", fmt="vpc")
    run("qemu-img", "info", guest.diskd.path("a.vhd"))


def endless(sectors):
    """A disk on which sector n, read over the avail ring, offers the read of sector n + 1."""
    image = bytearray()
    for n in range(sectors):
        image += struct.pack("<HH268xIIQ224x", 0, (n + 2) % 65536, IN, 0, (n + 1) % sectors)
    return image


def test_a_guest_that_never_ends(diskd):
    """Requests that are answered at once and offered again as quickly: others have their turn."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as image:
        image.write(endless(65536))
        image.flush()
        diskd.attach("a", 32 * MIB, ("vu",))
        assert diskd.ok("activate", id="a", path=image.name, format="raw")
        diskd.disk("b.vhd", "vhd", 64 * MIB, ("vu",))
        with Vhost(diskd.path("a.vu")) as busy, Vhost(diskd.path("b.vhd.vu")) as other:
            busy.put_desc(0, AVAIL + 272, 16, NEXT, 1)
            busy.put_desc(1, AVAIL, 512, NEXT | WRITE, 2)
            busy.put_desc(2, BUFFERS, 1, WRITE)
            busy.offer(0)
            wait_for(lambda: diskd.stats("a")["read"]["ops"] > 1000)
            assert other.write(7, b"b" * 512) == OK
            assert other.read(7, 512) == (OK, b"b" * 512)
            before = diskd.stats("a")["read"]["ops"]
            wait_for(lambda: diskd.stats("a")["read"]["ops"] > before)
        diskd.ok("deactivate", id="a")
        assert diskd.ok("ping") is not None
