"""Model -> text for people: model/api.lock and docs/coverage.md. Both are committed.

api.lock has one line per name on the wire, sorted: a review of the API is a review of its diff.
coverage.md counts what works. A message counts as implemented when it has a handler and stands in
tests/covered.txt, where it is entered with the test that proves it.
"""

from parse import PLANS
from tree import ModelError, Place

LOCK_HEAD = """\
# Every name on the wire: written by tools/regen, compared by a test. A change here is a change of
# the API. Removed items stay.
"""


# ---- api.lock ------------------------------------------------------------------------------------

def api_lock(model):
    lines = [f"error {e.name}({', '.join(e.params)})" for e in model.errors.values()]
    lines += [f"enum {e.name}: {', '.join(e.values)}" for e in model.enums.values()]
    for k in model.api_classes():
        flags = " ".join(sorted(k.flags - {"kept"}))
        lines.append(f"class {k.name} {k.storage} {flags} {life(k.life)}")
        lines += [f"field {k.name}.{f.name} {field(f)}" for f in k.fields]
        lines += [f"message {k.name}.{m.name}{message(m)}" for m in k.messages()]
    lines.sort()
    return LOCK_HEAD + "".join(line.rstrip() + "\n" for line in lines)


def life(x):
    words = ["since " + x.since] if x.since else []
    if x.state == "prototyped":
        words.append("prototyped")
    if x.deprecated:
        words.append("deprecated " + x.deprecated)
    if x.removed:
        words.append("removed " + x.removed)
    return " ".join(words)


def keys(items):
    return "".join(f' key "{k.key}" {k.role}' for k in items)


def default(value):
    return "" if value is None else f" = {value.text!r}"


def field(f):
    words = [str(f.type), f.qual + default(f.default)]
    words += ["internal"] if f.internal else []
    words += [f"read {f.read}"] if f.read != "read-only" else []
    words += [f"write {f.roles}"] if f.qual == "rw" else []
    return " ".join(words) + keys(f.keys) + " " + life(f.life)


def message(m):
    params = ", ".join(f"{p.name}: {p.type}{default(p.default)}" for p in m.params)
    flags = " ".join(sorted(m.flags - {"unimplemented", "inline", "native"}))
    return f"({params}) -> {m.result} {m.roles} {flags} {life(m.life)}{keys(m.keys)}"


# ---- coverage.md ---------------------------------------------------------------------------------

COVERAGE_HEAD = """\
{done} of {total} explicit messages implemented.

Written by `tools/regen` from the model and `tests/covered.txt`. *Implemented* means: the message
has a handler, and a test sees its effect by another route (another message, a file, a process,
the hypervisor) and one of the errors it declares. *Handled* counts those with a handler, tested
in that strict sense or not; everything else answers `NOT_IMPLEMENTED`. Removed messages do not
count; the {implicit} implicit ones (getters, setters, `get_all_records` …) work from the tables for
all classes and are not listed.
"""


def works(m):
    return m.handler or "native" in m.flags


def read_covered(model, path):
    """The messages of tests/covered.txt. Returns (set of "Class.message", complaints)."""
    known = {f"{k.name}.{m.name}": m for k in model.api_classes() for m in k.messages()}
    covered, errors = set(), []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            name = line.split("#", 1)[0].split(":", 1)[0].strip()
            if not name:
                continue
            m = known.get(name)
            if not m:
                errors.append(ModelError(Place(path, number), f"no message is called {name}"))
            elif not works(m) and (m.kind == "explicit" or "unimplemented" in m.flags):
                errors.append(ModelError(Place(path, number), f"{name} has no handler"))
            covered.add(name)
    return covered, errors


def coverage_md(model, covered):
    rows = [(k.name, m.plan, works(m), f"{k.name}.{m.name}" in covered)
            for k in model.api_classes() for m in k.explicit if m.life.state != "removed"]
    implicit = sum(len(k.implicit) for k in model.api_classes())
    done = sum(r[3] for r in rows)
    out = [COVERAGE_HEAD.format(done=done, total=len(rows), implicit=implicit)]
    out += table("Part", [(p, [r for r in rows if r[1] == p]) for p in PLANS])
    names = sorted({r[0] for r in rows}, key=str.lower)
    out += table("Class", [(n, [r for r in rows if r[0] == n]) for n in names])
    return "\n".join(out)


def table(head, groups):
    out = [f"| {head} | Implemented | Handled | Messages |", "|---|---:|---:|---:|"]
    out += [f"| {name} | {sum(r[3] for r in rows)} | {sum(r[2] for r in rows)} | {len(rows)} |"
            for name, rows in groups if rows]
    return out + [""]
