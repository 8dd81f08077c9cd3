"""The database as a document: dumped, tried, restored, onto the same host and a fresh one."""
import gzip
import http.client
import io
import os
import re
import signal
import tarfile
import xml.etree.ElementTree as ET

import pytest

from simhost import failure, run_daemon

PATH = "/pool/xmldbdump"


@pytest.fixture
def fresh_daemon():
    """A second host, which nothing has happened on yet."""
    yield from run_daemon()


def dump(daemon, x):
    status, headers, body = daemon.post(f"{PATH}?session_id={x.ref}", None, method="GET")
    assert status == 200 and headers["Content-Type"] == "text/xml"
    return body


def put(daemon, x, body, query="", path=PATH):
    """The status, and the text behind it; None if the connection was reset."""
    c = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    c.request("PUT", f"{path}?session_id={x.ref}{query}", body=body)
    r = c.getresponse()
    try:
        return r.status, r.read().decode()
    except (ConnectionError, http.client.IncompleteRead):
        return r.status, None
    finally:
        c.close()


def restore(daemon, x, body, path=PATH):
    """Restores, and waits for the process that has begun anew."""
    with open(daemon.log, "rb") as f:
        at = len(f.read())
    assert put(daemon, x, body, "", path)[1].startswith("restored")
    daemon.wait_ready(at)
    return daemon.connect()


def make_vm(x, name):
    template = x.VM.get_by_name_label("Other install media")[0]
    vm = x.VM.clone(template, name)
    x.VM.provision(vm)
    return vm


def shown(x, cls):
    """Records by uuid, without what belongs to the moment."""
    records = getattr(x, cls).get_all_records().values()
    volatile = ("allowed_operations", "current_operations", "blobs")
    return {r["uuid"]: {k: v for k, v in r.items() if k not in volatile} for r in records}


def test_form(daemon, x):
    root = ET.fromstring(dump(daemon, x))
    pairs = {p.get("key"): p.get("value") for p in root.find("manifest")}
    assert pairs["schema_major_vsn"] == "5" and pairs["schema_minor_vsn"] == "909"
    assert int(pairs["generation_count"]) > 0
    tables = {t.get("name"): t for t in root.findall("table")}
    assert {"VM", "host", "pool", "SR", "PBD", "VDI", "VBD", "secret"} <= set(tables)
    assert "op" not in tables
    rows = {r.get("_ref"): r for r in tables["VM"]}
    for ref, vm in x.VM.get_all_records().items():
        assert rows[ref].get("uuid") == vm["uuid"] and rows[ref].get("ref") == ref
        assert rows[ref].get("name__label") == vm["name_label"].replace("%", "%%").replace(" ", "%.")


def test_every_vm_is_back_on_a_fresh_host(own_daemon, fresh_daemon):
    x = own_daemon.connect()
    names = [f"vm % {i}\twith <odd> \"letters\"" for i in range(5)]
    vms = [make_vm(x, n) for n in names]
    x.VM.start(vms[0], False, False)
    x.VM.add_to_other_config(vms[1], "key", "a value\nof lines")
    host = x.host.get_all_records().popitem()[1]
    before = {c: shown(x, c) for c in ("VM", "VBD", "VDI", "SR", "network")}
    body = dump(own_daemon, x)
    own_daemon.stop()

    y = fresh_daemon.connect()
    make_vm(y, "to be forgotten")
    token = y.call("event.from", ["VM"], "", 0.0)["token"]
    y = restore(fresh_daemon, y, body)
    after = shown(y, "VM")
    assert set(after) == set(before["VM"])
    assert sorted(v["name_label"] for v in after.values() if not v["is_a_template"] and
                  not v["is_control_domain"]) == sorted(names)
    assert set(shown(y, "VBD")) == set(before["VBD"]) and set(shown(y, "VDI")) == set(before["VDI"])
    assert set(shown(y, "network")) == set(before["network"])
    now = y.host.get_all_records().popitem()[1]
    assert now["uuid"] == host["uuid"] and y.pool.get_all_records().popitem()[1]["master"]
    one = y.VM.get_by_uuid(next(u for u, v in before["VM"].items() if v["name_label"] == names[1]))
    assert y.VM.get_other_config(one)["key"] == "a value\nof lines"
    first = y.VM.get_by_name_label(names[0])[0]
    assert y.VM.get_power_state(first) == "Halted"
    y.VM.start(first, False, False)
    assert y.VM.get_power_state(first) == "Running"
    assert failure(y.call, "event.from", ["VM"], token, 1.0)[0] == "EVENTS_LOST"


def test_running_guests_go_on(own_daemon):
    x = own_daemon.connect()
    vm, other = make_vm(x, "goes on"), make_vm(x, "halted in the copy")
    x.VM.start(vm, False, False)
    body = dump(own_daemon, x)
    x.VM.start(other, False, False)
    x.VM.set_name_label(vm, "renamed since")
    domids = [x.VM.get_domid(v) for v in (vm, other)]
    x = restore(own_daemon, x, body)
    assert x.VM.get_name_label(vm) == "goes on"
    assert [x.VM.get_power_state(v) for v in (vm, other)] == ["Running"] * 2
    assert [x.VM.get_domid(v) for v in (vm, other)] == domids
    x.VM.hard_shutdown(other)


def test_a_guest_that_the_copy_does_not_know_is_not_lost(own_daemon):
    x = own_daemon.connect()
    body = dump(own_daemon, x)
    vm = make_vm(x, "newer than the copy")
    x.VM.start(vm, False, False)
    task = x.task.create("restore", "")
    assert put(own_daemon, x, body, f"&task_id={task}") [0] == 200
    assert x.task.get_status(task) == "failure"
    assert x.task.get_error_info(task)[0] == "OPERATION_NOT_ALLOWED"
    assert x.VM.get_power_state(vm) == "Running"


def test_dry_run_changes_nothing(own_daemon):
    x = own_daemon.connect()
    body = dump(own_daemon, x)
    make_vm(x, "stays")
    before = shown(x, "VM")
    status, text = put(own_daemon, x, body, "&dry_run=true")
    assert status == 200 and re.match(r"fits rows=\d+ ignored_rows=0 ignored_values=0\n", text)
    assert shown(x, "VM") == before
    own_daemon.stop()
    own_daemon.start()
    assert shown(own_daemon.connect(), "VM") == before


@pytest.mark.parametrize("body, code", [
    (b"no document at all", "RESTORE_INCOMPATIBLE_VERSION"),
    (b"<database><manifest><pair key='schema_major_vsn' value='9'/></manifest></database>",
     "RESTORE_INCOMPATIBLE_VERSION"),
])
def test_refused(daemon, x, body, code):
    task = x.task.create("restore", "")
    assert put(daemon, x, body, f"&task_id={task}")[0] == 200
    assert x.task.get_error_info(task)[0] == code


def test_half_a_document(daemon, x):
    body = dump(daemon, x)
    task = x.task.create("restore", "")
    put(daemon, x, body[:len(body) // 2], f"&task_id={task}")
    assert x.task.get_error_info(task)[0] == "RESTORE_INCOMPATIBLE_VERSION"


def test_other_hosts_go(own_daemon):
    x = own_daemon.connect()
    root = ET.fromstring(dump(own_daemon, x))
    tables = {t.get("name"): t for t in root.findall("table")}
    other = dict(tables["host"][0].attrib)
    other.update({"ref": "OpaqueRef:other", "_ref": "OpaqueRef:other", "name__label": "other",
                  "uuid": "0d7c2f0e-3c0b-4f5c-9b0a-111111111111"})
    ET.SubElement(tables["host"], "row", other)
    pbd = dict(tables["PBD"][0].attrib)
    pbd.update({"ref": "OpaqueRef:pbd", "_ref": "OpaqueRef:pbd", "host": "OpaqueRef:other",
                "uuid": "0d7c2f0e-3c0b-4f5c-9b0a-222222222222"})
    ET.SubElement(tables["PBD"], "row", pbd)
    pbds = set(x.PBD.get_all())
    x = restore(own_daemon, x, ET.tostring(root))
    assert len(x.host.get_all()) == 1
    assert set(x.PBD.get_all()) == pbds


def test_killed_behind_the_commit(own_daemon):
    x = own_daemon.connect()
    body = dump(own_daemon, x)
    make_vm(x, "to be forgotten")
    assert put(own_daemon, x, body)[1].startswith("restored")
    own_daemon.stop(signal.SIGKILL)
    own_daemon.start()
    assert own_daemon.connect().VM.get_by_name_label("to be forgotten") == []



def backup(daemon, x):
    status, _, body = daemon.post(f"/host_backup?session_id={x.ref}", None, method="GET")
    assert status == 200
    return body


def blob_of(daemon, x, name):
    pool = x.pool.get_all()[0]
    ref = x.pool.get_blobs(pool)[name]
    return daemon.post(f"/blob?ref={ref}&session_id={x.ref}", None, method="GET")[2]


def test_a_host_is_back_with_its_blobs(own_daemon, fresh_daemon):
    x = own_daemon.connect()
    ref = x.pool.create_new_blob(x.pool.get_all()[0], "notes", "", False)
    own_daemon.post(f"/blob?ref={ref}&session_id={x.ref}", b"what was noted", method="PUT")
    make_vm(x, "of the old host")
    host = x.host.get_all_records().popitem()[1]["uuid"]
    body = backup(own_daemon, x)
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        assert tar.getnames() == ["backup.txt", f"blobs/{x.blob.get_uuid(ref)}", "database.xml"]
    y = fresh_daemon.connect()
    y = restore(fresh_daemon, y, body, "/host_restore")
    assert y.host.get_all_records().popitem()[1]["uuid"] == host
    assert y.VM.get_by_name_label("of the old host")
    assert blob_of(fresh_daemon, y, "notes") == b"what was noted"
    assert not os.path.exists(os.path.join(fresh_daemon.folder, "state", "blobs.staged"))


@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b"no archive" * 1000,
                                    lambda b: gzip.compress(b"no tar" * 1000)])
def test_a_damaged_backup_changes_nothing(daemon, x, damage):
    task = x.task.create("restore", "")
    put(daemon, x, damage(backup(daemon, x)), f"&task_id={task}", "/host_restore")
    assert x.task.get_status(task) == "failure"
    assert x.task.get_error_info(task)[0] == "RESTORE_INCOMPATIBLE_VERSION"
    assert not os.path.exists(os.path.join(daemon.folder, "state", "blobs.staged"))
