"""xe on a terminal, cairnctl and xn."""
import os
import pty
import re
import select
import subprocess
import time

from conftest import Xe
from simhost import BUILD


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, xe, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            env = {"PATH": "/usr/bin:/bin", "HOME": xe.daemon.folder, "TERM": "dumb",
                   "XE_EXTRA_ARGS": f"server={xe.daemon.socket}"}
            os.execve(os.path.join(BUILD, "xe"), ["xe", *words], env)
        self.seen = ""

    def expect(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"waited for {pattern!r}, saw {self.seen!r}"
            self.read()

    def read(self):
        try:
            self.seen += os.read(self.fd, 4096).decode(errors="replace")
        except OSError:  # the program ended
            raise AssertionError(f"ended early: {self.seen!r}") from None

    def type(self, text):
        os.write(self.fd, text)

    def status(self):
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_uninstall_asks_on_a_terminal(xe, vm):
    t = Terminal(xe, "vm-uninstall", f"uuid={vm}")
    t.expect("Type 'yes' to continue")
    t.type(b"no\n")
    t.expect("Aborted")
    assert t.status() == 1
    assert xe("vm-list", f"uuid={vm}", "--minimal") == vm
    t = Terminal(xe, "vm-uninstall", f"uuid={vm}")
    t.expect("Type 'yes' to continue")
    t.type(b"yes\n")
    t.expect("All objects destroyed")
    assert t.status() == 0
    assert xe("vm-list", f"uuid={vm}", "--minimal") == ""


def test_a_password_is_asked_for_without_echo(xe):
    t = Terminal(xe, "host-list", "--minimal", "-s", "127.0.0.1", "-p", str(xe.daemon.port), "-u", "root")
    t.expect("Password for root on 127.0.0.1: ")
    t.type(b"a secret of the tests\n")
    t.expect(r"[0-9a-f]{8}-")
    assert "secret" not in t.seen
    assert t.status() == 0


def test_xn_lists_what_runs(daemon, running):
    xn = Xe(daemon, "xn")
    lines = xn("list").splitlines()
    assert lines[0].split() == ["Name", "ID", "Mem", "VCPUs", "State", "UUID"]
    mine = [line for line in lines if running in line]
    assert len(mine) == 1 and re.match(r"guest of a test +[1-9]\d* +\d+ +\d+ running", mine[0])
    assert re.match(r"Control domain on host: \S+ +0 ", lines[1])
    assert xn.run("nonsense").status == 2


def test_xn_lists_devices(daemon, xe, running):
    xn = Xe(daemon, "xn")
    xe("vm-disk-add", f"uuid={running}", "disk-size=4MiB", "device=5")
    vdi = xe("vbd-list", f"vm-uuid={running}", "userdevice=5", "params=vdi-uuid", "--minimal")
    lines = xn("-v", "list").splitlines()
    at = next(i for i, line in enumerate(lines) if running in line)
    assert any(line.startswith(f"    disk {vdi} ") for line in lines[at + 1:])
    assert vdi not in xn("list")
    xe("vbd-unplug", "uuid=" + xe("vbd-list", f"vdi-uuid={vdi}", "--minimal"))
    xe("vm-disk-remove", f"uuid={running}", "device=5")


def test_xn_lists_pci_devices_in_their_order(daemon, xe, vm):
    xn = Xe(daemon, "xn")
    assert xn("pci-list", vm).split() == ["id", "pos", "bdf"]
    xe("vm-param-set", f"uuid={vm}", "other-config:pci=0/0000:45:0.0,0/0000:44:00.1,0/06:1f.7")
    assert [line.split() for line in xn("pci-list", vm).splitlines()] == [
        ["id", "pos", "bdf"], ["0000:45:0.0", "0", "0000:45:00.0"],
        ["0000:44:00.1", "1", "0000:44:00.1"], ["06:1f.7", "2", "0000:06:1f.7"]]
    assert "uuid you supplied was invalid" in xn.fails("pci-list", "nonsense")
    assert xn.run("pci-list").status == 2


def test_xn_diagnostics_asks_the_daemon(daemon):
    assert "sessions" in Xe(daemon, "xn")("diagnostics")


def ctl(daemon, *words):
    env = {"PATH": "/usr/bin:/bin", "XE_EXTRA_ARGS": f"server={daemon.socket}"}
    return subprocess.run([os.path.join(BUILD, "cairnctl"), *words], env=env, capture_output=True, text=True,
                          timeout=60)


def test_cairnctl_asks_and_steers(daemon):
    assert "dump" in ctl(daemon, "help").stdout
    done = ctl(daemon, "dump", "sessions")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout
    assert ctl(daemon, "log", "net", "debug").returncode == 0
    assert ctl(daemon, "log", "net", "info").returncode == 0
    wrong = ctl(daemon, "log", "net", "loud")
    assert wrong.returncode == 1 and wrong.stderr.startswith("cairnctl: error")
    assert ctl(daemon).returncode == 2
    assert ctl(daemon, "-s", "/nowhere", "help").returncode == 1


def test_doctor_tells_what_is_there(daemon):
    done = ctl(daemon, "doctor")
    assert re.search(r"^ok    cairnd ", done.stdout, re.M)
    assert re.search(r"^(ok|note|FAIL) +io_uring ", done.stdout, re.M)
