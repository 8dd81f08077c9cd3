"""A thousand clients who wait, and crowds of strangers: what they cost, whom they hinder."""
import json
import os
import re
import resource
import socket
import subprocess
import time

import pytest

from simhost import BUILD, PASSWORD, run_daemon

SUBSCRIBERS = 1000
RSS_EACH = 48 << 10  # bytes; parked calls and their connections' buffers


@pytest.fixture
def house():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    yield from run_daemon()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def status(house, name):
    with open(f"/proc/{house.process.pid}/status", encoding="ascii") as f:
        return int(re.search(rf"^{name}:\s+(\d+)", f.read(), re.M).group(1))


def request(method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return b"POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def read_answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(65536)
        assert got, data
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < size:
        body += sock.recv(65536)
    return json.loads(body)


def parked(house):
    from held import ctl
    return int(re.search(r"event calls parked (\d+)", ctl(house, "dump", "sessions")).group(1))


def subscribe(house, session, token):
    """Connections that have proved who they are and then wait for events."""
    socks = []
    for _ in range(SUBSCRIBERS):
        s = socket.create_connection(("127.0.0.1", house.port), timeout=60)
        s.sendall(request("session.get_uuid", session, session))
        socks.append(s)
        if len(socks) % 100 == 0:
            for one in socks[-100:]:
                assert "result" in read_answer(one)
                one.sendall(request("event.from", session, ["vm_group"], token, 600.0))
    return socks


def test_a_thousand_subscribers(house):
    with house.connect() as x:
        group = x.VM_group.create({"name_label": "watched"})
        token = x.call("event.from", ["vm_group"], "", 0.0)["token"]
        threads, rss = status(house, "Threads"), status(house, "VmRSS")
        socks = subscribe(house, x.ref, token)
        end = time.monotonic() + 60
        while parked(house) < SUBSCRIBERS:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert status(house, "Threads") <= threads + 2  # not one for each
        assert (status(house, "VmRSS") - rss) << 10 < SUBSCRIBERS * RSS_EACH
        x.VM_group.set_name_label(group, "changed")
        for s in socks:
            events = read_answer(s)["result"]["events"]
            assert [(e["ref"], e["snapshot"]["name_label"]) for e in events] == [(group, "changed")]
            s.close()
        assert status(house, "Threads") <= threads + 2


def strangers(house, count, address):
    """Connections that begin a request and never end it."""
    out = []
    for n in range(count):
        s = socket.socket()
        s.bind((address(n), 0))
        s.connect(("127.0.0.1", house.port))
        s.send(b"POST / HTTP/1.1\r\n")
        out.append(s)
    return out


@pytest.mark.parametrize("where", ["elsewhere", "here"])
def test_strangers_do_not_hinder(house, where):
    """New clients get in, those who are known stay; the crowd loses its oldest."""
    with house.connect() as x:
        crowd = strangers(house, 1500 if where == "elsewhere" else 600,
                          lambda n: f"127.0.{1 + n // 200}.1" if where == "elsewhere"
                          else "127.0.0.1")
        for _ in range(5):
            assert x.VM.get_all()
            reply = house.json("session.login_with_password", "root", PASSWORD)
            assert reply["result"].startswith("OpaqueRef:")
        for s in crowd:
            s.close()


def net_facts(house):
    from held import ctl
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", ctl(house, "dump", "net"))}


def gone(house):
    """Strangers who gave way to others, or whose unread answers were too much for all of them."""
    facts = net_facts(house)
    return facts["evicted"] + facts["refused"]


def descriptors(house):
    return len(os.listdir(f"/proc/{house.process.pid}/fd"))


@pytest.mark.parametrize("sources", ["spread", "same"])
def test_slow_strangers_of_all_kinds(house, sources):
    """Silence, half a handshake, bytes one by one, answers not taken: all of it is bounded."""
    with house.connect() as x:
        before = descriptors(house)
        p = subprocess.Popen([os.path.join(BUILD, "bench", "floodload"), "127.0.0.1", str(house.port),
                              str(house.port), "1500", "500", sources],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "ready\n"
        for _ in range(5):
            assert x.VM.get_all()
            reply = house.json("session.login_with_password", "root", PASSWORD)
            assert reply["result"].startswith("OpaqueRef:")
        end = time.monotonic() + 60
        while gone(house) < 300:  # the host may be behind with accepting
            assert time.monotonic() < end
            time.sleep(0.05)
        facts = net_facts(house)
        assert facts["strangers"] <= (4000 if sources == "spread" else 1000)
        assert facts["bytes"] < 65 << 20  # what is too much is counted before it goes
        assert "opened=" in p.communicate("\n", timeout=60)[0]
        while descriptors(house) > before + 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert x.VM.get_all()
