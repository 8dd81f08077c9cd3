"""Libraries of CD images: uploaded, on an NFS server; and the repository in memory."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import make_disk, run_host  # noqa: E402
from simhost import BUILD, PASSWORD, failure  # noqa: E402
from storageserver import Network, Nfs  # noqa: E402

host = pytest.fixture(scope="module")(run_host)
MIB = 1 << 20


@pytest.fixture(scope="module")
def nfs(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("nfs")) as net:
        yield Nfs(net).start()


def library(host, where):
    me = host.x.host.get_all()[0]
    return host.x.SR.create(me, where, "0", "CDs", "", "iso", "iso", True, {})


def upload(host, sr, name, content):
    path = os.path.join(host.folder, "upload")
    with open(path, "wb") as f:
        f.write(content)
    return subprocess.run(
        [os.path.join(BUILD, "xe"), "-s", "127.0.0.1", "-p", str(host.port), "--nossl", "-u", "root",
         "-pw", PASSWORD, "vdi-import", "sr-uuid=" + host.x.SR.get_uuid(sr), "name-label=" + name,
         "filename=" + path], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("where", ["local", "nfs"])
def test_uploaded_image_is_in_the_library(host, nfs, tmp_path, where):
    folder = str(tmp_path) if where == "local" else nfs.exports["a"]
    location = folder if where == "local" else f"{nfs.net.address}:{folder}"
    sr = library(host, {"location": location, "type": "nfs_iso"} if where == "nfs"
                 else {"location": location})
    content = os.urandom(3 * MIB + 2048)
    done = upload(host, sr, "tools.iso", content)
    assert done.returncode == 0, done.stderr
    with open(os.path.join(folder, "tools.iso"), "rb") as f:
        assert f.read() == content
    host.x.SR.scan(sr)
    vdi, = host.x.SR.get_VDIs(sr)
    record = host.x.VDI.get_record(vdi)
    assert (record["name_label"], record["location"]) == ("tools.iso", "tools.iso")
    assert record["read_only"] and int(record["virtual_size"]) == len(content)
    assert upload(host, sr, "tools.iso", content).returncode == 1
    assert upload(host, sr, "../tools.iso", content).returncode == 1
    host.x.VDI.destroy(vdi)
    assert os.listdir(folder) == []


def test_library_that_cannot_be(host, nfs):
    def code(location, **more):
        return failure(library, host, {"location": location, **more})[0]
    assert code(f"{nfs.net.address}:/none") == "SR_BACKEND_FAILURE_222"
    assert code("somewhere") == "SR_BACKEND_FAILURE_225"
    assert code(f"{nfs.net.address}:/a", nfsversion="4") == "SR_BACKEND_FAILURE_72"


def test_folder_is_found_by_the_repository(host, tmp_path):
    me = host.x.host.get_all()[0]
    os.makedirs(os.path.join(host.folder, "sr-mount"))
    sr = host.x.SR.create(me, {"location": str(tmp_path)}, "0", "f", "", "file", "user", False, {})
    link = os.path.join(host.folder, "sr-mount", host.x.SR.get_uuid(sr))
    vdi = make_disk(host, sr, 4 * MIB)
    assert os.path.exists(os.path.join(link, host.x.VDI.get_uuid(vdi) + ".vhd"))
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    assert not os.path.lexists(link)
    host.x.SR.destroy(sr)


def test_disks_in_memory(host):
    me = host.x.host.get_all()[0]
    sr = host.x.SR.create(me, {}, "0", "dummy", "", "dummy", "user", False, {})
    folder = os.path.join(host.folder, "run", "sr-dummy", host.x.SR.get_uuid(sr))
    vdi = make_disk(host, sr, 8 * MIB)
    assert os.listdir(folder) == [host.x.VDI.get_uuid(vdi) + ".vhd"]
    host.x.VDI.destroy(vdi)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.destroy(sr)
    assert not os.path.exists(folder)
