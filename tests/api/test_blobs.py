"""Blobs: data that hangs off objects, in and out over HTTP."""
import contextlib
import http.client
import os
import signal
import socket

import pytest

from simhost import failure

OWNERS = ("VM", "host", "pool", "SR", "network")


def get(daemon, where, session=None):
    query = where if session is None else f"{where}&session_id={session}"
    return daemon.post(f"/blob?{query}", None, method="GET")


def put(daemon, x, where, body, **headers):
    return daemon.post(f"/blob?{where}&session_id={x.ref}", body, method="PUT", headers=headers)[0]


@pytest.fixture
def blob(x):
    ref = x.blob.create("text/plain", False)
    yield ref
    try:
        x.blob.destroy(ref)
    except Exception:  # the test has destroyed it
        assert ref not in x.blob.get_all()


def files(daemon):
    folder = os.path.join(daemon.folder, "state", "blobs")
    return os.listdir(folder) if os.path.isdir(folder) else []


def test_in_and_out(daemon, x, blob):
    data = os.urandom(300_000)
    before = x.blob.get_record(blob)
    assert before["size"] == "0" and before["mime_type"] == "text/plain"
    assert put(daemon, x, f"ref={blob}", data) == 200
    after = x.blob.get_record(blob)
    assert after["size"] == "300000" and after["last_updated"] > before["last_updated"]
    status, headers, body = get(daemon, f"uuid={after['uuid']}", x.ref)
    assert (status, body) == (200, data)
    assert headers["Content-Type"] == "text/plain" and headers["Content-Length"] == "300000"
    assert put(daemon, x, f"uuid={after['uuid']}", b"short") == 200
    assert get(daemon, f"ref={blob}", x.ref)[2] == b"short"
    assert put(daemon, x, f"ref={blob}", iter([b"3\r\nin \r\n6\r\nchunks\r\n0\r\n\r\n"]),
               **{"Transfer-Encoding": "chunked"}) == 200
    assert get(daemon, f"ref={blob}", x.ref)[2] == b"in chunks"


@pytest.mark.parametrize("cls", OWNERS)
def test_owners(daemon, x, cls):
    messages = getattr(x, cls)
    owner = messages.get_all()[0]
    name = f"notes of {cls}"
    ref = messages.create_new_blob(owner, name, "", False)
    assert messages.get_record(owner)["blobs"][name] == ref
    record = x.blob.get_record(ref)
    assert record["name_label"] == name and record["mime_type"] == "application/octet-stream"
    assert failure(messages.create_new_blob, owner, name, "", False)[0] == "MAP_DUPLICATE_KEY"
    assert failure(messages.create_new_blob, "OpaqueRef:no", name, "", False)[0] == "HANDLE_INVALID"
    assert put(daemon, x, f"ref={ref}", b"data") == 200
    uuid = record["uuid"]
    assert uuid in files(daemon)
    x.blob.destroy(ref)
    assert name not in messages.get_record(owner)["blobs"]
    assert uuid not in files(daemon)
    assert failure(x.blob.destroy, ref)[0] == "HANDLE_INVALID"


def test_public_needs_no_session(daemon, x):
    pool = x.pool.get_all()[0]
    public = x.pool.create_new_blob(pool, "public", "text/html", True)
    private = x.pool.create_new_blob(pool, "private", "text/html", False)
    for ref in (public, private):
        assert put(daemon, x, f"ref={ref}", b"<p>hello</p>") == 200
    assert get(daemon, f"ref={public}")[0::2] == (200, b"<p>hello</p>")
    assert get(daemon, f"ref={private}")[0] == 401
    assert get(daemon, "ref=OpaqueRef:no")[0] == 401
    x.blob.set_public(private, True)
    assert get(daemon, f"ref={private}")[0] == 200
    assert daemon.post(f"/blob?ref={public}", b"mine", method="PUT")[0] == 401
    for ref in (public, private):
        x.blob.destroy(ref)


def test_refused(daemon, x, blob):
    assert get(daemon, f"ref={blob}", x.ref)[0] == 404  # nothing was put into it yet
    assert get(daemon, "ref=OpaqueRef:no", x.ref)[0] == 404
    assert get(daemon, "uuid=no", x.ref)[0] == 404
    assert get(daemon, "x=y", x.ref)[0] == 400
    assert put(daemon, x, "ref=OpaqueRef:no", b"data") == 404
    with daemon.connect("read-only") as reader:
        assert put(daemon, reader, f"ref={blob}", b"data") == 403
        assert failure(reader.blob.create, "", False)[0] == "RBAC_PERMISSION_DENIED"


def test_too_large_is_refused_before_it_comes(daemon, x, blob):
    c = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    c.putrequest("PUT", f"/blob?ref={blob}&session_id={x.ref}")
    c.putheader("Content-Length", str(1 << 60))
    c.endheaders()
    r = c.getresponse()
    assert r.status == 500 and b"OUT_OF_SPACE" in r.read()
    c.close()


def test_a_broken_upload_changes_nothing(daemon, x, blob):
    assert put(daemon, x, f"ref={blob}", b"whole") == 200
    task = x.task.create("upload", "")
    with socket.create_connection(("127.0.0.1", daemon.port)) as s:
        s.sendall(f"PUT /blob?ref={blob}&session_id={x.ref}&task_id={task} HTTP/1.1\r\nHost: h\r\n"
                  "Content-Length: 1000\r\n\r\nonly this".encode())
        s.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while s.recv(4096):
                pass
    assert x.task.get_status(task) == "failure"
    assert x.task.get_error_info(task)[0] == "IMPORT_ERROR_PREMATURE_EOF"
    assert get(daemon, f"ref={blob}", x.ref)[2] == b"whole"
    assert x.blob.get_size(blob) == "5"
    assert files(daemon) == [x.blob.get_uuid(blob)]


def test_header_cannot_be_injected(daemon, x):
    ref = x.blob.create("text/html\r\nX-Evil: yes", True)
    assert put(daemon, x, f"ref={ref}", b"data") == 200
    headers = get(daemon, f"ref={ref}")[1]
    assert headers["Content-Type"] == "application/octet-stream" and "X-Evil" not in headers
    x.blob.destroy(ref)


def test_after_a_crash(own_daemon):
    """Pieces and files of nobody go, sizes are put right; what was answered is there."""
    x = own_daemon.connect()
    ref = x.blob.create("text/plain", False)
    assert put(own_daemon, x, f"ref={ref}", b"12345") == 200
    uuid = x.blob.get_uuid(ref)
    own_daemon.stop(signal.SIGKILL)
    folder = os.path.join(own_daemon.folder, "state", "blobs")
    for name in (f"{uuid}.abcdef", "0d7c2f0e-3c0b-4f5c-9b0a-111111111111", "README"):
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write("left over")
    with open(os.path.join(folder, uuid), "ab") as f:
        f.write(b"678")  # as if the process had died before it told the record
    own_daemon.start()
    x = own_daemon.connect()
    assert sorted(os.listdir(folder)) == sorted([uuid, "README"])
    assert x.blob.get_size(ref) == "8"


def test_it_goes_with_its_vm(daemon, x):
    template = x.VM.get_by_name_label("Other install media")[0]
    vm = x.VM.clone(template, "with a blob")
    blob = x.VM.create_new_blob(vm, "notes", "", False)
    x.VM.destroy(vm)
    assert failure(x.blob.get_record, blob)[0] == "HANDLE_INVALID"
