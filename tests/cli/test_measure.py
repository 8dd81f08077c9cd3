"""xe about measurements: data sources, and the columns that show them."""
import time

import pytest

from conftest import Xe
from simhost import run_daemon


@pytest.fixture(scope="module")
def fast():
    """A host whose measurements run a hundred times as fast as the clock."""
    yield from run_daemon("sim_speed=100")


@pytest.fixture(scope="module")
def xe(fast):
    return Xe(fast)


@pytest.fixture(scope="module")
def vm(xe):
    uuid = xe("vm-install", "new-name-label=measured", "template=Other install media")
    xe("vif-create", f"vm-uuid={uuid}", "device=0", "network-uuid=" +
       xe("network-list", "params=uuid", "--minimal").split(",")[0])
    xe("vm-start", f"uuid={uuid}")
    end = time.monotonic() + 60
    while xe.run("vm-data-source-query", f"uuid={uuid}", "data-source=vif_0_rx").out in ("", "nan\n"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return uuid


def rate(uuid, what):
    return (int(uuid[what], 16)) % 16 + 1


def test_data_sources_of_a_vm(xe, vm):
    out = xe("vm-data-source-list", f"uuid={vm}")
    records = [dict(line.strip().split(": ", 1) for line in block.splitlines() if ": " in line)
               for block in out.split("\n\n")]
    by_name = {next(v for k, v in r.items() if k.strip().startswith("name_label")): r
               for r in records if r}
    assert {"cpu0", "memory", "vif_0_rx", "vif_0_tx_errors"} <= set(by_name)
    assert by_name["vif_0_rx"]["enabled"] == "true" and by_name["vif_0_rx"]["units"] == "B/s"
    assert by_name["vif_0_tx_errors"]["enabled"] == "false"
    xe("vm-data-source-record", f"uuid={vm}", "data-source=vif_0_tx_errors")
    assert "enabled: true" in xe("vm-data-source-list", f"uuid={vm}").split("vif_0_tx_errors")[1]
    xe("vm-data-source-forget", f"uuid={vm}", "data-source=vif_0_tx_errors")
    value = float(xe("vm-data-source-query", f"uuid={vm}", "data-source=vif_0_rx"))
    assert abs(value - 1000 * rate(vm, 0)) < 50
    assert "no_such" in xe.fails("vm-data-source-query", f"uuid={vm}", "data-source=no_such")


def test_data_sources_of_host_and_repository(xe, vm):
    assert float(xe("host-data-source-query", "data-source=loadavg")) == 0.5
    assert "memory_free_kib" in xe("host-data-source-list")
    sr = xe("sr-list", "name-label=Local storage", "params=uuid", "--minimal")
    size = float(xe("sr-param-get", f"uuid={sr}", "param-name=physical-size"))
    assert abs(float(xe("sr-data-source-query", f"uuid={sr}", "data-source=size")) - size) < 1e6
    assert "physical_utilisation" in xe("sr-data-source-list", f"uuid={sr}")


def test_columns_show_them(xe, vm):
    vif = xe("vif-list", f"vm-uuid={vm}", "params=uuid", "--minimal")
    shown = float(xe("vif-param-get", f"uuid={vif}", "param-name=io_read_kbs"))
    assert abs(shown - 1000 * rate(vm, 0) / 1024) < 1
    xe("vm-shutdown", f"uuid={vm}", "--force")
    assert xe("vif-param-get", f"uuid={vif}", "param-name=io_read_kbs") == "<not available>"
