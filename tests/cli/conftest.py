"""xe against the real daemon on the simulator: what an administrator types and sees."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from simhost import BUILD, PASSWORD, TOP, run_daemon  # noqa: E402, F401


class Seen:
    """What one run of xe left: status, standard output, standard error."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr


class Xe:
    def __init__(self, daemon, program="xe"):
        self.daemon, self.program = daemon, program

    def run(self, *words, stdin=b"", env=None, extra=None):
        """Any outcome. `extra` is XE_EXTRA_ARGS; by default the local socket."""
        full = {"PATH": "/usr/bin:/bin", "HOME": self.daemon.folder,
                "XE_EXTRA_ARGS": f"server={self.daemon.socket}" if extra is None else extra}
        done = subprocess.run([os.path.join(BUILD, self.program), *words], input=stdin, timeout=60,
                              capture_output=True, env={**full, **(env or {})})
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return Seen(done)

    def __call__(self, *words, **more):
        """Must succeed; the output without the last line break."""
        seen = self.run(*words, **more)
        assert seen.status == 0, seen.err
        assert seen.err == ""
        return seen.out.rstrip("\n")

    def fails(self, *words, **more):
        """Must fail; what it says."""
        seen = self.run(*words, **more)
        assert seen.status == 1, seen.out
        assert seen.out == "" or more.get("stdin") is not None or "--progress" in words
        return seen.err

    def tcp(self, user="root", password=PASSWORD):
        return f"server=127.0.0.1,port={self.daemon.port},username={user},password={password}"


@pytest.fixture(scope="session")
def daemon():
    yield from run_daemon()


@pytest.fixture(scope="session")
def xe(daemon):
    return Xe(daemon)


@pytest.fixture
def vm(xe):
    """A halted VM without disks; its uuid."""
    uuid = xe("vm-install", "template=Other install media", "new-name-label=guest of a test")
    yield uuid
    xe.run("vm-uninstall", f"uuid={uuid}", "force=true")


@pytest.fixture
def running(xe, vm):
    xe("vm-start", f"uuid={vm}")
    return vm
