"""A LUN of a real iSCSI target as a raw disk, by the module for "iscsi://"."""
import os
import subprocess
import threading

import pytest

from diskd import DISKD, Diskd, qemu_io, run, wait_for
from storageserver import Iscsi, Network

MIB = 1 << 20
USER = ("cairn", "secret-of-16-byte")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("tgt")) as net:
        yield Iscsi(net, luns=(16 * MIB, 32 * MIB), chap=USER).start()


class Remote:
    def __init__(self, diskd, target, folder):
        self.d, self.target = diskd, target
        self.chap = os.path.join(folder, "chap")
        with open(self.chap, "w", encoding="utf-8") as f:
            f.write("\n".join(USER))

    def url(self, lun, chap=None):
        return (f"iscsi://{self.target.net.address}:3260/{self.target.iqn}/{lun}"
                f"?chap={chap or self.chap}")

    def disk(self, lun):
        size = os.path.getsize(self.target.luns[lun - 1])
        self.d.attach("a", size)
        self.d.activated["a"] = dict(id="a", path=self.url(lun), format="raw")
        self.d.activated_again("a")
        return f"nbd+unix:///a?socket={self.d.path('a.nbd')}"


@pytest.fixture
def remote(target, tmp_path):
    os.makedirs(tmp_path / "locks")
    with Diskd(tmp_path, "--with=iscsi", f"--locks={tmp_path}/locks") as d:
        yield Remote(d, target, str(tmp_path))


def test_patterns(remote):
    uri = remote.disk(1)
    qemu_io(uri, "write -P 1 0 3M", "write -P 2 1M 512", "write -P 3 2093056 8k", "flush",
            "read -P 2 1M 512", "read -P 3 2093056 8k", "read -P 1 0 1M", "write -P 4 4M 4M",
            "write -z 256k 128k", "discard 8M 1M", "read -P 0 256k 128k", "write -f -P 9 15M 1M")
    remote.d.deactivate("a")
    qemu_io(remote.target.luns[0], "read -P 0 256k 128k", "read -P 2 1M 512", "read -P 9 15M 1M",
            "read -P 4 4M 4M")


def test_wrong_secret_is_told(remote, tmp_path):
    bad = str(tmp_path / "bad")
    with open(bad, "w", encoding="utf-8") as f:
        f.write(USER[0] + "\nanother-secret-16")
    remote.d.attach("a", 16 * MIB)
    answer = {"pending": True}
    while answer.get("pending"):
        answer = remote.d.control("activate", id="a", path=remote.url(1, bad), format="raw")
    assert answer["error"]["code"] == "EKEYREJECTED"


def test_target_dies_and_comes_back(remote, tmp_path):
    uri = remote.disk(2)
    plain = str(tmp_path / "plain")
    run("cp", remote.target.luns[1], plain)
    writes = [f"write -P {i % 250 + 1} {i * 37 % 480 * 65536} {4096 + i % 3 * 65536}"
              for i in range(120)]
    qemu_io(plain, *writes)
    qemu_io(uri, *writes[:60])
    remote.target.stop()
    second = threading.Thread(target=qemu_io, args=(uri, *writes[60:], "flush"))
    second.start()
    wait_for(lambda: remote.d.stats("a")["inflight"] > 0)
    assert remote.d.ok("ping")["pid"]
    remote.target.start()
    second.join(60)
    assert not second.is_alive()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, plain)


def test_commands_list_targets_and_units(remote):
    def at(*argv):
        return subprocess.run([DISKD, "at", *argv], capture_output=True, text=True, check=False)
    portal = f"iscsi://{remote.target.net.address}:3260/"
    assert remote.target.iqn in at("targets", portal).stdout
    units = at("luns", f"{portal}{remote.target.iqn}?chap={remote.chap}").stdout
    assert f'"size": {32 * MIB}' in units and '"serial2"' in units
    assert '"EKEYREJECTED"' in at("luns", portal + remote.target.iqn).stdout
    assert '"EHOSTUNREACH"' in at("targets", portal.replace("3260", "3261")).stdout
