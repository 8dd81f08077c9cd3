"""The end of the daemon and of the machine, and who may start guests until then."""
import os
import signal

import pytest
from simhost import failure
from xapi import Failure

NOWHERE = "OpaqueRef:nowhere"


def log_size(d):
    return os.path.getsize(d.log)


def test_disabled_until_the_daemon_begins_anew(own_daemon):
    for lasting in (False, True):
        with own_daemon.connect() as x:
            host = x.host.get_all()[0]
            x.host.disable(host, not lasting)
            assert x.host.get_enabled(host) is False
        own_daemon.stop(signal.SIGKILL)
        own_daemon.start()
        with own_daemon.connect() as x:
            assert x.host.get_enabled(host) is not lasting
            x.host.enable(host)
            assert x.host.get_enabled(host) is True


def test_restart_agent(own_daemon):
    at = log_size(own_daemon)
    with own_daemon.connect() as x:
        host = x.host.get_all()[0]
        started = x.host.get_other_config(host)["agent_start_time"]
        assert started.endswith(".") and started[:-1].isdigit()
        assert failure(x.host.restart_agent, NOWHERE)[0] == "HANDLE_INVALID"
        x.host.restart_agent(host)
    own_daemon.wait_ready(at)
    assert own_daemon.process.poll() is None
    with own_daemon.connect() as again:
        assert again.host.get_all() == [host]
        assert failure(again.call_bare, "host.get_uuid", x.ref, host)[0] == "SESSION_INVALID"


def test_shutdown_agent(own_daemon):
    with own_daemon.connect() as x:
        x.host.shutdown_agent()
    assert own_daemon.process.wait(30) == 0


def guest(x):
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "keeps the host up")
    x.VM.provision(vm)
    x.VM.start(vm, False, False)
    return vm


@pytest.mark.parametrize("word", ["shutdown", "reboot"])
def test_power(own_daemon, word):
    told = os.path.join(own_daemon.folder, "run", "machine", "power")
    at = log_size(own_daemon)
    with own_daemon.connect() as x:
        host, go = x.host.get_all()[0], getattr(x.host, word)
        assert failure(go, host) == ["HOST_NOT_DISABLED"]
        vm = guest(x)
        x.host.disable(host)
        assert failure(go, host) == ["HOST_IN_USE", host, "VM", vm]
        assert not os.path.exists(told)
        x.VM.hard_shutdown(vm)
        assert word in x.host.get_allowed_operations(host)
        go(host)
    with open(told, encoding="ascii") as f:
        assert f.read() == ("poweroff\n" if word == "shutdown" else "reboot\n")
    if word == "reboot":
        own_daemon.wait_ready(at)
        with own_daemon.connect() as x:
            assert x.host.get_enabled(host) is True
    else:
        assert own_daemon.process.wait(30) == 0


def test_prepare_for_poweroff(x):
    host = x.host.get_all()[0]
    x.host.prepare_for_poweroff(host)
    assert x.host.get_enabled(host) is False
    x.host.enable(host)
    assert failure(x.host.prepare_for_poweroff, NOWHERE)[0] == "HANDLE_INVALID"


def test_only_a_host_that_is_gone_is_destroyed(x):
    host, ident = x.host.get_all()[0], "0d3f1a6e-0000-4000-8000-00000000aa01"
    assert failure(x.host.destroy, host) == ["HOST_IS_LIVE", host]
    other = x.host.create(ident, "other", "", "other", "192.0.2.1")
    record = x.host.get_record(other)
    assert record["name_label"] == "other" and record["enabled"] is False
    assert x.host_metrics.get_live(record["metrics"]) is False
    assert failure(x.host.create, ident, "again", "", "", "") == ["UUID_INVALID", "host", ident]
    assert failure(x.host.create, "no uuid", "", "", "", "")[0] == "UUID_INVALID"
    x.host.destroy(other)
    assert x.host.get_all() == [host]
    with pytest.raises(Failure):
        x.host_metrics.get_live(record["metrics"])
    assert failure(x.host.destroy, other)[0] == "HANDLE_INVALID"
