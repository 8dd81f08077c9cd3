"""xe vm-export, vm-import and their kin: files of the client, made and taken."""
import os
import re
import subprocess
import tarfile

import pytest

from transfers import Client, MIB, sparse

CONTENT = sparse(8 * MIB)
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def vm(daemon, xe):
    """A VM with a disk that has been written to; its uuid."""
    uuid = xe("vm-install", "template=Other install media", "new-name-label=packed")
    sr = xe("pool-list", "params=default-SR", "--minimal")
    vdi = xe("vdi-create", f"sr-uuid={sr}", "name-label=packed disk", "virtual-size=8MiB")
    xe("vbd-create", f"vm-uuid={uuid}", f"vdi-uuid={vdi}", "device=0")
    with daemon.connect() as x:
        assert Client(daemon, x).put("/import_raw_vdi", CONTENT, vdi=vdi)[0] == 200
    yield uuid
    xe("vm-uninstall", f"uuid={uuid}", "force=true")


def disk_of(xe, vm):
    return xe("vbd-list", f"vm-uuid={vm}", "type=Disk", "params=vdi-uuid", "--minimal")


def content_of(daemon, vdi):
    with daemon.connect() as x:
        return Client(daemon, x).get("/export_raw_vdi", vdi=vdi)[2]


@pytest.mark.parametrize("how", ["compress=false", "compress=true", "compress=zstd"])
def test_export_and_import(daemon, xe, vm, tmp_path, how):
    file = tmp_path / "vm.xva"
    assert xe("vm-export", f"uuid={vm}", f"filename={file}", how) == "Export succeeded"
    new = xe("vm-import", f"filename={file}")
    assert re.fullmatch(UUID, new) and new != vm
    assert xe("vm-param-get", f"uuid={new}", "param-name=name-label") == "packed"
    assert content_of(daemon, disk_of(xe, new)) == CONTENT
    xe("vm-uninstall", f"uuid={new}", "force=true")


def test_names_and_the_standard_output(xe, vm, tmp_path):
    xe("vm-export", "vm=packed", f"filename={tmp_path / 'a file & more.xva'}")
    with tarfile.open(tmp_path / "a file & more.xva") as t:
        assert t.getnames()[0] == "ova.xml"
    said = xe.fails("vm-export", "vm=packed", f"filename={tmp_path / 'a file & more.xva'}")
    assert "Cannot create the file" in said, "nothing is overwritten"


def test_metadata(xe, vm, tmp_path):
    file = tmp_path / "meta"
    xe("vm-export", f"uuid={vm}", f"filename={file}", "metadata=true")
    assert file.stat().st_size < MIB
    new = xe("vm-import", f"filename={file}", "metadata=true")
    assert disk_of(xe, new) == disk_of(xe, vm)
    assert xe("vm-import", f"filename={file}", "metadata=true", "dry-run=true") == ""
    assert vm in xe.fails("vm-import", f"filename={file}", "metadata=true", "preserve=true")
    xe("vm-destroy", f"uuid={new}")


def test_broken_files(xe, tmp_path):
    bad = tmp_path / "bad.xva"
    bad.write_bytes(b"no archive" * 1000)
    assert "this is no archive" in xe.fails("vm-import", f"filename={bad}")
    assert xe.fails("vm-import", f"filename={tmp_path / 'absent'}") != ""
    assert "Required parameter not found: filename" in xe.fails("vm-import")
    assert "cannot be fetched" in xe.fails("vm-import", "filename=x", "type=ESXServer")


def test_a_disk_becomes_a_vm(daemon, xe, tmp_path):
    """It bears the file's name; what begins with nothing is a disk only if that is said."""
    file = tmp_path / "old.server.img"
    file.write_bytes(CONTENT)
    assert "this is no archive" in xe.fails("vm-import", f"filename={file}")
    new = xe("vm-import", f"filename={file}", "type=raw")
    assert xe("vm-param-get", f"uuid={new}", "param-name=name-label") == "old"
    disk = xe("vm-disk-list", f"uuid={new}", "vdi-params=uuid", "--minimal").split(",")[-1]
    out = tmp_path / "out"
    xe("vdi-export", f"uuid={disk}", f"filename={out}")
    assert out.read_bytes()[:len(CONTENT)] == CONTENT
    xe("vm-uninstall", f"uuid={new}", "--force")


def test_with_its_snapshots(daemon, xe, vm, tmp_path):
    """One file, one uuid printed; the snapshot comes along with its disk."""
    file = tmp_path / "vm.xva"
    sr = xe("pool-list", "params=default-SR", "--minimal")
    xe("sr-param-set", f"uuid={sr}", "other-config:gc=false")  # nothing is tidied meanwhile
    snapshot = xe("vm-snapshot", f"uuid={vm}", "new-name-label=before")
    xe("vm-export", f"uuid={vm}", f"filename={file}", "include-snapshots=true")
    new = xe("vm-import", f"filename={file}")
    assert re.fullmatch(UUID, new)
    copy = xe("snapshot-list", f"snapshot-of={new}", "params=uuid", "--minimal")
    assert re.fullmatch(UUID, copy) and copy != snapshot
    assert xe("snapshot-param-get", f"uuid={copy}", "param-name=name-label") == "before"
    disk = xe("snapshot-disk-list", f"uuid={copy}", "vdi-params=uuid", "--minimal").split(",")[-1]
    assert content_of(daemon, disk) == CONTENT
    for one in (copy, snapshot):
        xe("snapshot-uninstall", f"uuid={one}", "force=true")
    xe("vm-uninstall", f"uuid={new}", "force=true")
    xe("sr-param-remove", f"uuid={sr}", "param-name=other-config", "param-key=gc")


def test_templates_and_snapshots(xe, vm, tmp_path):
    file = tmp_path / "t.xva"
    said = xe.fails("template-export", f"template-uuid={vm}", f"filename={file}")
    assert "can only be performed on a template" in said
    said = xe.fails("snapshot-export-to-template", f"snapshot-uuid={vm}", f"filename={file}")
    assert "can only be performed on a snapshot" in said
    template = xe("template-list", "name-label=Other install media", "--minimal")
    assert xe("template-export", f"template-uuid={template}", f"filename={file}") == \
        "Export succeeded"
    new = xe("vm-import", f"filename={file}")
    assert xe("template-list", f"uuid={new}", "params=name-label", "--minimal") == \
        "Other install media"
    xe("template-uninstall", f"template-uuid={new}", "force=true")


def test_disks(daemon, xe, vm, tmp_path):
    vdi = disk_of(xe, vm)
    raw = tmp_path / "d.raw"
    assert xe("vdi-export", f"uuid={vdi}", f"filename={raw}") == "Export succeeded"
    assert raw.read_bytes() == CONTENT
    for form, name in (("qcow2", "qcow2"), ("vhd", "vpc")):
        vhd = tmp_path / f"d.{form}"
        xe("vdi-export", f"uuid={vdi}", f"filename={vhd}", f"format={form}")
        subprocess.run(["qemu-img", "compare", "-f", name, "-F", "raw", vhd, raw], check=True,
                       stdout=subprocess.PIPE)
    sr = xe("pool-list", "params=default-SR", "--minimal")
    other = xe("vdi-create", f"sr-uuid={sr}", "name-label=other", "virtual-size=8MiB")
    xe("vdi-import", f"uuid={other}", f"filename={vhd}", "format=vhd")
    assert content_of(daemon, other) == CONTENT
    assert xe.fails("vdi-import", f"uuid={other}", f"filename={raw}", "format=floppy") != ""
    os.truncate(raw, 8 * MIB + 1)
    assert "longer than the disk" in xe.fails("vdi-import", f"uuid={other}", f"filename={raw}")
    xe("vdi-destroy", f"uuid={other}")
