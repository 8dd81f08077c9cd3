"""VDI.copy as cairn-diskd's own work: nothing is written for nothing, and it can be stopped."""
import contextlib
import glob
import os
import re
import signal
import stat
import subprocess
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, wait_for  # noqa: E402
from transfers import MIB, Client, pattern  # noqa: E402

host = pytest.fixture(scope="module")(run_host)


@pytest.fixture(name="sr", scope="module")
def home(host):
    return host.x.SR.get_by_name_label("Local storage")[0]


def bring(host, sr, size, content=b""):
    """A fixed VHD: nobody knows without reading that there is nothing in it."""
    name = str(uuid.uuid4())
    folder = os.path.join(host.folder, "sr", host.x.SR.get_uuid(sr))
    folder = folder if os.path.isdir(folder) else os.path.join(host.folder, "sr")
    part, path = os.path.join(host.folder, "part"), os.path.join(folder, name + ".vhd")
    subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", part, str(size)], check=True)
    with open(part, "r+b") as f:
        f.seek(5 * MIB)
        f.write(content)
    os.rename(part, path)
    host.x.SR.scan(sr)
    return host.x.VDI.get_by_uuid(name)


def test_zeroes_are_not_written(host, sr):
    data = pattern("data", 2 * MIB)
    vdi = bring(host, sr, 64 * MIB, data)
    copy = host.x.VDI.copy(vdi, sr)
    body = Client(host, host.x).get("/export_raw_vdi", vdi=copy)[2]
    assert len(body) == 64 * MIB and body[5 * MIB:7 * MIB] == data
    assert not any(body[:5 * MIB]) and not any(body[7 * MIB:])
    host.x.SR.scan(sr)
    assert int(host.x.VDI.get_physical_utilisation(copy)) < 16 * MIB
    for one in (vdi, copy):
        host.x.VDI.destroy(one)


def disk_processes(host):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                text = f.read().decode(errors="replace")
        except OSError:
            continue
        if "cairn-diskd" in text.split("\0")[0] and host.folder in text:
            found.append(int(path.split("/")[2]))
    return found


def is_copying(pid, source):
    """Whether the source is open there to be read, and another image to be written."""
    images = set()
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(OSError):
            images.add((os.readlink(fd), bool(os.lstat(fd).st_mode & stat.S_IWUSR)))
    return (source, False) in images and any(w and p.endswith(".vhd") for p, w in images)


def held(host, vdi, sr):
    """The task of a copy whose process stands still in the middle of it; one that was quicker is
    thrown away."""
    task = host.x.Async.VDI.copy(vdi, sr)
    while host.x.task.get_status(task) == "pending":
        for pid in disk_processes(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if is_copying(pid, path_of(host, vdi)):
                    return task, pid
                os.kill(pid, signal.SIGCONT)
    drop(host, task)
    return held(host, vdi, sr)


def drop(host, task):
    (ref,) = re.findall("OpaqueRef:[0-9a-f-]+", host.x.task.get_result(task))
    host.x.VDI.destroy(ref)


def ended(host, task):
    return wait_for(lambda: {"pending": None}.get(s := host.x.task.get_status(task), s))


def state(host, vdi):
    return set(host.x.VDI.get_all()), set(os.listdir(os.path.dirname(path_of(host, vdi))))


def test_a_copy_is_stopped(host, sr):
    vdi = bring(host, sr, 512 * MIB, bytes(256 * MIB))
    before = state(host, vdi)
    task, pid = held(host, vdi, sr)
    host.x.task.cancel(task)
    os.kill(pid, signal.SIGCONT)
    assert ended(host, task) == "cancelled"
    assert state(host, vdi) == before and not host.leftovers()
    host.x.VDI.destroy(vdi)


def test_the_process_dies(host, sr):
    """Nothing is left, or it has been begun again by the next one, if it had hardly begun."""
    vdi = bring(host, sr, 512 * MIB, bytes(256 * MIB))
    before = state(host, vdi)
    task, pid = held(host, vdi, sr)
    os.kill(pid, signal.SIGKILL)
    if ended(host, task) == "success":
        drop(host, task)
    else:
        assert host.x.task.get_status(task) == "failure"
    assert state(host, vdi) == before and not host.leftovers()
    host.x.VDI.destroy(vdi)


def path_of(host, vdi):
    (path,) = glob.glob(os.path.join(host.folder, "sr", "**", host.x.VDI.get_uuid(vdi) + ".vhd"), recursive=True)
    return path
