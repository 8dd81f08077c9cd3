"""A backup tool's day, through the real data path: changed blocks, NBD with TLS, differences, and a
restore that is the source. The oracle is the content itself: two snapshots are read in full, and
every block in which they differ must have been told."""
import base64
import json
import os
import struct
import subprocess
import sys
import urllib.parse

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from nbdclient import WRITE, Nbd  # noqa: E402
from realhost import make_disk, run_host, run_vm, wait_for  # noqa: E402
from transfers import MIB, Client, pattern, sparse  # noqa: E402

vm = pytest.fixture(run_vm)

BLOCK = 64 << 10
SIZE = 16 * MIB


@pytest.fixture(name="host", scope="module")
def host_with_tls():
    yield from run_host("listen_https=127.0.0.1:0")


@pytest.fixture(name="x")
def session(host):
    return host.x


@pytest.fixture(name="web")
def transfers(host):
    return Client(host, host.x)


@pytest.fixture(name="network")
def purpose(x):
    """Gives a network that purpose; it goes at the end."""
    ref = x.network.get_all()[0]
    yield lambda p: x.network.add_purpose(ref, p)
    for p in x.network.get_purpose(ref):
        x.network.remove_purpose(ref, p)


@pytest.fixture(name="disk")
def disks(host, x):
    made = []

    def make(size=SIZE):
        made.append(make_disk(host, x.SR.get_by_name_label("Local storage")[0], size))
        return made[-1]

    yield make
    for vdi in made:
        for snapshot in x.VDI.get_snapshots(vdi):
            x.VDI.destroy(snapshot)
        x.VDI.destroy(vdi)


def changed(x, a, b):
    bits = base64.b64decode(x.VDI.list_changed_blocks(a, b))
    return [i for i in range(len(bits) * 8) if bits[i // 8] >> 7 - i % 8 & 1]


def content(web, vdi):
    status, _, body = web.get("/export_raw_vdi", vdi=vdi)
    assert status == 200
    return body


def write_pieces(web, vdi, pieces):
    """What a guest would write: those bytes and nothing else."""
    body = b"".join(struct.pack("<QI", at, len(data)) + data for at, data in pieces)
    assert web.put("/import_raw_vdi", body + bytes(12), vdi=vdi, chunked="true")[0] == 200


def blocks_that_differ(a, b):
    return [i for i in range(len(a) // BLOCK)
            if a[i * BLOCK:(i + 1) * BLOCK] != b[i * BLOCK:(i + 1) * BLOCK]]


def over_nbd(x, vdi, *ranges):
    info = x.VDI.get_nbd_info(vdi)[0]
    with Nbd("127.0.0.1", info["port"]) as n:
        n.start_tls(info["cert"])
        n.open(info["exportname"])
        assert n.size == int(x.VDI.get_virtual_size(vdi))
        return b"".join(n.read(at, size) for at, size in ranges or
                        [(at, MIB) for at in range(0, n.size, MIB)])


def test_a_day(host, x, web, network, disk):
    network("nbd")
    vdi, day = disk(), sparse(SIZE)
    assert web.put("/import_raw_vdi", day, vdi=vdi)[0] == 200
    x.VDI.enable_cbt(vdi)
    monday = x.VDI.snapshot(vdi)
    backup = bytearray(over_nbd(x, monday))
    assert backup == day, "the full backup"

    pieces = [(3 * BLOCK + 512, pattern("x", 512)), (40 * BLOCK - 512, pattern("y", 1024)),
              (SIZE - BLOCK, pattern("z", BLOCK))]
    write_pieces(web, vdi, pieces)
    tuesday = x.VDI.snapshot(vdi)
    blocks = changed(x, monday, tuesday)
    assert blocks == [3, 39, 40, SIZE // BLOCK - 1]
    delta = web.get("/export_raw_vdi", vdi=tuesday, base=monday, format="vhd")[2]
    x.VDI.data_destroy(monday)
    assert changed(x, monday, tuesday) == blocks, "the log outlives the data"
    for b, data in zip(blocks, [over_nbd(x, tuesday, (b * BLOCK, BLOCK)) for b in blocks]):
        backup[b * BLOCK:(b + 1) * BLOCK] = data
    now = content(web, tuesday)
    assert backup == now, "the incremental backup"

    write_pieces(web, vdi, [(5 * BLOCK, pattern("later", 4096))])
    wednesday = x.VDI.snapshot(vdi)
    x.VDI.destroy(tuesday)
    assert changed(x, monday, wednesday) == sorted([*blocks, 5]), "what it told went on"

    restored = disk()
    assert web.put("/import_raw_vdi", bytes(backup), vdi=restored)[0] == 200
    assert content(web, restored) == now
    other = disk()
    assert web.put("/import_raw_vdi", day, vdi=other)[0] == 200
    assert web.put("/import_raw_vdi", delta, vdi=other, format="vhd")[0] == 200
    assert content(web, other) == now, "a difference onto what it was made of"
    assert not host.leftovers()


def test_tools_of_others(host, x, web, network, disk, tmp_path):
    network("insecure_nbd")
    vdi, bytes_ = disk(), sparse(SIZE)
    assert web.put("/import_raw_vdi", bytes_, vdi=vdi)[0] == 200
    info = x.VDI.get_nbd_info(vdi)[0]
    name = urllib.parse.quote(info["exportname"].lstrip("/"), safe="")
    uri = f"nbd://127.0.0.1:{info['port']}/{name}"
    told = subprocess.run(["nbdinfo", uri], check=True, text=True, stdout=subprocess.PIPE).stdout
    assert f"export-size: {SIZE}" in told and "is_read_only: true" in told
    assert "base:allocation" in told and "can_multi_conn: true" in told
    got = tmp_path / "got.raw"
    subprocess.run(["nbdcopy", uri, str(got)], check=True)
    assert got.read_bytes() == bytes_
    map_ = subprocess.run(["nbdinfo", "--map", uri], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    assert "hole,zero" in map_
    with Nbd("127.0.0.1", info["port"]) as n:
        n.open(info["exportname"])
        assert n.request(WRITE, 0, 512, bytes(512)) != 0, "it is for reading"
        assert n.read(0, 512) == bytes_[:512]
    wait_for(lambda: not x.VDI.get_current_operations(vdi))
    assert not host.leftovers()


def test_a_disk_that_grows(x, web, disk):
    """Old blocks keep their marks, new ones get some; what was never written is not told."""
    vdi = disk()
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    write_pieces(web, vdi, [(BLOCK, pattern("x", 512))])
    x.VDI.resize(vdi, str(2 * SIZE))
    write_pieces(web, vdi, [(2 * SIZE - 512, pattern("y", 512))])
    second = x.VDI.snapshot(vdi)
    assert x.VDI.get_cbt_enabled(vdi)
    assert changed(x, first, second) == [1, 2 * SIZE // BLOCK - 1]


def test_what_has_changed_as_a_bitmap(host, x, web, network, disk):
    network("insecure_nbd")
    vdi = disk()
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    write_pieces(web, vdi, [(2 * BLOCK, pattern("x", BLOCK + 512)), (SIZE - 512, pattern("y", 512))])
    second = x.VDI.snapshot(vdi)
    info = x.VDI.get_nbd_info(second)[0]
    name = urllib.parse.quote(info["exportname"].lstrip("/"), safe="")
    told = json.loads(subprocess.run(
        ["nbdinfo", "--json", "--map=qemu:dirty-bitmap:cbt",
         f"nbd://127.0.0.1:{info['port']}/{name}"],
        check=True, text=True, stdout=subprocess.PIPE).stdout)
    dirty = [b for e in told if e["type"] == 1
             for b in range(e["offset"] // BLOCK, (e["offset"] + e["length"]) // BLOCK)]
    assert dirty == [2, 3, SIZE // BLOCK - 1] == changed(x, first, second)
    assert sum(e["length"] for e in told) == SIZE
    wait_for(lambda: not x.VDI.get_current_operations(second))


def test_a_guest_that_writes(host, x, web, vm):
    """Recording begins under it, its cairn-diskd is killed, snapshots are taken and one goes: no
    block in which they differ is missing."""
    x.VM.start(vm, False, False)
    host.rounds(vm, 3)
    vdi = x.VBD.get_VDI(next(b for b in x.VM.get_VBDs(vm) if x.VBD.get_type(b) == "Disk"))
    x.VDI.enable_cbt(vdi)
    first = x.VDI.snapshot(vdi)
    host.rounds(vm, 10)
    host.kill(vm, "cairn-diskd")
    host.rounds(vm, 10)
    second = x.VDI.snapshot(vdi)
    host.rounds(vm, 10)
    third = x.VDI.snapshot(vdi)
    contents = [content(web, v) for v in (first, second, third)]
    told = set(changed(x, first, second))
    differ = set(blocks_that_differ(*contents[:2]))
    assert differ and differ <= told
    x.VDI.destroy(second)
    assert set(blocks_that_differ(contents[0], contents[2])) <= set(changed(x, first, third))
    with pytest.raises(Exception, match="VDI_IN_USE"):
        x.VDI.list_changed_blocks(first, vdi)
    host.rounds(vm, 3)
    x.VDI.disable_cbt(vdi)
    host.rounds(vm, 3)
    x.VM.hard_shutdown(vm)
    for snapshot in (first, third):
        x.VDI.destroy(snapshot)
