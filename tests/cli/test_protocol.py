"""The thin protocol as another client speaks it, written from its description alone."""
import socket
import struct

import pytest
from simhost import PASSWORD

HELLO = b"XenSource thin CLI protocol" + struct.pack("<II", 0, 2)


class Client:
    def __init__(self, daemon, words, version=HELLO):
        self.sock = socket.create_connection(("127.0.0.1", daemon.port), timeout=30)
        body = "\n".join([*words, "username=root", f"password={PASSWORD}"]).encode()
        self.sock.sendall(b"POST /cli HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert self.read(len(HELLO)) == HELLO  # no HTTP answer before it
        self.sock.sendall(version)

    def read(self, n):
        got = b""
        while len(got) < n:
            piece = self.sock.recv(n - len(got))
            assert piece, "the server closed the connection"
            got += piece
        return got

    def message(self):
        """(group, tag, arguments as bytes)"""
        size, = struct.unpack("<I", self.read(4))
        body = self.read(size)
        return (*struct.unpack("<II", body[:8]), body[8:])

    def send(self, *numbers, raw=b""):
        body = struct.pack(f"<{len(numbers)}I", *numbers)
        self.sock.sendall(struct.pack("<I", len(body)) + body + raw)

    def until_exit(self):
        seen = []
        while True:
            group, tag, rest = self.message()
            seen.append((group, tag, rest))
            if (group, tag) == (9, 4):
                return seen, struct.unpack("<I", rest)[0]


def string(b):
    return struct.pack("<I", len(b)) + b


def test_print_and_exit(daemon):
    seen, status = Client(daemon, ["host-list", "params=hostname", "--minimal"]).until_exit()
    assert status == 0 and len(seen) == 2
    group, tag, text = seen[0]
    assert (group, tag) == (9, 0) and text == string(text[4:]) and len(text) > 4


def test_errors_go_to_standard_error_then_exit_1(daemon):
    seen, status = Client(daemon, ["vm-start", "vm=none"]).until_exit()
    assert status == 1
    assert seen[0] == (9, 16, string(b"Error: No matching VMs found\n"))


def test_words_may_end_in_cr_and_a_session_may_come_first(daemon):
    with daemon.connect() as x:
        seen, status = Client(daemon, [f"session_id={x.ref}\r", "vm-list\r", "is-control-domain=true\r",
                                       "params=dom-id\r", "minimal=true\r"]).until_exit()
        assert (status, seen[0]) == (0, (9, 0, string(b"0")))
        assert x.pool.get_all()  # it was lent, not ended


def test_files_of_the_client_are_asked_for(daemon, tmp_path):
    c = Client(daemon, ["sr-create", "name-label=x", "type=file", "device-config:location-filename=where"])
    assert c.message() == (9, 1, string(b"where"))
    c.send(10, 5)
    folder = str(tmp_path).encode()
    c.send(11, 7, len(folder), raw=folder)
    c.send(11, 8)
    seen, status = c.until_exit()
    assert status == 0, seen
    uuid = seen[0][2][4:].decode()
    with daemon.connect() as x:
        sr = x.SR.get_by_uuid(uuid)
        config = x.PBD.get_device_config(x.SR.get_PBDs(sr)[0])
        assert config["location"] == str(tmp_path)
        x.PBD.unplug(x.SR.get_PBDs(sr)[0])
        x.SR.forget(sr)


def test_a_refused_file_fails_the_command(daemon):
    c = Client(daemon, ["sr-create", "name-label=x", "type=file", "device-config:location-filename=where"])
    c.message()
    c.send(10, 6)
    seen, status = c.until_exit()
    assert status == 1 and b"Failed to read the file where" in seen[0][2]


def test_a_prompt_takes_a_chunk(daemon):
    vm = Client(daemon, ["vm-install", "template=Other install media", "new-name-label=asked"]).until_exit()
    uuid = vm[0][0][2][4:].decode()
    c = Client(daemon, ["vm-uninstall", f"uuid={uuid}"])
    while (m := c.message())[1] != 3:
        assert m[:2] == (9, 0)
    c.send(11, 7, 3, raw=b"yes")
    c.send(11, 8)
    seen, status = c.until_exit()
    assert status == 0 and seen[0] == (9, 0, string(b"All objects destroyed"))


@pytest.mark.parametrize("version", [b"XenSource thin CLI protocol" + struct.pack("<II", 1, 0), b"x" * len(HELLO)])
def test_another_version_is_dropped(daemon, version):
    c = Client(daemon, ["vm-start", "vm=none"], version)  # who only reads is answered before
    assert c.sock.recv(1) == b""


def test_a_client_that_leaves_harms_nobody(daemon):
    for _ in range(5):
        Client(daemon, ["vm-list", "params=all"]).sock.close()
    assert Client(daemon, ["host-list", "--minimal"]).until_exit()[1] == 0


def test_sixty_four_conversations_at_once(daemon, xe, vm):
    """All wait, meanwhile as many ask; then one change ends the waiting."""
    wait = ["event-wait", "class=vm", f"uuid={vm}", "other-config:bell=rung"]
    waiting = [Client(daemon, wait) for _ in range(64)]
    asking = [Client(daemon, ["vm-list", "params=all"]) for _ in range(64)]
    assert [c.until_exit()[1] for c in asking] == [0] * 64
    xe("vm-param-set", f"uuid={vm}", "other-config:bell=rung")
    assert [c.until_exit()[1] for c in waiting] == [0] * 64


GARBAGE = {
    "nothing": b"",
    "a huge message": struct.pack("<I", 0xffffffff) + b"x" * 64,
    "a message cut off": struct.pack("<I", 12) + b"\x0a",
    "a tag that does not exist": struct.pack("<III", 8, 10, 99),
    "a command instead of an answer": struct.pack("<IIII", 12, 9, 4, 0),
    "a chunk without a verdict": struct.pack("<IIII", 12, 11, 7, 1 << 30),
    "text": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("what", GARBAGE)
@pytest.mark.parametrize("words", [["vm-uninstall"], ["sr-create", "name-label=x", "type=file",
                                                      "device-config:location-filename=where"]])
def test_garbage_instead_of_an_answer_changes_nothing(daemon, xe, vm, words, what):
    c = Client(daemon, [*words, *([f"uuid={vm}"] if words == ["vm-uninstall"] else [])])
    while c.message()[1] not in (1, 3):
        pass
    c.sock.sendall(GARBAGE[what])
    c.sock.shutdown(socket.SHUT_WR)
    while c.sock.recv(4096):
        pass
    assert xe("vm-list", f"uuid={vm}", "--minimal") == vm
    assert xe("sr-list", "name-label=x", "--minimal") == ""
