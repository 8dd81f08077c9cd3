"""Settings of host and pool that are records."""
import time
import xmlrpc.client

import pytest
from simhost import failure

NOWHERE = "OpaqueRef:nowhere"


@pytest.fixture
def host(x):
    return x.host.get_all()[0]


@pytest.fixture
def pool(x):
    return x.pool.get_all()[0]


def date(seconds):
    return xmlrpc.client.DateTime(time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime(seconds)))


def test_numa_policy(x, host):
    x.host.set_numa_affinity_policy(host, "any")
    assert x.host.get_numa_affinity_policy(host) == "any"
    x.host.set_numa_affinity_policy(host, "default_policy")
    assert x.host.get_record(host)["numa_affinity_policy"] == "default_policy"
    assert failure(x.host.set_numa_affinity_policy, NOWHERE, "any")[0] == "HANDLE_INVALID"


def test_old_tls_stays_off(x, host, pool):
    assert x.host.get_ssl_legacy(host) is False
    assert failure(x.host.set_ssl_legacy, host, True)[:3] == \
        ["VALUE_NOT_SUPPORTED", "ssl_legacy", "true"]
    x.host.set_ssl_legacy(host, False)
    x.pool.disable_ssl_legacy(pool)
    assert x.host.get_ssl_legacy(host) is False
    assert failure(x.pool.disable_ssl_legacy, NOWHERE)[0] == "HANDLE_INVALID"


def test_no_guest_lags_behind(x, host):
    assert x.host.get_uncooperative_resident_VMs(host) == []
    assert failure(x.host.get_uncooperative_resident_VMs, NOWHERE)[0] == "HANDLE_INVALID"


def test_room_for_a_guest(x, host):
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "to come")
    x.VM.provision(vm)
    free = int(x.host.compute_free_memory(host))
    x.host.allocate_resources_for_vm(host, vm, False)
    assert x.VM.get_record(vm)["scheduled_to_be_resident_on"] == host
    assert int(x.host.compute_free_memory(host)) < free
    much = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "too large")
    x.VM.provision(much)
    x.VM.set_memory(much, str(1 << 50))
    assert failure(x.host.allocate_resources_for_vm, host, much, False)[:2] == \
        ["HOST_NOT_ENOUGH_FREE_MEMORY", str(1 << 50)]
    assert x.VM.get_scheduled_to_be_resident_on(much) == "OpaqueRef:NULL"
    for ref in (vm, much):
        x.VM.destroy(ref)
    assert failure(x.host.allocate_resources_for_vm, host, NOWHERE, False)[:2] == \
        ["HANDLE_INVALID", "VM"]


def test_telemetry(x, pool):
    when = date(time.time() + 86400)
    x.pool.set_telemetry_next_collection(pool, when)
    assert x.pool.get_telemetry_next_collection(pool) == when
    late = date(time.time() + 400 * 86400)
    assert failure(x.pool.set_telemetry_next_collection, pool, late) == \
        ["TELEMETRY_NEXT_COLLECTION_TOO_LATE", str(late)]
    x.pool.reset_telemetry_uuid(pool)
    first = x.pool.get_telemetry_uuid(pool)
    value = x.secret.get_value(first)
    x.pool.reset_telemetry_uuid(pool)
    assert x.secret.get_value(x.pool.get_telemetry_uuid(pool)) != value
    assert failure(x.secret.get_value, first)[0] == "HANDLE_INVALID"
    assert failure(x.pool.reset_telemetry_uuid, NOWHERE)[0] == "HANDLE_INVALID"
