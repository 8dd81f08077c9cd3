#!/usr/bin/env python3
"""transfer.py: disks and VMs in and out over HTTP, against qemu-img doing the same to files.

  bench/transfer.py [--json] [--size MIB]

The disk is half random data, half holes. Images and files are in the page cache; each figure is the
best of three runs that take turns. qemu-img reads or writes the same VHD without a host around it.
Prints a table, or with --json an object with title, columns and rows.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests", "lib"), os.path.join(TOP, "tools", "pylib")]

from simhost import Daemon  # noqa: E402

MIB = 1 << 20
RUNS = 3


def make_raw(path, size):
    rnd = random.Random(1)
    with open(path, "wb") as f:
        for at in range(0, size, 8 * MIB):
            f.seek(at)
            f.write(rnd.randbytes(4 * MIB))
        f.truncate(size)


def seconds(argv):
    begin = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


class Bench:
    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.daemon = Daemon(os.path.join(folder, "host"), "hypervisor=qemu", "accel=tcg")
        self.x = self.daemon.connect()
        self.raw = os.path.join(folder, "d.raw")
        make_raw(self.raw, size)
        self.sr = self.x.SR.get_by_name_label("Local storage")[0]
        self.vdi = self.disk()

    def disk(self):
        return self.x.VDI.create({"name_label": "bench", "SR": self.sr, "type": "user",
                                  "virtual_size": str(self.size), "sharable": False,
                                  "read_only": False, "other_config": {}})

    def url(self, path, **args):
        query = urllib.parse.urlencode({"session_id": self.x.ref, **args})
        return f"{self.daemon.url}{path}?{query}"

    def image(self):
        name = self.x.VDI.get_uuid(self.vdi) + ".vhd"
        return next(os.path.join(top, name) for top, _, files in
                    os.walk(os.path.join(self.folder, "host", "sr")) if name in files)

    def get(self, path, file, **args):
        return seconds(["curl", "-sS", "--fail", "-o", self.at(file), self.url(path, **args)])

    def put(self, path, file, **args):
        return seconds(["curl", "-sS", "--fail", "-T", self.at(file), self.url(path, **args)])

    def at(self, name):
        return os.path.join(self.folder, name)

    def convert(self, source, form, target, to):
        """A new target each time, as the host has one."""
        if os.path.exists(self.at(target)):
            os.unlink(self.at(target))
        return seconds(["qemu-img", "convert", "-t", "writeback", "-f", form, "-O", to, source, self.at(target)])

    def make_vm(self):
        vm = self.x.VM.clone(self.x.VM.get_by_name_label("Other install media")[0], "bench")
        self.x.VM.set_is_a_template(vm, False)
        self.x.VBD.create({"VM": vm, "VDI": self.vdi, "userdevice": "0", "bootable": True,
                           "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                           "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vm

    def figures(self):
        vm = self.make_vm()
        self.put("/import_raw_vdi", "d.raw", vdi=self.vdi)
        self.get("/export", "vm.xva", ref=vm)
        to_raw = ("qemu-img: VHD to raw", lambda: self.convert(self.image(), "vpc", "o.raw", "raw"))
        to_vhd = ("qemu-img: raw to VHD", lambda: self.convert(self.raw, "raw", "o.vhd", "vpc"))
        return [
            ("export, raw", lambda: self.get("/export_raw_vdi", "e.raw", vdi=self.vdi), to_raw),
            ("export, VHD", lambda: self.get("/export_raw_vdi", "e.vhd", vdi=self.vdi,
                                             format="vhd"), to_raw),
            ("export, XVA", lambda: self.get("/export", "vm.xva", ref=vm), to_raw),
            ("import, raw", lambda: self.put("/import_raw_vdi", "d.raw", vdi=self.disk()), to_vhd),
            ("import, VHD", lambda: self.put("/import_raw_vdi", "e.vhd", vdi=self.disk(),
                                             format="vhd"), to_vhd),
            ("import, XVA", lambda: self.put("/import", "vm.xva"), to_vhd),
        ]


def row(size, name, ours, peer):
    times = [(ours(), peer[1]()) for _ in range(RUNS)]
    a, b = (min(t) for t in zip(*times))
    return [name, f"{size / MIB / a:.0f}", peer[0], f"{size / MIB / b:.0f}", f"{b / a:.2f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=512, help="of the disk, in MiB")
    args = parser.parse_args()
    columns = ["transfer", "MiB/s of the disk", "peer", "MiB/s", "ratio"]
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
        os.mkdir(os.path.join(folder, "host"))
        bench = Bench(folder, args.size * MIB)
        try:
            rows = [row(bench.size, *f) for f in bench.figures()]
        finally:
            bench.daemon.stop()
    title = f"Disks and VMs over HTTP, a disk of {args.size} MiB, half of it holes"
    if args.json:
        print(json.dumps({"title": title, "columns": columns, "rows": rows}))
        return
    print(title, *(" | ".join(r) for r in [columns, *rows]), sep="\n")


if __name__ == "__main__":
    main()
