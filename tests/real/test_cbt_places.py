"""Changed blocks wherever disks are: on a server, in qcow2. The oracle is the content: every block
in which two snapshots differ must have been told."""
import base64
import os
import struct
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm_on, wait_for  # noqa: E402
from storageserver import Network, Nfs  # noqa: E402
from transfers import MIB, Client, pattern, sparse  # noqa: E402

host = pytest.fixture(scope="module")(run_host)

BLOCK = 64 << 10
SIZE = 16 * MIB


@pytest.fixture(scope="module")
def places(host, tmp_path_factory):
    """Repositories by name: of this host, and of a server."""
    x = host.x
    with Network(tmp_path_factory.mktemp("nfs")) as net:
        server = Nfs(net, exports=("a",)).start()
        where = {"server": net.address, "serverpath": server.exports["a"]}
        nfs = x.SR.create(x.host.get_all()[0], where, "0", "nfs", "", "nfs", "user", True, {})
        folder = os.path.join(server.exports["a"], x.SR.get_uuid(nfs))
        local = x.SR.get_by_name_label("Local storage")[0]
        for sr in (local, nfs):  # nothing is tidied while disks are destroyed
            x.SR.add_to_other_config(sr, "gc", "false")
        yield {"local": (local, None), "nfs": (nfs, folder)}
        x.PBD.unplug(x.SR.get_PBDs(nfs)[0])
        x.SR.destroy(nfs)


@pytest.fixture
def web(host):
    return Client(host, host.x)


def make(x, sr, image_format):
    return x.VDI.create({"name_label": "disk", "name_description": "", "SR": sr,
                         "virtual_size": str(SIZE), "type": "user", "sharable": False,
                         "read_only": False, "other_config": {},
                         "sm_config": {"image-format": image_format}})


def changed(x, a, b):
    bits = base64.b64decode(x.VDI.list_changed_blocks(a, b))
    return [i for i in range(len(bits) * 8) if bits[i // 8] >> 7 - i % 8 & 1]


def content(web, vdi):
    status, _, body = web.get("/export_raw_vdi", vdi=vdi)
    assert status == 200
    return body


def write_pieces(web, vdi, *places):
    body = b"".join(struct.pack("<QI", at, size) + pattern(at, size) for at, size in places)
    assert web.put("/import_raw_vdi", body + bytes(12), vdi=vdi, chunked="true")[0] == 200


def differ(a, b):
    return [i for i in range(len(a) // BLOCK)
            if a[i * BLOCK:(i + 1) * BLOCK] != b[i * BLOCK:(i + 1) * BLOCK]]


@pytest.mark.parametrize("place,image_format",
                         [("local", "qcow2"), ("nfs", "vhd"), ("nfs", "qcow2")])
def test_a_week(host, web, places, place, image_format):
    x, (sr, folder) = host.x, places[place]
    vdi = make(x, sr, image_format)
    assert x.VDI.get_location(vdi).endswith("." + image_format)
    assert web.put("/import_raw_vdi", sparse(SIZE), vdi=vdi)[0] == 200
    x.VDI.enable_cbt(vdi)
    monday = x.VDI.snapshot(vdi)
    write_pieces(web, vdi, (3 * BLOCK + 512, 512), (40 * BLOCK - 512, 1024), (SIZE - BLOCK, BLOCK))
    tuesday = x.VDI.snapshot(vdi)
    blocks = changed(x, monday, tuesday)
    assert blocks == [3, 39, 40, SIZE // BLOCK - 1] == \
        differ(content(web, monday), content(web, tuesday))
    x.VDI.data_destroy(monday)
    assert changed(x, monday, tuesday) == blocks, "the log outlives the data"
    write_pieces(web, vdi, (5 * BLOCK, 4096))
    wednesday = x.VDI.snapshot(vdi)
    x.VDI.destroy(tuesday)
    assert changed(x, monday, wednesday) == sorted([*blocks, 5]), "what it told went on"
    before = content(web, wednesday)
    write_pieces(web, vdi, (9 * BLOCK, 512))
    x.VDI.revert(wednesday)
    assert content(web, vdi) == before
    friday = x.VDI.snapshot(vdi)
    assert set(differ(before, content(web, friday))) <= set(changed(x, wednesday, friday)) <= {9}
    x.SR.scan(sr)
    assert x.VDI.get_cbt_enabled(vdi) and x.VDI.get_cbt_enabled(friday)
    x.VDI.disable_cbt(vdi)
    assert not x.VDI.get_cbt_enabled(vdi)
    for one in (monday, wednesday, friday, vdi):
        x.VDI.destroy(one)
    if folder:
        assert not [n for n in os.listdir(folder) if n.endswith((".cbtlog", ".part"))]
    assert not host.leftovers()


def test_a_guest_on_a_server(host, web, places):
    """Recording begins under it; what it writes between two snapshots is told. A killed cairn-diskd
    takes what it knew with it, and that is said, at the latest when the disk is opened again."""
    x, (sr, folder) = host.x, places["nfs"]
    with run_vm_on(host, sr, folder) as vm:
        x.VM.start(vm, False, False)
        host.rounds(vm, 3)
        vdi = x.VBD.get_VDI(next(b for b in x.VM.get_VBDs(vm) if x.VBD.get_type(b) == "Disk"))
        x.VDI.enable_cbt(vdi)
        first = x.VDI.snapshot(vdi)
        host.rounds(vm, 10)
        second = x.VDI.snapshot(vdi)
        host.rounds(vm, 3)
        told = set(changed(x, first, second))
        seen = set(differ(content(web, first), content(web, second)))
        assert seen and seen <= told
        host.kill(vm, "cairn-diskd")
        host.rounds(vm, 10)
        third = x.VDI.snapshot(vdi)
        wait_for(lambda: not x.VDI.get_cbt_enabled(vdi))
        x.VDI.enable_cbt(vdi)
        host.rounds(vm, 3)
        x.VM.hard_shutdown(vm)
        for snapshot in (first, second, third):
            x.VDI.destroy(snapshot)
