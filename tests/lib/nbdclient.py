"""An NBD client as backup tools have it: STARTTLS, the old way to name an export, simple replies."""
import socket
import ssl
import struct

OPTION = 0x49484156454F5054
EXPORT_NAME, ABORT, LIST, STARTTLS, GO, STRUCTURED = 1, 2, 3, 5, 7, 8
ACK = 1
ERROR = 1 << 31
UNSUP, POLICY, INVALID, TLS_REQUIRED, UNKNOWN = (ERROR + n for n in (1, 2, 3, 5, 6))
READ, WRITE, DISCONNECT = 0, 1, 2


class Nbd:
    def __init__(self, address, port):
        self.sock = socket.create_connection((address, int(port)), timeout=60)
        magic, option, self.flags = struct.unpack(">8sQH", self.take(18))
        assert (magic, option) == (b"NBDMAGIC", OPTION) and self.flags & 1
        self.sock.sendall(struct.pack(">I", 1))

    def take(self, size):
        got = b""
        while len(got) < size:
            more = self.sock.recv(size - len(got))
            if not more:
                raise EOFError
            got += more
        return got

    def option(self, kind, data=b""):
        """The type of the answer."""
        self.sock.sendall(struct.pack(">QII", OPTION, kind, len(data)) + data)
        magic, of, answer, size = struct.unpack(">QIII", self.take(20))
        assert magic == 0x3E889045565A9 and of == kind
        self.take(size)
        return answer

    def start_tls(self, cert):
        """Only that certificate is trusted."""
        assert self.option(STARTTLS) == ACK
        context = ssl.create_default_context(cadata=cert)
        context.check_hostname = False
        self.sock = context.wrap_socket(self.sock)

    def open(self, name):
        self.sock.sendall(struct.pack(">QII", OPTION, EXPORT_NAME, len(name)) + name.encode())
        self.size, self.export_flags = struct.unpack(">QH", self.take(10))
        assert self.take(124) == bytes(124)
        return self

    def request(self, kind, offset, size, data=b""):
        self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, size) + data)
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        assert magic == 0x67446698 and cookie == 7
        return error

    def read(self, offset, size):
        assert self.request(READ, offset, size) == 0
        return self.take(size)

    def close(self):
        try:
            self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, DISCONNECT, 0, 0, 0))
        except OSError:
            pass
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
