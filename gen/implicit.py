"""The messages that follow from fields and clauses of a class.

Getters and setters, add and remove, constructors and destructors, the get_* family. They take their
lifecycle and roles from what they follow from. With `custom` (create, destroy) or `effect` (a
setter) a message is implicit in shape but has a handler of its own.
"""

from tree import Message, Param, STRING, Type


def add_implicit(cls):
    if cls.internal():
        return
    if cls.storage != "virtual":
        for f in cls.fields:
            cls.implicit += field_messages(cls, f)
        cls.implicit += class_messages(cls)



def field_messages(cls, f):
    if f.internal or f.wire_only:
        return
    me = Param("self", Type("ref", cls.name))
    yield of_field(f, "get_" + f.name, "getter", [me], f.type, f.read)
    if f.qual != "rw":
        return
    setter = of_field(f, "set_" + f.name, "setter", [me, Param("value", f.type)], None, f.roles)
    if f.client_cert:
        setter.flags.add("client-cert")
    if f.effect:
        make_custom(setter, f.implemented, f.inline)
        setter.op = f.op
    setter.raises = f.raises
    yield setter
    if f.type.kind == "map":
        key = Param("key", f.type.key)
        put = [me, key, Param("value", f.type.elem)]
        yield of_field(f, "add_to_" + f.name, "add", put, None, f.roles)
        yield of_field(f, "remove_from_" + f.name, "remove", [me, key], None, f.roles)
    elif f.type.kind == "set":
        item = [me, Param("value", f.type.elem)]
        yield of_field(f, "add_" + f.name, "add", item, None, f.roles)
        yield of_field(f, "remove_" + f.name, "remove", item, None, f.roles)


def of_field(f, name, kind, params, result, role):
    m = Message(f.place, name, kind, params, life=f.life, roles=role, field=f)
    if result:
        m.result = result
    if kind in ("add", "remove"):
        m.keys = f.keys
    return m


def make_custom(m, implemented, inline):
    removed = m.life.state == "removed"
    m.handler = implemented and not removed
    if not implemented and not removed:
        m.flags.add("unimplemented")
    if inline:
        m.flags.add("inline")


def class_messages(cls):
    me = Type("ref", cls.name)
    record = Type("record", cls.name)
    read = cls.field("uuid").read if cls.field("uuid") else "read-only"

    def message(name, kind, params, result, role=read, *flags):
        return Message(cls.place, name, kind, params, result, cls.life, role, set(flags))

    one = [Param("self", me)]
    where = [Param("expr", STRING)]
    yield message("get_by_uuid", "get_by_uuid", [Param("uuid", STRING)], me)
    if cls.field("name_label") and "no-by-name" not in cls.flags:
        yield message("get_by_name_label", "get_by_name_label", [Param("label", STRING)],
                      Type("set", elem=me))
    yield message("get_record", "get_record", one, record)
    if "get-all" in cls.flags:
        records = Type("map", key=me, elem=record)
        refs = Type("set", elem=me)
        yield message("get_all", "get_all", [], refs)
        yield message("get_all_where", "get_all_where", where, refs, read, "hidden")
        yield message("get_all_records_where", "get_all_records_where", where, records, read,
                      "hidden")
        yield message("get_all_records", "get_all_records", [], records)
    if cls.create:
        make = message("create", "make", [Param("args", record)], me, cls.roles, "async")
        make.raises = cls.create_raises
        yield constructor(cls, make, cls.create)
        end = message("destroy", "delete", one, Type("void"), cls.roles, "async")
        end.op = cls.destroy_op
        end.raises = cls.destroy_raises
        yield constructor(cls, end, cls.destroy)


def constructor(cls, m, words):
    if "custom" in words:
        make_custom(m, "unimplemented" not in words, "inline" in words)
    return m
