"""Extensions: programs that are called like messages."""
import os
import xmlrpc.client

import pytest
from simhost import failure

NOWHERE = "OpaqueRef:nowhere"
NAME = "Weather.forecast"
PROGRAM = """#!/usr/bin/python3
import sys, xmlrpc.client
assert sys.argv[1:] == ["--xmlrpc"]
params, name = xmlrpc.client.loads(sys.stdin.read())
if params[1:] == ("refuse",):
    answer = {"Status": "Failure", "ErrorDescription": ["STORM", "today"]}
elif params[1:] == ("babble",):
    print("no XML")
    sys.exit(0)
else:
    answer = {"Status": "Success", "Value": {"name": name, "params": list(params)}}
print(xmlrpc.client.dumps((answer,), methodresponse=True))
"""


@pytest.fixture
def extension(daemon):
    folder = os.path.join(daemon.folder, "extensions")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, NAME)
    with open(path, "w", encoding="utf-8") as f:
        f.write(PROGRAM)
    os.chmod(path, 0o755)
    yield NAME
    os.unlink(path)


def text(*params):
    return xmlrpc.client.dumps(params, NAME)


def test_called_by_its_own_name(daemon, x, extension):
    assert x.Weather.forecast("here", ["a", "b"]) == \
        {"name": NAME, "params": [x.ref, "here", ["a", "b"]]}
    assert failure(x.Weather.forecast, "refuse") == ["STORM", "today"]
    assert failure(x.Weather.forecast, "babble")[0] == "EXTENSION_PROTOCOL_FAILURE"
    assert daemon.json(NAME, x.ref, 7)["result"]["params"] == [x.ref, "7"]
    assert failure(x.Weather.past, "here") == ["MESSAGE_METHOD_UNKNOWN", "Weather.past"]
    assert failure(x.call_bare, NAME) == ["MESSAGE_METHOD_UNKNOWN", NAME]
    assert failure(x.call_bare, NAME, "OpaqueRef:no")[0] == "SESSION_INVALID"
    with daemon.connect("pool-operator") as low:
        assert failure(low.Weather.forecast, "here")[0] == "RBAC_PERMISSION_DENIED"


def test_called_by_a_message(x, extension):
    host = x.host.get_all()[0]
    assert x.host.call_extension(host, text("s", "there"))["params"] == ["s", "there"]
    assert failure(x.host.call_extension, host, text("s", "refuse")) == ["STORM", "today"]
    assert failure(x.host.call_extension, host, "no call")[0] == "INVALID_VALUE"
    assert failure(x.host.call_extension, NOWHERE, text("s"))[0] == "HANDLE_INVALID"
    other = xmlrpc.client.dumps(("s",), "../users")
    assert failure(x.host.call_extension, host, other) == ["MESSAGE_METHOD_UNKNOWN", "../users"]


def test_who_has_it(x, extension):
    host, pool = x.host.get_all()[0], x.pool.get_all()[0]
    assert x.host.has_extension(host, NAME) is True and x.pool.has_extension(pool, NAME) is True
    for name in ("Weather.past", "../users", "", "."):
        assert x.host.has_extension(host, name) is False
        assert x.pool.has_extension(pool, name) is False
    assert failure(x.host.has_extension, NOWHERE, NAME)[0] == "HANDLE_INVALID"
    assert failure(x.pool.has_extension, NOWHERE, NAME)[0] == "HANDLE_INVALID"
