"""What tells about a host: status report, logs, audit log, crash dumps."""
import http.server
import io
import json
import os
import tarfile
import threading
import xml.etree.ElementTree as ET
import zipfile

import pytest

from simhost import PASSWORD, failure, run_daemon


def get(daemon, x, path):
    status, headers, body = daemon.post(path + ("&" if "?" in path else "?") +
                                        f"session_id={x.ref}", None, method="GET")
    assert status == 200, body
    return headers, body


def members(body, mode="r:*"):
    """Names below the report's folder, and contents."""
    with tarfile.open(fileobj=io.BytesIO(body), mode=mode) as tar:
        return {m.name.split("/", 1)[1]: tar.extractfile(m).read() for m in tar if m.isreg()}


@pytest.fixture
def secret(x):
    ref = x.secret.create({"value": "the-value-of-a-secret", "other_config": {}})
    pool = x.pool.get_all()[0]
    x.pool.add_to_other_config(pool, "proxy_password", "the-password-of-a-proxy")
    yield ref
    x.pool.remove_from_other_config(pool, "proxy_password")
    x.secret.destroy(ref)


def test_report_has_everything_but_secrets(daemon, x, secret):
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "a guest of the report")
    x.VM.provision(vm)
    x.VM.start(vm, False, False)
    uuid = x.VM.get_uuid(vm)
    headers, body = get(daemon, x, "/system-status")
    assert headers["Content-Type"] == "appliation/x-tar"
    x.VM.hard_shutdown(vm)
    found = members(body, "r:")
    assert {"contents.txt", "version.txt", "database.xml", "cairnctl-dump.txt", "storage.txt",
            "kernel.log", "proc/meminfo", "proc/mounts", "log/cairnd-end.log", "log/audit.log",
            f"guests/{uuid}/boot-record.json"} <= set(found)
    assert b"product_version=" in found["version.txt"]
    assert x.SR.get_all_records().popitem()[1]["uuid"].encode() in found["storage.txt"]
    assert b"== net" in found["cairnctl-dump.txt"]
    assert b"event=ready" in found["log/cairnd-end.log"]
    rows = ET.fromstring(found["database.xml"]).findall("table[@name='secret']/row")
    assert rows and all(r.get("value") == "REDACTED" for r in rows)
    for word in (PASSWORD, x.ref, "the-value-of-a-secret", "the-password-of-a-proxy"):
        assert word.encode() not in body, word
    users = os.path.join(daemon.folder, "users")
    with open(users, encoding="utf-8") as f:
        assert f.readline().split(":")[1].strip().encode() not in body


@pytest.mark.parametrize("output, mode", [("tar", "r:"), ("tar.bz2", "r:bz2")])
def test_forms(daemon, x, output, mode):
    body = get(daemon, x, f"/system-status?output={output}&entries=xenserver-config,nonsense")[1]
    found = members(body, mode)
    assert set(found) == {"contents.txt", "version.txt"}
    assert b"nonsense" in found["contents.txt"]


def test_zip(daemon, x):
    headers, body = get(daemon, x, "/system-status?output=zip&entries=xenserver-config")
    assert headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(body)) as z:
        assert z.testzip() is None and len(z.namelist()) == 2


def test_capabilities(daemon, x):
    host = x.host.get_all()[0]
    text = x.host.get_system_status_capabilities(host)
    assert get(daemon, x, "/system-status?list")[1].decode() == text
    root = ET.fromstring(text)
    assert root.tag == "system-status-capabilities"
    caps = {c.get("key"): c for c in root.findall("capability")}
    assert caps["xenserver-logs"].get("default-checked") == "yes"
    assert caps["host-crashdump-logs"].get("default-checked") == "no"
    for c in caps.values():
        assert {"content-type", "pii", "max-size", "min-size", "max-time", "min-time"} <= set(c.keys())
        entries = members(get(daemon, x, f"/system-status?entries={c.get('key')}")[1])
        assert "contents.txt" in entries
    assert failure(x.host.get_system_status_capabilities, "OpaqueRef:no")[0] == "HANDLE_INVALID"


def test_refused(daemon, x):
    assert daemon.post(f"/system-status?output=rar&session_id={x.ref}", None, method="GET")[0] == 400
    assert daemon.post(f"/audit_log?since=soon&session_id={x.ref}", None, method="GET")[0] == 400


def test_logs(daemon, x):
    host = x.host.get_all()[0]
    found = members(get(daemon, x, "/host_logs_download")[1], "r:gz")
    assert "log/audit.log" in found and "database.xml" not in found
    assert b"event=ready" in found["log/cairnd-end.log"]
    assert "event=ready" in x.host.get_log(host)
    assert failure(x.host.get_log, "OpaqueRef:no")[0] == "HANDLE_INVALID"


def test_audit_log(daemon, x):
    ref = x.VM_appliance.create({"name_label": "for the audit log"})
    lines = get(daemon, x, "/audit_log")[1].decode().splitlines()
    assert any("VM_appliance.create" in line for line in lines)
    assert get(daemon, x, "/audit_log?since=2099-01-01T00:00:00Z")[1] == b""
    x.VM_appliance.destroy(ref)


def test_config_sync(daemon, x):
    for path in ("/sync_config_files", "/sync_config_files/2"):
        headers, body = get(daemon, x, path)
        assert headers["Content-Type"] == "application/json"
        with open(os.path.join(daemon.folder, "users"), encoding="utf-8") as f:
            assert json.loads(body)["password"] == f.readline().split(":")[1].strip()
    operator = daemon.connect("pool-operator")
    assert daemon.post(f"/sync_config_files?session_id={operator.ref}", None, method="GET")[0] == 403


@pytest.fixture
def receiver():
    """Somebody who takes uploads: (url, what came by path)."""
    got = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = 500 if "refuse" in self.path else 200
            got[self.path] = body
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()


def test_bugreport_upload(x, receiver):
    host = x.host.get_all()[0]
    url, got = receiver
    x.host.bugreport_upload(host, f"{url}/report.tar.bz2", {})
    assert "version.txt" in members(got["/report.tar.bz2"], "r:bz2")
    assert failure(x.host.bugreport_upload, host, f"{url}/refuse", {})[0] == \
        "SYSTEM_STATUS_RETRIEVAL_FAILED"
    assert failure(x.host.bugreport_upload, host, "file:///tmp/x", {})[0] == "INVALID_VALUE"
    assert failure(x.host.bugreport_upload, "OpaqueRef:no", url, {})[0] == "HANDLE_INVALID"


def test_kernel_log(x):
    """A development run clears its own view alone."""
    host = x.host.get_all()[0]
    try:
        before = x.host.dmesg(host)
    except Exception as e:  # the machine shows its kernel's log to nobody
        assert failure(x.host.dmesg, host)[0] == "INTERNAL_ERROR", e
        before = None
    if before is not None:
        assert x.host.dmesg_clear(host) == before
        assert len(x.host.dmesg(host)) < max(len(before), 1)
    assert failure(x.host.dmesg, "OpaqueRef:no")[0] == "HANDLE_INVALID"
    assert failure(x.host.dmesg_clear, "OpaqueRef:no")[0] == "HANDLE_INVALID"


@pytest.fixture
def crashed():
    """A host on whose machine something was dumped before."""
    daemons = run_daemon()
    daemon = next(daemons)
    daemon.stop()
    folder = os.path.join(daemon.folder, "state", "crash")
    os.makedirs(os.path.join(folder, "127.0.0.1-2026"))
    for name, text in (("vmcore", "a dump"), ("127.0.0.1-2026/dmesg", "oops"),
                       ("127.0.0.1-2026/vmcore", "another")):
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write(text)
    daemon.start()
    yield daemon, folder
    next(daemons, None)


def test_crash_dumps(crashed, receiver):
    daemon, folder = crashed
    url, got = receiver
    x = daemon.connect()
    dumps = {int(r["size"]): ref for ref, r in x.host_crashdump.get_all_records().items()}
    assert set(dumps) == {6, 11}
    x.host_crashdump.upload(dumps[6], f"{url}/file", {})
    assert got["/file"] == b"a dump"
    x.host_crashdump.upload(dumps[11], f"{url}/folder", {})
    with tarfile.open(fileobj=io.BytesIO(got["/folder"]), mode="r:gz") as tar:
        assert sorted(tar.getnames()) == ["dmesg", "vmcore"]
    assert failure(x.host_crashdump.upload, dumps[6], "nowhere", {})[0] == "INVALID_VALUE"
    for ref in dumps.values():
        x.host_crashdump.destroy(ref)
    assert os.listdir(folder) == [] and x.host_crashdump.get_all() == []
    assert failure(x.host_crashdump.destroy, dumps[6])[0] == "HANDLE_INVALID"
