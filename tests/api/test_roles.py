"""Who may send what: every message and every role, compared with the published facts."""
import hashlib
import json
import os
import uuid

from simhost import ROLES, TOP, failure
from transfers import Client

with open(os.path.join(TOP, "tests", "facts", "roles.json"), encoding="utf-8") as f:
    FACTS = json.load(f)


def http_permissions():
    with open(os.path.join(TOP, "tests", "facts", "http.json"), encoding="utf-8") as f:
        handlers = json.load(f)["handlers"]
    out = {f"http/{h['name']}": h["role"] for h in handlers
           if not h.get("own-check") and h["role"] != "local-root"}
    for h in handlers:
        out.update({f"http/{h['name']}/{key}": role for key, role in h.get("subs", {}).items()})
    return out


def permissions(facts):
    """Permission, spelled as the model spells it -> lowest role."""
    out = {**FACTS["permissions"], **http_permissions()}
    for c in facts:
        for m in c.get("messages", []):
            if m.get("role") in (None, "local-root", "unchecked"):
                continue
            name = f"{c['name']}.{m['name']}"
            out[name] = m["role"]
            for key, role in (m.get("keys") or {}).items():
                out[f"{name}/key:{key}"] = role
    return out


def ladder():
    return [r["name"] for r in FACTS["roles"]]


def test_matrix_of_permissions(daemon, facts):
    wanted = permissions(facts)
    rank = ladder()
    for role in ROLES:
        with daemon.connect(role) as x:
            has = set(x.session.get_rbac_permissions(x.ref))
        allowed = {p.lower() for p, low in wanted.items() if rank.index(low) <= rank.index(role)}
        assert has == allowed, (role, sorted(has ^ allowed)[:10])


def test_protected_keys(daemon, x, vm):
    before = x.VM.get_other_config(vm)
    x.VM.set_other_config(vm, {})
    with daemon.connect("vm-operator") as low, daemon.connect("vm-admin") as admin:
        low.VM.add_to_other_config(vm, "folder", "/f")
        low.VM.add_to_other_config(vm, "XenCenter.CustomFields.x", "1")
        assert failure(low.VM.add_to_other_config, vm, "other", "1") == [
            "RBAC_PERMISSION_DENIED", "vm.add_to_other_config",
            "the session's roles do not include this permission"]
        admin.VM.add_to_other_config(vm, "other", "1")
        assert failure(admin.VM.add_to_other_config, vm, "pci", "1")[1] == \
            "vm.add_to_other_config/key:pci"
        now = x.VM.get_other_config(vm)
        assert failure(admin.VM.set_other_config, vm, dict(now, pci="1"))[0] == \
            "RBAC_PERMISSION_DENIED"
        admin.VM.set_other_config(vm, dict(now, other="2"))
        x.VM.add_to_other_config(vm, "pci", "0/0")
        assert failure(admin.VM.set_other_config, vm, now)[0] == "RBAC_PERMISSION_DENIED"
        admin.VM.set_other_config(vm, dict(now, pci="0/0", other="3"))
        assert failure(low.VM.remove_from_other_config, vm, "other")[0] == "RBAC_PERMISSION_DENIED"
        low.VM.remove_from_other_config(vm, "folder")
    assert x.VM.get_other_config(vm) == {"XenCenter.CustomFields.x": "1", "other": "3",
                                         "pci": "0/0"}
    x.VM.set_other_config(vm, before)


def test_protected_keys_of_new_objects(daemon, x, vm):
    def made(session, changes):
        record = dict(x.VM.get_record(vm), name_label="keys", is_a_template=False, **changes)
        ref = session.VM.create(record)
        x.VM.destroy(ref)

    with daemon.connect("vm-admin") as admin:
        made(admin, {"other_config": {"folder": "/f", "other": "1"}})
        for field, key in (("other_config", "pci"), ("platform", "hvm_serial")):
            assert failure(made, admin, {field: {key: "1"}}) == [
                "RBAC_PERMISSION_DENIED", f"vm.add_to_{field}/key:{key}",
                "the session's roles do not include this permission"]
    with daemon.connect("pool-admin") as top:
        made(top, {"other_config": {"pci": "0/0000:00:00.0"}})
    assert not x.VM.get_by_name_label("keys")


def test_protected_keys_of_imported_vms(daemon, x, vm):
    ref = x.VM.clone(vm, "keys")
    x.VM.set_other_config(ref, {"pci": "0/0000:00:00.0"})
    status, _, archive = Client(daemon, x).get("/export_metadata", ref=ref)
    assert status == 200
    x.VM.destroy(ref)
    with daemon.connect("vm-power-admin") as low:
        task = low.task.create("import", "")
        Client(daemon, low).put("/import_metadata", archive, task_id=task)
        assert low.task.get_error_info(task)[:2] == ["RBAC_PERMISSION_DENIED",
                                                     "vm.add_to_other_config/key:pci"]
        low.task.destroy(task)
    assert not x.VM.get_by_name_label("keys")
    assert Client(daemon, x).put("/import_metadata", archive)[0] == 200
    (back,) = x.VM.get_by_name_label("keys")
    assert x.VM.get_other_config(back)["pci"] == "0/0000:00:00.0"
    x.VM.destroy(back)


def test_an_asynchronous_refusal_is_in_the_task(daemon, vm):
    with daemon.connect("read-only") as x:
        task = x.call("Async.VM.start", vm, False, False)
        record = x.task.get_record(task)
        while record["status"] == "pending":
            record = x.task.get_record(task)
        assert record["status"] == "failure"
        assert record["error_info"][:2] == ["RBAC_PERMISSION_DENIED", "vm.start"]
        x.task.destroy(task)


def test_roles_as_objects(x, facts):
    roles = x.role.get_all_records_where("subroles<>[]")
    assert {r["name_label"] for r in roles.values()} == set(ladder())
    for fact in FACTS["roles"]:
        ref = "OpaqueRef:" + fact["uuid"]
        assert roles[ref]["uuid"] == fact["uuid"] == \
            str(uuid.UUID(hashlib.md5(fact["name"].encode()).hexdigest()))
        assert roles[ref]["is_internal"] == bool(fact.get("internal"))
    wanted = permissions(facts)
    listed = x.role.get_all_records_where("subroles=[]")
    assert {r["name_label"] for r in listed.values()} == {p.lower() for p in wanted}
    for name in ("VM.start", "task.destroy/any", "VM.add_to_other_config/key:pci"):
        ident = str(uuid.UUID(hashlib.md5(name.encode()).hexdigest()))
        assert listed["OpaqueRef:" + ident]["uuid"] == ident
    assert len(x.role.get_all()) == len(roles) + len(listed)
    assert len(x.role.get_all_records()) == len(roles) + len(listed)


def test_questions_to_roles(x):
    start = x.role.get_by_name_label("vm.start")[0]
    operator = x.role.get_by_name_label("vm-operator")[0]
    assert start in x.role.get_permissions(operator) == x.role.get_subroles(operator)
    assert "vm.start" in x.role.get_permissions_name_label(operator)
    names = {x.role.get_name_label(r) for r in x.role.get_by_permission(start)}
    assert names == {"vm-operator", "vm-admin", "vm-power-admin", "pool-operator", "pool-admin"}
    assert x.role.get_by_permission_name_label("vm.start") == x.role.get_by_permission(start)
    for question in ("get_permissions", "get_permissions_name_label"):
        assert failure(x.call, f"role.{question}", "OpaqueRef:x") == \
            ["HANDLE_INVALID", "role", "OpaqueRef:x"]
    assert x.role.get_by_permission_name_label("no.such") == []
    assert x.role.get_by_permission("OpaqueRef:x") == []


def test_the_local_superuser_alone(daemon):
    with daemon.connect("pool-admin") as x:
        assert failure(x.session.change_password, "a", "b")[0] == "RBAC_PERMISSION_DENIED"
