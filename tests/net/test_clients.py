#!/usr/bin/env python3
"""Real clients against src/net: curl, Python's http.client, ssl and a WebSocket of forty lines.

    test_clients.py SERVED [unittest arguments]     SERVED: the program built from served.c
"""
import base64
import contextlib
import hashlib
import http.client
import os
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

SERVED = sys.argv.pop(1) if __name__ == "__main__" else None
BODY = os.urandom(3 << 20)
SUM = f"{len(BODY)} {sum(BODY)}".encode()


class WebSocket:
    """As much of a client as the tests need: binary messages, masked, unfragmented."""

    def __init__(self, sock, path, protocol="binary"):
        self.sock = sock
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                      f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                      f"Sec-WebSocket-Protocol: {protocol}\r\n"
                      "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        self.head = head.decode()
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        want = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
        assert f"Sec-WebSocket-Accept: {want}\r\n" in self.head, self.head

    def send(self, payload, opcode=2):
        n, mask = len(payload), os.urandom(4)
        size = bytes([0x80 | n]) if n < 126 else struct.pack(">BH", 0xFE, n) if n < 65536 \
            else struct.pack(">BQ", 0xFF, n)
        data = bytes(b ^ mask[i & 3] for i, b in enumerate(payload))
        self.sock.sendall(bytes([0x80 | opcode]) + size + mask + data)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            got = self.sock.recv(n - len(data))
            assert got, "the end"
            data += got
        return data

    def receive(self):
        first, n = self.exactly(2)
        if n == 126:
            n, = struct.unpack(">H", self.exactly(2))
        elif n == 127:
            n, = struct.unpack(">Q", self.exactly(8))
        return first & 15, self.exactly(n)

    def receive_bytes(self, n):
        data = b""
        while len(data) < n:
            opcode, part = self.receive()
            assert opcode in (0, 2), opcode
            data += part
        return data


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="cairn-served-")
        os.mkdir(f"{cls.dir}/web")
        with open(f"{cls.dir}/web/index.html", "w", encoding="utf-8") as f:
            f.write("<p>hello")
        with open(f"{cls.dir}/body", "wb") as f:
            f.write(BODY)
        cls.process = subprocess.Popen([SERVED, cls.dir], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        cls.port, cls.tls_port = map(int, cls.process.stdout.readline().split())
        cls.trust = ssl.create_default_context(cafile=f"{cls.dir}/cert.pem")

    @classmethod
    def tearDownClass(cls):
        cls.process.stdin.close()
        cls.code = cls.process.wait(10)
        cls.process.stdout.close()
        shutil.rmtree(cls.dir)
        assert cls.code == 0, f"the server ended with {cls.code}"

    def curl(self, *args):
        return subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert",
                               f"{self.dir}/cert.pem", *args], check=True,
                              stdout=subprocess.PIPE).stdout

    def urls(self):
        return [f"http://127.0.0.1:{self.port}", f"https://localhost:{self.tls_port}"]

    def dial(self, tls):
        if not tls:
            return socket.create_connection(("127.0.0.1", self.port), 20)
        raw = socket.create_connection(("127.0.0.1", self.tls_port), 20)
        return self.trust.wrap_socket(raw, server_hostname="localhost")

    def test_curl_posts_and_gets(self):
        for url in self.urls():
            self.assertEqual(self.curl("-d", "hello", f"{url}/RPC2"), b"hello")
            self.assertEqual(self.curl("--http1.0", "-d", "hello", f"{url}/"), b"hello")
            self.assertEqual(self.curl("--data-binary", f"@{self.dir}/body", f"{url}/"), BODY)
            self.assertEqual(self.curl("-H", "Transfer-Encoding: chunked", "-d", "abc", url), b"abc")
            self.assertEqual(self.curl(f"{url}/"), b"<p>hello")
        self.assertEqual(self.curl("--unix-socket", f"{self.dir}/sock", "-d", "x", "http://h/"), b"x")

    def test_curl_uploads(self):
        for url in self.urls():
            self.assertEqual(self.curl("-T", f"{self.dir}/body", f"{url}/take"), SUM)
            self.assertEqual(self.curl("-T", f"{self.dir}/body", "-H", "Expect:", f"{url}/take"), SUM)
            self.assertEqual(self.curl("-X", "PUT", "-d", "", f"{url}/take"), b"0 0")

    def test_many_connections_keep_alive(self):
        def work(results):
            c = http.client.HTTPSConnection("localhost", self.tls_port, context=self.trust)
            for i in range(50):
                c.request("POST", "/", body=b"%d" % i)
                results.append(c.getresponse().read() == b"%d" % i)
            c.close()
        results = []
        threads = [threading.Thread(target=work, args=(results,)) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(results, [True] * 400)

    def test_console_by_connect(self):
        for tls in (False, True):
            with self.dial(tls) as s:
                s.sendall(b"CONNECT /console?uuid=1 HTTP/1.0\r\nCookie: session_id=x\r\n\r\n")
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += s.recv(1)
                self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"), head)
                self.echo(s)

    def echo(self, sock):
        """Sends and receives at once, more than all buffers hold. On one thread: a TLS session of
        Python's is no safe place for two."""
        sock.setblocking(False)
        sent, got, end = 0, bytearray(), time.monotonic() + 30
        wait = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        while len(got) < len(BODY):
            self.assertLess(time.monotonic(), end)
            moved = 0
            with contextlib.suppress(*wait):
                # The same bytes again after a refused write, as TLS asks for.
                moved = sock.send(BODY[sent:sent + 65536]) if sent < len(BODY) else 0
                sent += moved
            with contextlib.suppress(*wait):
                part = sock.recv(65536)
                self.assertTrue(part)
                got += part
                moved += len(part)
            if not moved:
                select.select([sock], [], [], 0.01)
        self.assertEqual(bytes(got), BODY)

    def test_console_by_websocket(self):
        for tls in (False, True):
            with self.dial(tls) as s:
                w = WebSocket(s, "/console?uuid=1", "base64, binary")
                self.assertIn("Sec-WebSocket-Protocol: binary\r\n", w.head)
                for size in (0, 1, 125, 126, 65535, 65536, 200000):
                    w.send(BODY[:size])
                    self.assertEqual(w.receive_bytes(size), BODY[:size])
                w.send(b"are you there", opcode=9)
                self.assertEqual(w.receive(), (10, b"are you there"))
                w.send(struct.pack(">H", 1000), opcode=8)
                self.assertEqual(w.receive()[0], 8)

    def test_old_tls_is_refused(self):
        warnings.simplefilter("ignore", DeprecationWarning)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
        old.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", self.tls_port), 20) as raw:
            self.assertRaises((ssl.SSLError, ConnectionError), old.wrap_socket, raw)


if __name__ == "__main__":
    unittest.main()
