"""The whole host with real guests: cairnd, cairn-diskd and QEMU, each killed in turn.

The guest is tests/disk/guest.S: it boots from a VHD that diskd serves, writes and reads back
without end, and says so on its serial line: '.' a good round, 'E' an I/O error, 'D' a difference.
"""
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from simhost import BUILD, TOP, Daemon, failure  # noqa: E402

MIB = 1 << 20
GUEST = os.path.join(TOP, "tests", "disk", "guest.S")


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.02)
    raise AssertionError(f"did not come true in {seconds} s: {what}")


class Host(Daemon):
    """A daemon with QEMU under it, and what the tests look at from the outside."""

    def __init__(self, folder):
        super().__init__(folder, "hypervisor=qemu", "accel=tcg", "shutdown_wait_s=3")
        self.x = self.connect()

    def restart(self, how):
        self.stop(how)
        self.start()
        self.x = self.connect()

    def pid_of(self, vm, program):
        """The process of a VM, found without asking the daemon; 0 if there is none."""
        mark = self.x_uuid[vm]
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    argv = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            text = " ".join(argv)
            if program in argv[0] and mark in text and self.folder in text:
                return int(path.split("/")[2])
        return 0

    x_uuid = {}

    def make_vm(self, name="guest", **fields):
        sr = self.x.SR.get_by_name_label("Local storage")[0]
        vdi = install_guest(self, sr)
        vm = self.x.VM.clone(self.x.VM.get_by_name_label("Other install media")[0], name)
        self.x.VM.provision(vm)
        self.x.VM.set_memory_limits(vm, *[str(32 * MIB)] * 4)
        self.x.VM.set_actions_after_crash(vm, fields.get("after_crash", "destroy"))
        self.x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True,
                           "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                           "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.x_uuid[vm] = self.x.VM.get_uuid(vm)
        return vm

    def listen(self, vm):
        consoles = [c for c in self.x.VM.get_consoles(vm)
                    if self.x.console.get_protocol(c) == "vt100"]
        sock = self.x.open_console(self.x.console.get_uuid(consoles[0]))
        sock.settimeout(20)
        return sock

    def rounds(self, vm, n, sock=None):
        """Waits for n further rounds of the guest; none may report an error."""
        sock = sock or self.listen(vm)
        sock.setblocking(False)
        seen, end = b"", time.monotonic() + 60
        try:
            seen = sock.recv(1 << 17)  # what was kept is no news
        except BlockingIOError:
            pass
        assert b"E" not in seen and b"D" not in seen, seen[-200:]
        seen = b""
        sock.settimeout(1)
        while seen.count(b".") < n:
            assert time.monotonic() < end, f"only {seen.count(b'.')} rounds"
            try:
                seen += sock.recv(65536)
            except TimeoutError:
                pass
            assert b"E" not in seen and b"D" not in seen, seen[-200:]
        sock.close()

    def leftovers(self):
        """Processes, sockets and folders of guests under this host's folder."""
        run = os.path.join(self.folder, "run")
        found = [p for p in glob.glob(run + "/vm/*") + glob.glob(run + "/disk/*")]
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    text = f.read().decode(errors="replace")
            except OSError:
                continue
            if self.folder in text and ("qemu-system" in text or "cairn-diskd" in text):
                found.append(text.replace("\0", " ")[:80])
        return found


def install_guest(host, sr):
    """A VHD with the guest in its first sector, put where the SR finds it."""
    name = str(uuid.uuid4())
    scratch = os.path.join(host.folder, "scratch")
    os.makedirs(scratch, exist_ok=True)
    obj, image, raw = (os.path.join(scratch, f) for f in ("guest.o", "guest.bin", "guest.raw"))
    subprocess.run(["gcc", "-c", "-o", obj, GUEST], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", "-o",
                    image, obj], check=True)
    shutil.copy(image, raw)
    os.truncate(raw, 32 * MIB)
    folder = os.path.join(host.folder, "sr", host.x.SR.get_uuid(sr))
    if not os.path.isdir(folder):
        folder = os.path.join(host.folder, "sr")
    part = os.path.join(scratch, "guest.vhd")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o",
                    "subformat=dynamic,force_size=on", raw, part], check=True)
    os.rename(part, os.path.join(folder, name + ".vhd"))
    host.x.SR.scan(sr)
    return host.x.VDI.get_by_uuid(name)


@pytest.fixture(scope="module")
def host():
    folder = tempfile.mkdtemp(prefix="cairn-real-")
    h = Host(folder)
    yield h
    for vm, record in h.x.VM.get_all_records().items():
        if record["power_state"] != "Halted" and not record["is_control_domain"]:
            h.x.VM.hard_shutdown(vm)
    assert wait_for(lambda: not h.leftovers()), h.leftovers()
    assert h.stop() == 0
    shutil.rmtree(folder)


@pytest.fixture
def vm(host):
    ref = host.make_vm()
    yield ref
    if host.x.VM.get_power_state(ref) != "Halted":
        host.x.VM.hard_shutdown(ref)
    for vbd in host.x.VM.get_VBDs(ref):
        vdi = host.x.VBD.get_VDI(vbd)
        host.x.VBD.destroy(vbd)
        if vdi != "OpaqueRef:NULL":
            host.x.VDI.destroy(vdi)
    host.x.VM.destroy(ref)


def state(host, vm):
    record = host.x.VM.get_record(vm)
    return record["power_state"], record["domid"], record["current_operations"]


def test_a_guest_boots_from_its_vhd_and_writes(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 20)
    assert host.pid_of(vm, "qemu-system") and host.pid_of(vm, "cairn-diskd")
    host.x.VM.hard_shutdown(vm)
    assert not host.pid_of(vm, "qemu-system") and not host.pid_of(vm, "cairn-diskd")


def test_pause_really_stops_it(host, vm):
    host.x.VM.start(vm, True, False)
    assert state(host, vm)[0] == "Paused"
    host.x.VM.unpause(vm)
    host.rounds(vm, 5)
    host.x.VM.pause(vm)
    sock = host.listen(vm)
    sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            sock.recv(65536)
            sock.settimeout(0.5)
    host.x.VM.unpause(vm)
    host.rounds(vm, 5)


def test_killed_daemon_finds_its_guest_again(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    pid, domid = host.pid_of(vm, "qemu-system"), state(host, vm)[1]
    host.restart(signal.SIGKILL)
    assert state(host, vm) == ("Running", domid, {})
    assert host.pid_of(vm, "qemu-system") == pid
    host.rounds(vm, 5)
    assert failure(host.x.VM.start, vm, False, False)[0] == "VM_BAD_POWER_STATE"


def test_daemon_killed_in_the_middle_of_start(host, vm):
    """Whatever the moment: afterwards the guest runs and is recorded, or neither."""
    rnd = random.Random(7)
    seen = set()
    for _ in range(6):
        host.x.Async.VM.start(vm, False, False)
        time.sleep(rnd.random() * 0.3)
        host.restart(signal.SIGKILL)
        now, _, running = state(host, vm)
        assert running == {}
        assert (now == "Running") == bool(host.pid_of(vm, "qemu-system")), now
        assert not [t for t in host.x.task.get_all_records().values() if t["status"] == "pending"]
        seen.add(now)
        if now == "Running":
            host.rounds(vm, 3)
            host.x.VM.hard_shutdown(vm)
        assert not host.pid_of(vm, "cairn-diskd")
    assert seen <= {"Running", "Halted"}


def test_killed_qemu_is_halted_within_a_second(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)
    os.kill(host.pid_of(vm, "qemu-system"), signal.SIGKILL)
    wait_for(lambda: state(host, vm)[0] == "Halted", 1)
    told = [m for m in host.x.message.get_all_records().values()
            if m["name"] == "VM_CRASHED" and m["obj_uuid"] == host.x.VM.get_uuid(vm)]
    assert len(told) == 1 and "signal 9" in told[0]["body"]
    wait_for(lambda: not host.pid_of(vm, "cairn-diskd"))
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 2)


def test_killed_diskd_loses_no_write(host, vm):
    host.x.VM.start(vm, False, False)
    for _ in range(3):
        host.rounds(vm, 10)
        old = host.pid_of(vm, "cairn-diskd")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: host.pid_of(vm, "cairn-diskd") not in (0, old))
        host.rounds(vm, 10)
    assert state(host, vm)[0] == "Running"


def test_daemon_and_diskd_killed_together(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 5)
    old = host.pid_of(vm, "cairn-diskd")
    host.process.kill()
    os.kill(old, signal.SIGKILL)
    host.restart(signal.SIGKILL)
    wait_for(lambda: host.pid_of(vm, "cairn-diskd") not in (0, old))
    host.rounds(vm, 10)


def test_reboot_takes_the_next_domid(host, vm):
    host.x.VM.start(vm, False, False)
    domid = int(state(host, vm)[1])
    host.rounds(vm, 2)  # a reset within its first milliseconds can leave the firmware hanging
    host.x.VM.hard_reboot(vm)
    assert int(state(host, vm)[1]) == domid + 1
    host.rounds(vm, 3)


def test_suspend_and_resume_go_on_where_it_was(host, vm):
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 10)
    host.x.VM.suspend(vm)
    assert state(host, vm)[0] == "Suspended"
    assert not host.pid_of(vm, "qemu-system")
    image = host.x.VM.get_suspend_VDI(vm)
    assert host.x.VDI.get_type(image) == "suspend"
    host.restart(signal.SIGKILL)
    assert state(host, vm)[0] == "Suspended"
    host.x.VM.resume(vm, False, False)
    host.rounds(vm, 10)
    assert failure(host.x.VDI.get_record, image)[0] == "HANDLE_INVALID"


def test_a_guest_deaf_to_shutdown_is_told_of(host, vm):
    host.x.VM.start(vm, False, False)
    assert failure(host.x.VM.clean_shutdown, vm)[0] == "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT"
    assert state(host, vm)[0] == "Running"
    host.rounds(vm, 3)


def test_missing_image_leaves_nothing_behind(host, vm):
    vdi = next(v for v in map(host.x.VBD.get_VDI, host.x.VM.get_VBDs(vm)) if v != "OpaqueRef:NULL")
    path = glob.glob(os.path.join(host.folder, "sr", "**", host.x.VDI.get_uuid(vdi) + ".vhd"),
                     recursive=True)[0]
    os.rename(path, path + ".away")
    details = failure(host.x.VM.start, vm, False, False)
    assert details[0].startswith("SR_BACKEND_FAILURE") or details[0] == "VDI_MISSING", details
    assert state(host, vm)[0] == "Halted" and state(host, vm)[2] == {}
    assert not host.pid_of(vm, "qemu-system") and not host.pid_of(vm, "cairn-diskd")
    os.rename(path + ".away", path)


def test_too_little_memory_gives_numbers(host, vm):
    huge = str(1 << 42)
    host.x.VM.set_memory_limits(vm, huge, huge, huge, huge)
    details = failure(host.x.VM.start, vm, False, False)
    assert details[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"
    assert int(details[1]) > int(details[2]) > 0
