"""xe on a host with a real data path: images of other systems become VMs, a VM comes from another
host, a chain that is moved in by hand is there after a scan, disks are copied."""
import os
import subprocess
import sys
import urllib.parse

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import foreign  # noqa: E402
import xcpng  # noqa: E402
from realhost import make_disk, run_host  # noqa: E402
from simhost import BUILD, PASSWORD  # noqa: E402
from transfers import MIB, Client, pattern  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
other = pytest.fixture(scope="module")(run_host)
CONTENT = foreign.bootable(12 * MIB)


def xe(host, *words):
    """Standard output of a command that must succeed."""
    env = {"PATH": "/usr/bin:/bin", "HOME": host.folder, "XE_EXTRA_ARGS": f"server={host.socket}"}
    done = subprocess.run([os.path.join(BUILD, "xe"), *words], env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def disk_of(host, vm):
    return xe(host, "vbd-list", f"vm-uuid={vm}", "type=Disk", "params=vdi-uuid", "--minimal")


def content_of(host, vdi):
    return Client(host, host.x).get("/export_raw_vdi", vdi=host.x.VDI.get_by_uuid(vdi))[2]


def levels():
    second = bytearray(CONTENT)
    second[MIB:MIB + 1024] = pattern("second", 1024)
    third = bytearray(second)
    third[3 * MIB:3 * MIB + 512] = bytes(512)
    third[5 * MIB:7 * MIB] = pattern("third", 2 * MIB)
    return [CONTENT, bytes(second), bytes(third)]


def chain(folder):
    files = foreign.vhd_chain(folder, levels())
    return foreign.tar([(f"{n}.vhd", f) for n, f in enumerate(files[::-1])], "gz")


def machine(folder):
    disk = foreign.convert(folder, CONTENT, "vmdk", "subformat=streamOptimized")
    return foreign.tar([("m.ovf", foreign.ovf([("a.vmdk", len(CONTENT))])), ("a.vmdk", disk)])


FILES = {
    "chain.vhd.tgz": (chain, levels()[-1]),
    "disk.vhd": (lambda f: foreign.convert(f, CONTENT, "vpc", "force_size=on"), CONTENT),
    "fixed.vhd": (lambda f: foreign.convert(f, CONTENT, "vpc", "subformat=fixed,force_size=on"), CONTENT),
    "disk.qcow2": (lambda f: foreign.convert(f, CONTENT, "qcow2", more=("-c",)), CONTENT),
    "disk.raw": (lambda f: CONTENT, CONTENT),
    "disk.vmdk": (lambda f: foreign.convert(f, CONTENT, "vmdk"), CONTENT),
    "machine.ova": (machine, CONTENT),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(host, tmp_path, name):
    make, content = FILES[name]
    file = tmp_path / ("given-" + name)
    file.write_bytes(make(tmp_path))
    before = set(host.x.VDI.get_all())
    vm = xe(host, "vm-import", f"filename={file}")
    vdi = disk_of(host, vm)
    assert content_of(host, vdi) == content
    assert len(set(host.x.VDI.get_all()) - before) == 1, "nothing else is left"
    xe(host, "vm-uninstall", f"uuid={vm}", "force=true")


def test_from_a_running_host(host, other, tmp_path):
    file = tmp_path / "disk.raw"
    file.write_bytes(CONTENT)
    vm = xe(other, "vm-import", f"filename={file}")
    url = f"http://root:{urllib.parse.quote(PASSWORD)}@127.0.0.1:{other.port}/export?uuid={vm}"
    new = xe(host, "vm-import", f"url={url}")
    vdi = disk_of(host, new)
    assert vdi != disk_of(other, vm) and content_of(host, vdi) == CONTENT
    for where, one in ((host, new), (other, vm)):
        xe(where, "vm-uninstall", f"uuid={one}", "force=true")


def repository(host, folder):
    """In which nothing is tidied by itself."""
    me = host.x.host.get_all()[0]
    sr = host.x.SR.create(me, {"location": str(folder)}, "0", "files", "", "file", "user", False, {})
    host.x.SR.add_to_other_config(sr, "gc", "false")
    return sr


def drop_repository(host, sr):
    for vdi in host.x.SR.get_VDIs(sr):
        if host.x.VDI.get_managed(vdi):
            host.x.VDI.destroy(vdi)
    host.x.SR.scan(sr)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)


def test_a_chain_moved_in_by_hand(host, tmp_path):
    """Where administrators look for the files; the children name their parents as they lie there."""
    os.makedirs(os.path.join(host.folder, "sr-mount"), exist_ok=True)
    (tmp_path / "sr").mkdir()
    sr = repository(host, tmp_path / "sr")
    folder = os.path.join(host.folder, "sr-mount", host.x.SR.get_uuid(sr))
    tree = xcpng.Tree(tmp_path / "elsewhere")
    raw = levels()
    root = tree.image(raw[0], hidden=True)
    middle = tree.image(raw[1], parent=root, hidden=True)
    leaf = tree.image(raw[2], parent=middle)
    for image in (leaf, root, middle):
        os.rename(os.path.join(tree.folder, image.file), os.path.join(folder, image.file))
    xe(host, "sr-scan", "uuid=" + host.x.SR.get_uuid(sr))
    found = {host.x.VDI.get_uuid(v): v for v in host.x.SR.get_VDIs(sr)}
    assert set(found) == {root.uuid, middle.uuid, leaf.uuid}
    assert [host.x.VDI.get_managed(found[i.uuid]) for i in (root, middle, leaf)] == [False, False, True]
    assert host.x.VDI.get_sm_config(found[leaf.uuid])["vhd-parent"] == middle.uuid
    assert content_of(host, leaf.uuid) == raw[2]
    drop_repository(host, sr)


def test_copies(host, tmp_path):
    """Of a disk as a whole, of what differs from a base, and into a disk that is there."""
    sr, web = repository(host, tmp_path), Client(host, host.x)
    first, second, _ = levels()
    home = host.x.SR.get_by_name_label("Local storage")[0]
    vdi = host.x.VDI.get_uuid(make_disk(host, home, len(first)))
    assert web.put("/import_raw_vdi", first, vdi=host.x.VDI.get_by_uuid(vdi))[0] == 200
    base = xe(host, "vdi-snapshot", f"uuid={vdi}")
    copy = xe(host, "vdi-copy", f"uuid={base}", "sr-uuid=" + host.x.SR.get_uuid(sr))
    assert content_of(host, copy) == first
    assert web.put("/import_raw_vdi", second, vdi=host.x.VDI.get_by_uuid(vdi))[0] == 200
    assert xe(host, "vdi-copy", f"uuid={vdi}", f"base-vdi-uuid={base}", f"into-vdi-uuid={copy}") == copy
    assert content_of(host, copy) == second
    alone = content_of(host, xe(host, "vdi-copy", f"uuid={vdi}", f"base-vdi-uuid={base}",
                                "sr-uuid=" + host.x.SR.get_uuid(sr)))
    assert alone[MIB:MIB + 1024] == second[MIB:MIB + 1024] and not any(alone[:MIB - 65536])
    for one in (base, vdi):
        host.x.VDI.destroy(host.x.VDI.get_by_uuid(one))
    drop_repository(host, sr)
