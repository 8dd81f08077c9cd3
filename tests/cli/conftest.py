"""xe against the real daemon on the simulator: what an administrator types and sees."""
import importlib.util
import os
import subprocess

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# The same daemon as the tests of the API use.
_spec = importlib.util.spec_from_file_location("simulated_host", os.path.join(TOP, "tests", "api", "conftest.py"))
_host = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_host)
BUILD, PASSWORD = _host.BUILD, _host.PASSWORD


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
    yield from _host.run_daemon()


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
