"""Repositories of files as XCP-ng leaves them, written from the format's description alone.

    tree = Tree(folder)
    base = tree.image(content, hidden=True)
    leaf = tree.image(changed, parent=base)
    tree.litter()
"""
import os
import struct
import subprocess
import uuid as uuids
import xmlrpc.client
from xml.sax.saxutils import escape

MIB = 1 << 20
BLOCK, SECTORS, SLOT = 2 * MIB, 4096, 4104
EPOCH = 946684800


def summed(b, at):
    return ~(sum(b) - sum(b[at:at + 4])) & 0xffffffff


def padded(b, to=512):
    return b + bytes(-len(b) % to)


class Image:
    def __init__(self, name, content, parent=None):
        self.uuid, self.content, self.parent = name, content, parent
        self.id = uuids.uuid4().bytes

    @property
    def file(self):
        return self.uuid + ".vhd"


class Tree:
    """Dynamic images of blktap: batmap, data on 4 KiB, locators relative to the folder."""

    blocks = 0  # that the tables have room for at least

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)

    def image(self, content, parent=None, hidden=False, name=None, small=False):
        im = Image(name or str(uuids.uuid4()), content, parent)
        with open(os.path.join(self.folder, im.file), "wb") as f:
            f.write(self.bytes_of(im, hidden))
        return im

    def footer(self, im, hidden):
        size = len(im.content)
        b = bytearray(512)
        b[0:8] = b"conectix"
        b[8:28] = struct.pack(">IIQI", 2, 0x10000, 512, 1700000000 - EPOCH)
        b[28:40] = b"tap\0" + struct.pack(">II", 0x10003, 0)
        sectors = size // 512
        cylinders = max(1, sectors // (4 * 17))
        b[40:64] = struct.pack(">QQHBBI", size, size, cylinders, 4, 17, 4 if im.parent else 3)
        b[68:84] = im.id
        b[85] = hidden
        b[64:68] = struct.pack(">I", summed(b, 64))
        return bytes(b)

    @staticmethod
    def locators(im, at):
        """(24 bytes each), and the sectors that they name."""
        if not im.parent:
            return bytes(8 * 24), b""
        name = im.parent.file
        paths = [(b"MACX", ("file://./" + name).encode()),
                 (b"W2ku", (".\\" + name).encode("utf-16-le")),
                 (b"W2ru", (".\\" + name).encode("utf-16-le"))]
        entries = b"".join(code + struct.pack(">IIIQ", 512, len(p), 0, at + 512 * n)
                           for n, (code, p) in enumerate(paths))
        return entries.ljust(8 * 24, b"\0"), b"".join(padded(p) for _, p in paths)

    def header(self, im, count, entries):
        b = bytearray(1024)
        b[0:16] = b"cxsparse" + b"\xff" * 8
        b[16:36] = struct.pack(">QIII", 1536, 0x10000, count, BLOCK)
        if im.parent:
            b[40:60] = im.parent.id + struct.pack(">I", 1700000000 - EPOCH)
            name = im.parent.file.encode("utf-16-be")
            b[64:64 + len(name)] = name
        b[576:576 + len(entries)] = entries
        b[36:40] = struct.pack(">I", summed(b, 36))
        return bytes(b)

    def bytes_of(self, im, hidden):
        old = im.parent.content if im.parent else b""
        old = old.ljust(len(im.content), b"\0")
        used = (len(im.content) + BLOCK - 1) // BLOCK
        count = max(used, self.blocks)
        table, blocks = [0xffffffff] * count, []
        map_size = (count + 7) // 8 + 511 & ~511
        at = 1536 + len(padded(bytes(4 * count))) + 512 + map_size
        entries, sectors = self.locators(im, at)
        first = (at + len(sectors)) // 512
        first += (7 - first) % 8
        for n in range(used):
            new = im.content[n * BLOCK:(n + 1) * BLOCK]
            if new == old[n * BLOCK:(n + 1) * BLOCK]:
                continue
            table[n] = first + SLOT * len(blocks)
            blocks.append(self.block(new, old[n * BLOCK:(n + 1) * BLOCK], im.parent is None))
        bat = struct.pack(f">{count}I", *table).ljust(-(-4 * count // 512) * 512, b"\xff")
        batmap = bytes(map_size)
        head = bytearray(b"tdbatmap" + struct.pack(">QIII", 1536 + len(bat) + 512, map_size // 512,
                                                   0x10002, ~sum(batmap) & 0xffffffff)).ljust(512, b"\0")
        footer = self.footer(im, hidden)
        body = footer + self.header(im, count, entries) + bat + bytes(head) + batmap + sectors
        body += bytes(first * 512 - len(body)) + bytes(7 * 512).join(blocks)
        return body + footer

    @staticmethod
    def block(new, old, whole):
        bitmap = bytearray(512)
        data = bytearray(new.ljust(BLOCK, b"\0"))
        for s in range(len(new) // 512):
            if whole or new[s * 512:s * 512 + 512] != old[s * 512:s * 512 + 512]:
                bitmap[s // 8] |= 0x80 >> s % 8
            else:
                data[s * 512:s * 512 + 512] = b"\xee" * 512  # nobody's business
        return bytes(bitmap) + bytes(data)

    def litter(self):
        """What else stands in such a folder."""
        for name in ("filelog.txt", "sm-hardlink.conf", f"{uuids.uuid4()}.cbtlog",
                     f".journal-{uuids.uuid4()}"):
            with open(os.path.join(self.folder, name), "wb") as f:
                f.write(b"x" * 100)


class VolumeImage(Image):
    @property
    def file(self):
        return "VHD-" + self.uuid


class RawVolume(Image):
    id = bytes(16)

    def __init__(self, name, content):
        self.uuid, self.content, self.parent = name, content, None

    @property
    def file(self):
        return "LV-" + self.uuid


class VolumeTree(Tree):
    """The same on logical volumes, made with lvm2's tools: tables for 2 TiB, the footer at the
    volume's end. Disks have their full size; base copies, what they need, and nobody may write to
    them; snapshots, 8 MiB at least."""

    blocks = 1 << 20

    def __init__(self, device, sr_uuid):
        self.device, self.group = device, "VG_XenStorage-" + sr_uuid
        self.lvm("pvcreate", "-qq", "-y", "-ff", "--metadatasize", "10M", device)
        self.lvm("vgcreate", "-qq", "-s", "4M", self.group, device)
        self.lvm("lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", "4M", "-n", "MGT", self.group)

    def lvm(self, *words):
        config = ('devices { use_devicesfile=0 filter=["a|^%s$|","r|.*|"] } global { activation=0 } '
                  'backup { backup=0 archive=0 }' % self.device)
        return subprocess.run(["lvm", *words, "--config", config], check=True, text=True,
                              capture_output=True).stdout

    def image(self, content, parent=None, hidden=False, name=None, small=False):
        im = VolumeImage(name or str(uuids.uuid4()), content, parent)
        body = self.bytes_of(im, hidden)
        full = len(content) + 4329472 + 4096 * -(-len(content) // BLOCK)
        size = -(-(len(body) if hidden or small else full) // (4 * MIB)) * 4 * MIB
        self.lvm("lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", f"{size}b", "-n", im.file, self.group)
        self.write(im.file, body[:-512].ljust(size - 512, b"\xa5") + body[-512:])
        if hidden:
            self.lvm("lvchange", "-qq", "-p", "r", f"{self.group}/{im.file}")
        return im

    def raw_base(self, content):
        """What a raw disk becomes when it is snapshotted: content alone, hidden by a tag."""
        im = RawVolume(str(uuids.uuid4()), content)
        self.lvm("lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", f"{len(content)}b", "-n", im.file, self.group)
        self.write(im.file, content)
        self.lvm("lvchange", "-qq", "-p", "r", "--addtag", "hidden", f"{self.group}/{im.file}")
        return im

    def write(self, name, body):
        start = int(self.lvm("pvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "pe_start"))
        out = self.lvm("lvs", "--noheadings", "--segments", "-o", "seg_pe_ranges", f"{self.group}/{name}")
        for line in out.split():
            first, last = map(int, line.rsplit(":", 1)[1].split("-"))
            size = (last - first + 1) * 4 * MIB
            with open(self.device, "r+b") as f:
                f.seek(start + first * 4 * MIB)
                f.write(body[:size])
            body = body[size:]

    def name(self, disks):
        """Writes the list of names: of images, or None where one was deleted, dictionaries of fields."""
        def sector(text):
            assert len(text) <= 512
            return text.encode().ljust(512)

        def elements(**fields):
            return "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in fields.items())

        slots = b""
        for im, fields in disks:
            slots += sector("<vdi>" + elements(name_label=fields["name"], name_description=fields.get("description", "")))
            slots += sector(elements(uuid=im.uuid if im else uuids.uuid4(), is_a_snapshot=int("of" in fields),
                                     snapshot_of=fields["of"].uuid if "of" in fields else "",
                                     snapshot_time=fields.get("time", "19700101T00:00:00Z"), type="user", vdi_type="vhd",
                                     read_only=0, metadata_of_pool="", managed=int(im is not None),
                                     deleted=int(im is None)) + "</vdi>")
        own = sector('<?xml version="1.0" ?><sr>' + elements(uuid=self.group[-36:], allocation="thick"))
        own += sector(elements(name_label="volumes")) + sector(elements(name_description="") + "</sr>")
        head = f"XSSM:{512 + len(own) + len(slots):<10}:1:2"
        self.write("MGT", sector(head) + own + slots)

    def litter(self):
        for name in (f"{uuids.uuid4()}.cbtlog", "hostRef-free"):
            self.lvm("lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", "4M", "-n", name, self.group)


def metadata(name, disks, **fields):
    """The description of a VM (ova.xml) with those disks: uuids, by device."""
    def obj(cls, ident, **rec):
        return {"class": cls, "id": ident, "snapshot": rec}
    memory = str(64 * MIB)
    objects = [obj("VM", "Ref:0", uuid=str(uuids.uuid4()), name_label=name, name_description="",
                   is_a_template=False, is_control_domain=False, power_state="Halted",
                   memory_static_max=memory, memory_dynamic_max=memory, memory_dynamic_min=memory,
                   memory_static_min=memory, VCPUs_max="1", VCPUs_at_startup="1",
                   VBDs=[f"Ref:{10 + n}" for n in range(len(disks))], VIFs=[],
                   actions_after_shutdown="destroy", actions_after_reboot="restart",
                   actions_after_crash="restart", HVM_boot_policy="BIOS order",
                   HVM_boot_params={"order": "c"}, platform={"acpi": "1", "device-model": "qemu-upstream-compat"},
                   other_config={}, domain_type="hvm", **fields)]
    for n, disk in enumerate(disks):
        objects.append(obj("VBD", f"Ref:{10 + n}", uuid=str(uuids.uuid4()), VM="Ref:0",
                           VDI=f"Ref:{20 + n}", userdevice=str(n), bootable=n == 0, mode="RW",
                           type="Disk", empty=False, unpluggable=True, other_config={"owner": ""},
                           qos_algorithm_type="", qos_algorithm_params={}))
        objects.append(obj("VDI", f"Ref:{20 + n}", uuid=disk, name_label=f"{name} {n}",
                           name_description="", SR="Ref:30", virtual_size="0", type="user",
                           sharable=False, read_only=False, other_config={}))
    objects.append(obj("SR", "Ref:30", uuid=str(uuids.uuid4()), name_label="old", content_type="user",
                       type="ext"))
    doc = {"version": {"hostname": "old", "date": "2026-01-01", "product_version": "8.3.0",
                       "product_brand": "XCP-ng", "build_number": "cloud", "xapi_major": "1",
                       "xapi_minor": "20", "export_vsn": "2"}, "objects": objects}
    text = xmlrpc.client.dumps((doc,))
    return text[text.index("<value>"):text.rindex("</value>") + 8]


# Says its kernel's command line on the serial line, and sleeps.
GUEST = bytes.fromhex("31c08ed8fcbe167cbaf803ac84c07403eeebf8f4ebfd")


def xen_guest(size):
    """A disk whose guest was at home under Xen."""
    content = bytearray(size)
    text = GUEST + b"Command line: BOOT_IMAGE=/boot/vmlinuz root=/dev/xvda1 ro quiet\r\n\0"
    content[0:len(text)] = text
    content[510:512] = b"\x55\xaa"
    return content
