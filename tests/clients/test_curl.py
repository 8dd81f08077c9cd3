"""curl on every handler that is served: without a session, with too small a role, for an object that
is not there, with a method that is not its own, and as it is meant."""
import gzip
import io
import json
import os
import subprocess
import tarfile
import time
import uuid
import xml.etree.ElementTree as ET

import pytest

import simhost

with open(os.path.join(simhost.BUILD, "gen", "model.json"), encoding="utf-8") as f:
    HANDLERS = {h["name"]: h for h in json.load(f)["handlers"]}
# Those with an HTTP answer and a session; POSTs are calls, which have tests of their own.
SERVED = sorted(n for n, h in HANDLERS.items()
                if h["form"] in ("stream", "raw") and "unimplemented" not in h.get("flags", ())
                and h["method"] in ("GET", "PUT") and n != "connect_console_ws")
UNSERVED = sorted(n for n, h in HANDLERS.items() if "unimplemented" in h.get("flags", ())
                  and h["method"] != "CONNECT")
ROLES = simhost.ROLES


def curl(daemon, method, target, *options, user=None):
    """(status, body) as curl tells them; the status is 0 if there was no answer."""
    argv = ["curl", "-s", "--max-time", "60", "-w", "\n%{http_code}", *options]
    if user:
        argv += ["-u", f"{user}:{simhost.PASSWORD}"]
    if method == "PUT" and "-T" not in options:
        argv += ["-T", "/dev/null"]
    elif method not in ("GET", "PUT"):
        argv += ["-X", method]
    out = subprocess.run([*argv, daemon.url + target], stdout=subprocess.PIPE, check=False).stdout
    body, _, status = out.rpartition(b"\n")
    return int(status), body


class Things:
    """What handlers are asked for, made when first needed."""

    def __init__(self, daemon, folder):
        self.daemon, self.folder = daemon, folder
        self.x = daemon.connect()
        x = self.x
        self.vm_ref = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "curl's guest")
        x.VM.provision(self.vm_ref)
        self.vm = x.VM.get_uuid(self.vm_ref)
        self.sr_ref = x.pool.get_default_SR(x.pool.get_all()[0])
        self.sr = x.SR.get_uuid(self.sr_ref)
        self.vdi_ref = x.VDI.create({
            "name_label": "curl's disk", "SR": self.sr_ref, "virtual_size": str(1 << 20),
            "type": "user", "sharable": False, "read_only": False, "other_config": {}})
        self.vdi = x.VDI.get_uuid(self.vdi_ref)
        self.host = x.host.get_uuid(x.host.get_all()[0])
        self.blob = x.blob.get_uuid(x.pool.create_new_blob(
            x.pool.get_all()[0], f"curl {uuid.uuid4()}", "text/plain", False))

    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def ask(self, name, query="", *options, user="root"):
        h = HANDLERS[name]
        return curl(self.daemon, h["method"], h["path"] + query, *options, user=user)

    def get(self, name, query=""):
        status, body = self.ask(name, query)
        assert status == 200, body[:300]
        return body

    def put(self, name, query, content):
        """Success is told by the task."""
        task = self.x.task.create("curl", "")
        query += ("&" if "?" in query else "?") + f"task_id={task}"
        assert self.ask(name, query, "-T", self.file(name, content))[0] == 200
        assert self.x.task.get_status(task) == "success", self.x.task.get_error_info(task)


@pytest.fixture(scope="module")
def things(daemon, tmp_path_factory):
    t = Things(daemon, str(tmp_path_factory.mktemp("curl")))
    yield t
    t.x.VDI.destroy(t.vdi_ref)
    t.x.VM.destroy(t.vm_ref)


# ---- as it is meant ----

def tar_names(body):
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:*") as tar:
        return tar.getnames()


def blob(t):
    t.put("put_blob", f"?uuid={t.blob}", b"put by curl")
    assert t.get("get_blob", f"?uuid={t.blob}") == b"put by curl"


def database(t):
    body = t.get("get_pool_xml_db_sync")
    assert ET.fromstring(body).tag == "database"
    t.put("put_pool_xml_db_sync", "?dry_run=true", body)


def export(t):
    body = t.get("get_export", f"?uuid={t.vm}")
    assert "ova.xml" in tar_names(body)
    before = set(t.x.VM.get_all())
    t.put("put_import", f"?sr_uuid={t.sr}", body)
    assert len(set(t.x.VM.get_all()) - before) == 1


def metadata(t):
    body = t.get("get_export_metadata", f"?uuid={t.vm}")
    assert "ova.xml" in tar_names(body)
    t.put("put_import_metadata", "?dry_run=true", body)


def raw_disk(t):
    data = os.urandom(1 << 20)
    t.put("put_import_raw_vdi", f"?vdi={t.vdi}&format=raw", data)
    size = int(t.x.VDI.get_virtual_size(t.vdi_ref))  # rounded up to whole blocks
    assert t.get("get_export_raw_vdi", f"?vdi={t.vdi}&format=raw") == data.ljust(size, b"\0")


def logs(t):
    assert any(n.endswith("audit.log") for n in tar_names(t.get("get_host_logs_download")))
    assert gzip.decompress(t.get("get_host_logs_download"))


def status(t):
    names = tar_names(t.get("get_system_status", "?entries=xenserver-config"))
    assert any(n.endswith("version.txt") for n in names)


def host_backup(t):
    assert tar_names(t.get("get_host_backup"))[-1] == "database.xml"


def audit(t):
    assert b"task.create" in t.get("get_audit_log") or b"VM.clone" in t.get("get_audit_log")


def measured(t, name, query):
    """404 until something has been measured, which happens every five seconds."""
    end = time.monotonic() + 60
    while t.ask(name, query)[0] == 404 and time.monotonic() < end:
        time.sleep(0.2)
    assert ET.fromstring(t.get(name, query)).tag == "rrd"


def measured_guest(t, name):
    t.x.VM.start(t.vm_ref, False, False)
    measured(t, name, f"?uuid={t.vm}")
    t.x.VM.hard_shutdown(t.vm_ref)


def no_screen(t):
    """A simulated guest has none; the pictures of real ones are looked at in test_pages.py."""
    t.x.VM.start(t.vm_ref, False, False)
    try:
        status, body = t.ask("get_vncsnapshot", f"?uuid={t.vm}")
        assert (status, b"graphical console" in body) == (500, True), body
    finally:
        t.x.VM.hard_shutdown(t.vm_ref)


MEANT = {
    "get_vncsnapshot": no_screen,
    "get_blob": blob, "put_blob": blob,
    "get_pool_xml_db_sync": database, "put_pool_xml_db_sync": database,
    "get_export": export, "put_import": export,
    "get_export_metadata": metadata, "put_import_metadata": metadata,
    "get_export_raw_vdi": raw_disk, "put_import_raw_vdi": raw_disk,
    "get_host_backup": host_backup, "get_host_logs_download": logs, "get_system_status": status, "get_audit_log": audit,
    "rrd_updates": lambda t: t.get("rrd_updates", "?start=0&host=true"),
    "host_rrd": lambda t: measured(t, "host_rrd", ""),
    "get_host_rrds": lambda t: measured(t, "get_host_rrds", ""),
    "sr_rrd": lambda t: measured(t, "sr_rrd", f"?uuid={t.sr}"),
    "vm_rrd": lambda t: measured_guest(t, "vm_rrd"),
    "get_vm_rrds": lambda t: measured_guest(t, "get_vm_rrds"),
}


def plain(name):
    return lambda t: t.get(name)


def meaning(name):
    return MEANT.get(name) or plain(name)


@pytest.mark.parametrize("name", [n for n in SERVED if HANDLERS[n]["method"] == "GET"
                                  or n in MEANT])
def test_as_meant(things, name):
    meaning(name)(things)


# ---- as it is not ----

@pytest.mark.parametrize("name", SERVED)
def test_without_a_session(daemon, name):
    h = HANDLERS[name]
    status, body = curl(daemon, h["method"], h["path"] + "?uuid=x&ref=y&start=0")
    if "own-check" in h.get("flags", ()) and name != "get_blob":
        assert status != 500
    else:
        assert status == 401, body


@pytest.mark.parametrize("name", SERVED)
def test_with_too_small_a_role(daemon, name):
    h = HANDLERS[name]
    if h["role"] not in ROLES or h["role"] == "read-only" or "own-check" in h.get("flags", ()):
        return
    below = ROLES[ROLES.index(h["role"]) - 1]
    status, body = curl(daemon, h["method"], h["path"] + "?uuid=x&start=0", user=below)
    assert status == 403, body


@pytest.mark.parametrize("name", ["get_blob", "put_blob", "get_export", "get_export_metadata",
                                  "vm_rrd", "get_vm_rrds", "sr_rrd", "get_vncsnapshot"])
def test_of_nobody(things, name):
    if name not in SERVED:
        return
    assert things.ask(name, f"?uuid={uuid.uuid4()}")[0] == 404
    assert things.ask(name, "?session_id=OpaqueRef:dead", user=None)[0] == 401


@pytest.mark.parametrize("name", SERVED)
def test_with_another_method(daemon, name):
    """As XenServer has it: 501 for a method that nothing answers to, 403 where another path does; a
    path that no file stands for is 404."""
    h = HANDLERS[name]
    assert curl(daemon, "DELETE", h["path"], user="root")[0] in (501, 403)
    assert curl(daemon, "HEAD", h["path"], "-I", user="root")[0] in (403, 404, 501)
    other = "PUT" if h["method"] == "GET" else "GET"
    if not any(o["method"] == other and o["path"] != "/" and h["path"].startswith(o["path"])
               for o in HANDLERS.values()):
        assert curl(daemon, other, h["path"], user="root")[0] in (403, 404, 501)


@pytest.mark.parametrize("name", UNSERVED)
def test_not_served_yet(daemon, name):
    h = HANDLERS[name]
    assert curl(daemon, h["method"], h["path"], user="root")[0] == 501
