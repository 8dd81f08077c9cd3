"""A host that sends xe whatever a test wants: the thin protocol, and HTTP for what xe opens itself."""
import os
import socket
import struct
import threading

HELLO = b"XenSource thin CLI protocol" + struct.pack("<II", 0, 2)


def string(b):
    return struct.pack("<I", len(b)) + b


def message(*parts):
    """Numbers as 32 bits, bytes as strings; the whole with its size."""
    return string(b"".join(string(p) if isinstance(p, bytes) else struct.pack("<I", p) for p in parts))


EXIT_0, EXIT_1 = message(9, 4, 0), message(9, 4, 1)


class FakeHost:
    """`script` runs for POST /cli with a Peer; `http` answers other requests: fn(peer, request line)."""

    def __init__(self, folder, script, http=None):
        self.path, self.script, self.http = os.path.join(folder, "fake"), script, http
        self.error, self.words = None, None
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(Peer(conn),), daemon=True).start()

    def serve(self, peer):
        try:
            head = peer.until(b"\r\n\r\n").decode()
            if head.startswith("POST /cli "):
                size = int(next(l.split(":")[1] for l in head.split("\r\n") if l.lower().startswith("content-length")))
                self.words = peer.read(size).decode().split("\n")
                peer.send(HELLO)
                assert peer.read(len(HELLO)) == HELLO
                self.script(peer)
            else:
                self.http(peer, head)
        except Exception as e:  # a test looks at it
            self.error = e
        finally:
            peer.sock.close()

    def close(self):
        self.sock.close()


class Peer:
    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(20)

    def read(self, n):
        got = b""
        while len(got) < n:
            piece = self.sock.recv(n - len(got))
            assert piece, "xe left"
            got += piece
        return got

    def until(self, end):
        got = b""
        while not got.endswith(end):
            got += self.read(1)
        return got

    def rest(self):
        got = b""
        while piece := self.sock.recv(65536):
            got += piece
        return got

    def send(self, data):
        self.sock.sendall(data)

    def answer(self):
        """(group, tag, number or None)"""
        body = self.read(struct.unpack("<I", self.read(4))[0])
        return struct.unpack(f"<{len(body) // 4}I", body)

    def chunks(self):
        got = b""
        while (m := self.answer()) != (11, 8):
            assert m[:2] == (11, 7)
            got += self.read(m[2])
        return got
