"""The compiled tables say what the facts of the API say.

dump_desc prints what the program knows at run time; the same lines are made here from tests/facts.
"""

import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "facts"))

import facts  # noqa: E402


def text(value):
    """A default in the canonical form of the store."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "(" + " ".join(f"'{text(v)}'" for v in value) + ")"
    if isinstance(value, dict):
        return "(" + " ".join(f"('{k}' '{text(v)}')" for k, v in value.items()) + ")"
    return str(value)


def words(names):
    return "".join(n + " " for n in names)


def keys(item):
    return words(f"{k}:{role}" for k, role in item.get("keys", {}).items())


def field_line(c, f, members):
    flags = {n for n in ("effect", "internal", "volatile") if f.get(n)}
    flags |= {"removed"} if f.get("state") == "removed" else set()
    given = [m for m in members if m.rstrip("*") == f["name"]]
    if given:
        flags |= {"given"} | ({"required"} if given[0].endswith("*") else set())
    return ["field", f"{c['name']}.{f['name']}", f.get("column", f["name"]), f["qual"], f["type"],
            f.get("read_role", "read-only"), f.get("write_role", ""), words(sorted(flags)), keys(f)]


def message_line(c, m):
    flags = m.get("flags", []) + (["removed"] if m.get("state") == "removed" else [])
    params = m.get("params", [])
    line = ["message", f"{c['name']}.{m['name']}", m["kind"], m["result"], m["role"],
            words(sorted(flags)), words(m.get("errors", [])), keys(m),
            str(sum("default" not in p for p in params))]
    for p in params:
        line += [p["name"], p["type"], text(p["default"]) if "default" in p else "-"]
    return line


def expected(known):
    for c in known["classes"]["classes"]:
        yield ["class", c["name"], c["name"].lower()]
        members = [x for m in c.get("messages", []) for x in m.get("members", [])]
        for f in c.get("fields", []):
            yield field_line(c, f, members)
        for m in c.get("messages", []):
            yield message_line(c, m)
    for name, params in known["errors"]["errors"].items():
        yield ["error", name] + [p.strip() for p in params or []]


class Tables(unittest.TestCase):
    def test_all(self):
        out = subprocess.run([os.environ["DUMP_DESC"]], capture_output=True, text=True, check=True)
        found = {}
        for line in out.stdout.splitlines():
            parts = line.split("\t")
            found[tuple(parts[:2])] = parts
        wanted = list(expected(facts.load()))
        self.assertEqual(len(found), len(wanted))
        self.assertGreater(len(wanted), 3800)
        for line in wanted:
            with self.subTest(" ".join(line[:2])):
                self.assertEqual(found.get(tuple(line[:2])), line)


if __name__ == "__main__":
    unittest.main()
