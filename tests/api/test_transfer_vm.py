"""/export and /import: a VM there and back, and nothing left of what breaks."""
import gzip
import hashlib
import http.server
import io
import re
import subprocess
import tarfile
import threading
import time
import xmlrpc.client

import pytest

from simhost import failure
from transfers import Client, MIB, pattern, sparse

SIZE = 12 * MIB
CONTENTS = [sparse(SIZE), pattern("second", 4 * MIB)]
NOBODY = ("", "OpaqueRef:NULL")


@pytest.fixture
def web(daemon, x):
    return Client(daemon, x)


def make_disk(web, content):
    x = web.x
    sr = x.SR.get_by_name_label("Local storage")[0]
    vdi = x.VDI.create({"name_label": "disk", "SR": sr, "virtual_size": str(len(content)),
                        "type": "user", "sharable": False, "read_only": False,
                        "other_config": {"colour": "green"}})
    assert web.put("/import_raw_vdi", content, vdi=vdi)[0] == 200
    return vdi


def destroy(x, vm):
    """With its disks; it may be gone."""
    if vm not in x.VM.get_all():
        return
    disks = disks_of(x, vm)
    x.VM.destroy(vm)
    for vdi in disks:
        x.VDI.destroy(vdi)


def disks_of(x, vm):
    vbds = [x.VBD.get_record(b) for b in x.VM.get_VBDs(vm)]
    return [b["VDI"] for b in sorted(vbds, key=lambda b: b["userdevice"]) if b["type"] == "Disk"]


@pytest.fixture
def vm(web, x):
    """Two disks, an empty CD drive, a network card."""
    ref = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "traveller")
    x.VM.set_is_a_template(ref, False)
    x.VM.remove_from_other_config(ref, "disks")
    x.VM.set_name_description(ref, "a <odd> & long way")
    x.VM.set_memory_limits(ref, str(64 * MIB), str(128 * MIB), str(128 * MIB), str(128 * MIB))
    for n, content in enumerate(CONTENTS):
        x.VBD.create({"VM": ref, "VDI": make_disk(web, content), "userdevice": str(n), "mode": "RW",
                      "type": "Disk", "bootable": n == 0, "empty": False, "other_config": {},
                      "qos_algorithm_type": "", "qos_algorithm_params": {}})
    x.VIF.create({"VM": ref, "device": "0", "network": x.network.get_all()[0], "MAC": "",
                  "MTU": "1400", "other_config": {}, "qos_algorithm_type": "",
                  "qos_algorithm_params": {}})
    yield ref
    destroy(x, ref)


@pytest.fixture
def made(x):
    """References of VMs that a test made; they go at its end."""
    refs = []
    yield refs
    for ref in refs:
        destroy(x, ref)


def imported(web, archive, **args):
    """The new VMs, from the result of the task."""
    task = web.task()
    assert web.put("/import", archive, task_id=task, **args)[0] == 200
    assert web.x.task.get_error_info(task) == []
    result = web.x.task.get_result(task)
    assert web.x.task.get_other_config(task)["object_creation"] == "complete"
    return xmlrpc.client.loads(f"<params><param>{result}</param></params>")[0][0]


def state_of(x):
    """All that an import could leave behind. Base copies come and go with the tidying of others."""
    for sr in x.SR.get_all():
        if x.SR.get_content_type(sr) == "user":
            x.SR.scan(sr)
    disks = sorted(v for v, r in x.VDI.get_all_records().items() if r["managed"])
    return [disks] + [sorted(x.call(f"{c}.get_all")) for c in ("VM", "VBD", "VIF", "network", "VM_metrics")]


def failed(web, archive, path="/import", **args):
    """The error of an import, after which everything is as it was."""
    before = state_of(web.x)
    task = web.task()
    web.put(path, archive, task_id=task, **args)
    assert web.x.task.get_status(task) == "failure"
    assert state_of(web.x) == before
    return web.x.task.get_error_info(task)


KEPT = ("name_label", "name_description", "memory_static_max", "memory_static_min", "platform",
        "VCPUs_max", "HVM_boot_params", "is_a_template", "actions_after_crash", "recommendations")


def test_there_and_back(web, x, vm, made):
    status, head, archive = web.get("/export", uuid=x.VM.get_uuid(vm))
    assert status == 200 and x.task.get_status(head["task-id"]) == "success"
    made += imported(web, archive)
    assert len(made) == 1 and made[0] != vm
    old, new = x.VM.get_record(vm), x.VM.get_record(made[0])
    assert {k: old[k] for k in KEPT} == {k: new[k] for k in KEPT}
    assert old["uuid"] != new["uuid"] and new["power_state"] == "Halted"
    assert old["other_config"]["mac_seed"] != new["other_config"]["mac_seed"]
    assert x.VM_metrics.get_uuid(new["metrics"])
    for vdi, content in zip(disks_of(x, made[0]), CONTENTS):
        assert web.get("/export_raw_vdi", vdi=vdi)[2] == content
        assert x.VDI.get_other_config(vdi) == {"colour": "green"}
    vif = [x.VIF.get_record(v) for v in (old["VIFs"][0], new["VIFs"][0])]
    assert vif[0]["network"] == vif[1]["network"] and vif[1]["MTU"] == "1400"
    assert vif[0]["MAC"] != vif[1]["MAC"]
    x.VM.start(made[0], False, False)
    x.VM.hard_shutdown(made[0])


@pytest.fixture
def untidied(x):
    """What the house does by itself holds disks for a moment: not while they are destroyed."""
    sr = x.SR.get_by_name_label("Local storage")[0]
    x.SR.add_to_other_config(sr, "gc", "false")
    yield
    x.SR.remove_from_other_config(sr, "gc")


@pytest.fixture
def tree(web, x, vm, untidied):
    """A VM whose disk was "a" at its first snapshot, "b" at the second, was reverted to the first and
    is "c" now: (VM, first, second)."""
    def write(what):
        assert web.put("/import_raw_vdi", pattern(what, 4 * MIB), vdi=disks_of(x, vm)[1])[0] == 200

    write("a")
    first = x.VM.snapshot(vm, "first")
    write("b")
    second = x.VM.snapshot(vm, "second")
    x.VM.revert(first)
    write("c")
    yield vm, first, second
    for ref in (first, second):
        destroy(x, ref)


def second_disk(web, vm):
    return web.get("/export_raw_vdi", vdi=disks_of(web.x, vm)[1])[2]


def snapshots_of(x, vm):
    """By name."""
    return {x.VM.get_name_label(s): s for s in x.VM.get_snapshots(vm)}


def test_snapshots_travel_with_their_vm(web, x, tree, made):
    archive = web.get("/export", ref=tree[0], export_snapshots="true")[2]
    refs = imported(web, archive)
    assert len(refs) == 1, "a snapshot is no VM that was asked for"
    new, copies = refs[0], snapshots_of(x, refs[0])
    made += [*copies.values(), new]
    assert sorted(copies) == ["first", "second"]
    for old, copy in zip(tree[1:], (copies["first"], copies["second"])):
        was, now = x.VM.get_record(old), x.VM.get_record(copy)
        assert now["is_a_snapshot"] and now["is_a_template"] and now["snapshot_of"] == new
        same = ("snapshot_time", "snapshot_info", "name_label", "memory_static_max")
        assert {k: was[k] for k in same} == {k: now[k] for k in same}
        assert now["uuid"] != was["uuid"]
        for disk, original in zip(disks_of(x, copy), disks_of(x, new)):
            record = x.VDI.get_record(disk)
            assert record["is_a_snapshot"] and record["snapshot_of"] == original
        assert x.VIF.get_MAC(now["VIFs"][0]) == x.VIF.get_MAC(x.VM.get_VIFs(new)[0])
    assert x.VM.get_parent(new) == copies["first"] == x.VM.get_parent(copies["second"])
    assert [second_disk(web, v) for v in (copies["first"], copies["second"], new)] == \
        [pattern(p, 4 * MIB) for p in "abc"]


def test_an_imported_vm_goes_back_to_its_snapshot(web, x, tree, made):
    new, = imported(web, web.get("/export", ref=tree[0], export_snapshots="true")[2])
    copies = snapshots_of(x, new)
    made += [*copies.values(), new]
    disks = [x.VDI.get_uuid(d) for d in disks_of(x, new)]
    x.VM.revert(copies["second"])
    assert second_disk(web, new) == pattern("b", 4 * MIB)
    assert [x.VDI.get_uuid(d) for d in disks_of(x, new)] == disks, "they are the same disks"
    assert x.VM.get_name_label(new) == "traveller" and x.VM.get_parent(new) == copies["second"]
    x.VM.start(new, False, False)
    x.VM.hard_shutdown(new)


def test_without_being_asked_snapshots_stay(web, x, tree, made):
    new, = imported(web, web.get("/export", ref=tree[0])[2])
    made.append(new)
    assert x.VM.get_snapshots(new) == [] and x.VM.get_parent(new) in NOBODY
    alone, = imported(web, web.get("/export", ref=tree[1])[2])
    made.append(alone)
    assert not x.VM.get_is_a_snapshot(alone) and x.VM.get_is_a_template(alone)


def test_a_description_has_the_snapshots(web, x, tree, made):
    """Unless that is not wanted; their disks are found where they are."""
    def vms(**args):
        archive = tarfile.open(fileobj=io.BytesIO(web.get("/export_metadata", ref=tree[0], **args)[2]))
        text = archive.extractfile("ova.xml").read().decode()
        doc = xmlrpc.client.loads(f"<params><param>{text}</param></params>")[0][0]
        return sorted(o["snapshot"]["name_label"] for o in doc["objects"] if o["class"] == "VM")

    assert vms() == ["first", "second", "traveller"]
    assert vms(export_snapshots="false") == ["traveller"]
    task = web.task()
    web.put("/import_metadata", web.get("/export_metadata", ref=tree[0])[2], task_id=task)
    assert x.task.get_error_info(task) == []
    new = [v for v in x.VM.get_by_name_label("traveller") if v != tree[0]][0]
    copies = snapshots_of(x, new)
    assert sorted(copies) == ["first", "second"]
    assert disks_of(x, copies["second"]) == disks_of(x, tree[2])
    for ref in (*copies.values(), new):
        x.VM.destroy(ref)


def test_a_checkpoint_travels_with_its_memory(web, x, vm, untidied, made):
    x.VM.start(vm, False, False)
    checkpoint = x.VM.checkpoint(vm, "asleep")
    x.VM.hard_shutdown(vm)
    try:
        archive = web.get("/export", ref=vm, export_snapshots="true", preserve_power_state="true")[2]
    finally:
        destroy(x, checkpoint)
    new, = imported(web, archive)
    copy = snapshots_of(x, new)["asleep"]
    made += [copy, new]
    assert x.VM.get_power_state(copy) == "Suspended" and x.VM.get_power_state(new) == "Halted"
    x.VM.revert(copy)
    assert x.VM.get_power_state(new) == "Suspended"
    x.VM.resume(new, False, False)
    assert x.VM.get_power_state(new) == "Running"
    x.VM.hard_shutdown(new)


@pytest.mark.parametrize("lie", ["above itself", "of a snapshot", "of nobody"])
def test_trees_that_cannot_be(web, x, tree, made, lie):
    """What the description says of snapshots is not believed."""
    def change(text):
        doc = xmlrpc.client.loads(f"<params><param>{text}</param></params>")[0][0]
        vms = {o["snapshot"]["name_label"]: o for o in doc["objects"] if o["class"] == "VM"}
        if lie == "above itself":
            vms["first"]["snapshot"]["parent"] = vms["second"]["id"]
        elif lie == "of a snapshot":
            vms["first"]["snapshot"]["snapshot_of"] = vms["second"]["id"]
        else:
            vms["first"]["snapshot"]["snapshot_of"] = "Ref:4000"
        out = xmlrpc.client.dumps((doc,))
        return out[out.index("<value>"):out.rindex("</value>") + len("</value>")]

    archive = web.get("/export", ref=tree[0], export_snapshots="true")[2]
    made += imported(web, edited(archive, change))
    new = next(v for v in made if x.VM.get_name_label(v) == "traveller")
    copies = snapshots_of(x, new)
    made += copies.values()
    made.reverse()
    assert sorted(copies) == (["first", "second"] if lie == "above itself" else ["second"])
    assert x.VM.get_parent(copies["second"]) in NOBODY


def test_what_another_tar_sees(web, vm, tmp_path):
    archive = web.get("/export", ref=vm)[2]
    (tmp_path / "a.xva").write_bytes(archive)
    names = subprocess.run(["tar", "tf", tmp_path / "a.xva"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.split()
    assert names[0] == "ova.xml" and archive.endswith(bytes(1024))
    prefixes = sorted({n.split("/")[0] for n in names[1:]})
    assert len(prefixes) == 2 and all(p.startswith("Ref:") for p in prefixes)
    first = [n for n in names if n.startswith(prefixes[0])] + \
            [n for n in names if n.startswith(prefixes[1])]
    assert first == names[1:], "one disk after the other"
    chunks = [n.split("/")[1] for n in names if len(n.split("/")[-1]) == 8]
    assert sorted(chunks) == sorted([f"{n:08d}" for n in (0, 3, 4, 11, 0, 1, 2, 3)])


def test_the_description(web, x, vm):
    archive = tarfile.open(fileobj=io.BytesIO(web.get("/export", ref=vm)[2]))
    text = archive.extractfile("ova.xml").read().decode()
    assert text.startswith("<value><struct>")
    doc = xmlrpc.client.loads(f"<params><param>{text}</param></params>")[0][0]
    assert doc["version"]["export_vsn"] == "2" and doc["version"]["xapi_major"] == "2"
    assert "OpaqueRef:" not in text.replace("OpaqueRef:NULL", "")
    objects = {o["id"]: o for o in doc["objects"]}
    record = [o["snapshot"] for o in doc["objects"] if o["class"] == "VM"][0]
    assert record["name_label"] == "traveller" and record["power_state"] == "Halted"
    assert record["uuid"] == x.VM.get_uuid(vm)
    assert sorted(record) == sorted(x.VM.get_record(vm))
    assert {objects[r]["class"] for r in record["VBDs"]} == {"VBD"}
    assert [o["class"] for o in doc["objects"]] == \
        sorted((o["class"] for o in doc["objects"]),
               key=["VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "network", "VDI",
                    "SR"].index)


@pytest.mark.parametrize("how,magic", [("true", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")])
def test_compressed(web, x, vm, made, how, magic):
    archive = web.get("/export", ref=vm, use_compression=how)[2]
    assert archive.startswith(magic)
    made += imported(web, archive)
    assert [web.get("/export_raw_vdi", vdi=v)[2] for v in disks_of(x, made[0])] == CONTENTS


def test_restore(web, x, vm, made):
    """With restore=true uuid and MAC come back; while the old one is there it is refused."""
    archive = web.get("/export", ref=vm)[2]
    assert failed(web, archive, restore="true") == ["DUPLICATE_VM", vm]
    uuid, mac = x.VM.get_uuid(vm), x.VIF.get_MAC(x.VM.get_VIFs(vm)[0])
    destroy(x, vm)
    made += imported(web, archive, restore="true")
    assert x.VM.get_uuid(made[0]) == uuid
    assert x.VIF.get_MAC(x.VM.get_VIFs(made[0])[0]) == mac


def test_a_network_that_is_not_here(web, x, vm, made):
    net = x.network.create({"name_label": "elsewhere", "name_description": "", "MTU": "9000",
                            "other_config": {}, "bridge": "", "managed": True, "tags": []})
    x.VIF.move(x.VM.get_VIFs(vm)[0], net)
    archive = web.get("/export", ref=vm)[2]
    x.VIF.move(x.VM.get_VIFs(vm)[0], x.network.get_all()[0])
    x.network.destroy(net)
    made += imported(web, archive)
    found = x.VIF.get_network(x.VM.get_VIFs(made[0])[0])
    assert x.network.get_name_label(found) == "elsewhere"
    destroy(x, made[0])
    x.network.destroy(found)


def test_a_template(web, x, vm, made):
    x.VM.set_is_a_template(vm, True)
    made += imported(web, web.get("/export", ref=vm)[2])
    assert x.VM.get_is_a_template(made[0]) and not x.VM.get_is_default_template(made[0])
    x.VM.set_is_a_template(vm, False)
    x.VM.set_is_a_template(made[0], False)


def test_claims(web, x, vm):
    x.VM.start(vm, False, False)
    assert "export" not in x.VM.get_allowed_operations(vm)
    status, _, body = web.get("/export", ref=vm)
    assert status == 500 and b"VM_BAD_POWER_STATE" in body
    x.VM.hard_shutdown(vm)
    assert "export" in x.VM.get_allowed_operations(vm)


def test_suspended(web, x, vm, made):
    """As a halted one, or with its state; one that another kind of host put to sleep is refused."""
    x.VM.start(vm, False, False)
    x.VM.suspend(vm)
    made += imported(web, web.get("/export", ref=vm)[2])
    assert x.VM.get_power_state(made[0]) == "Halted"
    archive = web.get("/export", ref=vm, preserve_power_state="true")[2]
    made += imported(web, archive)
    assert x.VM.get_power_state(made[1]) == "Suspended"
    x.VM.resume(made[1], False, False)
    assert x.VM.get_power_state(made[1]) == "Running"
    x.VM.hard_shutdown(made[1])
    x.VM.hard_shutdown(vm)
    foreign = edited(archive, number("last_booted_record", "('struct' 'of' 'another')"))
    assert failed(web, foreign)[0] == "IMPORT_ERROR"
    lost = edited(archive, number("suspend_VDI", "Ref:99"))
    assert failed(web, lost) == ["IMPORT_ERROR_FAILED_TO_FIND_OBJECT", "Ref:99"]


# ---- what breaks ----

def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as t:
        return [(m.name, t.extractfile(m).read()) for m in t]


def packed(parts):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def archive(web, vm):
    return web.get("/export", ref=vm)[2]


def test_repacked_by_another_tar(web, x, archive, made):
    made += imported(web, packed(members(archive)))
    assert [web.get("/export_raw_vdi", vdi=v)[2] for v in disks_of(x, made[0])] == CONTENTS


def test_sums_of_old_archives(web, x, archive, made):
    parts = []
    for name, data in members(archive):
        if name.endswith(".xxhash"):
            sum_ = hashlib.sha1(parts[-1][1]).hexdigest().encode()
            parts.append((name[:-7] + ".checksum", sum_))
        else:
            parts.append((name, data))
    made += imported(web, packed(parts))
    wrong = [(n, b"0" * 40 if n.endswith("03.checksum") else d) for n, d in parts]
    assert failed(web, packed(wrong)) == ["IMPORT_ERROR_SOME_CHECKSUMS_FAILED"]


def test_a_wrong_sum(web, x, archive, made):
    parts = members(archive)
    wrong = packed([(n, b"F" * 16 if n.endswith("/00000003.xxhash") else d) for n, d in parts])
    assert failed(web, wrong) == ["IMPORT_ERROR_SOME_CHECKSUMS_FAILED"]
    made += imported(web, wrong, force="true")


def test_numbers_are_no_places(web, x, archive, made):
    """An empty chunk keeps a slow connection alive and uses a number up."""
    parts, number = [], None
    for name, data in members(archive):
        prefix, _, suffix = name.partition("/")
        if suffix == "00000000":
            number = 0
        if suffix[8:] == "" and suffix:
            here = int(suffix) + number
            parts.append((f"{prefix}/{here:08d}", data))
        elif suffix:
            parts.append((f"{prefix}/{here:08d}.xxhash", data))
            if suffix.startswith("00000000"):
                number = 1
                parts.append((f"{prefix}/00000001", b""))
                parts.append((f"{prefix}/00000001.xxhash", b"EF46DB3751D8E999"))
        else:
            parts.append((name, data))
    made += imported(web, packed(parts))
    assert [web.get("/export_raw_vdi", vdi=v)[2] for v in disks_of(x, made[0])] == CONTENTS


def test_cut_off_at_each_member(web, x, archive):
    """Also where the parts before look whole."""
    parts = members(archive)
    for n in range(0, len(parts), 3):
        error = failed(web, packed(parts[:n]) if n else b"\0" * 1024)
        assert error[0] in ("IMPORT_ERROR_PREMATURE_EOF", "IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND",
                            "IMPORT_ERROR_UNEXPECTED_FILE"), (n, error)


def test_a_torn_connection(web, x, archive):
    before = state_of(x)
    task = web.task()
    web.torn_put("/import", len(archive), archive[:len(archive) // 2], task_id=task)
    assert x.task.get_error_info(task) == ["IMPORT_ERROR_PREMATURE_EOF"]
    assert state_of(x) == before


@pytest.mark.parametrize("body,code", [
    (pattern("garbage", 200000), "IMPORT_ERROR"),
    (gzip.compress(pattern("garbage", 2000)), "IMPORT_ERROR"),
    (packed([("readme", b"hello")]), "IMPORT_ERROR_UNEXPECTED_FILE"),
    (packed([("ova.xml", b"<value>hello")]), "IMPORT_ERROR"),
    (packed([("ova.xml", b"<value><struct></struct></value>")]), "IMPORT_ERROR"),
    (packed([("ova.xml", b"<value><struct><member><name>version</name><value><struct/></value>"
              b"</member><member><name>objects</name><value><array><data>" + b"<value/>" * 5000 +
              b"</data></array></value></member></struct></value>")]), "IMPORT_ERROR"),
])
def test_garbage(web, body, code):
    assert failed(web, body)[0] == code


def edited(archive, change):
    """The archive with another description."""
    parts = members(archive)
    text = parts[0][1].decode()
    assert change(text) != text
    return packed([("ova.xml", change(text).encode())] + parts[1:])


def number(name, value):
    return lambda text: re.sub(f"(<name>{name}</name><value>)[^<]*", rf"\g<1>{value}", text)


@pytest.mark.parametrize("change,code", [
    (number("export_vsn", 7), "IMPORT_INCOMPATIBLE_VERSION"),
    (number("virtual_size", -5), "INVALID_VALUE"),
    (number("virtual_size", MIB), "IMPORT_ERROR"),
    (number("memory_static_min", 1 << 40), "MEMORY_CONSTRAINT_VIOLATION"),
    (number("VCPUs_max", "many"), "IMPORT_ERROR"),
    (number("VCPUs_max", 0), "INVALID_VALUE"),
    (number("userdevice", "seven"), "IMPORT_ERROR"),
    (number("userdevice", "0"), "IMPORT_ERROR"),
    (number("device", "99"), "IMPORT_ERROR"),
    (number("id", "Ref:0"), "IMPORT_ERROR"),
])
def test_descriptions_that_lie(web, archive, change, code):
    assert failed(web, edited(archive, change))[0] == code


def test_chunked_bodies_are_refused(web, x):
    status, _, _ = web.put("/import", iter([b"x"]), {"Transfer-Encoding": "chunked"})
    assert status == 403


def test_cancel(web, x, vm, archive):
    """The archive has stopped in the middle of a disk."""
    import socket
    from transfers import query
    before, task = state_of(x), web.task()
    with socket.create_connection(("127.0.0.1", web.daemon.port)) as s:
        target = query("/import", session_id=x.ref, task_id=task)
        s.sendall(f"PUT {target} HTTP/1.0\r\nContent-Length: {len(archive)}\r\n\r\n".encode())
        s.sendall(archive[:3 * MIB])
        end = time.monotonic() + 30
        while not x.task.get_progress(task):
            assert time.monotonic() < end
        x.task.cancel(task)
        while x.task.get_status(task) == "pending":
            assert time.monotonic() < end
    assert x.task.get_status(task) == "cancelled" and state_of(x) == before


# ---- descriptions alone ----

def test_metadata(web, x, vm, made):
    status, _, archive = web.get("/export_metadata", uuid=x.VM.get_uuid(vm))
    assert status == 200 and [n for n, _ in members(archive)] == ["ova.xml"]
    task = web.task()
    web.put("/import_metadata", archive, task_id=task, dry_run="true")
    assert x.task.get_status(task) == "success"
    assert len(x.VM.get_by_name_label("traveller")) == 1
    web.put("/import_metadata", archive)
    new = [v for v in x.VM.get_by_name_label("traveller") if v != vm]
    assert len(new) == 1 and disks_of(x, new[0]) == disks_of(x, vm)
    x.VM.destroy(new[0])


def test_metadata_with_other_disks(web, x, vm):
    archive = web.get("/export_metadata", ref=vm)[2]
    old = [x.VDI.get_uuid(v) for v in disks_of(x, vm)]
    other = make_disk(web, CONTENTS[1])
    target = {f"vdi:{old[0]}": x.VDI.get_uuid(other)}
    web.put("/import_metadata", archive, **target)
    new = [v for v in x.VM.get_by_name_label("traveller") if v != vm][0]
    assert disks_of(x, new) == [other, disks_of(x, vm)[1]]
    x.VM.destroy(new)
    x.VDI.destroy(other)


def test_metadata_without_disks(web, x, vm):
    archive = web.get("/export_metadata", ref=vm)[2]
    text = dict(members(archive))["ova.xml"].decode()
    lost = packed([("ova.xml", text.replace(x.VDI.get_uuid(disks_of(x, vm)[0]), "0" * 36).encode())])
    assert failed(web, lost, "/import_metadata") == ["IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND"]
    web.put("/import_metadata", lost, force="true")
    new = [v for v in x.VM.get_by_name_label("traveller") if v != vm][0]
    assert disks_of(x, new) == disks_of(x, vm)[1:]
    x.VM.destroy(new)
    bare = web.get("/export_metadata", ref=vm, excluded_device_types="vbd,vif")[2]
    assert b"<value>VBD</value>" not in bare and b"<value>VIF</value>" not in bare


def test_an_id_of_another_class_names_nothing(web, x, vm):
    """Devices of a "VM" that is a network here are nobody's, and not left about."""
    archive = web.get("/export_metadata", ref=vm)[2]
    text = dict(members(archive))["ova.xml"].decode()
    network = re.search(r"<value>network</value>.*?<name>id</name><value>(Ref:\d+)", text).group(1)
    wrong = re.sub(r"(<name>VM</name><value>)Ref:0", rf"\g<1>{network}", text)
    assert wrong != text
    web.put("/import_metadata", packed([("ova.xml", wrong.encode())]))
    new = [v for v in x.VM.get_by_name_label("traveller") if v != vm][0]
    assert x.VM.get_VIFs(new) == [] and x.VM.get_VBDs(new) == []
    owners = {x.VIF.get_VM(v) for v in x.VIF.get_all()} | {x.VBD.get_VM(v) for v in x.VBD.get_all()}
    assert owners <= set(x.VM.get_all())
    x.VM.destroy(new)


def test_metadata_of_all(web, x, vm):
    archive = web.get("/export_metadata", all="true")[2]
    assert b"traveller" in archive and b"Control domain" in archive
    archive = web.get("/export_metadata", all="true", include_dom0="false")[2]
    assert b"traveller" in archive and b"Control domain" not in archive


def test_roles(web, x, vm, daemon):
    with daemon.connect("vm-operator") as low:
        assert Client(daemon, low).get("/export", ref=vm)[0] == 403
    assert web.get("/export")[0] == 400
    assert web.get("/export", uuid="00000000-0000-0000-0000-000000000000")[0] == 404
    assert web.get("/export_metadata")[0] == 400
    assert web.put("/import", b"x", sr_id="OpaqueRef:none")[0] == 404


# ---- VM.import ----

class Archive(http.server.BaseHTTPRequestHandler):
    """Gives one archive, half of it, or nothing."""

    def do_GET(self):
        body = self.server.archive
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        if self.path not in ("/whole", "/half"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.path == "/whole" else body[:len(body) // 2])

    def log_message(self, *args):
        pass


@pytest.fixture
def elsewhere(archive):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive) as server:
        server.archive = archive
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_from_a_url(web, x, elsewhere, made):
    made += getattr(x.VM, "import")(elsewhere + "/moved", "OpaqueRef:NULL", False, False)
    assert [web.get("/export_raw_vdi", vdi=v)[2] for v in disks_of(x, made[0])] == CONTENTS


def test_urls_that_give_no_vm(x, elsewhere):
    before = state_of(x)
    fetch = getattr(x.VM, "import")
    for url, code in ((elsewhere + "/absent", "IMPORT_ERROR"), (elsewhere + "/half", "IMPORT_ERROR"),
                      ("http://127.0.0.1:9/", "IMPORT_ERROR"),
                      ("file:///etc/passwd", "VALUE_NOT_SUPPORTED")):
        assert failure(fetch, url, "OpaqueRef:NULL", False, False)[0] == code, url
        assert state_of(x) == before
    assert failure(fetch, elsewhere, "OpaqueRef:none", False, False)[:2] == ["HANDLE_INVALID", "SR"]
