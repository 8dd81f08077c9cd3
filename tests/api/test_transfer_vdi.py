"""/export_raw_vdi and /import_raw_vdi: bytes in, the same bytes out, in every format."""
import http.client
import io
import json
import socket
import struct
import subprocess
import tarfile
import time

import pytest

from simhost import PASSWORD, failure
from transfers import MIB, Client, basic, pattern, query, sparse
import xapi

SIZE = 12 * MIB
CONTENT = sparse(SIZE)


@pytest.fixture
def vdi(x):
    sr = x.SR.get_by_name_label("Local storage")[0]
    ref = x.VDI.create({"name_label": "moved", "SR": sr, "virtual_size": str(SIZE), "type": "user",
                        "sharable": False, "read_only": False, "other_config": {}})
    yield ref
    try:
        x.VDI.destroy(ref)
    except xapi.Failure as e:
        assert e.code == "HANDLE_INVALID"


def put(daemon, x, body, headers=None, **args):
    """A PUT of /import_raw_vdi; returns the status when the connection has ended."""
    status, head, _ = daemon.post(query("/import_raw_vdi", session_id=x.ref, **args), body,
                                  headers, method="PUT")
    return status, head


def get(daemon, x, **args):
    status, head, body = daemon.post(query("/export_raw_vdi", session_id=x.ref, **args), None,
                                     method="GET")
    return status, head, body


def new_task(x):
    return x.task.create("transfer", "a test")


def fill(daemon, x, vdi):
    assert put(daemon, x, CONTENT, vdi=vdi)[0] == 200
    return vdi


def test_raw_there_and_back(daemon, x, vdi):
    task = new_task(x)
    status, _ = put(daemon, x, CONTENT, vdi=vdi, task_id=task)
    record = x.task.get_record(task)
    assert status == 200 and record["status"] == "success" and record["progress"] == 1.0
    assert record["result"] == f"<value>{vdi}</value>"
    status, head, body = get(daemon, x, vdi=x.VDI.get_uuid(vdi))
    assert status == 200 and body == CONTENT
    assert head["content-type"] == "application/octet-stream" and "content-length" not in head
    assert head["content-disposition"] == f'attachment; filename="{x.VDI.get_uuid(vdi)}.raw"'
    x.task.destroy(task)


def test_a_download_makes_a_task_of_its_own(daemon, x, vdi):
    task = get(daemon, x, vdi=vdi)[1]["task-id"]
    record = x.task.get_record(task)
    assert record["name_label"] == "Exporting VDI" and record["status"] == "success"
    assert x.VDI.get_current_operations(vdi) == {}


def test_vhd_by_another_reader(daemon, x, vdi, tmp_path):
    fill(daemon, x, vdi)
    status, head, body = get(daemon, x, vdi=vdi, format="vhd")
    assert status == 200 and head["content-type"] == "application/vhd"
    assert body[:8] == b"conectix" and body[-512:] == body[:512]
    assert len(body) < SIZE, "holes are not sent"
    (tmp_path / "d.vhd").write_bytes(body)
    (tmp_path / "d.raw").write_bytes(CONTENT)
    subprocess.run(["qemu-img", "compare", "-f", "vpc", "-F", "raw", tmp_path / "d.vhd",
                    tmp_path / "d.raw"], check=True, stdout=subprocess.PIPE)


def test_vhd_of_another_writer(daemon, x, vdi, tmp_path):
    put(daemon, x, pattern("old", SIZE), vdi=vdi)
    (tmp_path / "d.raw").write_bytes(CONTENT)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on",
                    tmp_path / "d.raw", tmp_path / "d.vhd"], check=True)
    task = new_task(x)
    put(daemon, x, (tmp_path / "d.vhd").read_bytes(), vdi=vdi, format="vhd", task_id=task)
    assert x.task.get_error_info(task) == []
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_vhd_with_an_unknown_length(daemon, x, vdi):
    """xen-api announces 1 PiB and cuts the connection behind the last byte."""
    fill(daemon, x, vdi)
    image = get(daemon, x, vdi=vdi, format="vhd")[2]
    put(daemon, x, bytes(SIZE), vdi=vdi)
    task = new_task(x)
    with socket.create_connection(("127.0.0.1", daemon.port)) as s:
        path = query("/import_raw_vdi", session_id=x.ref, vdi=vdi, format="vhd", task_id=task)
        s.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 50}\r\n\r\n".encode())
        s.sendall(image)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    assert x.task.get_status(task) == "success"
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def compared(a, a_format, b, b_format):
    subprocess.run(["qemu-img", "compare", "-f", a_format, "-F", b_format, a, b], check=True,
                   stdout=subprocess.PIPE)


def checked(path):
    """Nothing is wrong, and nothing is lost."""
    told = subprocess.run(["qemu-img", "check", "-f", "qcow2", "--output=json", path], check=True,
                          stdout=subprocess.PIPE).stdout
    return json.loads(told)


def test_qcow2_by_another_reader(daemon, x, vdi, tmp_path):
    fill(daemon, x, vdi)
    status, head, body = get(daemon, x, vdi=vdi, format="qcow2")
    assert status == 200 and head["content-type"] == "application/x-qemu-disk"
    assert head["content-disposition"] == f'attachment; filename="{x.VDI.get_uuid(vdi)}.qcow2"'
    image, raw = tmp_path / "d.qcow2", tmp_path / "d.raw"
    image.write_bytes(body)
    raw.write_bytes(CONTENT)
    assert len(body) < SIZE, "holes are not sent"
    told = checked(image)
    assert told["image-end-offset"] == len(body) and told["total-clusters"] == SIZE // 65536
    compared(image, "qcow2", raw, "raw")
    put(daemon, x, pattern("old", SIZE), vdi=vdi)
    assert put(daemon, x, body, vdi=vdi, format="qcow2")[0] == 200
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_an_empty_disk_as_qcow2(daemon, x, tmp_path):
    """A table of the first kind in two clusters, and nothing in it; the last cluster is cut."""
    size = (8192 * 8192 + 3) * 65536 + 512
    sr = x.SR.get_by_name_label("Local storage")[0]
    vdi = x.VDI.create({"name_label": "wide", "SR": sr, "virtual_size": str(size), "type": "user",
                        "sharable": False, "read_only": False, "other_config": {}})
    try:
        assert int(x.VDI.get_virtual_size(vdi)) >= size
        piece = struct.pack("<QI", size - 512, 512) + b"x" * 512 + bytes(12)
        put(daemon, x, piece, vdi=vdi, chunked="true")
        body = get(daemon, x, vdi=vdi, format="qcow2")[2]
        (tmp_path / "d.qcow2").write_bytes(body)
        assert len(body) == 7 * 65536, "header, two of L1, two of counts, L2, data"
        assert checked(tmp_path / "d.qcow2")["allocated-clusters"] == 1
        read = subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"read -P 120 {size - 512} 512",
                               "-c", f"read -P 0 {size - 1024} 512", tmp_path / "d.qcow2"],
                              text=True, stdout=subprocess.PIPE, check=True).stdout
        assert "failed" not in read
    finally:
        x.VDI.destroy(vdi)


def test_qcow2_differences(daemon, x, vdi, tmp_path):
    """A chain of exports is one: QEMU reads the difference over what it was made of."""
    fill(daemon, x, vdi)
    copy = x.VDI.copy(vdi, x.VDI.get_SR(vdi))
    try:
        changed = bytearray(CONTENT)
        changed[6 * MIB:6 * MIB + 512] = pattern("d", 512)
        changed[0:65536] = bytes(65536)
        assert put(daemon, x, bytes(changed), vdi=copy)[0] == 200
        base, top = x.VDI.get_uuid(vdi), x.VDI.get_uuid(copy)
        for uuid, more in ((base, {}), (top, {"base": base})):
            body = get(daemon, x, vdi=uuid, format="qcow2", **more)[2]
            (tmp_path / f"{uuid}.qcow2").write_bytes(body)
        assert len(body) == 7 * 65536, "header, L1, two of counts, L2, two clusters"
        checked(tmp_path / f"{top}.qcow2")
        (tmp_path / "d.raw").write_bytes(changed)
        compared(tmp_path / f"{top}.qcow2", "qcow2", tmp_path / "d.raw", "raw")
        put(daemon, x, body, vdi=vdi, format="qcow2")
        assert get(daemon, x, vdi=vdi)[2] == changed, "onto what it was made of"
    finally:
        x.VDI.destroy(copy)


def test_a_qcow2_difference_of_another_writer(daemon, x, vdi, tmp_path):
    """What it hides becomes zero, what it does not have stays."""
    fill(daemon, x, vdi)
    base, top, raw = (tmp_path / n for n in ("base.qcow2", "top.qcow2", "d.raw"))
    base.write_bytes(get(daemon, x, vdi=vdi, format="qcow2")[2])
    for argv in (["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top],
                 ["qemu-io", "-f", "qcow2", "-c", "write -z 0 64k", "-c", "write -P 5 6M 70k", top],
                 ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, raw]):
        subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    task = new_task(x)
    put(daemon, x, top.read_bytes(), vdi=vdi, format="qcow2", task_id=task)
    assert x.task.get_error_info(task) == []
    assert raw.read_bytes() != CONTENT and get(daemon, x, vdi=vdi)[2] == raw.read_bytes()
    task = new_task(x)
    before = sorted(x.VM.get_all())
    daemon.post(query("/import", session_id=x.ref, task_id=task), top.read_bytes(), method="PUT")
    assert "is a difference" in x.task.get_error_info(task)[1] and sorted(x.VM.get_all()) == before


def test_differences(daemon, x, vdi):
    fill(daemon, x, vdi)
    copy = x.VDI.copy(vdi, x.VDI.get_SR(vdi))
    try:
        changed = bytearray(CONTENT)
        changed[6 * MIB:6 * MIB + 512] = pattern("d", 512)
        assert put(daemon, x, bytes(changed), vdi=copy)[0] == 200
        image = get(daemon, x, vdi=copy, format="vhd", base=x.VDI.get_uuid(vdi))[2]
        assert struct.unpack(">I", image[60:64]) == (4,), "differencing"
        assert image[512 + 40:512 + 56].hex() == x.VDI.get_uuid(vdi).replace("-", "")
        assert 2 * MIB < len(image) < 3 * MIB, "one block"
        put(daemon, x, image, vdi=vdi, format="vhd")
        assert get(daemon, x, vdi=vdi)[2] == bytes(changed)
    finally:
        x.VDI.destroy(copy)


def test_tar(daemon, x, vdi):
    fill(daemon, x, vdi)
    body = get(daemon, x, vdi=vdi, format="tar")[2]
    names = tarfile.open(fileobj=io.BytesIO(body)).getnames()
    chunks = [f"vdi/{n:08d}" for n in (0, 3, 4, 11)]
    assert names == [n for c in chunks for n in (c, c + ".xxhash")]
    put(daemon, x, pattern("old", SIZE), vdi=vdi)
    put(daemon, x, body, vdi=vdi, format="tar")
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_tar_with_a_wrong_sum(daemon, x, vdi):
    fill(daemon, x, vdi)
    body = bytearray(get(daemon, x, vdi=vdi, format="tar")[2])
    body[600] ^= 1
    task = new_task(x)
    put(daemon, x, bytes(body), vdi=vdi, format="tar", task_id=task)
    assert x.task.get_error_info(task) == ["IMPORT_ERROR_SOME_CHECKSUMS_FAILED"]


def test_pieces(daemon, x, vdi):
    put(daemon, x, pattern("old", SIZE), vdi=vdi)
    unit = 5 * 65536
    parts = [CONTENT[at:at + unit] for at in range(0, SIZE, unit)]
    pieces = b"".join(struct.pack("<QI", n * unit, len(p)) + p for n, p in enumerate(parts))
    pieces += bytes(12)
    task = new_task(x)
    put(daemon, x, pieces, vdi=vdi, chunked="", task_id=task)
    assert x.task.get_error_info(task) == []
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_pieces_that_are_no_whole_sectors(daemon, x, vdi):
    fill(daemon, x, vdi)
    put(daemon, x, struct.pack("<QI", 700, 1000) + b"x" * 1000 + bytes(12), vdi=vdi, chunked="true")
    assert get(daemon, x, vdi=vdi)[2] == CONTENT[:700] + b"x" * 1000 + CONTENT[1700:]


def test_transfer_encoding_chunked(daemon, x, vdi):
    body = (CONTENT[at:at + 100000] for at in range(0, SIZE, 100000))
    c = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    c.request("PUT", query("/import_raw_vdi", session_id=x.ref, vdi=vdi), body=body,
              encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert c.getresponse().read() == b""
    c.close()
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_a_new_vdi(daemon, x):
    sr = x.SR.get_by_name_label("Local storage")[0]
    task = new_task(x)
    put(daemon, x, CONTENT, sr_id=sr, task_id=task)
    vdi = x.task.get_result(task)[len("<value>"):-len("</value>")]
    try:
        assert x.VDI.get_SR(vdi) == sr and x.VDI.get_virtual_size(vdi) == str(SIZE)
        assert get(daemon, x, vdi=vdi)[2] == CONTENT
    finally:
        x.VDI.destroy(vdi)


def test_nothing_is_left_of_a_new_vdi_that_breaks_off(daemon, x):
    sr = x.SR.get_by_name_label("Local storage")[0]
    before = sorted(x.SR.get_VDIs(sr))
    task = new_task(x)
    with socket.create_connection(("127.0.0.1", daemon.port)) as s:
        path = query("/import_raw_vdi", session_id=x.ref, sr_id=sr, task_id=task)
        s.sendall(f"PUT {path} HTTP/1.0\r\nContent-Length: {SIZE}\r\n\r\n".encode() + CONTENT[:MIB])
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    assert x.task.get_error_info(task) == ["IMPORT_ERROR_PREMATURE_EOF"]
    x.SR.scan(sr)
    assert sorted(x.SR.get_VDIs(sr)) == before


def test_what_came_of_a_torn_upload_stays(daemon, x, vdi):
    task = new_task(x)
    with socket.create_connection(("127.0.0.1", daemon.port)) as s:
        path = query("/import_raw_vdi", session_id=x.ref, vdi=vdi, task_id=task)
        s.sendall(f"PUT {path} HTTP/1.0\r\nContent-Length: {SIZE}\r\n\r\n".encode() + b"y" * 5000)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    assert x.task.get_error_info(task) == ["IMPORT_ERROR_PREMATURE_EOF"]
    assert get(daemon, x, vdi=vdi)[2][:5000] == b"y" * 5000
    assert x.VDI.get_current_operations(vdi) == {}


def test_raw_with_an_unknown_length(daemon, x, vdi):
    for part, error in ((SIZE, []), (SIZE - 512, ["VDI_IO_ERROR"])):
        task = new_task(x)
        Client(daemon, x).torn_put("/import_raw_vdi", 1 << 50, CONTENT[:part], vdi=vdi,
                                   task_id=task)
        assert x.task.get_error_info(task)[:1] == error
        assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_more_than_fits(daemon, x, vdi):
    task = new_task(x)
    put(daemon, x, bytes(SIZE) + b"more", vdi=vdi, task_id=task)
    info = x.task.get_error_info(task)
    assert info[0] == "IMPORT_ERROR" and str(SIZE) in info[1]


@pytest.mark.parametrize("form", ["vhd", "tar"])
def test_garbage(daemon, x, vdi, form):
    task = new_task(x)
    put(daemon, x, pattern("garbage", 300000), vdi=vdi, format=form, task_id=task)
    assert x.task.get_error_info(task)[0] == "IMPORT_ERROR"
    assert x.VDI.get_current_operations(vdi) == {}


def test_cancel(daemon, x, vdi):
    """The client has stopped in the middle and waits; the task is cancelled all the same."""
    task = new_task(x)
    with socket.create_connection(("127.0.0.1", daemon.port)) as s:
        path = query("/import_raw_vdi", session_id=x.ref, vdi=vdi, task_id=task)
        s.sendall(f"PUT {path} HTTP/1.0\r\nContent-Length: {SIZE}\r\n\r\n".encode() + CONTENT[:MIB])
        assert s.recv(12).startswith(b"HTTP/1.1 200")
        assert task in x.VDI.get_current_operations(vdi)
        assert failure(x.call, "VDI.destroy", vdi)[0] == "OTHER_OPERATION_IN_PROGRESS"
        began = time.monotonic()
        x.task.cancel(task)
        while x.task.get_status(task) == "pending":
            assert time.monotonic() < began + 10
            time.sleep(0.01)
    assert x.task.get_status(task) == "cancelled"
    assert x.VDI.get_current_operations(vdi) == {}


def test_a_download_whose_client_leaves(daemon, x, vdi):
    fill(daemon, x, vdi)
    task = new_task(x)
    s = socket.create_connection(("127.0.0.1", daemon.port))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    path = query("/export_raw_vdi", session_id=x.ref, vdi=vdi, task_id=task)
    s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    s.recv(1000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    end = time.monotonic() + 30
    while x.task.get_status(task) == "pending":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert x.task.get_error_info(task)[0] == "CLIENT_ERROR"
    assert x.VDI.get_current_operations(vdi) == {}


# ---- who may, and what is asked for ----

def test_refusals_before_the_answer(daemon, x, vdi):
    assert daemon.post(query("/export_raw_vdi", vdi=vdi), None, method="GET")[0] == 401
    assert daemon.post(query("/export_raw_vdi", vdi=vdi, session_id="OpaqueRef:x"), None,
                       method="GET")[0] == 401
    assert get(daemon, x)[0] == 400
    assert get(daemon, x, vdi="OpaqueRef:none")[0] == 404
    task = new_task(x)
    assert get(daemon, x, vdi=vdi, format="floppy", task_id=task)[0] == 404
    assert x.task.get_error_info(task)[0] == "VALUE_NOT_SUPPORTED"
    assert get(daemon, x, vdi=vdi, task_id="OpaqueRef:none")[0] == 404
    assert get(daemon, x, vdi=vdi, task_id=task)[0] == 500, "it has ended already"


def test_roles_and_other_peoples_tasks(daemon, x, vdi):
    with daemon.connect("vm-operator") as low, daemon.connect("vm-admin") as high:
        task = new_task(low)
        assert get(daemon, low, vdi=vdi, task_id=task)[0] == 403
        assert low.task.get_error_info(task)[:2] == ["RBAC_PERMISSION_DENIED",
                                                     "http/get_export_raw_vdi"]
        assert get(daemon, high, vdi=vdi)[0] == 200
        theirs = new_task(x)
        assert get(daemon, high, vdi=vdi, task_id=theirs)[0] == 403
        assert x.task.get_status(theirs) == "pending"


def test_basic_credentials_and_cookies(daemon, x, vdi):
    auth = {"Authorization": basic("root", PASSWORD)}
    status, _, body = daemon.post(query("/export_raw_vdi", vdi=vdi), None, auth, method="GET")
    assert status == 200 and len(body) == SIZE
    task = new_task(x)
    cookie = {"Cookie": f"session_id={x.ref}; task_id={task}"}
    assert daemon.post(query("/export_raw_vdi", vdi=vdi), None, cookie, method="GET")[0] == 200
    assert x.task.get_status(task) == "success"


def test_an_empty_put_looks_around(daemon, x, vdi):
    fill(daemon, x, vdi)
    tasks = len(x.task.get_all())
    assert put(daemon, x, b"", {"Content-Length": "0"}, vdi=vdi)[0] == 200
    assert len(x.task.get_all()) == tasks
    assert get(daemon, x, vdi=vdi)[2] == CONTENT


def test_known_paths_that_nobody_serves(daemon):
    assert daemon.post("/services", None, method="GET")[0] == 501
