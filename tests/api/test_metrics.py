"""Measurements from the outside: the simulator's counters run a hundred times faster than the clock,
and evenly, so every number is known."""
import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.parse
import xml.etree.ElementTree as ET

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import simhost

SPEED = 100
WAIT_S = 60


@pytest.fixture(scope="module")
def host():
    yield from simhost.run_daemon(f"sim_speed={SPEED}")


@pytest.fixture(scope="module")
def s(host):
    return host.connect()


@pytest.fixture(scope="module")
def vm(s):
    """A running guest with a disk and an interface, measured for ten of its minutes."""
    template = s.VM.get_by_name_label("Other install media")[0]
    ref = s.VM.clone(template, "measured")
    s.VM.provision(ref)
    s.VM.set_VCPUs_max(ref, 2)
    s.VM.set_VCPUs_at_startup(ref, 2)
    sr = s.SR.get_by_name_label("Local storage")[0]
    vdi = s.VDI.create({"name_label": "disk", "SR": sr, "virtual_size": str(8 << 20),
                        "type": "user", "sharable": False, "read_only": False,
                        "other_config": {}})
    s.VBD.create({"VM": ref, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW",
                  "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
                  "qos_algorithm_type": "", "qos_algorithm_params": {}})
    s.VIF.create({"VM": ref, "network": s.network.get_all()[0], "device": "0", "MAC": "",
                  "MTU": "1500", "other_config": {}, "qos_algorithm_type": "",
                  "qos_algorithm_params": {}})
    s.VM.start(ref, False, False)
    return ref


def get(host, path, /, accept=None, user="root", **query):
    headers = {"Authorization": "Basic " + base64.b64encode(
        f"{user}:{simhost.PASSWORD}".encode()).decode()}
    if accept:
        headers["Accept"] = accept
    pairs = [(k, v) for k, vs in query.items() for v in (vs if isinstance(vs, list) else [vs])]
    status, head, body = host.post(path + "?" + urllib.parse.urlencode(pairs), None, headers, "GET")
    return status, head, body.decode()


def updates(host, /, **query):
    status, _, body = get(host, "/rrd_updates", accept="application/json", **query)
    assert status == 200, body
    return json.loads(body)


def table(host, /, **query):
    """Name of the column -> its numbers, newest first."""
    doc = updates(host, **query)
    rows = [[float(v) for v in row["values"]] for row in doc["data"]]
    return {name: [r[i] for r in rows] for i, name in enumerate(doc["meta"]["legend"])}


def until(what, give_up=WAIT_S):
    end = time.monotonic() + give_up
    while True:
        got = what()
        if got or time.monotonic() > end:
            assert got, "it did not come to pass"
            return got
        time.sleep(0.05)


def rate(uuid, what):
    """sim_rate() of the simulator: 1 to 16, in the digits of the uuid."""
    c = uuid[what % len(uuid)]
    return (ord(c) - ord("a") + 10 if c >= "a" else ord(c) - ord("0")) % 16 + 1


def known(host, uuid, column, n, /, **query):
    """Waits until the newest n rows of a column are known."""
    def look():
        t = table(host, start=-5 * (n + 2), interval=5, host="true", sr_uuid="all", **query)
        values = [v for name, values in t.items() if name.endswith(f":{uuid}:{column}")
                  for v in values[:n]]
        return len(values) == n and all(v == v for v in values) and t
    return until(look)


@pytest.fixture(scope="module")
def measured(host, s, vm):
    return known(host, s.VM.get_uuid(vm), "vbd_xvda_read", 20)


def test_a_guests_numbers(s, vm, measured):
    uuid = s.VM.get_uuid(vm)
    expected = {
        "cpu0": rate(uuid, 0) / 20, "cpu1": rate(uuid, 1) / 20,
        "cpu_usage": (rate(uuid, 0) + rate(uuid, 1)) / 40,
        "memory": float(s.VM_metrics.get_memory_actual(s.VM.get_metrics(vm))),
        "memory_target": float(s.VM.get_memory_target(vm)),
        "memory_internal_free": 1024 * rate(uuid, 7),
        "vif_0_rx": rate(uuid, 0) * 1000, "vif_0_tx": rate(uuid, 1) * 500,
        "vbd_xvda_read": rate(uuid, 0) * 4096, "vbd_xvda_write": rate(uuid, 1) * 2 * 8192,
        "vbd_xvda_iops_read": rate(uuid, 0), "vbd_xvda_iops_write": rate(uuid, 1) * 2,
        "vbd_xvda_iops_total": rate(uuid, 0) + rate(uuid, 1) * 2,
        "vbd_xvda_read_latency": 100, "vbd_xvda_write_latency": 300,
        "vbd_xvda_io_throughput_read": rate(uuid, 0) * 4096 / 1048576,
        "vbd_xvda_read_cache_hits": 0.75,
        "vbd_xvda_inflight": rate(uuid, 2) % 4,
    }
    for name, value in expected.items():
        column = measured[f"AVERAGE:vm:{uuid}:{name}"][:20]
        # Counters are whole numbers: a sample is off by one of them at most.
        assert all(abs(v - value) <= max(value * 0.25, 1e-6) for v in column), (name, value, column)
        assert abs(sum(column) / 20 - value) <= max(value * 0.04, 1e-6), (name, value, column)


def test_the_hosts_numbers(s, measured):
    ref = s.host.get_all()[0]
    uuid = s.host.get_uuid(ref)
    metrics = s.host_metrics.get_record(s.host.get_metrics(ref))
    host_columns = {n.split(":")[3]: v for n, v in measured.items() if n.startswith("AVERAGE:host:")}
    assert all(n.split(":")[2] == uuid for n in measured if n.startswith("AVERAGE:host:"))
    assert abs(host_columns["cpu0"][0] - 1 / 8) < 1e-4
    assert host_columns["loadavg"][0] == 0.5
    assert abs(host_columns["pif_eth0_rx"][0] - 2000) < 1
    assert abs(host_columns["pif_aggr_tx"][0] - 1000) < 1
    assert host_columns["memory_total_kib"][0] == int(metrics["memory_total"]) // 1024
    assert 0 < host_columns["memory_free_kib"][0] < host_columns["memory_total_kib"][0]
    assert host_columns["running_domains"][0] == 2


def test_a_repository_sums_its_disks_up(s, vm, measured):
    sr = s.SR.get_by_name_label("Local storage")[0]
    sr_uuid, uuid = s.SR.get_uuid(sr), s.VM.get_uuid(vm)
    host_uuid = s.host.get_uuid(s.host.get_all()[0])
    column = measured[f"AVERAGE:host:{host_uuid}:iops_total_{sr_uuid[:8]}"][:15]
    expected = rate(uuid, 0) + 2 * rate(uuid, 1)
    assert abs(sum(column) / 15 - expected) <= expected * 0.05
    size = float(s.SR.get_physical_size(sr))
    assert abs(measured[f"AVERAGE:sr:{sr_uuid}:size"][0] - size) <= size * 1e-6


def test_rows_and_forms_of_updates(host, s, vm, measured):
    uuid = s.VM.get_uuid(vm)
    doc = updates(host, start=-50, interval=5, vm_uuid=uuid)
    meta = doc["meta"]
    assert all(isinstance(meta[k], str) for k in ("start", "step", "end", "rows", "columns"))
    assert meta["step"] == "5" and int(meta["columns"]) == len(meta["legend"])
    times = [int(r["t"]) for r in doc["data"]]
    assert times == sorted(times, reverse=True) and times[0] == int(meta["end"])
    assert all(t % 5 == 0 for t in times) and len(times) == int(meta["rows"])
    assert all(legend.startswith(f"AVERAGE:vm:{uuid}:") for legend in meta["legend"])
    for interval, step in ((60, "60"), (3600, "3600"), (86400, "86400")):
        assert updates(host, start=-10, interval=interval)["meta"]["step"] == step
    _, head, body = get(host, "/rrd_updates", accept="text/xml", start=-50, vm_uuid=uuid)
    assert head["Content-Type"] == "text/xml" and head["Access-Control-Allow-Origin"] == "*"
    root = ET.fromstring(body)
    assert [e.tag for e in root] == ["meta", "data"] and ">\n<" not in body.split("?>\n", 1)[1]
    assert len(root.find("data")[0]) == 1 + int(root.findtext("meta/columns"))
    # XenServer takes `*/*` for JSON, and looks at `json` only where nothing else is said.
    assert get(host, "/rrd_updates", accept="*/*", start=-5)[2].startswith("{")
    assert get(host, "/rrd_updates", start=-5)[2].startswith("<?xml")
    assert get(host, "/rrd_updates", start=-5, json="true")[2].startswith("{")
    assert get(host, "/rrd_updates")[0] == 400
    assert updates(host, start=-5, vm_uuid="none")["meta"]["legend"] == []


def rrdtool(folder, name, xml):
    source, target = os.path.join(folder, name + ".xml"), os.path.join(folder, name + ".rrd")
    with open(source, "w", encoding="utf-8") as f:
        f.write(xml)
    subprocess.run(["rrdtool", "restore", source, target], check=True, capture_output=True)
    return target


def test_rrdtool_restores_every_database(host, s, vm, measured, tmp_path):
    uuid = s.VM.get_uuid(vm)
    sr_uuid = s.SR.get_uuid(s.SR.get_by_name_label("Local storage")[0])
    documents = {"vm": get(host, "/vm_rrd", uuid=uuid), "vms": get(host, "/vm_rrds", uuid=uuid),
                 "host": get(host, "/host_rrd"), "hosts": get(host, "/host_rrds"),
                 "sr": get(host, "/sr_rrd", uuid=sr_uuid)}
    for name, (status, head, xml) in documents.items():
        assert status == 200 and head["Content-Type"] == "text/xml"
        rrdtool(tmp_path, name, xml)
    xml = documents["vm"][2]
    names = [e.text for e in ET.fromstring(xml).findall("ds/name")]
    assert "memory_internal_free" in names and "vbd_xvda_io_throughput_total" in names
    end = int(ET.fromstring(xml).findtext("lastupdate")) // 5 * 5
    got = subprocess.run(
        ["rrdtool", "fetch", str(tmp_path / "vm.rrd"), "AVERAGE", "-r", "5", "-s", str(end - 50),
         "-e", str(end - 5)], check=True, capture_output=True, text=True).stdout
    line = [x for x in got.splitlines() if x.startswith(f"{end - 20}:")][0]
    assert abs(float(line.split()[1 + names.index("cpu0")]) - rate(uuid, 0) / 20) < 1e-4
    as_json = json.loads(get(host, "/vm_rrd", uuid=uuid, json="true")[2])
    assert [d["name"] for d in as_json["ds"]] == names
    assert [len(r["database"]) for r in as_json["rra"]] == [120, 120, 168, 366]
    assert get(host, "/vm_rrd", uuid=sr_uuid)[0] == 404
    assert get(host, "/vm_rrd")[0] == 400


def test_openmetrics(host, s, vm, measured):
    status, head, body = get(host, "/metrics", user="read-only")
    assert status == 200 and head["Content-Type"].startswith("application/openmetrics-text")
    families = {f.name: f for f in text_string_to_metric_families(body)}
    assert body.endswith("# EOF\n")
    uuid = s.VM.get_uuid(vm)
    reads = [x for x in families["cairn_vm_disk_read_bytes"].samples
             if x.labels == {"vm": uuid, "name": "measured", "device": "xvda"}]
    assert len(reads) == 1 and reads[0].name == "cairn_vm_disk_read_bytes_total"
    assert families["cairn_vm_disk_read_bytes"].unit == "bytes"
    memory = [x for x in families["cairn_vm_memory_bytes"].samples if x.labels["vm"] == uuid]
    assert memory[0].value == float(s.VM_metrics.get_memory_actual(s.VM.get_metrics(vm)))
    assert families["cairn_host_cpu_seconds"].type == "counter"


@pytest.mark.parametrize("cls", ["VM", "host", "SR"])
def test_data_sources(host, s, vm, measured, cls):
    ref = {"VM": vm, "host": s.host.get_all()[0],
           "SR": s.SR.get_by_name_label("Local storage")[0]}[cls]
    api, uuid = getattr(s, cls), getattr(s, cls).get_uuid(ref)
    name = {"VM": "vif_0_rx_errors", "host": "pif_eth0_rx_errors", "SR": "size"}[cls]

    def source():
        return {x["name_label"]: x for x in api.get_data_sources(ref)}[name]

    standard = cls == "SR"
    assert source()["standard"] is standard and source()["enabled"] is standard
    assert source()["units"] == ("B" if standard else "err/s") and source()["min"] == 0
    if not standard:
        assert simhost.failure(api.query_data_source, ref, name)[0] == "INVALID_VALUE"
    api.record_data_source(ref, name)
    assert source()["enabled"]
    until(lambda: api.query_data_source(ref, name) == api.query_data_source(ref, name))
    legend = updates(host, start=-5, host="true", sr_uuid="all")["meta"]["legend"]
    assert any(x.endswith(f":{uuid}:{name}") for x in legend)
    api.forget_data_source_archives(ref, name)
    assert not source()["enabled"]
    legend = updates(host, start=-5, host="true", sr_uuid="all")["meta"]["legend"]
    assert not any(x.endswith(f":{uuid}:{name}") for x in legend)
    for call in (api.record_data_source, api.query_data_source, api.forget_data_source_archives):
        assert simhost.failure(call, ref, "no_such_thing") == [
            "INVALID_VALUE", "data_source", "no_such_thing"]


def test_an_alarm_becomes_a_message(s, vm, measured):
    uuid = s.VM.get_uuid(vm)
    config = ('<config><variable><name value="cpu_usage"/><alarm_trigger_level value="0.001"/>'
              '<alarm_trigger_period value="60"/><alarm_auto_inhibit_period value="1000000"/>'
              '<alarm_priority value="2"/></variable></config>')
    s.VM.add_to_other_config(vm, "perfmon", config)

    def alarms():
        return [m for m in s.message.get_all_records().values()
                if m["name"] == "ALARM" and m["obj_uuid"] == uuid]
    got = until(alarms)
    assert len(got) == 1 and got[0]["cls"] == "VM" and got[0]["priority"] == "2"
    first, second, rest = got[0]["body"].split("\n", 2)
    share = (rate(uuid, 0) + rate(uuid, 1)) / 40
    assert abs(float(first.removeprefix("value: ")) - share) < 0.01 and second == "config:"
    assert rest == ('<variable>\n\t<name value="cpu_usage"/>\n'
                    '\t<alarm_trigger_level value="0.001"/>\n'
                    '\t<alarm_trigger_period value="60"/>\n'
                    '\t<alarm_auto_inhibit_period value="1000000"/>\n'
                    '\t<alarm_priority value="2"/>\n</variable>\n')


def test_a_guests_history_outlives_it(host, s, vm, measured):
    uuid = s.VM.get_uuid(vm)
    s.VM.hard_shutdown(vm)
    until(lambda: not s.VM.get_data_sources(vm))
    assert not updates(host, start=-5, vm_uuid=uuid)["meta"]["legend"]
    xml = get(host, "/vm_rrd", uuid=uuid)[2]
    rows = [row for row in ET.fromstring(xml).findall("rra")[0].findall("database/row")
            if row[0].text != "NaN"]
    assert len(rows) >= 20
    assert simhost.failure(s.VM.query_data_source, vm, "memory")[0] == "VM_BAD_POWER_STATE"
    status, _, _ = host.post("/rrd?" + urllib.parse.urlencode({"uuid": uuid}), xml.encode(), {
        "Authorization": "Basic " + base64.b64encode(
            f"root:{simhost.PASSWORD}".encode()).decode()}, "PUT")
    assert status == 200
    again = get(host, "/vm_rrd", uuid=uuid)[2]
    assert ET.fromstring(again).findtext("lastupdate") == ET.fromstring(xml).findtext("lastupdate")
    host_uuid = s.host.get_uuid(s.host.get_all()[0])
    folder = os.path.join(host.folder, "state", "metrics")
    assert f"vm-{uuid}.rrd" in os.listdir(folder), "written when the guest ended"
    kept = os.path.join(folder, f"host-{host_uuid}.rrd")
    for save, *delay in ((s.host.sync_data,), (s.host.backup_rrds, 0.0)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(kept)
        save(s.host.get_all()[0], *delay)
        assert os.path.exists(kept)
    assert simhost.failure(s.host.backup_rrds, "OpaqueRef:x", 0.0)[0] == "HANDLE_INVALID"
    assert simhost.failure(s.host.sync_data, "OpaqueRef:x")[0] == "HANDLE_INVALID"
    s.VM.start(vm, False, False)
    known(host, uuid, "cpu0", 2)
    doc = updates(host, start=-7000, interval=60, vm_uuid=uuid)
    column = doc["meta"]["legend"].index(f"AVERAGE:vm:{uuid}:cpu0")
    ended = int(ET.fromstring(xml).findtext("lastupdate"))
    assert any(r["values"][column] != "NaN" for r in doc["data"] if int(r["t"]) <= ended)


def test_what_is_kept_of_servers_is_measured(s, vm):
    host = s.host.get_all()[0]
    sr = s.SR.get_by_name_label("Local storage")[0]
    if s.VM.get_power_state(vm) != "Halted":
        s.VM.hard_shutdown(vm)

    def names():
        return {x["name_label"].rpartition("_cache_")[2] for x in s.host.get_data_sources(host)
                if x["name_label"].startswith(f"sr_{s.SR.get_uuid(sr)}_cache_")}

    def value(what):
        return s.host.query_data_source(host, f"sr_{s.SR.get_uuid(sr)}_cache_{what}")
    assert not names()
    s.host.disable(host)
    s.host.enable_local_storage_caching(host, sr)
    s.host.enable(host)
    s.VM.start(vm, False, False)
    until(lambda: names() == {"size", "hits", "misses"})
    until(lambda: value("hits") > 0 and abs(value("hits") - 2 * value("misses")) < 1e-3)
    assert value("size") == 0
    s.VM.hard_shutdown(vm)
    s.host.disable(host)
    s.host.disable_local_storage_caching(host)
    s.host.enable(host)
