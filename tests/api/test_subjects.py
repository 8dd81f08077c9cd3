"""subject.*: whose roles come from a record, and sessions that follow it at once."""
import uuid

import pytest

import xapi
from simhost import PASSWORD, failure, password_hash, run_daemon


@pytest.fixture(scope="module")
def house():
    """A daemon with an account that has no role of its own."""
    for d in run_daemon():
        with open(f"{d.folder}/users", "a", encoding="utf-8") as f:
            f.write(f"guest:{password_hash(PASSWORD)}:subject\n")
        yield d


@pytest.fixture
def hx(house):
    with house.connect() as session:
        yield session


def role(x, name):
    return x.role.get_by_name_label(name)[0]


@pytest.fixture
def guest(hx):
    """The account's subject, a vm-operator."""
    ref = hx.subject.create({"subject_identifier": "local:guest",
                             "other_config": {"subject-name": "guest"}})
    hx.subject.add_to_roles(ref, role(hx, "vm-operator"))
    hx.subject.remove_from_roles(ref, role(hx, "pool-admin"))
    yield ref
    if ref in hx.subject.get_all():
        hx.subject.destroy(ref)


def test_no_subject_no_entry(house):
    with pytest.raises(xapi.Failure) as e:
        house.connect("guest")
    assert e.value.details[:2] == ["SESSION_AUTHORIZATION_FAILED", "guest"]


def test_exactly_its_role(house, hx, guest):
    with house.connect("guest") as low:
        record = hx.session.get_record(low.ref)
        assert record["subject"] == guest and record["auth_user_sid"] == "local:guest"
        assert record["is_local_superuser"] is False
        permissions = hx.subject.get_permissions_name_label(guest)
        assert sorted(permissions) == sorted(record["rbac_permissions"])
        assert sorted(permissions) == sorted(hx.role.get_permissions_name_label(
            role(hx, "vm-operator")))
        assert failure(low.VM_appliance.create, {"name_label": "no"})[0] == \
            "RBAC_PERMISSION_DENIED"


def test_several_roles_add_up(house, hx, guest):
    with house.connect("guest") as low:
        hx.subject.add_to_roles(guest, role(hx, "pool-operator"))
        low.pool.sync_database()
        hx.subject.remove_from_roles(guest, role(hx, "vm-operator"))
        low.pool.sync_database()


def test_roles_change_under_a_session(house, hx, guest):
    with house.connect("guest") as low:
        assert failure(low.pool.sync_database)[0] == "RBAC_PERMISSION_DENIED"
        hx.subject.add_to_roles(guest, role(hx, "pool-admin"))
        low.pool.sync_database()
        assert "pool.sync_database" in hx.session.get_rbac_permissions(low.ref)
        hx.subject.remove_from_roles(guest, role(hx, "pool-admin"))
        assert failure(low.pool.sync_database)[0] == "RBAC_PERMISSION_DENIED"
        assert "pool.sync_database" not in hx.session.get_rbac_permissions(low.ref)


@pytest.mark.parametrize("how", ["destroy", "logout"])
def test_revocation_is_at_once(house, hx, guest, how):
    low = house.connect("guest")
    if how == "destroy":
        hx.subject.destroy(guest)
    else:
        hx.session.logout_subject_identifier("local:guest")
    assert failure(low.VM.get_all) == ["SESSION_INVALID", low.ref]


def test_no_role_left(house, hx, guest):
    with house.connect("guest") as low:
        hx.subject.remove_from_roles(guest, role(hx, "vm-operator"))
        assert failure(low.VM.get_all)[0] == "RBAC_PERMISSION_DENIED"
    with pytest.raises(xapi.Failure) as e:
        house.connect("guest")
    assert e.value.code == "SESSION_AUTHORIZATION_FAILED"


def test_errors(hx, guest):
    operator = role(hx, "vm-operator")
    assert failure(hx.subject.add_to_roles, guest, operator) == ["ROLE_ALREADY_EXISTS"]
    assert failure(hx.subject.remove_from_roles, guest, role(hx, "read-only")) == \
        ["ROLE_NOT_FOUND"]
    permission = hx.role.get_permissions(operator)[0]
    for bad in ("OpaqueRef:NULL", permission):
        assert failure(hx.subject.add_to_roles, guest, bad) == ["ROLE_NOT_FOUND"]
    assert failure(hx.subject.create, {"subject_identifier": "local:guest"}) == \
        ["SUBJECT_ALREADY_EXISTS"]
    for call in (hx.subject.add_to_roles, hx.subject.remove_from_roles):
        assert failure(call, "OpaqueRef:none", operator)[:2] == ["HANDLE_INVALID", "subject"]
    assert failure(hx.subject.get_permissions_name_label, "OpaqueRef:none")[0] == "HANDLE_INVALID"


def test_a_fresh_subject_has_the_highest_role(hx):
    sid = f"S-1-5-21-{uuid.uuid4()}"
    ref = hx.subject.create({"subject_identifier": sid, "other_config": {"a": "1"}})
    record = hx.subject.get_record(ref)
    assert record["roles"] == [role(hx, "pool-admin")]
    assert record["subject_identifier"] == sid and record["other_config"] == {"a": "1"}
    hx.subject.destroy(ref)
