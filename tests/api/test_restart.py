"""What a client was told is still true after the daemon was killed."""
import signal

from simhost import failure


def kill(daemon):
    daemon.stop(signal.SIGKILL)
    daemon.start()
    return daemon.connect()


def test_answers_are_durable(own_daemon):
    x = own_daemon.connect()
    made = [x.VM_appliance.create({"name_label": f"n{i}"}) for i in range(20)]
    x.VM_appliance.set_name_description(made[3], "written last")
    records = {r: x.VM_appliance.get_record(r) for r in made}
    x = kill(own_daemon)
    assert {r: x.VM_appliance.get_record(r) for r in made} == records
    x.VM_appliance.destroy(made[0])
    x = kill(own_daemon)
    assert failure(x.VM_appliance.get_record, made[0])[0] == "HANDLE_INVALID"


def test_sessions_and_tasks_end_with_the_process(own_daemon):
    old = own_daemon.connect()
    task = old.task.create("mine", "")
    x = kill(own_daemon)
    assert own_daemon.json("VM.get_all", old.ref)["error"]["message"] == "SESSION_INVALID"
    assert failure(x.task.get_record, task)[0] == "HANDLE_INVALID"


def test_a_token_survives(own_daemon):
    x = own_daemon.connect()
    kept = x.VM_group.create({"name_label": "kept"})
    token = x.call("event.from", ["VM_group"], "", 0.0)["token"]
    gone = x.VM_group.create({"name_label": "after the token"})
    x = kill(own_daemon)
    batch = x.call("event.from", ["VM_group"], token, 5.0)
    assert [(e["operation"], e["ref"]) for e in batch["events"]] == [("add", gone)]
    x.VM_group.destroy(kept)
    x = kill(own_daemon)
    batch = x.call("event.from", ["VM_group"], batch["token"], 5.0)
    assert [(e["operation"], e["ref"]) for e in batch["events"]] == [("del", kept)]
    assert batch["valid_ref_counts"]["vm_group"] == 1
