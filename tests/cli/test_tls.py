"""xe over TLS."""
import os
import re
import socket
import subprocess
import threading

import pytest
from conftest import Xe
from simhost import BUILD, PASSWORD, run_daemon


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


def test_tls_to_this_machine_at_any_port(secure):
    """Nobody says whether TLS is spoken there: it is found out."""
    xe, port = secure
    extra = f"server=127.0.0.1,port={port},username=root,password={PASSWORD}"
    assert len(xe("host-list", "--minimal", extra=extra)) == 36
    seen = xe.run("host-list", extra=extra.replace(PASSWORD, "wrong"))
    assert seen.status == 1 and "lost connection" not in seen.err


def test_what_listens_there_is_something_else():
    with socket.create_server(("127.0.0.1", 0)) as s:
        closer = threading.Thread(target=lambda: [s.accept()[0].close() for _ in range(2)])
        closer.start()
        argv = [os.path.join(BUILD, "xe"), "-s", "127.0.0.1", "-p", str(s.getsockname()[1]),
                "-u", "root", "-pw", "x", "host-list"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        closer.join()
    assert done.returncode == 1 and "neither plainly nor by TLS" in done.stderr
    assert "listen_https" in done.stderr
