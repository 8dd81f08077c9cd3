"""Defaults: what the model says -> a Python value (for JSON) and canonical text (for C).

Canonical text is the form of the store, of filters and of the database dump (src/state/row.h).
"""

import re
from dataclasses import dataclass

REF_NULL = "OpaqueRef:NULL"


class BadValue(Exception):
    pass


@dataclass(frozen=True)
class Value:
    json: object
    text: str


def read_value(raw, type_, enums):
    """raw: what parse_value() made. Raises BadValue."""
    if type_.kind in ("set", "map"):
        return read_container(raw, type_, enums)
    if isinstance(raw, list):
        raise BadValue(f"{{…}} is no {type_}")
    how, text = raw
    readers = {"bool": read_bool, "int": read_int, "float": read_float, "ref": read_ref,
               "datetime": read_datetime}
    if type_.kind == "string":
        if how != "string":
            raise BadValue(f"a string in double quotes expected, found '{text}'")
        return Value(text, text)
    if type_.kind == "enum":
        if text not in enums[type_.name].values:
            raise BadValue(f"'{text}' is no value of enum {type_.name}")
        return Value(text, text)
    if type_.kind not in readers:
        raise BadValue(f"{type_} cannot have a default")
    return readers[type_.kind](how, text)


def read_bool(how, text):
    if how != "word" or text not in ("true", "false"):
        raise BadValue(f"true or false expected, found '{text}'")
    return Value(text == "true", text)


def read_int(how, text):
    if how != "word" or not re.fullmatch(r"-?\d+", text):
        raise BadValue(f"a whole number expected, found '{text}'")
    return Value(int(text), text)


def read_float(how, text):
    if how != "word" or not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise BadValue(f"a number expected, found '{text}'")
    number = float(text)
    return Value(int(number) if number.is_integer() else number, "%.18g" % number)


def read_ref(how, text):
    if how == "word":
        if text != "null":
            raise BadValue(f"null or a string expected, found '{text}'")
        text = REF_NULL
    return Value(text, text)


def read_datetime(how, text):
    if how != "word" or text != "epoch":
        raise BadValue(f"epoch expected, found '{text}'")
    return Value("19700101T00:00:00Z", "19700101T00:00:00Z")


def read_container(raw, type_, enums):
    if not isinstance(raw, list):
        raise BadValue(f"{{…}} expected for {type_}")
    if type_.kind == "set":
        items = [read_value(x, type_.elem, enums) for x in raw]
        return Value([i.json for i in items], "(" + " ".join(quote(i.text) for i in items) + ")")
    pairs = []
    for item in raw:
        if not isinstance(item, tuple) or isinstance(item[0], str):
            raise BadValue("key: value expected in a map")
        pairs.append((read_value(item[0], type_.key, enums),
                      read_value(item[1], type_.elem, enums)))
    text = " ".join(f"({quote(k.text)} {quote(v.text)})" for k, v in pairs)
    return Value({k.text: v.json for k, v in pairs}, f"({text})")


def quote(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
