"""Repositories of a host that keep what is read of disks on servers: on, off, and what is refused."""
import os

import pytest

from simhost import failure

NOBODY = "11111111-2222-3333-4444-555555555555.vhdcache"
NULL = "OpaqueRef:NULL"


@pytest.fixture(name="sr")
def local_storage(x):
    return x.SR.get_by_name_label("Local storage")[0]


@pytest.fixture(name="host")
def disabled_host(x):
    ref = x.host.get_all()[0]
    x.host.disable(ref)
    yield ref
    if x.host.get_local_cache_sr(ref) != NULL:
        x.host.disable_local_storage_caching(ref)
    x.host.enable(ref)


@pytest.fixture(name="folder")
def folder_of_a_cache(x, daemon, host):
    """A second repository, of a folder that the test can look into."""
    path = os.path.join(daemon.folder, "cache")
    os.makedirs(path, exist_ok=True)
    sr = x.SR.create(host, {"location": path}, "0", "cache", "", "file", "user", False, {})
    yield sr, path
    if x.host.get_local_cache_sr(host) != NULL:
        x.host.disable_local_storage_caching(host)
    x.PBD.unplug(x.SR.get_PBDs(sr)[0])
    x.SR.forget(sr)


def test_on_and_off(x, sr, host):
    x.host.enable_local_storage_caching(host, sr)
    assert x.host.get_local_cache_sr(host) == sr and x.SR.get_local_cache_enabled(sr)
    assert failure(x.PBD.unplug, x.SR.get_PBDs(sr)[0]) == ["SR_IS_CACHE_SR", host]
    x.host.disable_local_storage_caching(host)
    assert x.host.get_local_cache_sr(host) == NULL and not x.SR.get_local_cache_enabled(sr)


def test_another_one_takes_its_place(x, sr, host, folder):
    x.host.enable_local_storage_caching(host, sr)
    x.host.enable_local_storage_caching(host, folder[0])
    assert x.host.get_local_cache_sr(host) == folder[0]
    assert not x.SR.get_local_cache_enabled(sr) and x.SR.get_local_cache_enabled(folder[0])


def test_what_is_left_goes(x, host, folder):
    sr, path = folder
    kept = os.path.join(path, "something else.vhdcache")
    old = os.path.join(path, NOBODY)
    for name in (kept, old):
        with open(name, "w", encoding="ascii"):
            pass
    x.host.enable_local_storage_caching(host, sr)
    x.host.disable_local_storage_caching(host)
    assert not os.path.exists(old) and os.path.exists(kept)
    os.unlink(kept)


def test_the_host_must_be_disabled_and_empty(x, sr, host):
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "here")
    x.VM.provision(vm)
    x.host.enable(host)
    for call, args in ((x.host.enable_local_storage_caching, (host, sr)),
                       (x.host.disable_local_storage_caching, (host,))):
        assert failure(call, *args) == ["HOST_NOT_DISABLED"]
    pool = x.pool.get_all()[0]
    assert failure(x.pool.enable_local_storage_caching, pool) == \
        ["HOSTS_FAILED_TO_ENABLE_CACHING", host]
    assert failure(x.pool.disable_local_storage_caching, pool) == \
        ["HOSTS_FAILED_TO_DISABLE_CACHING", host]
    x.VM.start(vm, False, False)
    x.host.disable(host)
    assert failure(x.host.enable_local_storage_caching, host, sr) == ["HOST_IN_USE", host, "VM", vm]
    x.VM.hard_shutdown(vm)
    x.VM.destroy(vm)
    assert x.host.get_local_cache_sr(host) == NULL


def test_not_every_repository_can(x, host):
    assert failure(x.host.enable_local_storage_caching, host, "OpaqueRef:none")[0] == \
        "HANDLE_INVALID"
    for sr, record in x.SR.get_all_records().items():
        if record["content_type"] == "iso":
            assert failure(x.host.enable_local_storage_caching, host, sr) == \
                ["SR_OPERATION_NOT_SUPPORTED", sr]
            break
    else:
        raise AssertionError("there is no repository of CDs")
    hidden = x.SR.introduce("22222222-3333-4444-5555-666666666666", "far", "", "file", "user",
                            False, {})
    assert failure(x.host.enable_local_storage_caching, host, hidden) == \
        ["HOST_CANNOT_SEE_SR", host, hidden]
    x.SR.forget(hidden)


def test_the_pool_does_it_on_its_hosts(x, host):
    pool = x.pool.get_all()[0]
    x.pool.enable_local_storage_caching(pool)
    sr = x.host.get_local_cache_sr(host)
    assert x.SR.get_local_cache_enabled(sr) and not x.SR.get_shared(sr)
    x.pool.disable_local_storage_caching(pool)
    assert x.host.get_local_cache_sr(host) == NULL


def test_who_can_is_told(x):
    features = {r["type"]: set(r["features"]) for r in x.SM.get_all_records().values()}
    assert "SR_SUPPORTS_LOCAL_CACHING" in features["ext"] - features["nfs"]
    assert "SR_CACHING" in features["nfs"] - features["ext"]
    host = x.host.get_all()[0]
    assert x.host.get_license_params(host)["restrict_intellicache"] == "false"
