"""The control socket, the one-shot commands and the sandbox."""
import json
import os
import threading
import time

import pytest

from diskd import DISKD, Control, Diskd, nbd_uri, qemu_io, run, vhdcheck, wait_for

MIB = 1 << 20


def test_life(diskd):
    diskd.create("a.vhd", "vhd", 5 * MIB)
    assert diskd.attach("a.vhd", 6 * MIB, serial="s") == {"state": "attached"}
    assert diskd.ok("attach", **diskd.attached["a.vhd"]) == {"state": "attached"}
    diskd.fails("attach", "EEXIST", **dict(diskd.attached["a.vhd"], size=MIB))
    assert diskd.activate("a.vhd") == {"state": "active"}
    assert diskd.ok("activate", **diskd.activated["a.vhd"]) == {"state": "active"}
    diskd.fails("activate", "EEXIST", **dict(diskd.activated["a.vhd"], format="raw"))
    disk = diskd.ok("query", id="a.vhd")["disks"][0]
    assert disk["state"] == "active" and disk["path"] == diskd.path("a.vhd") and not disk["error"]
    diskd.fails("detach", "EBUSY", id="a.vhd")
    diskd.fails("resize", "EBUSY", path=diskd.path("a.vhd"), format="vhd", size=8 * MIB)
    diskd.fails("quit", "EBUSY")
    assert diskd.deactivate("a.vhd") == {"state": "attached"}
    assert diskd.ok("deactivate", id="a.vhd") == {"state": "attached"}
    diskd.ok("detach", id="a.vhd")
    diskd.fails("detach", "ENOENT", id="a.vhd")
    assert not os.path.exists(diskd.path("a.vhd.nbd"))


def test_detach_by_force(diskd):
    diskd.disk("a.vhd", "vhd", 4 * MIB)
    qemu_io(nbd_uri(diskd, "a.vhd"), "write -P 1 0 4k")
    diskd.ok("detach", id="a.vhd", force=True)
    assert diskd.ok("query")["disks"] == []
    vhdcheck(diskd.path("a.vhd"))


@pytest.mark.parametrize("line", [
    "", "x", "[]", "{}", '{"op":3}', '{"op":"nope"}', '{"op":"attach"}', '{"op":"ping","more":1}',
    '{"op":"attach","id":"x","vdi":"v","size":-512,"fronts":[]}',
    '{"op":"attach","id":"x","vdi":"v","size":512,"fronts":[{"type":"nbd","path":"rel"}]}',
    '{"op":"attach","id":"x","vdi":"v","size":512,"fronts":[{"type":"?","path":"/tmp/x"}]}',
    '{"op":"attach","id":"x","vdi":"v","size":512,"fronts":{}}',
    '{"op":"create","path":"/x","format":"qed","size":512}', '{"op":"activate","id":"no"}',
    '{"op":"log","level":"loud"}', '{"op":"stats","id":"no"}', '{"op":"ping","op":"ping"}',
])
def test_bad_requests(diskd, line):
    diskd.control.file.write(line + "\n")
    diskd.control.file.flush()
    answer = diskd.control.receive()
    assert not answer["ok"] and answer["error"]["code"] in ("EINVAL", "ENOENT")
    assert diskd.ok("query")["disks"] == []


def test_errors_name_the_file(diskd):
    path = diskd.path("none.vhd")
    diskd.attach("none.vhd", MIB)
    error = diskd.fails("activate", "ENOENT", id="none.vhd", path=path, format="vhd")
    assert error["path"] == path and path in error["message"]
    assert diskd.ok("query")["disks"][0]["error"]["code"] == "ENOENT"
    diskd.create("small.vhd", "vhd", 4 * MIB)
    diskd.fails("create", "EEXIST", path=diskd.path("small.vhd"), format="vhd", size=MIB)
    assert vhdcheck(diskd.path("small.vhd"))
    diskd.fails("activate", "ERANGE", id="none.vhd", path=diskd.path("small.vhd"), format="vhd")
    job = diskd.fails("job", "EEXIST", path=diskd.path("small.vhd"), of="create")
    assert "small.vhd" in job["message"]


def test_one_writer(diskd, tmp_path):
    diskd.disk("a.vhd", "vhd", 4 * MIB)
    (tmp_path / "two").mkdir()
    with Diskd(tmp_path / "two") as other:
        other.ok("attach", id="0", vdi="v", size=4 * MIB, fronts=[])
        again = dict(id="0", path=diskd.path("a.vhd"), format="vhd")
        while (answer := other.control("activate", **again)).get("pending"):
            pass
        assert answer["error"]["code"] == "EBUSY" and "another process" in answer["error"]["message"]


def test_answers_while_storage_hangs(diskd):
    """A FIFO without a writer stands for storage that does not answer: opening it waits."""
    path = diskd.path("slow")
    os.mkfifo(path)
    diskd.attach("slow", MIB, readonly=True)
    for _ in range(2):
        assert diskd.control("activate", id="slow", path=path, format="raw") == {
            "ok": True, "pending": True}
    diskd.ok("ping")  # would wait for ever if it waited for the storage
    assert diskd.ok("query")["disks"][0]["state"] == "activating"
    os.close(os.open(path, os.O_WRONLY))
    wait_for(lambda: diskd.ok("query")["disks"][0]["state"] == "attached")
    assert diskd.ok("query")["disks"][0]["error"]["code"] == "EINVAL"


def test_sequence_numbers(diskd):
    for i in range(20):
        diskd.control.send(op="ping", seq=i)
    diskd.control.send(op="create", path=diskd.path("a"), format="raw", size=MIB, seq={"x": [1]})
    answers = [diskd.control.receive() for _ in range(21)]
    assert [a["seq"] for a in answers] == [*range(20), {"x": [1]}]


def test_many_connections(diskd):
    def one():
        c = Control(diskd.path("ctl"))
        for _ in range(50):
            assert c("query")["ok"]
        c.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    diskd.ok("ping")


@pytest.mark.parametrize("fmt", ["vhd", "vhd-fixed", "raw"])
def test_grow(diskd, fmt):
    uri = diskd.disk("a", fmt, 8 * MIB)
    qemu_io(uri, "write -P 6 7M 1M")
    diskd.deactivate("a")
    diskd.ok("detach", id="a")
    diskd.attached.clear()
    assert diskd.ok("resize", path=diskd.path("a"), format=fmt, size=3000 * MIB)["size"] == 3000 * MIB
    diskd.fails("resize", "EINVAL", path=diskd.path("a"), format=fmt, size=8 * MIB)
    diskd.attach("a", 3000 * MIB)
    diskd.activate("a", fmt)
    qemu_io(uri, "read -P 6 7M 1M", "read -P 0 8M 8M", "write -P 7 2999M 1M", "read -P 7 2999M 1M")
    diskd.deactivate("a")
    if fmt != "raw":
        vhdcheck(diskd.path("a"))
        qemu_io(diskd.path("a"), "read -P 6 7M 1M", "read -P 7 2999M 1M", fmt="vpc")


def test_one_shot(tmp_path):
    path = str(tmp_path / "x.vhd")
    made = json.loads(run(DISKD, "create", path, "--format=vhd", "--size=10GiB").stdout)
    info = json.loads(run(DISKD, "info", path).stdout)
    assert info["size"] == made["size"] == 10 << 30 and info["uuid"] == made["uuid"]
    assert info["creator"] == "tap" and info["creator_version"] == 0x10003
    vhdcheck(path)
    assert run(DISKD, "create", path, "--format=vhd", "--size=1M", check=False).returncode == 1
    assert run(DISKD, "create", path, check=False).returncode == 2
    assert run(DISKD, "--nonsense", check=False).returncode == 2
    assert "usage" in run(DISKD, "--help").stdout


@pytest.mark.parametrize("size", ["2MiB", "3145729", "127GiB", "128GiB", "2040GiB"])
def test_sizes_that_others_read(tmp_path, size):
    path = str(tmp_path / "x.vhd")
    made = json.loads(run(DISKD, "create", path, "--format=vhd", "--size=" + size).stdout)
    vhdcheck(path)
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", "vpc", path).stdout)
    assert info["virtual-size"] == made["size"]
    assert f"({made['size']} bytes)" in run("vhdiinfo", path).stdout
    assert run(DISKD, "create", path + "2", "--format=vhd", "--size=2041GiB",
               check=False).returncode == 1


def test_sandbox_is_closed(diskd):
    status = open(f"/proc/{diskd.process.pid}/status").read()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    for task in os.listdir(f"/proc/{diskd.process.pid}/task"):
        assert "Seccomp:\t2" in open(f"/proc/{diskd.process.pid}/task/{task}/status").read()


def test_term_drains(diskd):
    uri = diskd.disk("a.vhd", "vhd", 4 * MIB)
    qemu_io(uri, "write -P 1 0 4k")
    diskd.process.terminate()
    assert diskd.process.wait(20) == 0
    vhdcheck(diskd.path("a.vhd"))
    diskd.restart()
    qemu_io(uri, "read -P 1 0 4k")


def test_restart_takes_over(diskd):
    uri = diskd.disk("a.vhd", "vhd", 4 * MIB)
    diskd.kill()
    assert os.path.exists(diskd.path("a.vhd.nbd")) and os.path.exists(diskd.path("ctl"))
    diskd.restart()
    qemu_io(uri, "write -P 1 0 4k", "read -P 1 0 4k")


def test_log_level(diskd):
    diskd.ok("log", level="debug", module="control")
    diskd.attach("x", 512, fronts=())
    wait_for(lambda: "event=attached disk=x" in open(diskd.path("diskd.log")).read())


def test_limit_holds_requests_back(diskd):
    """60 requests at 100 a second take half a second, however fast the machine; then none are held."""
    diskd.create("l.vhd", "vhd", 4 * MIB)
    diskd.attach("l.vhd", 4 * MIB, limit={"ops": 100})
    diskd.activate("l.vhd")
    assert diskd.ok("query", id="l.vhd")["disks"][0]["limit"] == {"bytes": 0, "ops": 100}
    begin = time.monotonic()
    qemu_io(nbd_uri(diskd, "l.vhd"), *[f"write -P 1 {i * 4096} 4096" for i in range(60)])
    assert time.monotonic() - begin >= 0.5
    assert diskd.stats("l.vhd")["held"] == 0
    diskd.ok("limit", id="l.vhd", limit={})
    assert diskd.ok("query", id="l.vhd")["disks"][0]["limit"] == {"bytes": 0, "ops": 0}
    diskd.fails("limit", "EINVAL", id="l.vhd", limit={"bytes": -1})
    diskd.fails("limit", "ENOENT", id="none", limit={})


def test_latencies_are_counted(diskd):
    uri = diskd.disk("h.vhd", "vhd", 4 * MIB)
    qemu_io(uri, *[f"write -P 1 {i * 4096} 4096" for i in range(7)])
    assert sum(diskd.stats("h.vhd")["write"]["latency"]) == 7


def test_split_requests(diskd):
    """What goes to the image in parts reads as what was written, also from and to odd memory."""
    diskd.create("s.vhd", "vhd", 16 * MIB)
    diskd.attach("s.vhd", 16 * MIB)
    args = {"id": "s.vhd", "path": diskd.path("s.vhd"), "format": "vhd", "split": 4096}
    diskd.fails("activate", "EINVAL", **dict(args, split=100))
    diskd.ok("activate", **args)
    qemu_io(nbd_uri(diskd, "s.vhd"), "write -P 7 512 5M", "write -P 9 1M 1M", "read -P 7 512 1048064",
            "read -P 9 1M 1M", "read -P 7 2M 3M", "read -P 0 8M 4M")
    diskd.ok("deactivate", id="s.vhd")
    vhdcheck(diskd.path("s.vhd"))


def test_two_processes_share_a_budget(diskd, tmp_path):
    """Each has half while both are busy; who was killed takes nothing away for long."""
    if run("stat", "-f", "-c", "%T", str(tmp_path)).stdout.strip() == "tmpfs":
        pytest.skip("files in memory are not held back")
    other_folder = tmp_path / "o"
    other_folder.mkdir()
    budget = {"path": diskd.path("budget"), "bytes": 16 * MIB}
    with Diskd(str(other_folder)) as other:
        for d in (diskd, other):
            d.create("b.vhd", "vhd", 8 * MIB)
            d.attach("b.vhd", 8 * MIB)
            args = {"id": "b.vhd", "path": d.path("b.vhd"), "format": "vhd", "budget": budget}
            d.fails("activate", "EINVAL", **dict(args, budget={"path": "x", "bytes": 1}))
            d.fails("activate", "EINVAL", **dict(args, budget=dict(budget, bytes=0)))
            d.ok("activate", **args)
        def shares():
            for d in (diskd, other):
                qemu_io(nbd_uri(d, "b.vhd"), "write -P 3 0 4M", "read -P 3 0 4M")
            return [d.stats("b.vhd")["share"]["bytes"] for d in (diskd, other)]

        wait_for(lambda: 8 * MIB in shares())
        assert diskd.stats("b.vhd")["share"]["inflight"] == 0
        other.kill()
        wait_for(lambda: diskd.stats("b.vhd")["share"]["users"] == 0)
        qemu_io(nbd_uri(diskd, "b.vhd"), "read -P 3 0 4M")
        assert diskd.stats("b.vhd")["share"]["bytes"] == 16 * MIB
        other.start()


def test_profile(tmp_path):
    """The sweep of a small file: same bytes outstanding at each point; what is not there is named."""
    path = str(tmp_path / "data")
    with open(path, "wb") as f:
        f.write(os.urandom(8 * MIB))
    p = json.loads(run(DISKD, "profile", path, "--seconds=1", "--json").stdout)
    assert all(x["block"] * x["depth"] == min(p["outstanding"], x["block"] * 1024) for x in p["points"])
    assert [x["block"] for x in p["points"]][:2] == [4 * MIB, 2 * MIB] and p["points"][-1]["ops_per_s"] > 0
    assert p["depths"][0]["depth"] == 1 and p["budget"] >= p["outstanding"]
    assert p["split"] in [0] + [x["block"] for x in p["points"][1:]]
    assert "best" in run(DISKD, "profile", path, "--seconds=1").stdout
    assert "No such file" in run(DISKD, "profile", path + "x", check=False).stderr


def test_who_says_quit_and_hangs_up_leaves_a_tidy_end(tmp_path):
    """Clients that go while the program ends, before or after it closes their connections."""
    for i in range(10):
        d = Diskd(tmp_path)
        idle, late = Control(d.path("ctl")), Control(d.path("ctl"))
        d.disk("a%d.vhd" % i, "vhd", 4 << 20)
        late.send(op="wants", id="a%d.vhd" % i)
        d.ok("quit", force=True)
        d.control.close()
        late.close()
        assert d.process.wait(20) == 0, open(d.path("diskd.log")).read()
        idle.close()
