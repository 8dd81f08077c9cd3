"""VDI.copy with a base and into a disk that there is: what differs is written, and nothing else."""
import pytest

from simhost import failure
from transfers import MIB, Client, pattern

SIZE = 4 * MIB
NONE = "OpaqueRef:NULL"


@pytest.fixture(name="sr")
def local_storage(x):
    return x.SR.get_by_name_label("Local storage")[0]


@pytest.fixture(name="client")
def transfers(daemon, x):
    return Client(daemon, x)


@pytest.fixture(name="disk")
def disks(x, sr, client):
    """Makes disks with a content; they go at the end."""
    made = []

    def make(content=b"", size=SIZE, **fields):
        made.append(x.VDI.create({"name_label": "disk", "SR": sr, "virtual_size": str(size), "type": "user",
                                  "sharable": False, "read_only": False, "other_config": {}, **fields}))
        if content:
            assert client.put("/import_raw_vdi", content, vdi=made[-1])[0] == 200
        return made[-1]
    yield make
    for vdi in made:
        x.VDI.destroy(vdi)


def read(client, vdi):
    status, _, body = client.get("/export_raw_vdi", vdi=vdi)
    assert status == 200
    return body


def changed(content, *pieces):
    new = bytearray(content)
    for at, size, seed in pieces:
        new[at:at + size] = pattern(seed, size) if seed else bytes(size)
    return bytes(new)


FIRST = pattern("first", SIZE)
# within a unit of 64 KiB, over its edge, to the end, and made zero
LATER = changed(FIRST, (4096, 512, "a"), (MIB - 512, 1024, "b"), (SIZE - 512, 512, "c"), (2 * MIB, 128 << 10, ""))


def test_all_of_it_into_a_disk(x, client, disk):
    """What that had before is gone, also where the source has nothing."""
    source, into = disk(changed(FIRST, (MIB, MIB, ""))), disk(pattern("old", SIZE))
    assert x.VDI.copy(source, NONE, NONE, into) == into
    assert read(client, into) == read(client, source)


def test_what_differs_from_the_base(x, client, disk):
    """Into a copy of the base, which becomes a copy of the source; other blocks are left as they are."""
    base, source = disk(FIRST), disk(LATER)
    mark = changed(FIRST, (3 * MIB, 512, "mine"))
    into = disk(mark)
    assert x.VDI.copy(source, NONE, base, into) == into
    assert read(client, into) == changed(LATER, (3 * MIB, 512, "mine"))


def test_what_differs_alone(x, client, sr, disk):
    """A new disk has those blocks, whole units of 64 KiB, and no others."""
    base, source = disk(FIRST), disk(LATER)
    new = x.VDI.copy(source, sr, base, NONE)
    content, unit = read(client, new), 64 << 10
    for at in range(0, SIZE, unit):
        now, then = LATER[at:at + unit], FIRST[at:at + unit]
        assert content[at:at + unit] == (now if now != then else bytes(unit)), at
    x.VDI.destroy(new)


def test_a_base_that_is_smaller(x, client, disk):
    source, base = disk(pattern("more", 2 * SIZE), 2 * SIZE), disk(pattern("more", 2 * SIZE)[:SIZE])
    into = disk(b"", 2 * SIZE)
    x.VDI.copy(source, NONE, base, into)
    assert read(client, into) == bytes(SIZE) + pattern("more", 2 * SIZE)[SIZE:]


def test_what_cannot_be(x, sr, disk):
    source, small, fixed = disk(b"", 2 * SIZE), disk(), disk(b"", 2 * SIZE, read_only=True)
    assert failure(x.VDI.copy, source, NONE, NONE, small)[:2] == ["VDI_TOO_SMALL", small]
    assert failure(x.VDI.copy, source, NONE, NONE, fixed) == ["VDI_READONLY", fixed]
    assert failure(x.VDI.copy, source, NONE, NONE, source) == ["VDI_IN_USE", source, "copy"]
    assert failure(x.VDI.copy, source, sr, source, NONE) == ["VDI_IN_USE", source, "copy"]
    assert failure(x.VDI.copy, source, NONE, NONE, NONE) == ["HANDLE_INVALID", "SR", NONE]
    for base, into in (("OpaqueRef:none", NONE), (NONE, "OpaqueRef:none")):
        assert failure(x.VDI.copy, source, sr, base, into) == ["HANDLE_INVALID", "VDI", "OpaqueRef:none"]
