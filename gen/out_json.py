"""Model -> model.json: the whole model for tools, tests and the web interface."""

import json


def model_json(model):
    return json.dumps(as_json(model), indent=1) + "\n"


def as_json(model):
    return {
        "releases": [[r.name or None, r.major, r.minor, r.product] for r in model.releases],
        "roles": [without_empty({"name": r.name, "uuid": r.uuid, "internal": r.internal})
                  for r in model.roles],
        "permissions": dict(model.permissions),
        "errors": {e.name: error_json(e) for e in model.errors.values()},
        "alerts": dict(model.alerts),
        "enums": {e.name: e.values for e in model.enums.values()},
        "classes": [class_json(k) for k in model.api_classes()],
        "relations": relations(model),
        "handlers": [handler_json(h) for h in model.handlers.values()],
    }


def without_empty(d):
    """Absent means false or empty; a default is kept whatever it is."""
    return {k: v for k, v in d.items() if k == "default" or v not in ("", False, [], {}, None)}


def error_json(e):
    return without_empty({"params": e.params, "inferred": e.inferred, "unraised": e.unraised,
                          "doc": e.doc})


def handler_json(h):
    return without_empty({
        "name": h.name, "method": h.method, "path": h.path, "role": h.roles, "form": h.form,
        "subs": {s.key: s.role for s in h.subs}, "flags": sorted(h.flags), "task": h.task,
        "body": h.body, "needs": h.needs, "queries": [list(q) for q in h.queries], "doc": h.doc})


def life_json(life):
    return {"since": life.since, "state": "" if life.state == "published" else life.state,
            "deprecated": life.deprecated, "removed": life.removed}


def class_json(k):
    return without_empty({
        "name": k.name, **life_json(k.life), "storage": k.storage,
        "flags": sorted(k.flags), "role": k.roles, "state_field": k.state,
        "constructor": bool(k.create), "doc": k.doc,
        "fields": [field_json(f) for f in k.fields],
        "operations": [op_json(r) for r in k.ops],
        "messages": [message_json(m) for m in k.messages()]})


def default_json(value):
    return {} if value is None else {"default": value.json}


def field_json(f):
    out = without_empty({
        "name": f.name, "column": f.column if f.column != f.name else "", "type": str(f.type),
        "qual": f.qual, "internal": f.internal, "volatile": f.volatile, "effect": f.effect,
        "derived": f.derived, "plain": f.plain, "inverse": f.inverse, "secret": f.secret,
        "wire_only": f.wire_only, "given": f.in_constructor(),
        "write_role": f.roles if f.qual == "rw" else "",
        "read_role": f.read if f.read != "read-only" else "", **life_json(f.life),
        "keys": {k.key: k.role for k in f.keys}, "doc": f.doc})
    return {**out, **default_json(f.default)}


def op_json(r):
    return without_empty({"name": r.name, "states": r.states,
                          "excludes": "all-but" if r.alone else "only", "except": r.along,
                          "claims": [list(c) for c in r.claims], "allows": r.marks,
                          "rule": r.rule, "light": r.light,
                          "unimplemented": r.unimplemented, "state_error": r.state_error})


def message_json(m):
    return without_empty({
        "name": m.name, "kind": m.kind,
        "params": [{"name": p.name, "type": str(p.type), **default_json(p.default)}
                   for p in m.params],
        "result": str(m.result), "role": m.roles, **life_json(m.life),
        "flags": sorted(m.flags), "keys": {k.key: k.role for k in m.keys}, "plan": m.plan,
        "op": m.op, "errors": m.errors, "raises": m.raises, "doc": m.doc})


def relations(model):
    """Each once, the stored side first: [class, field, class, field, kind]."""
    out = []
    for k in model.api_classes():
        for f in k.fields:
            if not f.inverse:
                continue
            name, _, field = f.inverse.partition(".")
            there = model.classes[name].field(field)
            many = there.type.kind == "set"
            if many and [k.name, f.name, name, field, "many-to-many"] in out:
                continue
            out.append([name, field, k.name, f.name, "many-to-many" if many else "one-to-many"])
    return sorted(out)
