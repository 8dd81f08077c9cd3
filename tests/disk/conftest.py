"""Fixtures of the disk tests: a diskd in a folder of its own."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from diskd import Diskd  # noqa: E402


@pytest.fixture
def diskd(tmp_path):
    with Diskd(tmp_path) as d:
        yield d
