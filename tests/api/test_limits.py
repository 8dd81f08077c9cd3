"""Callers, the limits they share, and what the daemon counts about calls and itself."""
import http.client
import json
import os
import socket
import time

import pytest
from simhost import BUILD, failure, run_daemon

NOWHERE = "OpaqueRef:nowhere"


@pytest.fixture(scope="module")
def own():
    yield from run_daemon()


@pytest.fixture
def x(own):
    with own.connect() as session:
        yield session


@pytest.fixture
def host(x):
    return x.host.get_all()[0]


@pytest.fixture
def caller(x):
    ref = x.Caller.create({"name_label": "robot", "name_description": "", "client_ip": "",
                           "user_agent": "robot/1.0"})
    yield ref
    x.Caller.destroy(ref)


@pytest.fixture
def limit(x):
    ref = x.Rate_limit.create({"name_label": "slow", "name_description": "", "burst_size": 2.0,
                               "fill_rate": 20.0})
    yield ref
    x.Rate_limit.destroy(ref)


def ask(own, x, n, agent="robot/1.0"):
    """So many calls of that program; how long they took."""
    begin = time.monotonic()
    for _ in range(n):
        body = json.dumps({"jsonrpc": "2.0", "method": "pool.get_all", "params": [x.ref], "id": 1})
        status, _, answer = own.post("/jsonrpc", body, {"User-Agent": agent})
        assert status == 200 and "result" in json.loads(answer)
    return time.monotonic() - begin


def test_calls_are_counted(own, x, caller):
    ask(own, x, 3)
    ask(own, x, 2, "somebody else")
    assert x.Caller.query_call_count(caller) == "3"
    assert x.Caller.query_token_usage(caller) == 0.0
    x.Caller.add_group(caller, "robots")
    assert x.Caller.get_groups(caller) == ["robots"]
    assert x.Caller.query_group_call_count("robots") == "3"
    assert x.Caller.query_group_token_usage("robots") == 0.0
    usage = [line for line in x.Caller.query_all_usage() if line[1] == "robot"]
    assert usage == [[x.Caller.get_uuid(caller), "robot", "robot/1.0", "", "3", "0"]]
    x.Caller.remove_group(caller, "robots")
    assert x.Caller.get_groups(caller) == []
    assert x.Caller.query_group_call_count("robots") == "0"
    assert str(x.Caller.get_last_access(caller)) > "2000"
    assert failure(x.Caller.query_call_count, NOWHERE)[:2] == ["HANDLE_INVALID", "Caller"]
    assert failure(x.Caller.query_token_usage, NOWHERE)[:2] == ["HANDLE_INVALID", "Caller"]
    assert failure(x.Caller.add_group, caller, "") == ["INVALID_VALUE", "group", ""]
    assert failure(x.Caller.remove_group, NOWHERE, "a")[:2] == ["HANDLE_INVALID", "Caller"]


def test_a_bucket_lets_so_many_through(own, x, caller, limit):
    x.Rate_limit.add_caller(limit, caller)
    assert x.Rate_limit.get_callers(limit) == [caller]
    assert ask(own, x, 8) >= (8 - 2) / 20 - 0.01, "two at once, then twenty a second"
    assert x.Caller.query_token_usage(caller) == 8.0
    x.Caller.add_group(caller, "slow ones")
    assert x.Caller.query_group_token_usage("slow ones") == 8.0
    assert x.Caller.query_group_token_usage("nobody") == 0.0
    assert [line[5] for line in x.Caller.query_all_usage() if line[1] == "robot"] == ["8"]
    x.Rate_limit.set_burst_size(limit, 1.0)
    x.Rate_limit.set_fill_rate(limit, 10.0)
    assert ask(own, x, 4) >= (4 - 2) / 10 - 0.01
    x.Rate_limit.remove_caller(limit, caller)
    assert x.Caller.get_rate_limit(caller) == "OpaqueRef:NULL"
    ask(own, x, 2)
    assert x.Caller.query_token_usage(caller) == 12.0 and \
        x.Caller.query_call_count(caller) == "14"


def test_who_waits_may_leave(own, x, caller, limit):
    x.Rate_limit.set_burst_size(limit, 1.0)
    x.Rate_limit.set_fill_rate(limit, 0.001)
    x.Rate_limit.add_caller(limit, caller)
    ask(own, x, 1)
    body = json.dumps({"jsonrpc": "2.0", "method": "pool.get_all", "params": [x.ref], "id": 1})
    with socket.create_connection(("127.0.0.1", own.port)) as s:
        s.sendall((f"POST /jsonrpc HTTP/1.1\r\nHost: h\r\nUser-Agent: robot/1.0\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        while x.Caller.query_call_count(caller) != "2":
            pass
        s.settimeout(0.05)
        with pytest.raises(TimeoutError):
            s.recv(1)
    assert x.pool.get_all(), "others are served, and the host goes on"


def test_the_closest_description_counts(own, x, caller):
    here = x.Caller.create({"name_label": "here", "name_description": "", "user_agent": "",
                            "client_ip": "127.0.0.1"})
    ask(own, x, 2)
    ask(own, x, 1, "curl")
    assert x.Caller.query_call_count(caller) == "2"
    assert int(x.Caller.query_call_count(here)) >= 1
    x.Caller.destroy(here)
    assert failure(x.Caller.destroy, here)[:2] == ["HANDLE_INVALID", "Caller"]


def test_what_is_refused(x, caller, limit):
    def refused(agent, address):
        return failure(x.Caller.create, {"name_label": "", "name_description": "",
                                         "user_agent": agent, "client_ip": address})
    assert refused("", "") == ["INVALID_VALUE", "user_agent", ""]
    assert refused("a", "nowhere") == ["INVALID_VALUE", "client_ip", "nowhere"]
    assert refused("robot/1.0", "") == ["INVALID_VALUE", "user_agent", "robot/1.0"]
    for key in ("burst_size", "fill_rate"):
        rec = {"name_label": "", "name_description": "", "burst_size": 1.0, "fill_rate": 1.0}
        assert failure(x.Rate_limit.create, {**rec, key: 0.0})[:2] == ["INVALID_VALUE", key]
        assert failure(x.call, f"Rate_limit.set_{key}", limit, -1.0)[:2] == ["INVALID_VALUE", key]
    assert failure(x.Rate_limit.remove_caller, limit, caller) == ["INVALID_VALUE", "caller", caller]
    assert failure(x.Rate_limit.add_caller, limit, NOWHERE)[:2] == ["HANDLE_INVALID", "Caller"]
    assert failure(x.Rate_limit.destroy, NOWHERE)[:2] == ["HANDLE_INVALID", "Rate_limit"]


def test_programs_that_log_in(own, x, host):
    body = json.dumps({"jsonrpc": "2.0", "method": "session.login_with_password", "id": 1,
                       "params": ["root", "wrong", "1.0", "tests"]})
    own.post("/jsonrpc", body, {"User-Agent": "Weather/2.1 (tests)"})
    own.post("/jsonrpc", body.replace("login_with_password", "none"), {"User-Agent": "Other/1"})
    seen = x.host.get_tracked_user_agents(host)
    assert seen["Weather"] == "2.1" and "Other" not in seen
    assert failure(x.host.get_tracked_user_agents, NOWHERE)[0] == "HANDLE_INVALID"


def test_how_long_calls_took(x, host):
    before = x.host.get_diagnostic_timing_stats(host, True)
    for _ in range(3):
        x.host.get_servertime(host)
    after = x.host.get_diagnostic_timing_stats(host, True)

    def count(stats):
        return int(stats.get("host.get_servertime", "[n = 0]").partition("[n = ")[2].rstrip("]"))
    assert count(after) - count(before) == 3
    assert "[n" not in x.host.get_diagnostic_timing_stats(host)["host.get_servertime"]
    assert failure(x.host.get_diagnostic_timing_stats, NOWHERE)[0] == "HANDLE_INVALID"


def test_diagnostics(own, x, host):
    stats = x.Diagnostics.gc_stats(host)
    with open(f"/proc/{own.process.pid}/statm", encoding="ascii") as f:
        resident = int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident / 2 < int(stats["resident_bytes"]) < resident * 2
    # A sanitizer brings an allocator of its own, of which malloc's counters know nothing.
    assert int(stats["in_use_bytes"]) > 1 << 16 or "san" in os.path.basename(BUILD)
    x.Diagnostics.gc_compact(host)
    before = x.Diagnostics.db_stats()
    ref = x.secret.create({"value": "v", "other_config": {}})
    after = x.Diagnostics.db_stats()
    assert int(after["generation"]) > int(before["generation"])
    assert int(after["rows:secret"]) == len(x.secret.get_all()) and before["rows:host"] == "1"
    x.secret.destroy(ref)

    def posts():
        rows = x.Diagnostics.network_stats(host, {"method": "POST", "uri": "/jsonrpc"})
        assert [row[:2] for row in rows] == [["POST", "/jsonrpc"]]
        return int(rows[0][2])
    old = posts()
    ask(own, x, 3)
    assert posts() == old + 3
    assert len(x.Diagnostics.network_stats(host, {})) > 10
    for name in ("gc_stats", "gc_compact"):
        assert failure(x.call, f"Diagnostics.{name}", NOWHERE)[0] == "HANDLE_INVALID"
    assert failure(x.Diagnostics.network_stats, NOWHERE, {})[0] == "HANDLE_INVALID"
    with own.connect("vm-admin") as low:
        assert failure(low.Diagnostics.db_stats)[0] == "RBAC_PERMISSION_DENIED"


def test_threads(x, host):
    text = x.host.get_thread_diagnostics(host)
    assert "name=core " in text and "name=store " in text
    assert failure(x.host.get_thread_diagnostics, NOWHERE)[0] == "HANDLE_INVALID"


def test_passwords_checked_at_once(own, x):
    pool = x.pool.get_all()[0]
    x.pool.set_local_auth_max_threads(pool, 1)
    assert x.pool.get_local_auth_max_threads(pool) == "1"
    with own.connect("vm-admin") as low:
        assert low.pool.get_all() == [pool]
    for bad in (0, 9):
        assert failure(x.pool.set_local_auth_max_threads, pool, bad)[:2] == \
            ["VALUE_NOT_SUPPORTED", "local_auth_max_threads"]
    assert failure(x.pool.set_local_auth_max_threads, NOWHERE, 1)[0] == "HANDLE_INVALID"
    x.pool.set_local_auth_max_threads(pool, 8)


def test_an_unlimited_local_socket(own, x, limit):
    everybody = x.Caller.create({"name_label": "all", "name_description": "", "user_agent": "",
                                 "client_ip": "127.0.0.1"})
    x.Rate_limit.add_caller(limit, everybody)
    with own.connect() as _:
        pass

    class Local(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(own.socket)
    before = x.Caller.query_call_count(everybody)
    c = Local("localhost")
    for _ in range(5):
        c.request("POST", "/jsonrpc", json.dumps({"jsonrpc": "2.0", "method": "pool.get_all",
                                                  "params": [x.ref], "id": 1}))
        assert b"result" in c.getresponse().read()
    c.close()
    assert int(x.Caller.query_call_count(everybody)) == int(before) + 1
    x.Caller.destroy(everybody)
