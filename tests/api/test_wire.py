"""How calls come and answers go: paths, content types, envelopes, the order of checks."""
import http.client
import json
import socket
import xmlrpc.client

import pytest

from simhost import PASSWORD, failure

XML_PATHS = ("/", "/RPC2", "/xmlrpc", "/json", "/some/other/path")


def xml_call(daemon, name, *params, path="/", raw=None):
    body = raw or xmlrpc.client.dumps(tuple(params), name)
    status, headers, answer = daemon.post(path, body)
    assert status == 200, answer
    return headers, answer


def xml_value(answer):
    return xmlrpc.client.loads(answer)[0][0]


def one_param(name, session, value):
    return (f"<?xml version='1.0'?><methodCall><methodName>{name}</methodName><params>"
            f"<param><value>{session}</value></param><param><value>{value}</value></param>"
            f"</params></methodCall>")


@pytest.mark.parametrize("path", XML_PATHS)
def test_xml_paths(daemon, x, path):
    headers, answer = xml_call(daemon, "VM.get_all", x.ref, path=path)
    assert headers["Content-Type"] == "text/xml"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert xml_value(answer)["Status"] == "Success"


def test_json_content_type(daemon, x):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "VM.get_all", "params": [x.ref]})
    status, headers, _ = daemon.post("/jsonrpc", body, {"Content-Type": "text/whatever"})
    assert status == 200 and headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("ident", [0, 7, "abc", "0"])
def test_json_2(daemon, x, ident):
    good = daemon.json("VM.get_by_name_label", x.ref, "no such name", ident=ident)
    assert good == {"jsonrpc": "2.0", "result": [], "id": ident}
    bad = daemon.json("VM.get_record", x.ref, "OpaqueRef:no", ident=ident)
    assert bad == {"jsonrpc": "2.0", "id": ident, "error": {
        "code": 1, "message": "HANDLE_INVALID", "data": ["VM", "OpaqueRef:no"]}}


def test_json_1(daemon, x):
    good = daemon.json("VM.get_by_name_label", x.ref, "no such name", version=1)
    assert good == {"result": [], "error": None, "id": 1}
    bad = daemon.json("VM.get_record", x.ref, "OpaqueRef:no", version=1)
    assert bad == {"result": None, "error": ["HANDLE_INVALID", "VM", "OpaqueRef:no"], "id": 1}


def test_json_void_is_an_empty_string(daemon, x, vm):
    assert daemon.json("VM.set_name_description", x.ref, vm, "d")["result"] == ""


@pytest.mark.parametrize("body", ["", "{", "[]", '{"jsonrpc":"2.0","method":"VM.get_all"}',
                                  '{"id":null,"method":"VM.get_all","params":[]}'])
def test_no_call_at_all_is_500(daemon, body):
    status, headers, _ = daemon.post("/jsonrpc", body)
    assert status == 500 and headers["Content-Type"].startswith("text/html")
    status, _, _ = daemon.post("/", "<methodCall>")
    assert status == 500


@pytest.mark.parametrize("path", ["/", "/json", "/jsonrpc"])
def test_options(daemon, path):
    status, headers, _ = daemon.post(path, None, {"Access-Control-Request-Headers": "content-type"},
                                     method="OPTIONS")
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Access-Control-Allow-Headers"] == "content-type, X-Requested-With"
    assert headers["Access-Control-Allow-Methods"] == "PUT"


def test_http_1_0_closes(daemon, x):
    body = xmlrpc.client.dumps((x.ref,), "VM.get_all")
    status, headers, _ = daemon.post("/", body, version=10)
    assert status == 200 and headers["Connection"].lower() == "close"


def test_keep_alive_and_pipelining(daemon, x):
    body = xmlrpc.client.dumps((x.ref,), "VM.get_all").encode()
    head = f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as s:
        s.sendall((head + body) * 5)
        f = s.makefile("rb")
        for _ in range(5):
            assert f.readline().split()[1] == b"200"
            headers = http.client.parse_headers(f)
            assert xml_value(f.read(int(headers["Content-Length"])))["Status"] == "Success"


def test_list_methods_is_a_bare_array(daemon, facts):
    _, answer = xml_call(daemon, "system.listMethods")
    names = xml_value(answer)
    assert isinstance(names, list)
    wanted = {f"{c['name']}.{m['name']}" for c in facts for m in c.get("messages", [])}
    assert set(names) == wanted
    assert set(daemon.json("system.listMethods")["result"]) == wanted


def test_is_alive(daemon):
    assert daemon.json("system.isAlive", "still there")["result"] == "still there"


def test_underscore_alias(daemon, x):
    assert daemon.json("VM_get_all", x.ref)["result"] == x.VM.get_all()
    assert "events" in daemon.json("event_from", x.ref, ["pool"], "", 0)["result"]


# ---- the order of checks ----

def test_unknown_message(daemon, x):
    error = daemon.json("VM.no_such_thing")["error"]
    assert (error["message"], error["data"]) == ("MESSAGE_METHOD_UNKNOWN", ["VM.no_such_thing"])
    assert daemon.json("VM.no_such_thing", "bad")["error"]["message"] == "SESSION_INVALID"
    assert daemon.json("VM.no_such_thing", x.ref)["error"]["message"] == "MESSAGE_METHOD_UNKNOWN"
    assert daemon.json("vm.get_all", x.ref)["error"]["message"] == "MESSAGE_METHOD_UNKNOWN"
    with daemon.connect("read-only") as low:
        assert daemon.json("VM.no_such_thing", low.ref)["error"]["message"] == \
            "RBAC_PERMISSION_DENIED"


@pytest.mark.parametrize("params,received", [([], "-1"), (["s"], "0"), (["s", "a", "b"], "2")])
def test_number_of_parameters(daemon, params, received):
    error = daemon.json("VM.get_record", *params)["error"]
    assert error["message"] == "MESSAGE_PARAMETER_COUNT_MISMATCH"
    assert error["data"] == ["VM.get_record", "1", received]


def test_types_come_before_the_session(daemon):
    error = daemon.json("VM.set_HVM_boot_params", "bad session", "ref", "no map")["error"]
    assert error["message"] == "INTERNAL_ERROR"


def test_session_comes_before_the_object(daemon):
    assert daemon.json("VM.get_record", "bad", "OpaqueRef:x")["error"]["message"] == \
        "SESSION_INVALID"


def test_removed_messages(daemon, x, facts):
    removed = [(c["name"], m) for c in facts for m in c.get("messages", [])
               if m.get("state") == "removed" and m["kind"] == "explicit"]
    assert removed
    for cls, m in removed:
        needed = [p for p in m.get("params", []) if "default" not in p]
        name, nothing = f"{cls}.{m['name']}", [{}] * len(needed)
        assert daemon.json(name, x.ref, *nothing)["error"]["message"] == "MESSAGE_REMOVED", name
        assert daemon.json(name, "bad", *nothing)["error"]["message"] == "SESSION_INVALID", name


def test_async_of_what_has_none(daemon, x):
    assert daemon.json("Async.VM.get_record", x.ref, "r")["error"]["message"] == "Fault"


def test_not_implemented_names_the_message(daemon, x):
    pool = x.pool.get_all()[0]
    error = daemon.json("pool.get_license_state", x.ref, pool).get("error")
    if error:
        assert (error["message"], error["data"]) == ("NOT_IMPLEMENTED", ["pool.get_license_state"])


def test_invalid_utf8(daemon, x, vm):
    body = one_param("VM.set_name_description", x.ref, "@</value></param><param><value>%").encode()
    body = body.replace(b"@", vm.encode()).replace(b"%", b"caf\xe9")
    _, answer = xml_call(daemon, "", raw=body)
    assert xml_value(answer)["ErrorDescription"][0] == "INVALID_VALUE"


def test_blanks_in_strings_survive(daemon, x, vm):
    for text in ("  two  ", "line\nline\n", "tab\t", "a\r\nb", "<&>\"'", "Ünïcode \U0001f600"):
        daemon.json("VM.set_name_description", x.ref, vm, text)
        assert daemon.json("VM.get_name_description", x.ref, vm)["result"] == text
        assert x.VM.get_name_description(vm) == text
        if "\r" not in text:  # as xmlrpc.client writes it, XML makes a line feed of it
            x.VM.set_name_description(vm, text)
            assert x.VM.get_name_description(vm) == text


def test_xml_spellings_of_values(daemon, x, vm):
    name = "VM.set_user_version"
    for number in ("<int>1400</int>", "<i4>1400</i4>", "<i8>1400</i8>", "1400",
                   "<string>1400</string>"):
        raw = one_param(name, x.ref, vm).replace(
            "</params>", f"<param><value>{number}</value></param></params>")
        _, answer = xml_call(daemon, "", raw=raw)
        assert xml_value(answer) == {"Status": "Success", "Value": ""}
        assert b"<value>1400</value>" in xml_call(daemon, "VM.get_user_version", x.ref, vm)[1]
    assert failure(x.call, name, vm, "a lot")[0] == "INTERNAL_ERROR"


def test_json_integers_as_text(daemon, x, vm):
    assert daemon.json("VM.set_user_version", x.ref, vm, "1450")["result"] == ""
    assert daemon.json("VM.get_user_version", x.ref, vm)["result"] == 1450


def test_booleans_are_no_strings(daemon, x):
    vm = x.VM.get_all()[0]
    assert daemon.json("VM.set_ha_always_run", x.ref, vm, "true")["error"]["message"] == \
        "INTERNAL_ERROR"


def test_a_json_object_is_one_parameter(daemon):
    call = {"jsonrpc": "2.0", "id": 1, "method": "system.isAlive", "params": {"a": "b"}}
    status, _, body = daemon.post("/jsonrpc", json.dumps(call))
    assert status == 200 and json.loads(body)["result"] == {"a": "b"}


def test_login_by_the_bytes_of_the_manual(daemon):
    body = ("<?xml version=\"1.0\"?><methodCall><methodName>session.login_with_password"
            "</methodName><params><param><value>root</value></param>"
            f"<param><value>{PASSWORD}</value></param><param><value>1.0</value></param>"
            "<param><value>me</value></param></params></methodCall>")
    _, answer = xml_call(daemon, "", raw=body)
    start = (b'<?xml version="1.0"?><methodResponse><params><param><value><struct><member>'
             b'<name>Status</name><value>Success</value></member><member><name>Value</name>'
             b'<value>OpaqueRef:')
    assert answer.startswith(start)
