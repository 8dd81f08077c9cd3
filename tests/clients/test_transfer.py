"""Disks and VMs through public clients: Python's http.client and urllib, curl, npm's xen-api."""
import http.client
import json
import os
import subprocess
import urllib.parse
import urllib.request

import pytest

from simhost import PASSWORD
from transfers import MIB, sparse

SIZE = 6 * MIB
CONTENT = sparse(SIZE)
HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def disk(x):
    made = []

    def make():
        made.append(x.VDI.create({
            "name_label": "moved", "SR": x.SR.get_by_name_label("Local storage")[0],
            "virtual_size": str(SIZE), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}}))
        return made[-1]

    yield make
    for vdi in made:
        x.VDI.destroy(vdi)


def content(daemon, x, vdi):
    args = urllib.parse.urlencode({"session_id": x.ref, "vdi": vdi})
    with urllib.request.urlopen(f"{daemon.url}/export_raw_vdi?{args}", timeout=60) as r:
        return r.read()


def test_http_client(daemon, x, disk):
    """The sequence of the SDK's samples: task.create, PUT, read the task when it returns."""
    vdi, task = disk(), x.task.create("import", "")
    args = urllib.parse.urlencode({"session_id": x.ref, "task_id": task, "vdi": vdi})
    c = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    c.request("PUT", f"/import_raw_vdi?{args}", body=CONTENT)
    assert c.getresponse().status == 200
    c.close()
    x.wait(task)
    assert content(daemon, x, vdi) == CONTENT


def curl(*words, **more):
    return subprocess.run(["curl", "-sS", "--fail", *words], check=True, timeout=60, **more)


@pytest.mark.parametrize("how", ["file", "stdin", "continue"])
def test_curl(daemon, x, disk, tmp_path, how):
    """-T of a file, of a pipe (in chunks), and of a curl that waits for 100 Continue."""
    (tmp_path / "d.raw").write_bytes(CONTENT)
    vdi = disk()
    target = f"{daemon.url}/import_raw_vdi?vdi={vdi}"
    login = ["-u", f"root:{PASSWORD}"]
    if how == "stdin":
        curl(*login, "-T", "-", target, input=CONTENT)
    else:
        extra = ["-H", "Expect: 100-continue"] if how == "continue" else []
        curl(*login, *extra, "-T", tmp_path / "d.raw", target)
    curl(*login, "-o", tmp_path / "back", f"{daemon.url}/export_raw_vdi?vdi={vdi}")
    assert (tmp_path / "back").read_bytes() == CONTENT


def test_xen_api(daemon, x, node_modules, guest, disk, tmp_path):
    (tmp_path / "d.raw").write_bytes(CONTENT)
    vdi, other = disk(), disk()
    argv = ["node", "transfer.mjs", daemon.url, "root", PASSWORD, guest, vdi, other, str(tmp_path)]
    done = subprocess.run(argv, cwd=HERE, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["filled"] == vdi and content(daemon, x, vdi) == CONTENT
    assert content(daemon, x, other) == CONTENT
    assert got["refused"] == 404
    made = got["made"]
    assert len(made) == 1 and x.VM.get_name_label(made[0]) == "client's guest"
    disks = [x.VBD.get_VDI(b) for b in x.VM.get_VBDs(made[0]) if x.VBD.get_type(b) == "Disk"]
    x.VM.destroy(made[0])
    for vdi in disks:
        x.VDI.destroy(vdi)
