"""The pages of a host in a real browser, with real guests behind them; its OpenAPI document before
an independent judge."""
import json
import os
import subprocess

import pytest

from realhost import run_host
from simhost import BUILD, PASSWORD

HERE = os.path.dirname(os.path.abspath(__file__))

real = pytest.fixture(scope="module")(run_host)


def node(*argv, timeout=240):
    done = subprocess.run(["node", *argv], cwd=HERE, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_document_is_valid(node_modules):
    told = node("openapi.mjs", os.path.join(BUILD, "web", "openapi.json"))
    assert told["version"] == "3.1.0"
    assert told["calls"] > 300


def test_the_pages_work_in_a_browser(node_modules, real, tmp_path):
    running, halted = real.make_vm("a running guest"), real.make_vm("a halted guest")
    real.x.VM.start(running, False, False)
    places = [real.x.console.get_location(c) for c in real.x.VM.get_consoles(running)]
    assert [p.split("?")[0] for p in places] == [f"{real.url}/console"] * 2
    try:
        seen = node("pages.mjs", real.url, PASSWORD, real.x_uuid[running], real.x_uuid[halted],
                    str(tmp_path))
    finally:
        real.remove_vm(running)
        real.remove_vm(halted)
    assert seen["errors"] == [] and seen["elsewhere"] == []
    assert seen["refusal"] == "The name or the password is wrong."
    assert seen["title"].startswith("a running guest")
    assert min(seen["screen"] + seen["started"]) >= 200  # a text mode or more
    picture = seen["snapshot"]
    assert picture["type"] == "image/jpeg" and picture["size"] == seen["screen"]
    assert 0.7 < picture["lit"] / picture["shown"] < 1.4  # the cursor blinks, a JPEG blurs
    assert "...." in seen["text"] and "00000040" in seen["text"]
    assert "B...." in seen["again"].replace("\n", "")
    assert all("Connection lost" in notice for notice, _ in seen["broken"])
    assert seen["opened"] == [1, 3]  # the line again; the screen, and that again
    assert "is not running" in seen["halted"] and "halted" in seen["halted"]
    assert sorted(seen["guests"]) == sorted([real.x_uuid[running], real.x_uuid[halted]])
    assert [v["name_label"] for v in seen["listed"]["items"]] == ["a running guest"]
    assert "#VM.hard_shutdown" in seen["found"]
    assert all("hard_shutdown" in name for name in seen["found"])
