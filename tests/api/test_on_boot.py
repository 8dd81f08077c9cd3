"""Disks that forget at each start of their VM, and disks that may be cached."""
import pytest

from simhost import failure
from test_snapshot import cairnctl
from transfers import MIB, Client, pattern

SIZE = 4 * MIB


@pytest.fixture(name="sr")
def local_storage(x):
    return x.SR.get_by_name_label("Local storage")[0]


def make_vdi(x, sr, **fields):
    return x.VDI.create({"name_label": "disk", "SR": sr, "virtual_size": str(SIZE), "type": "user",
                         "sharable": False, "read_only": False, "other_config": {}, **fields})


@pytest.fixture(name="vdi")
def disk(x, sr):
    ref = make_vdi(x, sr)
    yield ref
    x.VDI.destroy(ref)


@pytest.fixture(name="guest")
def vm_of(x, vdi):
    vm = x.VM.clone(x.VM.get_by_name_label("Other install media")[0], "forgets")
    x.VM.provision(vm)
    x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": False, "mode": "RW",
                  "type": "Disk", "empty": False, "other_config": {}, "qos_algorithm_type": "",
                  "qos_algorithm_params": {}})
    yield vm
    if x.VM.get_power_state(vm) != "Halted":
        x.VM.hard_shutdown(vm)
    x.VM.destroy(vm)


class Content:
    """What is in a disk, read and written as a transfer does it."""

    def __init__(self, client, vdi):
        self.client, self.vdi = client, vdi

    def fill(self, seed):
        content = pattern(seed, SIZE)
        assert self.client.put("/import_raw_vdi", content, vdi=self.vdi)[0] == 200
        return content

    def read(self):
        return self.client.get("/export_raw_vdi", vdi=self.vdi)[2]


@pytest.fixture(name="content")
def content_of(daemon, x, vdi):
    return Content(Client(daemon, x), vdi)


def start_and_stop(x, vm):
    x.VM.start(vm, False, False)
    x.VM.hard_shutdown(vm)


def test_what_was_written_goes_at_the_next_start(x, guest, vdi, content):
    first = content.fill("first")
    x.VDI.set_on_boot(vdi, "reset")
    assert x.VDI.get_on_boot(vdi) == "reset" and content.read() == first
    uuid = x.VDI.get_uuid(vdi)
    second = content.fill("second")
    assert content.read() == second
    for _ in range(2):
        start_and_stop(x, guest)
        assert content.read() == first and x.VDI.get_uuid(vdi) == uuid
    content.fill("third")
    x.VDI.set_on_boot(vdi, "persist")
    third = content.read()
    start_and_stop(x, guest)
    assert content.read() == third != first


def test_a_reboot_is_a_start(x, guest, vdi, content, daemon):
    first = content.fill("first")
    x.VDI.set_on_boot(vdi, "reset")
    x.VM.start(guest, False, False)
    domid = x.VM.get_domid(guest)
    x.VM.hard_reboot(guest)
    assert x.VM.get_domid(guest) != domid
    x.VM.hard_shutdown(guest)
    assert content.read() == first


def test_a_clone_is_what_the_disk_will_be(x, vdi, content):
    first = content.fill("first")
    x.VDI.set_on_boot(vdi, "reset")
    content.fill("second")
    clone = x.VDI.clone(vdi)
    assert Content(content.client, clone).read() == first
    assert x.VDI.get_on_boot(clone) == "persist"
    x.VDI.destroy(clone)


NOT_NOW = ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]


def test_what_does_not_last_is_not_kept(x, guest, vdi):
    x.VDI.set_on_boot(vdi, "reset")
    assert failure(x.VDI.snapshot, vdi) == NOT_NOW
    assert failure(x.VM.snapshot, guest, "s") == NOT_NOW
    assert failure(x.VDI.resize, vdi, str(2 * SIZE)) == NOT_NOW
    assert failure(x.VDI.enable_cbt, vdi) == NOT_NOW
    x.VM.start(guest, False, False)
    assert failure(x.VM.suspend, guest) == NOT_NOW
    assert failure(x.VM.checkpoint, guest, "c") == NOT_NOW
    assert x.VM.get_power_state(guest) == "Running"
    assert failure(x.VDI.set_on_boot, vdi, "persist")[:2] == ["VDI_IN_USE", vdi]


def test_which_disks_cannot_forget(x, sr, vdi):
    raw = make_vdi(x, sr, sm_config={"type": "raw"})
    shared = make_vdi(x, sr, sharable=True)
    read_only = make_vdi(x, sr, read_only=True)
    log = make_vdi(x, sr, type="redo_log")
    assert failure(x.VDI.set_on_boot, raw, "reset") == ["SR_OPERATION_NOT_SUPPORTED", sr]
    assert failure(x.VDI.set_on_boot, shared, "reset") == ["VDI_IS_SHARABLE", shared]
    assert failure(x.VDI.set_on_boot, read_only, "reset")[0] == "OPERATION_NOT_ALLOWED"
    assert failure(x.VDI.set_on_boot, log, "reset") == ["VDI_INCOMPATIBLE_TYPE", log, "redo_log"]
    x.VDI.enable_cbt(vdi)
    assert failure(x.VDI.set_on_boot, vdi, "reset") == ["VDI_CBT_ENABLED", vdi]
    x.VDI.disable_cbt(vdi)
    iso = x.SR.get_by_name_label("ISO library")
    for cd in x.SR.get_VDIs(iso[0]) if iso else []:
        assert failure(x.VDI.set_on_boot, cd, "reset") == ["SR_OPERATION_NOT_SUPPORTED", iso[0]]
    for ref in (raw, shared, read_only, log):
        assert x.VDI.get_on_boot(ref) == "persist"
        x.VDI.destroy(ref)


def test_who_may_be_cached_is_written_down(x, vdi):
    assert not x.VDI.get_allow_caching(vdi)
    x.VDI.set_allow_caching(vdi, True)
    assert x.VDI.get_allow_caching(vdi)
    x.VDI.set_allow_caching(vdi, False)
    assert not x.VDI.get_allow_caching(vdi)
    assert failure(x.VDI.set_allow_caching, "OpaqueRef:none", True)[0] == "HANDLE_INVALID"


# ---- read caching ----

def cache_keys(x, vdi):
    """What sm_config says of read caching: by the first words of the keys."""
    host = x.host.get_uuid(x.host.get_all()[0])
    found = {k: v for k, v in x.VDI.get_sm_config(vdi).items() if k.startswith("read-caching-")}
    assert all(k.endswith("-on-" + host) or k == "read-caching-reason-" + host for k in found)
    return {k.split("-")[2]: v for k, v in found.items()}


def with_key(x, cls, ref, vm):
    """Runs the VM while the object forbids the page cache, and tells what is said then."""
    getattr(x, cls).add_to_other_config(ref, "o_direct", "true")
    try:
        x.VM.start(vm, False, False)
        vbd = next(b for b in x.VM.get_VBDs(vm) if x.VBD.get_type(b) == "Disk")
        return cache_keys(x, x.VBD.get_VDI(vbd))
    finally:
        getattr(x, cls).remove_from_other_config(ref, "o_direct")
        x.VM.hard_shutdown(vm)


def test_whether_reads_are_cached_is_told_while_the_vm_runs(daemon, x, sr, guest, vdi, content):
    content.fill("first")
    assert cache_keys(x, vdi) == {}
    x.VM.start(guest, False, False)
    assert cache_keys(x, vdi) == {"enabled": "false", "reason": "RO_WITH_NO_PARENT"}
    snapshot = x.VDI.snapshot(vdi)
    assert cache_keys(x, vdi) == {"enabled": "true"} and cache_keys(x, snapshot) == {}
    tree = cairnctl(daemon, "sr", "tree", x.SR.get_uuid(sr))
    assert f"{x.VDI.get_uuid(vdi)}" in tree and "'forgets' (Running), read cache" in tree
    x.VM.hard_shutdown(guest)
    assert cache_keys(x, vdi) == {}
    assert with_key(x, "SR", sr, guest) == {"enabled": "false", "reason": "SR_OVERRIDE"}
    assert with_key(x, "VDI", vdi, guest) == {"enabled": "false", "reason": "VDI_OVERRIDE"}
    x.VDI.destroy(snapshot)
