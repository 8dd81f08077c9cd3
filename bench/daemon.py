"""daemon: what the benchmarks share: a cairnd of their own, calls, load, tables."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tools", "pylib"))
import xapi  # noqa: E402

BUILD = os.environ.get("CAIRN_BUILD", os.path.join(TOP, "build"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Host:
    """A cairnd in a temporary folder."""

    def __init__(self, hypervisor="sim", *settings):
        self.settings = settings
        self.dir = tempfile.mkdtemp(prefix="cairn-bench-")
        self.port = free_port()
        self.socket = os.path.join(self.dir, "run", "xapi")
        self.hypervisor = hypervisor
        self.process = None

    def start(self):
        """Starts the daemon; returns seconds until its first reply."""
        argv = [os.path.join(BUILD, "cairnd"), "--development", self.dir,
                "-o", f"hypervisor={self.hypervisor}", "-o", f"listen_http=127.0.0.1:{self.port}",
                "-o", "listen_https=", "-o", "accel=tcg"]
        for setting in self.settings:
            argv += ["-o", setting]
        begin = time.monotonic()
        with open(os.path.join(self.dir, "cairnd.log"), "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            try:
                with xapi.connect(self.socket) as x:
                    x.pool.get_all()
                return time.monotonic() - begin
            except (OSError, xapi.Failure):
                if self.process.poll() is not None or time.monotonic() - begin > 60:
                    with open(os.path.join(self.dir, "cairnd.log"), encoding="utf-8") as f:
                        sys.exit("cairnd did not start:\n" + "".join(f.readlines()[-10:]))
                time.sleep(0.002)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def rss_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as f:
            kib = next(int(s.split()[1]) for s in f if s.startswith("VmRSS"))
        return kib / 1024

    def dump(self, what, begins):
        """The line of the running daemon's dump that begins so, as words."""
        out = subprocess.run([os.path.join(BUILD, "cairnctl"), "-s", os.path.join(self.dir, "run", "cairnd.ctl"),
                              "dump", what], capture_output=True, text=True, check=True).stdout
        return next(s for s in out.splitlines() if s.startswith(begins)).split()

    def encodings_mib(self):
        """What the cache of encoded records holds."""
        return int(self.dump("sessions", "encodings bytes")[2]) / (1 << 20)

    def commits(self):
        """Of the store, so far."""
        return int(next(w for w in self.dump("state", "queued=") if w.startswith("commits=")).split("=")[1])

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def host(hypervisor="sim", *settings):
    h = Host(hypervisor, *settings)
    try:
        yield h
    finally:
        h.close()


def make_vms(x, n):
    template = x.VM.get_by_name_label("Other install media")[0]
    return [x.VM.clone(template, f"vm{i}") for i in range(n)]


def load(h, body, connections, path="/", seconds=3):
    with tempfile.NamedTemporaryFile("w", suffix=".body") as f:
        f.write(body)
        f.flush()
        out = subprocess.run([os.path.join(BUILD, "bench", "rpcload"), "127.0.0.1", str(h.port),
                              path, f.name, str(connections), str(seconds)], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"rpcload failed: {out.stderr}")
    return dict(part.split("=") for part in out.stdout.split())


def xml_call(name, *params):
    inside = "".join(f"<param><value>{p}</value></param>" for p in params)
    return (f'<?xml version="1.0"?><methodCall><methodName>{name}</methodName>'
            f"<params>{inside}</params></methodCall>")


def json_call(name, *params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": name, "params": params})


def markdown(title, columns, rows):
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |",
             "|" + "|".join("---" for _ in columns) + "|"]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
