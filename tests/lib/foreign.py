"""Disks and machines as other systems write them, for the tests of imports."""
import hashlib
import io
import struct
import subprocess
import tarfile

from transfers import MIB, pattern

BOOT = 510


def bootable(size=9 * MIB, seed="d"):
    """A disk with a boot sector, data here and there, a hole."""
    content = bytearray(size)
    content[0:510] = pattern(seed, 510)
    content[BOOT:BOOT + 2] = b"\x55\xaa"
    content[3 * MIB - 700:3 * MIB + 9000] = pattern(seed + "x", 9700)
    content[size - 4096:] = pattern(seed + "end", 4096)
    return bytes(content)


def convert(folder, content, form, options="", name="disk", more=()):
    """The bytes of an image that qemu-img makes of that content."""
    raw, out = folder / f"{name}.raw", folder / f"{name}.{form}"
    raw.write_bytes(content)
    command = ["qemu-img", "convert", "-f", "raw", "-O", form, *more]
    command += ["-o", options] if options else []
    subprocess.run([*command, raw, out], check=True, stdout=subprocess.DEVNULL)
    return out.read_bytes()


def backwards(packed):
    """A qcow2 whose tables are behind its data: the first table and all second ones move."""
    b = bytearray(packed)
    cluster = 1 << struct.unpack(">I", b[20:24])[0]
    entries, l1 = struct.unpack(">IQ", b[36:48])
    b += bytes(-len(b) % cluster)
    for n in range(entries):
        at = l1 + 8 * n
        l2 = struct.unpack(">Q", b[at:at + 8])[0] & 0x00fffffffffffe00
        if l2:
            b[at:at + 8] = struct.pack(">Q", len(b) | 1 << 63)
            b += b[l2:l2 + cluster]
            b[l2:l2 + cluster] = pattern("garbage", cluster)
    b[40:48] = struct.pack(">Q", len(b))
    b += b[l1:l1 + cluster]
    b[l1:l1 + cluster] = pattern("garbage", cluster)
    return bytes(b)


def tar(parts, compression=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}", format=tarfile.USTAR_FORMAT) as t:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def vhd_chain(folder, contents):
    """Images from the root to the leaf, each a difference to the one before: raw contents, of which
    each level has what differs."""
    paths, before = [], None
    for n, content in enumerate(contents):
        path = folder / f"level{n}.vhd"
        if before is None:
            path.write_bytes(convert(folder, content, "vpc", "force_size=on", f"level{n}"))
        else:
            path.write_bytes(difference(paths[-1].read_bytes(), before, content))
        paths.append(path)
        before = content
    return [p.read_bytes() for p in paths]


def checksum(block, at):
    return (~(sum(block) - sum(block[at:at + 4]))) & 0xffffffff


def difference(parent, before, content):
    """A differencing VHD with the sectors that differ; from the format's description."""
    block, sectors = 2 * MIB, 4096
    count = (len(content) + block - 1) // block
    footer = bytearray(parent[:512])
    parent_uuid = bytes(footer[68:84])
    footer[60:64] = struct.pack(">I", 4)
    footer[16:24] = struct.pack(">Q", 512)
    footer[68:84] = hashlib.sha256(content).digest()[:16]
    footer[64:68] = struct.pack(">I", checksum(footer, 64))
    bat_size = (count * 4 + 511) // 512 * 512
    header = bytearray(1024)
    header[0:8] = b"cxsparse"
    header[8:16] = b"\xff" * 8
    header[16:24] = struct.pack(">Q", 1536)
    header[24:36] = struct.pack(">III", 0x10000, count, block)
    header[40:56] = parent_uuid
    header[36:40] = struct.pack(">I", checksum(header, 36))
    bat, blocks, at = [], b"", 1536 + bat_size
    for n in range(count):
        new = content[n * block:(n + 1) * block].ljust(block, b"\0")
        old = before[n * block:(n + 1) * block].ljust(block, b"\0")
        if new == old:
            bat.append(0xffffffff)
            continue
        bitmap, data = bytearray(512), bytearray(block)
        for s in range(sectors):
            if new[s * 512:(s + 1) * 512] != old[s * 512:(s + 1) * 512]:
                bitmap[s // 8] |= 0x80 >> (s % 8)
                data[s * 512:(s + 1) * 512] = new[s * 512:(s + 1) * 512]
        bat.append((at + len(blocks)) // 512)
        blocks += bytes(bitmap) + bytes(data)
    table = b"".join(struct.pack(">I", b) for b in bat).ljust(bat_size, b"\xff")
    return bytes(footer) + bytes(header) + table + blocks + bytes(footer)


OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    {files}
  </References>
  <DiskSection><Info>disks</Info>
    {disks}
  </DiskSection>
  <NetworkSection><Info>networks</Info><Network ovf:name="VM Network"/></NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>a machine</Info><Name>from &lt;elsewhere&gt;</Name>
    <AnnotationSection><Info>x</Info><Annotation>long way</Annotation></AnnotationSection>
    <VirtualHardwareSection><Info>hardware</Info>
      <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
      {items}
      <Item><rasd:Connection>VM Network</rasd:Connection>
        <rasd:ResourceType>10</rasd:ResourceType></Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


def ovf(disks):
    """Of disks (file, bytes)."""
    numbered = list(enumerate(disks))
    return OVF.format(
        files="".join(f'<File ovf:id="file{n}" ovf:href="{f}"/>' for n, (f, _) in numbered),
        disks="".join(f'<Disk ovf:capacity="{size // MIB}" ovf:diskId="vmdisk{n}" '
                      f'ovf:capacityAllocationUnits="byte * 2^20" ovf:fileRef="file{n}"/>'
                      for n, (_, size) in numbered),
        items="".join('<Item><rasd:HostResource>ovf:/disk/vmdisk'
                      f'{n}</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>'
                      for n, _ in numbered)).encode()
