"""Volume groups on loop devices, looked at with lvm2's own tools and by reading extents."""
import contextlib
import json
import os
import subprocess

MIB = 1 << 20
EXTENT = 4 * MIB
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@contextlib.contextmanager
def loop_device(path, size, fill=b"\xa5"):
    """Full of what somebody left there. Size 0: a file that is there."""
    with open(path, "ab") as f:
        for _ in range(size // MIB):
            f.write(fill * MIB)
    device = subprocess.run(["losetup", "--show", "-f", str(path)], check=True, text=True,
                            capture_output=True).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def tool(device, name, *words):
    """What lvm2 says, which must have nothing to complain about; several devices with commas."""
    config = ('devices { use_devicesfile=0 filter=[%s"r|.*|"] } global { activation=0 }' %
              "".join(f'"a|^{d}$|",' for d in device.split(",")))
    p = subprocess.run(["lvm", name, *words, "--config", config], text=True, capture_output=True,
                       check=True, close_fds=True, env=dict(os.environ, LVM_SUPPRESS_FD_WARNINGS="1"))
    assert not [s for s in p.stderr.splitlines() if not s.endswith((" not zeroed.", "will be attempted."))], p.stderr
    return p.stdout


def report(device, name, fields, *words):
    out = tool(device, name, "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, *words)
    (rows,) = json.loads(out)["report"][0].values()
    return rows


def volumes(device):
    return {v["lv_name"]: int(v["lv_size"]) for v in report(device, "lvs", "lv_name,lv_size")}


def check(host, device, sr):
    """lvm2 finds the group sound, with as much free as the repository says."""
    tool(device, "vgck")
    (vg,) = report(device, "vgs", "vg_name,vg_size,vg_free")
    host.x.SR.update(sr)
    assert vg["vg_name"] == "VG_XenStorage-" + host.x.SR.get_uuid(sr)
    assert int(vg["vg_size"]) == int(host.x.SR.get_physical_size(sr))
    assert int(vg["vg_size"]) - int(vg["vg_free"]) == int(host.x.SR.get_physical_utilisation(sr))


def extents(device, name):
    """Where a volume is: (device, place, size) in bytes."""
    starts = {pv["pv_name"]: int(pv["pe_start"]) for pv in report(device, "pvs", "pv_name,pe_start")}
    found = []
    for row in report(device, "lvs", "lv_name,seg_start,seg_pe_ranges", "--segments"):
        if row["lv_name"] == name:
            on, where = row["seg_pe_ranges"].rsplit(":", 1)
            first, last = map(int, where.split("-"))
            found.append((int(row["seg_start"]), on, starts[on] + first * EXTENT, (last - first + 1) * EXTENT))
    return [piece[1:] for piece in sorted(found)]


def content(device, name):
    data = b""
    for on, at, size in extents(device, name):
        with open(on, "rb") as f:
            f.seek(at)
            data += f.read(size)
    return data


def vhdcheck(device, names, folder):
    """A leaf and what is below it, nearest first: good to a reader of its own."""
    paths = []
    for name in names:
        paths.append(os.path.join(str(folder), name))
        with open(paths[-1], "wb") as f:
            f.write(content(device, name))
    p = subprocess.run([os.path.join(TOP, "tools", "vhdcheck"), "--foreign", "--chain", *paths],
                       text=True, capture_output=True)
    assert p.returncode == 0, p.stdout + p.stderr
