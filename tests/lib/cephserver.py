"""A Ceph cluster of one monitor and one OSD on a file, with CephX, in a network namespace.

    with Network(folder) as net:
        ceph = Ceph(net)
        ceph.start()
        ... net.address, ceph.pool, ceph.key ...
"""
import json
import os
import subprocess
import uuid

from storageserver import Server, available, wait_until

PROGRAMS = ("ceph-mon", "ceph-osd", "ceph", "rbd")
GIB = 1 << 30


def is_installed():
    return available(*PROGRAMS)


class Ceph(Server):
    name, port, pool = "ceph", 6789, "disks"

    def __init__(self, net):
        super().__init__(net)
        self.osd = None
        self.conf = os.path.join(self.folder, "ceph.conf")
        self.env = {**os.environ, "CEPH_CONF": self.conf, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}

    def tool(self, *argv, **kw):
        """What a program of Ceph's says, within the namespace."""
        p = subprocess.run(["ip", "netns", "exec", self.net.name, *argv], capture_output=True,
                           text=True, check=False, env=self.env, **kw)
        assert p.returncode == 0, (argv, p.stdout, p.stderr)
        return p.stdout

    def daemon(self, *argv):
        with open(self.log, "ab") as out:
            return subprocess.Popen(["ip", "netns", "exec", self.net.name, *argv], env=self.env,
                                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    start_new_session=True)

    def start(self):
        is_new = not os.path.exists(self.conf)
        if is_new:
            self.make_monitor()
        self.process = self.daemon("ceph-mon", "-f", "-i", "a")
        wait_until(self.is_up, self.name)
        if is_new:
            self.make_osd()
        self.osd = self.daemon("ceph-osd", "-f", "-i", "0")
        if is_new:
            self.tool("ceph", "osd", "pool", "create", self.pool, "8", "8")
            self.tool("ceph", "osd", "pool", "application", "enable", self.pool, "rbd")
            self.tool("ceph", "auth", "add", "client.cairn", "mon", "profile rbd", "osd", f"profile rbd pool={self.pool}")
        wait_until(self.has_osd, "the OSD", 120)
        self.key = self.tool("ceph", "auth", "print-key", "client.cairn").strip()
        return self

    def has_osd(self):
        status = json.loads(self.tool("ceph", "osd", "stat", "-f", "json"))
        return status.get("num_up_osds") == 1

    def stop(self):
        for p in (self.osd, self.process):
            if p is not None:
                os.killpg(p.pid, 9)
                p.wait()
        self.osd = self.process = None

    def make_monitor(self):
        folder, address, fsid = self.folder, self.net.address, str(uuid.uuid4())
        place = f"[v2:{address}:3300,v1:{address}:6789]"
        os.makedirs(os.path.join(folder, "osd"))
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(f"""[global]
fsid = {fsid}
mon host = {place}
public addr = {address}
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
osd client watch timeout = 12
paxos propose interval = 0.1
bluestore fsck on mkfs = false
bluestore fsck on mkfs deep = false
osd memory target = 939524096
log file = {folder}/$name.log
run dir = {folder}
admin socket = {folder}/$name.sock
mon data = {folder}/mon
osd data = {folder}/osd
bluestore block size = {2 * GIB}
bluestore block create = true
[osd.0]
keyring = {folder}/osd/keyring
""")
        self.tool("ceph-authtool", "--create-keyring", f"{folder}/keyring", "--gen-key", "-n", "client.admin",
                  "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self.tool("ceph-authtool", "--create-keyring", f"{folder}/mon.keyring", "--gen-key", "-n", "mon.",
                  "--cap", "mon", "allow *")
        self.tool("ceph-authtool", f"{folder}/mon.keyring", "--import-keyring", f"{folder}/keyring")
        self.tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", place, f"{folder}/monmap")
        self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap", "--keyring",
                  f"{folder}/mon.keyring")

    def make_osd(self):
        name, keyring = str(uuid.uuid4()), os.path.join(self.folder, "osd", "keyring")
        secret = self.tool("ceph-authtool", "--gen-print-key").strip()
        self.tool("ceph", "osd", "new", name, "-i", "-", input=json.dumps({"cephx_secret": secret}))
        self.tool("ceph-authtool", "--create-keyring", keyring, "-n", "osd.0", "--add-key", secret)
        self.tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", name)
