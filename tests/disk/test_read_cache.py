"""Images that are only read come from the page cache, or go around it; what it gave is counted."""
import os

import pytest

from diskd import Diskd, nbd_uri, qemu_io
from mounts import is_in_memory
from test_chain import MIB, chain, child

READ = 8 * MIB


def pair(d):
    """leaf -> base; the base has data, nothing of which is in the page cache."""
    d.disk("base", "vhd", 16 * MIB)
    qemu_io(nbd_uri(d, "base"), "write -P 1 0 8M", "write -P 2 8M 8M")
    d.deactivate("base")
    child(d, "leaf", "base")
    with open(d.path("base"), "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def activate(d, **more):
    d.attach("leaf", 16 * MIB)
    d.activated["leaf"] = dict(id="leaf", path=d.path("leaf"), format="vhd",
                               parents=chain(d, "base"), **more)
    d.activated_again("leaf")


def look(d, client):
    """Reads the first half, and tells what the page cache had of it."""
    before = d.stats("leaf")["cache"]
    qemu_io(client, "read -P 1 0 8M")
    after = d.stats("leaf")["cache"]
    return tuple(after[k] - before[k] for k in ("hit", "miss"))


@pytest.fixture(name="memory")
def files_in_memory(tmp_path):
    return is_in_memory(tmp_path)


def test_a_second_reader_finds_what_the_first_one_read(diskd, tmp_path, memory):
    pair(diskd)
    activate(diskd)
    client = nbd_uri(diskd, "leaf")
    hit, miss = look(diskd, client)
    assert hit + miss == (0 if memory else READ) and (memory or miss > 0)
    assert look(diskd, client) == (0 if memory else READ, 0)
    folder = tmp_path / "another"
    folder.mkdir()
    with Diskd(str(folder)) as other:
        os.link(diskd.path("base"), other.path("base"))
        child(other, "leaf", "base")
        activate(other)
        assert look(other, nbd_uri(other, "leaf")) == (0 if memory else READ, 0)


def test_what_was_written_is_not_counted(diskd, memory):
    pair(diskd)
    activate(diskd)
    client = nbd_uri(diskd, "leaf")
    qemu_io(client, "write -P 1 0 8M")
    assert look(diskd, client) == (0, 0)
    diskd.deactivate("leaf")
    assert diskd.stats("leaf")["cache"] == {"hit": 0, "miss": 0}


def test_the_page_cache_can_be_left_alone(diskd):
    pair(diskd)
    activate(diskd, read_cache=False)
    client = nbd_uri(diskd, "leaf")
    assert look(diskd, client) == (0, 0) == look(diskd, client)
    qemu_io(client, "read -P 2 8M 8M", "read -P 1 8388096 512", "write -P 3 512 512",
            "read -P 1 0 512", "read -P 3 512 512", "read -P 1 1k 64k")
