"""Requests that stream, and contents to compare, for the tests of transfers."""
import base64
import hashlib
import socket
import urllib.parse

MIB = 1 << 20


def pattern(seed, size):
    """Bytes that do not repeat and are the same each time."""
    out, n = [], 0
    while n < size:
        piece = hashlib.sha256(f"{seed} {n}".encode()).digest() * 128
        out.append(piece)
        n += len(piece)
    return b"".join(out)[:size]


def sparse(size):
    """Data, a hole, data across a border of 2 MiB blocks, the last sector."""
    content = bytearray(size)
    content[0:70000] = pattern("a", 70000)
    content[4 * MIB - 5000:4 * MIB + 5000] = pattern("b", 10000)
    content[size - 512:] = pattern("c", 512)
    return bytes(content)


def query(path, **args):
    return path + "?" + urllib.parse.urlencode(args)


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Client:
    """GET and PUT with a session; both return (status, headers, body) when the connection ended."""

    def __init__(self, daemon, x):
        self.daemon, self.x = daemon, x

    def get(self, path, **args):
        return self.daemon.post(query(path, session_id=self.x.ref, **args), None, method="GET")

    def put(self, path, body, headers=None, **args):
        return self.daemon.post(query(path, session_id=self.x.ref, **args), body, headers,
                                method="PUT")

    def task(self):
        return self.x.task.create("transfer", "a test")

    def torn_put(self, path, length, body, **args):
        """Announces so many bytes, sends fewer, and waits until the other side has had enough."""
        with socket.create_connection(("127.0.0.1", self.daemon.port)) as s:
            target = query(path, session_id=self.x.ref, **args)
            s.sendall(f"PUT {target} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n".encode() + body)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
