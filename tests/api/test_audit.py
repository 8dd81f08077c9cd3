"""The audit log: who did what, from where, how it went; and never a secret."""
import glob
import os
import re
import time

import pytest

import xapi
from simhost import PASSWORD, failure

LINE = re.compile(r"\[(\d{8}T\d\d:\d\d:\d\d\.\d{3}Z)\|info\|[^|]+\|([^|]*) originator=([^|]*)\|"
                  r"(\S+) R:(\S*) role=(\S+)\|audit\] \('trackid=([0-9a-f]{32})' '([^']*)' "
                  r"'([^']*)' '(ALLOWED|DENIED)' '(OK|ERROR:\w+)' '(API|HTTP)' '([^']*)' \((.*)\)\)")
NAMES = ("time", "client", "originator", "call", "task", "role", "track", "sid", "user", "allowed",
         "outcome", "kind", "action", "args")


def lines(daemon):
    """All lines so far, as dictionaries."""
    path = os.path.join(daemon.folder, "log", "audit.log")
    if not os.path.exists(path):  # it comes with the first line
        return []
    with open(path, encoding="utf-8") as f:
        text = f.read().splitlines()
    found = [LINE.fullmatch(t) for t in text]
    assert all(found), [t for t, m in zip(text, found) if not m][:3]
    return [dict(zip(NAMES, m.groups())) for m in found]


def told(daemon, action, condition=lambda line: True):
    """The newest line of that action; it is written a moment after the answer."""
    end = time.monotonic() + 10
    while True:
        hits = [line for line in lines(daemon) if line["action"] == action and condition(line)]
        if hits:
            return hits[-1]
        assert time.monotonic() < end, action
        time.sleep(0.01)


def test_a_change(daemon, x, appliance):
    uuid = x.VM_appliance.get_uuid(appliance)
    name = x.VM_appliance.get_name_label(appliance)
    x.VM_appliance.set_name_description(appliance, "more")
    line = told(daemon, "VM_appliance.set_name_description", lambda t: uuid in t["args"])
    assert (line["sid"], line["user"], line["role"]) == ("LOCAL_SUPERUSER", "root", "local-root")
    assert (line["client"], line["originator"]) == ("tcp 127.0.0.1", "tests")
    assert (line["allowed"], line["outcome"], line["kind"]) == ("ALLOWED", "OK", "API")
    assert f"('self' '{name}' '{uuid}' '{appliance}')" in line["args"]


def test_what_was_denied(daemon, appliance):
    with daemon.connect("read-only") as low:
        failure(low.VM_appliance.set_name_label, appliance, "mine")
        line = told(daemon, "VM_appliance.set_name_label", lambda t: t["user"] == "read-only")
        assert (line["allowed"], line["outcome"]) == ("DENIED", "ERROR:RBAC_PERMISSION_DENIED")
        assert (line["sid"], line["role"]) == ("local:read-only", "read-only")
        assert appliance in line["args"]


def test_what_failed(daemon, x):
    failure(x.VM_appliance.destroy, "OpaqueRef:none")
    line = told(daemon, "VM_appliance.destroy", lambda t: "OpaqueRef:none" in t["args"])
    assert (line["allowed"], line["outcome"]) == ("ALLOWED", "ERROR:HANDLE_INVALID")


def test_an_asynchronous_call(daemon, x):
    task = x.call("Async.VM_appliance.create", {"name_label": "audited"})
    x.wait(task)
    line = told(daemon, "VM_appliance.create", lambda t: t["task"] == task)
    assert line["call"] == "Async.VM_appliance.create" and line["outcome"] == "OK"
    assert "('name_label' 'audited' '' '')" in line["args"]
    task = x.call("Async.VM_appliance.destroy", "OpaqueRef:gone")
    with pytest.raises(xapi.Failure):
        x.wait(task)
    assert told(daemon, "VM_appliance.destroy", lambda t: t["task"] == task)["outcome"] == \
        "ERROR:HANDLE_INVALID"


def test_an_asynchronous_refusal(daemon):
    with daemon.connect("vm-operator") as low:
        task = low.call("Async.VM_appliance.create", {"name_label": "no"})
        with pytest.raises(xapi.Failure):
            low.wait(task)
        assert told(daemon, "VM_appliance.create", lambda t: t["task"] == task)["allowed"] == \
            "DENIED"


def test_logins(daemon):
    with daemon.connect("vm-admin", originator="audited login"):
        line = told(daemon, "session.login_with_password", lambda t: "audited" in t["originator"])
        assert (line["user"], line["sid"], line["role"]) == \
            ("vm-admin", "local:vm-admin", "vm-admin")
    with pytest.raises(xapi.Failure):
        daemon.connect("somebody", "wrong")
    line = told(daemon, "session.login_with_password", lambda t: t["user"] == "somebody")
    assert line["outcome"] == "ERROR:SESSION_AUTHENTICATION_FAILED"


def test_the_local_socket(daemon):
    with xapi.connect(daemon.socket, "", "") as x:
        x.task.destroy(x.task.create("t", ""))
        line = told(daemon, "task.create", lambda t: t["client"] == "unix")
        assert "('label' 't' '' '')" in line["args"]


def test_secrets_are_not_told(daemon, x, vm):
    secret = "8f1c-never-to-be-seen"
    ref = x.secret.create({"value": secret, "other_config": {}})
    x.secret.set_value(ref, secret + "2")
    x.secret.destroy(ref)
    x.VM.add_to_other_config(vm, "audit", secret)
    x.VM.remove_from_other_config(vm, "audit")
    told(daemon, "VM.remove_from_other_config", lambda t: "'audit'" in t["args"])
    for path in glob.glob(os.path.join(daemon.folder, "log", "audit.log*")):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        assert secret not in text and PASSWORD not in text and x.ref not in text


def test_reading_is_not_told(daemon, x, vm):
    x.VM.get_record(vm)
    x.call("event.from", ["vm"], "", 0.0)
    x.task.destroy(x.task.create("after the reads", ""))
    told(daemon, "task.create", lambda t: "after the reads" in t["args"])
    actions = {t["action"] for t in lines(daemon) if t["allowed"] == "ALLOWED"}
    assert not {a for a in actions if a.split(".")[1].startswith("get") or a.startswith("event.")}
