"""Plain HTTP where HTTPS is wanted."""
import http.client
import ssl

import pytest
from simhost import failure, run_daemon
import xapi

NOWHERE = "OpaqueRef:nowhere"


@pytest.fixture
def served(tmp_path):
    """A daemon with TLS and a page."""
    (tmp_path / "page.html").write_text("<p>a page</p>")
    for d in run_daemon("listen_https=127.0.0.1:0", f"web_dir={tmp_path}"):
        with open(d.log, encoding="utf-8") as f:
            line = next(t for t in f.read().splitlines() if "tls=yes" in t and "listening" in t)
        d.tls_port = int(line.partition("port=")[2].split()[0])
        yield d


def https(d, method, path):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    c = http.client.HTTPSConnection("127.0.0.1", d.tls_port, context=context, timeout=30)
    c.request(method, path)
    answer = c.getresponse()
    return answer.status, answer.read(), answer.headers


def test_only_https(served):
    with xapi.connect(served.socket) as x:
        host, pool = x.host.get_all()[0], x.pool.get_all()[0]
        assert served.post("/page.html", None, method="GET")[0] == 200
        x.host.set_https_only(host, True)
        assert x.host.get_https_only(host) is True
        for method in ("GET", "HEAD"):
            status, headers, _ = served.post("/page.html?a=b", None, {"Host": "h.example:81"},
                                             method)
            assert (status, headers["location"]) == \
                (301, f"https://h.example:{served.tls_port}/page.html?a=b")
        assert served.post("/", "x", method="POST")[0] == 403
        assert served.post("/page.html", None, {"Host": "a b"}, "GET")[0] == 403
        assert https(served, "GET", "/page.html")[:2] == (200, b"<p>a page</p>")
        assert x.pool.get_all() == [pool], "the local socket is not plain"
        x.host.set_https_only(host, False)
        assert served.post("/page.html", None, method="GET")[0] == 200
        x.pool.set_https_only(pool, True)
        assert x.host.get_https_only(host) is True
        assert served.post("/page.html", None, {"Host": "h.example"}, "GET")[0] == 301
        x.pool.set_https_only(pool, False)
        assert x.host.get_https_only(host) is False
        assert served.post("/page.html", None, method="GET")[0] == 200
        assert failure(x.host.set_https_only, NOWHERE, True)[0] == "HANDLE_INVALID"
        assert failure(x.pool.set_https_only, NOWHERE, True)[0] == "HANDLE_INVALID"


def test_head_is_a_page_without_its_text(served):
    status, body, headers = https(served, "HEAD", "/page.html")
    assert (status, body, headers["content-length"]) == (200, b"", "13")


def test_where_there_is_no_https(daemon, x):
    host = x.host.get_all()[0]
    pool = x.pool.get_all()[0]
    assert failure(x.host.set_https_only, host, True)[0] == "OPERATION_NOT_ALLOWED"
    assert failure(x.pool.set_https_only, pool, True)[0] == "OPERATION_NOT_ALLOWED"
    assert x.host.get_https_only(host) is False
