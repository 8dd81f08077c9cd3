"""A simulated host: the real daemon in a folder of its own, its guests and disks pretended."""
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tools", "pylib"))

import conform  # noqa: E402
import xapi  # noqa: E402

BUILD = os.environ.get("CAIRN_BUILD", os.path.join(TOP, "build"))
PASSWORD = "a secret of the tests"
ROLES = ("read-only", "vm-operator", "vm-admin", "vm-power-admin", "pool-operator", "pool-admin")
START_S = 120


def password_hash(password):
    return subprocess.run([os.path.join(BUILD, "cairnd"), "--hash-password"], check=True, text=True,
                          input=password + "\n", stdout=subprocess.PIPE).stdout.strip()


class CheckedSession(xapi.Session):
    """A session each of whose answers is held against the facts."""

    def call_bare(self, name, *args):
        try:
            value = super().call_bare(name, *args)
        except xapi.Failure as e:
            conform.error(name, e.details)
            raise
        conform.answer(name, value, conform.XML)
        return value


xapi.Session = CheckedSession  # whoever connects by xapi.connect, too


CRASHES = {signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV,
           signal.SIGSYS}


def crashes(log):
    """What the daemon says of programs that ended as nobody wanted."""
    with open(log, encoding="utf-8", errors="replace") as f:
        text = f.read()
    signals = "|".join(str(int(s)) for s in CRASHES)
    return re.findall(rf".*\b(?:event=ended-badly|signal(?:=| )(?:{signals})\b).*", text)


class Daemon:
    """A running cairnd in a folder of its own."""

    def __init__(self, folder, *settings):
        self.folder, self.settings = folder, settings
        self.log = os.path.join(folder, "cairnd.log")
        self.process, self.port = None, None
        if not os.path.exists(os.path.join(folder, "users")):
            self.write_users()
        self.start()

    def write_users(self):
        secret = password_hash(PASSWORD)
        lines = [f"root:{secret}"] + [f"{r}:{secret}:{r}" for r in ROLES]
        with open(os.path.join(self.folder, "users"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def argv(self):
        return [os.path.join(BUILD, "cairnd"), "--development", self.folder]

    def start(self):
        argv = self.argv()
        for s in ("hypervisor=sim", "listen_http=127.0.0.1:0", "listen_https=", *self.settings):
            argv += ["-o", s]
        with open(self.log, "ab") as log:
            at = log.tell()
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_ready(at)

    def wait_ready(self, at):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with open(self.log, "rb") as f:
                f.seek(at)
                text = f.read().decode(errors="replace")
            port = re.search(r"event=listening\b.*\bport=(\d+)", text)
            if port and "event=ready" in text:
                self.port = int(port.group(1))
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise RuntimeError("the daemon does not start:\n" + text[-3000:])

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        code = self.process.returncode if self.process else 0
        assert -code not in CRASHES, f"the daemon died of signal {-code}; its log is {self.log}"
        return code

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket(self):
        return os.path.join(self.folder, "run", "xapi")

    def connect(self, user="root", password=PASSWORD, originator="tests"):
        return CheckedSession(self.url, user, password, originator)

    def post(self, path, body, headers=None, method="POST", version=11):
        """One request on a connection of its own: (status, headers, body)."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c._http_vsn, c._http_vsn_str = version, f"HTTP/1.{version - 10}"
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def json(self, method, *params, version=2, ident=1, path="/jsonrpc"):
        call = {"method": method, "params": list(params), "id": ident}
        if version == 2:
            call["jsonrpc"] = "2.0"
        status, _, body = self.post(path, json.dumps(call))
        assert status == 200, body
        reply = json.loads(body)
        if reply.get("error"):
            e = reply["error"]
            conform.error(method, [e["message"], *e["data"]] if isinstance(e, dict) else e)
        else:
            conform.answer(method, reply["result"], conform.JSON)
        return reply


def run_daemon(*settings):
    folder = tempfile.mkdtemp(prefix="cairn-api-")
    d = None
    try:
        d = Daemon(folder, *settings)
        yield d
    finally:
        code = d.stop() if d else 0
        undeclared = conform.undeclared(d.log) if d else []
        crashed = crashes(d.log) if d else []
        if code == 0:
            shutil.rmtree(folder, ignore_errors=True)
    assert code == 0, f"the daemon ended with {code}; its log is in {folder}"
    assert not crashed, crashed
    assert not undeclared, f"neither 'errors' nor 'raises' of the model: {undeclared}"


def failure(call, *args):
    """The error that a call fails with, as a list."""
    with pytest.raises(xapi.Failure) as e:
        call(*args)
    return e.value.details
