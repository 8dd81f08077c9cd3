"""How the model looks over REST: the names of paths, and which message is meant by what.

A class with rows or messages is a collection, named by the class in the plural. Reading, making,
changing and destroying objects are GET, POST, PATCH and DELETE; every other message is an action of
the collection or of one object, under its own name: a GET if it is called get_…, else a POST.
docs/rest.md tells it to users, src/rest does it, out_openapi.py describes it.
"""

from dataclasses import dataclass

UNSEEN = {"hidden", "pool-internal", "no-session", "unimplemented"}
COVERED = {"create", "destroy", "get_record", "get_all", "get_all_records", "get_by_uuid",
           "get_all_records_where", "get_all_where", "get_by_name_label"}


@dataclass
class Action:
    message: object
    on_object: bool  # its first parameter is the object in the path

    @property
    def name(self):
        return self.message.name

    @property
    def verb(self):
        return "GET" if self.name.startswith("get_") else "POST"

    @property
    def params(self):
        return self.message.params[1:] if self.on_object else self.message.params

    @property
    def makes_task(self):
        """The answer is a task, unless the client asks to wait."""
        return (self.verb == "POST" and "async" in self.message.flags
                and not self.message.flags & {"inline", "native"})


@dataclass
class Collection:
    cls: object
    path: str
    listed: bool = False
    read: bool = False
    create: object = None
    destroy: object = None
    setters: list = None  # messages set_FIELD
    actions: list = None


def plural(name):
    name = name.lower()
    if name.endswith("s"):
        return name
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("ch", "sh", "x")) else "s")


def seen(m):
    return m.life.state != "removed" and not m.flags & UNSEEN


def takes_self(cls, m):
    return bool(m.params) and str(m.params[0].type) == f"ref {cls.name}"


def is_setter(cls, m):
    field = m.name.startswith("set_") and cls.field(m.name[len("set_"):])
    return bool(field) and takes_self(cls, m) and len(m.params) == 2


def changes_entry(cls, m):
    """add_to_F, remove_from_F: PATCH merges maps."""
    return any(m.name.startswith(p) and cls.field(m.name[len(p):])
               for p in ("add_to_", "remove_from_"))


def collections(model):
    """All of them, sorted by path."""
    found = [collection(k) for k in model.api_classes() if k.messages()]
    return sorted((c for c in found if c.listed or c.create or c.actions), key=lambda c: c.path)


def collection(k):
    here = {m.name: m for m in k.messages() if seen(m)}
    setters = [m for m in here.values() if is_setter(k, m)]
    taken = COVERED | {m.name for m in setters}
    actions = [Action(m, takes_self(k, m)) for m in here.values()
               if m.kind == "explicit" and m.name not in taken and not changes_entry(k, m)]
    has_rows = k.storage != "virtual" or "kept" in k.flags
    return Collection(k, plural(k.name), listed="get_all_records" in here,
                      read=has_rows and "get_record" in here, create=here.get("create"),
                      destroy=here.get("destroy"), setters=sorted(setters, key=lambda m: m.name),
                      actions=sorted(actions, key=lambda a: a.name))
