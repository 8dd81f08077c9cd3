"""Checks the tree and completes it: values, relations, implicit messages, handlers.

Every complaint carries the place of the statement it is about. check() returns them all; the other
parts of the generator run only on a model without complaints.
"""

import re
from itertools import chain

from implicit import add_implicit
from tree import ModelError
from values import BadValue, read_value

LOCAL_ROOT = "local-root"
UNCHECKED = "unchecked"


def check(model):
    """Returns a list of ModelError; the model is complete if it is empty."""
    return Checker(model).run()


class Checker:
    def __init__(self, model):
        self.model, self.errors = model, []
        self.releases = {r.name: i for i, r in enumerate(model.releases) if r.name}
        self.roles = {r.name for r in model.roles} | {LOCAL_ROOT, UNCHECKED}

    def complain(self, place, text):
        self.errors.append(ModelError(place, text))

    def run(self):
        for cls in self.model.classes.values():
            self.check_class(cls)
            for f in cls.fields:
                self.check_field(cls, f)
            for m in cls.explicit:
                self.check_message(cls, m)
        for h in self.model.handlers.values():
            self.check_handler(h)
        if not self.errors:
            self.check_relations()
            self.check_ops()
        if not self.errors:
            for cls in self.model.classes.values():
                add_implicit(cls)
                self.check_names(cls)
        return self.errors

    # ---- small things ----------------------------------------------------------------------------

    def check_role(self, place, role):
        if role not in self.roles:
            self.complain(place, f"unknown role '{role}'")

    def check_release(self, place, name):
        if name not in self.releases and not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.-]+)?", name):
            self.complain(place, f"unknown release '{name}'")

    def order(self, name):
        """Named releases come before version numbers."""
        if name in self.releases:
            return (0, self.releases[name])
        return (1, tuple(int(n) for n in re.findall(r"\d+", name)[:3]))

    def check_life(self, place, life, outer):
        if not life.since:
            life.since = outer
        marks = [x for x in (life.since, life.deprecated, life.removed) if x]
        for name in marks:
            self.check_release(place, name)
        if self.errors:
            return
        for earlier, later in zip(marks, marks[1:]):
            if self.order(later) < self.order(earlier):
                self.complain(place, f"'{later}' comes before '{earlier}'")

    def check_type(self, place, type_):
        for t in type_.parts():
            if t.kind == "enum" and t.name not in self.model.enums:
                self.complain(place, f"unknown enum '{t.name}'")
            if t.kind in ("ref", "record") and t.name not in self.model.classes and t.name != "any":
                self.complain(place, f"unknown class '{t.name}'")
            if t.kind == "map" and t.key.kind not in ("string", "enum", "ref", "int"):
                self.complain(place, f"a map cannot have keys of type {t.key}")

    def read_default(self, place, raw, type_):
        if raw is None or any(t.kind == "enum" and t.name not in self.model.enums
                              for t in type_.parts()):
            return None
        try:
            return read_value(raw, type_, self.model.enums)
        except BadValue as e:
            self.complain(place, str(e))
            return None

    def check_handler(self, h):
        """A handler's permission is called http/NAME, a sub-permission http/NAME/KEY."""
        if not h.roles:
            self.complain(h.place, f"handler {h.name} names no role")
        for role in [h.roles] + [s.role for s in h.subs]:
            if role:
                self.check_role(h.place, role)
        same = [o.name for o in self.model.handlers.values()
                if (o.method, o.path) == (h.method, h.path)]
        if same[0] != h.name:
            self.complain(h.place, f"{h.method} {h.path} belongs to handler {same[0]}")

    # ---- classes, fields, messages ---------------------------------------------------------------

    def check_class(self, cls):
        if not cls.storage:
            self.complain(cls.place, f"class {cls.name} is stored, volatile or virtual: say which")
        if not cls.roles:
            cls.roles = self.model.roles[-1].name if cls.internal() else ""
            if not cls.roles:
                self.complain(cls.place, f"class {cls.name} names no role")
        else:
            self.check_role(cls.place, cls.roles)
        if not cls.life.since and cls.internal():
            cls.life.since = self.model.releases[0].name
        self.check_life(cls.place, cls.life, "")
        if cls.state:
            f = cls.field(cls.state)
            if not f or f.type.kind not in ("enum", "bool"):
                self.complain(cls.place, f"state {cls.state} is no enum or bool field")
        if bool(cls.create) != bool(cls.destroy):
            self.complain(cls.place, "create and destroy go together")

    def check_field(self, cls, f):
        self.check_type(f.place, f.type)
        self.check_life(f.place, f.life, cls.life.since)
        f.default = self.read_default(f.place, f.default, f.type)
        f.roles = f.roles or cls.roles
        f.read = f.read or "read-only"
        for role in chain((f.roles, f.read), (k.role for k in f.keys)):
            self.check_role(f.place, role)
        if f.effect and f.qual != "rw":
            self.complain(f.place, f"{f.name} has no setter that could have an effect")

    def check_message(self, cls, m):
        for p in m.params:
            self.check_type(m.place, p.type)
            p.default = self.read_default(m.place, p.default, p.type)
        for p, following in zip(m.params, m.params[1:]):
            if p.default is not None and following.default is None:
                self.complain(m.place, f"parameter {following.name} needs a default too")
        self.check_type(m.place, m.result)
        self.check_life(m.place, m.life, cls.life.since)
        m.roles = m.roles or cls.roles
        for role in chain((m.roles,), (k.role for k in m.keys)):
            self.check_role(m.place, role)
        for code in m.errors + m.raises:
            if code not in self.model.errors and m.raises != ["any"]:
                self.complain(m.place, f"unknown error '{code}'")
        if not m.plan and not cls.internal():
            self.complain(m.place, f"message {cls.name}.{m.name} names no plan")
        removed = m.life.state == "removed"
        if removed and "unimplemented" in m.flags:
            self.complain(m.place, "a removed message needs no 'unimplemented'")
        m.handler = not removed and not m.flags & {"unimplemented", "native"}

    def check_names(self, cls):
        seen = set()
        for m in cls.messages():
            if m.name in seen:
                self.complain(m.place, f"{cls.name}.{m.name} is both implicit and explicit")
            seen.add(m.name)

    # ---- relations -------------------------------------------------------------------------------

    def check_relations(self):
        for cls in self.model.classes.values():
            for f in cls.fields:
                if f.inverse:
                    self.check_relation(cls, f)

    def check_relation(self, cls, f):
        name, _, field_name = f.inverse.partition(".")
        other = self.model.classes.get(name)
        there = other.field(field_name) if other else None
        if not there:
            self.complain(f.place, f"inverse {f.inverse} does not exist")
            return
        if f.plain:  # declared, but nobody keeps the sides equal
            return
        if f.type.kind != "set" or f.type.elem.kind != "ref" or f.type.elem.name != name:
            self.complain(f.place, f"{f.name} must be a set ref {name}")
        elif there.type.kind == "ref" and there.type.name == cls.name:
            f.derived, f.other, there.other = True, (name, field_name), (cls.name, f.name)
        elif there.type.kind == "set" and there.inverse == f"{cls.name}.{f.name}":
            f.other = (name, field_name)
        else:
            self.complain(f.place, f"{f.inverse} is neither a ref {cls.name} nor an inverse set")

    # ---- operation rules -------------------------------------------------------------------------

    def check_ops(self):
        for cls in self.model.classes.values():
            known = set(self.op_values(cls))
            for rule in cls.ops:
                self.check_rule(cls, rule, known)
            ruled = {r.name for r in cls.ops}
            idle = {r.name for r in cls.ops if r.unimplemented}
            used = [(m.place, m.op) for m in cls.explicit] + [(cls.place, cls.destroy_op)]
            used += [(f.place, f.op) for f in cls.fields]
            for place, op in used:
                if op and op not in ruled:
                    self.complain(place, f"operation {op} of {cls.name} has no rule")
                elif op in idle:
                    self.complain(place, f"operation {op} has a message: drop 'unimplemented'")

            for m in cls.explicit:
                if m.op and m.handler:
                    self.check_claims(cls, m)

    def check_claims(self, cls, m):
        """What an implemented message claims must be an operation that can be claimed."""
        for rule in (r for r in cls.ops if r.name == m.op):
            for field_name, op in rule.claims:
                t = cls.field(field_name).type
                other = self.model.classes[(t.elem or t).name]
                if any(r.name == op and r.unimplemented for r in other.ops):
                    self.complain(rule.place, f"{other.name} operation {op} is unimplemented")

    def op_values(self, cls):
        name = cls.op_enum()
        return self.model.enums[name].values if name else []

    def check_rule(self, cls, rule, known):
        for name in [rule.name] + rule.along:
            if name not in known:
                self.complain(rule.place, f"{cls.name} has no operation '{name}'")
        states = self.state_values(cls)
        for s in rule.states:
            if s not in states:
                self.complain(rule.place, f"{cls.name} has no state '{s}'")
        if rule.state_error and rule.state_error not in self.model.errors:
            self.complain(rule.place, f"unknown error '{rule.state_error}'")
        for field_name, op in rule.claims:
            f = cls.field(field_name)
            t = f and (f.type.elem if f.type.kind == "set" else f.type)
            if not t or t.kind != "ref":
                self.complain(rule.place, f"{cls.name}.{field_name} refers to no object")
            elif op not in self.op_values(self.model.classes[t.name]):
                self.complain(rule.place, f"{t.name} has no operation '{op}'")

    def state_values(self, cls):
        f = cls.field(cls.state) if cls.state else None
        if not f:
            return []
        return self.model.enums[f.type.name].values if f.type.kind == "enum" else ["false", "true"]
