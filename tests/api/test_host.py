"""Small messages of host, pool and secret."""
import signal
import time
import uuid

from simhost import failure

NOWHERE = "OpaqueRef:nowhere"


def seconds(date):
    return time.mktime(time.strptime(str(date), "%Y%m%dT%H:%M:%SZ")) - time.timezone


def test_clock(x):
    host = x.host.get_all()[0]
    assert abs(seconds(x.host.get_servertime(host)) - time.time()) < 5
    local = seconds(x.host.get_server_localtime(host)) - time.localtime().tm_gmtoff
    assert abs(local - time.time()) < 5
    for name in ("get_servertime", "get_server_localtime"):
        assert failure(x.call, f"host.{name}", NOWHERE) == ["HANDLE_INVALID", "host", NOWHERE]


def test_list_methods(daemon, x):
    assert x.host.list_methods() == daemon.json("system.listMethods")["result"]


def test_pool_of_one(x):
    assert x.host.is_in_emergency_mode() is False
    assert x.pool.is_slave(x.host.get_all()[0]) is False
    assert failure(x.pool.is_slave, NOWHERE) == ["HANDLE_INVALID", "host", NOWHERE]


def test_what_was_synchronised_survives_a_sudden_end(own_daemon):
    with own_daemon.connect() as x:
        host = x.host.get_all()[0]
        x.host.set_name_description(host, "written before the end")
        x.pool.sync_database()
        own_daemon.stop(signal.SIGKILL)
    own_daemon.start()
    with own_daemon.connect() as x:
        assert x.host.get_name_description(host) == "written before the end"


def test_guest_agent_config(x):
    pool = x.pool.get_all()[0]
    x.pool.add_to_guest_agent_config(pool, "key", "value")
    assert x.pool.get_guest_agent_config(pool) == {"key": "value"}
    assert failure(x.pool.add_to_guest_agent_config, pool, "key", "other") == \
        ["MAP_DUPLICATE_KEY", "pool", "guest_agent_config", pool, "key"]
    x.pool.remove_from_guest_agent_config(pool, "key")
    assert x.pool.get_record(pool)["guest_agent_config"] == {}
    assert failure(x.pool.remove_from_guest_agent_config, NOWHERE, "k")[0] == "HANDLE_INVALID"


def test_secrets(daemon, x):
    ident = str(uuid.uuid4())
    ref = x.secret.introduce(ident, "hidden value")
    assert x.secret.get_by_uuid(ident) == ref and x.secret.get_value(ref) == "hidden value"
    assert failure(x.secret.introduce, ident, "again") == ["UUID_INVALID", "secret", ident]
    assert failure(x.secret.introduce, "no uuid", "v") == ["UUID_INVALID", "secret", "no uuid"]
    with daemon.connect("read-only") as low:
        assert failure(low.secret.get_value, ref)[0] == "RBAC_PERMISSION_DENIED"
        batch = low.call("event.from", ["*"], "", 0.0)
        assert "hidden value" not in str(batch)
    x.secret.destroy(ref)


def test_a_disabled_host_starts_no_guest(x):
    host = x.host.get_all()[0]
    guest = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "waits for the host")
    x.VM.provision(guest)
    x.host.disable(host)
    assert x.host.get_enabled(host) is False
    assert failure(x.VM.start, guest, False, False) == ["HOST_DISABLED", host]
    assert x.VM.get_power_state(guest) == "Halted"
    x.host.enable(host)
    x.VM.start(guest, False, False)
    assert x.VM.get_power_state(guest) == "Running"
    x.VM.hard_shutdown(guest)
    x.VM.destroy(guest)
    assert failure(x.host.disable, NOWHERE)[0] == "HANDLE_INVALID"
    assert failure(x.host.enable, NOWHERE)[0] == "HANDLE_INVALID"
