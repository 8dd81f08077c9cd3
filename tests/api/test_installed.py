"""An installed host: accounts of the machine, asked of cairn-privd, which is played here."""
import json
import os
import shutil
import socket
import tempfile
import threading

import pytest

import simhost
import xapi
from simhost import failure


class Privd(threading.Thread):
    """Answers authenticate requests: every account has the password 'right'."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.asked = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rw") as f:
                request = json.loads(f.readline())
                self.asked.append((request["verb"], request.get("user")))
                accepted = request.get("password") == "right"
                f.write(json.dumps({"ok": True, "accepted": accepted}) + "\n")
                f.flush()


class InstalledDaemon(simhost.Daemon):
    """Without --development; only the paths are its own."""

    def argv(self):
        where = {"state_dir": "state", "run_dir": "run", "log_dir": "log.d", "sr_dir": "sr",
                 "iso_dir": "iso", "local_socket": "run/xapi", "control_socket": "run/ctl",
                 "privd_socket": "privd", "store": "state/state.db"}
        argv = [os.path.join(simhost.BUILD, "cairnd")]
        for key, path in where.items():
            kind = "sqlite:" if key == "store" else ""
            argv += ["-o", f"{key}={kind}{self.folder}/{path}"]
        return argv + ["-o", f"templates_dir={simhost.TOP}/data/templates"]


@pytest.fixture(scope="module")
def installed():
    folder = tempfile.mkdtemp(prefix="cairn-api-")
    privd = Privd(os.path.join(folder, "privd"))
    daemon = InstalledDaemon(folder)
    daemon.privd = privd
    yield daemon
    code = daemon.stop()
    privd.listener.close()
    shutil.rmtree(folder, ignore_errors=True)
    assert code == 0


def test_root_logs_in(installed):
    with installed.connect("root", "right") as x:
        assert x.session.get_is_local_superuser(x.ref) is True
    assert ("authenticate", "root") in installed.privd.asked


def test_right_ones_are_remembered_wrong_ones_never(installed):
    installed.connect("root", "right")
    before = len(installed.privd.asked)
    installed.connect("root", "right")
    assert len(installed.privd.asked) == before
    for _ in range(2):
        with pytest.raises(xapi.Failure) as e:
            installed.connect("root", "wrong")
        assert e.value.code == "SESSION_AUTHENTICATION_FAILED"
    assert len(installed.privd.asked) == before + 2


@pytest.mark.parametrize("user", ["daemon", "nobody", "no such account"])
def test_a_right_password_is_not_enough(installed, user):
    with pytest.raises(xapi.Failure) as e:
        installed.connect(user, "right")
    assert e.value.details[:2] == ["SESSION_AUTHORIZATION_FAILED", user]


def test_a_subject_lets_an_account_in(installed):
    with installed.connect("root", "right") as x:
        subject = x.subject.create({"subject_identifier": "local:daemon"})
        admin, reader = (x.role.get_by_name_label(r)[0] for r in ("pool-admin", "read-only"))
        x.subject.add_to_roles(subject, reader)
        x.subject.remove_from_roles(subject, admin)
        with installed.connect("daemon", "right") as low:
            assert low.session.get_is_local_superuser(low.ref) is False
            assert low.session.get_subject(low.ref) == subject
            assert failure(low.pool.sync_database)[0] == "RBAC_PERMISSION_DENIED"
        x.subject.destroy(subject)
    with pytest.raises(xapi.Failure):
        installed.connect("daemon", "right")


def test_passwords_are_changed_elsewhere(installed):
    with installed.connect("root", "right") as x:
        assert failure(x.session.change_password, "right", "new")[0] == "CHANGE_PASSWORD_REJECTED"
