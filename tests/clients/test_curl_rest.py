"""curl on every kind of path of /rest/v1, as docs/rest.md shows it to administrators."""
import json
import subprocess

import pytest

from simhost import PASSWORD


class Curl:
    def __init__(self, daemon):
        self.root = f"{daemon.url}/rest/v1"

    def __call__(self, method, path, body=None, *options, user="root"):
        """(status, headers, what the JSON says)"""
        argv = ["curl", "-sS", "--max-time", "60", "-i", "-X", method, "-u", f"{user}:{PASSWORD}", *options]
        if body is not None:
            argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        out = subprocess.run([*argv, self.root + path], check=True, text=True, stdout=subprocess.PIPE).stdout
        head, _, text = out.partition("\n\n") if "\r\n\r\n" not in out else out.partition("\r\n\r\n")
        lines = head.splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), headers, json.loads(text) if text.strip() else None


@pytest.fixture
def curl(daemon):
    return Curl(daemon)


@pytest.fixture
def guest(curl, x):
    ref = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "curl's own")
    x.VM.set_is_a_template(ref, False)
    yield "/vms/" + x.VM.get_uuid(ref)
    x.VM.destroy(ref)


def test_index_collection_object(curl, guest):
    assert "vms" in curl("GET", "/")[2]["collections"]
    status, _, page = curl("GET", "/vms?filter=name_label%3D%22curl%27s%20own%22&fields=uuid")
    assert status == 200 and [v["uuid"] for v in page["items"]] == [guest.rpartition("/")[2]]
    status, headers, vm = curl("GET", guest)
    assert status == 200 and vm["power_state"] == "Halted"
    assert curl("GET", guest, None, "-H", f"If-None-Match: {headers['etag']}")[0] == 304


def test_patch_action_delete(curl, guest, x):
    assert curl("PATCH", guest, {"tags": ["by curl"], "other_config": {"a": "b"}})[2]["tags"] == ["by curl"]
    assert curl("PATCH", guest, {"other_config": {"a": None}})[2]["other_config"].get("a") is None
    assert curl("POST", guest + "/start?wait", {})[0] in (200, 204)
    assert curl("GET", guest)[2]["power_state"] == "Running"
    status, headers, _ = curl("POST", guest + "/hard_shutdown", {}, "-H", "Prefer: respond-async")
    assert status == 202 and headers["location"].startswith("/rest/v1/tasks/")
    x.wait(x.task.get_by_uuid(headers["location"].rpartition("/")[2]))
    status, headers, made = curl("POST", "/vm_groups", {"name_label": "of curl"})
    assert status == 201 and made["name_label"] == "of curl"
    assert curl("DELETE", headers["location"].removeprefix("/rest/v1"))[0] == 204


def test_a_session_of_its_own(curl, daemon):
    made = curl("POST", "/session", {"user": "root", "password": PASSWORD})
    assert made[0] == 201
    argv = ["curl", "-sS", "--max-time", "60", "-H", f"Authorization: Bearer {made[2]['session']}"]
    again = subprocess.run([*argv, f"{daemon.url}/rest/v1/session"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout
    assert json.loads(again)["user"] == "root"
    subprocess.run([*argv, "-X", "DELETE", f"{daemon.url}/rest/v1/session"], check=True)
    late = subprocess.run([*argv, "-o", "/dev/null", "-w", "%{http_code}", f"{daemon.url}/rest/v1/vms"],
                          check=True, text=True, stdout=subprocess.PIPE).stdout
    assert late == "401"


def test_refusals(curl, guest):
    def refused(*words, **more):
        status, headers, told = curl(*words, **more)
        assert headers["content-type"] == "application/problem+json" and told["status"] == status
        return status
    assert refused("GET", "/nothing") == 404
    assert refused("PUT", guest, {}) == 405
    assert refused("PATCH", guest, {"uuid": "x"}) == 400
    assert refused("POST", guest + "/start?wait", {}, user="read-only") == 403
    assert refused("POST", guest + "/unpause?wait", {}) == 409


def test_events(daemon, x, guest):
    """The first line of a stream without an end; curl is ended by its patience."""
    url = f"{daemon.url}/rest/v1/events?collections=vms&since=all"
    p = subprocess.Popen(["curl", "-sSN", "--max-time", "60", "-u", f"root:{PASSWORD}", url], text=True,
                         stdout=subprocess.PIPE)
    seen = next(line for line in p.stdout if line.startswith("data:") and "curl's own" in line)
    assert json.loads(seen[5:])["collection"] == "vms"
    p.terminate()
    p.wait(30)
    p.stdout.close()
