"""Measurements of a real guest, held against what the kernel and cairn-diskd say themselves: each
number sampled in between must lie between two readings of one's own."""
import base64
import glob
import json
import os
import socket
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm, wait_for  # noqa: E402
from simhost import PASSWORD  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
vm = pytest.fixture(run_vm)


def sample(host, uuid, family, **labels):
    """The value of a counter or gauge in the exposition; None if it is not there yet."""
    login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    status, _, body = host.post("/metrics", None, {"Authorization": "Basic " + login}, "GET")
    assert status == 200
    for f in text_string_to_metric_families(body.decode()):
        for s in f.samples if f.name == family else []:
            if s.labels.get("vm") == uuid and labels.items() <= s.labels.items():
                return s.value
    return None


def thread_seconds(pid):
    """CPU time of each thread of a process."""
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/stat"):
        with open(path, encoding="utf-8") as f:
            words = f.read().rsplit(")", 1)[1].split()
        found.append((int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"))
    return found


def disk_counters(host, uuid):
    """What this guest's cairn-diskd answers to `stats`."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.path.join(host.folder, "run", "disk", uuid, "ctl.sock"))
    s.sendall(b'{"op":"stats"}\n')
    line = s.makefile().readline()
    s.close()
    return {d["id"]: d for d in json.loads(line)["result"]["disks"]}["0"]


def next_sample(host, uuid, family, **labels):
    """Waits for the round that begins after this call."""
    before = sample(host, uuid, family, **labels)
    return wait_for(lambda: (v := sample(host, uuid, family, **labels)) != before and v, 60)


def test_a_guests_cpu_and_disk(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)
    uuid, pid = host.x_uuid[vm], host.pid_of(vm, "qemu-system")
    assert next_sample(host, uuid, "cairn_vm_cpu_seconds", vcpu="0")
    before = max(thread_seconds(pid))
    ran = next_sample(host, uuid, "cairn_vm_cpu_seconds", vcpu="0")
    after = max(thread_seconds(pid))
    assert before - 0.05 <= ran <= after + 0.05

    first = disk_counters(host, uuid)
    written = next_sample(host, uuid, "cairn_vm_disk_written_bytes", device="xvda")
    second = disk_counters(host, uuid)
    assert first["write"]["bytes"] <= written <= second["write"]["bytes"]
    assert first["write"]["bytes"] < second["write"]["bytes"]

    memory = host.x.VM_metrics.get_memory_actual(host.x.VM.get_metrics(vm))
    assert sample(host, uuid, "cairn_vm_memory_bytes") == float(memory)
    names = {d["name_label"]: d for d in host.x.VM.get_data_sources(vm)}
    assert names["vbd_xvda_write"]["enabled"] and names["cpu0"]["max"] == 1
    wait_for(lambda: host.x.VM.query_data_source(vm, "cpu0") > 0, 60)
    assert host.x.VM.query_data_source(vm, "cpu0") <= 1
    host.x.VM.hard_shutdown(vm)
