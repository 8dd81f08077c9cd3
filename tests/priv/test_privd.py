"""What cairn-privd does, and what it refuses."""
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from conftest import PROGRAM, wait


def blkid(device, tag):
    return subprocess.run(["blkid", "-p", "-s", tag, "-o", "value", device], text=True,
                          stdout=subprocess.PIPE).stdout.strip()


# ---- disks


def test_formats_mounts_and_unmounts(privd, loop):
    folder = f"{privd.mounts}/one"
    assert privd.ask("mkfs", device=loop, label="cairn-sr", force=False) == {"ok": True}
    assert (blkid(loop, "TYPE"), blkid(loop, "LABEL")) == ("ext4", "cairn-sr")
    assert privd.ask("mount", device=loop, folder=folder) == {"ok": True}
    assert privd.ask("mount", device=loop, folder=folder) == {"ok": True}, "mounted is fine"
    assert os.path.isdir(privd.path("one/lost+found"))
    with open(f"/proc/{privd.process.pid}/mounts", encoding="utf-8") as f:
        line = next(s for s in f if folder in s)
    assert line.startswith(f"{loop} ")
    assert {"nosuid", "nodev", "noexec"} <= set(line.split()[3].split(","))
    assert privd.ask("umount", folder=folder) == {"ok": True}
    assert privd.ask("umount", folder=folder) == {"ok": True}, "not mounted is fine"
    assert not os.path.exists(privd.path("one"))


def test_mounts_a_part_of_a_device(privd, loop):
    folder, about = f"{privd.mounts}/one", {"device": loop, "offset": 1 << 20, "size": 8 << 20}
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", f"offset={1 << 20}", loop, "8M"], check=True)
    privd.refused("mount", "carries no ext4", device=loop, folder=folder)
    assert privd.ask("mount", folder=folder, **about) == {"ok": True}
    assert privd.ask("mount", folder=folder, **about) == {"ok": True}, "mounted is fine"
    assert os.path.isdir(privd.path("one/lost+found"))
    privd.refused("mount", "something else is mounted", folder=folder, **{**about, "offset": 2 << 20})
    privd.refused("mount", "is in use", folder=f"{privd.mounts}/two", **about)
    assert privd.ask("umount", folder=folder) == {"ok": True}
    used = subprocess.run(["losetup", "-j", loop], check=True, text=True, stdout=subprocess.PIPE).stdout
    assert not used, "the part is a device no more"


def test_mkfs_gives_the_root_folder_to_the_caller(privd, loop):
    with privd_for(privd, 4242) as other:
        assert ask_as(4242, other, {"verb": "mkfs", "device": loop, "label": "x"})["ok"]
        mount = {"verb": "mount", "device": loop, "folder": f"{privd.mounts}/one"}
        assert ask_as(4242, other, mount)["ok"]
    assert os.stat(privd.path("one")).st_uid == 4242
    assert privd.ask("umount", folder=f"{privd.mounts}/one")["ok"]


def test_mkfs_refuses_what_carries_something_and_names_it(privd, loop):
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", loop], check=True)
    privd.refused("mkfs", "carries ext4 labelled 'precious'", device=loop, label="x", force=False)
    privd.refused("mkfs", "carries ext4 labelled 'precious'", device=loop, label="x")
    assert blkid(loop, "LABEL") == "precious"
    assert privd.ask("mkfs", device=loop, label="x", force=True) == {"ok": True}
    assert blkid(loop, "LABEL") == "x"


def test_examine_tells_what_mkfs_would_say(privd, loop):
    assert privd.ask("examine", device=loop) == {"ok": True, "found": ""}
    assert privd.ask("mkfs", device=loop, label="mine")["ok"]
    assert privd.ask("examine", device=loop)["found"] == "carries ext4 labelled 'mine'"
    assert privd.ask("mount", device=loop, folder=f"{privd.mounts}/one")["ok"]
    assert privd.ask("examine", device=loop)["found"] == f"is mounted on '{privd.mounts}/one'"
    assert privd.ask("umount", folder=f"{privd.mounts}/one")["ok"]


def test_mount_hands_the_root_folder_over(privd, loop):
    subprocess.run(["mkfs.ext4", "-q", "-E", "root_owner=7:7", loop], check=True)
    assert privd.ask("mount", device=loop, folder=f"{privd.mounts}/one")["ok"]
    assert os.stat(privd.path("one")).st_uid == 0
    assert privd.ask("umount", folder=f"{privd.mounts}/one")["ok"]


def test_mkfs_refuses_a_partition_table(privd, loop):
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\0\3\0", 2048, 20480)
    with open(loop, "r+b") as f:
        f.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
    privd.refused("mkfs", "partition table (dos)", device=loop, label="x", force=False)
    assert blkid(loop, "PTTYPE") == "dos"


def test_mkfs_never_takes_a_mounted_device(privd, loop):
    assert privd.ask("mkfs", device=loop, label="mine")["ok"]
    assert privd.ask("mount", device=loop, folder=f"{privd.mounts}/one")["ok"]
    privd.refused("mkfs", f"is mounted on '{privd.mounts}/one'", device=loop, label="x", force=True)
    privd.refused("mount", f"is mounted on '{privd.mounts}/one'", device=loop,
                  folder=f"{privd.mounts}/two")
    assert privd.ask("umount", folder=f"{privd.mounts}/one")["ok"]
    assert blkid(loop, "LABEL") == "mine"


def test_mkfs_never_takes_a_device_that_the_kernel_uses(privd, loop):
    fd = os.open(loop, os.O_RDONLY | os.O_EXCL)
    privd.refused("mkfs", "is in use by the kernel", device=loop, label="x", force=True)
    os.close(fd)


@pytest.mark.parametrize("device", ["/etc/passwd", "/dev/null", "/dev/../etc/passwd", "dev/sda",
                                    "/dev/", "/dev/no-such", "", "/dev//sda", "/dev/./sda"])
def test_only_block_devices_below_dev(privd, device):
    assert privd.ask("mkfs", device=device, label="x", force=True)["ok"] is False
    assert privd.ask("mount", device=device, folder=f"{privd.mounts}/one")["ok"] is False
    assert not os.path.exists(privd.path("one"))


def test_a_link_in_dev_must_not_lead_out(privd):
    link = f"/dev/cairn-test-{os.getpid()}"
    os.symlink("/etc/passwd", link)
    try:
        privd.refused("mkfs", "leads out of /dev", device=link, label="x", force=True)
    finally:
        os.unlink(link)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../x", "a/../../x", "/x", "a\n"])
def test_folders_are_names_in_the_mount_folder(privd, loop, name):
    folder = f"{privd.mounts}/{name}"
    assert privd.ask("mount", device=loop, folder=folder)["ok"] is False
    assert privd.ask("umount", folder=folder)["ok"] is False
    assert os.listdir(privd.path("")) == []


@pytest.mark.parametrize("folder", ["/", "/mnt", "/proc", "mounts/one", "", "/etc/one"])
def test_folders_elsewhere_are_refused(privd, loop, folder):
    assert privd.ask("mount", device=loop, folder=folder)["ok"] is False
    assert privd.ask("umount", folder=folder)["ok"] is False


def test_a_link_is_no_mount_point(privd, loop):
    assert privd.ask("mkfs", device=loop, label="x")["ok"]
    os.symlink("/mnt", privd.path("link"))
    privd.refused("mount", "is no folder", device=loop, folder=f"{privd.mounts}/link")


def test_what_is_no_ext4_is_not_mounted(privd, loop):
    privd.refused("mount", "carries no ext4", device=loop, folder=f"{privd.mounts}/one")
    assert not os.path.exists(privd.path("one"))


def test_busy_is_an_error(privd, loop):
    folder = f"{privd.mounts}/one"
    assert privd.ask("mkfs", device=loop, label="x")["ok"]
    assert privd.ask("mount", device=loop, folder=folder)["ok"]
    with open(privd.path("one/held"), "w", encoding="ascii"):
        privd.refused("umount", "busy", folder=folder)
    assert privd.ask("umount", folder=folder)["ok"]


# ---- taps


@pytest.fixture
def tap():
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("the kernel has no /dev/net/tun")
    name = f"tap{os.getpid() % 100000}.9"
    yield name
    subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)


def sysfs(name, fact):
    with open(f"/sys/class/net/{name}/{fact}", encoding="ascii") as f:
        return f.read().strip()


def test_makes_and_removes_a_tap(privd, tap):
    assert privd.ask("tap-add", name=tap) == {"ok": True}
    assert sysfs(tap, "owner") == "0"
    assert privd.ask("tap-add", name=tap) == {"ok": True}, "there already is fine"
    assert privd.ask("tap-del", name=tap) == {"ok": True}
    assert not os.path.exists(f"/sys/class/net/{tap}")
    assert privd.ask("tap-del", name=tap) == {"ok": True}, "absent is fine"


def test_a_tap_of_another_uid_is_left_alone(privd, tap):
    subprocess.run(["ip", "tuntap", "add", tap, "mode", "tap", "user", "4242"], check=True)
    privd.refused("tap-del", "of another uid", name=tap)
    privd.refused("tap-add", "of another uid", name=tap)
    assert os.path.exists(f"/sys/class/net/{tap}")


@pytest.mark.parametrize("name", ["lo", "eth0", "", "tap", "tap1.", "tap1.2.3", "../tap1", "tap1/x",
                                  "tapx", "tap%d", "tap12345678901234"])
def test_other_names_are_refused(privd, name):
    privd.refused("tap-add", "'name'", name=name)
    privd.refused("tap-del", "'name'", name=name)


# ---- volume groups

GROUP = "VG_XenStorage-11111111-2222-3333-4444-555555555555"


def lvs(device, what="lv_size"):
    config = f'devices {{ use_devicesfile=0 filter=["a|^{device}$|","r|.*|"] }} global {{ activation=0 }}'
    out = subprocess.run(["lvm", "lvs", "--noheadings", "--units", "m", "--nosuffix", "-o", "lv_name," + what,
                          "--config", config], text=True, check=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout
    return {name: float(text) if what == "lv_size" else text for name, text in map(str.split, out.splitlines())}


def test_volumes_of_a_group(privd, loop):
    about = {"device": loop, "group": GROUP}
    assert privd.ask("vg-create", **about) == {"ok": True}
    privd.refused("vg-create", "carries LVM2_member", **about)
    assert privd.ask("lv-create", **about, volume="new-a", size=8 << 20) == {"ok": True}
    assert privd.ask("lv-extend", **about, volume="new-a", size=16 << 20) == {"ok": True}
    assert privd.ask("lv-rename", **about, volume="new-a", to="VHD-a") == {"ok": True}
    assert lvs(loop) == {"VHD-a": 16}
    assert privd.ask("lv-reduce", **about, volume="VHD-a", size=12 << 20) == {"ok": True}
    assert lvs(loop) == {"VHD-a": 12}
    subprocess.run(["lvm", "lvchange", "-qq", "-p", "r", GROUP + "/VHD-a", "--config",
                    f'devices {{ use_devicesfile=0 filter=["a|^{loop}$|","r|.*|"] }} global {{ activation=0 }}'],
                   check=True)
    assert lvs(loop, "lv_attr")["VHD-a"][1] == "r"
    assert privd.ask("lv-writable", **about, volume="VHD-a") == {"ok": True}
    assert lvs(loop, "lv_attr")["VHD-a"][1] == "w"
    privd.refused("lv-create", "insufficient free space", **about, volume="b", size=1 << 30)
    assert privd.ask("lv-remove", **about, volume="VHD-a") == {"ok": True}
    assert lvs(loop) == {}
    assert privd.ask("vg-remove", **about) == {"ok": True}
    assert blkid(loop, "TYPE") == ""


def test_groups_of_others_are_left_alone(privd, loop):
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", loop], check=True)
    privd.refused("vg-create", "carries ext4 labelled 'precious'", device=loop, group=GROUP)
    for group in ("root", "VG_XenStorage-", GROUP + "x", GROUP[:-1] + "/"):
        privd.refused("vg-remove", "'group'", device=loop, group=group)
    for volume in ("", "-a", "a/b", "a b", "x" * 128):
        privd.refused("lv-remove", "'volume'", device=loop, group=GROUP, volume=volume)
    assert blkid(loop, "LABEL") == "precious"


# ---- passwords


def test_accepts_and_refuses_as_pam_says(privd):
    assert privd.ask("authenticate", user="root", password="x") == {"ok": True, "accepted": True}
    privd.service("auth required pam_deny.so", "account required pam_permit.so")
    assert privd.ask("authenticate", user="root", password="x") == {"ok": True, "accepted": False}


def test_the_account_has_to_be_let_in_too(privd):
    privd.service("auth required pam_permit.so", "account required pam_deny.so")
    assert privd.ask("authenticate", user="root", password="x") == {"ok": True, "accepted": False}


def test_the_password_reaches_pam_and_no_log(privd):
    privd.plugin("check", "#!/bin/sh\nread -r p\n[ \"$PAM_USER/$p\" = 'alice/s3cret!' ]\n")
    privd.service(f"auth [success=1 default=ignore] pam_exec.so expose_authtok "
                  f"{privd.plugins}/check", "auth requisite pam_deny.so",
                  "auth required pam_permit.so", "account required pam_permit.so")
    assert privd.ask("authenticate", user="alice", password="s3cret!")["accepted"] is True
    assert privd.ask("authenticate", user="alice", password="s3cret")["accepted"] is False
    with open(privd.log, encoding="utf-8") as f:
        assert "s3cret" not in f.read()


def test_a_broken_service_is_an_error_not_a_refusal(privd):
    os.unlink(f"{privd.pam}/cairn")
    answer = privd.ask("authenticate", user="root", password="x")
    assert answer["ok"] is False and "accepted" not in answer


@pytest.mark.parametrize("user", ["", "a:b", "a/b", "-x", "a\nb", "x" * 257])
def test_odd_users_are_refused(privd, user):
    privd.refused("authenticate", "'user'", user=user, password="x")


def test_pam_that_hangs_keeps_nobody_waiting(privd):
    privd.plugin("hang", f"#!/bin/sh\necho $$ > {privd.folder}/hangs\nexec sleep 600\n")
    privd.service(f"auth required pam_exec.so quiet {privd.plugins}/hang")
    with privd.send(b'{"verb":"authenticate","user":"root","password":"x"}\n'):
        wait(lambda: os.path.exists(f"{privd.folder}/hangs"), "PAM hangs")
        begin = time.monotonic()
        assert privd.ask("umount", folder=f"{privd.mounts}/one") == {"ok": True}
        assert time.monotonic() - begin < 5
        wait(lambda: len(privd.workers()) == 1, "the hanging one alone is left")
        with open(f"{privd.folder}/hangs", encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGKILL)


def test_late_is_late(privd):
    privd.stop()
    privd.options = ("--deadline", "1")
    privd.start()
    privd.plugin("hang", "#!/bin/sh\nexec sleep 600\n")
    privd.service(f"auth required pam_exec.so quiet {privd.plugins}/hang")
    begin = time.monotonic()
    privd.refused("run-plugin", "not done in time", plugin="hang", argument="")
    privd.refused("authenticate", "not done in time", user="root", password="x")
    assert 2 <= time.monotonic() - begin < 20
    wait(lambda: not privd.workers(), "what hung is ended")


# ---- plugins


def test_runs_a_plugin(privd):
    privd.plugin("echo", '#!/bin/sh\necho "$1"; cat; echo problem >&2; exit 3\n')
    got = privd.ask("run-plugin", plugin="echo", argument="<call>", input="more")
    assert got == {"ok": True, "status": 3, "stdout": "<call>\nmore", "stderr": "problem\n"}
    got = privd.ask("run-plugin", plugin="echo", argument="x")
    assert got["stdout"] == "x\n"


def test_a_plugin_has_the_powers_of_root(privd):
    privd.plugin("caps", "#!/bin/sh\ngrep -E 'CapEff|NoNewPrivs' /proc/self/status\nid -u\npwd\n")
    out = privd.ask("run-plugin", plugin="caps", argument="")["stdout"].split()
    with open("/proc/self/status", encoding="ascii") as f:
        mine = next(s for s in f if s.startswith("CapEff")).split()[1]
    assert out == ["CapEff:", mine, "NoNewPrivs:", "0", "0", "/"]


def test_only_trusted_files_are_plugins(privd):
    privd.plugin("good", "#!/bin/sh\n")
    privd.plugin("group", "#!/bin/sh\n", 0o775)
    privd.plugin("world", "#!/bin/sh\n", 0o757)
    privd.plugin("plain", "#!/bin/sh\n", 0o644)
    privd.plugin("alien", "#!/bin/sh\n")
    os.chown(f"{privd.plugins}/alien", 4242, 0)
    os.symlink("good", f"{privd.plugins}/link")
    os.mkdir(f"{privd.plugins}/folder")
    assert privd.ask("run-plugin", plugin="good", argument="")["ok"] is True
    for name, why in (("group", "written by others"), ("world", "written by others"),
                      ("plain", "no executable"), ("alien", "belongs to uid 4242"),
                      ("link", "no executable"), ("folder", "no executable"),
                      ("none", "there is no plugin 'none'")):
        privd.refused("run-plugin", why, plugin=name, argument="")
    for name in ("../plugins/good", "/bin/true", "", ".", "..", ".good", "good\n", "-good"):
        privd.refused("run-plugin", "'plugin'", plugin=name, argument="")


def test_a_plugin_that_writes_without_end_is_ended(privd):
    privd.plugin("yes", "#!/bin/sh\nexec yes\n")
    privd.refused("run-plugin", "wrote more than 524288 bytes", plugin="yes", argument="")
    privd.plugin("loud", "#!/bin/sh\nexec yes >&2\n")
    privd.refused("run-plugin", "wrote more than 65536 bytes", plugin="loud", argument="")
    privd.plugin("bytes", "#!/bin/sh\nprintf '\\377'\n")
    privd.refused("run-plugin", "no text", plugin="bytes", argument="")


def test_a_plugin_may_leave_something_behind(privd):
    privd.plugin("daemon", "#!/bin/sh\nsleep 600 &\necho $!\n")
    begin = time.monotonic()
    got = privd.ask("run-plugin", plugin="daemon", argument="")
    assert got["ok"] and time.monotonic() - begin < 20
    os.kill(int(got["stdout"]), signal.SIGKILL)


def test_a_plugin_that_does_not_read_its_input(privd):
    privd.plugin("deaf", "#!/bin/sh\necho done\n")
    got = privd.ask("run-plugin", plugin="deaf", argument="", input="x" * 900000)
    assert got == {"ok": True, "status": 0, "stdout": "done\n", "stderr": ""}


def test_the_end_of_a_plugin_by_a_signal_is_a_status(privd):
    privd.plugin("dies", "#!/bin/sh\nkill -9 $$\n")
    assert privd.ask("run-plugin", plugin="dies", argument="")["status"] == 137


# ---- sockets


def free_port():
    for port in range(1000, 600, -1):
        with socket.socket() as s:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


def test_listens_on_a_low_port(privd):
    port = free_port()
    privd.stop()
    privd.options = ("--port", str(port))
    privd.start()
    privd.refused("listen", "none of those", address="127.0.0.1", port=80)
    answer, fds = privd.ask_fd("listen", address="127.0.0.1", port=port)
    assert answer == {"ok": True} and len(fds) == 1
    with socket.socket(fileno=fds[0]) as s:
        assert s.getsockname() == ("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port), 5):
            s.accept()[0].close()
        privd.refused("listen", "in use", address="127.0.0.1", port=port)


@pytest.mark.parametrize("address,port", [("127.0.0.1", 0), ("127.0.0.1", 22),
                                          ("127.0.0.1", 1024), ("127.0.0.1", -1),
                                          ("127.0.0.1", 65616), ("localhost", 80), ("", 80),
                                          ("127.0.0.1", "80"), ("127.0.0.1", 80.0)])
def test_other_ports_and_names_are_refused(privd, address, port):
    answer, fds = privd.ask_fd("listen", address=address, port=port)
    assert answer["ok"] is False and fds == []


# ---- who asks, and how


def ask_as(uid, path, request):
    """Asks from a process of another uid."""
    code = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
            "try:\n s.sendall(sys.argv[2].encode()+b'\\n')\nexcept BrokenPipeError:\n pass\n"
            "sys.stdout.write(s.makefile().readline())")
    out = subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "/usr/bin/python3", "-c",
                          code, path, json.dumps(request)], text=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout)


class privd_for:
    """A second cairn-privd, for another uid, in the namespace of the first."""

    def __init__(self, privd, uid):
        self.path = f"{privd.folder}/other"
        self.argv = ["nsenter", "-m", "-r", "-t", str(privd.process.pid), PROGRAM, "--socket", self.path,
                     "--peer-uid", str(uid), "--mount-dir", privd.mounts]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stderr=subprocess.DEVNULL)
        wait(lambda: os.path.exists(self.path), "the second one listens")
        return self.path

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(20) == 0


def test_only_the_configured_uid_is_answered(privd):
    request = {"verb": "umount", "folder": f"{privd.mounts}/one"}
    answer = ask_as(4242, privd.socket, request)
    assert answer["ok"] is False and "may not ask" in answer["error"]
    with privd_for(privd, 4242) as other:
        assert ask_as(4242, other, request) == {"ok": True}
        assert ask_as(0, other, request)["ok"] is False, "not even root's"


GARBAGE = [b"\n", b"{}\n", b"[]\n", b"null\n", b'"mount"\n', b"GET / HTTP/1.1\r\n\r\n", b"\0\n",
           b'{"verb":1}\n', b'{"verb":"reboot"}\n', b'{"verb":"mount"}\n', b"{" * 5000 + b"\n",
           b'{"verb":"umount","folder":["/"]}\n', b'{"verb":"umount","folder":null}\n',
           b'{"verb":"umount","folder":"/a","more":1}\n', b'{"verb":"umount","folder":"/a\\u0000"}\n',
           b'{"verb":"umount","folder":"\xff"}\n', b'{"verb":"umount","folder":"/a"} x\n',
           b'{"verb":"umount","folder":"/a"}\n{"verb":"umount","folder":"/a"}\n',
           b'{"verb":"umount","folder":"/a"', b"x" * (2 << 20)]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_refused_and_harms_nobody(privd, data):
    try:
        line = privd.raw(data)
    except (BrokenPipeError, ConnectionResetError):
        line = b'{"ok":false}'  # it did not read on
    assert json.loads(line)["ok"] is False
    assert privd.ask("umount", folder=f"{privd.mounts}/one") == {"ok": True}


def test_one_who_says_nothing_keeps_nobody_waiting(privd):
    silent = [privd.send(b"") for _ in range(20)]
    assert privd.ask("umount", folder=f"{privd.mounts}/one") == {"ok": True}
    for s in silent:
        s.close()
    wait(lambda: not privd.workers(), "their workers end")


def test_ping_names_the_process(privd):
    assert privd.ask("ping") == {"ok": True, "pid": privd.process.pid}


def test_tells_the_kernels_log(privd):
    answer = privd.ask("kernel-log", clear=False)
    shown = subprocess.run(["dmesg"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                           errors="replace", check=False)
    lines = [line.split("] ", 1)[-1] for line in shown.stdout.splitlines()[-200:]]
    assert answer["ok"] == (shown.returncode == 0), answer
    assert not lines or any(line in answer["text"] for line in lines if line.isascii() and line)
    privd.refused("kernel-log", "'clear'")


def test_many_at_once(privd):
    privd.plugin("echo", '#!/bin/sh\nsleep 0.1; echo "$1"\n')
    got = {}

    def run(i):
        got[i] = privd.ask("run-plugin", plugin="echo", argument=str(i))["stdout"]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == {i: f"{i}\n" for i in range(100)}
    wait(lambda: not privd.workers(), "the workers end")


# ---- deaths


def test_a_worker_that_dies_is_answered_for(privd):
    privd.plugin("kill", "#!/bin/sh\nkill -9 $PPID\nsleep 600\n")
    privd.refused("run-plugin", "killed by signal 9", plugin="kill", argument="")
    wait(lambda: not privd.workers(), "what it ran is ended too")


def test_killed_and_started_again(privd, loop):
    assert privd.ask("mkfs", device=loop, label="x")["ok"]
    assert privd.ask("mount", device=loop, folder=f"{privd.mounts}/one")["ok"]
    with privd_for(privd, 0) as other:
        privd.kill()
        answer = ask_as(0, other, {"verb": "umount", "folder": f"{privd.mounts}/one"})
        assert answer == {"ok": True}, "another one knows as much"
    privd.start()
    assert privd.ask("mount", device=loop, folder=f"{privd.mounts}/one")["ok"]
    assert privd.ask("umount", folder=f"{privd.mounts}/one")["ok"]


def test_killed_in_the_middle_the_worker_still_answers(privd):
    privd.plugin("slow", f"#!/bin/sh\ntouch {privd.folder}/began\nsleep 1\necho done\n")
    with privd.send(b'{"verb":"run-plugin","plugin":"slow","argument":""}\n') as s:
        wait(lambda: os.path.exists(f"{privd.folder}/began"), "the plugin runs")
        privd.kill()
        assert json.loads(s.makefile().readline())["stdout"] == "done\n"
    privd.start()


def test_asked_to_end_it_finishes_what_is_under_way(privd):
    privd.plugin("slow", f"#!/bin/sh\ntouch {privd.folder}/began\nsleep 1\necho done\n")
    with privd.send(b'{"verb":"run-plugin","plugin":"slow","argument":""}\n') as s:
        wait(lambda: os.path.exists(f"{privd.folder}/began"), "the plugin runs")
        privd.process.terminate()
        assert json.loads(s.makefile().readline())["stdout"] == "done\n"
    assert privd.process.wait(10) == 0


# ---- powers


def powers(pid):
    """The capabilities in force."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line.split()[1] for line in f if line.startswith("CapEff")), 16)


def test_powers_are_given_away(privd):
    with privd.send(b""):
        wait(privd.workers, "there is a worker")
        worker = privd.workers()[0]
        wait(lambda: powers(worker) == 0, "the new worker gives them away")
        assert powers(privd.process.pid) == 1 << 5


def test_its_arguments_name_the_listening_process_alone(privd):
    with privd.send(b""):
        wait(privd.workers, "there is a worker")
        pids = (privd.process.pid, privd.workers()[0])
        wait(lambda: [privd.socket in arguments(pid) for pid in pids] == [True, False],
             "the worker has become one")


def arguments(pid):
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as f:
        return f.read()


def test_a_program_of_pam_has_no_more_than_the_verb(privd):
    privd.plugin("caps", f"#!/bin/sh\ncat /proc/self/status > {privd.folder}/status\n")
    privd.service(f"auth required pam_exec.so quiet {privd.plugins}/caps")
    privd.ask("authenticate", user="root", password="x")
    with open(f"{privd.folder}/status", encoding="ascii") as f:
        status = dict(line.split(":", 1) for line in f)
    admin, sys_admin = 1 << 12, 1 << 21
    assert int(status["CapEff"], 16) & (admin | sys_admin) == 0
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16)
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"


# ---- the command line


def check(privd, *options):
    return subprocess.run(privd.argv("--check", *options), text=True, stderr=subprocess.PIPE)


def test_check_says_what_is_wrong(privd):
    assert check(privd).returncode == 0
    os.chmod(privd.plugins, 0o777)
    done = check(privd)
    assert done.returncode == 1 and "can be written by others" in done.stderr
    os.chmod(privd.plugins, 0o755)
    os.chown(privd.mounts, 4242, 0)
    done = check(privd)
    assert done.returncode == 1 and "belongs to uid 4242" in done.stderr
    os.chown(privd.mounts, 0, 0)
    os.symlink(privd.plugins, f"{privd.folder}/link")
    assert check(privd, "--plugins-dir", f"{privd.folder}/link").returncode == 1


@pytest.mark.parametrize("argv,status", [(["--help"], 0), (["--version"], 0), ([], 2),
                                         (["--peer-uid", "no such account"], 2),
                                         (["--peer-uid", "0", "more"], 2),
                                         (["--peer-uid", "0", "--nothing"], 2),
                                         (["--peer-uid", "0"], 1)])
def test_exit_codes(argv, status):
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([PROGRAM, *argv], env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == status
    assert bool(done.stdout) == (status == 0) and bool(done.stderr) == (status != 0)


def test_takes_a_socket_that_is_handed_over(privd):
    path = f"{privd.folder}/handed"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        code = ("import os,sys\nos.dup2(int(sys.argv[1]), 3)\n"
                "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
                "os.execv(sys.argv[2], [sys.argv[2], '--peer-uid', '0'])")
        p = subprocess.Popen(["/usr/bin/python3", "-c", code, str(s.fileno()), PROGRAM],
                             pass_fds=[s.fileno()], stderr=subprocess.DEVNULL)
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(20)
            c.connect(path)
            c.sendall(b'{"verb":"umount","folder":"/x/y"}\n')
            assert "no mount folder" in json.loads(c.makefile().readline())["error"]
        p.terminate()
        assert p.wait(10) == 0
