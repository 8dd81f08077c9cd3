"""Nothing is licensed; what clients are told of brand and versions."""
import time

import pytest
from simhost import failure, run_daemon

NOWHERE = "OpaqueRef:nowhere"


@pytest.fixture(scope="module")
def branded():
    yield from run_daemon("product_brand=Other Brand", "product_version=9.1.2")


def test_licence_ends_in_the_far_future(x):
    pool, host = x.pool.get_all()[0], x.host.get_all()[0]
    state = x.pool.get_license_state(pool)
    params = x.host.get_license_params(host)
    assert set(state) == {"edition", "expiry"} and state["expiry"] == params["expiry"]
    assert time.strptime(state["expiry"], "%Y%m%dT%H:%M:%SZ").tm_year > 2090
    assert failure(x.pool.get_license_state, NOWHERE) == ["HANDLE_INVALID", "pool", NOWHERE]


def test_restrictions_name_what_works_and_restrict_nothing(x):
    restrictions = x.pool.get_restrictions(x.pool.get_all()[0])
    params = x.host.get_license_params(x.host.get_all()[0])
    assert restrictions["restrict_vm_start"] == "false"
    assert set(restrictions.values()) == {"false"}
    assert restrictions.items() <= params.items()
    gates = {"restrict_pooling": ("pool.join", "h", "u", "p"),
             "restrict_wlb": ("pool.initialize_wlb", "", "", "", "", "")}
    for key, call in gates.items():
        assert key not in restrictions
        assert failure(x.call, *call)[0] == "NOT_IMPLEMENTED"


def test_editions_are_all_the_same(x):
    pool, host = x.pool.get_all()[0], x.host.get_all()[0]
    first, restrictions = x.host.get_edition(host), x.pool.get_restrictions(pool)
    assert {first, "free", "enterprise-per-socket"} <= set(x.host.get_editions(host))
    x.host.apply_edition(host, "Enterprise-per-socket", False)
    assert x.host.get_edition(host) == "enterprise-per-socket"
    assert x.pool.get_license_state(pool)["edition"] == "enterprise-per-socket"
    assert x.pool.get_restrictions(pool) == restrictions
    assert failure(x.host.apply_edition, host, "gold") == ["INVALID_EDITION", "gold"]
    x.pool.apply_edition(pool, "free")
    assert x.host.get_license_params(host)["sku_type"] == "free"
    assert failure(x.pool.apply_edition, pool, "gold") == ["INVALID_EDITION", "gold"]
    x.host.license_remove(host)
    assert x.host.get_edition(host) == first
    assert failure(x.host.license_remove, NOWHERE)[0] == "HANDLE_INVALID"


def test_there_is_no_licence_to_add(x):
    host = x.host.get_all()[0]
    before = x.host.get_record(host)["license_params"]
    assert failure(x.host.license_add, host, "bm9uZQ==") == ["LICENSE_PROCESSING_ERROR"]
    assert x.host.get_record(host)["license_params"] == before


def test_brand_and_versions(x, branded):
    version = x.host.get_software_version(x.host.get_all()[0])
    assert version["product_brand"] == "Cairn"
    for key in ("product_version", "platform_version", "xen", "xencenter_min"):
        assert all(part.isdigit() for part in version[key].split(".")), key
    assert {"xapi", "build_number", "linux", "network_backend", "db_schema"} <= set(version)
    with branded.connect() as other:
        version = other.host.get_software_version(other.host.get_all()[0])
        assert version["product_brand"] == "Other Brand" and version["product_version"] == "9.1.2"
        assert version["product_version_text"] == "Other Brand 9.1.2"
