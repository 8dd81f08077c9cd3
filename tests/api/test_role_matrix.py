"""Every message with every role, sent over the wire and compared with the published facts.

Arguments have the declared types and name nothing that exists, so the role is what decides: a
message is refused with RBAC_PERMISSION_DENIED and its own permission exactly if the facts say so.
"""
import json
import os

import pytest

from pipeline import Pipeline
from simhost import PASSWORD, ROLES, TOP, password_hash, run_daemon

CALLERS = ("none", *ROLES, "root")
RANK = {name: n for n, name in enumerate(ROLES)}
NULL = "OpaqueRef:none"
# These end the session or the daemon, so they come last, each on a session of its own.
ENDS_SESSION = {"session.logout", "session.local_logout"}
ENDS_DAEMON = {"host.shutdown_agent", "host.restart_agent"}


def read_facts(name):
    with open(os.path.join(TOP, "tests", "facts", name + ".json"), encoding="utf-8") as f:
        return json.load(f)


CLASSES = {c["name"]: c for c in read_facts("classes")["classes"]}
ENUMS = read_facts("enums")["enums"]


def value(type_, in_record=False):
    """Something of that type that names nothing."""
    kind, _, rest = type_.partition(" ")
    if kind.startswith("set("):
        return []
    if kind.startswith("map("):
        return {}
    if kind == "ref":
        return NULL
    if kind == "enum":
        return ENUMS[rest][0]
    if kind == "record":
        fields = {f["name"]: f["type"] for f in CLASSES[rest]["fields"]}
        return {} if in_record else {name.rstrip("*"): value(fields[name.rstrip("*")], True)
                                     for name in members_of(rest)}
    return {"string": "no such thing", "int": "0", "float": 0.0, "bool": False,
            "datetime": "19700101T00:00:00Z"}[kind]


def members_of(name):
    return next(m["members"] for m in CLASSES[name]["messages"] if m["kind"] == "make")


def messages():
    """(name, message) of all 73 classes."""
    return [(f"{c['name']}.{m['name']}", m) for c in CLASSES.values()
            for m in c.get("messages", [])]


def has_flag(m, flag):
    return flag in m.get("flags", [])


def arguments(m, key=None):
    return [key if key and p["name"] == "key" else value(p["type"]) for p in m.get("params", [])]


def may(caller, role):
    if caller == "root":
        return True
    return role != "local-root" and caller != "none" and RANK[role] <= RANK[caller]


def wanted(caller, name, m, role=None, key=None):
    """Is it refused for the role, and with which permission?"""
    if m.get("state") == "removed" or has_flag(m, "no-session") or \
            has_flag(m, "pool-internal") or may(caller, role or m["role"]):
        return None
    return name.lower() + (f"/key:{key}" if key else "")


@pytest.fixture(scope="module")
def house():
    """A daemon with an account that has lost its role after logging in."""
    for d in run_daemon():
        with open(f"{d.folder}/users", "a", encoding="utf-8") as f:
            f.write(f"none:{password_hash(PASSWORD)}:subject\n")
        yield d


@pytest.fixture(scope="module")
def sessions(house):
    with house.connect() as x:
        subject = x.subject.create({"subject_identifier": "local:none"})
        out = {caller: house.connect(caller) for caller in CALLERS}
        x.subject.remove_from_roles(subject, x.role.get_by_name_label("pool-admin")[0])
        yield out


def refused(error):
    return error[1] if error and error[0] == "RBAC_PERMISSION_DENIED" else None


def differences(cases, errors):
    """Cases: (name, permission it is refused with or None)."""
    return [(name, want, error) for (name, want), error in zip(cases, errors)
            if (want is None and refused(error) == name.lower()) or
            (want is not None and refused(error) != want)]


def params(session, m, key=None):
    return ([] if has_flag(m, "no-session") else [session.ref]) + arguments(m, key)


@pytest.mark.parametrize("caller", CALLERS)
def test_every_message(house, sessions, caller):
    todo = [(n, m) for n, m in messages() if n not in ENDS_SESSION | ENDS_DAEMON]
    cases = [(n, wanted(caller, n, m)) for n, m in todo]
    with Pipeline(house.port) as p:
        errors = p.calls([(n, params(sessions[caller], m)) for n, m in todo])
    assert len(errors) > 2200 and not differences(cases, errors)
    for (name, m), error in zip(todo, errors):
        if m.get("state") == "removed":
            assert error == ["MESSAGE_REMOVED"], name
        elif has_flag(m, "pool-internal"):
            assert error[0] == "INTERNAL_ERROR" and "pool" in error[1], (name, error)


@pytest.mark.parametrize("caller", CALLERS)
def test_protected_keys(house, sessions, caller):
    todo = [(n, m, key, role) for n, m in messages() for key, role in m.get("keys", {}).items()
            if any(p["name"] == "key" for p in m["params"])]
    cases = [(n, wanted(caller, n, m, role, key)) for n, m, key, role in todo]
    with Pipeline(house.port) as p:
        errors = p.calls([(n, params(sessions[caller], m, key.replace("*", "x")))
                          for n, m, key, _ in todo])
    assert len(errors) >= 40 and not differences(cases, errors)


@pytest.mark.parametrize("caller", ("none", "read-only", "vm-admin", "pool-admin"))
def test_asynchronous_refusals(house, sessions, caller):
    """They are found in the task, which even who has no role gets."""
    todo = [(n, m) for n, m in messages() if has_flag(m, "async") and wanted(caller, n, m)]
    assert todo
    with Pipeline(house.port) as p:
        errors = p.calls([(f"Async.{n}", params(sessions[caller], m)) for n, m in todo])
    assert not [n for (n, _), e in zip(todo, errors) if e]
    with house.connect() as x:
        tasks = list(x.task.get_all_records().values())
    found = {t["name_label"] for t in tasks if t["error_info"][:1] == ["RBAC_PERMISSION_DENIED"] and
             t["error_info"][1] == t["name_label"][len("Async."):].lower()}
    assert {f"Async.{n}" for n, _ in todo} <= found


@pytest.mark.parametrize("caller", CALLERS)
def test_every_handler(house, sessions, caller):
    """A task that does not exist ends what is allowed before anything happens."""
    tried = 0
    for h in read_facts("http")["handlers"]:
        if h.get("own-check"):
            continue
        status, _, body = house.post(f"{h['path']}?task_id={NULL}&uuid=none&session_id={sessions[caller].ref}",
                                     b"", method=h["method"])
        if status == 501:
            continue
        tried += 1
        assert status == (404 if may(caller, h["role"]) else 403), (h["name"], status, body)
        if status == 403:
            assert f"http/{h['name']}" in body.decode()
    assert tried >= 2


@pytest.mark.parametrize("caller", CALLERS)
def test_what_ends_the_session(house, sessions, caller):
    facts = dict(messages())
    for name in sorted(ENDS_SESSION):
        session = house.connect(caller) if caller != "none" else sessions[caller]
        want = wanted(caller, name, facts[name])
        with Pipeline(house.port) as p:
            assert not differences([(name, want)], p.calls([(name, [session.ref])]))
            gone = p.calls([("VM.get_all", [session.ref])])[0]
        assert (gone == ["SESSION_INVALID", session.ref]) == (want is None), (name, gone)


@pytest.mark.parametrize("caller", CALLERS)
def test_what_ends_the_daemon(house, sessions, caller):
    """Asked by those only who may not."""
    facts = dict(messages())
    todo = [(n, facts[n]) for n in sorted(ENDS_DAEMON) if wanted(caller, n, facts[n])]
    with Pipeline(house.port) as p:
        errors = p.calls([(n, params(sessions[caller], m)) for n, m in todo])
    assert [refused(e) for e in errors] == [n.lower() for n, _ in todo]
