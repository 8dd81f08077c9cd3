"""/rest/v1: the same objects and calls as over XML-RPC, which is the other route here. Each reply is
held against the OpenAPI document by tests/lib/rest.py."""
import http.client
import json
import os
import re
import subprocess
import threading
import uuid

import pytest

from rest import ROOT, Rest
from simhost import BUILD, PASSWORD


@pytest.fixture
def rest(daemon):
    return Rest(daemon)


@pytest.fixture
def guest(x):
    """A halted guest: its reference and its path."""
    template = x.VM.get_by_name_label("Other install media")[0]
    ref = x.VM.clone(template, f"guest {uuid.uuid4()}")
    x.VM.provision(ref)
    yield ref, f"{ROOT}/vms/{x.VM.get_uuid(ref)}"
    if x.VM.get_power_state(ref) != "Halted":
        x.VM.hard_shutdown(ref)
    x.VM.destroy(ref)


def wait_task(rest, path):
    """Follows the events of tasks until that one has ended."""
    with Events(rest, collections="tasks", since="all") as events:
        for kind, event in events:
            if kind in ("add", "mod") and event["object"]["href"] == path:
                if event["object"]["status"] not in ("pending", "cancelling"):
                    return event["object"]


class Events:
    """Server-sent events, parsed as browsers do."""

    def __init__(self, rest, last=None, **query):
        self.last, self.c = None, http.client.HTTPConnection("127.0.0.1", rest.port, timeout=60)
        query = "&".join(f"{k}={v}" for k, v in query.items())
        headers = {**rest.auth, **({"Last-Event-ID": last} if last else {})}
        self.c.request("GET", f"{ROOT}/events?{query}", headers=headers)
        self.answer = self.c.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["content-type"] == "text/event-stream"

    def __enter__(self):
        self.lines()  # the first message: retry, and where it begins
        return self

    def __exit__(self, *_):
        self.c.close()

    def lines(self):
        got = {}
        for line in iter(self.answer.readline, b"\n"):
            if not line:
                return None
            name, _, value = line.decode().rstrip("\n").partition(":")
            got[name] = value.removeprefix(" ")
        self.last = got.get("id", self.last)
        return got

    def __iter__(self):
        while (got := self.lines()) is not None:
            if "event" in got:
                yield got["event"], json.loads(got["data"])


# ---- reading -----------------------------------------------------------------------------------


def test_the_index_names_every_collection(rest):
    index = rest.get("").json
    assert index == rest.get("/").json
    for path in set(index["collections"].values()) - {index["events"]}:
        assert rest.send("GET", path, expect=None).status in (200, 405)


def test_objects_read_as_over_rpc(rest, x, guest):
    ref, path = guest
    got, record = rest.get(path).json, x.VM.get_record(ref)
    assert got["href"] == path and got["ref"] == ref
    for name in ("uuid", "name_label", "power_state", "is_a_template", "other_config", "tags",
                 "allowed_operations", "platform"):
        assert got[name] == record[name], name
    assert got["memory_static_max"] == int(record["memory_static_max"])
    assert got["resident_on"] is None
    disks = [rest.get(href).json["uuid"] for href in got["VBDs"]]
    assert disks == [x.VBD.get_uuid(r) for r in record["VBDs"]]
    host = rest.get("/hosts").json["items"][0]
    assert host["API_version_major"] == int(x.host.get_API_version_major(host["ref"]))
    start = rest.get(host["metrics"]).json["last_updated"]
    assert start[10] == "T" and start.endswith("Z")
    assert rest.get(f"/vms/{ref}").json["uuid"] == got["uuid"]


def test_pages_hold_each_object_once(rest, x):
    seen, path = [], "/vms?limit=5"
    while path:
        page = rest.get(path)
        items, path = page.json["items"], page.json["next"]
        assert len(items) <= 5
        assert (page.headers["link"] == f'<{path}>; rel="next"') if path else True
        seen += [o["ref"] for o in items]
    assert sorted(seen) == sorted(x.VM.get_all())
    roles = [rest.get("/roles", limit=3).json]
    roles.append(rest.get(roles[0]["next"]).json)
    assert len({r["uuid"] for page in roles for r in page["items"]}) == 6


def test_filters_and_fields(rest, x, guest):
    ref, path = guest
    name = x.VM.get_name_label(ref)
    x.VM.add_tags(ref, "red")
    x.VM.set_other_config(ref, {"folder": "/a b"})

    def found(text):
        return [o["href"] for o in rest.get("/vms", filter=text, fields="name_label").json["items"]]
    assert found(f'name_label="{name}"') == [path]
    assert found(f"name_label~{name[6:].upper()}") == [path]
    assert found(f'tags=red other_config.folder="/a b"') == [path]
    assert found("tags=red power_state!=Halted") == []
    assert found("memory_static_max>0 tags=red") == [path]
    assert found("memory_static_max<0") == []
    item = rest.get("/vms", filter="tags=red", fields="name_label,tags").json["items"][0]
    assert set(item) == {"href", "ref", "name_label", "tags"}
    host = rest.get("/hosts").json["items"][0]
    dom0 = rest.get("/vms", filter=f"is_control_domain=true resident_on={host['uuid']}").json
    assert [v["resident_on"] for v in dom0["items"]] == [host["href"]]


@pytest.mark.parametrize("query", [
    "filter=nothing%3D1", "filter=tags", "filter=tags.x%3D1", "filter=tags%3D%22x", "fields=x",
    "limit=0", "limit=1001", "after=x", "size=3", "filter=" + "tags%3D1%20" * 33])
def test_bad_queries_are_refused(rest, query):
    problem = rest.get(f"/vms?{query}", 400).json
    assert problem["code"] == "INVALID_VALUE" and problem["status"] == 400


# ---- writing -----------------------------------------------------------------------------------


def test_a_patch_merges(rest, x, guest):
    ref, path = guest
    x.VM.set_other_config(ref, {"keep": "1", "drop": "2", "change": "3"})
    got = rest.patch(path, {"name_description": "patched", "tags": ["b", "a"],
                            "other_config": {"drop": None, "change": "4", "new": "5"},
                            "affinity": rest.get("/hosts").json["items"][0]["href"]}).json
    wanted = {"keep": "1", "change": "4", "new": "5"}
    assert got["other_config"] == wanted == x.VM.get_other_config(ref)
    assert x.VM.get_name_description(ref) == "patched"
    assert sorted(x.VM.get_tags(ref)) == ["a", "b"]
    assert x.VM.get_affinity(ref) == x.host.get_all()[0]
    rest.patch(path, {"affinity": None})
    assert x.VM.get_affinity(ref) == "OpaqueRef:NULL"


@pytest.mark.parametrize("body", [
    {"name_label": 3}, {"uuid": "x"}, {"no_such": 1}, {"affinity": "nobody"}, {"tags": "x"},
    {"user_version": 1.5}, {"is_a_template": "true"}, {"other_config": {"a": 1}},
    {"affinity": ROOT + "/vms/00000000-0000-0000-0000-000000000000"},
    {"name_label": "this one is fine", "ha_restart_priority": 1}])
def test_a_bad_patch_changes_nothing(rest, x, guest, body):
    ref, path = guest
    before = x.VM.get_record(ref)
    assert rest.patch(path, body, 400).json["status"] == 400
    assert x.VM.get_record(ref) == before


def test_a_refused_patch_changes_nothing(daemon, x, guest):
    """Of what is refused behind a field that is not: plain fields go together, what a message of
    its own has set is put back."""
    ref, path = guest
    before = x.VM.get_record(ref)
    admin = Rest(daemon, "vm-admin")
    for body in ({"name_label": "half", "other_config": {"pci": "0/0"}, "tags": ["half"]},
                 {"other_config": {"pci": "0/0"}, "VCPUs_max": 4, "VCPUs_at_startup": 3},
                 {"VCPUs_max": 4, "name_label": "half", "VCPUs_at_startup": 9}):
        problem = admin.patch(path, body, 403 if "other_config" in body else 400).json
        assert problem["code"] in ("RBAC_PERMISSION_DENIED", "INVALID_VALUE")
        assert x.VM.get_record(ref) == before
    got = admin.patch(path, {"name_label": "whole", "VCPUs_max": 4, "VCPUs_at_startup": 3,
                             "other_config": {"a": "b"}, "tags": ["t"]}).json
    now = x.VM.get_record(ref)
    assert (now["name_label"], now["VCPUs_max"], now["VCPUs_at_startup"], now["tags"]) == \
        ("whole", "4", "3", ["t"])
    assert got["VCPUs_max"] == 4 and now["other_config"]["a"] == "b"


def test_a_patch_is_one_change(rest, x, guest):
    """Who waits for a change sees all of it."""
    ref, path = guest
    for n in range(20):
        token = x.call("event.from", [f"VM/{ref}"], "", 0.0)["token"]
        seen = []

        def wait(token=token, seen=seen):
            seen.append(x.call("event.from", [f"VM/{ref}"], token, 30.0))

        waiter = threading.Thread(target=wait)
        waiter.start()
        rest.patch(path, {"name_label": f"n{n}", "name_description": f"d{n}", "tags": [f"t{n}"]})
        waiter.join()
        (event,) = [e for e in seen[0]["events"] if e["ref"] == ref]
        shown = event["snapshot"]
        assert (shown["name_label"], shown["name_description"], shown["tags"]) == \
            (f"n{n}", f"d{n}", [f"t{n}"])


def test_conditions_follow_the_version(rest, x, guest):
    ref, path = guest
    first = rest.get(path).headers["etag"]
    assert rest.get(path, 304, {"If-None-Match": first}).headers["etag"] == first
    x.VM.set_name_description(ref, "somebody else's")
    assert rest.get(path, headers={"If-None-Match": first}).headers["etag"] != first
    assert rest.patch(path, {"name_label": "mine"}, 412, {"If-Match": first}).json["status"] == 412
    rest.delete(path, 412, {"If-Match": first})
    assert x.VM.get_name_label(ref) != "mine"
    now = rest.get(path).headers["etag"]
    after = rest.patch(path, {"name_label": "mine", "name_description": "both"},
                       headers={"If-Match": now}).headers["etag"]
    assert after != now and x.VM.get_name_label(ref) == "mine"
    rest.patch(path, {"name_label": "any"}, headers={"If-Match": "*"})


def test_objects_are_made_and_destroyed(rest, x):
    made = rest.post("/vm_appliances", {"name_label": "by rest"}, 201)
    path = made.headers["location"]
    assert made.json["href"] == path
    assert x.VM_appliance.get_name_label(made.json["ref"]) == "by rest"
    rest.delete(path)
    rest.get(path, 404)
    assert made.json["ref"] not in x.VM_appliance.get_all()
    task = rest.post("/tasks", {"label": "mine", "description": "a task"}, 201).json
    assert x.task.get_name_label(task["ref"]) == "mine"
    rest.delete(task["href"])
    assert rest.post("/vm_appliances", {"colour": "red"}, 400).json["params"][0] == "colour"
    rest.delete(f"/vm_appliances/{uuid.uuid4()}", 404)


# ---- actions -----------------------------------------------------------------------------------


def test_an_operation_is_a_task(rest, x, guest):
    ref, path = guest
    task = rest.post(f"{path}/start", {}, 202)
    assert task.headers["location"] == task.json["task"]
    assert wait_task(rest, task.json["task"])["status"] == "success"
    assert x.VM.get_power_state(ref) == "Running"
    rest.post(f"{path}/hard_shutdown", {}, 204, wait="")
    assert x.VM.get_power_state(ref) == "Halted"
    rest.post(f"{path}/start", {"start_paused": True}, 204, wait="true")
    assert x.VM.get_power_state(ref) == "Paused"
    clone = rest.post(f"{path}/hard_shutdown", {}, 202, {"Prefer": "respond-async"}, wait="false")
    assert wait_task(rest, clone.json["task"])["error_info"] == []


def test_results_and_refusals(rest, x, guest):
    ref, path = guest
    made = rest.post(f"{path}/clone", {"new_name": "copy"}, 202)
    copy = wait_task(rest, made.json["task"])["result"]
    assert rest.get(copy).json["name_label"] == "copy"
    rest.delete(copy)
    assert rest.get(f"{path}/get_allowed_VBD_devices").json == x.VM.get_allowed_VBD_devices(ref)
    problem = rest.post(f"{path}/hard_shutdown", {}, 409, wait="").json
    assert problem["code"] == "VM_BAD_POWER_STATE" and problem["params"][0] == ref
    assert problem["type"] == "/openapi.json#/x-errors/VM_BAD_POWER_STATE"
    assert rest.post(f"{path}/clone", {}, 400).json["params"] == ["new_name",
                                                                "the parameter is missing"]
    assert rest.post(f"{path}/clone", {"new_name": "a", "b": 1}, 400).json["params"][0] == "b"


def test_roles_hold_here_too(daemon, rest, guest):
    _, path = guest
    reader = Rest(daemon, "read-only")
    assert reader.get(path).status == 200
    problem = reader.patch(path, {"name_label": "x"}, 403).json
    assert problem["code"] == "RBAC_PERMISSION_DENIED"
    assert reader.post(f"{path}/start", {}, 403, wait="").json["params"][0] == "vm.start"


# ---- HTTP --------------------------------------------------------------------------------------


def test_methods_and_types(rest, guest):
    _, path = guest
    refused = rest.send("PUT", path, {}, 405)
    assert refused.headers["allow"] == "GET, HEAD, PATCH, DELETE, OPTIONS"
    assert rest.send("DELETE", "/vms", expect=405).headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert rest.get(f"{path}/start", 405).headers["allow"] == "POST, OPTIONS"
    rest.get(path, 406, {"Accept": "text/html, image/*;q=0.3"})
    rest.get(path, 200, {"Accept": "text/html, application/*;q=0.3"})
    wrong = rest.patch(path, "name_label=x", 415)
    assert "application/merge-patch+json" in wrong.headers["accept-patch"]
    rest.patch(path, '{"name_label": "merged"}', 200,
               {"Content-Type": "application/merge-patch+json; charset=utf-8"})
    rest.patch(path, "{", 400, {"Content-Type": "application/json"})
    rest.patch(path, [1], 400)
    for nothing in ("/nothing", "/vms/start", f"{path}/nothing", f"{path}/start/now", "/vms/"):
        rest.get(nothing, 404)
    head, get = rest.send("HEAD", path, expect=200), rest.get(path)
    assert head.body == b"" and head.headers["content-length"] == get.headers["content-length"]


def test_pages_from_elsewhere_may_ask(rest):
    asked = rest.send("OPTIONS", "/vms", expect=204, headers={
        "Origin": "http://elsewhere", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, if-match"})
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "authorization, if-match" in ", ".join(
        asked.headers.get_all("access-control-allow-headers"))
    assert "ETag" in rest.get("/vms").headers["access-control-expose-headers"]


def test_credentials(daemon, x):
    nobody = Rest(daemon, None)
    assert nobody.get("/vms", 401).headers["www-authenticate"].startswith("Basic ")
    assert "www-authenticate" not in nobody.get("/vms", 401, {"X-Requested-With": "x"}).headers
    assert Rest(daemon, "root", "wrong").get("/vms", 401).json["code"] == \
        "SESSION_AUTHENTICATION_FAILED"
    nobody.post("/session", {"user": "root", "password": "wrong"}, 401)
    nobody.post("/session", {}, 400)
    made = nobody.post("/session", {"user": "root", "password": PASSWORD}, 201)
    cookie = made.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    session = made.json["session"]
    assert x.session.get_auth_user_name(session) == "root"
    for proof in ({"Authorization": f"Bearer {session}"}, {"Cookie": cookie.split(";")[0]}):
        assert nobody.get("/session", headers=proof).json["user"] == "root"
    nobody.get("/session", 401, {"Cookie": cookie.split(";")[0], "Origin": "http://elsewhere"})
    nobody.get("/session", 200, {"Cookie": cookie.split(";")[0],
                                 "Origin": f"http://127.0.0.1:{daemon.port}"})
    nobody.delete("/session", headers={"Authorization": f"Bearer {session}"})
    nobody.get("/vms", 401, {"Authorization": f"Bearer {session}"})


def dump(daemon):
    ctl = [os.path.join(BUILD, "cairnctl"), "-s", os.path.join(daemon.folder, "run", "cairnd.ctl")]
    return subprocess.run([*ctl, "dump", "sessions"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def test_a_request_leaves_no_session(daemon, rest):
    user = Rest(daemon, "vm-operator")
    user.get("/vms", limit=1)
    user.get("/vms", 400, limit=0)
    counts = dump(daemon)
    assert "sessions " in counts
    before = re.search(r"sessions (\d+)", counts).group(1)
    for _ in range(5):
        user.get("/vms", limit=1)
    assert re.search(r"sessions (\d+)", dump(daemon)).group(1) == before


# ---- events ------------------------------------------------------------------------------------


def test_events_tell_what_changes(rest, x, guest):
    ref, path = guest
    with Events(rest, collections="vms,vm_appliances") as events:
        x.VM.set_name_label(ref, "told")
        kind, event = next(iter(events))
        assert kind == event["operation"] == "mod"
        assert event["collection"] == "vms" and event["ref"] == ref
        assert event["object"]["href"] == path and event["object"]["name_label"] == "told"
        made = x.VM_appliance.create({"name_label": "told, too"})
        assert [(k, e["ref"]) for k, e in [next(iter(events))]] == [("add", made)]
        last = events.last
    x.VM_appliance.destroy(made)
    with Events(rest, last, collections="vm_appliances") as events:
        kind, event = next(iter(events))
        assert kind == "del" and event["ref"] == made and "object" not in event


def test_all_events_come_first_when_asked(rest, x):
    with Events(rest, collections="hosts,pools", since="all") as events:
        told = iter(events)
        assert {next(told)[1]["collection"], next(told)[1]["collection"]} == {"hosts", "pools"}
    rest.get("/events", 400, collections="nothing")
    rest.get("/events", 400, since="yesterday")
    rest.get("/events", 406, {"Accept": "application/json"})


def test_events_end_with_their_session(daemon, x):
    nobody = Rest(daemon, None)
    session = nobody.post("/session", {"user": "root", "password": PASSWORD}, 201).json["session"]
    nobody.auth = {"Authorization": f"Bearer {session}"}
    with Events(nobody, collections="pools") as events:
        nobody.delete("/session")
        assert next(iter(events))[1]["code"] == "SESSION_INVALID"
        assert events.lines() is None
