"""The NBD front end with the clients that exist: qemu-io, nbdinfo, nbdcopy, qemu-img."""
import json
import os
import random
import socket
import struct
import subprocess

import pytest

from diskd import nbd_uri, qemu_io, run, vhdcheck, wait_for

MIB = 1 << 20


@pytest.mark.parametrize("fmt", ["vhd", "vhd-fixed", "raw"])
def test_patterns(diskd, fmt):
    uri = diskd.disk("a", fmt, 16 * MIB)
    qemu_io(uri, "write -P 1 0 3M", "write -P 2 1M 512", "write -P 3 2093056 8k", "flush",
            "read -P 2 1M 512", "read -P 3 2093056 8k", "read -P 1 0 1M", "read -P 0 4M 12M",
            "discard 64k 64k", "write -z 256k 128k", "write -zu 512k 1536",
            "read -P 0 64k 64k", "read -P 0 256k 128k", "read -P 0 512k 1536",
            "write -f -P 9 15M 1M", "read -P 9 15M 1M", "aio_flush")
    diskd.deactivate("a")
    if fmt != "raw":
        vhdcheck(diskd.path("a"))
    qemu_io(diskd.path("a"), "read -P 1 0 64k", "read -P 0 64k 64k", "read -P 9 15M 1M",
            fmt="raw" if fmt == "raw" else "vpc")


def test_random_writes_compare(diskd, tmp_path):
    """The same random writes to a VHD through diskd and to a plain file."""
    rng = random.Random(5)
    uri = diskd.disk("a.vhd", "vhd", 32 * MIB)
    plain = str(tmp_path / "plain")
    run("truncate", "-s", str(32 * MIB), plain)
    commands = []
    for i in range(300):
        at, size = rng.randrange(0, 63 * 1024) * 512, rng.choice([512, 4096, 20480, 262144])
        kind = rng.choice(["write -P %d" % (i % 250 + 1)] * 4 + ["write -z", "write -zu"])
        commands.append(f"{kind} {at} {size}")
    qemu_io(uri, *commands, "flush")
    qemu_io(plain, *commands)
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, plain)
    diskd.deactivate("a.vhd")
    vhdcheck(diskd.path("a.vhd"))
    run("qemu-img", "compare", "-f", "vpc", "-F", "raw", diskd.path("a.vhd"), plain)


@pytest.mark.parametrize("fmt", ["vhd", "vhd-fixed"])
def test_content_by_another_reader(diskd, tmp_path, fmt):
    """libvhdi, over FUSE, byte by byte."""
    uri = diskd.disk("a.vhd", fmt, 12 * MIB)
    plain, there = str(tmp_path / "plain"), tmp_path / "there"
    with open(plain, "wb") as f:
        f.write(os.urandom(3 * MIB) + bytes(5 * MIB) + os.urandom(MIB) + bytes(3 * MIB))
    run("nbdcopy", "--flush", plain, uri)
    diskd.deactivate("a.vhd")
    there.mkdir()
    run("vhdimount", diskd.path("a.vhd"), str(there))
    try:
        run("cmp", plain, str(there / "vhdi1"))
    finally:
        run("umount", "-l", str(there))


def test_map_and_info(diskd):
    uri = diskd.disk("a.vhd", "vhd", 16 * MIB)
    qemu_io(uri, "write -P 1 2M 2M", "write -P 1 12M 64k")
    extents = json.loads(run("nbdinfo", "--map", "--json", uri).stdout)
    assert [(e["offset"], e["length"], e["type"]) for e in extents] == [
        (0, 2 * MIB, 3), (2 * MIB, 2 * MIB, 0), (4 * MIB, 8 * MIB, 3), (12 * MIB, 65536, 0),
        (12 * MIB + 65536, 4 * MIB - 65536, 3)]
    info = json.loads(run("nbdinfo", "--no-content", "--json", uri).stdout)["exports"][0]
    assert info["export-size"] == 16 * MIB and info["can_flush"] and info["can_trim"]
    assert info["can_zero"] and info["can_multi_conn"] and info["block_size_minimum"] == 512
    names = json.loads(run("nbdinfo", "--list", "--json", uri).stdout)
    assert names["exports"][0]["export-name"] == "a.vhd"


def test_copies(diskd, tmp_path):
    """nbdcopy in and out with four connections."""
    uri = diskd.disk("a.vhd", "vhd", 64 * MIB)
    source, back = str(tmp_path / "source"), str(tmp_path / "back")
    with open(source, "wb") as f:
        f.truncate(64 * MIB)
        for at in (0, 5 * MIB + 4096, 40 * MIB):
            f.seek(at)
            f.write(os.urandom(3 * MIB))
    run("nbdcopy", "--connections=4", "--flush", source, uri)
    run("nbdcopy", "--connections=4", uri, back)
    run("cmp", source, back)
    assert diskd.stats("a.vhd")["blocks_allocated"] <= 9
    diskd.deactivate("a.vhd")
    vhdcheck(diskd.path("a.vhd"))


@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=fixed",
                                     "subformat=dynamic,force_size=on"])
def test_reads_and_writes_what_qemu_made(diskd, options):
    path = diskd.path("q.vhd")
    run("qemu-img", "create", "-f", "vpc", "-o", options, path, "10M")
    qemu_io(path, "write -P 7 1M 3M", "write -P 8 9M 64k", fmt="vpc")
    info = diskd.ok("info", path=path)
    fmt = "vhd-fixed" if "fixed" in options else "vhd"
    assert info["format"] == fmt and info["creator"] == ("qem2" if "force" in options else "qemu")
    diskd.attach("q.vhd", info["size"])
    diskd.activate("q.vhd", fmt)
    uri = nbd_uri(diskd, "q.vhd")
    qemu_io(uri, "read -P 7 1M 3M", "read -P 8 9M 64k", "read -P 0 4M 1M", "write -P 5 0 512",
            "write -P 6 6M 2M", "read -P 0 512 4k")
    diskd.deactivate("q.vhd")
    vhdcheck(path, "--foreign")
    qemu_io(path, "read -P 5 0 512", "read -P 7 1M 3M", "read -P 6 6M 2M", "read -P 0 512 4k",
            fmt="vpc")


def test_killed_while_writing(diskd):
    """What was answered is there after kill -9; the image opens, is tidied and is sound again."""
    uri = diskd.disk("a.vhd", "vhd", 256 * MIB)
    for round_ in range(3):
        commands = [f"write -P {i + 1} {i * 3 + round_ * 70}M 64k" for i in range(20)]
        argv = ["qemu-io", "-f", "raw"] + [a for c in commands for a in ("-c", c)] + [uri]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
            done = 0
            for line in p.stdout:
                done += line.startswith(b"wrote")
                if done == 12:
                    break
            diskd.kill()
            p.kill()
        run("qemu-img", "info", "-f", "vpc", diskd.path("a.vhd"))
        vhdcheck(diskd.path("a.vhd"), "--crashed")
        diskd.restart()
        qemu_io(uri, *[c.replace("write", "read") for c in commands[:12]])
    diskd.deactivate("a.vhd")
    vhdcheck(diskd.path("a.vhd"))


def test_requests_wait_for_the_image(diskd):
    diskd.create("a.vhd", "vhd", 4 * MIB)
    diskd.attach("a.vhd", 4 * MIB)
    with subprocess.Popen(["qemu-io", "-f", "raw", "-c", "write -P 3 0 64k",
                           nbd_uri(diskd, "a.vhd")], stdout=subprocess.PIPE) as p:
        wait_for(lambda: diskd.stats("a.vhd")["waiting"] > 0)
        assert p.poll() is None
        diskd.activate("a.vhd")
        assert p.wait(20) == 0
    diskd.deactivate("a.vhd")
    qemu_io(diskd.path("a.vhd"), "read -P 3 0 64k", fmt="vpc")


def test_readonly(diskd):
    diskd.disk("a.vhd", "vhd", 4 * MIB, readonly=True)
    uri = nbd_uri(diskd, "a.vhd")
    assert json.loads(run("nbdinfo", "--no-content", "--json", uri).stdout)["exports"][0]["is_read_only"]
    assert run("qemu-io", "-f", "raw", "-c", "write 0 512", uri, check=False).returncode
    qemu_io(uri, "read -P 0 0 1M", options=["-r"])


def test_full_file_system(diskd, tmp_path):
    """ENOSPC reaches the client, is counted, and the disk goes on."""
    small = tmp_path / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=6m", "none", str(small))
    try:
        uri = diskd.disk("small/a.vhd", "vhd", 64 * MIB)
        p = run("qemu-io", "-f", "raw", "-c", "write -P 1 0 1M", "-c", "write -P 2 8M 8M", uri,
                check=False)
        assert "No space left" in p.stdout + p.stderr
        stats = diskd.stats("small/a.vhd")
        assert stats["errors"]["write"] == 1 and stats["last_error"]["code"] == "ENOSPC"
        assert "small/a.vhd" in stats["last_error"]["path"]
        qemu_io(uri, "read -P 1 0 1M", "write -P 3 4k 4k", "read -P 3 4k 4k")
        diskd.deactivate("small/a.vhd")
        vhdcheck(diskd.path("small/a.vhd"))
    finally:
        run("umount", "-l", str(small))


def old_client(path, after_greeting):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    assert s.recv(18, socket.MSG_WAITALL)[:8] == b"NBDMAGIC"
    s.sendall(struct.pack(">I", 1) + after_greeting)
    return s


def test_simple_replies_and_export_name(diskd):
    """A client of the oldest kind: EXPORT_NAME, no structured replies."""
    diskd.disk("a.vhd", "vhd", 4 * MIB)
    s = old_client(diskd.path("a.vhd.nbd"), b"IHAVEOPT" + struct.pack(">II", 1, 5) + b"a.vhd")
    size, flags = struct.unpack(">QH", s.recv(10, socket.MSG_WAITALL))
    assert size == 4 * MIB and flags & 1 and not any(s.recv(124, socket.MSG_WAITALL))
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 7, 512, 512) + b"w" * 512)
    assert s.recv(16, socket.MSG_WAITALL) == struct.pack(">IIQ", 0x67446698, 0, 7)
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 8, 0, 1024))
    assert s.recv(16, socket.MSG_WAITALL) == struct.pack(">IIQ", 0x67446698, 0, 8)
    assert s.recv(1024, socket.MSG_WAITALL) == bytes(512) + b"w" * 512
    for request, error in [((0, 9, 4 * MIB, 512), 22), ((1, 10, 4 * MIB - 512, 1024), 28),
                           ((0, 11, 1, 512), 22), ((7, 12, 0, 512), 22), ((99, 13, 0, 512), 22)]:
        kind, cookie, offset, length = request
        s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, cookie, offset, length)
                  + (b"x" * length if kind == 1 else b""))
        assert s.recv(16, socket.MSG_WAITALL) == struct.pack(">IIQ", 0x67446698, error, cookie)
    s.close()


@pytest.mark.parametrize("junk", [
    b"GET / HTTP/1.0\r\n\r\n", b"IHAVEOPT" + struct.pack(">II", 7, 1 << 30),
    b"IHAVEOPT" + struct.pack(">II", 1, 5) + b"other",
    b"IHAVEOPT" + struct.pack(">II", 1, 0) + bytes(28),
])
def test_junk_ends_the_connection(diskd, junk):
    diskd.disk("a.vhd", "vhd", 4 * MIB)
    s = old_client(diskd.path("a.vhd.nbd"), junk)
    while True:
        try:
            if not s.recv(4096):
                break
        except ConnectionError:
            break
    assert diskd.ok("ping")
    qemu_io(nbd_uri(diskd, "a.vhd"), "write -P 1 0 4k", "read -P 1 0 4k")


def cbtlog(path, size, whole, *blocks):
    bits = bytearray(size // 65536 // 8)
    for b in blocks:
        bits[b // 8] |= 1 << b % 8
    with open(path, "wb") as f:
        f.write(struct.pack("<32xIIQ", whole, 0, size) + bits)


def test_a_bitmap_beside_allocation(diskd):
    """Both contexts at once, as qemu-img and a script ask for them; one that is not whole is not
    offered."""
    size = 16 * MIB
    diskd.create("a", "vhd", size)
    cbtlog(diskd.path("a.cbtlog"), size, 1, 1, 2, 255)
    cbtlog(diskd.path("b.cbtlog"), size, 0, 1)
    for name, context in (("a", True), ("b", False), ("none", False)):
        front = {"type": "nbd", "path": diskd.path(name + ".nbd"), "export": "x",
                 "bitmap": {"name": "then", "path": diskd.path(name + ".cbtlog")}}
        diskd.ok("attach", id=name, vdi="v", size=size, readonly=True, fronts=[front])
        diskd.ok("activate", id=name, path=diskd.path("a"), format="vhd")
        uri = "nbd+unix:///x?socket=" + diskd.path(name + ".nbd")
        listed = json.loads(run("nbdinfo", "--json", uri).stdout)["exports"][0]["contexts"]
        assert ("qemu:dirty-bitmap:then" in listed) == context and "base:allocation" in listed
        if context:
            extents = json.loads(run("nbdinfo", "--json", "--map=qemu:dirty-bitmap:then", uri).stdout)
            assert [(e["offset"], e["length"], e["type"]) for e in extents] == \
                [(0, 65536, 0), (65536, 131072, 1), (196608, size - 196608 - 65536, 0),
                 (size - 65536, 65536, 1)]
            args = ("driver=nbd,server.type=unix,server.path=" + diskd.path("a.nbd") +
                    ",export=x,x-dirty-bitmap=qemu:dirty-bitmap:then")
            told = json.loads(run("qemu-img", "map", "--output=json", "--image-opts", args).stdout)
            assert [e["start"] for e in told if not e["data"]] == [65536, size - 65536]
        diskd.ok("detach", id=name, force=True)
