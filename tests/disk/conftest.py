"""Fixtures of the disk tests: a diskd in a folder of its own."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lib")]

from diskd import Diskd  # noqa: E402


@pytest.fixture
def diskd(tmp_path):
    with Diskd(tmp_path) as d:
        yield d
