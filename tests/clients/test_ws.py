"""The npm package ws, which web front ends use for consoles, against the server alone."""
import json
import os
import subprocess

from simhost import BUILD

HERE = os.path.dirname(os.path.abspath(__file__))


def test_ws(node_modules, tmp_path):
    served = subprocess.Popen([os.path.join(BUILD, "tests", "net", "served"), str(tmp_path)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ports = served.stdout.readline().split()
        done = subprocess.run(["node", "ws.mjs", *ports], cwd=HERE, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        served.communicate(timeout=10)
    assert done.returncode == 0, done.stderr
    got = [json.loads(line) for line in done.stdout.splitlines()]
    assert got == [{"scheme": scheme, "protocol": "binary", "same": True, "code": 1000}
                   for scheme in ("ws:", "wss:")]
