"""The manual names what there is."""
import os
import re
import subprocess

import pytest

from simhost import BUILD, TOP


def page(name):
    with open(os.path.join(TOP, "man", name), encoding="utf-8") as f:
        return f.read().replace("\\-", "-")


def test_settings_are_all_described(tmp_path):
    out = subprocess.run([os.path.join(BUILD, "cairnd"), "--development", str(tmp_path), "--check"],
                         check=True, capture_output=True, text=True).stdout
    keys = re.findall(r"^(\w+) *=", out, re.M)
    assert len(keys) > 15
    described = re.findall(r"^\.TP\n\.B (\w+)$", page("cairn.conf.5"), re.M)
    assert sorted(described) == sorted(keys)


@pytest.mark.parametrize("program, manual", [("xe", "xe.1"), ("cairnctl", "cairnctl.1"), ("xn", "xn.1"),
                                             ("cairnd", "cairnd.8")])
def test_options_of_the_usage_are_described(program, manual):
    done = subprocess.run([os.path.join(BUILD, program), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]+|(?<![\w-])-[a-z]\b", done.stdout + done.stderr))
    assert options and all(o in page(manual) for o in options - {"--help"})
