"""The sockets of the daemon: TLS, sockets of whoever starts it, and what its end means to clients."""
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from simhost import BUILD, PASSWORD, Daemon, run_daemon


@pytest.fixture
def tls_daemon():
    yield from run_daemon("listen_https=127.0.0.1:0")


def call(connection, method, *params):
    body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
    connection.request("POST", "/jsonrpc", body)
    return json.loads(connection.getresponse().read())


def login(connection):
    return call(connection, "session.login_with_password", "root", PASSWORD, "1.0", "t")["result"]


def ask(daemon, line):
    """One line to the control socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(daemon.folder, "run", "cairnd.ctl"))
        s.sendall(line.encode() + b"\n")
        return s.makefile().read()


def trusting(folder):
    return ssl.create_default_context(cafile=os.path.join(folder, "state", "cert.pem"))


def test_tls_with_the_certificate_of_the_first_start(tls_daemon):
    with open(tls_daemon.log, encoding="utf-8") as f:
        port = int(re.search(r"port=(\d+) tls=yes", f.read()).group(1))
    c = http.client.HTTPSConnection("localhost", port, context=trusting(tls_daemon.folder))
    session = login(c)
    for _ in range(3):
        assert call(c, "host.get_all", session)["result"]
    c.close()


class Handed(Daemon):
    """A daemon that is given its sockets, the second one for TLS."""

    def start(self):
        self.plain, self.tls = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        plain, tls = (fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 50) for s in (self.plain, self.tls))
        script = (f"exec 3<&{plain} 4<&{tls}; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:https "
                  f'exec "{BUILD}/cairnd" --development "{self.folder}" -o hypervisor=sim')
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, pass_fds=(plain, tls))
        os.close(plain)
        os.close(tls)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            with open(self.log, encoding="utf-8") as f:
                if "event=ready" in f.read():
                    return
            time.sleep(0.02)
        raise RuntimeError("the daemon does not start")


def test_sockets_may_be_handed_over(tmp_path):
    d = Handed(str(tmp_path))
    try:
        c = http.client.HTTPConnection("127.0.0.1", d.plain.getsockname()[1])
        assert login(c).startswith("OpaqueRef:")
        c = http.client.HTTPSConnection("localhost", d.tls.getsockname()[1],
                                        context=trusting(d.folder))
        assert login(c).startswith("OpaqueRef:")
    finally:
        assert d.stop() == 0


def test_the_end_is_quick_and_told(own_daemon):
    c = http.client.HTTPConnection("127.0.0.1", own_daemon.port, timeout=20)
    session = login(c)
    token = call(c, "event.from", session, ["vm"], "", 0.1)["result"]["token"]
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(call(c, "event.from", session, ["vm"], token, 60.0)))
    waiting.start()
    xe = subprocess.Popen([os.path.join(BUILD, "xe"), "-s", own_daemon.socket, "event-wait",
                           "class=vm", "name-label=never"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while "event calls parked 2\n" not in ask(own_daemon, "dump sessions"):
        time.sleep(0.02)
    begin = time.monotonic()
    own_daemon.stop(signal.SIGTERM)
    assert time.monotonic() - begin < 10
    waiting.join(10)
    assert answers[0]["error"]["message"] == "SESSION_INVALID"
    assert xe.wait(10) == 1
    xe.stdout.close()
    own_daemon.start()
