#!/usr/bin/env python3
"""The facts of the API in one canonical form, from whichever side they come.

The files beside this one state what the interface is: names, types, order, defaults, qualifiers,
roles, errors. They were written down from the published interface, independently of model/, and
are what the model, the replies and the role checks are tested against. One item stands on a line,
so a change reads well in a diff.

    facts.py SOURCE_DIR    writes the files anew from a directory with classes.json, enums.json,
                           errors.json and http.json in the form of the published interface

Tests use load() for the committed files, from_source() and from_model() for the two sides.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = ("classes", "enums", "errors", "http", "roles")
EMPTY = ("", False, [], {}, None)


def load():
    out = {}
    for name in FILES:
        with open(os.path.join(HERE, name + ".json"), encoding="utf-8") as f:
            out[name] = json.load(f)
    return out


# ---- from the published interface ----------------------------------------------------------------

def from_source(folder):
    raw = {}
    for name in ("classes", "enums", "errors", "http"):
        with open(os.path.join(folder, name + ".json"), encoding="utf-8") as f:
            raw[name] = json.load(f)
    top = raw["classes"]
    ranks = {r["name"]: r for r in top["roles"]}
    errors = raw["errors"]
    return {
        "classes": {"classes": [source_class(c, top) for c in top["classes"]],
                    "relations": sorted(relation(r, top) for r in top["relations"])},
        "enums": {"enums": raw["enums"]["enums"], "alerts": raw["enums"]["message_names"]},
        "errors": {"errors": {k: v for k, v in sorted(errors["errors"].items())},
                   "inferred": sorted(errors["inferred"])},
        "http": {"handlers": [source_handler(h) for h in raw["http"]["handlers"]]},
        "roles": {"roles": [some({"name": n, "uuid": ranks[n]["uuid"],
                                  "internal": ranks[n]["internal"]})
                            for n in reversed(top["legend"]["role_order"])],
                  "permissions": top["extra_permissions"], "releases": top["releases"]},
    }


def source_handler(h):
    return some({"name": h["name"], "method": h["m"], "path": h["path"], "role": h["role"],
                 "subs": h.get("sub"), "sdk": h.get("sdk"), "client-cert": h.get("cc"),
                 "own-check": h.get("norbac"), "master": h.get("master"), "queries": h["q"],
                 "needs": " and ".join(h.get("req", []))})


def some(d):
    return {k: v for k, v in d.items() if k == "default" or v not in EMPTY}


def relation(r, top):
    """Each with the stored side first; sides of equal standing in alphabetical order."""
    a, b = r[:2], r[2:4]
    kind = "one-to-many" if r[4] == "one-to-many" else "many-to-many"
    if kind == "many-to-many":
        a, b = sorted((a, b))
    return a + b + [kind]


def source_life(o):
    if "st" not in o:  # one message was removed and came back: what counts is that it is there
        return {"since": o["since"]}
    return {"since": o["since"], "state": o.get("st"), "deprecated": o.get("dep"),
            "removed": o.get("rem")}


def source_type(text):
    return "record any" if text == "record <class>" else text


def source_class(c, top):
    storage = ("stored" if c["persist"] else "volatile") if c["db"] else "virtual"
    return some({
        "name": c["name"], **source_life(c), "storage": storage, "events": c["events"],
        "get_all": c["get_all"], "constructor": c["ctor_dtor"], "role": c["default_role"],
        "custom_read": c.get("custom_accessors"), "no_task": c["name"] in top["no_task_classes"],
        "fields": [source_field(f) for f in c["fields"]],
        "messages": sorted((source_message(c, m, top) for m in c["messages"]),
                           key=lambda m: m["name"])})


def source_field(f):
    out = {"name": f["name"], "type": source_type(f["type"]), "qual": f["q"].lower(),
           "column": f.get("db"), "internal": f.get("internal"), "volatile": f.get("nopersist"),
           "effect": f.get("effect"), "plain": f.get("nofk"), "write_role": f.get("w"),
           "read_role": f.get("r"), "keys": f.get("keyroles"), **source_life(f)}
    if "default" in f:
        out["default"] = f["default"]
    return some(out)


def source_param(p):
    out = {"name": p[1], "type": source_type(p[0])}
    if len(p) > 2:
        # one enum parameter is published with an empty set for a default: its first value is meant
        out["default"] = "unknown" if p[0].startswith("enum") and p[2] == [] else p[2]
    return out


FLAGS = {"async": "async", "hidden": "hidden", "nosession": "no-session",
         "internal": "pool-internal", "secret": "secret", "nocurop": "no-current-op",
         "cc": "client-cert", "custom": "raw-result", "fwd": "extension"}


def source_message(c, m, top):
    full = f"{c['name']}.{m['name']}"
    flags = [name for key, name in FLAGS.items() if m.get(key)]
    flags += ["emergency"] if full in top["emergency_calls"] else []
    flags += ["not-forwarded"] if full in top["not_forwarded_from_slave_socket"] else []
    return some({
        "name": m["name"], "kind": "explicit" if m["k"] == "custom" else m["k"],
        "params": [source_param(p) for p in m["params"]], "result": source_type(m["ret"]),
        "role": m["role"], **source_life(m), "flags": sorted(flags),
        "keys": m.get("keyroles"), "errors": m.get("errs"), "members": m.get("ctor")})


# ---- from gen/model.json -------------------------------------------------------------------------

def from_model(model):
    errors = model["errors"]
    return {
        "classes": {"classes": [model_class(c) for c in model["classes"]],
                    "relations": sorted(model_relation(r) for r in model["relations"])},
        "enums": {"enums": model["enums"], "alerts": model["alerts"]},
        "errors": {"errors": {k: None if v.get("unraised") else v.get("params", [])
                              for k, v in sorted(errors.items())},
                   "inferred": sorted(k for k, v in errors.items() if v.get("inferred"))},
        "http": {"handlers": [model_handler(h) for h in model["handlers"]
                              if "house" not in h.get("flags", [])]},
        "roles": {"roles": model["roles"], "permissions": model["permissions"],
                  "releases": model["releases"]},
    }


def model_relation(r):
    a, b = r[:2], r[2:4]
    if r[4] == "many-to-many":
        a, b = sorted((a, b))
    return a + b + [r[4]]


def model_life(o):
    return {k: o.get(k) for k in ("since", "state", "deprecated", "removed")}


def model_class(c):
    flags = c.get("flags", [])
    return some({
        "name": c["name"], **model_life(c), "storage": c["storage"], "events": "events" in flags,
        "get_all": "get-all" in flags, "constructor": c.get("constructor"), "role": c["role"],
        "custom_read": "custom-read" in flags, "no_task": "no-task" in flags,
        "fields": [model_field(f) for f in c.get("fields", [])],
        "messages": sorted((model_message(c, m) for m in c.get("messages", [])),
                           key=lambda m: m["name"])})


def model_field(f):
    keys = ("name", "type", "qual", "column", "internal", "volatile", "effect", "write_role",
            "read_role", "keys")
    out = {**{k: f.get(k) for k in keys}, **model_life(f)}
    out["plain"] = f["type"].startswith("set(ref") and (f.get("plain") or not f.get("inverse"))
    if "default" in f:
        out["default"] = f["default"]
    return some(out)


def model_handler(h):
    keys = ("name", "method", "path", "role", "subs", "queries", "needs")
    flags = {f: f in h.get("flags", []) for f in ("sdk", "client-cert", "own-check", "master")}
    return some({**{k: h.get(k) for k in keys}, **flags})


def model_message(c, m):
    ours = ("unimplemented", "inline", "native")  # say something about this implementation, not the API
    out = {k: m.get(k) for k in ("name", "kind", "params", "result", "role", "keys", "errors")}
    out.update(model_life(m), flags=[f for f in m.get("flags", []) if f not in ours])
    if m["kind"] == "make":
        out["members"] = [f["name"] + ("" if "default" in f else "*")
                          for f in c["fields"] if f.get("given")]
    return some(out)


# ---- writing -------------------------------------------------------------------------------------

def dump(value, depth=0):
    """JSON with one item a line: containers that hold containers are broken up, two deep items
    are not."""
    flat = json.dumps(value, ensure_ascii=False)
    if depth > 4 or not isinstance(value, (dict, list)) or not value or len(flat) < 80:
        return flat
    if isinstance(value, dict):
        if {"name", "type"} <= value.keys() or "kind" in value:
            return flat
        body = ",\n".join(f"{json.dumps(k)}: {dump(v, depth + 1)}" for k, v in value.items())
        return "{" + body + "}"
    return "[\n" + ",\n".join(dump(v, depth + 1) for v in value) + "]"


def write(facts):
    for name in FILES:
        with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as f:
            f.write(dump(facts[name]) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(from_source(sys.argv[1]))
