"""event.*: what clients hear, and when."""
import json
import random
import socket
import threading
import time

import pytest

from pipeline import Pipeline
from simhost import failure


def start(x, classes):
    """A token from now on: nothing older will be told."""
    return x.call("event.from", classes, "", 0.0)["token"]


def changes(x, classes, token, timeout=10.0):
    return x.call("event.from", classes, token, timeout)


def ops(batch, ref):
    return [e["operation"] for e in batch["events"] if e["ref"] == ref]


def test_everything_at_first(x):
    batch = changes(x, ["*"], "")
    assert batch["events"] and {e["operation"] for e in batch["events"]} == {"add"}
    seen = {}
    for e in batch["events"]:
        assert set(e) == {"id", "timestamp", "class", "operation", "ref", "snapshot"}
        assert e["class"] == e["class"].lower() and e["class"] != "session"
        seen.setdefault(e["class"], {})[e["ref"]] = e["snapshot"]
    assert set(seen["vm"]) == set(x.VM.get_all())
    assert seen["pool"].keys() == x.pool.get_all_records().keys()
    ref, record = next(iter(x.SR.get_all_records().items()))
    assert seen["sr"][ref].keys() == record.keys()


def test_counts_are_typed_integers(daemon, x):
    batch = changes(x, ["pool"], "")
    counts = batch["valid_ref_counts"]
    assert all(isinstance(n, int) for n in counts.values())  # <i4>, others come as text
    assert counts["vm"] == len(x.VM.get_all()) and counts["pool"] == 1
    assert all(name == name.lower() for name in counts) and "message" not in counts
    got = daemon.json("event.from", x.ref, ["pool"], "", 0.0)["result"]["valid_ref_counts"]
    assert got["vm"] == counts["vm"]


def test_token(x):
    token = start(x, ["vm"])
    first, second = token.split(",")
    assert len(first) == len(second) == 20 and token <= start(x, ["vm"])
    assert failure(changes, x, ["vm"], "12") == ["EVENT_FROM_TOKEN_PARSE_FAILURE", "12"]


def test_one_event_for_each_object(x, appliance):
    token = start(x, ["*"])
    x.VM_appliance.set_name_label(appliance, "once")
    x.VM_appliance.set_name_label(appliance, "twice")
    fresh = x.VM_appliance.create({"name_label": "made"})
    gone = x.VM_appliance.create({"name_label": "made and gone"})
    x.VM_appliance.destroy(gone)
    batch = changes(x, ["VM_appliance"], token)
    assert ops(batch, appliance) == ["mod"] and ops(batch, fresh) == ["add"]
    assert ops(batch, gone) == []
    assert [e["snapshot"]["name_label"] for e in batch["events"] if e["ref"] == appliance] == \
        ["twice"]
    assert [e["operation"] for e in batch["events"]] == ["add", "mod"]
    x.VM_appliance.destroy(fresh)
    last = changes(x, ["vm_appliance"], batch["token"])
    assert ops(last, fresh) == ["del"] and "snapshot" not in last["events"][0]


def test_subscriptions(x, appliance):
    token = start(x, ["*"])
    x.VM_appliance.set_name_label(appliance, "seen")
    for classes, wanted in ((["*"], True), (["vm_appliance"], True), (["VM_Appliance"], True),
                            ([f"vm_appliance/{appliance}"], True), (["vm_appliance/other"], False),
                            (["vm"], False), (["no_such_class"], False), ([], False)):
        assert bool(ops(changes(x, classes, token, 0.0), appliance)) == wanted, classes
    assert failure(changes, x, ["a/b/c"], "", 0.0) == ["EVENT_SUBSCRIPTION_PARSE_FAILURE", "a/b/c"]


@pytest.mark.parametrize("timeout", [0.3, "0.3", 0])
def test_timeout(daemon, x, timeout):
    token = start(x, ["vm_group"])
    began = time.monotonic()
    batch = daemon.json("event.from", x.ref, ["vm_group"], token, timeout)["result"]
    assert batch["events"] == [] and batch["token"] >= token
    assert float(timeout) <= time.monotonic() - began < 25


def test_a_blocked_call_answers_at_once(daemon, x, appliance):
    """The answer comes with the first change, and twenty blocked calls hinder nobody."""
    token = start(x, ["vm_appliance"])
    arrived = []

    def wait():
        with daemon.connect() as other:
            batch = changes(other, [f"vm_appliance/{appliance}"], token, 60.1)
            arrived.append((time.monotonic(), batch))

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    assert not arrived
    x.VM_appliance.set_name_label(appliance, "now")
    changed = time.monotonic()
    for t in threads:
        t.join(60)
    assert len(arrived) == 20
    assert all(when - changed < 30 for when, _ in arrived), "not when their time was over"
    assert all(ops(batch, appliance) == ["mod"] for _, batch in arrived)


def test_logout_wakes_a_blocked_call(daemon):
    other, result = daemon.connect(), []
    token = daemon.json("event.from", other.ref, ["vm_group"], "", 0)["result"]["token"]

    def wait():
        result.append(blocked(daemon, other, token))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    daemon.json("session.logout", other.ref)
    thread.join(50)
    assert result == ["SESSION_INVALID"]


def blocked(daemon, other, token):
    return daemon.json("event.from", other.ref, ["vm_group"], token, 60.0)["error"]["message"]


def test_changes_are_seen_right_after_the_call(x, vm):
    """What clients use as a barrier: a write, then its event."""
    token = start(x, ["vm"])
    for i in range(20):
        x.VM.set_name_description(vm, str(i))
        batch = changes(x, ["vm"], token)
        assert [e["snapshot"]["name_description"] for e in batch["events"]
                if e["ref"] == vm] == [str(i)]
        token = batch["token"]


def test_both_sides_of_a_relation(x, vm):
    clone = x.VM.clone(vm, "with a drive")
    token = start(x, ["*"])
    drive = x.VBD.create({"VM": clone, "VDI": "OpaqueRef:NULL", "userdevice": "autodetect", "bootable": False,
                          "mode": "RO", "type": "CD", "empty": True, "other_config": {},
                          "qos_algorithm_type": "", "qos_algorithm_params": {}})
    batch = changes(x, ["*"], token)
    assert ops(batch, drive) == ["add"] and ops(batch, clone) == ["mod"]
    assert drive in x.VM.get_VBDs(clone)
    x.VM.destroy(clone)
    assert ops(changes(x, ["vbd"], batch["token"]), drive) == ["del"]


def test_inject(x, vm):
    token = x.event.inject("VM", vm)
    assert ops(changes(x, ["vm"], token), vm) == ["mod"]
    assert failure(x.event.inject, "vm", vm)[0] == "HANDLE_INVALID"
    assert failure(x.event.inject, "VM", "OpaqueRef:x") == ["HANDLE_INVALID", "VM", "OpaqueRef:x"]


def test_register_and_next(x, appliance):
    assert failure(x.event.next) == ["SESSION_NOT_REGISTERED", x.ref]
    assert failure(x.event.register, ["a/b/c"])[0] == "EVENT_SUBSCRIPTION_PARSE_FAILURE"
    x.event.register(["VM_appliance"])
    before = int(x.event.get_current_id())
    x.VM_appliance.set_name_label(appliance, "told")
    got = [e for e in x.event.next() if e["ref"] == appliance]
    assert [e["snapshot"]["name_label"] for e in got] == ["told"]
    assert int(got[0]["id"]) > 0 and float(got[0]["timestamp"]) > 1e9
    assert int(x.event.get_current_id()) > before
    x.event.unregister(["VM_appliance"])
    assert failure(x.event.next)[0] == "SESSION_NOT_REGISTERED"


def test_next_tells_every_change(x, appliance):
    """Unlike event.from it merges nothing, and what is gone has a last picture."""
    x.event.register(["vm_appliance"])
    for label in ("one", "two"):
        x.VM_appliance.set_name_label(appliance, label)
    brief = x.VM_appliance.create({"name_label": "came and went"})
    x.VM_appliance.destroy(brief)
    got = []
    while len(got) < 4:
        got += x.event.next()
    assert [(e["operation"], e["snapshot"]["name_label"]) for e in got] == [
        ("mod", "one"), ("mod", "two"), ("add", "came and went"), ("del", "came and went")]
    ids = [int(e["id"]) for e in got]
    assert ids == sorted(set(ids)) and ids[-1] <= int(x.event.get_current_id())
    assert [e["ref"] for e in got] == [appliance, appliance, brief, brief]
    x.event.unregister(["vm_appliance"])


def test_two_registrations_are_independent(daemon, x, appliance):
    with daemon.connect() as other:
        x.event.register(["vm_appliance"])
        x.VM_appliance.set_name_label(appliance, "before")
        other.event.register([f"vm_appliance/{appliance}"])
        x.VM_appliance.set_name_label(appliance, "after")
        assert [e["snapshot"]["name_label"] for e in other.event.next()] == ["after"]
        got = x.event.next()
        assert [e["snapshot"]["name_label"] for e in got] == ["before", "after"]
        x.event.unregister(["vm_appliance"])


def test_who_does_not_listen_loses_events(own_daemon):
    """Ten megabytes are kept; after that the client is told and goes on from there."""
    with own_daemon.connect() as x, own_daemon.connect() as quick:
        task = x.task.create("moves", "")
        x.event.register(["task"])
        with Pipeline(own_daemon.port) as p:
            assert not any(p.calls([("task.set_progress", [x.ref, task, n / 6000])
                                    for n in range(6000)]))
        quick.event.register(["task"])
        assert failure(x.event.next) == ["EVENTS_LOST"]
        x.task.set_progress(task, 0.5)
        for session in (x, quick):
            assert [e["snapshot"]["progress"] for e in session.event.next()
                    if e["ref"] == task] == [0.5]


def test_next_blocks_until_something_happens(daemon, x, appliance):
    with daemon.connect() as other:
        other.event.register(["vm_appliance"])
        got = []
        thread = threading.Thread(target=lambda: got.extend(other.event.next()))
        thread.start()
        time.sleep(0.3)
        assert not got
        x.VM_appliance.set_name_label(appliance, "woke")
        thread.join(60)
        assert [e["operation"] for e in got if e["ref"] == appliance] == ["mod"]


def test_a_client_that_leaves_costs_nothing(daemon, x):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "event.from", "params": [
        x.ref, ["vm_group"], start(x, ["vm_group"]), 600.0]}).encode()
    head = f"POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", daemon.port)) as s:
            s.sendall(head + body)
    assert x.VM.get_all()


def apply(mirror, batch):
    """What a client does with events: it keeps a copy of all objects."""
    for e in batch["events"]:
        if e["operation"] == "del":
            mirror.pop(e["ref"], None)
        else:
            mirror[e["ref"]] = e["snapshot"]
    return batch["token"]


def test_a_mirror_stays_true(daemon, x):
    """Four clients change objects as fast as they can; who follows by events has the same picture."""
    def churn(seed):
        dice, mine = random.Random(seed), []
        with daemon.connect() as other:
            for i in range(100):
                what = dice.random()
                if what < 0.4 or not mine:
                    mine.append(other.VM_group.create({"name_label": f"{seed} {i}"}))
                elif what < 0.8:
                    other.VM_group.set_name_description(dice.choice(mine), str(i))
                else:
                    other.VM_group.destroy(mine.pop(dice.randrange(len(mine))))

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(4)]
    mirror, token = {}, ""
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        token = apply(mirror, changes(x, ["VM_group"], token, 0.2))
    batch = changes(x, ["VM_group"], token, 0.0)
    apply(mirror, batch)
    assert mirror == x.VM_group.get_all_records()
    assert batch["valid_ref_counts"]["vm_group"] == len(mirror) > 10
