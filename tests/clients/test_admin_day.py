"""admin_day.sh: a day of an administrator in nothing but commands."""
import os
import subprocess

from simhost import BUILD, PASSWORD, TOP

SCRIPT = os.path.join(TOP, "tests", "clients", "admin_day.sh")
PLUGIN = """#!/usr/bin/python3
import sys, xmlrpc.client
(session, args), fn = xmlrpc.client.loads(sys.argv[1])
print(xmlrpc.client.dumps(({"Status": "Success", "Value": args["text"]},), methodresponse=True))
"""


def install(daemon):
    folder = os.path.join(daemon.folder, "plugins")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "day"), "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o755)) as f:
        f.write(PLUGIN)
    with open(os.path.join(daemon.folder, "iso", "day.iso"), "wb") as f:
        f.truncate(1 << 20)


def test_an_administrators_day(daemon, tmp_path):
    install(daemon)
    env = {"PATH": f"{BUILD}:/usr/bin:/bin", "HOME": daemon.folder, "XE_EXTRA_ARGS": f"server={daemon.socket}",
           "LOW_ARGS": f"server=127.0.0.1,port={daemon.port},username=read-only,password={PASSWORD}"}
    done = subprocess.run(["bash", SCRIPT, "day", "day.iso", str(tmp_path)], env=env, timeout=120, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.endswith("the day is over\n")
