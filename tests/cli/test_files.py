"""Commands whose substance is a file, through the HTTP handlers of a host."""
import tarfile
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


def test_blobs_hold_what_was_put_in(xe, vm, tmp_path):
    blob = xe("blob-create", "name=notes", "mime-type=text/plain", f"vm-uuid={vm}")
    (tmp_path / "in").write_bytes(b"\0\xff" * 5000)
    xe("blob-put", f"uuid={blob}", f"filename={tmp_path}/in")
    xe("blob-get", f"uuid={blob}", f"filename={tmp_path}/out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert "uuid you supplied was invalid" in xe.run("blob-get", "uuid=none", f"filename={tmp_path}/no").err


def test_logs_and_reports_come_as_files(xe, vm, tmp_path):
    xe("vm-param-set", f"uuid={vm}", "name-description=audited")
    xe("audit-log-get", f"filename={tmp_path}/audit")
    assert "VM.set_name_description" in (tmp_path / "audit").read_text()
    xe("host-get-system-status", f"filename={tmp_path}/report.tar", "entries=xenserver-domains", "output=tar")
    assert tarfile.open(tmp_path / "report.tar").getnames()
    xe("host-logs-download", f"file-name={tmp_path}/logs")
    assert (tmp_path / "logs").stat().st_size > 0
    for words in (["audit-log-get", f"filename={tmp_path}/x"], ["host-logs-download", f"file-name={tmp_path}/x"]):
        low = xe.run(*words, extra=xe.tcp("vm-operator"))
        assert low.status == (1 if "logs" in words[0] else 0), low.err


def test_what_is_no_database_is_refused(xe, vm, tmp_path):
    (tmp_path / "bad").write_text("<nonsense/>")
    for more in ("dry-run=true", "force=true"):
        said = xe.run("pool-restore-database", f"file-name={tmp_path}/bad", more)
        assert (said.status, said.err) == (1, "The file is no backup of this version.\n")
    assert xe("vm-list", f"uuid={vm}", "--minimal") == vm
    seen = xe.run("pool-restore-database", f"file-name={tmp_path}/none", "force=true")
    assert seen.status == 1 and f"{tmp_path}/none failed: No such file" in seen.err
    assert xe("task-list", "--minimal") == ""
