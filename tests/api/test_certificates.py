"""Certificates: what the listening sockets show, whom the pool trusts, and the records about it."""
import os
import re
import ssl
import socket

import certs
import pytest
from simhost import failure, run_daemon

NOWHERE = "OpaqueRef:nowhere"


@pytest.fixture(scope="module")
def served():
    """A daemon that listens with TLS."""
    for d in run_daemon("listen_https=127.0.0.1:0"):
        with open(d.log, encoding="utf-8") as f:
            d.tls_port = int(re.search(r"event=listening\b.*\bport=(\d+) tls=yes", f.read())[1])
        yield d


@pytest.fixture
def x(served):
    with served.connect() as session:
        yield session


@pytest.fixture
def host(x):
    return x.host.get_all()[0]


@pytest.fixture
def pool(x):
    return x.pool.get_all()[0]


@pytest.fixture(scope="module")
def rsa():
    return certs.key()


@pytest.fixture(scope="module")
def other():
    return certs.key("ec")


@pytest.fixture(scope="module")
def ca(rsa):
    return certs.certificate(rsa, name="authority")


def shown(served, name=None):
    """The certificate that a client sees now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", served.tls_port)) as s:
        with context.wrap_socket(s, server_hostname=name) as t:
            return ssl.DER_cert_to_PEM_cert(t.getpeercert(True)).strip()


def record(x, kind, name=""):
    found = [c for c in x.Certificate.get_all_records().values()
             if c["type"] == kind and c["name"] == name]
    assert len(found) <= 1
    return found[0] if found else None


def alerts(x, uuid):
    return {m["name"] for m in x.message.get_all_records().values() if m["obj_uuid"] == uuid}


def test_what_is_shown_is_what_is_told(served, x, host):
    for kind, name in (("host", None), ("host_internal", "pool")):
        pem, told = shown(served, name), record(x, kind)
        assert told["host"] == host
        assert told["fingerprint_sha256"] == told["fingerprint"] == certs.fingerprint(pem)
        assert told["fingerprint_sha1"] == certs.fingerprint(pem, "sha1")
    assert certs.body(x.host.get_server_certificate(host)) == shown(served)
    assert failure(x.host.get_server_certificate, NOWHERE)[0] == "HANDLE_INVALID"


@pytest.mark.parametrize("kind", ["rsa:2048", "ec"])
def test_install_server_certificate(served, x, host, ca, kind):
    key = certs.key(kind)
    pem = certs.certificate(key, days=100)
    before = record(x, "host")
    x.host.install_server_certificate(host, pem, key, ca)
    assert shown(served) == certs.body(pem) == certs.body(x.host.get_server_certificate(host))
    told = record(x, "host")
    assert told["uuid"] != before["uuid"]
    assert told["fingerprint_sha256"] == certs.fingerprint(pem)
    with open(os.path.join(served.folder, "state", "cert.pem"), encoding="ascii") as f:
        assert certs.body(ca) in f.read()
    assert os.stat(os.path.join(served.folder, "state", "key.pem")).st_mode & 0o077 == 0


def test_reset_and_refresh(served, x, host):
    old, pool_old = shown(served), shown(served, "pool")
    x.host.reset_server_certificate(host)
    reset = shown(served)
    assert reset != old and record(x, "host")["fingerprint_sha256"] == certs.fingerprint(reset)
    assert shown(served, "pool") == pool_old
    x.host.refresh_server_certificate(host)
    fresh = shown(served, "pool")
    assert fresh != pool_old and shown(served) == reset
    assert record(x, "host_internal")["fingerprint_sha256"] == certs.fingerprint(fresh)
    x.host.emergency_reset_server_certificate()
    assert shown(served) != reset
    for name in ("reset", "refresh"):
        assert failure(x.call, f"host.{name}_server_certificate", NOWHERE)[0] == "HANDLE_INVALID"


def test_server_certificates_that_are_refused(served, x, host, rsa, other):
    good = certs.certificate(rsa)
    before = shown(served)

    def refused(cert, key, *chain):
        return failure(x.host.install_server_certificate, host, cert, key, *chain)
    assert refused("none", rsa) == ["SERVER_CERTIFICATE_INVALID"]
    assert refused(good, "none") == ["SERVER_CERTIFICATE_KEY_INVALID"]
    assert refused(good, other) == ["SERVER_CERTIFICATE_KEY_MISMATCH"]
    assert refused(good, rsa, "none") == ["SERVER_CERTIFICATE_CHAIN_INVALID"]
    assert refused(good, certs.key("rsa:1024")) == \
        ["SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED", "1024"]
    assert refused(good, certs.key("rsa:2048:3")) == \
        ["SERVER_CERTIFICATE_KEY_RSA_MULTI_NOT_SUPPORTED"]
    assert refused(good, certs.key("ed25519")) == \
        ["SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED", "1.3.101.112"]
    weak = certs.certificate(rsa, digest="sha1")
    assert refused(weak, rsa) == ["SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED"]
    assert refused(certs.certificate(rsa, days=-1, since=-9), rsa)[0] == \
        "SERVER_CERTIFICATE_EXPIRED"
    early = refused(certs.certificate(rsa, days=9, since=3), rsa)
    assert early[0] == "SERVER_CERTIFICATE_NOT_VALID_YET" and early[1] < early[2]
    assert shown(served) == before


def test_authorities(served, x, host, ca):
    bundle = os.path.join(served.folder, "state", "ca-bundle.pem")

    def trusted():
        with open(bundle, encoding="ascii") as f:
            return certs.body(ca) in f.read()
    x.pool.install_ca_certificate("first", ca)
    assert x.pool.certificate_list() == ["first"] and trusted()
    told = record(x, "ca", "first")
    assert told["fingerprint_sha256"] == certs.fingerprint(ca)
    assert told["host"] == "OpaqueRef:NULL"
    assert failure(x.pool.install_ca_certificate, "first", ca) == \
        ["CERTIFICATE_ALREADY_EXISTS", "first"]
    x.pool.uninstall_ca_certificate("first")
    assert x.pool.certificate_list() == [] and not record(x, "ca", "first") and not trusted()
    assert failure(x.pool.uninstall_ca_certificate, "first") == \
        ["CERTIFICATE_DOES_NOT_EXIST", "first"]
    x.pool.uninstall_ca_certificate("first", True)
    x.pool.certificate_install("second", ca)
    assert record(x, "ca", "second") and trusted()
    assert failure(x.pool.certificate_install, "second", ca)[0] == "CERTIFICATE_ALREADY_EXISTS"
    x.pool.certificate_uninstall("second")
    assert not record(x, "ca", "second") and not trusted()
    assert failure(x.pool.certificate_uninstall, "second")[0] == "CERTIFICATE_DOES_NOT_EXIST"


def test_authorities_that_are_refused(x, rsa, ca):
    for name in ("", "../a", ".a", "a/b", "-a", "a b"):
        for install in (x.pool.install_ca_certificate, x.pool.certificate_install):
            assert failure(install, name, ca) == ["CERTIFICATE_NAME_INVALID", name]
    assert failure(x.pool.install_ca_certificate, "a", "none") == ["CA_CERTIFICATE_INVALID"]
    expired = certs.certificate(rsa, days=-1, since=-9)
    assert failure(x.pool.install_ca_certificate, "a", expired)[0] == "CA_CERTIFICATE_EXPIRED"
    early = certs.certificate(rsa, days=9, since=3)
    assert failure(x.pool.install_ca_certificate, "a", early)[0] == "CA_CERTIFICATE_NOT_VALID_YET"
    assert x.pool.certificate_list() == []


def test_revocations(served, x, rsa, ca):
    crl = certs.revocations(rsa, ca)
    x.pool.crl_install("list", crl)
    with open(os.path.join(served.folder, "state", "crls", "list"), encoding="ascii") as f:
        assert f.read() == crl
    assert x.pool.crl_list() == ["list"]
    assert failure(x.pool.crl_install, "list", crl) == ["CRL_ALREADY_EXISTS", "list"]
    assert failure(x.pool.crl_install, "other", ca) == ["CRL_CORRUPT", "other"]
    assert failure(x.pool.crl_install, "../list", crl) == ["CRL_NAME_INVALID", "../list"]
    x.pool.crl_uninstall("list")
    assert x.pool.crl_list() == [] and os.listdir(os.path.join(served.folder, "state/crls")) == []
    assert failure(x.pool.crl_uninstall, "list") == ["CRL_DOES_NOT_EXIST", "list"]


def test_sync_follows_the_files(served, x, ca):
    folder = os.path.join(served.folder, "state", "certs")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "by-hand"), "w", encoding="ascii") as f:
        f.write(ca)
    x.pool.certificate_sync()
    assert record(x, "ca", "by-hand")["fingerprint_sha256"] == certs.fingerprint(ca)
    os.unlink(os.path.join(folder, "by-hand"))
    x.pool.certificate_sync()
    assert not record(x, "ca", "by-hand")
    with served.connect("read-only") as low:
        assert failure(low.pool.certificate_sync)[0] == "RBAC_PERMISSION_DENIED"


def test_trusted_certificates(x, pool, rsa, ca):
    x.pool.install_trusted_certificate(pool, True, ca, [])
    x.pool.install_trusted_certificate(pool, False, ca, ["ldaps"])
    assert record(x, "pinned")["purpose"] == ["ldaps"]
    assert record(x, "pinned")["fingerprint_sha256"] == certs.fingerprint(ca)
    again = failure(x.pool.install_trusted_certificate, pool, True, ca, [])
    assert again == ["TRUSTED_CERTIFICATE_ALREADY_EXISTS", certs.fingerprint(ca)]
    for kind in ("ca", "pinned"):
        ref = x.Certificate.get_by_uuid(record(x, kind)["uuid"])
        x.pool.uninstall_trusted_certificate(pool, ref)
        assert not record(x, kind)
        assert failure(x.pool.uninstall_trusted_certificate, pool, ref)[:2] == \
            ["HANDLE_INVALID", "Certificate"]
    mine = x.Certificate.get_by_uuid(record(x, "host")["uuid"])
    assert failure(x.pool.uninstall_trusted_certificate, pool, mine) == \
        ["NOT_TRUSTED_CERTIFICATE", mine]

    def refused(*args):
        return failure(x.pool.install_trusted_certificate, pool, *args)[0]
    assert refused(False, ca, []) == "CERTIFICATE_LACKS_PURPOSE"
    assert refused(True, "none", []) == "TRUSTED_CERTIFICATE_INVALID"
    assert refused(True, certs.certificate(rsa, days=-1, since=-9), []) == \
        "TRUSTED_CERTIFICATE_EXPIRED"
    assert refused(True, certs.certificate(rsa, days=9, since=3), []) == \
        "TRUSTED_CERTIFICATE_NOT_VALID_YET"


def test_what_expires_is_told(x, host, rsa):
    uuid = x.host.get_uuid(host)
    for days, name in ((25, "30"), (10, "14"), (3, "07")):
        x.host.install_server_certificate(host, certs.certificate(rsa, days=days), rsa)
        assert alerts(x, uuid) == {f"HOST_SERVER_CERTIFICATE_EXPIRING_{name}"}
    x.host.reset_server_certificate(host)
    assert alerts(x, uuid) == set()
    x.pool.install_ca_certificate("short", certs.certificate(rsa, days=10, name="short"))
    told = record(x, "ca", "short")["uuid"]
    assert alerts(x, told) == {"POOL_CA_CERTIFICATE_EXPIRING_14"}
    x.pool.uninstall_ca_certificate("short")


def test_certificates_survive_the_daemon(x, served, host, rsa):
    pem = certs.certificate(rsa, days=200)
    x.host.install_server_certificate(host, pem, rsa)
    before = x.Certificate.get_all_records()
    served.stop()
    at = os.path.getsize(served.log)
    served.start()
    with open(served.log, encoding="utf-8") as f:
        f.seek(at)
        served.tls_port = int(re.search(r"event=listening\b.*\bport=(\d+) tls=yes", f.read())[1])
    assert shown(served) == certs.body(pem)
    with served.connect() as again:
        assert again.Certificate.get_all_records() == before
