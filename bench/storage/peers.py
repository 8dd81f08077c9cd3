"""peers: the programs that bench/storage/run compares, each as something that serves an image on sockets.

    with Ours(folder) as s:                 # or Qsd, QemuNbd
        s.serve("a", "/…/a.vhd", "vhd")
        load(s.vhost("a"), "randread", 4096, 32, 0.5)

`load` is bench/storage/blkload on a socket, `fio` the raw file. Every server opens images with O_DIRECT
where the file system has it.
"""
import json
import os
import shutil
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "disk"))
from diskd import BUILD, DISKD, Diskd  # noqa: E402

MIB = 1 << 20
BLKLOAD = os.path.join(BUILD, "bench", "blkload")
QEMU_FORMAT = {"vhd": "vpc", "qcow2": "qcow2", "raw": "raw"}


def run(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if p.returncode:
        sys.exit(f"{' '.join(argv)}: {p.stdout}{p.stderr}")
    return p.stdout


def load(targets, kind, block, depth, seconds, *options):
    """The JSON of blkload; `mbs` is MB/s."""
    targets = [targets] if isinstance(targets, str) else targets
    got = json.loads(run(BLKLOAD, *options, kind, str(block), str(depth), str(seconds), *targets))
    got["mbs"] = got["bytes"] / got["seconds"] / 1e6
    return got


def fio(path, kind, block, depth, seconds, *options, jobs=1):
    """Like load, on a file; with jobs, as many of them."""
    out = run("fio", "--name=x", "--output-format=json", "--thread", "--time_based", "--direct=1",
              "--ioengine=io_uring", "--norandommap", "--randrepeat=0", "--gtod_reduce=1", "--invalidate=0",
              f"--runtime={int(seconds * 1000)}ms", f"--rw={kind}", f"--bs={block}", f"--iodepth={depth}",
              f"--numjobs={jobs}", f"--filename={path}", f"--size={os.path.getsize(path)}", *options)
    side = "write" if kind.endswith("write") else "read"
    parts = [j[side]["bw_bytes"] for j in json.loads(out[out.index("{"):])["jobs"]]
    return {"mbs": sum(parts) / 1e6, "targets": parts}


class Ours:
    """cairn-diskd."""

    def __init__(self, folder):
        self.folder = folder
        self.d = Diskd(folder)

    def serve(self, name, path, fmt, parents=(), **more):
        size = self.d.ok("info", path=path, format=fmt)["size"]
        # Short names: a socket's path has at most 107 bytes.
        self.d.ok("attach", id=name, vdi=name, size=size, fronts=[
            {"type": "nbd", "path": self.path(name, "n"), "export": name},
            {"type": "vhost-user-blk", "path": self.path(name, "v")}])
        args = {"id": name, "path": path, "format": fmt, **more}
        if parents:
            args["parents"] = [{"path": p, "format": fmt} for p in parents]
        while self.d.ok("activate", **args).get("pending"):
            pass

    def drop(self, name):
        self.d.ok("deactivate", id=name)
        self.d.ok("detach", id=name)

    def create(self, path, fmt, size, **more):
        return self.d.ok("create", path=path, format=fmt, size=size, **more)

    def path(self, name, front):
        return os.path.join(self.folder, f"{name}.{front}")

    def vhost(self, name):
        return "vhost:" + self.path(name, "v")

    def nbd(self, name):
        return f"nbd:{self.path(name, 'n')}={name}"

    @property
    def pid(self):
        return self.d.process.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.d.__exit__(kind, value, tb)


class Child:
    """A server that ends with the block."""

    def spawn(self, *argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        """qemu-storage-daemon now and then does not end when it is asked to, with many disks."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Qsd(Child):
    """qemu-storage-daemon: all images, each as vhost-user-blk in an I/O thread, or as NBD, which cannot
    have one in QEMU 7.2 (it ends when a client goes)."""

    def __init__(self, folder, images, front="vhost"):
        self.folder = folder
        argv = ["qemu-storage-daemon"]
        if front == "vhost":
            argv += ["--object", "iothread,id=io"]
        else:
            argv += ["--nbd-server", f"addr.type=unix,addr.path={folder}/n"]
        for name, (path, fmt) in images.items():
            argv += ["--blockdev", f"driver=file,filename={path},node-name=f{name},cache.direct=on,aio=io_uring,"
                     "discard=unmap",
                     "--blockdev", f"driver={QEMU_FORMAT[fmt]},file=f{name},node-name=d{name}",
                     "--export", f"nbd,id=n{name},node-name=d{name},name={name},writable=on" if front == "nbd" else
                     f"vhost-user-blk,id=v{name},node-name=d{name},addr.type=unix,iothread=io,"
                     f"addr.path={folder}/{name}.v,writable=on"]
        self.spawn(*argv)

    def vhost(self, name):
        return f"vhost:{self.folder}/{name}.v"

    def nbd(self, name):
        return f"nbd:{self.folder}/n={name}"


class QemuNbd(Child):
    """qemu-nbd, one image."""

    def __init__(self, folder, path, fmt):
        self.folder = folder
        self.spawn("qemu-nbd", "-f", QEMU_FORMAT[fmt], "--cache=none", "--aio=io_uring", "-t", "-x", "a", "-k",
                   f"{folder}/n", path)

    def nbd(self, _name="a"):
        return f"nbd:{self.folder}/n=a"


class Capped:
    """A file system on a loop device in memory, and a cgroup whose processes get so many bytes a second of it."""

    CGROUPS = "/sys/fs/cgroup/blkio"

    def __init__(self, folder, ram, rate):
        self.folder, self.rate = folder, rate
        self.image = os.path.join(ram, f"cairn-capped-{os.getpid()}")
        self.group = os.path.join(self.CGROUPS, f"cairn-capped-{os.getpid()}")
        self.mount = os.path.join(folder, "device")
        self.servers = []

    def __enter__(self):
        os.mkdir(self.mount)
        os.mkdir(self.group)
        run("truncate", "-s", "5G", self.image)
        self.loop = run("losetup", "-f", "--show", self.image).strip()
        run("mkfs.ext4", "-q", "-F", self.loop)
        run("mount", self.loop, self.mount)
        device = os.stat(self.loop).st_rdev
        for kind in ("read", "write"):
            with open(os.path.join(self.group, f"blkio.throttle.{kind}_bps_device"), "w", encoding="utf-8") as f:
                f.write(f"{os.major(device)}:{os.minor(device)} {self.rate}")
        return self

    def server(self, master, number):
        """A process with a copy of the image as disk `d`."""
        folder = os.path.join(self.folder, str(number))
        path = os.path.join(self.mount, f"{number}.vhd")
        os.mkdir(folder)
        shutil.copyfile(master, path)
        s = Ours(folder)
        self.servers.append(s)
        with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="utf-8") as f:
            f.write(str(s.pid))
        s.serve("d", path, "vhd", budget={"path": os.path.join(self.folder, "budget"), "bytes": 32 * MIB})
        return s

    def __exit__(self, kind, value, tb):
        for s in self.servers:
            s.__exit__(kind, value, tb)
        for _ in range(50):
            if subprocess.run(["umount", self.mount], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        run("losetup", "-d", self.loop)
        os.unlink(self.image)
        os.rmdir(self.group)


def cpu_us(pid):
    """CPU time of all threads of a process, those of its io_uring included; of ended ones too."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def private_kib(pid):
    """Memory that only this process has."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


def settle(seconds=0.2):
    time.sleep(seconds)
