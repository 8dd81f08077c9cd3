"""xe over TLS."""
import os
import re

import pytest
from conftest import Xe
from simhost import PASSWORD, run_daemon


@pytest.fixture(scope="module")
def secure():
    """xe and the TLS port of a host of its own."""
    for d in run_daemon("listen_https=127.0.0.1:0"):
        with open(d.log, encoding="utf-8") as f:
            port = re.search(r"port=(\d+) tls=yes", f.read()).group(1)
        yield Xe(d), port


def test_tls_to_another_name(secure):
    xe, port = secure
    # The machine's own address by a name that xe does not take for this machine.
    extra = f"server=127.0.0.2,port={port},username=root,password={PASSWORD}"
    seen = xe.run("host-list", "--minimal", extra=extra)
    assert seen.status == 1 and "cannot reach host '127.0.0.2'" in seen.err
    extra = f"server=0177.0.0.1,port={port},username=root,password={PASSWORD}"
    assert len(xe("host-list", "--minimal", extra=extra)) == 36


def test_the_server_is_checked_against_an_authority(secure):
    xe, port = secure
    extra = f"server=0177.0.0.1,port={port},username=root,password={PASSWORD}"
    own = os.path.join(xe.daemon.folder, "state", "cert.pem")
    seen = xe.run("host-list", extra=extra, env={"XE_CACERT": "/etc/ssl/certs/ca-certificates.crt"})
    assert seen.status == 1 and seen.out == ""
    assert os.path.exists(own)
    seen = xe.run("host-list", "--minimal", extra=extra.replace("0177.0.0.1", "LOCALHOST"),
                  env={"XE_CACERT": own})
    assert seen.status == 0, seen.err
