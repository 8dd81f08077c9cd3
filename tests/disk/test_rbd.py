"""An image of a real Ceph pool as a raw disk, by the module for "rbd://"."""
import json
import os
import subprocess
import threading

import pytest

import cephserver
from diskd import DISKD, Diskd, qemu_io, run, wait_for
from storageserver import Network

pytestmark = pytest.mark.skipif(not cephserver.is_installed(), reason="Ceph is not installed")
MIB = 1 << 20
SIZE = 32 * MIB


@pytest.fixture(scope="module")
def ceph(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("ceph")) as net:
        yield cephserver.Ceph(net).start()


class Remote:
    def __init__(self, diskd, ceph, folder):
        self.d, self.ceph, self.login = diskd, ceph, os.path.join(folder, "login")
        with open(self.login, "w", encoding="utf-8") as f:
            f.write("cairn\n" + ceph.key)

    def url(self, name):
        return f"rbd://{self.login.replace('/', '%2F')}@{self.ceph.net.address}/{self.ceph.pool}/{name}"

    def disk(self, name, d=None):
        d = d or self.d
        d.attach("a", SIZE)
        d.activated["a"] = dict(id="a", path=self.url(name), format="raw")
        d.activated_again("a")
        return f"nbd+unix:///a?socket={d.path('a.nbd')}"

    def at(self, *argv, ok=True):
        p = subprocess.run([DISKD, "at", *argv], capture_output=True, text=True, check=False)
        assert (p.returncode == 0) == ok, p
        return json.loads(p.stdout)

    def names(self, folder):
        return [e["name"] for e in self.at("list", self.url(folder))["entries"]]


@pytest.fixture
def remote(ceph, tmp_path):
    os.makedirs(tmp_path / "locks")
    with Diskd(tmp_path, "--with=rbd", f"--locks={tmp_path}/locks") as d:
        r = Remote(d, ceph, str(tmp_path))
        r.at("mkdir", r.url("space"))
        subprocess.run([DISKD, "create", r.url("space/disk"), "--format=raw", f"--size={SIZE}"],
                       check=True, capture_output=True)
        yield r
        d.close()
        r.at("unlink", r.url("space/disk"))
        r.at("rmdir", r.url("space"))


def test_patterns(remote, ceph, tmp_path):
    uri = remote.disk("space/disk")
    qemu_io(uri, "write -P 1 0 3M", "write -P 2 1M 512", "write -P 3 2093056 8k", "flush",
            "read -P 2 1M 512", "read -P 3 2093056 8k", "read -P 1 0 1M", "write -P 4 4M 8M",
            "write -z 256k 128k", "discard 8M 1M", "discard 5000k 4k", "read -P 0 256k 128k",
            "read -P 0 8M 1M", "read -P 0 5000k 4k", "write -f -P 9 31M 1M")
    remote.d.deactivate("a")
    copy = str(tmp_path / "copy")
    ceph.tool("rbd", "export", f"{ceph.pool}/space/disk", copy)
    qemu_io(copy, "read -P 0 256k 128k", "read -P 2 1M 512", "read -P 9 31M 1M", "read -P 0 8M 1M",
            "read -P 4 9M 3M", "read -P 0 16M 15M")


def test_names(remote):
    assert remote.names("space") == ["disk"]
    remote.at("rename", remote.url("space/disk"), remote.url("space/other"))
    stat = remote.at("stat", remote.url("space/other"))
    assert stat["size"] == SIZE and stat["allocated"] == 0
    assert remote.at("rmdir", remote.url("space"), ok=False)["error"]["code"] == "EBUSY"
    assert remote.at("list", remote.url("none"), ok=False)["error"]["code"] == "ENOENT"
    remote.at("rename", remote.url("space/other"), remote.url("space/disk"))
    with open(remote.login, "w", encoding="utf-8") as f:
        f.write("cairn\nAQAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAA==")
    assert remote.at("list", remote.url("space"), ok=False)["error"]["code"] == "EKEYREJECTED"
    with open(remote.login, "w", encoding="utf-8") as f:
        f.write("cairn\n" + remote.ceph.key)


def test_killed_and_the_cluster_away(remote, ceph, tmp_path):
    """What was answered without a flush is there after kill -9, once the cluster lets the next one
    write; an outage of the cluster is waited for."""
    uri, plain = remote.disk("space/disk"), str(tmp_path / "plain")
    with open(plain, "wb") as f:
        f.truncate(SIZE)
    writes = [f"write -P {i % 250 + 1} {i * 37 % 480 * 65536} {4096 + i % 3 * 65536}"
              for i in range(120)]
    qemu_io(plain, *writes)
    qemu_io(uri, *writes[:60])
    remote.d.kill()
    remote.d.start()
    uri = remote.disk("space/disk")
    ceph.stop()
    second = threading.Thread(target=qemu_io, args=(uri, *writes[60:], "flush"))
    second.start()
    wait_for(lambda: remote.d.stats("a")["inflight"] > 0)
    assert remote.d.ok("ping")["pid"]
    ceph.start()
    second.join(120)
    assert not second.is_alive()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, plain)


def test_one_who_writes(remote, tmp_path):
    """On another host, so with locks of its own: the cluster keeps it away."""
    remote.disk("space/disk")
    other = tmp_path / "other"
    os.makedirs(other / "locks")
    with Diskd(other, "--with=rbd", f"--locks={other}/locks") as d:
        d.attach("a", SIZE)
        answer = {"pending": True}
        while answer.get("pending"):
            answer = d.control("activate", id="a", path=remote.url("space/disk"), format="raw")
        assert not answer["ok"] and answer["error"]["code"] == "EBUSY", answer
