"""Many JSON-RPC calls over one connection, without waiting for each answer."""
import json
import socket

CHUNK = 40  # calls that are on their way at the same time


class Pipeline:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, calls):
        data = b""
        for number, (method, params) in enumerate(calls):
            body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params,
                               "id": number}).encode()
            data += b"POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
            data += body
        self.socket.sendall(data)

    def _receive(self):
        status, size = self.file.readline(), None
        if b" 200 " not in status:
            raise ConnectionError(f"answered {status!r}")
        for line in iter(self.file.readline, b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        return json.loads(self.file.read(size))

    def results(self, calls):
        """What the calls gave, all of which must succeed; in order."""
        out = self.answers(calls)
        assert not [a for a in out if "error" in a]
        return [a["result"] for a in out]

    def calls(self, calls):
        """The errors as lists, None for a call that succeeded; in order."""
        errors = [a.get("error") for a in self.answers(calls)]
        return [[e["message"], *e["data"]] if e else None for e in errors]

    def answers(self, calls):
        out = []
        for at in range(0, len(calls), CHUNK):
            part = calls[at:at + CHUNK]
            self._send(part)
            for number, _ in enumerate(part):
                answer = self._receive()
                assert answer["id"] == number
                out.append(answer)
        return out
