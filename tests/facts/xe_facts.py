#!/usr/bin/env python3
"""What `xe` knows - commands, families, columns - in one canonical form, from whichever side.

xe.json beside this file was written down from the published interface, independently of
model/xe.table; tests/model/test_xe.py compares the two.

    xe_facts.py SOURCE     writes xe.json anew from a file in the form of the published interface
"""

import json
import os
import sys

from facts import HERE, dump

PATH = os.path.join(HERE, "xe.json")
FLAGS = {"Standard": "standard", "Hidden": "hidden", "Vm_selectors": "vm", "Host_selectors": "host",
         "Sr_selectors": "sr", "Neverforward": "here", "Deprecated": "deprecated"}
VERBS = {"list": "list", "param-list": "show", "param-get": "get", "param-set": "set", "param-add": "add",
         "param-remove": "remove", "param-clear": "clear"}
STANDARD = ("vm", "network", "sr")  # families whose -list plain "xe help" names
MARKS = ("hidden", "expensive", "deprecated", "nocase")
# How a column is shown; what the published form says beside these is told by the type alone.
FORMATS = {"uuid": "uuid", "uuids;": "uuid", "map-uuid": "uuid", "name": "name", "date": "date", "%.3f": "%.3f",
           "VM.get_uuid": "uuid", "Driver_variant.uuid": "uuid", "role.get_name_label": "name"}


def load():
    with open(PATH, encoding="utf-8") as f:
        return json.load(f)


# ---- from the published interface ----------------------------------------------------------------

def source_command(c):
    flags = [FLAGS[f] for f in c.get("flags", [])]
    flags += ["fd"] if c["impl"].startswith("With_fd") else []
    flags += ["local"] if c["impl"].endswith("local_session") else []
    return {"required": c["req"], "optional": [o for o in c["opt"] if o], "flags": sorted(flags)}


def source_family(f):
    return {"record": f["record"].removesuffix("_record"), "filters": ["=".join(p) for p in f["filters"]],
            "list": f["list"], "verbs": [VERBS[v] for v in f["verbs"]],
            "where": f.get("getall_expr", "true"), "standard": f["class"] in STANDARD}


def leaf(name):
    return name.rsplit(".", 1)[-1].removeprefix("get_")


def calls(via):
    """The messages that write, without those that only find the object."""
    names = {w for v in via.values() for w in ([v] if isinstance(v, str) else v)}
    return sorted(n for n in names if not n.rsplit(".", 1)[-1].startswith("get_"))


def source_column(c):
    words, read = c.get("fmt", []), [s for s in c["src"] if s in FORMATS and len(c["src"]) > 1]
    return {"name": c["n"], "mark": c["rw"], "flags": sorted(m for m in MARKS if c.get(m)),
            "format": next((FORMATS[w] for w in words + read if w in FORMATS), "text"),
            "separator": ", " if "join," in words else "; ",
            "reads": sorted({leaf(s.split(" ")[0]) for s in c["src"]}), "writes": calls(c.get("via", {}))}


def from_source(path):
    with open(path, encoding="utf-8") as f:
        raw = json.load(f)
    return {"commands": {c["n"]: source_command(c) for c in raw["commands"]},
            "families": {f["class"]: source_family(f) for f in raw["families"]},
            "records": {n.removesuffix("_record"): [source_column(c) for c in r]
                        for n, r in raw["records"].items()},
            "shown": {n.removesuffix("_to_string"): v for n, v in raw["enum_display"].items()
                      if isinstance(v, dict)}}


# ---- from model/xe.table -------------------------------------------------------------------------

def table_command(c):
    ours = ("templates", "dom0")  # whom vm= may mean: no fact of the published form
    return {"required": c["required"], "optional": c["optional"],
            "flags": sorted(f for f in c["flags"] if f not in ours)}


def table_family(f):
    return {"record": f["record"], "filters": f["filters"], "list": f["cols"], "verbs": f["verbs"],
            "where": f["where"], "standard": f["standard"]}


def table_column(c):
    flags = ["nocase" if f == "any_case" else f for f in c["flags"]]
    return {"name": c["name"], "mark": c["rw"], "flags": sorted(flags),
            "format": c["format"] if c["format"] in FORMATS.values() else "text", "separator": c["sep"],
            "reads": [leaf(c["source"].lstrip("@"))], "writes": sorted(set(c["writers"].values()))}


def from_table(model):
    """`model` is what gen/xe.py parses."""
    return {"commands": {c["name"]: table_command(c) for c in model.commands},
            "families": {f["prefix"]: table_family(f) for f in model.families},
            "records": {n: [table_column(c) for c in r["columns"]] for n, r in model.records.items()},
            "shown": {n: dict(v) for n, v in model.shown.items()}}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(PATH, "w", encoding="utf-8") as out:
        out.write(dump(from_source(sys.argv[1]), 2) + "\n")
