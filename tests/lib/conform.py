"""Are answers what the published facts say? Every answer that a test on a simulated host gets comes
through here: conform.answer("VM.get_record", value, conform.XML) raises AssertionError if its type
is not the declared one, to the last member of the last record.
"""
import functools
import json
import os
import re
import xmlrpc.client

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATE = re.compile(r"\d{8}T\d\d:\d\d:\d\dZ")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
XML, JSON = "xml", "json"


@functools.cache
def read_facts(name):
    with open(os.path.join(TOP, "tests", "facts", name + ".json"), encoding="utf-8") as f:
        return json.load(f)


@functools.cache
def classes():
    return {c["name"]: c for c in read_facts("classes")["classes"]}


@functools.cache
def lower_names():
    return {name.lower(): name for name in classes()}


@functools.cache
def members(cls):
    return {f["name"]: f["type"] for f in classes()[cls]["fields"] if not f.get("internal")}


@functools.cache
def messages():
    """By both spellings: VM.start and VM_start."""
    out = {}
    for c in classes().values():
        for m in c.get("messages", []):
            out[f"{c['name']}.{m['name']}"] = out[f"{c['name']}_{m['name']}"] = m
    return out


@functools.cache
def split_type(text):
    """('map', 'string', 'set(int)'), ('ref', 'VM'), ('int',)."""
    kind, bracket, inside = text.partition("(")
    if bracket and " " not in kind:
        if kind == "map":
            key, _, element = inside[:-1].partition(",")
            return (kind, key, element)
        return (kind, inside[:-1])
    return tuple(text.split(" ", 1))


class Mismatch(AssertionError):
    """Where, what was wanted, what was there."""

    def __init__(self, where, wanted, found):
        super().__init__(f"{where}: {wanted} wanted, found {found!r:.200}")


def need(condition, where, wanted, found):
    if not condition:
        raise Mismatch(where, wanted, found)


def check_scalar(where, kind, value, wire):
    good = {
        "string": lambda: isinstance(value, str),
        "bool": lambda: isinstance(value, bool),
        "int": lambda: isinstance(value, str) and re.fullmatch(r"-?\d+", value) if wire == XML
        else isinstance(value, int) and not isinstance(value, bool),
        "float": lambda: isinstance(value, float) if wire == XML
        else isinstance(value, (int, float)) and not isinstance(value, bool),
        "datetime": lambda: isinstance(value, xmlrpc.client.DateTime) and
        DATE.fullmatch(value.value) if wire == XML
        else isinstance(value, str) and DATE.fullmatch(value),
        "void": lambda: value == "",
    }[kind]()
    need(good, where, kind, value)


def check_key(where, type_, key):
    """Keys of maps are text on both wires."""
    kind, *rest = split_type(type_)
    if kind == "int":
        need(re.fullmatch(r"-?\d+", key), where, "an integer as key", key)
    elif kind != "string":
        check(where, type_, key, XML)
    need(isinstance(key, str) and rest is not None, where, "a key", key)


def check_record(where, cls, value, wire):
    """An optional member is there, as what it is, or it is not there."""
    wanted = members(cls)
    optional = {name for name, type_ in wanted.items() if split_type(type_)[0] == "option"}
    need(isinstance(value, dict), where, f"record {cls}", value)
    need(set(value) | optional == set(wanted), where, f"the members of {cls}",
         sorted(set(value) ^ set(wanted)))
    for name, item in value.items():
        type_ = split_type(wanted[name])[1] if name in optional else wanted[name]
        check(f"{where}.{name}", type_, item, wire)


def check(where, type_, value, wire):
    kind, *rest = split_type(type_)
    if kind == "ref":
        need(isinstance(value, str) and (not value or value.startswith("OpaqueRef:")), where,
             type_, value)
    elif kind == "enum":
        need(value in read_facts("enums")["enums"][rest[0]], where, type_, value)
    elif kind == "set":
        need(isinstance(value, list), where, type_, value)
        for n, item in enumerate(value):
            check(f"{where}[{n}]", rest[0], item, wire)
    elif kind == "map":
        need(isinstance(value, dict), where, type_, value)
        for key, item in value.items():
            check_key(f"{where}[{key!r}]", rest[0], key)
            check(f"{where}[{key!r}]", rest[1], item, wire)
    elif kind == "option":
        need(value == [] or isinstance(value, list) and len(value) == 1, where, type_, value)
        for item in value:
            check(where, rest[0], item, wire)
    elif kind == "record":
        check_record(where, rest[0], value, wire)
    else:
        check_scalar(where, kind, value, wire)


# ---- events, which are not what is declared ------------------------------------------------------

def check_event(where, event, wire, del_has_snapshot):
    cls = lower_names().get(event["class"])
    gone = event["operation"] == "del"
    wanted = {"id", "timestamp", "class", "operation", "ref"}
    if not gone or del_has_snapshot and "snapshot" in event:
        wanted.add("snapshot")
    need(set(event) == wanted, where, "the members of an event", sorted(event))
    need(cls and event["operation"] in ("add", "mod", "del"), where, "class and operation", event)
    for name in ("id", "timestamp", "ref"):
        need(isinstance(event[name], str), where, f"text in {name}", event[name])
    if "snapshot" in event:
        check_record(f"{where} {event['class']} {event['ref']}", cls, event["snapshot"], wire)


def check_batch(where, value, wire):
    need(set(value) == {"events", "valid_ref_counts", "token"}, where, "a batch of events", value)
    need(re.fullmatch(r"\d{20},\d{20}", value["token"]), where, "a token", value["token"])
    for name, n in value["valid_ref_counts"].items():
        need(name in lower_names() and type(n) is int, where, "a count of a table", (name, n))
    for event in value["events"]:
        check_event(where, event, wire, False)


# ---- all answers ---------------------------------------------------------------------------------

def answer(method, value, wire):
    """The value that a call succeeded with."""
    if method.startswith(("Async.", "InternalAsync.")):
        check(method, "ref task", value, wire)
        return
    m = messages().get(method)
    if method in ("event.from", "event_from"):
        check_batch(method, value, wire)
    elif method in ("event.next", "event_next"):
        for event in value:
            check_event(method, event, wire, True)
    elif m and "raw-result" not in m.get("flags", []):
        check(method, m.get("result", "void"), value, wire)


def error(method, details):
    """The code and the parameters that a call failed with."""
    need(isinstance(details, list) and details and all(isinstance(d, str) for d in details),
         method, "a list of texts", details)
    need(CODE.fullmatch(details[0]), method, "a code", details[0])


UNDECLARED = re.compile(r"event=undeclared-error method=(\S+) code=(\S+)")


def undeclared(log):
    """Errors that the model does not know of their message, as a daemon's log tells them."""
    with open(log, encoding="utf-8", errors="replace") as f:
        return sorted({f"{m} raises {c}" for m, c in UNDECLARED.findall(f.read())})
