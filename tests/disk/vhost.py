"""vhost.py: the guest's end of a vhost-user-blk socket: a QEMU and its driver in a few lines.

    with Vhost(path) as v:
        assert v.write(0, b"x" * 512) == OK
        tokens = [v.submit(OUT, i, data) for i in range(8)]; v.wait(tokens)

Memory layout (guest physical): 0 descriptors, 0x4000 avail, 0x6000 used, 0x10000 and up: buffers.
Everything about a queue lives in the memfd, so a second Vhost with the same memory is the same
guest after its device died.
"""
import array
import mmap
import os
import select
import socket
import struct
import time

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
NEXT, WRITE, INDIRECT = 1, 2, 4
SIZE = 32 << 20
DESC, AVAIL, USED, BUFFERS = 0, 0x4000, 0x6000, 0x10000
UVA = 0x7f0000000000
SLOT = 0x21000  # a header, up to 128 KiB of data, a status

F_RO, F_FLUSH, F_WCE, F_DISCARD, F_ZEROES = 1 << 5, 1 << 9, 1 << 11, 1 << 13, 1 << 14
F_LOG_ALL, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1 = (
    1 << 26, 1 << 28, 1 << 29, 1 << 30, 1 << 32)
P_LOG_SHMFD, P_REPLY_ACK, P_CONFIG, P_INFLIGHT = 1 << 1, 1 << 3, 1 << 9, 1 << 12


class Vhost:
    def __init__(self, path, num=128, features=None, memory=None, inflight=None, start=True):
        self.num = num
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.memfd = memory or os.memfd_create("guest")
        if memory is None:
            os.ftruncate(self.memfd, SIZE)
        self.mem = mmap.mmap(self.memfd, SIZE)
        self.words = memoryview(self.mem).cast("H")
        self.kick, self.call = os.eventfd(0), os.eventfd(0)
        self.inflight = inflight
        self.offered = self.ask(1)
        self.features = self.offered & ~F_LOG_ALL if features is None else features
        self.log = None
        self.set_up_protocol()
        if start:
            self.start()

    def set_up_protocol(self):
        self.protocol = self.ask(15)
        self.tell(16, struct.pack("<Q", self.protocol))
        self.tell(3)
        if self.inflight is None:
            payload, fds = self.ask_raw(31, struct.pack("<QQHHI", 0, 0, 1, self.num, 0))
            self.inflight = (payload, fds[0])

    def start(self):
        self.tell(32, self.inflight[0], [self.inflight[1]])
        self.tell(2, struct.pack("<Q", self.features))
        self.tell(5, struct.pack("<IIQQQQ", 1, 0, 0, SIZE, UVA, 0), [self.memfd])
        self.tell(8, struct.pack("<II", 0, self.num))
        self.tell(10, struct.pack("<II", 0, self.used_idx()))
        self.set_addr(False)
        self.tell(12, struct.pack("<Q", 0), [self.kick])
        self.tell(13, struct.pack("<Q", 0), [self.call])
        self.tell(18, struct.pack("<II", 0, 1))
        self.avail_idx = self.u16(AVAIL + 2)
        self.seen = self.used_idx()
        self.free = list(range(self.num // 4))
        self.done = {}

    def set_addr(self, log):
        self.tell(9, struct.pack("<IIQQQQ", 0, int(log), UVA + DESC, UVA + USED, UVA + AVAIL, USED))

    def close(self):
        if self.kick >= 0:
            self.sock.close()
            os.close(self.kick)
            os.close(self.call)
        self.kick = self.call = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- messages ----
    def message(self, request, payload=b"", fds=(), flags=1):
        data = struct.pack("<III", request, flags, len(payload)) + payload
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], anc)

    def receive(self):
        data, anc, _flags, _addr = self.sock.recvmsg(12, 1024, socket.MSG_WAITALL)
        if len(data) < 12:
            raise EOFError
        _request, _flags, size = struct.unpack("<III", data)
        fds = array.array("i")
        for _level, _type, d in anc:
            fds.frombytes(d)
        payload = self.sock.recv(size, socket.MSG_WAITALL) if size else b""
        return payload, list(fds)

    def tell(self, request, payload=b"", fds=()):
        """Asks for an acknowledgement, once that was agreed on."""
        acks = getattr(self, "protocol", 0) & P_REPLY_ACK and request != 16
        self.message(request, payload, fds, 9 if acks else 1)
        if acks:
            assert struct.unpack("<Q", self.receive()[0])[0] == 0, f"message {request} refused"

    def ask_raw(self, request, payload=b"", fds=()):
        self.message(request, payload, fds)
        return self.receive()

    def ask(self, request, payload=b""):
        return struct.unpack("<Q", self.ask_raw(request, payload)[0])[0]

    def config(self):
        return self.ask_raw(24, struct.pack("<III", 0, 60, 0) + bytes(60))[0][12:]

    def stop(self):
        """GET_VRING_BASE: the index up to which everything is done."""
        return struct.unpack("<II", self.ask_raw(11, struct.pack("<II", 0, 0))[0])[1]

    # ---- the ring ----
    def u16(self, at):
        return self.words[at // 2]

    def put_u16(self, at, value):
        """In one store, as a driver does: struct.pack_into() clears the bytes first, and the other
        end sees that."""
        self.words[at // 2] = value

    def used_idx(self):
        return self.u16(USED + 2)

    def put_desc(self, i, addr, size, flags, nxt=0):
        struct.pack_into("<QIHH", self.mem, DESC + i * 16, addr, size, flags, nxt)

    def offer(self, head):
        self.put_u16(AVAIL + 4 + 2 * (self.avail_idx % self.num), head)
        self.avail_idx = (self.avail_idx + 1) & 0xffff
        self.put_u16(AVAIL + 2, self.avail_idx)
        os.eventfd_write(self.kick, 1)

    def submit(self, kind, sector, data=b"", size=0):
        """Puts a request into the ring; its number is the head of its chain."""
        slot = self.free.pop()
        at, head = BUFFERS + slot * SLOT, slot * 4
        struct.pack_into("<IIQ", self.mem, at, kind, 0, sector)
        self.mem[at + 16 + max(len(data), size)] = 0xff
        self.mem[at + 16:at + 16 + len(data)] = data
        self.put_desc(head, at, 16, NEXT, head + 1)
        status = at + 16 + max(len(data), size)
        if data or size:
            self.put_desc(head + 1, at + 16, max(len(data), size), NEXT | (0 if data else WRITE),
                          head + 2)
            self.put_desc(head + 2, status, 1, WRITE)
        else:
            self.put_desc(head + 1, status, 1, WRITE)
        self.done[head] = None
        self.offer(head)
        return head, status, at + 16, size

    def poll(self):
        while self.seen != self.used_idx():
            head, _size = struct.unpack_from("<II", self.mem, USED + 4 + 8 * (self.seen % self.num))
            self.seen = (self.seen + 1) & 0xffff
            self.done[head] = True
            self.free.append(head // 4)

    def wait(self, tokens, seconds=60):
        """The statuses of the requests."""
        end = time.monotonic() + seconds
        while True:
            self.poll()
            if all(self.done[t[0]] for t in tokens):
                return [self.mem[t[1]] for t in tokens]
            assert time.monotonic() < end, "requests are not answered"
            self.put_u16(AVAIL + 4 + 2 * self.num, self.seen)  # used_event
            if self.seen != self.used_idx():
                continue
            if select.select([self.call], [], [], 0.05)[0]:
                os.eventfd_read(self.call)

    def call_and_wait(self, *args, **more):
        token = self.submit(*args, **more)
        return self.wait([token])[0], bytes(self.mem[token[2]:token[2] + token[3]])

    def write(self, sector, data):
        return self.call_and_wait(OUT, sector, data)[0]

    def read(self, sector, size):
        return self.call_and_wait(IN, sector, size=size)

    def flush(self):
        return self.call_and_wait(FLUSH, 0)[0]

    def ranges(self, kind, *ranges):
        data = b"".join(struct.pack("<QII", *r) for r in ranges)
        return self.call_and_wait(kind, 0, data)[0]

    # ---- the dirty log ----
    def start_log(self):
        fd = os.memfd_create("log")
        os.ftruncate(fd, SIZE // 4096 // 8)
        self.log = mmap.mmap(fd, SIZE // 4096 // 8)
        self.ask_raw(6, struct.pack("<QQ", SIZE // 4096 // 8, 0), [fd])
        os.close(fd)
        self.tell(2, struct.pack("<Q", self.features | F_LOG_ALL))
        self.set_addr(True)

    def dirty(self):
        """The pages that were marked since the last call."""
        pages = {i * 8 + b for i in range(len(self.log)) for b in range(8) if self.log[i] >> b & 1}
        self.log[:] = bytes(len(self.log))
        return pages
