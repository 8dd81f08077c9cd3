"""task.*: asynchronous calls and tasks that clients make."""
import re
import time
import xmlrpc.client

import pytest

from simhost import PASSWORD, failure
import xapi

EPOCH = "19700101T00:00:00Z"


def ended(x, task):
    """The task's record once it is over."""
    end = time.monotonic() + 20
    while True:
        record = x.task.get_record(task)
        if record["status"] not in ("pending", "cancelling"):
            return record
        assert time.monotonic() < end, record
        time.sleep(0.01)


def test_a_call_that_succeeds(x):
    task = x.call("Async.VM_appliance.create", {"name_label": "async"})
    record = ended(x, task)
    assert record["status"] == "success" and record["progress"] == 1.0
    assert record["name_label"] == "Async.VM_appliance.create"
    assert re.fullmatch("<value>OpaqueRef:[0-9a-f-]+</value>", record["result"])
    assert record["error_info"] == [] and record["allowed_operations"] == []
    assert str(record["finished"]) != EPOCH and record["type"] == "<none/>"
    assert record["resident_on"] in x.host.get_all()
    x.task.destroy(task)
    assert failure(x.task.get_record, task)[0] == "HANDLE_INVALID"


def test_a_call_that_fails(x):
    task = x.call("Async.VM_appliance.destroy", "OpaqueRef:none")
    record = ended(x, task)
    assert record["status"] == "failure" and record["progress"] == 1.0
    assert record["error_info"] == ["HANDLE_INVALID", "VM_appliance", "OpaqueRef:none"]
    assert record["result"] == ""
    assert failure(x.wait, task)[0] == "HANDLE_INVALID"


def test_errors_before_the_task(x):
    assert failure(x.call, "Async.VM.start", "a", "b")[0] == "MESSAGE_PARAMETER_COUNT_MISMATCH"
    assert failure(x.call, "Async.VM.start", "a", "no bool", False)[0] == "INTERNAL_ERROR"
    assert failure(x.call, "Async.event.from", [], "", 0.0)[0] == "Fault"


def test_not_implemented_is_in_the_task(x):
    task = x.call("Async.pool.disable_ha")
    record = ended(x, task)
    assert record["error_info"] == ["NOT_IMPLEMENTED", "pool.disable_ha"]
    x.task.destroy(task)


def test_a_synchronous_call_leaves_no_task(x, appliance):
    before = set(x.task.get_all())
    x.VM_appliance.set_name_label(appliance, "no task")
    x.message.destroy_many([])
    assert set(x.task.get_all()) - before == set()


def test_a_task_of_ones_own(x):
    task = x.task.create("upload", "what for")
    record = x.task.get_record(task)
    assert (record["name_label"], record["name_description"], record["status"]) == \
        ("upload", "what for", "pending")
    assert str(record["finished"]) == EPOCH and record["progress"] == 0
    x.task.set_progress(task, 0.25)
    assert x.task.get_progress(task) == 0.25
    x.task.set_result(task, "<value>done</value>")
    x.task.set_status(task, "success")
    record = x.task.get_record(task)
    assert (record["status"], record["result"], record["progress"]) == \
        ("success", "<value>done</value>", 1.0)
    assert str(record["finished"]) != EPOCH
    assert failure(x.task.set_status, task, "pending")[0] == "OPERATION_NOT_ALLOWED"
    x.task.destroy(task)


def test_nobodys_task(x):
    for message, *args in (("set_result", "r"), ("set_error_info", []), ("set_progress", 0.5),
                           ("set_other_config", {}), ("remove_from_other_config", "k"),
                           ("add_to_other_config", "k", "v"), ("set_status", "success")):
        assert failure(x.call, f"task.{message}", "OpaqueRef:none", *args)[:2] == \
            ["HANDLE_INVALID", "task"], message


def test_error_info(x):
    task = x.task.create("fails", "")
    x.task.set_error_info(task, ["CODE", "param"])
    x.task.set_status(task, "failure")
    assert ended(x, task)["error_info"] == ["CODE", "param"]
    x.task.destroy(task)


def test_destroying_what_still_runs(x):
    task = x.task.create("still pending", "")
    x.task.destroy(task)
    assert x.task.get_current_operations(task) == {task: "destroy"}
    x.task.set_status(task, "cancelled")
    x.task.destroy(task)
    assert failure(x.task.destroy, task)[0] == "HANDLE_INVALID"


def test_what_cannot_be_cancelled(x):
    task = x.task.create("nobody works on it", "")
    assert failure(x.task.cancel, "OpaqueRef:none") == ["HANDLE_INVALID", "task", "OpaqueRef:none"]
    assert failure(x.task.cancel, task)[0] == "OPERATION_NOT_ALLOWED"
    x.task.set_status(task, "cancelled")
    x.task.destroy(task)


def test_other_config(x):
    task = x.task.create("t", "")
    x.task.set_other_config(task, {"a": "1"})
    x.task.add_to_other_config(task, "b", "2")
    assert failure(x.task.add_to_other_config, task, "b", "2") == \
        ["MAP_DUPLICATE_KEY", "task", "other_config", task, "b"]
    x.task.remove_from_other_config(task, "a")
    assert x.task.get_other_config(task) == {"b": "2"}
    x.task.set_status(task, "success")
    x.task.destroy(task)


def test_tasks_of_others(daemon, x):
    with daemon.connect("vm-admin") as one, daemon.connect("vm-admin") as same, \
            daemon.connect("vm-operator") as other:
        task = one.task.create("mine", "")
        before = x.task.get_record(task)
        for message, *args in (("set_result", "r"), ("set_error_info", ["E"]),
                               ("set_progress", 0.5), ("set_status", "success")):
            assert failure(other.call, f"task.{message}", task, *args)[:2] == \
                ["RBAC_PERMISSION_DENIED", "task.destroy/any"], message
        assert x.task.get_record(task) == before
        assert failure(other.task.destroy, task)[0] == "RBAC_PERMISSION_DENIED"
        assert failure(other.task.cancel, task)[0] == "RBAC_PERMISSION_DENIED"
        same.task.set_progress(task, 0.5)
        x.task.set_status(task, "failure")
        one.task.destroy(task)


def test_a_call_inside_a_given_task(daemon, x):
    """With the header task-id the task is the caller's to end."""
    task = x.task.create("around", "")
    body = xmlrpc.client.dumps((x.ref, {}), "message.destroy_all")
    status, _, answer = daemon.post("/", body, {"task-id": task})
    assert status == 200 and b"Success" in answer
    assert x.task.get_status(task) == "pending"
    x.task.set_status(task, "success")
    x.task.destroy(task)


def test_waiting_by_events(x):
    task = x.call("Async.VM_appliance.create", {"name_label": "awaited"})
    token = ""
    while True:
        batch = x.call("event.from", [f"task/{task}"], token, 10.0)
        token = batch["token"]
        states = [e["snapshot"]["status"] for e in batch["events"] if e["ref"] == task]
        if states and states[-1] == "success":
            break
        assert batch["events"]
    x.task.destroy(task)


def test_subtasks(daemon, x):
    parent = x.task.create("parent", "")
    body = xmlrpc.client.dumps((x.ref, {"name_label": "sub"}), "Async.VM_appliance.create")
    _, _, answer = daemon.post("/", body, {"subtask-of": parent})
    child = xmlrpc.client.loads(answer)[0][0]["Value"]
    assert x.task.get_subtask_of(child) == parent
    assert x.task.get_subtasks(parent) == [child]
    x.wait(child)
    x.task.set_status(parent, "success")
    x.task.destroy(parent)


def test_readers_have_tasks_too(daemon):
    with daemon.connect("read-only") as x:
        task = x.task.create("reader's", "")
        x.task.set_status(task, "success")
        x.task.destroy(task)
        with pytest.raises(xapi.Failure):
            x.task.get_record(task)


def test_what_a_request_says_about_its_task(daemon, x):
    """Headers x-http-other-config-K go into the task."""
    body = xmlrpc.client.dumps((x.ref, {"name_label": "noted"}), "Async.VM_appliance.create")
    _, _, answer = daemon.post("/", body, {"X-Http-Other-Config-Ticket": "42",
                                           "x-http-other-config-by": "a, b", "User-Agent": "u"})
    task = xmlrpc.client.loads(answer)[0][0]["Value"]
    config = {k.lower(): v for k, v in x.task.get_other_config(task).items()}
    assert config == {"http:ticket": "42", "http:by": "a, b"}
    x.wait(task)


def test_an_originator_in_the_head(daemon):
    """It counts where the call names none."""
    for given, wanted in (((), "from the head"), (("", "of the call"), "of the call")):
        body = xmlrpc.client.dumps(("root", PASSWORD, *given), "session.login_with_password")
        _, _, answer = daemon.post("/", body, {"originator": "from the head"})
        ref = xmlrpc.client.loads(answer)[0][0]["Value"]
        assert daemon.json("session.get_originator", ref, ref)["result"] == wanted
