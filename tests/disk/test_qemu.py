"""A real QEMU on vhost-user-blk: its guest writes while diskd dies, drains and moves."""
import re
import struct

from diskd import nbd_uri, qemu_io, run, vhdcheck, wait_for
from guest import Guest, install

MIB = 1 << 20


def check_content(path, rounds):
    """Round n wrote n+1 into the 4 KiB at sector 2048 + n * 8; the last one may be on its way."""
    run("qemu-img", "convert", "-f", "vpc", "-O", "raw", path, path + ".raw")
    with open(path + ".raw", "rb") as f:
        f.seek(2048 * 512)
        for n in range(min(rounds, 4096)):
            data = f.read(4096)
            assert data == struct.pack("<I", n + 1) * 1024, f"round {n}"


def test_diskd_dies_under_a_writing_guest(diskd):
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"))
    install(diskd, "a.vhd")
    with Guest(diskd, "a.vhd") as g:
        g.rounds(50)
        for _ in range(3):
            diskd.kill()
            diskd.restart()
            g.rounds(50)
        g.qmp("stop")
        rounds = g.output().count(".")
    diskd.deactivate("a.vhd")
    vhdcheck(diskd.path("a.vhd"))
    check_content(diskd.path("a.vhd"), rounds)


def test_image_is_taken_away_and_given_back(diskd):
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"))
    install(diskd, "a.vhd")
    with Guest(diskd, "a.vhd") as g:
        g.rounds(20)
        for _ in range(3):
            diskd.deactivate("a.vhd")
            vhdcheck(diskd.path("a.vhd"))
            before = g.output().count(".")
            diskd.ok("ping")
            assert g.output().count(".") - before <= 1
            diskd.activate("a.vhd")
            g.rounds(20)


def capacity(guest):
    """Of the virtio device, in bytes, as the guest would read it: from its configuration in BAR 4."""
    def monitor(line):
        return guest.qmp("human-monitor-command", **{"command-line": line})
    base = re.search(r"1af4:10(?:01|42).*?BAR4: 64 bit prefetchable memory at (0x[0-9a-f]+)", monitor("info pci"), re.S)
    return int(monitor(f"xp /1gx {int(base.group(1), 16) + 0x2000:#x}").split(":")[1], 16) * 512


def test_a_guest_is_told_that_its_disk_has_grown(diskd):
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"))
    install(diskd, "a.vhd")
    with Guest(diskd, "a.vhd") as g:
        g.rounds(20)
        assert capacity(g) == 64 * MIB
        assert diskd.control("size", id="a.vhd", size=96 * MIB)["error"]["code"] == "EBUSY"
        diskd.deactivate("a.vhd")
        diskd.ok("resize", path=diskd.path("a.vhd"), format="vhd", size=96 * MIB)
        assert diskd.control("size", id="a.vhd", size=5)["error"]["code"] == "EINVAL"
        diskd.ok("size", id="a.vhd", size=96 * MIB)
        diskd.activate("a.vhd")
        wait_for(lambda: capacity(g) == 96 * MIB)
        g.rounds(20)
        diskd.attached["a.vhd"]["size"] = 96 * MIB
        diskd.kill()
        diskd.restart()
        g.rounds(20)
        assert capacity(g) == 96 * MIB
    vhdcheck(diskd.path("a.vhd"))


def test_counters_see_the_guest(diskd):
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"))
    install(diskd, "a.vhd")
    with Guest(diskd, "a.vhd") as g:
        before = diskd.stats("a.vhd")
        g.rounds(20)
    after = diskd.stats("a.vhd")
    writes = after["write"]["ops"] - before["write"]["ops"]
    assert writes >= 20 and after["write"]["bytes"] - before["write"]["bytes"] == writes * 4096
    assert after["write"]["us"] > before["write"]["us"] and not any(after["errors"].values())


def test_moving_a_writing_guest(diskd):
    """To a second QEMU over a socket: it goes on where the first one stopped, nothing is lost."""
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"))
    diskd.attach("b.vhd", 64 * MIB, ("vu",))
    install(diskd, "a.vhd")
    uri = "unix:" + diskd.path("move")
    with Guest(diskd, "a.vhd") as g:
        g.rounds(50)
        with Guest(diskd, "b.vhd", "two", incoming=uri) as h:
            g.qmp("migrate-set-parameters", **{"max-bandwidth": 4 * MIB})
            g.qmp("migrate", uri=uri)
            wait_for(g.migrated, 60)
            assert g.status() == "postmigrate"
            rounds = g.output().count(".")
            diskd.deactivate("a.vhd")
            diskd.activated["b.vhd"] = dict(id="b.vhd", path=diskd.path("a.vhd"), format="vhd")
            diskd.activated_again("b.vhd")
            h.rounds(100)
            after = h.output().count(".")
            h.qmp("stop")
    diskd.deactivate("b.vhd")
    vhdcheck(diskd.path("a.vhd"))
    check_content(diskd.path("a.vhd"), rounds + after - 1)


def test_moved_memory_is_the_same(diskd):
    """Both QEMUs stand still after a slow migration of a reading and writing guest: every page of
    RAM must agree, also those that only the device wrote while the rest was on its way."""
    diskd.disk("a.vhd", "vhd", 64 * MIB, ("nbd", "vu"))
    diskd.attach("b.vhd", 64 * MIB, ("vu",))
    install(diskd, "a.vhd")
    uri = "unix:" + diskd.path("move")
    with Guest(diskd, "a.vhd") as g:
        g.rounds(50)
        with Guest(diskd, "b.vhd", "two", incoming=uri, paused=True) as h:
            g.qmp("migrate-set-parameters", **{"max-bandwidth": MIB // 2})
            g.qmp("migrate", uri=uri)
            g.rounds(100)
            assert not g.migrated()
            g.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
            wait_for(g.migrated, 60)
            wait_for(lambda: h.status() != "inmigrate")
            one, two = open(g.memory, "rb").read(), open(h.memory, "rb").read()
    different = [hex(i) for i in range(0, 32 * MIB, 4096) if one[i:i + 4096] != two[i:i + 4096]]
    assert different == [] and any(one[0x10000:0x50000])
    qemu_io(nbd_uri(diskd, "a.vhd"), "read 0 512")
