"""message.*: alerts."""
import uuid

from simhost import failure


def make(x, name="ALARM", body="body", priority=3):
    pool = x.pool.get_all()[0]
    about = x.pool.get_uuid(pool)
    return x.message.create(name, str(priority), "Pool", about, body), about


def test_one_alert(x):
    ref, about = make(x, "TEST_ALERT", "what happened")
    record = x.message.get_record(ref)
    assert (record["name"], record["body"], record["priority"], record["cls"],
            record["obj_uuid"]) == ("TEST_ALERT", "what happened", "3", "Pool", about)
    assert x.message.get_by_uuid(record["uuid"]) == ref
    assert ref in x.message.get_all() and x.message.get_all_records()[ref] == record
    assert ref in x.message.get("Pool", about, "19700101T00:00:00Z")
    assert ref not in x.message.get("VM", about, "19700101T00:00:00Z")
    assert ref in x.message.get_since(record["timestamp"])
    assert ref not in x.message.get_since("20990101T00:00:00Z")
    assert list(x.message.get_all_records_where('field "name" = "TEST_ALERT"')) == [ref]
    assert failure(x.message.get_all_records_where, "field")[0] == "INVALID_VALUE"
    x.message.destroy(ref)
    assert failure(x.message.get_record, ref) == ["HANDLE_INVALID", "message", ref]
    assert failure(x.message.get_by_uuid, record["uuid"])[0] == "UUID_INVALID"
    assert failure(x.message.destroy, ref)[0] == "HANDLE_INVALID"


def test_about_nothing(x):
    no = str(uuid.uuid4())
    assert failure(x.message.create, "N", "1", "VM", no, "") == ["UUID_INVALID", "VM", no]


def test_alerts_come_as_events(x):
    token = x.call("event.from", ["message"], "", 0.0)["token"]
    ref, _ = make(x)
    batch = x.call("event.from", ["message"], token, 10.0)
    assert [(e["class"], e["operation"], e["id"]) for e in batch["events"]
            if e["ref"] == ref] == [("message", "add", "0")]
    x.message.destroy(ref)
    batch = x.call("event.from", ["message"], batch["token"], 10.0)
    assert [e["operation"] for e in batch["events"] if e["ref"] == ref] == ["del"]


def test_many(x):
    refs = [make(x, f"MANY_{i}")[0] for i in range(5)]
    x.message.destroy_many(refs[:3])
    assert not set(refs[:3]) & set(x.message.get_all())
    assert set(refs[3:]) <= set(x.message.get_all())
    assert failure(x.message.destroy_many, [refs[0]])[0] == "HANDLE_INVALID"
    task = x.call("Async.message.destroy_many", refs[3:])
    x.wait(task)
    assert not set(refs) & set(x.message.get_all())


def test_all_of_a_kind(x):
    low, high = make(x, "LOW", priority=5)[0], make(x, "HIGH", priority=1)[0]
    x.message.destroy_all({"priority": "5"})
    assert low not in x.message.get_all() and high in x.message.get_all()
    x.message.destroy_all({"before": "20000101T00:00:00Z"})
    assert high in x.message.get_all()
    x.message.destroy_all({"after": "20000101T00:00:00Z"})
    assert high not in x.message.get_all()
    assert failure(x.message.destroy_all, {"colour": "red"}) == \
        ["INVALID_VALUE", "filters", "colour"]


def test_alerts_survive_a_restart(own_daemon):
    x = own_daemon.connect()
    ref, _ = make(x, "KEPT")
    own_daemon.stop()
    own_daemon.start()
    assert own_daemon.connect().message.get_record(ref)["name"] == "KEPT"
