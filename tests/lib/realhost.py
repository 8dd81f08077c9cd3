"""A host with real guests: the daemon with cairn-diskd and QEMU, in a folder of its own.

The guest is tests/disk/guest.S: it boots from a VHD that diskd serves, writes and reads back
without end, and says so on its serial line: '.' a good round, 'E' an I/O error, 'D' a difference.
"""
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

from simhost import TOP, Daemon, crashes

MIB = 1 << 20
GUEST = os.path.join(TOP, "tests", "disk", "guest.S")


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.02)
    raise AssertionError(f"did not come true in {seconds} s: {what}")


class Host(Daemon):
    """A daemon with QEMU under it, and what the tests look at from the outside."""

    def __init__(self, folder, *settings):
        super().__init__(folder, "hypervisor=qemu", "accel=tcg", "shutdown_wait_s=3", *settings)
        self.x = self.connect()

    def restart(self, how=signal.SIGKILL):
        self.stop(how)
        self.start()
        self.x = self.connect()

    def pid_of(self, vm, program):
        """The process of a VM, found without asking the daemon; None if there is none."""
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
        return None

    def kill(self, vm, program, how=signal.SIGKILL):
        """A program that is just taking a dead one's place is waited for."""
        os.kill(wait_for(lambda: self.pid_of(vm, program)), how)

    x_uuid = {}

    def make_vm(self, name="guest", sr=None, folder=None, vdi=None, **fields):
        sr = sr or self.x.SR.get_by_name_label("Local storage")[0]
        vdi = vdi or install_guest(self, sr, folder)
        vm = self.x.VM.clone(self.x.VM.get_by_name_label("Other install media")[0], name)
        self.x.VM.provision(vm)
        self.x.VM.set_memory_limits(vm, *[str(32 * MIB)] * 4)
        self.x.VM.set_actions_after_crash(vm, fields.get("after_crash", "destroy"))
        self.x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True,
                           "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                           "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.x_uuid[vm] = self.x.VM.get_uuid(vm)
        return vm

    def remove_vm(self, vm):
        if self.x.VM.get_power_state(vm) != "Halted":
            self.x.VM.hard_shutdown(vm)
        for vbd in self.x.VM.get_VBDs(vm):
            vdi = self.x.VBD.get_VDI(vbd)
            self.x.VBD.destroy(vbd)
            if vdi != "OpaqueRef:NULL":
                self.x.VDI.destroy(vdi)
        self.x.VM.destroy(vm)

    def listen(self, vm):
        consoles = [c for c in self.x.VM.get_consoles(vm)
                    if self.x.console.get_protocol(c) == "vt100"]
        sock = self.x.open_console(self.x.console.get_uuid(consoles[0]))
        sock.settimeout(60)
        return sock

    def rounds(self, vm, n, sock=None):
        """Waits for n further rounds of the guest; none may report an error. However slow it is, it
        may not stand still for a minute."""
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
                got = sock.recv(65536)
            except TimeoutError:
                continue
            assert got, "the console is closed"
            seen += got
            end = time.monotonic() + 60
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


def guest_sector(host):
    """The guest, as a boot sector."""
    scratch = os.path.join(host.folder, "scratch")
    os.makedirs(scratch, exist_ok=True)
    obj, image = (os.path.join(scratch, f) for f in ("guest.o", "guest.bin"))
    subprocess.run(["gcc", "-c", "-o", obj, GUEST], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", "-o",
                    image, obj], check=True)
    with open(image, "rb") as f:
        return f.read()


def install_guest(host, sr, folder=None):
    """A VHD with the guest in its first sector, put where the SR finds it."""
    name = str(uuid.uuid4())
    sector = guest_sector(host)
    scratch = os.path.join(host.folder, "scratch")
    raw = os.path.join(scratch, "guest.raw")
    with open(raw, "wb") as f:
        f.write(sector)
    os.truncate(raw, 32 * MIB)
    folder = folder or os.path.join(host.folder, "sr", host.x.SR.get_uuid(sr))
    if not os.path.isdir(folder):
        folder = os.path.join(host.folder, "sr")
    part = os.path.join(scratch, "guest.vhd")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o",
                    "subformat=dynamic,force_size=on", raw, part], check=True)
    shutil.move(part, os.path.join(folder, name + ".vhd"))
    host.x.SR.scan(sr)
    return host.x.VDI.get_by_uuid(name)


def state(host, vm):
    record = host.x.VM.get_record(vm)
    return record["power_state"], record["domid"], record["current_operations"]


def run_host(*settings):
    """For a fixture: a host, and at its end nothing of its guests may be left."""
    folder = tempfile.mkdtemp(prefix="cairn-real-")
    h = Host(folder, *settings)
    yield h
    for vm, record in h.x.VM.get_all_records().items():
        if record["power_state"] != "Halted" and not record["is_control_domain"]:
            h.x.VM.hard_shutdown(vm)
    assert wait_for(lambda: not h.leftovers()), h.leftovers()
    assert h.stop() == 0
    assert not crashes(h.log), crashes(h.log)
    shutil.rmtree(folder)


def run_vm(host):
    """For a fixture: a VM of the host with a disk of its own."""
    ref = host.make_vm()
    yield ref
    host.remove_vm(ref)


@contextlib.contextmanager
def run_vm_on(host, sr, folder=None):
    """A VM whose disk is in that repository, whose files are in that folder."""
    ref = host.make_vm(sr=sr, folder=folder)
    yield ref
    host.remove_vm(ref)


def make_disk(host, sr, size, settings=None):
    return host.x.VDI.create({"name_label": "disk", "name_description": "", "SR": sr,
                              "virtual_size": str(size), "type": "user", "sharable": False,
                              "read_only": False, "other_config": {}, "sm_config": settings or {}})


@contextlib.contextmanager
def run_vm_with(host, vdi):
    """A VM of a disk that is there, and stays."""
    ref = host.make_vm(vdi=vdi)
    yield ref
    host.x.VM.hard_shutdown(ref)
    for vbd in host.x.VM.get_VBDs(ref):
        host.x.VBD.destroy(vbd)
    host.x.VM.destroy(ref)
