"""An installed host: its files, and cairnd without privileges beside cairn-privd."""
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import xmlrpc.client

import pytest
from conftest import TOP, Privd, wait

UID = 4242
BUILD = os.environ.get("CAIRN_BUILD", os.path.join(TOP, "build"))


@pytest.fixture(scope="module")
def tree():
    folder = tempfile.mkdtemp(prefix="cairn-tree-", dir="/tmp")
    os.chmod(folder, 0o755)
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                    folder], check=True, stdout=subprocess.DEVNULL)
    yield folder
    shutil.rmtree(folder)


def installed(tree, name):
    """The one file whose path ends so."""
    every = [os.path.join(d, f) for d, _, files in os.walk(tree) for f in files]
    found = [path for path in every if path.endswith("/" + name)]
    assert len(found) == 1, found
    return found[0]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def test_units_name_what_is_installed(tree):
    for unit in ("cairnd.service", "cairn-privd.service"):
        program, *words = re.search(r"^ExecStart=(.*)$", read(installed(tree, unit)),
                                    re.M).group(1).split()
        assert os.access(tree + program, os.X_OK)
        for word in words:
            if word.startswith("--config="):
                assert os.path.isfile(tree + word.partition("=")[2])
            if word.startswith("--plugins-dir="):
                assert os.path.isdir(tree + word.partition("=")[2])
    privd = read(installed(tree, "cairn-privd.service"))
    options = re.findall(r"--[a-z-]+", privd.partition("ExecStart")[2].partition("\n")[0])
    usage = subprocess.run([installed(tree, "cairn-privd"), "--help"], text=True, check=True,
                           stdout=subprocess.PIPE).stdout
    assert options and all(o in usage for o in options)


def test_check_knows_the_installed_paths(tree):
    out = subprocess.run([installed(tree, "cairnd"), "--config", installed(tree, "etc/cairn/cairn.conf"),
                          "--check"], text=True, check=True, stdout=subprocess.PIPE).stdout
    settings = dict(line.split(" = ", 1) for line in out.splitlines())
    assert os.access(tree + settings["diskd"], os.X_OK)
    assert os.listdir(tree + settings["templates_dir"])
    assert os.path.isdir(tree + settings["plugins_dir"])
    assert f"ListenStream={settings['privd_socket']}\n" in read(installed(tree,
                                                                         "cairn-privd.socket"))


def low_port():
    for port in range(1000, 600, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


class Host:
    """cairnd as an ordinary uid and cairn-privd as root; guests are simulated."""

    def __init__(self, tree):
        self.top = tempfile.mkdtemp(prefix="cairn-host-", dir="/tmp")
        os.chmod(self.top, 0o755)
        self.folder = os.path.join(self.top, "own")
        os.mkdir(self.folder)
        os.chown(self.folder, UID, UID)
        self.port = low_port()
        self.privd = Privd(self.top, "--peer-uid", str(UID), "--port", str(self.port))
        self.privd.start()
        self.config = os.path.join(self.folder, "cairn.conf")
        settings = {"hypervisor": "sim", "listen_http": f"127.0.0.1:{self.port}",
                    "listen_https": "", "privd_socket": self.privd.socket,
                    "templates_dir": installed(tree, "default.templates").rpartition("/")[0],
                    "local_socket": f"{self.folder}/xapi", "store": f"sqlite:{self.folder}/db",
                    "control_socket": f"{self.folder}/ctl"}
        for name in ("state", "run", "log", "sr", "iso", "plugins"):
            settings[f"{name}_dir"] = f"{self.folder}/{name}"
        settings["plugins_dir"] = self.privd.plugins
        with open(self.config, "w", encoding="utf-8") as f:
            f.writelines(f"{k} = {v}\n" for k, v in settings.items())
        self.start(installed(tree, "cairnd"))

    def start(self, program):
        self.log = os.path.join(self.folder, "cairnd.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["setpriv", f"--reuid={UID}", f"--regid={UID}",
                                             "--clear-groups", program, "--config", self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait(lambda: "event=ready" in read(self.log) or self.process.poll() is not None, "it runs")
        assert self.process.poll() is None, read(self.log)

    def call(self, method, *params):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("POST", "/", xmlrpc.client.dumps(params, method), {"Content-Type": "text/xml"})
        return xmlrpc.client.loads(c.getresponse().read())[0][0]

    def login(self, user="root", password="x"):
        return self.call("session.login_with_password", user, password, "1.0", "test")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.privd.stop()
        shutil.rmtree(self.top)


@pytest.fixture
def host(tree):
    h = Host(tree)
    yield h
    h.stop()


def test_an_ordinary_uid_serves_a_low_port_and_logs_in_by_pam(host):
    with open(f"/proc/{host.process.pid}/status", encoding="ascii") as f:
        status = dict(line.split(":", 1) for line in f)
    assert status["Uid"].split() == [str(UID)] * 4 and int(status["CapEff"], 16) == 0
    assert host.login()["Status"] == "Success"
    assert host.login("nobody")["ErrorDescription"][0] == "SESSION_AUTHORIZATION_FAILED"
    host.privd.service("auth required pam_deny.so", "account required pam_permit.so")
    assert host.login(password="y")["ErrorDescription"][0] == "SESSION_AUTHENTICATION_FAILED"


def test_privd_may_die_and_come_back(host):
    session = host.login()["Value"]
    host.privd.kill()
    assert host.call("host.get_all", session)["Status"] == "Success"
    assert host.login(password="y")["ErrorDescription"][0] == "INTERNAL_ERROR"
    host.privd.start()
    assert host.login(password="z")["Status"] == "Success"


def test_plugins_run_as_root(host):
    host.privd.plugin("who", "#!/bin/sh\necho '<methodResponse><params><param><value><struct>"
                             "<member><name>Status</name><value>Success</value></member><member>"
                             "<name>Value</name><value>'$(id -u)'</value></member></struct></value>"
                             "</param></params></methodResponse>'\n")
    session = host.login()["Value"]
    ref = host.call("host.get_all", session)["Value"][0]
    got = host.call("host.call_plugin", session, ref, "who", "f", {})
    assert got == {"Status": "Success", "Value": "0"}
