"""Every implicit message of every class, compared with the published facts."""
import re

import pytest

import xapi
from simhost import failure

NULL = "OpaqueRef:NULL"


def shown(cls):
    """The members of a class's records, in order."""
    return [f["name"] for f in cls["fields"] if not f.get("internal")]


def fits(value, kind):
    """Is a value as XML-RPC brings it of the declared type? Integers come as text."""
    if kind.startswith("set("):
        return isinstance(value, list) and all(fits(v, kind[4:-1]) for v in value)
    if kind.startswith("map("):
        return isinstance(value, dict)
    if kind.startswith("option("):
        return True
    if kind == "int":
        return isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "float":
        return isinstance(value, float)
    if kind == "datetime":
        return re.fullmatch(r"\d{8}T\d\d:\d\d:\d\dZ", str(value)) is not None
    if kind.startswith("ref "):
        return value == "" or value.startswith("OpaqueRef:")
    return isinstance(value, str)


def implicit(facts, kind):
    """(class, message) of all implicit messages of a kind that still exist."""
    return [(c, m) for c in facts for m in c.get("messages", [])
            if m["kind"] == kind and m.get("state") != "removed"]


def test_get_all_and_records_agree(x, facts):
    for cls, _ in implicit(facts, "get_all"):
        name = cls["name"]
        refs = x.call(f"{name}.get_all")
        records = x.call(f"{name}.get_all_records")
        assert len(set(refs)) == len(refs)
        if name not in ("task", "session"):
            assert set(refs) == set(records), name


def test_records_have_the_declared_members(x, facts):
    seen = 0
    for cls, _ in implicit(facts, "get_all_records"):
        kinds = {f["name"]: f["type"] for f in cls["fields"]}
        for ref, record in list(x.call(f"{cls['name']}.get_all_records").items())[:20]:
            members = [m for m in shown(cls) if not kinds[m].startswith("option(") or m in record]
            assert list(record) == members, cls["name"]
            for member, value in record.items():
                assert fits(value, kinds[member]), (cls["name"], member, value)
            seen += 1
    assert seen > 50


def test_getters_agree_with_records(x, facts):
    for cls, _ in implicit(facts, "get_all_records"):
        name = cls["name"]
        records = x.call(f"{name}.get_all_records")
        if name == "task" or not records:
            continue
        ref, record = next(iter(records.items()))
        assert x.call(f"{name}.get_record", ref).keys() == record.keys()
        for f in cls["fields"]:
            got = f"get_{f['name']}"
            if any(m["name"] == got and m["kind"] == "getter" and m.get("state") != "removed"
                   for m in cls["messages"]) \
                    and f["name"] in record and f["name"] not in ("last_updated", "memory_free"):
                assert x.call(f"{name}.{got}", ref) == record[f["name"]], (name, got)


def test_getters_of_nothing(x, facts):
    for kind in ("getter", "get_record"):
        for cls, m in implicit(facts, kind):
            name = f"{cls['name']}.{m['name']}"
            assert failure(x.call, name, "OpaqueRef:none") == \
                ["HANDLE_INVALID", cls["name"], "OpaqueRef:none"], name


def test_by_uuid(x, facts):
    for cls, _ in implicit(facts, "get_by_uuid"):
        name = cls["name"]
        assert failure(x.call, f"{name}.get_by_uuid", "no") == ["UUID_INVALID", name, "no"]
        if not cls.get("get_all") or name == "task":
            continue
        for ref, record in list(x.call(f"{name}.get_all_records").items())[:3]:
            assert x.call(f"{name}.get_by_uuid", record["uuid"]) == ref


def test_by_name_label(x, facts):
    for cls, _ in implicit(facts, "get_by_name_label"):
        name = cls["name"]
        assert x.call(f"{name}.get_by_name_label", "no such name of anything") == []
        if not cls.get("get_all") or name == "task":
            continue
        for ref, record in list(x.call(f"{name}.get_all_records").items())[:3]:
            assert ref in x.call(f"{name}.get_by_name_label", record["name_label"])


def test_setters_of_nothing(x, facts):
    """Each setter that the tables serve looks for its object first."""
    sample = {"string": "s", "int": "1", "bool": True, "float": 1.0, "datetime": "20250101T00:00:00Z"}
    tried = 0
    for kind in ("setter", "add", "remove"):
        for cls, m in implicit(facts, kind):
            values = []
            for p in m["params"][1:]:
                t = p["type"]
                values.append([] if t.startswith("set(") else {} if t.startswith("map(")
                              else NULL if t.startswith("ref ") else sample.get(t, "s"))
            got = failure(x.call, f"{cls['name']}.{m['name']}", "OpaqueRef:none", *values)
            assert got[0] in ("HANDLE_INVALID", "NOT_IMPLEMENTED", "INTERNAL_ERROR"), (m["name"], got)
            tried += got[0] == "HANDLE_INVALID"
    assert tried > 150


def test_where_finds_what_a_filter_finds(x):
    records = x.VM.get_all_records()
    for expr, want in (
            ("true", lambda r: True), ("false", lambda r: False),
            ('field "is_a_template" = "true"', lambda r: r["is_a_template"]),
            ('not field "is_a_template" = "true"', lambda r: not r["is_a_template"]),
            ('field "power__state" = "Halted"', None),
            ('field "name__label" = "Other install media"',
             lambda r: r["name_label"] == "Other install media"),
            ('(field "is_a_template"="true") and field "is_control_domain"="false"',
             lambda r: r["is_a_template"] and not r["is_control_domain"])):
        if want is None:
            assert failure(x.VM.get_all_where, expr)[0] == "INTERNAL_ERROR"
            continue
        wanted = {ref for ref, r in records.items() if want(r)}
        assert set(x.VM.get_all_where(expr)) == wanted, expr
        assert set(x.VM.get_all_records_where(expr)) == wanted, expr
    assert failure(x.VM.get_all_where, "field name")[0] == "INVALID_VALUE"


def test_maps(x, vm):
    x.VM.set_other_config(vm, {"a": "1"})
    x.VM.add_to_other_config(vm, "b", "2")
    assert x.VM.get_other_config(vm) == {"a": "1", "b": "2"}
    assert failure(x.VM.add_to_other_config, vm, "b", "3") == \
        ["MAP_DUPLICATE_KEY", "VM", "other_config", vm, "b"]
    assert failure(x.VM.add_to_other_config, vm, "", "3")[0] == "INTERNAL_ERROR"
    x.VM.remove_from_other_config(vm, "a")
    x.VM.remove_from_other_config(vm, "absent")
    assert x.VM.get_record(vm)["other_config"] == {"b": "2"}


def test_sets(x, vm):
    x.VM.set_tags(vm, ["one"])
    x.VM.add_tags(vm, "two")
    x.VM.add_tags(vm, "two")
    assert x.VM.get_tags(vm) == ["one", "two"]
    x.VM.remove_tags(vm, "one")
    x.VM.remove_tags(vm, "one")
    assert x.VM.get_tags(vm) == ["two"]


def test_create_and_destroy(x):
    ref = x.VM_appliance.create({"name_label": "made", "uuid": "", "allowed_operations": ["start"],
                                 "no_such_member": 1})
    record = x.VM_appliance.get_record(ref)
    assert (record["name_label"], record["name_description"]) == ("made", "")
    assert record["uuid"] and record["VMs"] == []
    x.VM_appliance.destroy(ref)
    assert failure(x.VM_appliance.get_record, ref)[0] == "HANDLE_INVALID"
    assert failure(x.VM_appliance.destroy, ref) == ["HANDLE_INVALID", "VM_appliance", ref]


def test_create_without_a_required_member(x):
    assert failure(x.secret.create, {"other_config": {}}) == ["FIELD_TYPE_ERROR", "value"]


def test_async_create(x):
    task = x.call("Async.VM_appliance.create", {"name_label": "by task"})
    result = x.wait(task)
    ref = re.fullmatch(r"<value>(OpaqueRef:.*)</value>", result).group(1)
    assert x.VM_appliance.get_name_label(ref) == "by task"
    assert x.wait(x.call("Async.VM_appliance.destroy", ref)) == "<value></value>"
    assert failure(x.VM_appliance.get_record, ref)[0] == "HANDLE_INVALID"


def test_references_must_name_something(x, vm):
    assert failure(x.VM.set_affinity, vm, "OpaqueRef:nowhere")[0] == "HANDLE_INVALID"
    x.VM.set_affinity(vm, x.host.get_all()[0])
    x.VM.set_affinity(vm, NULL)
    x.VM.set_affinity(vm, "")
    assert x.VM.get_affinity(vm) in (NULL, "")


def test_enums_in_any_case(x, vm):
    x.VM.set_actions_after_reboot(vm, "DESTROY")
    assert x.VM.get_actions_after_reboot(vm) == "destroy"
    x.VM.set_actions_after_reboot(vm, "restart")
    assert failure(x.VM.set_actions_after_reboot, vm, "explode")[0] == "INTERNAL_ERROR"


@pytest.mark.parametrize("text", ["20250319T04:16:24Z", "2025-03-19T04:16:24Z",
                                  "20250319T04:16:24", "20250319T04:16:24.5Z"])
def test_dates_in_many_spellings(daemon, x, text):
    assert isinstance(daemon.json("message.get_since", x.ref, text)["result"], dict)


def strings(value):
    """All strings in a value; keys of maps are none."""
    if isinstance(value, dict):
        return [s for v in value.values() for s in strings(v)]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


def test_plain_strings_look_like_no_reference(x, facts):
    """Clients take every string that begins with OpaqueRef: for a link."""
    for cls, _ in implicit(facts, "get_all_records"):
        for record in x.call(f"{cls['name']}.get_all_records").values():
            for f in cls["fields"]:
                if "ref " not in f["type"] and f["name"] in record:
                    assert not any(s.startswith("OpaqueRef:") for s in strings(record[f["name"]])), \
                        (cls["name"], f["name"])


def test_records_of_a_class_have_the_same_members(daemon, x, facts):
    """Clients build one prototype of a class from the first record they see."""
    for cls, _ in implicit(facts, "get_all_records"):
        records = daemon.json(f"{cls['name']}.get_all_records", x.ref)["result"].values()
        assert len({tuple(r) for r in records}) <= 1, cls["name"]
