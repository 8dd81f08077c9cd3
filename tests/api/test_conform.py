"""The check that every other test goes through finds what is wrong."""
import xmlrpc.client

import pytest

import conform
from conform import JSON, XML, Mismatch

TOKEN = "0" * 20 + "," + "0" * 20
BATCH = {"events": [], "valid_ref_counts": {"vm": 1}, "token": TOKEN}
EVENT = {"id": "1", "timestamp": "0.0", "class": "vm", "operation": "del", "ref": "OpaqueRef:x"}


def with_event(**changes):
    return dict(BATCH, events=[{**EVENT, **changes}])


@pytest.mark.parametrize("method,value,wire", [
    ("VM.get_name_label", "text", XML), ("VM.get_memory_target", "42", XML),
    ("VM.get_memory_target", 42, JSON), ("VM.get_is_a_template", True, XML),
    ("VM.start", "", XML), ("VM_start", "", JSON), ("Async.VM.start", "OpaqueRef:t", XML),
    ("VM.get_power_state", "Halted", XML), ("VM.get_VBDs", ["OpaqueRef:a"], JSON),
    ("VM.get_other_config", {"a": "b"}, XML), ("task.get_progress", 1, JSON),
    ("task.get_created", xmlrpc.client.DateTime("20260102T03:04:05Z"), XML),
    ("task.get_created", "20260102T03:04:05Z", JSON), ("event.from", BATCH, JSON),
    ("event.from", with_event(), XML), ("SR.get_all", [], XML)])
def test_what_is_right(method, value, wire):
    conform.answer(method, value, wire)


@pytest.mark.parametrize("method,value,wire", [
    ("VM.get_name_label", 1, XML), ("VM.get_memory_target", 42, XML),
    ("VM.get_memory_target", "42", JSON), ("VM.get_memory_target", True, JSON),
    ("VM.get_is_a_template", "true", XML), ("VM.start", None, JSON), ("VM.start", "x", XML),
    ("Async.VM.start", "a task", XML),
    ("VM.get_power_state", "halted", XML), ("VM.get_VBDs", ["a"], JSON),
    ("VM.get_VBDs", "OpaqueRef:a", JSON), ("VM.get_other_config", {"a": 1}, XML),
    ("VM.get_record", {}, XML), ("task.get_progress", 1, XML),
    ("task.get_created", "2026-01-02T03:04:05Z", JSON), ("task.get_created", "never", JSON),
    ("event.from", dict(BATCH, token="1,1"), XML), ("event.from", with_event(snapshot={}), XML),
    ("event.from", with_event(operation="mod"), XML), ("event.from", [], XML),
    ("event.from", dict(BATCH, valid_ref_counts={"vm": "1"}), XML),
    ("VM.get_all_records", {"OpaqueRef:x": {"uuid": "y"}}, JSON)])
def test_what_is_wrong(method, value, wire):
    with pytest.raises(Mismatch):
        conform.answer(method, value, wire)


def test_errors(tmp_path):
    conform.error("VM.start", ["VM_BAD_POWER_STATE", "a", "b"])
    for bad in ([], "CODE", ["CODE", 1], [""], ["no code"]):
        with pytest.raises(Mismatch):
            conform.error("VM.start", bad)
    log = tmp_path / "log"
    log.write_text("x event=undeclared-error method=VM.start code=ODD\n" * 2)
    assert conform.undeclared(log) == ["VM.start raises ODD"]
