"""Commands whose substance is a file, through the HTTP handlers of a host."""
import time

import pytest

from conftest import Xe
from simhost import run_daemon


@pytest.fixture
def own():
    """xe of a daemon that may end."""
    for daemon in run_daemon():
        yield Xe(daemon)


def comes_back(xe, name):
    """After the daemon began anew: the VMs of that name."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        seen = xe.run("vm-list", f"name-label={name}", "params=name-label", "--minimal")
        if seen.status == 0 and seen.out.strip() != name:
            return seen.out.strip()
        time.sleep(0.05)
    raise AssertionError(f"still there: {seen.out} {seen.err}")


def test_the_database_goes_out_and_comes_back(own, tmp_path):
    kept = own("vm-install", "template=Other install media", "new-name-label=kept")
    dump = str(tmp_path / "db.xml")
    own("pool-dump-database", f"file-name={dump}")
    assert kept in (tmp_path / "db.xml").read_text()
    assert "Cannot create the file" in own.fails("pool-dump-database", f"file-name={dump}")
    own("vm-install", "template=Other install media", "new-name-label=lost")
    own("pool-restore-database", f"file-name={dump}", "dry-run=true")
    assert "force=true" in own.run("pool-restore-database", f"file-name={dump}").err
    assert own("vm-list", "name-label=lost", "params=name-label", "--minimal") == "lost"
    assert "The database is restored" in own("pool-restore-database", f"file-name={dump}", "force=true")
    assert comes_back(own, "lost") == ""
    assert own("vm-list", "name-label=kept", "--minimal") == kept


def test_what_is_no_database_is_refused(xe, vm, tmp_path):
    (tmp_path / "bad").write_text("<nonsense/>")
    for more in ("dry-run=true", "force=true"):
        said = xe.run("pool-restore-database", f"file-name={tmp_path}/bad", more)
        assert (said.status, said.err) == (1, "The file is no backup of this version.\n")
    assert xe("vm-list", f"uuid={vm}", "--minimal") == vm
    seen = xe.run("pool-restore-database", f"file-name={tmp_path}/none", "force=true")
    assert seen.status == 1 and f"{tmp_path}/none failed: No such file" in seen.err
    assert xe("task-list", "--minimal") == ""
