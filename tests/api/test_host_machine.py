"""Settings of the machine: what a development run would have told it stands in its machine folder."""
import ctypes
import os
import struct
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


@pytest.fixture
def told(daemon):
    """What the machine was told last, by the name of its file."""
    def read(name):
        with open(os.path.join(daemon.folder, "run", "machine", name), encoding="utf-8") as f:
            return f.read().rstrip("\n")
    return read


@pytest.fixture
def away(x):
    """A host that is not this one."""
    ref = x.host.create(f"{os.urandom(4).hex()}-0000-0000-0000-000000000000", "away", "", "away",
                        "192.0.2.9")
    yield ref
    x.host.destroy(ref)


def date(seconds):
    return xmlrpc.client.DateTime(time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime(seconds)))


def seconds(value):
    return time.mktime(time.strptime(str(value), "%Y%m%dT%H:%M:%SZ")) - time.timezone


def test_hostname(x, host, told):
    old = x.host.get_hostname(host)
    x.host.set_hostname_live(host, "a-9.example")
    assert told("hostname") == "a-9.example" == x.host.get_hostname(host)
    assert x.host.get_software_version(host)["hostname"] == "a-9.example"
    x.host.refresh_pack_info(host)
    assert x.host.get_software_version(host)["hostname"] == "a-9.example"
    domain = x.host.get_control_domain(host)
    assert x.VM.get_name_label(domain) == "Control domain on host: a-9.example"
    for bad in ("", "-a", "a-", "a..b", "a_b", "a b", "\u00fc", "a" * 65, ".a"):
        assert failure(x.host.set_hostname_live, host, bad)[0] == "HOST_NAME_INVALID"
    assert told("hostname") == "a-9.example"
    x.host.set_hostname_live(host, old)


def test_hostname_survives_the_daemon(own_daemon):
    with own_daemon.connect() as x:
        x.host.set_hostname_live(x.host.get_all()[0], "lasting")
    own_daemon.stop()
    own_daemon.start()
    with own_daemon.connect() as x:
        assert x.host.get_hostname(x.host.get_all()[0]) == "lasting"


def test_timezone(x, host, told):
    assert {"UTC", "Europe/Berlin", "Asia/Shanghai"} <= set(x.host.list_timezones(host))
    x.host.set_timezone(host, "Europe/Berlin")
    assert told("timezone") == "Europe/Berlin" == x.host.get_timezone(host)
    for bad in ("", "Nowhere/Land", "../zoneinfo/UTC", "/etc/passwd", "Europe", "zone.tab"):
        assert failure(x.host.set_timezone, host, bad) == ["INVALID_VALUE", "timezone", bad]
    x.host.set_timezone(host, "UTC")
    assert failure(x.host.list_timezones, NOWHERE)[0] == "HANDLE_INVALID"


def test_local_time_follows_the_zone(x, host):
    x.host.set_timezone(host, "Asia/Kolkata")
    shift = seconds(x.host.get_server_localtime(host)) - seconds(x.host.get_servertime(host))
    x.host.set_timezone(host, "UTC")
    assert abs(shift - 19800) < 5


def kernel_is_synchronized():
    """As the kernel tells it: STA_UNSYNC in the status of struct timex."""
    timex = ctypes.create_string_buffer(512)
    assert ctypes.CDLL(None).adjtimex(timex) >= 0
    return not struct.unpack_from("i", timex, 5 * struct.calcsize("l"))[0] & 0x40


def test_time_servers(x, host, told):
    assert failure(x.host.set_ntp_mode, host, "Custom")[0] == "INVALID_NTP_CONFIG"
    x.host.set_ntp_custom_servers(host, ["ntp1.example", "2001:db8::7"])
    x.host.set_ntp_mode(host, "Custom")
    assert told("ntp") == "on ntp1.example 2001:db8::7"
    assert set(x.host.get_ntp_servers_status(host)) == {"ntp1.example", "2001:db8::7"}
    x.host.set_ntp_custom_servers(host, ["ntp2.example"])
    assert told("ntp") == "on ntp2.example"
    for bad in ([], ["a b"], ["-x"], ["a\nb"], [""]):
        assert failure(x.host.set_ntp_custom_servers, host, bad)[0] == "INVALID_NTP_CONFIG"
    x.host.set_ntp_mode(host, "Disabled")
    assert told("ntp").strip() == "off" and x.host.get_ntp_servers_status(host) == {}
    assert x.host.get_ntp_synchronized(host) is False
    x.host.set_ntp_mode(host, "Factory")
    assert told("ntp").strip() == "on" and x.host.get_ntp_mode(host) == "Factory"
    assert x.host.get_ntp_synchronized(host) is kernel_is_synchronized()
    assert failure(x.host.get_ntp_synchronized, NOWHERE)[0] == "HANDLE_INVALID"
    assert failure(x.host.get_ntp_servers_status, NOWHERE)[0] == "HANDLE_INVALID"


def test_clock(x, host):
    assert failure(x.host.set_servertime, host, date(0)) == \
        ["NOT_ALLOWED_WHEN_NTP_IS_ENABLED", host]
    x.host.set_ntp_mode(host, "Disabled")
    assert failure(x.host.set_servertime, host, date(0))[0] == "OPERATION_NOT_ALLOWED"
    assert abs(seconds(x.host.get_servertime(host)) - time.time()) < 5
    x.host.set_ntp_mode(host, "Factory")


def test_syslog(x, host, told):
    x.host.set_logging(host, {"syslog_destination": "log.example"})
    x.host.syslog_reconfigure(host)
    assert told("syslog") == "log.example"
    x.host.set_logging(host, {"syslog_destination": "a b"})
    assert failure(x.host.syslog_reconfigure, host) == ["INVALID_VALUE", "syslog_destination", "a b"]
    x.host.set_logging(host, {})
    x.host.syslog_reconfigure(host)
    assert told("syslog") == ""


def test_ssh(x, host, pool, told):
    x.host.disable_ssh(host)
    assert told("ssh") == "disabled" and x.host.get_ssh_enabled(host) is False
    x.host.set_ssh_enabled_timeout(host, 600)
    assert seconds(x.host.get_ssh_expiry(host)) == 0
    x.host.enable_ssh(host)
    assert told("ssh") == "enabled" and x.host.get_ssh_enabled(host) is True
    assert 500 < seconds(x.host.get_ssh_expiry(host)) - time.time() < 700
    for bad in (-1, 172801):
        want = ["VALUE_NOT_SUPPORTED", "ssh_enabled_timeout", str(bad)]
        assert failure(x.host.set_ssh_enabled_timeout, host, bad)[:3] == want
        assert failure(x.pool.set_ssh_enabled_timeout, pool, bad)[:3] == want
    x.pool.set_ssh_enabled_timeout(pool, 0)
    assert x.host.get_ssh_enabled_timeout(host) == "0" and \
        seconds(x.host.get_ssh_expiry(host)) == 0
    x.pool.disable_ssh(pool)
    assert told("ssh") == "disabled" and x.host.get_ssh_enabled(host) is False
    x.pool.enable_ssh(pool)
    assert told("ssh") == "enabled" and x.host.get_ssh_enabled(host) is True


def test_automatic_ssh_is_for_when_the_daemon_is_away(own_daemon):
    def told():
        with open(os.path.join(own_daemon.folder, "run/machine/ssh"), encoding="ascii") as f:
            return f.read().strip()
    with own_daemon.connect() as x:
        host = x.host.get_all()[0]
        x.pool.set_ssh_auto_mode(x.pool.get_all()[0], True)
        assert told() == "disabled" and x.host.get_ssh_auto_mode(host) is True
    own_daemon.stop()
    assert told() == "enabled"
    own_daemon.start()
    assert told() == "disabled"
    with own_daemon.connect() as x:
        x.host.set_ssh_auto_mode(host, False)
        assert told() == "enabled" and x.host.get_ssh_enabled(host) is True
        assert failure(x.host.set_ssh_auto_mode, NOWHERE, True)[0] == "HANDLE_INVALID"


def test_console_timeout(x, host, pool, told):
    x.host.set_console_idle_timeout(host, 60)
    assert told("console-timeout") == "60" and x.host.get_console_idle_timeout(host) == "60"
    x.pool.set_console_idle_timeout(pool, 0)
    assert told("console-timeout") == "0" and x.host.get_console_idle_timeout(host) == "0"
    assert failure(x.host.set_console_idle_timeout, host, -1)[0] == "VALUE_NOT_SUPPORTED"
    assert failure(x.pool.set_console_idle_timeout, pool, -1)[0] == "VALUE_NOT_SUPPORTED"


def test_another_host_is_not_this_machine(x, host, pool, away, told):
    x.host.disable_ssh(host)
    for call in (("enable_ssh",), ("set_hostname_live", "b"), ("syslog_reconfigure",),
                 ("set_ntp_mode", "Disabled"), ("set_timezone", "UTC"), ("restart_agent",),
                 ("disable_ssh",), ("set_ssh_auto_mode", True), ("set_console_idle_timeout", 60),
                 ("list_timezones",), ("get_ntp_servers_status",), ("get_ntp_synchronized",),
                 ("set_https_only", True), ("set_numa_affinity_policy", "any"), ("enable",),
                 ("prepare_for_poweroff",), ("get_server_certificate",), ("get_thread_diagnostics",),
                 ("reset_server_certificate",), ("refresh_server_certificate",),
                 ("dmesg",), ("dmesg_clear",), ("get_log",), ("sync_data",), ("backup_rrds", 0.0),
                 ("backup_rrds", 9.0), ("bugreport_upload", "http://127.0.0.1:1/", {}),
                 ("disable",), ("get_servertime",), ("get_server_localtime",),
                 ("get_diagnostic_timing_stats",), ("get_tracked_user_agents",),
                 ("has_extension", "x"), ("call_plugin", "p", "f", {}), ("call_extension", "x")):
        assert failure(x.call, f"host.{call[0]}", away, *call[1:]) == ["HOST_OFFLINE", away]
    for message, *args in (("gc_stats",), ("gc_compact",), ("network_stats", {})):
        assert failure(x.call, f"Diagnostics.{message}", away, *args) == ["HOST_OFFLINE", away]
    assert x.host.compute_free_memory(away) == "0" != x.host.compute_free_memory(host)
    assert told("ssh") == "disabled"
    assert failure(x.pool.enable_ssh, pool) == ["ENABLE_SSH_PARTIALLY_FAILED", away]
    assert told("ssh") == "enabled"
    assert failure(x.pool.disable_ssh, pool) == ["DISABLE_SSH_PARTIALLY_FAILED", away]
    assert failure(x.pool.set_ssh_auto_mode, pool, False) == \
        ["SET_SSH_AUTO_MODE_PARTIALLY_FAILED", away]
    assert failure(x.pool.set_console_idle_timeout, pool, 0) == \
        ["SET_CONSOLE_TIMEOUT_PARTIALLY_FAILED", away]
