"""A small XenAPI client for the project's own tools and tests: standard library only.

    with xapi.connect("var/run/xapi") as x:      # local socket: no password
        for ref, vm in x.VM.get_all_records().items(): ...
    x = xapi.connect("http://127.0.0.1:8080", "root", "secret")

A failed call raises Failure with .details = [code, parameter, ...].
"""
import http.client
import socket
import time
import urllib.parse
import xmlrpc.client


class Failure(Exception):
    """An error of the API."""

    def __init__(self, details):
        super().__init__(": ".join(str(d) for d in details))
        self.details = details

    @property
    def code(self):
        return self.details[0]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=None):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if self.timeout:
            self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def make_connection(self, host):
        if not self._connection or self._connection[0] != host:
            self._connection = (host, UnixConnection(self.path))
        return self._connection[1]


class Method:
    def __init__(self, session, name):
        self._session, self._name = session, name

    def __getattr__(self, part):
        return Method(self._session, f"{self._name}.{part}")

    def __call__(self, *args):
        return self._session.call(self._name, *args)


class Session:
    """A logged-in connection; attributes are classes: session.VM.start(ref, False, False)."""

    def __init__(self, where, user="root", password="", originator="tools"):
        self._where = where
        if where.startswith("http"):
            self._server = xmlrpc.client.ServerProxy(where)
        else:
            self._server = xmlrpc.client.ServerProxy("http://localhost", UnixTransport(where))
        self._ref = None
        self._ref = self.call_bare("session.login_with_password", user, password, "1.0", originator)

    def call_bare(self, name, *args):
        reply = getattr(self._server, name)(*args)
        if reply["Status"] != "Success":
            raise Failure(reply["ErrorDescription"])
        return reply["Value"]

    def call(self, name, *args):
        return self.call_bare(name, self._ref, *args)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return Method(self, name)

    @property
    def ref(self):
        return self._ref

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("session.logout")
        except (OSError, Failure, xmlrpc.client.Error, http.client.HTTPException):
            pass

    def wait(self, task, timeout=600, progress=None):
        """Waits for a task; returns its result (XML text), raises Failure, destroys the task."""
        end = time.monotonic() + timeout
        try:
            while True:
                record = self.task.get_record(task)
                if progress:
                    progress(float(record["progress"]))
                if record["status"] == "success":
                    return record["result"]
                if record["status"] in ("failure", "cancelled"):
                    raise Failure(record["error_info"])
                if time.monotonic() > end:
                    raise TimeoutError(f"task '{record['name_label']}' still runs after {timeout} s")
                time.sleep(0.1)
        finally:
            self.task.destroy(task)

    def open_console(self, uuid):
        """A socket with the bytes of a console (CONNECT /console)."""
        query = urllib.parse.urlencode({"uuid": uuid, "session_id": self._ref})
        if self._where.startswith("http"):
            url = urllib.parse.urlsplit(self._where)
            sock = socket.create_connection((url.hostname, url.port or 80))
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(self._where)
        sock.sendall(f"CONNECT /console?{query} HTTP/1.0\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            got = sock.recv(1)
            if not got:
                raise ConnectionError(head.decode(errors="replace") or "the console closed at once")
            head += got
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.split(b"\r\n")[0].decode(errors="replace"))
        return sock


def connect(where, user="root", password="", originator="tools"):
    return Session(where, user, password, originator)
