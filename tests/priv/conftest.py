"""cairn-privd as root, in a mount namespace of its own, with a private PAM service and plugins.

`privd` is a running program; what it mounts is seen by its own namespace alone. `loop` is a loop
device of 64 MiB.
"""
import array
import functools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(os.environ.get("CAIRN_BUILD", os.path.join(TOP, "build")), "cairn-privd")
DEVICE_SIZE = 64 << 20


def pytest_collection_modifyitems(items):
    if os.geteuid() == 0:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="cairn-privd is about root"))


@functools.cache
def propagation():
    """What is mounted in a namespace of its own stays there, except in a changed root."""
    private = ["unshare", "-m", "--propagation", "private", "true"]
    done = subprocess.run(private, stderr=subprocess.DEVNULL)
    return "unchanged" if done.returncode else "private"


class Privd:
    """A running cairn-privd and its folders."""

    def __init__(self, folder, *options):
        self.folder, self.options, self.process = folder, options, None
        self.socket = os.path.join(folder, "socket")
        self.mounts = os.path.join(folder, "mounts")
        self.plugins = os.path.join(folder, "plugins")
        self.pam = os.path.join(folder, "pam")
        self.log = os.path.join(folder, "log")
        os.makedirs(self.plugins)
        os.makedirs(self.pam)
        self.service("auth required pam_permit.so", "account required pam_permit.so")

    def argv(self, *options):
        return [PROGRAM, "--socket", self.socket, "--peer-uid", "0", "--mount-dir", self.mounts,
                "--plugins-dir", self.plugins, "--pam-service", "cairn", "--pam-confdir",
                self.pam, *self.options, *options]

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["unshare", "-m", "--propagation", propagation(),
                                             *self.argv()],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait(lambda: answers(self.socket), "cairn-privd listens")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(20) == 0

    def service(self, *lines):
        with open(os.path.join(self.pam, "cairn"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def plugin(self, name, text, mode=0o755):
        path = os.path.join(self.plugins, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)

    def send(self, data):
        """A connection on which the bytes were sent."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(self.socket)
        s.sendall(data)
        return s

    def raw(self, data, close=True):
        """What comes back for these bytes."""
        with self.send(data) as s:
            if close:
                s.shutdown(socket.SHUT_WR)
            return receive(s)[0]

    def ask(self, verb, **members):
        return json.loads(self.raw(json.dumps({"verb": verb, **members}).encode() + b"\n"))

    def ask_fd(self, verb, **members):
        with self.send(json.dumps({"verb": verb, **members}).encode() + b"\n") as s:
            line, fds = receive(s)
        return json.loads(line), fds

    def refused(self, verb, part, **members):
        answer = self.ask(verb, **members)
        assert answer["ok"] is False and part in answer["error"], answer

    def workers(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                  encoding="ascii") as f:
            return [int(pid) for pid in f.read().split()]

    def path(self, name):
        """A path as the program's namespace sees it."""
        return f"/proc/{self.process.pid}/root{self.mounts}/{name}"


def receive(s):
    line, fds = b"", array.array("i")
    while not line.endswith(b"\n"):
        piece, control, _, _ = s.recvmsg(1 << 16, socket.CMSG_SPACE(4))
        for _, _, data in control:
            fds.frombytes(data)
        if not piece:
            break
        line += piece
    return line, list(fds)


def answers(path):
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
        return True
    except OSError:
        return False


def wait(fn, what, seconds=20):
    end = time.monotonic() + seconds
    while not fn():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


@pytest.fixture
def privd():
    folder = tempfile.mkdtemp(prefix="privd-", dir="/tmp")
    os.chmod(folder, 0o755)
    p = Privd(folder)
    p.start()
    yield p
    p.stop()
    shutil.rmtree(folder)


@pytest.fixture
def loop():
    with tempfile.NamedTemporaryFile(dir="/tmp") as f:
        f.truncate(DEVICE_SIZE)
        made = subprocess.run(["losetup", "--find", "--show", f.name], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if made.returncode:
            pytest.skip("the kernel gives no loop device")
        device = made.stdout.strip()
        yield device
        subprocess.run(["losetup", "--detach", device], check=True)
