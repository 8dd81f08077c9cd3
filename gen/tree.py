"""The model as a tree: what parse.py makes, check.py completes and the out_*.py walk.

Nothing here has behaviour beyond small conveniences. A `Place` says where a thing was written, so
that every complaint can point at it.
"""

from dataclasses import dataclass, field as attr


class ModelError(Exception):
    """A complaint about the model, with its place in front: file:line: message."""

    def __init__(self, place, text):
        super().__init__(f"{place}: {text}")


@dataclass(frozen=True)
class Place:
    file: str
    line: int

    def __str__(self):
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Type:
    """kind: void bool int float string datetime enum ref record set map option.

    `name` is the enum or class; `key` belongs to maps; `elem` to sets, maps and options.
    """

    kind: str
    name: str = ""
    key: "Type | None" = None
    elem: "Type | None" = None

    def __str__(self):
        if self.kind in ("enum", "ref", "record"):
            return f"{self.kind} {self.name}"
        if self.kind == "map":
            return f"map({self.key},{self.elem})"
        if self.kind in ("set", "option"):
            return f"{self.kind}({self.elem})"
        return self.kind

    def parts(self):
        """The type and everything it is made of, inner types first."""
        for inner in (self.key, self.elem):
            if inner:
                yield from inner.parts()
        yield self


VOID = Type("void")
STRING = Type("string")


@dataclass
class Life:
    since: str = ""
    state: str = "published"  # or prototyped, deprecated, removed
    deprecated: str = ""
    removed: str = ""


@dataclass
class KeyRole:
    key: str
    role: str


@dataclass
class Enum:
    place: Place
    name: str
    values: list


@dataclass
class Field:
    place: Place
    name: str
    type: Type
    qual: str  # ro, sro, rw
    default: object = None  # None: no default; else a Python value, see values.py
    column: str = ""
    internal: bool = False
    volatile: bool = False
    effect: bool = False
    implemented: bool = True  # of an effect setter
    op: str = ""  # of an effect setter
    inline: bool = False
    inverse: str = ""  # "Class.field"
    plain: bool = False
    given: bool = False
    secret: bool = False
    wire_only: bool = False
    client_cert: bool = False  # the setter is open to client certificates too
    roles: str = ""
    read: str = ""
    raises: list = attr(default_factory=list)  # of the setter
    life: Life = attr(default_factory=Life)
    keys: list = attr(default_factory=list)
    doc: str = ""
    derived: bool = False  # by check.py
    other: tuple = ()  # (class name, field name) of a relation, by check.py

    def in_constructor(self):
        return self.given or (self.qual in ("sro", "rw") and not self.internal)


@dataclass
class Param:
    name: str
    type: Type
    default: object = None


@dataclass
class OpRule:
    place: Place
    name: str
    states: list = attr(default_factory=list)  # empty: any
    alone: bool = True  # excludes everything but `along`
    along: list = attr(default_factory=list)  # if not alone: what it does exclude
    claims: list = attr(default_factory=list)  # (field, operation)
    marks: list = attr(default_factory=list)  # see OP_MARKS in parse.py
    rule: str = ""
    light: bool = False  # in nobody's way
    unimplemented: bool = False  # nothing claims it yet: never allowed
    state_error: str = ""  # raised with the object when the state does not fit


@dataclass
class Message:
    place: Place
    name: str
    kind: str = "explicit"
    params: list = attr(default_factory=list)
    result: Type = VOID
    life: Life = attr(default_factory=Life)
    roles: str = ""
    flags: set = attr(default_factory=set)
    keys: list = attr(default_factory=list)
    plan: str = ""
    op: str = ""
    errors: list = attr(default_factory=list)  # the published ones
    raises: list = attr(default_factory=list)  # further ones; "any" for any
    doc: str = ""
    field: "Field | None" = None  # of getters, setters, add, remove
    handler: bool = False  # by check.py: C code must exist for it

    def required(self):
        return [p for p in self.params if p.default is None]


@dataclass
class Class:
    place: Place
    name: str
    doc: str = ""
    life: Life = attr(default_factory=Life)
    storage: str = ""  # stored, volatile, virtual
    flags: set = attr(default_factory=set)
    roles: str = ""
    state: str = ""
    create: set = attr(default_factory=set)  # words after `create`; with "yes" if present
    destroy: set = attr(default_factory=set)
    destroy_op: str = ""
    create_raises: list = attr(default_factory=list)
    destroy_raises: list = attr(default_factory=list)
    enums: list = attr(default_factory=list)
    fields: list = attr(default_factory=list)
    ops: list = attr(default_factory=list)
    explicit: list = attr(default_factory=list)
    implicit: list = attr(default_factory=list)  # by check.py

    def field(self, name):
        return next((f for f in self.fields if f.name == name), None)

    def messages(self):
        return self.explicit + self.implicit

    def internal(self):
        return "internal" in self.flags

    def op_enum(self):
        """The name of the enum of the class's operations, or ""."""
        f = self.field("allowed_operations")
        return f.type.elem.name if f and f.type.kind == "set" and f.type.elem else ""


@dataclass
class Error:
    place: Place
    name: str
    params: list
    inferred: bool = False
    unraised: bool = False
    doc: str = ""


@dataclass
class Handler:
    """What a path of the HTTP server means."""

    place: Place
    name: str
    method: str
    path: str  # a prefix
    roles: str = ""
    form: str = "stream"  # or rpc, simple, raw: how net/ calls it; files: net/ itself
    subs: list = attr(default_factory=list)  # KeyRole: further permissions
    flags: set = attr(default_factory=set)
    task: str = ""  # the label of the task that it always has; "": only a task it is given
    body: str = ""
    needs: str = ""
    queries: list = attr(default_factory=list)  # (name, type)
    doc: str = ""


@dataclass
class Release:
    name: str
    major: int
    minor: int
    product: str


@dataclass
class Role:
    place: Place
    name: str
    uuid: str
    internal: bool


@dataclass
class Model:
    releases: list = attr(default_factory=list)
    roles: list = attr(default_factory=list)
    permissions: list = attr(default_factory=list)  # (name, role)
    errors: dict = attr(default_factory=dict)
    alerts: list = attr(default_factory=list)  # (name, priority)
    classes: dict = attr(default_factory=dict)
    enums: dict = attr(default_factory=dict)
    handlers: dict = attr(default_factory=dict)

    def api_classes(self):
        return [c for c in self.classes.values() if not c.internal()]
