"""Model -> C: gen/rec.h, gen/typed.h, gen/msg.h, gen/msg.c, gen/error.h, gen/error.c.

Structs, enums and prototypes; the tables are in out_desc.py. Nothing here is logic: what walks the
tables is written by hand (src/state/desc.h says how they look).
"""

import cnames as c


def sorted_classes(model):
    """In the order of class numbers: by name, as strcmp sees it."""
    return [model.classes[n] for n in sorted(model.classes)]


def sorted_messages(model):
    """[(class, message)] in the order of desc_msgs: by "class.message"."""
    pairs = [(k, m) for k in model.classes.values() for m in k.messages()]
    return sorted(pairs, key=lambda p: f"{p[0].name}.{p[1].name}")


# ---- rec.h ---------------------------------------------------------------------------------------

def rec_h(model):
    out = [c.HEADER, "/* Records of all classes, their enums and class numbers. */", "#pragma once",
           "", "#include <assert.h>", "", '#include "state/row.h"', ""]
    for e in model.enums.values():
        values = [c.const(e.name, v) for v in e.values]
        out += [f"enum {e.name} {{", c.wrap(values), "};",
                f"#define {c.const(e.name)}_N {len(values)}",
                f"extern const struct enum_desc enum_{e.name};", ""]
    classes = sorted_classes(model)
    out += ["enum class_num {", c.wrap([f"CLASS_{k.name}" for k in classes]), "};",
            f"#define CLASS_N {len(classes)}", ""]
    for k in classes:
        out += record(k)
    return "\n".join(out) + "\n"


def record(k):
    out = [f"/* {k.doc} */"] if k.doc else []
    out += [f"struct rec_{k.name} {{", "    struct row row;"]
    out += [f"    {c.c_type(f.type)}{c.ident(f.name)};" for f in k.fields]
    out += ["};", f"static inline const struct rec_{k.name} *rec_{k.name}(const struct row *r)",
            "{", f"    assert(!r || r->cls->num == CLASS_{k.name});",
            f"    return (const struct rec_{k.name} *)r;", "}", ""]
    return out


# ---- typed.h -------------------------------------------------------------------------------------

TYPED_H = '''/*
 * The functions of state/db.h and state/txn.h per class, with the right types: snap_VM(s, ref),
 * snap_VM_by_uuid(s, uuid), txn_VM(t, ref), txn_VM_by_uuid(t, uuid), txn_edit_VM(t, ref),
 * txn_add_VM(t). Borrowed rows, NULL if there is none; see there.
 */
#pragma once

#include "gen/rec.h"
#include "state/txn.h"
'''


def typed_h(model):
    out = [c.HEADER, TYPED_H]
    for k in sorted_classes(model):
        if k.storage != "virtual" or "kept" in k.flags:
            out += typed_class(k.name) + [""]
    return "\n".join(out)


def typed_class(name):
    rec, cls = f"struct rec_{name} *", f"CLASS_{name}"

    def function(result, head, body):
        return [f"static inline {result}{head}", "{", f"    return ({result}){body};", "}"]

    by_uuid = "const char *uuid"
    return (function(f"const {rec}", f"snap_{name}(const struct snap *s, const char *ref)",
                     f"snap_row(s, {cls}, ref)")
            + function(f"const {rec}", f"snap_{name}_by_uuid(const struct snap *s, {by_uuid})",
                       f"snap_by_uuid(s, {cls}, uuid)")
            + function(f"const {rec}", f"txn_{name}(struct txn *t, const char *ref)",
                       f"txn_row(t, {cls}, ref)")
            + function(f"const {rec}", f"txn_{name}_by_uuid(struct txn *t, {by_uuid})",
                       f"txn_by_uuid(t, {cls}, uuid)")
            + function(rec, f"txn_edit_{name}(struct txn *t, const char *ref)",
                       f"txn_edit(t, {cls}, ref)")
            + function(rec, f"txn_add_{name}(struct txn *t)", f"txn_add(t, {cls}, NULL, NULL)"))


# ---- msg.h, msg.c --------------------------------------------------------------------------------

MSG_H = '''/*
 * Arguments of the messages and prototypes of their handlers.
 *
 * A handler runs in an operation thread (or on a loop if the model says `inline`). Strings and
 * values in `a` are borrowed and live as long as the call. On success the handler may store a
 * value, whose reference the caller owns, in *ret; untouched, the result is void.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/val.h"
#include "gen/rec.h"

struct op;

/* Parallel to desc_msgs; NULL where a message has no handler of its own. */
typedef struct err *(*msg_fn)(struct op *op, const void *args, struct val **ret);
extern const msg_fn msg_handlers[];
'''


def msg_h(model):
    out = [c.HEADER, MSG_H]
    for k, m in sorted_messages(model):
        if not has_args(m):
            continue
        name = f"{k.name}_{m.name}"
        out += [f"struct args_{name} {{"]
        out += [f"    {c.c_type(p.type)}{c.ident(p.name)};" for p in m.params] or ["    char none;"]
        out += ["};"]
        if m.handler:
            out += [f"struct err *msg_{name}(struct op *op, const struct args_{name} *a,",
                    "    struct val **ret) _must_use_;"]
        out += [""]
    return "\n".join(out)


def has_args(m):
    """Implicit messages without a handler are served by descriptors and need no named struct."""
    return m.kind == "explicit" or m.handler


def msg_c(model):
    out = [c.HEADER, '#include "gen/msg.h"', ""]
    slots = []
    for k, m in sorted_messages(model):
        if not m.handler:
            slots.append("NULL")
            continue
        name = f"{k.name}_{m.name}"
        out += [f"static struct err *call_{name}(struct op *op, const void *args,",
                "    struct val **ret)", "{", f"    return msg_{name}(op, args, ret);", "}"]
        slots.append(f"call_{name}")
    out += ["", "const msg_fn msg_handlers[] = {", c.wrap(slots), "};", ""]
    return "\n".join(out)


# ---- error.h, error.c ----------------------------------------------------------------------------

ERROR_H = '''/*
 * One constructor per error code; parameters are strings and are copied. The macros record where
 * the error was made. Codes whose parameters repeat take a count and an array.
 */
#pragma once

#include "base/err.h"

/* Sorted by name. */
extern const struct err_code err_codes[];
extern const unsigned err_n_codes;
'''


def error_h(model):
    out = [c.HEADER, ERROR_H]
    for e in model.errors.values():
        out += constructor(e) + [""]
    return "\n".join(out)


def constructor(e):
    name = f"err_{e.name}"
    head = f"static inline struct err *{name}_at(const char *file, int line"
    if any(p.endswith("...") for p in e.params):
        return [f"#define {name}(n, v) {name}_at(__FILE__, __LINE__, n, v)",
                f"{head}, unsigned n,", "    const char *const *v)", "{",
                f'    return err_make_v("{e.name}", file, line, n, v);', "}"]
    params = unique([c.ident(p.rstrip("?")) for p in e.params])
    listed = ", ".join(params)
    given = f", {listed}" if params else ""
    typed = "".join(f", const char *{p}" for p in params)
    return [f"#define {name}({listed}) {name}_at(__FILE__, __LINE__{given})",
            f"{head}{typed})", "{",
            f'    return err_make("{e.name}", file, line, {len(params)}{given});', "}"]


def unique(names):
    """file and line are taken by the constructors themselves."""
    seen, out = {"file", "line"}, []
    for n in names:
        while n in seen:
            n += "_"
        seen.add(n)
        out.append(n)
    return out


def error_c(model):
    out = [c.HEADER, '#include "gen/error.h"', ""]
    lists = c.Pool("params_")
    rows = []
    for name in sorted(model.errors):
        e = model.errors[name]
        text = c.wrap([c.string(p.strip()) for p in e.params]) if e.params else ""
        rows.append(f'    {{"{name}", {len(e.params)}, {lists.name(text) if text else "NULL"}}},')
    for text, name in lists.names.items():
        out += [f"static const char *const {name}[] = {{", text, "};"]
    out += ["", "const struct err_code err_codes[] = {"] + rows + ["};",
            f"const unsigned err_n_codes = {len(rows)};", ""]
    return "\n".join(out)
