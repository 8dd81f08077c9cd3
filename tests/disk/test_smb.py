"""Images on a real SMB server, by the module for "smb://"."""
import os
import subprocess
import threading

import pytest

from diskd import DISKD, Diskd, qemu_io, run, vhdcheck, wait_for
from storageserver import Network, Smb

MIB = 1 << 20


@pytest.fixture(scope="module")
def smb(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("smb")) as net:
        yield Smb(net).start()


@pytest.fixture
def login(smb, tmp_path):
    return Login(tmp_path / "login", "root", smb.password)


@pytest.fixture
def remote(smb, login, tmp_path):
    os.makedirs(tmp_path / "locks")
    with Diskd(tmp_path, "--with=smb", f"--locks={tmp_path}/locks") as d:
        yield Remote(d, smb, login, tmp_path.name)


class Login:
    """A user as a URL names one."""

    def __init__(self, path, user, password):
        path.write_text(f"{user}\n{password}")
        self.text = str(path).replace("/", "%2F")


class Remote:
    """A diskd and a folder on the server; `local` is the server's own view of a file."""

    def __init__(self, diskd, smb, login, folder):
        self.d, self.smb = diskd, smb
        self.folder = os.path.join(smb.shares["a"], folder)
        os.makedirs(self.folder, exist_ok=True)
        self.url = f"smb://{login.text}@{smb.net.address}/a//{folder}"

    def local(self, name):
        return os.path.join(self.folder, name)

    def disk(self, name, fmt, size):
        url = f"{self.url}/{name}"
        self.d.ok("create", path=url, format=fmt, size=size)
        self.d.attach(name, size)
        self.d.activated[name] = dict(id=name, path=url, format=fmt)
        self.d.activated_again(name)
        return f"nbd+unix:///{name}?socket={self.d.path(name + '.nbd')}"


@pytest.mark.parametrize("fmt", ["vhd", "qcow2", "raw"])
def test_patterns(remote, fmt):
    uri = remote.disk("a", fmt, 16 * MIB)
    qemu_io(uri, "write -P 1 0 3M", "write -P 2 1M 512", "write -P 3 2093056 8k", "flush",
            "read -P 2 1M 512", "read -P 3 2093056 8k", "read -P 1 0 1M", "read -P 0 4M 12M",
            "write -z 256k 128k", "discard 8M 1M", "read -P 0 256k 128k", "write -f -P 9 15M 1M")
    remote.d.deactivate("a")
    if fmt == "vhd":
        vhdcheck(remote.local("a"))
    qemu_io(remote.local("a"), "read -P 0 256k 128k", "read -P 2 1M 512", "read -P 9 15M 1M",
            fmt={"vhd": "vpc"}.get(fmt, fmt))


def test_oldest_dialect(remote, smb):
    """Which signs in another way."""
    smb.stop()
    smb.configure("SMB2_10")
    smb.start()
    try:
        uri = remote.disk("a", "raw", 4 * MIB)
        qemu_io(uri, "write -P 1 0 3M", "flush", "read -P 1 0 3M", "read -P 0 3M 1M")
        remote.d.deactivate("a")
    finally:
        smb.stop()
        smb.configure("SMB3")
        smb.start()


def test_second_writer_is_refused(remote, tmp_path):
    """By the server: another host has no part in the locks of this one."""
    remote.disk("a", "vhd", 4 * MIB)
    os.makedirs(tmp_path / "other" / "locks")
    with Diskd(tmp_path / "other", "--with=smb", f"--locks={tmp_path}/other/locks") as other:
        other.attach("a", 4 * MIB)
        answer = {"pending": True}
        while answer.get("pending"):
            answer = other.control("activate", id="a", path=remote.url + "/a", format="vhd")
        assert answer["error"]["code"] == "EBUSY"


def test_server_dies_and_comes_back(remote, tmp_path):
    """What waits while the server is away is done when it is back; nothing answered is lost."""
    uri = remote.disk("a", "vhd", 32 * MIB)
    plain = str(tmp_path / "plain")
    run("truncate", "-s", str(32 * MIB), plain)
    writes = [f"write -P {i % 250 + 1} {i * 37 % 500 * 65536} {4096 + i % 3 * 65536}"
              for i in range(120)]
    qemu_io(plain, *writes)
    qemu_io(uri, *writes[:60])
    remote.smb.stop()
    second = threading.Thread(target=qemu_io, args=(uri, *writes[60:], "flush"))
    second.start()
    wait_for(lambda: remote.d.stats("a")["inflight"] > 0)
    assert remote.d.ok("ping")["pid"]
    remote.smb.start()
    second.join(60)
    assert not second.is_alive()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, plain)
    remote.d.deactivate("a")
    vhdcheck(remote.local("a"))


def test_another_file_of_that_name_is_left_alone(remote):
    """Somebody put one in its place while the server was away: not a byte of it is read or written."""
    uri = remote.disk("a", "raw", 4 * MIB)
    qemu_io(uri, "write -P 1 0 4M", "flush")
    remote.smb.stop()
    with open(remote.local("other"), "wb") as f:
        f.write(b"\2" * 4 * MIB)
    os.rename(remote.local("a"), remote.local("first"))
    os.rename(remote.local("other"), remote.local("a"))
    remote.smb.start()
    for command in ("read 0 1M", "write -P 3 0 1M"):
        tried = subprocess.run(["qemu-io", "-f", "raw", "-c", command, uri], capture_output=True, text=True, check=False)
        assert "failed" in tried.stdout + tried.stderr, tried
    with open(remote.local("a"), "rb") as f:
        assert f.read() == b"\2" * 4 * MIB
    os.rename(remote.local("first"), remote.local("a"))
    assert remote.d.control("deactivate", id="a")["error"]["code"] == "ESTALE"
    remote.d.activated_again("a")
    qemu_io(uri, "read -P 1 0 4M", "write -P 3 0 1M", "flush", "read -P 3 0 1M")


def test_killed_diskd_leaves_what_it_answered(remote):
    uri = remote.disk("a", "vhd", 16 * MIB)
    qemu_io(uri, "write -P 7 1M 3M", "write -P 8 9M 4k")
    remote.d.kill()
    remote.d.restart()
    qemu_io(uri, "read -P 7 1M 3M", "read -P 8 9M 4k", "read -P 0 5M 3M")


def at(*argv):
    return subprocess.run([DISKD, "at", *argv], capture_output=True, text=True, check=False)


def test_names(remote, smb):
    """Two names of one file, one in the place of the other, and what cannot be."""
    with open(remote.local("x"), "wb") as f:
        f.write(b"text")
    assert at("link", remote.url + "/x", remote.url + "/é").returncode == 0
    assert '"EEXIST"' in at("link", remote.url + "/x", remote.url + "/é").stdout
    assert os.path.samefile(remote.local("x"), remote.local("é"))
    with open(remote.local("new"), "wb"):
        pass
    assert at("rename", remote.url + "/new", remote.url + "/x").returncode == 0
    assert os.path.getsize(remote.local("x")) == 0 and not os.path.exists(remote.local("new"))
    assert '"\\u00e9"' in at("list", remote.url).stdout or '"é"' in at("list", remote.url).stdout
    assert at("mkdir", remote.url + "/f").returncode == 0
    assert at("mkdir", remote.url + "/f/g").returncode == 0
    assert '"ENOTEMPTY"' in at("rmdir", remote.url + "/f").stdout
    assert at("rmdir", remote.url + "/f/g").returncode == at("rmdir", remote.url + "/f").returncode == 0
    assert '"ENOENT"' in at("list", remote.url + "/none").stdout
    assert '"EINVAL"' in at("list", remote.url + "/../..").stdout
    assert '"ENXIO"' in at("list", f"smb://{smb.net.address}/none").stdout


def test_who_may(smb, tmp_path):
    """A guest may what guests may; who gives a name is never taken for a guest."""
    address = smb.net.address
    wrong = Login(tmp_path / "wrong", "root", "no").text
    unknown = Login(tmp_path / "unknown", "nobody-there", "no").text
    assert at("list", f"smb://{address}/guests").returncode == 0
    assert '"EACCES"' in at("list", f"smb://{address}/a").stdout
    assert '"EKEYREJECTED"' in at("list", f"smb://{wrong}@{address}/a").stdout
    assert '"EKEYREJECTED"' in at("list", f"smb://{unknown}@{address}/guests").stdout
