"""Logical volumes: images in extents of devices, which lie apart; nothing else of a device is touched."""
import os
import random
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from diskd import DISKD, OPTIONS, Diskd, vhdcheck  # noqa: E402
from vhost import OK, Vhost  # noqa: E402

MIB = 1 << 20
SIZE = 16 * MIB
RUBBISH = 0xa5
# A volume's extents as (device, place, size): neighbours on the device are apart in the volume.
LEAF = [(0, 33 * MIB, 4 * MIB), (1, 1 * MIB, 8 * MIB), (0, 5 * MIB, 16 * MIB)]
BASE = [(1, 9 * MIB, 24 * MIB)]


class Devices:
    """Two, full of rubbish: files that stand in, or loop devices."""

    def __init__(self, folder, is_loop):
        self.paths, self.loops = [], []
        for i in range(2):
            path = os.path.join(str(folder), f"dev{i}")
            with open(path, "wb") as f:
                f.write(bytes([RUBBISH]) * (40 * MIB))
            if is_loop:
                path = subprocess.run(["losetup", "--show", "-f", path], check=True, text=True,
                                      capture_output=True).stdout.strip()
                self.loops.append(path)
            self.paths.append(path)

    def close(self):
        for path in self.loops:
            subprocess.run(["losetup", "-d", path], check=True)

    def volume(self, name, extents):
        return f"lv:{name}:" + ",".join(f"{self.paths[d]}@{at}+{size}" for d, at, size in extents)

    def content(self, extents):
        data = b""
        for d, at, size in extents:
            with open(self.paths[d], "rb") as f:
                f.seek(at)
                data += f.read(size)
        return data

    def untouched(self, *volumes):
        """Whether what no volume has is rubbish still."""
        for d, path in enumerate(self.paths):
            with open(path, "rb") as f:
                data = bytearray(f.read())
            for extents in volumes:
                for _, at, size in (e for e in extents if e[0] == d):
                    data[at:at + size] = bytes([RUBBISH]) * size
            if data.count(RUBBISH) != len(data):
                return False
        return True


@pytest.fixture(params=["files", "loop"])
def devices(request, tmp_path):
    made = Devices(tmp_path, request.param == "loop")
    yield made
    made.close()


@pytest.fixture
def diskd(tmp_path):
    with Diskd(tmp_path) as d:
        yield d


def attach(d, name="d"):
    front = {"type": "vhost-user-blk", "path": d.path(name + ".vu")}
    d.ok("attach", id=name, vdi=name, size=SIZE, fronts=[front])
    return front["path"]


def activate(d, path, name="d", **more):
    answer = d.control("activate", id=name, path=path, format="vhd", **more)
    while answer.get("pending"):
        time.sleep(0.002)
        answer = d.control("activate", id=name, path=path, format="vhd", **more)
    return answer


def fill(v, model, seed, n=150):
    """Writes at random places, as the model remembers them."""
    r = random.Random(seed)
    for _ in range(n):
        sectors = r.choice((1, 8, 64, 200))
        at = r.randrange(SIZE // 512 - sectors)
        data = r.randbytes(sectors * 512)
        assert v.write(at, data) == OK
        model[at * 512:at * 512 + len(data)] = data


def read_all(v):
    step = 128 * 1024
    return b"".join(v.read(at // 512, step)[1] for at in range(0, SIZE, step))


def test_a_disk_in_extents(devices, diskd, tmp_path):
    path, model = devices.volume("VHD-a", LEAF), bytearray(SIZE)
    diskd.ok("create", path=path, format="vhd", size=SIZE)
    socket = attach(diskd)
    assert activate(diskd, path)["ok"]
    with Vhost(socket) as v:
        fill(v, model, 1)
        assert read_all(v) == model
        assert v.flush() == OK
    diskd.ok("deactivate", id="d")
    assert devices.untouched(LEAF)
    assert activate(diskd, path)["ok"]
    with Vhost(socket) as v:
        assert read_all(v) == model
    diskd.ok("deactivate", id="d")
    image = tmp_path / "copy.vhd"
    image.write_bytes(devices.content(LEAF))
    vhdcheck(image, "--foreign")  # what the bitmap denies is rubbish still


def test_one_who_writes(devices, diskd, tmp_path):
    """Extents are locked, devices are not: a neighbour is open at the same time."""
    leaf, base = devices.volume("VHD-a", LEAF), devices.volume("VHD-b", BASE)
    for path in (leaf, base):
        diskd.ok("create", path=path, format="vhd", size=SIZE)
    for name, path in (("d", leaf), ("e", base)):
        attach(diskd, name)
        assert activate(diskd, path, name)["ok"]
    other = tmp_path / "other"
    other.mkdir()
    with Diskd(other) as d:
        attach(d)
        answer = activate(d, leaf)
        assert not answer["ok"] and answer["error"]["code"] == "EBUSY", answer
        diskd.ok("deactivate", id="d")
        assert activate(d, leaf)["ok"]


def test_a_chain(devices, diskd):
    leaf, base = devices.volume("VHD-a", LEAF), devices.volume("VHD-b", BASE)
    model = bytearray(SIZE)
    diskd.ok("create", path=base, format="vhd", size=SIZE)
    socket = attach(diskd)
    assert activate(diskd, base)["ok"]
    with Vhost(socket) as v:
        fill(v, model, 2)
    diskd.ok("deactivate", id="d")
    below = {"path": base, "format": "vhd"}
    diskd.ok("create", path=leaf, format="vhd", parent=below)
    assert activate(diskd, leaf, parents=[below])["ok"]
    with Vhost(socket) as v:
        fill(v, model, 3)
        assert read_all(v) == model
    diskd.ok("deactivate", id="d")
    answer = diskd.control("coalesce", path=leaf, format="vhd", parents=[below])
    while answer.get("pending"):
        time.sleep(0.002)
        answer = diskd.control("job", of="coalesce", path=leaf)
    assert answer["ok"], answer
    assert activate(diskd, base)["ok"]
    with Vhost(socket) as v:
        assert read_all(v) == model
    assert devices.untouched(LEAF, BASE)


def direct_modes(d, path):
    """How that file is open around the page cache: access modes."""
    modes = []
    for fd in os.listdir(f"/proc/{d.process.pid}/fd"):
        try:
            if os.readlink(f"/proc/{d.process.pid}/fd/{fd}") != path:
                continue
            with open(f"/proc/{d.process.pid}/fdinfo/{fd}", encoding="ascii") as f:
                flags = int(re.search(r"^flags:\s+(\d+)", f.read(), re.M).group(1), 8)
        except FileNotFoundError:
            continue
        if flags & os.O_DIRECT:
            modes.append(flags & os.O_ACCMODE)
    return modes


def test_around_the_page_cache(tmp_path, diskd):
    """A volume that is only read, too, where its repository does not keep what is read."""
    devices = Devices(tmp_path, True)
    try:
        leaf, base = devices.volume("VHD-a", LEAF), devices.volume("VHD-b", BASE)
        below = {"path": base, "format": "vhd"}
        diskd.ok("create", path=base, format="vhd", size=SIZE)
        diskd.ok("create", path=leaf, format="vhd", parent=below)
        attach(diskd)
        for cached, modes in ((True, [os.O_RDWR]), (False, [os.O_RDONLY, os.O_RDWR])):
            assert activate(diskd, leaf, parents=[below], read_cache=cached)["ok"]
            assert sorted(direct_modes(diskd, devices.paths[1])) == modes
            diskd.ok("deactivate", id="d")
    finally:
        devices.close()


def test_killed(devices, diskd):
    """What was answered without a flush is there after kill -9."""
    path, model = devices.volume("VHD-a", LEAF), bytearray(SIZE)
    diskd.ok("create", path=path, format="vhd", size=SIZE)
    attach(diskd)
    assert activate(diskd, path)["ok"]
    with Vhost(diskd.path("d.vu")) as v:
        fill(v, model, 4)
    diskd.kill()
    diskd.start()
    attach(diskd)
    assert activate(diskd, path)["ok"]
    with Vhost(diskd.path("d.vu")) as v:
        assert read_all(v) == model


@pytest.mark.parametrize("wrong", ["lv:a", "lv::/dev/zero@0+512", "lv:a:relative@0+512", "lv:a:{0}@0+511",
                                   "lv:a:{0}@1+512", "lv:a:{0}@0+0", "lv:a:{0}@0+99999999999",
                                   "lv:a:{0}@41943040+512", "lv:a:{0}@0+512,", "lv:a:/nowhere@0+512"])
def test_descriptions_that_are_none(tmp_path, wrong):
    device = tmp_path / "dev"
    device.write_bytes(bytes(40 * MIB))
    p = subprocess.run([DISKD, *OPTIONS, "info", wrong.format(device)], capture_output=True, text=True,
                       check=False)
    assert p.returncode != 0 and "lv:" in p.stderr + p.stdout, p


def test_too_small(devices, diskd):
    """An image that does not fit is not begun."""
    path = devices.volume("VHD-a", [(0, 0, 1024)])
    assert diskd.fails("create", "ENOSPC", path=path, format="vhd", size=SIZE)
    assert devices.untouched()
