"""The port for NBD as far as a host without a data path has it: who is let in, and who is not.
Content is read in tests/real."""
import struct

import pytest

from nbdclient import ABORT, ACK, EXPORT_NAME, GO, LIST, STARTTLS, STRUCTURED
from nbdclient import POLICY, TLS_REQUIRED, UNKNOWN, UNSUP, INVALID, Nbd
from simhost import ROLES, failure, run_daemon

MIB = 1 << 20


@pytest.fixture(name="daemon", scope="module")
def with_tls():
    yield from run_daemon("listen_https=127.0.0.1:0")


@pytest.fixture(name="x", scope="module")
def session(daemon):
    return daemon.connect()


@pytest.fixture(name="network")
def networks(x):
    refs = x.network.get_all()
    yield refs[0]
    for ref in refs:
        for purpose in x.network.get_purpose(ref):
            x.network.remove_purpose(ref, purpose)


@pytest.fixture(name="vdi", scope="module")
def disk(x):
    sr = x.SR.get_by_name_label("Local storage")[0]
    return x.VDI.create({"name_label": "read", "SR": sr, "virtual_size": str(4 * MIB),
                         "type": "user", "sharable": False, "read_only": False,
                         "other_config": {}})


def named(name, *requests):
    name = name.encode()
    return struct.pack(">I", len(name)) + name + struct.pack(">H", len(requests))


def test_purposes_exclude_each_other(x, network):
    other = next(n for n in x.network.get_all() if n != network)
    x.network.add_purpose(network, "nbd")
    x.network.add_purpose(network, "nbd")
    assert x.network.get_purpose(network) == ["nbd"]
    x.network.add_purpose(other, "nbd")
    assert failure(x.network.add_purpose, other, "insecure_nbd") == \
        ["NETWORK_INCOMPATIBLE_PURPOSES", "insecure_nbd", "nbd"]
    x.network.remove_purpose(network, "nbd")
    x.network.remove_purpose(other, "nbd")
    x.network.add_purpose(other, "insecure_nbd")
    assert x.network.get_purpose(other) == ["insecure_nbd"]


def test_where(x, network, vdi):
    assert x.VDI.get_nbd_info(vdi) == []
    x.network.add_purpose(network, "nbd")
    info, = x.VDI.get_nbd_info(vdi)
    assert info["exportname"] == f"/{x.VDI.get_uuid(vdi)}?session_id={x.ref}"
    host = x.host.get_all()[0]
    assert info["address"] == x.host.get_address(host) and int(info["port"]) > 0
    assert info["cert"] == x.host.get_server_certificate(host) and info["subject"]
    x.network.remove_purpose(network, "nbd")
    x.network.add_purpose(network, "insecure_nbd")
    assert x.VDI.get_nbd_info(vdi)[0]["cert"] == ""
    x.VDI.enable_cbt(vdi)
    snapshot = x.VDI.snapshot(vdi)
    x.VDI.data_destroy(snapshot)
    assert failure(x.VDI.get_nbd_info, snapshot) == \
        ["VDI_INCOMPATIBLE_TYPE", snapshot, "cbt_metadata"]
    x.VDI.destroy(snapshot)


def port(x, network, vdi, purpose):
    x.network.add_purpose(network, purpose)
    return x.VDI.get_nbd_info(vdi)[0]


def test_nobody_is_let_in_without_a_purpose(x, network, vdi):
    info = port(x, network, vdi, "nbd")
    x.network.remove_purpose(network, "nbd")
    with pytest.raises((EOFError, ConnectionError)):
        Nbd("127.0.0.1", info["port"])


def test_tls_comes_first(x, network, vdi):
    info = port(x, network, vdi, "nbd")
    with Nbd("127.0.0.1", info["port"]) as n:
        assert n.option(STRUCTURED) == TLS_REQUIRED
        assert n.option(GO, named(info["exportname"])) == TLS_REQUIRED
        n.start_tls(info["cert"])
        assert n.option(STARTTLS) == UNSUP
        assert n.option(LIST) == POLICY
        assert n.option(GO, named("/" + info["exportname"])) == UNKNOWN
        assert n.option(ABORT) == ACK
    with Nbd("127.0.0.1", info["port"]) as n, pytest.raises((EOFError, ConnectionError)):
        n.open(info["exportname"])


def test_strangers_learn_nothing(daemon, x, network, vdi):
    info = port(x, network, vdi, "insecure_nbd")
    uuid = x.VDI.get_uuid(vdi)
    reader = daemon.connect(ROLES[0]).ref
    with Nbd("127.0.0.1", info["port"]) as n:
        assert n.option(STARTTLS) == POLICY
        assert n.option(STRUCTURED) == ACK
        for name in ("", uuid, "/" + uuid, f"/{uuid}?session_id=", f"/{uuid}?session_id=x",
                     f"/{uuid}?session_id={reader}", f"/nothing?session_id={x.ref}",
                     f"/{x.ref}?session_id={x.ref}"):
            assert n.option(GO, named(name)) == UNKNOWN, name
        assert n.option(GO, b"\xff\xff\xff\xff") == INVALID
        assert n.option(99) == UNSUP
        n.sock.sendall(struct.pack(">QII", 0x49484156454F5054, EXPORT_NAME, 3) + b"abc")
        with pytest.raises((EOFError, ConnectionError)):
            n.take(1)
    with Nbd("127.0.0.1", info["port"]) as n, pytest.raises((EOFError, ConnectionError)):
        n.option(GO, bytes(8193))


def test_the_crowd_is_limited(x, network, vdi):
    info = port(x, network, vdi, "insecure_nbd")
    inside = [Nbd("127.0.0.1", info["port"]) for _ in range(16)]
    with pytest.raises((EOFError, ConnectionError)):
        Nbd("127.0.0.1", info["port"])
    for n in inside:
        n.close()
