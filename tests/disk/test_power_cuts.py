"""Power cuts: whatever of the unsynced is lost, images are valid and flushed writes are there.

CAIRN_POWER_CUTS says how many; `make power-cuts` asks for 10,000.
"""
import os
import subprocess
import sys

import pytest

from diskd import BUILD, TOP

POWER = os.path.join(TOP, "tests", "power", "power.py")
CUTS = int(os.environ.get("CAIRN_POWER_CUTS", "300"))
ROUND = 500  # cuts of one recording; each has a seed of its own


def power(*options):
    return subprocess.run([sys.executable, POWER, *map(str, options)], capture_output=True, text=True,
                          timeout=600, check=False)


@pytest.mark.parametrize("kind", ["files", "device"])
@pytest.mark.parametrize("fmt", ["vhd", "qcow2"])
def test_nothing_flushed_is_lost(fmt, kind):
    wanted = CUTS // 6 if kind == "device" else CUTS
    for seed in range(1, 2 + (wanted - 1) // ROUND):
        cuts = min(ROUND, wanted - (seed - 1) * ROUND)
        p = power("--steps=40", *(["--device"] if kind == "device" else []), f"--format={fmt}", f"--cuts={cuts}", f"--seed={seed}")
        assert p.returncode == 0 and f"{cuts} power cuts" in p.stdout, p.stdout + p.stderr


def test_a_wrong_order_is_noticed():
    """A build that writes the BAT before the bitmaps; files forgive that, devices do not."""
    wrong = os.path.join(BUILD, "tests", "power", "cairn-diskd-bat-first")
    p = power("--device", "--steps=8", "--cuts=150", "--seed=1", f"--diskd={wrong}")
    assert p.returncode == 1 and "reads 2779096485" in p.stderr, p.stdout + p.stderr


def test_qcow2_without_its_syncs_is_noticed():
    """A build whose tables name clusters that are not durable yet."""
    wrong = os.path.join(BUILD, "tests", "power", "cairn-diskd-without-sync")
    p = power("--device", "--format=qcow2", "--steps=8", "--cuts=150", "--seed=1", f"--diskd={wrong}")
    assert p.returncode == 1 and "power cut" in p.stderr, p.stdout + p.stderr
