"""A parent's data is kept on this host once it was read: what the copy gives, and what it survives."""
import os
import subprocess

import pytest

from diskd import Diskd, nbd_uri, qemu_io, wait_for
from test_chain import MIB, chain, child

READ = 8 * MIB


def pair(d):
    """leaf -> base; the base is written."""
    d.disk("base", "vhd", 16 * MIB)
    qemu_io(nbd_uri(d, "base"), "write -P 1 0 8M", "write -P 2 8M 8M")
    d.deactivate("base")
    child(d, "leaf", "base")


def activate(d, copy):
    d.attach("leaf", 16 * MIB)
    d.activated["leaf"] = dict(id="leaf", path=d.path("leaf"), format="vhd",
                               parents=chain(d, "base"), copy=copy)
    d.activated_again("leaf")


def look(d, *commands):
    """Reads the first half, or does something else, and tells what came from where."""
    before = d.stats("leaf")["copy"]
    qemu_io(nbd_uri(d, "leaf"), *commands or ["read -P 1 0 8M"])
    after = d.stats("leaf")["copy"]
    return tuple(after[k] - before[k] for k in ("hit", "miss", "unkept"))


def kept(d):
    """What was read is in the copy once nothing is under way any more: a disk is closed then."""
    d.deactivate("leaf")
    d.activated["leaf"] = dict(id="leaf", path=d.path("leaf"), format="vhd",
                               parents=chain(d, "base"), copy=d.path("copy"))
    d.activated_again("leaf")


def test_what_was_read_is_kept(diskd):
    pair(diskd)
    activate(diskd, diskd.path("copy"))
    assert look(diskd) == (0, READ, 0)
    kept(diskd)
    assert look(diskd) == (READ, 0, 0)
    assert look(diskd, "read -P 2 8M 4k", "read -P 1 8384512 4k", "read -P 1 512 512") == \
        (4096 + 512, 4096, 0)
    kept(diskd)
    assert look(diskd, "read -P 2 8M 512") == (512, 0, 0)
    assert look(diskd, "write -P 7 64k 64k", "read -P 7 64k 64k", "read -P 1 0 64k",
                "read -P 1 128k 64k") == (128 << 10, 0, 0)


def test_others_and_successors_have_it_too(diskd, tmp_path):
    pair(diskd)
    activate(diskd, diskd.path("copy"))
    look(diskd)
    kept(diskd)
    folder = tmp_path / "another"
    folder.mkdir()
    with Diskd(str(folder)) as other:
        os.link(diskd.path("base"), other.path("base"))
        child(other, "leaf", "base")
        activate(other, diskd.path("copy"))
        assert look(other) == (READ, 0, 0)
        assert look(other, "read -P 2 8M 8M") == (0, READ, 0)
        other.deactivate("leaf")
        assert look(diskd, "read -P 2 8M 8M") == (READ, 0, 0)
    diskd.kill()
    diskd.restart()
    assert look(diskd, "read -P 1 0 8M", "read -P 2 8M 8M") == (2 * READ, 0, 0)


def test_another_parent_and_another_boot_are_not_mixed_up(diskd):
    pair(diskd)
    activate(diskd, diskd.path("copy"))
    look(diskd)
    diskd.deactivate("leaf")
    os.utime(diskd.path("base"), (1, 1))
    activate_again = dict(id="leaf", path=diskd.path("leaf"), format="vhd",
                          parents=chain(diskd, "base"), copy=diskd.path("copy"))
    diskd.activated["leaf"] = activate_again
    diskd.activated_again("leaf")
    assert look(diskd) == (0, READ, 0)
    diskd.deactivate("leaf")
    with open(diskd.path("copy"), "r+b") as f:
        f.seek(16)
        f.write(b"another boot")
    diskd.activated["leaf"] = activate_again
    diskd.activated_again("leaf")
    assert look(diskd) == (0, READ, 0)


def test_who_cannot_have_one_goes_without(diskd):
    pair(diskd)
    activate(diskd, diskd.path("no/such/folder"))
    assert look(diskd) == (0, 0, 0) == look(diskd)


@pytest.fixture(name="small")
def small_folder(diskd):
    """Room for a part of what is read."""
    folder, image = diskd.path("small"), diskd.path("small.img")
    os.makedirs(folder)
    subprocess.run(["truncate", "-s", str(8 * MIB), image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_one_gives_what_it_has(diskd, small):
    pair(diskd)
    activate(diskd, os.path.join(small, "copy"))
    commands = [f"read -P 1 {i}M 1M" for i in range(8)] + [f"read -P 2 {i}M 1M" for i in range(8, 16)]
    hit, miss, _ = look(diskd, *commands)
    assert (hit, miss) == (0, 2 * READ)
    wait_for(lambda: look(diskd, *commands)[2] > 0)
    hit, miss, unkept = look(diskd, *commands)
    assert hit > 0 and miss > 0 and hit + miss == 2 * READ and 0 < unkept <= miss
    diskd.deactivate("leaf")
