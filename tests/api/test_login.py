"""session.*: who gets in, and what a session says of itself."""
import pytest

import xapi
from simhost import PASSWORD, ROLES, failure


def test_right_password(daemon):
    with daemon.connect() as x:
        record = x.session.get_record(x.ref)
        assert record["is_local_superuser"] is True
        assert record["auth_user_name"] == "root"
        assert record["originator"] == "tests"
        assert record["rbac_permissions"] == []
        assert x.session.get_by_uuid(record["uuid"]) == x.ref
        assert x.session.get_this_host(x.ref) in x.host.get_all()


@pytest.mark.parametrize("user,password", [("root", "wrong"), ("nobody here", PASSWORD),
                                           ("root", ""), ("", "")])
def test_wrong_password(daemon, user, password):
    with pytest.raises(xapi.Failure) as e:
        daemon.connect(user, password)
    assert e.value.code == "SESSION_AUTHENTICATION_FAILED"
    assert e.value.details[1] == user


def test_a_password_is_not_remembered_once_another_was_right(daemon):
    daemon.connect("root", PASSWORD)
    with pytest.raises(xapi.Failure):
        daemon.connect("root", PASSWORD + "x")


def test_local_socket_needs_no_password(daemon):
    with xapi.connect(daemon.socket, "", "") as x:
        assert x.session.get_is_local_superuser(x.ref) is True


def test_version_and_originator_are_optional(daemon):
    reply = daemon.json("session.login_with_password", "root", PASSWORD)
    assert reply["result"].startswith("OpaqueRef:")
    reply = daemon.json("session.login_with_password", "root", PASSWORD, "1.10")
    assert daemon.json("session.get_originator", reply["result"], reply["result"])["result"] == ""


def test_logout_ends_the_session(daemon):
    x = daemon.connect()
    record = x.session.get_record(x.ref)
    x.call("session.logout")
    assert failure(x.VM.get_all) == ["SESSION_INVALID", x.ref]
    with daemon.connect() as other:
        assert failure(other.session.get_by_uuid, record["uuid"])[0] == "UUID_INVALID"


def test_unknown_session(daemon):
    reply = daemon.json("VM.get_all", "OpaqueRef:no such session")
    assert reply["error"]["message"] == "SESSION_INVALID"
    assert reply["error"]["data"] == ["OpaqueRef:no such session"]


def test_a_role_has_its_permissions(daemon):
    for role in ROLES:
        with daemon.connect(role) as x:
            permissions = x.session.get_rbac_permissions(x.ref)
            assert x.session.get_is_local_superuser(x.ref) is False
            assert ("vm.start" in permissions) == (role != "read-only")
            assert ("pool.join" in permissions) == (role in ("pool-operator", "pool-admin"))
            assert "session.change_password" not in permissions
            assert all(p.split("/")[0] == p.split("/")[0].lower() for p in permissions)


def test_subjects_are_listed_and_thrown_out(daemon, x):
    other = daemon.connect("vm-admin")
    sid = other.session.get_auth_user_sid(other.ref)
    assert sid in x.session.get_all_subject_identifiers()
    x.session.logout_subject_identifier(sid)
    assert sid not in x.session.get_all_subject_identifiers()
    assert failure(other.VM.get_all)[0] == "SESSION_INVALID"
    task = x.call("Async.session.get_all_subject_identifiers")
    assert x.wait(task).startswith("<value><array>")


def test_the_oldest_session_of_a_crowd_goes(own_daemon):
    first = own_daemon.json("session.login_with_password", "root", PASSWORD, "", "crowd")["result"]
    for _ in range(500):
        last = own_daemon.json("session.login_with_password", "root", PASSWORD, "", "crowd")["result"]
    assert own_daemon.json("VM.get_all", first)["error"]["message"] == "SESSION_INVALID"
    assert "result" in own_daemon.json("VM.get_all", last)


def test_changing_a_password(own_daemon):
    x = own_daemon.connect()
    assert failure(x.session.change_password, "wrong", "new")[0] == "SESSION_AUTHENTICATION_FAILED"
    assert failure(x.session.change_password, PASSWORD, "")[0] == "CHANGE_PASSWORD_REJECTED"
    x.session.change_password(PASSWORD, "new")
    with pytest.raises(xapi.Failure):
        own_daemon.connect("root", PASSWORD)
    own_daemon.connect("root", "new")
    own_daemon.connect("vm-admin", PASSWORD)
    with xapi.connect(own_daemon.socket, "", "") as local:
        local.session.change_password("", "newer")
    own_daemon.connect("root", "newer")
    with pytest.raises(xapi.Failure):
        own_daemon.connect("root", "new")
    with open(f"{own_daemon.folder}/users", encoding="utf-8") as f:
        lines = f.read().splitlines()
    assert lines[0].startswith("root:$y$") and lines[0].count(":") == 1
    assert lines[3].startswith("vm-admin:$y$") and lines[3].endswith(":vm-admin")


def test_a_session_of_this_host_alone(daemon, x):
    rows = x.call("event.from", [], "", 0.0)["valid_ref_counts"]["session"]
    ref = daemon.json("session.slave_local_login_with_password", "root", PASSWORD)["result"]
    assert x.call("event.from", [], "", 0.0)["valid_ref_counts"]["session"] == rows
    assert "result" in daemon.json("VM.get_all", ref)
    assert "result" in daemon.json("session.local_logout", ref)
    assert daemon.json("session.local_logout", ref)["error"]["message"] == "SESSION_INVALID"
    for user, password, code in (("root", "wrong", "SESSION_AUTHENTICATION_FAILED"),
                                 ("pool-admin", PASSWORD, "SESSION_AUTHORIZATION_FAILED")):
        reply = daemon.json("session.slave_local_login_with_password", user, password)
        assert reply["error"]["message"] == code


def test_guessing_is_slowed_down(own_daemon):
    """The right password does not help who guesses, and hurts nobody else."""
    def attempt(user, password):
        return own_daemon.json("session.login_with_password", user, password)
    for _ in range(5):
        assert attempt("root", "wrong")["error"]["data"][1] == "the name or the password is wrong"
    assert "try again in" in attempt("root", PASSWORD)["error"]["data"][1]
    assert attempt("root", PASSWORD)["error"]["message"] == "SESSION_AUTHENTICATION_FAILED"
    assert "result" in attempt("vm-admin", PASSWORD)
    with xapi.connect(own_daemon.socket, "root", "") as local:
        alerts = [m for m in local.message.get_all_records().values()
                  if m["name"] == "FAILED_LOGIN_ATTEMPTS"]
        assert len(alerts) == 1 and alerts[0]["priority"] == "3"
        assert "tcp 127.0.0.1" in alerts[0]["body"] and "'root'" in alerts[0]["body"]
        assert alerts[0]["obj_uuid"] == local.host.get_uuid(local.host.get_all()[0])


def test_sessions_know_their_tasks(daemon, x):
    task = x.task.create("mine", "")
    assert task in x.session.get_tasks(x.ref)
    x.task.set_status(task, "success")
    x.task.destroy(task)
