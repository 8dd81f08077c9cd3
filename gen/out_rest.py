"""Model -> gen/rest.c: the collections and actions of REST, as src/rest/table.h describes them."""

import cnames as c
from rest import collections


def rest_c(model):
    out = [c.HEADER, '#include "rest/table.h"', "", '#include "gen/rec.h"', ""]
    rows = []
    for col in collections(model):
        if col.actions:
            out += [f"static const struct rest_action actions_{col.path}[] = {{",
                    *[action(col, a) for a in col.actions], "};"]
        rows.append(row(col))
    out += ["", "const struct rest_class rest_classes[] = {", *rows, "};",
            f"const unsigned rest_n_classes = {len(rows)};"]
    return "\n".join(out) + "\n"


def action(col, a):
    flags = [flag for flag, on in (("REST_GET", a.verb == "GET"), ("REST_ON_OBJECT", a.on_object),
                                   ("REST_TASK", a.makes_task)) if on]
    return f"    {{{c.string(a.name)}, {c.string(f'{col.cls.name}.{a.name}')}, {c.flags(flags)}}},"


def row(col):
    flags = [flag for flag, on in (("REST_LIST", col.listed), ("REST_READ", col.read),
                                   ("REST_CREATE", col.create), ("REST_DESTROY", col.destroy),
                                   ("REST_PATCH", col.setters)) if on]
    actions = f"actions_{col.path}, {len(col.actions)}" if col.actions else "NULL, 0"
    return (f"    {{{c.string(col.path)}, CLASS_{col.cls.name}, {c.flags(flags)}, {actions}}},")
