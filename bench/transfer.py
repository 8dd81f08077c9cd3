#!/usr/bin/python3
"""transfer.py: disks and VMs in and out over HTTP, beside what moves the same bytes without a host.

  bench/transfer.py [--json] [--size MIB] [--runs N]

The disk is half random data, half holes. Each figure is the best of some runs that take turns with
its peers: qemu-img reads or writes the same VHD; cp copies the raw image; curl sends it to, or gets
it from, a server that only receives or sends. Prints a table, or with --json an object with title,
columns and rows. The last columns say how many times as fast as its peer a transfer is.
"""
import argparse
import json
import os
import random
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests", "lib"), os.path.join(TOP, "tools", "pylib")]

from simhost import Daemon  # noqa: E402

MIB = 1 << 20
PEERS = ("qemu-img", "cp", "curl")


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


class Plain(socketserver.StreamRequestHandler):
    """The least that curl takes for a server: drops a PUT, answers a GET with the server's file."""

    def handle(self):
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        if head.startswith(b"GET"):
            with open(self.server.file, "rb") as f:
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
                self.request.sendfile(f)
            return
        left, room = int(re.search(rb"(?i)content-length: (\d+)", head).group(1)), bytearray(MIB)
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while left > 0:
            left -= self.rfile.readinto1(room) or left
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")


class Bench:
    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.daemon = Daemon(os.path.join(folder, "host"), "hypervisor=qemu", "accel=tcg",
                             "listen_https=127.0.0.1:0")
        with open(self.daemon.log, encoding="utf-8") as f:
            self.tls_port = re.search(r"port=(\d+) tls=yes", f.read()).group(1)
        self.plain = socketserver.TCPServer(("127.0.0.1", 0), Plain)
        self.plain.file = os.path.join(folder, "d.raw")
        threading.Thread(target=self.plain.serve_forever, daemon=True).start()
        self.x = self.daemon.connect()
        self.raw = os.path.join(folder, "d.raw")
        make_raw(self.raw, size)
        self.sr = self.x.SR.get_by_name_label("Local storage")[0]
        self.vdi = self.disk()

    def disk(self):
        return self.x.VDI.create({"name_label": "bench", "SR": self.sr, "type": "user",
                                  "virtual_size": str(self.size), "sharable": False,
                                  "read_only": False, "other_config": {}})

    def url(self, path, tls=False, **args):
        query = urllib.parse.urlencode({"session_id": self.x.ref, **args})
        host = f"https://127.0.0.1:{self.tls_port}" if tls else self.daemon.url
        return f"{host}{path}?{query}"

    def image(self):
        name = self.x.VDI.get_uuid(self.vdi) + ".vhd"
        return next(os.path.join(top, name) for top, _, files in
                    os.walk(os.path.join(self.folder, "host", "sr")) if name in files)

    def get(self, path, file, **args):
        return seconds(["curl", "-sSk", "--fail", "-o", self.at(file), self.url(path, **args)])

    def put(self, path, file, **args):
        return seconds(["curl", "-sSk", "--fail", "-T", self.at(file), self.url(path, **args)])

    def at(self, name):
        return os.path.join(self.folder, name)

    def convert(self, source, form, target, to):
        """A new target each time, as the host has one."""
        if os.path.exists(self.at(target)):
            os.unlink(self.at(target))
        return seconds(["qemu-img", "convert", "-t", "writeback", "-f", form, "-O", to, source, self.at(target)])

    def copy(self):
        return seconds(["cp", "--sparse=never", self.raw, self.at("copy")])

    def curl(self, *words):
        return seconds(["curl", "-sS", "--fail", *words, f"http://127.0.0.1:{self.plain.server_address[1]}/"])

    def make_vm(self):
        vm = self.x.VM.clone(self.x.VM.get_by_name_label("Other install media")[0], "bench")
        self.x.VM.set_is_a_template(vm, False)
        self.x.VBD.create({"VM": vm, "VDI": self.vdi, "userdevice": "0", "bootable": True,
                           "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                           "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vm

    def outward(self):
        return {"qemu-img": lambda: self.convert(self.image(), "vpc", "o.raw", "raw"), "cp": self.copy,
                "curl": lambda: self.curl("-o", self.at("got"))}

    def inward(self):
        return {"qemu-img": lambda: self.convert(self.raw, "raw", "o.vhd", "vpc"), "cp": self.copy,
                "curl": lambda: self.curl("-T", self.raw)}

    def figures(self):
        vm = self.make_vm()
        self.put("/import_raw_vdi", "d.raw", vdi=self.vdi)
        self.get("/export", "vm.xva", ref=vm)
        self.get("/export_raw_vdi", "e.vhd", vdi=self.vdi, format="vhd")
        out, into = self.outward(), self.inward()
        return [
            ("export, raw", lambda: self.get("/export_raw_vdi", "e.raw", vdi=self.vdi), out),
            ("export, raw, TLS", lambda: self.get("/export_raw_vdi", "e.raw", tls=True, vdi=self.vdi), out),
            ("export, VHD", lambda: self.get("/export_raw_vdi", "e.vhd", vdi=self.vdi, format="vhd"), out),
            ("export, XVA", lambda: self.get("/export", "vm.xva", ref=vm), out),
            ("import, raw", lambda: self.put("/import_raw_vdi", "d.raw", vdi=self.disk()), into),
            ("import, raw, TLS", lambda: self.put("/import_raw_vdi", "d.raw", tls=True, vdi=self.disk()), into),
            ("import, VHD", lambda: self.put("/import_raw_vdi", "e.vhd", vdi=self.disk(), format="vhd"), into),
            ("import, XVA", lambda: self.put("/import", "vm.xva"), into),
        ]


def row(bench, runs, name, ours, peers):
    times = [(ours(), *(peers[p]() for p in PEERS)) for _ in range(runs)]
    best = [min(t) for t in zip(*times)]
    rate = f"{bench.size / MIB / best[0]:.0f}"
    return [name, rate, *(f"{t / best[0]:.2f}" for t in best[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=512, help="of the disk, in MiB")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    columns = ["transfer", "MiB/s of the disk", *(f"of {p}" for p in PEERS)]
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
        os.mkdir(os.path.join(folder, "host"))
        bench = Bench(folder, args.size * MIB)
        try:
            rows = [row(bench, args.runs, *f) for f in bench.figures()]
        finally:
            bench.daemon.stop()
            bench.plain.shutdown()
    title = f"Disks and VMs over HTTP, a disk of {args.size} MiB, half of it holes: speed, and as a multiple of peers'"
    if args.json:
        print(json.dumps({"title": title, "columns": columns, "rows": rows}))
        return
    print(title, *(" | ".join(r) for r in [columns, *rows]), sep="\n")


if __name__ == "__main__":
    main()
