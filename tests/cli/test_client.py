"""xe against a host that asks for things: files, transfers, the terminal."""
import os
import subprocess

import pytest
from fakehost import EXIT_0, EXIT_1, FakeHost, message
from simhost import BUILD

OK, FAILED = (10, 5), (10, 6)


@pytest.fixture
def run(tmp_path):
    """run(script, *words, http=, stdin=) -> (process, host)"""
    hosts = []

    def go(script, *words, http=None, stdin=b""):
        folder = tmp_path / f"host{len(hosts)}"
        folder.mkdir()
        host = FakeHost(str(folder), script, http)
        hosts.append(host)
        done = subprocess.run([os.path.join(BUILD, "xe"), *words], cwd=tmp_path, input=stdin, capture_output=True,
                              env={"XE_EXTRA_ARGS": f"server={host.path}", "HOME": "/nonexistent"}, timeout=30)
        if host.error:
            raise host.error
        return done, host

    yield go
    for h in hosts:
        h.close()


def test_texts_go_where_they_belong(run):
    done, host = run(lambda p: p.send(message(9, 0, b"one") + message(9, 16, b"two\n") + message(9, 15, b"hidden") +
                                      message(9, 14, b"CODE", 2, b"a", b"b") + EXIT_1), "some-command", "a=b c", "--x")
    assert (done.returncode, done.stdout) == (1, b"one\n")
    assert done.stderr == b"two\nError code: CODE\nError parameters: a, b\n"
    assert host.words == ["some-command", "a=b c", "--x"]  # no user, no password on the local socket


def test_a_named_file_is_sent(run, tmp_path):
    (tmp_path / "named").write_bytes(b"x" * 200000)
    got = []

    def script(peer):
        peer.send(message(9, 1, b"named"))
        got.append(peer.answer())
        got.append(peer.chunks())
        peer.send(EXIT_0)

    assert run(script, "put", "filename=./sub/../named")[0].returncode == 0
    assert got == [OK, b"x" * 200000]


@pytest.mark.parametrize("file", [b"/etc/hostname", b"other", b"named/../../etc/passwd"])
def test_another_file_is_not_touched(run, file):
    got = []

    def script(peer):
        peer.send(message(9, 1, file))
        got.append(peer.answer())
        peer.send(message(9, 12, file, b"/get"))
        got.append(peer.answer())
        peer.send(EXIT_1)

    done, _ = run(script, "put", "filename=named")
    assert got == [FAILED, FAILED] and done.stderr.count(b"not present on the command line") == 2


def get(url=b"/data", file=b"out"):
    def script(peer):
        peer.send(message(9, 12, file, url))
        peer.send(EXIT_0 if peer.answer() == OK else EXIT_1)
    return script


def test_download(run, tmp_path):
    def http(peer, head):
        assert head.startswith("GET /data?a=1 HTTP/1.0\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"y" * 70000)

    done, _ = run(get(b"/data?a=1"), "get", "filename=out", http=http)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"y" * 70000
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_download_to_the_standard_output_after_a_redirect(run):
    def http(peer, head):
        if head.startswith("GET /data "):
            peer.send(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n")
        else:
            peer.send(b"HTTP/1.1 200 OK\r\n\r\nhere")

    done, _ = run(get(file=b""), "get", http=http)
    assert (done.returncode, done.stdout) == (0, b"here")


def test_nothing_is_written_over(run, tmp_path):
    (tmp_path / "out").write_text("mine")
    done, _ = run(get(), "get", "filename=out", http=lambda p, h: p.send(b"HTTP/1.1 200 OK\r\n\r\nyours"))
    assert done.returncode == 1 and b"File exists" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_a_refused_download_leaves_no_file(run, tmp_path):
    done, _ = run(get(), "get", "filename=out", http=lambda p, h: p.send(b"HTTP/1.1 404 Not Found\r\n\r\n"))
    assert done.returncode == 1 and not (tmp_path / "out").exists()


def test_upload(run, tmp_path):
    (tmp_path / "in").write_bytes(b"z" * 300000)
    got = []

    def script(peer):
        peer.send(message(9, 13, b"in", b"/put"))
        peer.send(EXIT_0 if peer.answer() == OK else EXIT_1)

    def http(peer, head):
        assert head.startswith("PUT /put HTTP/1.0\r\n") and "Content-Length: 300000\r\n" in head
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        got.append(peer.rest())

    assert run(script, "put", "filename=in", http=http)[0].returncode == 0
    assert got == [b"z" * 300000]


def test_prompts_are_empty_without_a_terminal(run):
    got = []

    def script(peer):
        peer.send(message(9, 3))
        got.append(peer.chunks())
        peer.send(EXIT_0)

    assert run(script, "ask", stdin=b"yes\n")[0].returncode == 0
    assert got == [b""]


def console(peer):
    peer.send(message(9, 17, b"/console?x=1"))
    peer.send(EXIT_0 if peer.answer() == OK else EXIT_1)


def test_console_passes_both_ways(run):
    def http(peer, head):
        assert head.startswith("CONNECT /console?x=1 HTTP/1.0\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nlogin: ")
        peer.send(b"hello " + peer.until(b"\n"))

    done, _ = run(console, "console", stdin=b"root\n", http=http)
    assert (done.returncode, done.stdout) == (0, b"login: hello root\n")


def test_console_that_is_not_there(run):
    done, _ = run(console, "console", http=lambda p, h: p.send(b"HTTP/1.1 404 Not Found\r\n\r\n"))
    assert done.returncode == 1 and b"not available" in done.stderr


def test_a_terminal_is_raw_until_the_escape(tmp_path):
    from test_programs import Terminal
    got = []

    def http(peer, head):
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nlogin: ")
        got.append(peer.rest())

    host = FakeHost(str(tmp_path), console, http)

    class There:
        class daemon:
            folder, socket = str(tmp_path), host.path

    t = Terminal(There, "console")
    t.expect("login: ")
    t.type(b"\x03ab\r\x1dtoo late")
    assert t.status() == 0 and host.error is None
    assert got == [b"\x03ab\r"]
    host.close()


@pytest.mark.parametrize("bytes_", [b"\xff\xff\xff\xff", message(9, 99), message(9, 0, b"x")[:-1]])
def test_a_broken_server_is_an_error(run, bytes_):
    done, _ = run(lambda p: p.send(bytes_), "x")
    assert done.returncode == 1 and done.stderr.startswith(b"xe: ")


def test_a_server_of_another_kind(run, tmp_path):
    done, _ = run(lambda p: None, "x")
    assert done.returncode == 1 and b"lost connection" in done.stderr
