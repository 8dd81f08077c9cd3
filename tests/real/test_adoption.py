"""Trees in XCP-ng's layout, made by a script of their own: introduced, scanned, booted, where they
are; and the guest that still asks for /dev/xvda1."""
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import xcpng  # noqa: E402
from realhost import run_host, wait_for  # noqa: E402
from simhost import BUILD, failure  # noqa: E402
from storageserver import Network, Nfs, available  # noqa: E402
from transfers import Client, pattern  # noqa: E402
from volumes import extents, loop_device, report, tool, vhdcheck, volumes  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20


def grow(tree):
    """A base copy with two children, the guest's disk and a snapshot of it; and a disk alone."""
    first = xcpng.xen_guest(8 * MIB)
    first[4 * MIB - 4096:4 * MIB + 4096] = pattern("base", 8192)
    base = tree.image(bytes(first), hidden=True)
    leaf = bytearray(first)
    leaf[5 * MIB:5 * MIB + 512] = pattern("leaf", 512)
    leaf[4 * MIB:4 * MIB + 1024] = bytes(1024)
    images = {"base": base, "leaf": tree.image(bytes(leaf), parent=base),
              "snapshot": tree.image(bytes(first), parent=base, small=True),
              "alone": tree.image(pattern("alone", 2 * MIB))}
    tree.litter()
    return images


def introduce(host, kind, sr_uuid, config, shared=False):
    x = host.x
    sr = x.SR.introduce(sr_uuid, "adopted", "", kind, "user", shared, {})
    pbd = x.PBD.create({"host": x.host.get_all()[0], "SR": sr, "device_config": config,
                        "other_config": {}})
    x.PBD.plug(pbd)
    x.SR.scan(sr)
    return sr


def check_disks(host, sr, images):
    x = host.x
    found = {x.VDI.get_uuid(v): v for v in x.SR.get_VDIs(sr)}
    assert set(found) == {im.uuid for im in images.values()}, "the litter is no disk"
    managed = {u for u, v in found.items() if x.VDI.get_managed(v)}
    assert managed == {images[n].uuid for n in ("leaf", "snapshot", "alone")}
    web = Client(host, x)
    for name in ("leaf", "snapshot", "alone"):
        status, _, body = web.get("/export_raw_vdi", vdi=found[images[name].uuid])
        assert status == 200 and body == images[name].content, name
    return found


def check_names(host, found, images):
    """What the list on the volumes says, which does not know all of them."""
    disk, snapshot, alone = (host.x.VDI.get_record(found[images[n].uuid]) for n in ("leaf", "snapshot", "alone"))
    assert (disk["name_label"], disk["name_description"]) == ("root & more", "of the guest")
    assert snapshot["name_label"] == "as it was" and snapshot["is_a_snapshot"]
    assert snapshot["snapshot_of"] == found[images["leaf"].uuid] and not disk["is_a_snapshot"]
    assert disk["snapshots"] == [found[images["snapshot"].uuid]]
    assert str(snapshot["snapshot_time"]) == "20251224T18:00:00Z"
    assert alone["name_label"] == images["alone"].file


def import_metadata(host, text):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        info = tarfile.TarInfo("ova.xml")
        info.size = len(text)
        t.addfile(info, io.BytesIO(text.encode()))
    before = set(host.x.VM.get_all())
    web = Client(host, host.x)
    task = web.task()
    assert web.put("/import_metadata", out.getvalue(), task_id=task)[0] == 200
    assert host.x.task.get_error_info(task) == []
    return (set(host.x.VM.get_all()) - before).pop()


def messages(host, vm):
    ident = host.x.VM.get_uuid(vm)
    return [m["body"] for m in host.x.message.get_all_records().values()
            if m["name"] == "VM_ROOT_DEVICE_MISSING" and m["obj_uuid"] == ident]


def boot(host, vm):
    """It runs off the chain; what it says is heard, and the remedy is told once."""
    host.x_uuid[vm] = host.x.VM.get_uuid(vm)
    for _ in range(2):
        host.x.VM.start(vm, False, False)
        body = wait_for(lambda: messages(host, vm))
        host.x.VM.hard_shutdown(vm)
    assert len(body) == 1
    assert "/dev/xvda1" in body[0] and "root=/dev/vda1" in body[0] and "UUID=" in body[0]


def leave(host, sr, vm=None):
    if vm:
        host.x.VM.destroy(vm)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)


def test_a_local_tree(host, tmp_path):
    tree = xcpng.Tree(tmp_path / "sr")
    images = grow(tree)
    before = {f: os.stat(os.path.join(tree.folder, f)).st_size for f in os.listdir(tree.folder)}
    sr = introduce(host, "ext", str(uuid.uuid4()), {"location": tree.folder})
    check_disks(host, sr, images)
    assert before.items() <= {f: os.stat(os.path.join(tree.folder, f)).st_size
                              for f in os.listdir(tree.folder)}.items(), "looking changes nothing"
    vm = import_metadata(host, xcpng.metadata("adopted", [images["leaf"].uuid,
                                                          images["alone"].uuid]))
    boot(host, vm)
    leave(host, sr, vm)


@contextlib.contextmanager
def mounted(device, offset, size, folder):
    os.makedirs(folder)
    subprocess.run(["mount", "-o", f"loop,offset={offset},sizelimit={size}", device, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_local_tree_on_a_logical_volume(host, tmp_path):
    """As the installer makes it: a file system on a volume in one piece. It is told of one in several."""
    with loop_device(tmp_path / "device", 96 * MIB) as device:
        sr_uuid = str(uuid.uuid4())
        group = "XSLocalEXT-" + sr_uuid
        tool(device, "pvcreate", "-qq", "-y", "-ff", device)
        tool(device, "vgcreate", "-qq", "-s", "4M", group, device)
        for name, size in (("other", "8M"), (sr_uuid, "48M"), ("wall", "4M")):
            tool(device, "lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", size, "-n", name, group)
        ((on, at, size),) = extents(device, sr_uuid)
        subprocess.run(["mkfs.ext3", "-q", "-F", "-E", f"offset={at}", on, f"{size // 1024}k"], check=True)
        tree = tmp_path / "tree"
        with mounted(device, at, size, tree):
            images = grow(xcpng.Tree(tree))
        sr = introduce(host, "ext", sr_uuid, {"device": device})
        check_disks(host, sr, images)
        vm = import_metadata(host, xcpng.metadata("adopted", [images["leaf"].uuid]))
        boot(host, vm)
        pbd = host.x.SR.get_PBDs(sr)[0]
        host.x.PBD.unplug(pbd)
        host.x.PBD.plug(pbd)
        host.restart()
        host.x.SR.scan(sr)
        check_disks(host, sr, images)
        leave(host, sr, vm)
        tool(device, "lvextend", "-qq", "-L", "+4M", f"{group}/{sr_uuid}")
        code, _, _, why = failure(introduce, host, "ext", sr_uuid, {"device": device})
        assert code == "SR_BACKEND_FAILURE_52" and group in why and "several pieces" in why and "device-config:device" in why
        (sr,) = [s for s in host.x.SR.get_all() if host.x.SR.get_uuid(s) == sr_uuid]
        host.x.SR.forget(sr)


def test_chains_moved_in_by_hand(host, tmp_path):
    """They appear with the next scan, whichever file came first; others' readers agree."""
    sr = introduce(host, "file", str(uuid.uuid4()), {"location": str(tmp_path)})
    tree = xcpng.Tree(tmp_path / "elsewhere")
    images = grow(tree)
    for im in images.values():
        subprocess.run(["qemu-img", "info", "-f", "vpc", os.path.join(tree.folder, im.file)],
                       check=True, stdout=subprocess.DEVNULL)
        shutil.move(os.path.join(tree.folder, im.file), tmp_path / im.file)
    assert host.x.SR.get_VDIs(sr) == []
    host.x.SR.scan(sr)
    check_disks(host, sr, images)
    leave(host, sr)


@pytest.mark.skipif(not available("ganesha.nfsd", "rpcbind"), reason="no NFS server")
def test_a_tree_on_a_server(host, tmp_path_factory):
    with Network(tmp_path_factory.mktemp("nfs")) as net:
        nfs = Nfs(net, exports=("a",))
        sr_uuid = str(uuid.uuid4())
        images = grow(xcpng.Tree(os.path.join(nfs.exports["a"], sr_uuid)))
        nfs.start()
        sr = introduce(host, "nfs", sr_uuid, {"server": net.address, "serverpath": nfs.exports["a"]},
                       shared=True)
        check_disks(host, sr, images)
        vm = import_metadata(host, xcpng.metadata("adopted", [images["leaf"].uuid]))
        boot(host, vm)
        leave(host, sr, vm)


def test_a_tree_on_volumes(host, tmp_path):
    """When its snapshot goes, the disk becomes one with the base copy: a volume of full size, which
    may be written again."""
    with loop_device(tmp_path / "device", 128 * MIB) as device:
        sr_uuid = str(uuid.uuid4())
        tree = xcpng.VolumeTree(device, sr_uuid)
        images = grow(tree)
        tree.name([(images["leaf"], {"name": "root & more", "description": "of the guest"}), (None, {"name": "gone"}),
                   (images["snapshot"], {"name": "as it was", "of": images["leaf"], "time": "20251224T18:00:00Z"})])
        before = volumes(device)
        sr = introduce(host, "lvm", sr_uuid, {"device": device})
        host.x.SR.add_to_other_config(sr, "gc", "false")
        found = check_disks(host, sr, images)
        check_names(host, found, images)
        assert volumes(device) == before, "looking changes nothing"
        vm = import_metadata(host, xcpng.metadata("adopted", [images["leaf"].uuid]))
        boot(host, vm)
        host.x.VDI.destroy(found[images["snapshot"].uuid])
        host.x.SR.add_to_other_config(sr, "gc-delay", "0")
        host.x.SR.remove_from_other_config(sr, "gc")
        leaf = found[images["leaf"].uuid]
        wait_for(lambda: len(host.x.SR.get_VDIs(sr)) == 2 and not host.x.VDI.get_current_operations(leaf))
        status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=leaf)
        assert status == 200 and body == images["leaf"].content
        name = images["leaf"].file
        assert volumes(device)[name] == before[name] and images["base"].file not in volumes(device)
        (bits,) = [v["lv_attr"] for v in report(device, "lvs", "lv_name,lv_attr") if v["lv_name"] == name]
        assert bits[1] == "w"
        vhdcheck(device, [name], tmp_path)
        leave(host, sr, vm)


def test_nothing_is_merged_into_a_raw_volume(host, tmp_path):
    """The disk goes on above it, which is told, and not tried again and again."""
    with loop_device(tmp_path / "device", 96 * MIB) as device:
        sr_uuid = str(uuid.uuid4())
        tree = xcpng.VolumeTree(device, sr_uuid)
        base = tree.raw_base(pattern("raw", 8 * MIB))
        leaf = tree.image(base.content[:MIB] + pattern("leaf", MIB) + base.content[2 * MIB:], parent=base)
        sr = introduce(host, "lvm", sr_uuid, {"device": device})
        host.x.SR.add_to_other_config(sr, "gc-delay", "0")
        env = dict(os.environ, CAIRN_CONTROL=os.path.join(host.folder, "run", "cairnd.ctl"))
        told = subprocess.run([os.path.join(BUILD, "cairnctl"), "sr", "tree", sr_uuid], check=True, text=True,
                              capture_output=True, env=env).stdout
        assert f"next: join {leaf.uuid}, waits: nothing is merged into a raw volume" in told
        disk = host.x.VDI.get_by_uuid(leaf.uuid)
        status, _, body = Client(host, host.x).get("/export_raw_vdi", vdi=disk)
        assert status == 200 and body == leaf.content
        assert set(volumes(device)) == {"MGT", base.file, leaf.file}
        leave(host, sr)


def test_a_kernel_that_is_told(host, tmp_path):
    """PV-args say it before anybody boots."""
    tree = xcpng.Tree(tmp_path)
    alone = tree.image(pattern("alone", 2 * MIB))
    sr = introduce(host, "file", str(uuid.uuid4()), {"location": tree.folder})
    vm = import_metadata(host, xcpng.metadata("told", [alone.uuid], PV_args="ro root=/dev/xvda3"))
    assert "/dev/vda3" in messages(host, vm)[0]
    leave(host, sr, vm)
