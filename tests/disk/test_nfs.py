"""Images on a real NFS server, by the module for "nfs://"."""
import os
import subprocess
import threading

import pytest

from diskd import DISKD, Diskd, qemu_io, run, vhdcheck, wait_for
from storageserver import Network, Nfs

MIB = 1 << 20


@pytest.fixture(scope="module")
def nfs(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("nfs")) as net:
        yield Nfs(net).start()


@pytest.fixture
def remote(nfs, tmp_path):
    os.makedirs(tmp_path / "locks")
    with Diskd(tmp_path, "--with=nfs", f"--locks={tmp_path}/locks") as d:
        yield Remote(d, nfs, tmp_path.name)


class Remote:
    """A diskd and a folder on the server; `local` is the server's own view of a file."""

    def __init__(self, diskd, nfs, folder):
        self.d, self.nfs = diskd, nfs
        self.folder = os.path.join(nfs.exports["a"], folder)
        os.makedirs(self.folder, exist_ok=True)
        self.url = f"nfs://{nfs.net.address}{nfs.exports['a']}//{folder}"

    def local(self, name):
        return os.path.join(self.folder, name)

    def disk(self, name, fmt, size):
        url = f"{self.url}/{name}"
        self.d.ok("create", path=url, format=fmt, size=size)
        self.d.attach(name, size)
        self.d.activated[name] = dict(id=name, path=url, format=fmt)
        self.d.activated_again(name)
        return f"nbd+unix:///{name}?socket={self.d.path(name + '.nbd')}"


@pytest.mark.parametrize("fmt", ["vhd", "raw"])
def test_patterns(remote, fmt):
    uri = remote.disk("a", fmt, 16 * MIB)
    qemu_io(uri, "write -P 1 0 3M", "write -P 2 1M 512", "write -P 3 2093056 8k", "flush",
            "read -P 2 1M 512", "read -P 3 2093056 8k", "read -P 1 0 1M", "read -P 0 4M 12M",
            "write -z 256k 128k", "discard 8M 1M", "read -P 0 256k 128k", "write -f -P 9 15M 1M")
    remote.d.deactivate("a")
    if fmt != "raw":
        vhdcheck(remote.local("a"))
    qemu_io(remote.local("a"), "read -P 0 256k 128k", "read -P 2 1M 512", "read -P 9 15M 1M",
            fmt="raw" if fmt == "raw" else "vpc")


def test_second_writer_is_refused(remote, tmp_path):
    remote.disk("a", "vhd", 4 * MIB)
    os.makedirs(tmp_path / "other")
    with Diskd(tmp_path / "other", "--with=nfs", f"--locks={tmp_path}/locks") as other:
        other.attach("a", 4 * MIB)
        answer = {"pending": True}
        while answer.get("pending"):
            answer = other.control("activate", id="a", path=remote.url + "/a", format="vhd")
        assert answer["error"]["code"] == "EBUSY"


def test_without_the_module_it_is_refused(diskd):
    answer = diskd.control("create", path="nfs://127.0.0.1/x//y", format="raw", size=4096)
    assert not answer["ok"]


def test_server_dies_and_comes_back(remote, tmp_path):
    """What waits while the server is away is done when it is back; nothing answered is lost."""
    uri = remote.disk("a", "vhd", 32 * MIB)
    plain = str(tmp_path / "plain")
    run("truncate", "-s", str(32 * MIB), plain)
    writes = [f"write -P {i % 250 + 1} {i * 37 % 500 * 65536} {4096 + i % 3 * 65536}"
              for i in range(120)]
    qemu_io(plain, *writes)
    qemu_io(uri, *writes[:60])
    remote.nfs.stop()
    second = threading.Thread(target=qemu_io, args=(uri, *writes[60:], "flush"))
    second.start()
    wait_for(lambda: remote.d.stats("a")["inflight"] > 0)
    assert remote.d.ok("ping")["pid"]
    remote.nfs.start()
    second.join(60)
    assert not second.is_alive()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, plain)
    remote.d.deactivate("a")
    vhdcheck(remote.local("a"))


def test_killed_diskd_leaves_what_it_answered(remote):
    uri = remote.disk("a", "vhd", 16 * MIB)
    qemu_io(uri, "write -P 7 1M 3M", "write -P 8 9M 4k")
    remote.d.kill()
    remote.d.restart()
    qemu_io(uri, "read -P 7 1M 3M", "read -P 8 9M 4k", "read -P 0 5M 3M")


def test_commands_tell_what_is_wrong(nfs):
    """`at` answers in JSON, errors too."""
    def at(*argv):
        return subprocess.run([DISKD, "at", *argv], capture_output=True, text=True, check=False)
    address, path = nfs.net.address, nfs.exports["a"]
    assert path in at("exports", f"nfs://{address}/").stdout
    refused = at("list", f"nfs://{address}{path}-none//")
    assert refused.returncode == 1 and '"error"' in refused.stdout
    assert '"ENOENT"' in at("list", f"nfs://{address}{path}//none").stdout
    assert at("list", "/tmp").returncode == 1
