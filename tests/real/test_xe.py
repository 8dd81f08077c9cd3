"""xe against a host with a real guest: what is printed is what runs."""
import os
import re
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm  # noqa: E402
from simhost import BUILD  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def start(host, *words, program="xe"):
    env = {"PATH": "/usr/bin:/bin", "HOME": host.folder, "XE_EXTRA_ARGS": f"server={host.socket}"}
    return subprocess.Popen([os.path.join(BUILD, program), *words], env=env, stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(host, *words, program="xe"):
    """Standard output of a command that must succeed."""
    with start(host, *words, program=program) as p:
        out, err = p.communicate(timeout=120)
    assert p.returncode == 0, err
    return out.rstrip("\n")


def test_a_repository_is_measured(host):
    """What was found is kept, and nothing where there is nothing to measure."""
    sr = host.x.SR.get_by_name_label("Local storage")[0]
    out = run(host, "sr", "profile", host.x.SR.get_uuid(sr), "1", program="cairnctl")
    split, budget = re.search(r"^other-config:io-split=(\d+) other-config:io-budget=(\d+)$", out, re.M).groups()
    config = host.x.SR.get_other_config(sr)
    assert (config["io-split"], config["io-budget"]) == (split, budget)
    assert int(split) % 4096 == 0 and int(budget) >= 1 << 20
    drives = host.x.SR.get_by_name_label("Removable storage")[0]
    for wrong, why in ((host.x.SR.get_uuid(drives), "not in a folder"), ("none", "no SR 'none'")):
        with start(host, "sr", "profile", wrong, program="cairnctl") as p:
            _, err = p.communicate(timeout=60)
        assert p.returncode == 1 and why in err, err
    assert "io-split" not in host.x.SR.get_other_config(drives)


def test_a_guest_is_started_seen_and_stopped(host, vm):
    uuid = host.x_uuid[vm]
    with start(host, "event-wait", "class=vm", f"uuid={uuid}", "power-state=running") as waiting:
        run(host, "vm-start", f"uuid={uuid}", "--progress")
        assert waiting.wait(60) == 0
    assert re.search(rf"^guest +\d+ +32 +\d+ running +{uuid}$", run(host, "list", program="xn"), re.M)
    with start(host, "console", f"uuid={uuid}") as console:
        assert "Press Ctrl + ']' to quit." in console.stdout.readline()
        while "." not in (seen := console.stdout.read(1)):
            assert seen
        console.terminate()
    run(host, "vm-disk-add", f"uuid={uuid}", "disk-size=8MiB", "device=1")
    assert run(host, "vbd-list", f"vm-uuid={uuid}", "userdevice=1", "params=currently-attached", "--minimal") == "true"
    run(host, "vm-shutdown", f"uuid={uuid}", "force=true")
    assert not host.pid_of(vm, "qemu-system")


def test_a_refusal_gives_numbers_and_a_remedy(host, vm):
    size = "4TiB"
    run(host, "vm-memory-limits-set", f"uuid={host.x_uuid[vm]}", *(f"{w}={size}" for w in (
        "static-min", "static-max", "dynamic-min", "dynamic-max")))
    with start(host, "vm-start", f"uuid={host.x_uuid[vm]}") as p:
        _, said = p.communicate(timeout=60)
    assert p.returncode == 1
    assert re.search(r"^needed: \d+ \(4\.0 TiB\)\navailable: \d+ \(\d+\.\d [GM]iB\)\nWhat helps: ", said, re.M), said
