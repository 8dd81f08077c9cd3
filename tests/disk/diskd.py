"""diskd.py: a running cairn-diskd for tests, its control socket, and what else they need.

    with Diskd(folder) as d:
        d.disk("a.vhd", "vhd", 64 << 20, fronts=("nbd",))
        d.ok("activate", id="a.vhd", …)

Programs come from the build folder named by CAIRN_BUILD, else build/ of this tree. CAIRN_DISKD_OPTIONS
is for sanitizers, which need system calls that the sandbox refuses: --sandbox=off.
"""
import json
import os
import signal
import socket
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("CAIRN_BUILD", os.path.join(TOP, "build"))
DISKD = os.path.join(BUILD, "cairn-diskd")
OPTIONS = os.environ.get("CAIRN_DISKD_OPTIONS", "").split()
VHDCHECK = os.path.join(TOP, "tools", "vhdcheck")


class Control:
    """One connection to the control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")

    def send(self, **request):
        self.file.write(json.dumps(request) + "\n")
        self.file.flush()

    def receive(self):
        line = self.file.readline()
        assert line, "diskd closed the control connection"
        return json.loads(line)

    def __call__(self, op, **args):
        self.send(op=op, **args)
        return self.receive()

    def close(self):
        self.file.close()
        self.sock.close()


class Diskd:
    """A diskd process in a folder; remembers its disks so that a restart tells them again."""

    def __init__(self, folder, *options):
        self.folder = str(folder)
        self.options = options
        self.attached, self.activated = {}, {}
        self.process = self.control = None
        self.start()

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        log = open(self.path("diskd.log"), "ab")
        self.process = subprocess.Popen(
            [DISKD, "--control=" + self.path("ctl"), *OPTIONS, *self.options], stderr=log)
        log.close()
        wait_for(lambda: self.connect() or self.process.poll() is not None)
        assert self.process.poll() is None, open(self.path("diskd.log")).read()

    def connect(self):
        try:
            self.control = Control(self.path("ctl"))
            return self.control("ping")["ok"]
        except (OSError, AssertionError):
            return False  # not there yet, or the socket of the one that was killed

    def ok(self, op, **args):
        answer = self.control(op, **args)
        assert answer["ok"], answer
        return answer.get("result", answer)

    def fails(self, op, code, **args):
        answer = self.control(op, **args)
        assert not answer["ok"] and answer["error"]["code"] == code, answer
        return answer["error"]

    def create(self, name, fmt, size):
        return self.ok("create", path=self.path(name), format=fmt, size=size)

    def attach(self, name, size, fronts=("nbd",), readonly=False, queues=None, **more):
        list_of = [{"type": "nbd", "path": self.path(name + ".nbd"), "export": name}
                   if f == "nbd" else
                   dict({"queues": queues} if queues else {}, type="vhost-user-blk",
                        path=self.path(name + ".vu"))
                   for f in fronts]
        args = dict(id=name, vdi="vdi-" + name, size=size, readonly=readonly, fronts=list_of, **more)
        self.attached[name] = args
        return self.ok("attach", **args)

    def activate(self, name, fmt="vhd"):
        self.activated[name] = dict(id=name, path=self.path(name), format=fmt)
        return self.activated_again(name)

    def activated_again(self, name):
        """Until it is active: the last transfers of a killed diskd may hold the image a while."""
        answer = self.control("activate", **self.activated[name])
        while answer.get("pending"):
            answer = self.control("activate", **self.activated[name])
        assert answer["ok"], answer
        return answer["result"]

    def deactivate(self, name):
        self.activated.pop(name)
        return self.ok("deactivate", id=name)

    def disk(self, name, fmt, size, fronts=("nbd",), **more):
        """Creates, attaches and activates."""
        self.create(name, fmt, size)
        self.attach(name, size, fronts, **more)
        self.activate(name, fmt)
        return nbd_uri(self, name)

    def kill(self):
        """kill -9, and wait for the end."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.control.close()

    def restart(self):
        """A new process, told what the old one knew."""
        self.start()
        for args in self.attached.values():
            self.ok("attach", **args)
        for name in self.activated:
            self.activated_again(name)

    def stats(self, name):
        return self.ok("stats", id=name)["disks"][0]

    def close(self):
        if self.process.poll() is None:
            self.ok("quit", force=True)
            assert self.process.wait(20) == 0, open(self.path("diskd.log")).read()
        self.control.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind is None:
            self.close()
        elif self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def nbd_uri(d, name):
    return f"nbd+unix:///{name}?socket={d.path(name + '.nbd')}"


def run(*argv, check=True):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert not check or p.returncode == 0, f"{argv}: {p.stdout}{p.stderr}"
    return p


def qemu_io(target, *commands, fmt="raw", options=()):
    argv = ["qemu-io", "-f", fmt, *options]
    for c in commands:
        argv += ["-c", c]
    p = run(*argv, target)
    assert "Pattern verification failed" not in p.stdout and "error" not in p.stderr, p.stdout
    return p.stdout


def vhdcheck(path, *options):
    """The structure of a closed image, by rules of its own."""
    return run(VHDCHECK, *options, path).stdout
