"""Model -> gen/desc.c: the constant tables that src/state/desc.h describes."""

import cnames as c
from out_c import has_args, sorted_classes, sorted_messages
from tree import VOID

KINDS = {"explicit": "MSG_EXPLICIT", "getter": "MSG_GETTER", "setter": "MSG_SETTER",
         "add": "MSG_ADD", "remove": "MSG_REMOVE", "make": "MSG_MAKE", "delete": "MSG_DELETE"}

MSG_FLAGS = [("async", "MSG_ASYNC"), ("hidden", "MSG_HIDDEN"), ("no-session", "MSG_NO_SESSION"),
             ("pool-internal", "MSG_POOL_INTERNAL"), ("secret", "MSG_SECRET"),
             ("no-current-op", "MSG_NO_CUROP"), ("client-cert", "MSG_CLIENT_CERT"),
             ("unimplemented", "MSG_UNIMPLEMENTED"), ("inline", "MSG_INLINE"),
             ("raw-result", "MSG_RAW_RESULT"), ("extension", "MSG_EXTENSION"),
             ("emergency", "MSG_EMERGENCY"), ("not-forwarded", "MSG_NOT_FORWARDED"),
             ("native", "MSG_NATIVE")]

CLASS_FLAGS = [("events", "CLASS_EVENTS"), ("get-all", "CLASS_GET_ALL"),
               ("custom-read", "CLASS_CUSTOM_READ"), ("internal", "CLASS_INTERNAL"),
               ("no-task", "CLASS_NO_TASK"), ("kept", "CLASS_PERSIST")]

OP_FLAGS = {"template": "OP_ON_TEMPLATE", "template-only": "OP_TEMPLATE_ONLY",
            "default-template": "OP_ON_DEFAULT_TEMPLATE", "snapshot": "OP_ON_SNAPSHOT",
            "snapshot-only": "OP_SNAPSHOT_ONLY", "control-domain": "OP_ON_CONTROL_DOMAIN"}


def desc_c(model):
    return Desc(model).emit()


def permissions(model):
    """(name, role) of those that belong to no message: declared ones and those of handlers."""
    out = list(model.permissions)
    for h in model.handlers.values():
        if not h.flags & {"own-check", "house"}:
            out.append((f"http/{h.name}", h.roles))
        out += [(f"http/{h.name}/{s.key}", s.role) for s in h.subs]
    return out


class Desc:
    def __init__(self, model):
        self.model = model
        self.types = {}  # Type -> number
        self.keys, self.errors, self.params = c.Pool("keys_"), c.Pool("errs_"), c.Pool("params_")
        self.shapes = c.Pool("args_shape_")  # argument structs of implicit messages
        self.numbers = {k.name: i for i, k in enumerate(sorted_classes(model))}

    def emit(self):
        classes = sorted_classes(self.model)
        fields = [self.fields(k) for k in classes]
        ops = [line for k in classes for line in self.ops(k)]
        messages = [self.message(i, k, m)
                    for i, (k, m) in enumerate(sorted_messages(self.model))]
        rows = [self.class_row(k) for k in classes]
        return "\n".join([
            c.HEADER, '#include <stddef.h>', "", '#include "gen/msg.h"', '#include "gen/rec.h"',
            '#include "state/desc.h"', ""]
            + self.enums() + self.type_table() + self.key_lists() + self.error_lists()
            + self.shape_structs() + self.param_lists() + fields + ops
            + ["static const struct msg_desc msgs[] = {"] + messages + ["};", ""]
            + self.message_table() + ["static const struct class_desc classes[] = {"] + rows
            + ["};", ""] + self.class_tables(classes) + self.small_tables()) + "\n"

    # ---- shared things ---------------------------------------------------------------------------

    def type(self, t):
        for part in t.parts():
            self.types.setdefault(part, len(self.types))
        return f"&types[{self.types[t]}]"

    def type_table(self):
        def row(t):
            cls = f"CLASS_{t.name}" if t.kind in ("ref", "record") and t.name != "any" else "-1"
            enum = f"&enum_{t.name}" if t.kind == "enum" else "NULL"
            inner = ", ".join(f"&types[{self.types[x]}]" if x else "NULL"
                              for x in (t.key, t.elem))
            return f"    {{{c.const('TYPE', t.kind)}, {cls}, {enum}, {inner}}}, /* {t} */"
        return (["static const struct type types[] = {"] + [row(t) for t in self.types]
                + ["};", ""])

    def enums(self):
        out = []
        for e in self.model.enums.values():
            values = c.wrap([c.string(v) for v in e.values])
            out += [f"static const char *const values_{e.name}[] = {{", values, "};",
                    f"const struct enum_desc enum_{e.name} = {{{c.string(e.name)}, "
                    f"values_{e.name}, {len(e.values)}}};"]
        return out + [""]

    def key_list(self, keys):
        if not keys:
            return "NULL"
        return self.keys.name(c.wrap([f"{{{c.string(k.key)}, {c.role(k.role)}}}" for k in keys]
                                     + ["{NULL, ROLE_UNCHECKED}"]))

    def key_lists(self):
        out = []
        for text, name in self.keys.names.items():
            out += [f"static const struct key_role {name}[] = {{", text, "};"]
        return out

    def error_list(self, codes):
        if not codes:
            return "no_errors"
        return self.errors.name(c.wrap([c.string(e) for e in codes] + ["NULL"]))

    def error_lists(self):
        out = ["static const char *const no_errors[] = {NULL};"]
        for text, name in self.errors.names.items():
            out += [f"static const char *const {name}[] = {{", text, "};"]
        return out

    def args(self, k, m):
        """The struct that holds the arguments, and the members' names."""
        if has_args(m):
            return f"args_{k.name}_{m.name}", [c.ident(p.name) for p in m.params]
        names = [f"p{i}" for i in range(len(m.params))]
        body = " ".join(f"{c.c_type(p.type)}{n};" for p, n in zip(m.params, names))
        return self.shapes.name(body or "char none;"), names

    def shape_structs(self):
        return ["/* Arguments of implicit messages, by shape. */"] + [
            f"struct {name} {{ {body} }};" for body, name in self.shapes.names.items()]

    def param_list(self, k, m, struct, names):
        if not m.params:
            return "NULL"
        rows = []
        for p, name in zip(m.params, names):
            default = c.string(p.default.text) if p.default else "NULL"
            rows.append(f"    {{{c.string(p.name)}, {self.type(p.type)}, "
                        f"offsetof(struct {struct}, {name}), {default}}},")
        return self.params.name("\n".join(rows))

    def param_lists(self):
        out = []
        for text, name in self.params.names.items():
            out += [f"static const struct param_desc {name}[] = {{", text, "};"]
        return out

    # ---- fields ----------------------------------------------------------------------------------

    def fields(self, k):
        rows = [self.field(k, f) for f in k.fields]
        if not rows:
            return ""
        return "\n".join([f"static const struct field_desc fields_{k.name}[] = {{"] + rows
                         + ["};"])

    def field(self, k, f):
        given = k.create and f.in_constructor()
        flags = [name for on, name in (
            (f.internal, "FIELD_INTERNAL"), (f.volatile, "FIELD_VOLATILE"),
            (f.derived, "FIELD_DERIVED"), (f.effect, "FIELD_EFFECT"), (f.secret, "FIELD_SECRET"),
            (f.life.state == "removed", "FIELD_REMOVED"),
            (given, "FIELD_GIVEN"), (given and f.default is None, "FIELD_REQUIRED")) if on]
        rel = "-1, -1"
        if f.other:
            other = self.model.classes[f.other[0]]
            rel = f"CLASS_{other.name}, {other.fields.index(other.field(f.other[1]))}"
        return (f"    {{{c.string(f.name)}, {c.string(f.column)}, {self.type(f.type)}, "
                f"{c.const('FIELD', f.qual)}, {c.flags(flags)}, "
                f"offsetof(struct rec_{k.name}, {c.ident(f.name)}), {self.default(f)}, "
                f"{c.role(f.read)}, {c.role(f.roles)}, {self.key_list(f.keys)}, {rel}, "
                f"{c.string(f.doc)}}},")

    def default(self, f):
        """NULL where the default is what an empty record has anyway."""
        zero = {"bool": "false", "int": "0", "float": "0", "string": "", "set": "()", "map": "()",
                "ref": "OpaqueRef:NULL", "datetime": "19700101T00:00:00Z"}.get(f.type.kind)
        if f.type.kind == "enum":
            zero = self.model.enums[f.type.name].values[0]
        if f.default is None or f.default.text == zero:
            return "NULL"
        return c.string(f.default.text)

    # ---- operations ------------------------------------------------------------------------------

    def ops(self, k):
        if not k.ops:
            return []
        enum = self.model.enums[k.op_enum()]
        out = []
        for r in k.ops:
            if r.unimplemented:
                continue
            claims = "NULL, 0"
            if r.claims:
                out += [f"static const struct claim_desc claims_{k.name}_{r.name}[] = {{",
                        c.wrap([self.claim(k, f, op) for f, op in r.claims]), "};"]
                claims = f"claims_{k.name}_{r.name}, {len(r.claims)}"
            along = set(enum.values) - set(r.along) if not r.alone else set(r.along)
            along |= {other.name for other in k.ops if other.light}
            bits = sum(1 << enum.values.index(v) for v in along)
            states = sum(1 << self.states(k).index(s) for s in r.states)
            out += [f"static const struct op_desc op_{k.name}_{r.name} = {{"
                    f"{c.const(enum.name, r.name)}, {hex(states)}, "
                    f"{c.string(r.state_error or None)},",
                    f"    {{{hex(bits & (2**64 - 1))}, {hex(bits >> 64)}}}, "
                    f"{c.flags([OP_FLAGS[m] for m in r.marks])}, {claims}, "
                    f"{c.string(r.rule or None)}}};"]
        ruled = {r.name for r in k.ops if not r.unimplemented}
        slots = [f"&op_{k.name}_{v}" if v in ruled else "NULL" for v in enum.values]
        return out + [f"static const struct op_desc *const ops_{k.name}[] = {{", c.wrap(slots),
                      "};"]

    def states(self, k):
        t = k.field(k.state).type if k.state else VOID
        return self.model.enums[t.name].values if t.kind == "enum" else ["false", "true"]

    def claim(self, k, field_name, op):
        f = k.field(field_name)
        other = self.model.classes[(f.type.elem or f.type).name]
        return f"{{{k.fields.index(f)}, {c.const(other.op_enum(), op)}}}"

    # ---- messages --------------------------------------------------------------------------------

    def message(self, number, k, m):
        flags = [name for word, name in MSG_FLAGS if word in m.flags]
        if m.life.state == "removed":
            flags.append("MSG_REMOVED")
        if m.handler:
            flags.append("MSG_HANDLER")
        struct, names = self.args(k, m)
        kind = KINDS.get(m.kind) or c.const("MSG", m.kind)
        field = k.fields.index(m.field) if m.field else -1
        op = f"&op_{k.name}_{m.op}" if m.op else "NULL"
        plan = c.string(m.plan) if m.plan else "NULL"
        return (f"    {{{c.string(m.name)}, {number}, CLASS_{k.name}, {kind}, {c.flags(flags)}, "
                f"{self.type(m.result)}, {self.param_list(k, m, struct, names)}, "
                f"{len(m.params)}, {len(m.required())}, sizeof(struct {struct}), "
                f"{c.role(m.roles)}, {self.key_list(m.keys)}, {field}, {op}, "
                f"{self.error_list(m.errors)}, {self.error_list(m.raises)}, {plan}, {c.string(m.doc)}}},")

    def message_table(self):
        n = len(sorted_messages(self.model))
        return ["const struct msg_desc *const desc_msgs[] = {",
                c.wrap([f"&msgs[{i}]" for i in range(n)]), "};",
                f"const unsigned desc_n_msgs = {n};", ""]

    # ---- classes ---------------------------------------------------------------------------------

    def class_row(self, k):
        flags = {"stored": ["CLASS_DB", "CLASS_PERSIST"], "volatile": ["CLASS_DB"],
                 "virtual": []}[k.storage]
        flags = flags + [name for word, name in CLASS_FLAGS if word in k.flags]
        if k.create:
            flags.append("CLASS_CTOR_DTOR")
        order = [kk.name for kk, _ in sorted_messages(self.model)]
        msgs = f"&desc_msgs[{order.index(k.name)}], {order.count(k.name)}" \
            if k.name in order else "NULL, 0"
        index = {f.name: i for i, f in enumerate(k.fields)}
        known = ", ".join(str(index.get(n, -1)) for n in (
            "uuid", "name_label", k.state, "allowed_operations", "current_operations"))
        fields = f"fields_{k.name}" if k.fields else "NULL"
        ops = f"ops_{k.name}, {len(self.model.enums[k.op_enum()].values)}" if k.ops else "NULL, 0"
        return (f"    {{{c.string(k.name)}, {c.string(k.name.lower())}, CLASS_{k.name}, "
                f"{c.flags(flags)}, {fields}, {len(k.fields)}, sizeof(struct rec_{k.name}), "
                f"{msgs}, {ops}, {known}, {c.string(k.doc)}}},")

    def class_tables(self, classes):
        n = len(classes)
        by_lname = sorted(range(n), key=lambda i: classes[i].name.lower())
        return ["const struct class_desc *const desc_classes[] = {",
                c.wrap([f"&classes[{i}]" for i in range(n)]), "};",
                "const struct class_desc *const desc_classes_by_lname[] = {",
                c.wrap([f"&classes[{i}]" for i in by_lname]), "};",
                f"const unsigned desc_n_classes = {n};", ""]

    def small_tables(self):
        roles = [f"{{{c.string(r.name)}, {c.string(r.uuid)}, {str(r.internal).lower()}}}"
                 for r in self.model.roles]
        asserts = [f"_Static_assert({c.role(r.name)} == {i}, \"role.model and desc.h agree\");"
                   for i, r in enumerate(self.model.roles)]
        perms = [f"{{{c.string(n)}, {c.role(r)}}}" for n, r in permissions(self.model)]
        alerts = [f"{{{c.string(n)}, {p}}}" for n, p in sorted(self.model.alerts)]
        return asserts + [
            "const struct role_desc desc_roles[] = {", c.wrap(roles), "};",
            "const struct permission_desc desc_permissions[] = {", c.wrap(perms), "};",
            f"const unsigned desc_n_permissions = {len(perms)};",
            "const struct alert_desc desc_alerts[] = {", c.wrap(alerts), "};",
            f"const unsigned desc_n_alerts = {len(alerts)};"]
