"""PUT /import of what other systems write: disks, chains, machines; and nothing left of what breaks."""
import functools
import gzip
import http.server
import os
import threading

import pytest

import foreign
from test_transfer_vm import destroy, disks_of, failed, imported, made, state_of, web  # noqa: F401
from transfers import MIB, pattern

CONTENT = foreign.bootable()
OTHER = foreign.bootable(4 * MIB, "other")


def contents(web, vm):
    return [web.get("/export_raw_vdi", vdi=v)[2] for v in disks_of(web.x, vm)]


def same(found, wanted):
    """The disk may be longer than what was on it."""
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert f[:len(w)] == w and not any(f[len(w):])


FORMS = {
    "raw": ("raw", ""),
    "vhd": ("vpc", "force_size=on"),
    "vhd-fixed": ("vpc", "subformat=fixed"),
    "qcow2": ("qcow2", ""),
    "qcow2-v2": ("qcow2", "compat=0.10"),
    "qcow2-small-clusters": ("qcow2", "cluster_size=4096"),
    "qcow2-packed": ("qcow2", "", "-c"),
    "qcow2-zstd": ("qcow2", "compression_type=zstd", "-c"),
    "vmdk": ("vmdk", "subformat=monolithicSparse"),
    "vmdk-stream": ("vmdk", "subformat=streamOptimized"),
}


def image(folder, form, content=CONTENT):
    what = FORMS[form]
    if form == "raw":
        return content
    return foreign.convert(folder, content, what[0], what[1], more=what[2:])


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_disk(web, x, made, tmp_path, form):
    before = set(x.VDI.get_all())
    made += imported(web, image(tmp_path, form), name_label="stranger")
    vm = x.VM.get_record(made[0])
    assert vm["name_label"] == "stranger" and vm["power_state"] == "Halted"
    same(contents(web, made[0]), [CONTENT])
    assert len(set(x.VDI.get_all()) - before) == 1, "only the disk is new"
    x.VM.start(made[0], False, False)
    x.VM.hard_shutdown(made[0])


def test_tables_behind_their_data(web, x, made, tmp_path):
    """What came before anybody knew its place is kept: in memory, and on a volume that goes."""
    large = bytearray(40 * MIB)
    large[0:MIB] = OTHER[:MIB]
    large[2 * MIB:22 * MIB] = pattern("much", 20 * MIB)
    before = set(x.VDI.get_all())
    made += imported(web, foreign.backwards(image(tmp_path, "qcow2", bytes(large))))
    same(contents(web, made[0]), [bytes(large)])
    assert len(set(x.VDI.get_all()) - before) == 1


@pytest.mark.parametrize("form", ["qcow2", "vmdk", "vmdk-stream"])
def test_into_a_disk_that_is_there(web, x, tmp_path, form):
    """Also its old bytes go."""
    sr = x.SR.get_by_name_label("Local storage")[0]
    vdi = x.VDI.create({"name_label": "disk", "SR": sr, "virtual_size": str(12 * MIB),
                        "type": "user", "sharable": False, "read_only": False, "other_config": {}})
    assert web.put("/import_raw_vdi", pattern("old", 12 * MIB), vdi=vdi)[0] == 200
    task = web.task()
    web.put("/import_raw_vdi", image(tmp_path, form), vdi=vdi, task_id=task,
            format=form.split("-")[0])
    assert x.task.get_error_info(task) == []
    same([web.get("/export_raw_vdi", vdi=vdi)[2]], [CONTENT])
    task = web.task()
    web.put("/import_raw_vdi", image(tmp_path, form, foreign.bootable(20 * MIB)), vdi=vdi,
            task_id=task, format=form.split("-")[0])
    assert x.task.get_error_info(task)[0] == "VDI_TOO_SMALL"
    assert b"VALUE_NOT_SUPPORTED" in web.get("/export_raw_vdi", vdi=vdi, format="vmdk")[2]
    x.VDI.destroy(vdi)


def levels():
    first = bytearray(CONTENT)
    second, third = bytearray(first), None
    second[MIB:MIB + 1024] = pattern("second", 1024)
    second[3 * MIB:3 * MIB + 512] = pattern("both", 512)
    third = bytearray(second)
    third[3 * MIB:3 * MIB + 512] = bytes(512)
    third[5 * MIB:7 * MIB] = pattern("third", 2 * MIB)
    return [bytes(c) for c in (first, second, third)]


@pytest.mark.parametrize("leaf_first", [True, False])
def test_a_chain(web, x, made, tmp_path, leaf_first):
    files = foreign.vhd_chain(tmp_path, levels())
    files = files[::-1] if leaf_first else files
    packed = foreign.tar([(f"{n}.vhd", f) for n, f in enumerate(files)], "gz")
    made += imported(web, packed, name_label="chained")
    same(contents(web, made[0]), [levels()[-1]])


def test_chains_that_are_none(web, x, tmp_path):
    files = foreign.vhd_chain(tmp_path, levels())[::-1]
    for parts in (files[:2], files[::2], [files[0]], [files[2], files[2]]):
        packed = foreign.tar([(f"{n}.vhd", f) for n, f in enumerate(parts)], "gz")
        assert failed(web, packed)[0] == "IMPORT_ERROR"
    assert failed(web, files[0])[0] == "IMPORT_ERROR", "a difference alone"


def ova(folder, more=()):
    disks = [("a.vmdk", image(folder, "vmdk-stream")), ("b.vmdk", image(folder, "vmdk", OTHER))]
    text = foreign.ovf([("a.vmdk", len(CONTENT)), ("b.vmdk", len(OTHER))])
    return [("machine.ovf", text), ("machine.mf", b"SHA1(a.vmdk)= 0"), *disks, *more]


def test_a_machine(web, x, made, tmp_path):
    made += imported(web, foreign.tar(ova(tmp_path)))
    vm = x.VM.get_record(made[0])
    assert vm["name_label"] == "from <elsewhere>" and vm["name_description"] == "long way"
    assert vm["memory_static_max"] == str(512 * MIB) and vm["VCPUs_max"] == "2"
    assert vm["HVM_boot_params"]["firmware"] == "uefi"
    same(contents(web, made[0]), [CONTENT, OTHER])
    network = x.VIF.get_network(vm["VIFs"][0])
    assert x.network.get_name_label(network) == "VM Network"
    destroy(x, made[0])
    x.network.destroy(network)


def test_machines_that_lack_something(web, x, tmp_path):
    parts = ova(tmp_path)
    lost = foreign.tar(parts[:3])
    assert failed(web, lost) == ["IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND"]
    text = parts[0][1]
    for old, new in ((b"<VirtualSystem ", b"<VirtualSystem/><VirtualSystem "),
                     (b"byte * 2^20\" ", b"acres\" "), (b"vmdisk1</", b"vmdisk7</"),
                     (b"<References>", b"<References")):
        wrong = foreign.tar([("m.ovf", text.replace(old, new))] + parts[1:])
        assert failed(web, wrong)[0] == "IMPORT_ERROR", new


@pytest.mark.parametrize("form", sorted(FORMS))
def test_cut_off(web, x, tmp_path, form):
    """By a connection that breaks; and by whoever stored it."""
    whole = image(tmp_path, form)
    before, task = state_of(x), web.task()
    web.torn_put("/import", len(whole), whole[:len(whole) // 2], task_id=task)
    assert x.task.get_error_info(task)[0] == "IMPORT_ERROR_PREMATURE_EOF"
    assert state_of(x) == before


@pytest.mark.parametrize("form", ["qcow2-packed", "vmdk-stream"])
def test_from_a_url(web, x, made, tmp_path, form):
    """Nobody says how long it is."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass
    (tmp_path / "there").write_bytes(image(tmp_path, form))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/there"
        made += getattr(x.VM, "import")(url, "OpaqueRef:NULL", False, False)
    finally:
        server.shutdown()
        server.server_close()
    same(contents(web, made[0]), [CONTENT])


@pytest.mark.parametrize("body", [
    b"vhdxfile" + bytes(70000), b"COWD" + bytes(5000), b"# Disk DescriptorFile\nversion=1\n",
    b"\xfd7zXZ\0" + bytes(900), b"QFI\xfb" + bytes(900), b"KDMV" + bytes(900),
    b"conectix" + bytes(900), gzip.compress(CONTENT[:9000])])
def test_refused(web, body):
    assert failed(web, body)[0] == "IMPORT_ERROR"


def test_what_looks_like_nothing(web, x, made):
    """Bytes are a disk's only if somebody says so."""
    body = pattern("anything", MIB + 100)
    assert failed(web, body)[0] == "IMPORT_ERROR"
    made += imported(web, body, format="raw")
    same(contents(web, made[0]), [body])
    assert b"VALUE_NOT_SUPPORTED" in web.put("/import", body, format="bochs")[2]


@pytest.mark.parametrize("form", ["vhd", "qcow2", "qcow2-packed", "vmdk", "vmdk-stream"])
def test_damage(web, x, made, tmp_path, form):
    """A byte of the tables is another: it is refused or taken, and what is refused is gone."""
    whole = image(tmp_path, form, OTHER)
    tables = [n for n, b in enumerate(whole[:70000]) if b] + [len(whole) - 300]
    rounds = int(os.environ.get("CAIRN_DAMAGE", "8"))
    for n in range(rounds):
        dice = int.from_bytes(pattern(f"{form} {n}", 8), "big")
        torn = bytearray(whole)
        torn[tables[dice % len(tables)]] ^= 1 << dice % 7 | 0x80
        task, before = web.task(), set(x.VDI.get_all())
        web.put("/import", bytes(torn), task_id=task)
        new = [v for v in x.VM.get_by_name_label("Imported VM") if v not in made]
        made += new
        assert (x.task.get_status(task) == "success") == bool(new)
        if not new:
            assert set(x.VDI.get_all()) == before, x.task.get_error_info(task)
