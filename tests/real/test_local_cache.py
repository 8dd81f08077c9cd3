"""A guest on an NFS server whose base copy is kept on this host once it was read."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from realhost import run_host, run_vm_on, wait_for  # noqa: E402
from storageserver import Network, Nfs  # noqa: E402
from test_metrics import disk_counters  # noqa: E402
from test_on_boot import disk_of  # noqa: E402

host = pytest.fixture(scope="module")(run_host)


@pytest.fixture(name="far", scope="module")
def remote_repository(host, tmp_path_factory):
    with Network(tmp_path_factory.mktemp("nfs")) as net:
        nfs = Nfs(net, exports=("a",)).start()
        sr = host.x.SR.create(host.x.host.get_all()[0],
                              {"server": net.address, "serverpath": nfs.exports["a"]}, "0", "far",
                              "", "nfs", "user", True, {})
        yield sr, os.path.join(nfs.exports["a"], host.x.SR.get_uuid(sr))
        host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
        host.x.SR.forget(sr)


@pytest.fixture(name="cache", scope="module")
def local_repository(host):
    """The folder of the repository that keeps what is read."""
    me, folder = host.x.host.get_all()[0], os.path.join(host.folder, "cache")
    os.makedirs(folder)
    sr = host.x.SR.create(me, {"location": folder}, "0", "cache", "", "file", "user", False, {})
    switch(host, sr)
    yield folder
    switch(host, None)
    host.x.PBD.unplug(host.x.SR.get_PBDs(sr)[0])
    host.x.SR.forget(sr)


def switch(host, sr):
    me = host.x.host.get_all()[0]
    host.x.host.disable(me)
    if sr:
        host.x.host.enable_local_storage_caching(me, sr)
    else:
        host.x.host.disable_local_storage_caching(me)
    host.x.host.enable(me)


def copies(folder):
    return sorted(n for n in os.listdir(folder) if n.endswith(".vhdcache"))


def run(host, vm):
    """A few rounds from start to end; where its reads of the base copy came from."""
    host.x.VM.start(vm, False, False)
    host.rounds(vm, 3)
    counters = disk_counters(host, host.x_uuid[vm])["copy"]
    host.x.VM.hard_shutdown(vm)
    return counters


@pytest.mark.parametrize("on_boot", ["persist", "reset"])
def test_the_base_copy_is_kept(host, far, cache, on_boot):
    with run_vm_on(host, *far) as vm:
        vdi = disk_of(host, vm)
        snapshot = host.x.VDI.snapshot(vdi)
        host.x.VDI.set_on_boot(vdi, on_boot)
        assert run(host, vm)["miss"] == 0 and not copies(cache)
        host.x.VDI.set_allow_caching(vdi, True)
        first = run(host, vm)
        assert first["miss"] > 0
        parent = host.x.VDI.get_sm_config(vdi)["vhd-parent"]
        assert copies(cache) == [parent + ".vhdcache"]
        second = run(host, vm)
        assert second["hit"] > 0 and second["miss"] == 0 == second["unkept"]
        os.rename(cache, cache + ".away")
        try:
            assert run(host, vm)["hit"] == 0  # without it as well
        finally:
            os.rename(cache + ".away", cache)
        host.x.VDI.destroy(snapshot)
    wait_for(lambda: not copies(cache))
