"""Observers: what is called and done, as spans in files and at an address of somebody's."""
import glob
import http.server
import json
import os
import threading
import time

import pytest
from simhost import failure, run_daemon

NOWHERE = "OpaqueRef:nowhere"
END_S = 30


@pytest.fixture(scope="module")
def own():
    yield from run_daemon()


@pytest.fixture
def x(own):
    with own.connect() as session:
        yield session


@pytest.fixture
def host(x):
    return x.host.get_all()[0]


@pytest.fixture
def make(x):
    """Makes observers that are gone after the test."""
    made = []

    def one(name, **fields):
        made.append(x.Observer.create({"name_label": name, "name_description": "", **fields}))
        return made[-1]
    yield one
    for ref in made:
        x.Observer.destroy(ref)


def spans(own, observer):
    """What stands in the files of an observer, as {name: span}."""
    found = {}
    for path in glob.glob(os.path.join(own.folder, "log", "dt/zipkinv2/json/xapi-*.ndjson")):
        with open(path, encoding="utf-8") as f:
            for line in f:
                for span in json.loads(line) if line.endswith("\n") else []:
                    if span["tags"]["xs.observer.name"] == observer:
                        found[span["name"]] = span
    return found


def wait_for(own, observer, *names):
    end = time.monotonic() + END_S
    while time.monotonic() < end:
        found = spans(own, observer)
        if set(names) <= set(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{names} are not among {sorted(spans(own, observer))}")


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.server.came.set()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def collector():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        server.got, server.came = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def start_vm(x, name):
    template = x.VM.get_by_name_label("Other install media")[0]
    vm = x.VM.clone(template, name)
    x.VM.provision(vm)
    x.VM.start(vm, False, False)
    return vm


def end_vm(x, vm):
    x.VM.hard_shutdown(vm)
    x.VM.destroy(vm)


def test_a_call_and_the_steps_below_it(own, x, make):
    make("all", enabled=True, attributes={"site": "lab 7"})
    vm = start_vm(x, "watched")
    failure(x.VM.start, vm, False, False)
    found = wait_for(own, "all", "VM.clone", "VM.start: build guest", "VM.start")
    end_vm(x, vm)
    assert x.Observer.get_endpoints(x.Observer.get_all()[0]) == ["bugtool"]
    step = found["VM.start: build guest"]
    assert len(step["traceId"]) == 32 and len(step["id"]) == len(step["parentId"]) == 16
    assert step["localEndpoint"] == {"serviceName": "xenopsd"} and step["duration"] >= 0
    call = found["VM.clone"]
    assert call["kind"] == "SERVER" and call["localEndpoint"] == {"serviceName": "xapi"}
    assert call["traceId"] != step["traceId"] and "error" not in call["tags"]
    assert abs(call["timestamp"] / 1e6 - time.time()) < 600
    assert call["tags"]["user.site"] == "lab 7"
    assert call["tags"]["xs.host.uuid"] == x.host.get_uuid(x.host.get_all()[0])
    assert call["tags"]["xs.pool.uuid"] == x.pool.get_uuid(x.pool.get_all()[0])
    assert found["VM.start"]["tags"]["error"] == "VM_BAD_POWER_STATE"


def test_a_caller_goes_on_with_his_trace(own, x, make):
    make("traced", enabled=True)
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    body = json.dumps({"jsonrpc": "2.0", "method": "pool.get_uuid",
                       "params": [x.ref, x.pool.get_all()[0]], "id": 1})
    own.post("/jsonrpc", body, {"traceparent": f"00-{trace}-{span}-01"})
    found = wait_for(own, "traced", "pool.get_uuid")["pool.get_uuid"]
    assert found["traceId"] == trace and found["parentId"] == span


def test_an_asynchronous_call_ends_with_its_task(own, x, make):
    make("async", enabled=True, components=["xapi"])
    vm = start_vm(x, "asynchronous")
    task = x.call("Async.VM.hard_shutdown", vm)
    found = wait_for(own, "async", "Async.VM.hard_shutdown")
    assert x.task.get_status(task) == "success"
    assert found["Async.VM.hard_shutdown"]["tags"]["task"] == task
    assert not [name for name in found if ": " in name], "calls alone"
    x.task.destroy(task)
    x.VM.destroy(vm)


def test_an_address(own, x, make, collector):
    url = f"http://127.0.0.1:{collector.server_port}/api/v2/spans"
    o = make("far", enabled=True)
    x.Observer.set_endpoints(o, [url])
    assert x.Observer.get_endpoints(o) == [url]
    x.host.get_servertime(x.host.get_all()[0])
    assert collector.came.wait(END_S)
    path, kind, body = collector.got[0]
    assert path == "/api/v2/spans" and kind == "application/json"
    assert {s["tags"]["xs.observer.name"] for s in body} == {"far"}
    for bad in ("ftp://a/b", "http://", "/tmp/x", "", "http://a b"):
        assert failure(x.Observer.set_endpoints, o, [bad]) == ["INVALID_VALUE", "endpoint", bad]
    assert failure(x.Observer.set_endpoints, NOWHERE, [])[:2] == ["HANDLE_INVALID", "Observer"]


def test_what_is_watched(own, x, make):
    o = make("parts", enabled=True)
    x.Observer.set_components(o, ["xenopsd"])
    assert x.Observer.get_components(o) == ["xenopsd"]
    vm = start_vm(x, "in parts")
    found = wait_for(own, "parts", "VM.start: build guest")
    assert "VM.start" not in found
    x.Observer.set_components(o, ["smapi"])
    end_vm(x, vm)
    library = [s for s in x.SR.get_all() if x.SR.get_type(s) == "iso"][0]
    x.PBD.unplug(x.SR.get_PBDs(library)[0])
    x.PBD.plug(x.SR.get_PBDs(library)[0])
    found = wait_for(own, "parts", "PBD.plug: attach storage")
    assert not [name for name in found if name.startswith("VM.hard_shutdown")]
    assert failure(x.Observer.set_components, o, ["xapi", "xapi-clusterd"]) == \
        ["INVALID_VALUE", "component", "xapi-clusterd"]
    assert x.Observer.get_components(o) == ["smapi"]


def watches(own, x, o, name):
    """Does the next call stand in its files? Another observer tells when it would."""
    label = x.Observer.get_name_label(o)
    witness = x.Observer.create({"name_label": f"witness {name}", "name_description": "",
                                 "enabled": True, "components": ["xapi"]})
    failure(x.call, "VM.get_by_uuid", name)
    x.host.get_by_name_label(name)
    wait_for(own, f"witness {name}", "host.get_by_name_label")
    x.Observer.destroy(witness)
    return "host.get_by_name_label" in spans(own, label)


def test_enabled_or_not(own, x, make):
    o = make("switch a")
    assert x.Observer.get_enabled(o) is False and not watches(own, x, o, "a1")
    x.Observer.set_enabled(o, True)
    assert x.Observer.get_enabled(o) is True and watches(own, x, o, "a2")
    x.Observer.set_enabled(o, False)
    x.Observer.set_name_label(o, "switch b")
    assert not watches(own, x, o, "a3")
    assert failure(x.Observer.set_enabled, NOWHERE, True)[:2] == ["HANDLE_INVALID", "Observer"]


def test_hosts(own, x, make, host):
    away = x.host.create("b6d1cf9d-0000-0000-0000-000000000000", "away", "", "away", "192.0.2.9")
    o = make("hosts a", enabled=True, hosts=[away])
    assert not watches(own, x, o, "h1")
    x.Observer.set_hosts(o, [away, host])
    assert set(x.Observer.get_hosts(o)) == {away, host} and watches(own, x, o, "h2")
    x.Observer.unregister(o, host)
    x.Observer.set_name_label(o, "hosts b")
    assert not watches(own, x, o, "h3")
    x.Observer.register(o, host)
    assert watches(own, x, o, "h4")
    for message in (x.Observer.register, x.Observer.unregister):
        assert failure(message, o, away) == ["HOST_OFFLINE", away]
    assert failure(x.Observer.set_hosts, o, [NOWHERE]) == ["INVALID_VALUE", "host", NOWHERE]
    x.Observer.set_hosts(o, [])
    x.host.destroy(away)


def test_attributes(own, x, make):
    o = make("tags", enabled=True)
    x.Observer.set_attributes(o, {"rack.row": "9"})
    x.host.get_by_name_label("after the tags")
    found = wait_for(own, "tags", "host.get_by_name_label")
    assert found["host.get_by_name_label"]["tags"]["user.rack.row"] == "9"
    for key, value in (("Big", "1"), ("", "1"), ("a", ""), ("a" * 256, "1"), ("a", "b" * 4096)):
        assert failure(x.Observer.set_attributes, o, {key: value}) == \
            ["INVALID_VALUE", "attributes", f"{key}:{value}"]
    assert x.Observer.get_attributes(o) == {"rack.row": "9"}


def test_what_cannot_be_made(x):
    before = x.Observer.get_all()
    for field, value, named in (("hosts", [NOWHERE], "host"), ("endpoints", ["gopher://a"], "endpoint"),
                                ("components", ["dlm"], "component")):
        assert failure(x.Observer.create, {"name_label": "bad", field: value}) == \
            ["INVALID_VALUE", named, value[0]]
    assert failure(x.Observer.create, {"name_label": "bad", "attributes": {"A": "b"}})[:2] == \
        ["INVALID_VALUE", "attributes"]
    assert x.Observer.get_all() == before
    assert failure(x.Observer.destroy, NOWHERE)[:2] == ["HANDLE_INVALID", "Observer"]


def test_observers_outlive_the_daemon(own_daemon):
    with own_daemon.connect() as x:
        x.Observer.create({"name_label": "lasting", "name_description": "", "enabled": True})
    own_daemon.stop()
    assert "session.logout" in spans(own_daemon, "lasting"), "what was left was written at the end"
    own_daemon.start()
    with own_daemon.connect() as x:
        x.host.get_by_name_label("again")
        wait_for(own_daemon, "lasting", "host.get_by_name_label")
