"""Public clients, as they come, against a simulated host."""
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import simhost  # noqa: E402


@pytest.fixture(scope="session")
def daemon():
    yield from simhost.run_daemon()


@pytest.fixture
def x(daemon):
    """A superuser's session."""
    with daemon.connect() as session:
        yield session


@pytest.fixture(scope="session")
def node_modules():
    """The npm packages of package-lock.json, installed beside it once."""
    done = os.path.join(HERE, "node_modules", ".package-lock.json")
    lock = os.path.join(HERE, "package-lock.json")
    if not os.path.exists(done) or os.path.getmtime(done) < os.path.getmtime(lock):
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, timeout=300,
                       stdin=subprocess.DEVNULL)
        os.utime(done)


@pytest.fixture
def guest(x):
    """A halted guest with a disk."""
    template = x.VM.get_by_name_label("Other install media")[0]
    ref = x.VM.clone(template, "client's guest")
    x.VM.provision(ref)
    yield ref
    if x.VM.get_power_state(ref) != "Halted":
        x.VM.hard_shutdown(ref)
    x.VM.destroy(ref)
