"""Fixtures of the tests on a simulated host.

`daemon` is one for all tests of a run, `own_daemon` a test's own.
"""
import json
import os
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from simhost import TOP, run_daemon  # noqa: E402
import xapi  # noqa: E402


@pytest.fixture(scope="session")
def daemon():
    yield from run_daemon()


@pytest.fixture
def own_daemon():
    """A daemon that one test alone may kill or fill."""
    yield from run_daemon()


@pytest.fixture
def x(daemon):
    """A superuser's session."""
    with daemon.connect() as session:
        yield session


@pytest.fixture
def appliance(x):
    """A fresh object of a class that is made and destroyed without consequences."""
    ref = x.VM_appliance.create({"name_label": f"appliance {uuid.uuid4()}"})
    yield ref
    try:
        x.VM_appliance.destroy(ref)
    except xapi.Failure as e:
        assert e.code == "HANDLE_INVALID"


@pytest.fixture
def vm(x):
    """A template, which has fields of all kinds."""
    return x.VM.get_by_name_label("Other install media")[0]


@pytest.fixture(scope="session")
def facts():
    """The published facts of the API."""
    with open(os.path.join(TOP, "tests", "facts", "classes.json"), encoding="utf-8") as f:
        return json.load(f)["classes"]
