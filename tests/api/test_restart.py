"""What a client was told is still true after the daemon was killed."""
import signal
import time

from held import Held
from simhost import Daemon, failure


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


def test_an_end_does_not_wait_for_ever(tmp_path):
    """An operation that does not come to its end is left as it is, and recovered."""
    daemon = Daemon(str(tmp_path), "stop_wait_s=1")
    try:
        x = daemon.connect()
        vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "stuck")
        x.VM.provision(vm)
        held = Held(daemon, "VM.start/mark running/after")
        held.begin()  # for good: the process takes it along
        x.call("Async.VM.start", vm, False, False)
        held.wait()
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 15
        with open(daemon.log, encoding="utf-8") as f:
            assert "event=stop-late running=1" in f.read()
        daemon.start()
        x = daemon.connect()
        assert x.VM.get_current_operations(vm) == {}
        if x.VM.get_power_state(vm) == "Halted":
            x.VM.start(vm, False, False)
        assert x.VM.get_power_state(vm) == "Running"
        x.VM.hard_shutdown(vm)
        x.VM.destroy(vm)
    finally:
        daemon.stop()
