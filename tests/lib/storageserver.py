"""Real storage servers for the tests: nfs-ganesha, tgt and samba, each in namespaces of its own.

A server has a network namespace with one address, reached over a veth pair, a private mount of
/run, and everything it writes in a folder of the test. It can be killed and brought back.

    with Network(folder) as net:
        nfs = Nfs(net, exports=["a"])
        nfs.start()
        ... net.address ...
"""
import os
import shutil
import signal
import socket
import subprocess
import time


def run(*argv, **kw):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **kw)


def wait_until(what, name, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} did not come up in {seconds} s")


class Network:
    """A network namespace with the address `address`, on a /30 that nobody here uses."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.name = f"cst{os.getpid()}"
        self.servers = []

    def __enter__(self):
        run("ip", "netns", "add", self.name)
        self.make_link()
        self.inside("ip", "link", "set", "lo", "up")
        return self

    def make_link(self):
        """The first /30 whose addresses do not clash with what there is."""
        taken = run("ip", "-4", "-o", "addr").stdout
        for n in range(os.getpid() % 250, 4000):
            net = f"10.{213 + n // 1000}.{n % 250}"
            if f" {net}." in taken:
                continue
            outer, inner = f"cst{n}o", f"cst{n}i"
            made = subprocess.run(["ip", "link", "add", outer, "type", "veth", "peer", "name", inner,
                                   "netns", self.name], capture_output=True, check=False)
            if made.returncode == 0:
                break
        self.outer, self.address = outer, f"{net}.2"
        run("ip", "addr", "add", f"{net}.1/30", "dev", outer)
        run("ip", "link", "set", outer, "up")
        self.inside("ip", "addr", "add", f"{self.address}/30", "dev", inner)
        self.inside("ip", "link", "set", inner, "up")

    def inside(self, *argv, **kw):
        return run("ip", "netns", "exec", self.name, *argv, **kw)

    def spawn(self, script, log, **env):
        """A shell script in the namespaces, in a session of its own."""
        argv = ["unshare", "-m", "ip", "netns", "exec", self.name, "sh", "-c", script]
        with open(log, "ab") as out:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    start_new_session=True, env={**os.environ, **env})

    def is_open(self, port):
        try:
            socket.create_connection((self.address, port), timeout=1).close()
            return True
        except OSError:
            return False

    def __exit__(self, *_):
        for server in self.servers:
            server.stop()
        subprocess.run(["ip", "link", "del", self.outer], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


class Server:
    """What all servers have: a folder, a process group, a port that tells that it is up."""
    name, port = "", 0

    def __init__(self, net):
        self.net, self.process = net, None
        self.folder = os.path.join(net.folder, self.name)
        self.log = os.path.join(net.folder, self.name + ".log")
        os.makedirs(self.folder, exist_ok=True)
        net.servers.append(self)

    def script(self):
        raise NotImplementedError

    def start(self):
        self.process = self.net.spawn(self.script(), self.log)
        wait_until(self.is_up, self.name)
        return self

    def is_up(self):
        assert self.process.poll() is None, open(self.log, encoding="utf-8", errors="replace").read()
        return self.net.is_open(self.port)

    def stop(self):
        """Dies at once, as in a power cut of the server."""
        if self.process is None:
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Nfs(Server):
    """nfs-ganesha with NFSv3 and v4, and the port mapper that v3 asks for."""
    name, port = "nfs", 2049

    def __init__(self, net, exports=("a",), small=None):
        """`small`: exports of their own file system, of so many MiB, gone with the server."""
        super().__init__(net)
        self.small = small or {}
        self.exports = {name: os.path.join(self.folder, "exp", name)
                        for name in (*exports, *self.small)}
        for path in self.exports.values():
            os.makedirs(path, exist_ok=True)

    def is_up(self):
        return super().is_up() and self.net.is_open(111)

    def inside(self, script):
        """What a shell prints that sees what the server sees."""
        return run("nsenter", "-t", str(self.process.pid), "-m", "sh", "-c", script).stdout

    def script(self):
        os.makedirs(os.path.join(self.folder, "recovery"), exist_ok=True)
        conf = os.path.join(self.folder, "ganesha.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write('MDCACHE { Dir_Chunk=0; }\nNFS_CORE_PARAM { NFS_Port=2049; MNT_Port=12050; Protocols=3,4; Enable_UDP=false;'
                    ' Enable_NLM=false; Enable_RQUOTA=false; mount_path_pseudo=false;'
                    ' Plugins_Dir="/usr/lib/x86_64-linux-gnu/ganesha"; }\n'
                    'NFS_KRB5 { Active_krb5=false; }\n'
                    'NFSV4 { Graceless=true; Only_Numeric_Owners=true; RecoveryBackend=fs;'
                    f' RecoveryRoot="{self.folder}/recovery"; }}\n')
            for i, path in enumerate(self.exports.values(), 1):
                f.write(f'EXPORT {{ Export_Id={i}; Path="{path}"; Pseudo=/e{i}; Access_Type=RW;'
                        ' Squash=No_Root_Squash; SecType=sys; Attr_Expiration_Time=0; Protocols=3,4; Transports=TCP;'
                        ' FSAL { Name=VFS; } }\n')
        pid = os.path.join(self.folder, "pid")
        mounts = "".join(f"mount -t tmpfs -o size={mib}m t {self.exports[name]};"
                         for name, mib in self.small.items())
        return (f"{mounts} mount -t tmpfs t /run; rpcbind -w -f & "
                f"while ! test -S /run/rpcbind.sock; do sleep .05; done; "
                f"rm -f {pid}; ganesha.nfsd -F -f {conf} -L {self.folder}/ganesha.log -p {pid} "
                "-N NIV_EVENT & wait")


class Iscsi(Server):
    """tgt with one target; `luns` are files, `chap` is (user, password) or None."""
    name, port = "tgt", 3260
    iqn = "iqn.2026-11.example.cairn:disks"

    def __init__(self, net, luns=(64 << 20,), chap=None):
        super().__init__(net)
        self.chap, self.luns = chap, []
        for i, size in enumerate(luns, 1):
            self.luns.append(os.path.join(self.folder, f"lun{i}"))
            with open(self.luns[-1], "wb") as f:
                f.truncate(size)

    def script(self):
        tool = "tgtadm -C 0 --lld iscsi"
        lines = [f"{tool} --op new --mode target --tid 1 -T {self.iqn}"]
        for i, path in enumerate(self.luns, 1):
            lines.append(f"{tool} --op new --mode logicalunit --tid 1 --lun {i} -b {path}")
            lines.append(f"{tool} --op update --mode logicalunit --tid 1 --lun {i} "
                         f"--params vendor_id=CAIRN,scsi_sn=serial{i},scsi_id=cairn-lun-{i}")
        if self.chap:
            user, password = self.chap
            lines.append(f"{tool} --op new --mode account --user {user} --password {password}")
            lines.append(f"{tool} --op bind --mode account --tid 1 --user {user}")
        lines.append(f"{tool} --op bind --mode target --tid 1 -I ALL")
        ready = " && ".join(lines)
        return (f"export TGT_IPC_SOCKET={self.folder}/ipc; mount -t tmpfs t /run; "
                f"tgtd -f --iscsi portal={self.net.address}:3260 -C 0 & "
                f"for i in $(seq 200); do {tool} --op show --mode sys >/dev/null 2>&1 && break; "
                f"sleep .05; done; {ready} && touch {self.folder}/ready; wait")

    def start(self):
        ready = os.path.join(self.folder, "ready")
        if os.path.exists(ready):
            os.unlink(ready)
        super().start()
        wait_until(lambda: os.path.exists(ready), "the target")
        return self


class Smb(Server):
    """smbd with writable shares for root, whose password is `password`, and one for guests."""
    name, port = "smb", 445
    password = "pass word"

    def __init__(self, net, shares=("a",), small=None):
        """`small`: shares of their own file system, of so many MiB, gone with the server."""
        super().__init__(net)
        self.small = small or {}
        self.shares = {name: os.path.join(self.folder, "share", name)
                       for name in (*shares, "guests", *self.small)}
        for path in self.shares.values():
            os.makedirs(path, exist_ok=True)
        os.chmod(self.shares["guests"], 0o777)
        self.conf = os.path.join(self.folder, "smb.conf")
        self.configure("SMB3")
        run("smbpasswd", "-c", self.conf, "-L", "-s", "-a", "root", input=f"{self.password}\n{self.password}\n")

    def configure(self, protocol):
        """`protocol`: the newest that it speaks, once it is started."""
        lines = ["[global]", "smb ports = 445", "disable netbios = yes", "interfaces = " + self.net.address + "/30",
                 "bind interfaces only = yes", "map to guest = bad user", "guest account = nobody",
                 "server min protocol = SMB2_10", "server max protocol = " + protocol, "server signing = mandatory",
                 "load printers = no", "printcap name = /dev/null", "disable spoolss = yes", "log level = 1",
                 "log file = " + os.path.join(self.folder, "smbd.log")]
        for key in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
            os.makedirs(os.path.join(self.folder, key), exist_ok=True)
            lines.append(f"{key} {'dir' if key in ('private', 'ncalrpc') else 'directory'} = {self.folder}/{key}")
        for name, path in self.shares.items():
            lines += [f"[{name}]", "path = " + path, "writable = yes", f"guest ok = {'yes' if name == 'guests' else 'no'}", "force user = root"]
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def script(self):
        mounts = "".join(f"mount -t tmpfs -o size={mib}m t {self.shares[name]};" for name, mib in self.small.items())
        return f"{mounts} rm -f {self.folder}/pid/*.pid; exec smbd -s {self.conf} -F --no-process-group"

    def inside(self, script):
        """What a shell prints that sees what the server sees."""
        return run("nsenter", "-t", str(self.process.pid), "-m", "sh", "-c", script).stdout


def available(*programs):
    """Programs may be in the administrator's folders, which are not on everybody's PATH."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return all(shutil.which(p, path=path) for p in programs)
