#!/usr/bin/env python3
"""diskd.py: reads through cairn-diskd against fio on a raw file of the same content, in one run.

  bench/diskd.py [--json] [--seconds N] [--size MIB]

The image is a fully allocated VHD, the raw file a plain one; both are in the page cache, so what is
compared is the work per request, not the device. `vhost` is a ring in shared memory as QEMU has it
(bench/storage/blkload), `nbd` is fio's NBD engine on the unix socket. Each figure is the median of three runs
that take turns. Prints a table, or with --json an object with title, columns and rows.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "disk"))

from diskd import BUILD, Diskd, run  # noqa: E402

MIB = 1 << 20
WORKLOADS = [("4 KiB random read, 1 in flight", "randread", 4096, 1),
             ("4 KiB random read, 32 in flight", "randread", 4096, 32),
             ("1 MiB sequential read, 1 in flight", "read", MIB, 1),
             ("1 MiB sequential read, 4 in flight", "read", MIB, 4)]


def fio(seconds, size, kind, block, depth, *options):
    p = subprocess.run(
        ["fio", "--name=x", "--output-format=json", "--thread", "--time_based", "--invalidate=0",
         f"--runtime={seconds}", f"--size={size}", f"--rw={kind}", f"--bs={block}",
         f"--iodepth={depth}", *options], capture_output=True, text=True, check=True)
    return json.loads(p.stdout[p.stdout.index("{"):])["jobs"][0]["read"]["bw_bytes"] / MIB


def blkload(seconds, path, kind, block, depth):
    j = json.loads(run(os.path.join(BUILD, "bench", "blkload"), kind, str(block), str(depth), str(seconds),
                       "vhost:" + path).stdout)
    return j["bytes"] / j["seconds"] / MIB


def measure(folder, seconds, size):
    raw = os.path.join(folder, "raw")
    rows = []
    with Diskd(folder) as d:
        uri = d.disk("a.vhd", "vhd", size, ("nbd", "vu"))
        run("fio", "--name=x", "--rw=write", "--bs=1m", f"--size={size}", "--filename=" + raw)
        run("nbdcopy", "--flush", raw, uri)
        for name, kind, block, depth in WORKLOADS:
            ways = {"raw": lambda: fio(seconds, size, kind, block, depth, "--ioengine=io_uring",
                                       "--filename=" + raw),
                    "vhost": lambda: blkload(seconds, d.path("a.vhd.vu"), kind, block, depth),
                    "nbd": lambda: fio(seconds, size, kind, block, depth, "--ioengine=nbd",
                                       "--uri=" + uri)}
            got = {way: [] for way in ways}
            for _ in range(3):
                for way, f in ways.items():
                    got[way].append(f())
            m = {way: statistics.median(v) for way, v in got.items()}
            rows.append([name, f"{m['raw']:.0f}", f"{m['vhost']:.0f}", f"{m['vhost'] / m['raw']:.2f}",
                         f"{m['nbd']:.0f}", f"{m['nbd'] / m['raw']:.2f}"])
    return rows


def main():
    p = argparse.ArgumentParser(description="Reads through cairn-diskd against the raw file.")
    p.add_argument("--json", action="store_true")
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--size", type=int, default=512, metavar="MIB")
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
        rows = measure(folder, args.seconds, args.size * MIB)
    table = {"title": "diskd: reads in MiB/s, image in the page cache",
             "columns": ["workload", "raw (fio)", "vhost-user", "ratio", "nbd", "ratio"],
             "rows": rows}
    if args.json:
        print(json.dumps(table))
        return
    print(table["title"])
    for row in [table["columns"], *rows]:
        print("  ".join(str(c).rjust(10) if i else str(c).ljust(36) for i, c in enumerate(row)))


if __name__ == "__main__":
    main()
