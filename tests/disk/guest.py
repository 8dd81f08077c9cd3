"""guest.py: a real QEMU (software emulation) running guest.S from a disk that diskd serves.

    with Guest(diskd, "a.vhd") as g:
        g.rounds(100)                # waits until so many rounds were reported
"""
import json
import os
import socket
import subprocess

from diskd import nbd_uri, qemu_io, run, wait_for

SOURCE = os.path.join(os.path.dirname(__file__), "guest.S")


def install(diskd, name):
    """Puts the guest into the disk's first sector."""
    obj, image = diskd.path("guest.o"), diskd.path("guest.bin")
    run("gcc", "-c", "-o", obj, SOURCE)
    run("ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", "-o", image, obj)
    qemu_io(nbd_uri(diskd, name), f"write -s {image} 0 512")


class Guest:
    def __init__(self, diskd, name, tag="one", incoming=None, paused=False):
        self.serial, qmp = diskd.path(tag + ".serial"), diskd.path(tag + ".qmp")
        self.memory = diskd.path(tag + ".memory")
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                "-accel", "tcg", "-machine", "q35,memory-backend=mem0", "-m", "32", "-cpu", "qemu64",
                "-object", f"memory-backend-file,id=mem0,size=32M,share=on,mem-path={self.memory}",
                "-chardev", f"socket,id=vu0,path={diskd.path(name + '.vu')},reconnect=1",
                "-device", "vhost-user-blk-pci,chardev=vu0,bootindex=0",
                "-chardev", f"file,id=s0,path={self.serial}", "-serial", "chardev:s0",
                "-qmp", f"unix:{qmp},server=on,wait=off"] + (["-S"] if paused else [])
        with open(diskd.path(tag + ".log"), "wb") as log:
            self.process = subprocess.Popen(argv + (["-incoming", incoming] if incoming else []),
                                            stderr=log)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        wait_for(lambda: self.sock.connect_ex(qmp) == 0)
        self.file = self.sock.makefile("rw")
        self.file.readline()
        self.qmp("qmp_capabilities")

    def qmp(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                assert "return" in answer, answer
                return answer["return"]

    def output(self):
        with open(self.serial) as f:
            return f.read()

    def rounds(self, more, seconds=60):
        """Waits for `more` further rounds, `seconds` at most for the next; none may have failed."""
        have = self.output().count(".")
        want = have + more
        while have < want:
            wait_for(lambda last=have: self.output().count(".") > last, seconds)
            have = self.output().count(".")
        assert not set(self.output()) & set("ED"), self.output()
        return self.output().count(".")

    def migrated(self):
        return self.qmp("query-migrate").get("status") == "completed"

    def status(self):
        return self.qmp("query-status")["status"]

    def close(self):
        self.sock.close()
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
