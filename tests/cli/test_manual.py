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


def test_cairnctl_and_its_manual_know_what_the_daemon_does(daemon):
    env = {"XE_EXTRA_ARGS": f"server={daemon.socket}"}
    program = os.path.join(BUILD, "cairnctl")
    known = subprocess.run([program, "help"], env=env, check=True, capture_output=True, text=True).stdout
    usage = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    words = {line.split()[0] for line in known.splitlines()} | set(
        re.search(r"^dump (\S+)$", known, re.M).group(1).split("|"))
    assert len(words) > 8
    for word in words:
        assert re.search(rf"\b{word}\b", usage) and re.search(rf"\b{word}\b", page("cairnctl.1")), word
