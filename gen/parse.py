"""Text of the model language -> tree.Model.

The grammar is a page: docs/model-language.md. A statement is a line and the deeper indented lines
below it; indentation is 0 for a top-level statement, 2 for a member of a class, 4 or more for the
continuation of either. Complaints are collected as ModelError, the parser goes on with the next
statement.
"""

import re

from tree import (Class, Enum, Error, Field, Handler, KeyRole, Life, Message, ModelError, Model,
                  OpRule, Param, Place, Release, Role, Type, VOID)

TOKEN = re.compile(r'''\s*(?:
    (?P<string>"(?:[^"\\]|\\["\\n])*") |
    (?P<arrow>->) |
    (?P<word>-?[A-Za-z0-9_][A-Za-z0-9_.\-]*) |
    (?P<punct>[(){}:,=?-])
)''', re.X)

SIMPLE_TYPES = ("void", "bool", "int", "float", "string", "datetime")
CLASS_STORAGE = ("stored", "volatile", "virtual")
CLASS_FLAGS = ("events", "get-all", "custom-read", "no-task", "no-by-name", "internal",
               "kept")
FIELD_FLAGS = ("internal", "volatile", "plain", "given", "secret", "inline", "client-cert")
MESSAGE_FLAGS = ("async", "hidden", "no-session", "pool-internal", "secret", "no-current-op",
                 "client-cert", "unimplemented", "inline", "raw-result", "extension", "emergency",
                 "not-forwarded", "native")
OP_MARKS = ("template", "template-only", "default-template", "snapshot", "snapshot-only",
            "control-domain")
METHODS = ("GET", "PUT", "POST", "CONNECT", "OPTIONS", "DELETE", "PATCH", "ANY")
HANDLER_FLAGS = ("sdk", "client-cert", "own-check", "master", "house", "unimplemented")
HANDLER_FORMS = ("rpc", "simple", "raw", "files")
PLANS = ("host", "storage", "network", "pool", "xen", "device", "ha", "update", "legacy")


class Cursor:
    """The tokens of one statement, with the line of each."""

    def __init__(self, file, tokens, line):
        self.file, self.tokens, self.line, self.at = file, tokens, line, 0

    def place(self):
        line = self.tokens[self.at][2] if self.at < len(self.tokens) else self.line
        return Place(self.file, line)

    def fail(self, text):
        raise ModelError(self.place(), text)

    def peek(self):
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def kind(self):
        return self.tokens[self.at][0] if self.at < len(self.tokens) else "end"

    def take(self):
        if self.at == len(self.tokens):
            self.fail("the statement ends too early")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def accept(self, text):
        if self.kind() != "string" and self.peek() == text:
            self.at += 1
            return True
        return False

    def expect(self, text):
        if not self.accept(text):
            self.fail(f"'{text}' expected, found '{self.peek() or 'end of statement'}'")

    def word(self, what):
        if self.kind() != "word":
            self.fail(f"{what} expected, found '{self.peek() or 'end of statement'}'")
        return self.take()

    def string(self, what):
        if self.kind() != "string":
            self.fail(f"{what} in double quotes expected, found '{self.peek()}'")
        return unquote(self.take())

    def words(self, what):
        """One or more words with commas between."""
        out = [self.word(what)]
        while self.accept(","):
            out.append(self.word(what))
        return out


def unquote(text):
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text[1:-1])


def tokenize(file, number, line):
    out, at = [], 0
    line = line.rstrip()
    while at < len(line):
        if line[at:].lstrip().startswith("#"):
            break
        m = TOKEN.match(line, at)
        if not m:
            raise ModelError(Place(file, number), f"cannot read '{line[at:].strip()[:30]}'")
        out.append((m.lastgroup, m[m.lastgroup], number))
        at = m.end()
    return out


def statements(file, text, complain):
    """Yields (indent, Cursor) for each statement."""
    current, indent = None, 0
    for number, line in enumerate(text.split("\n"), 1):
        try:
            tokens = tokenize(file, number, line)
        except ModelError as e:
            complain(e)
            continue
        if not tokens:
            continue
        depth = len(line) - len(line.lstrip(" "))
        if "\t" in line[:depth + 1] or depth in (1, 3):
            complain(ModelError(Place(file, number), "indent by 0, 2 or at least 4 spaces"))
        if depth >= 4 and current:
            current.tokens += tokens
            continue
        if current:
            yield indent, current
        current, indent = Cursor(file, tokens, number), depth
    if current:
        yield indent, current


def parse(sources):
    """sources: [(file name, text)]. Returns (Model, [ModelError])."""
    model, errors = Model(), []
    for file, text in sources:
        cls = None
        for indent, cur in statements(file, text, errors.append):
            try:
                if indent == 0:
                    cls = parse_top(cur, model)
                elif cls is None:
                    cur.fail("an indented statement needs a class above it")
                else:
                    parse_member(cur, model, cls)
            except ModelError as e:
                errors.append(e)
    return model, errors


# ---- top level -----------------------------------------------------------------------------------

def parse_top(cur, model):
    """Returns the class if the statement opens one."""
    place, word = cur.place(), cur.word("a keyword")
    parsers = {"release": parse_release, "role": parse_role, "permission": parse_permission,
               "error": parse_error, "alert": parse_alert, "class": parse_class,
               "handler": parse_handler}
    if word not in parsers:
        raise ModelError(place, f"unknown statement '{word}'")
    out = parsers[word](cur, place, model)
    if cur.peek():
        cur.fail(f"'{cur.peek()}' does not belong here")
    return out


def parse_release(cur, place, model):
    name = "" if cur.accept("-") else cur.word("a release name")
    version = cur.word("an API version")
    if not re.fullmatch(r"\d+\.\d+", version):
        cur.fail(f"'{version}' is no version (N.N)")
    major, minor = version.split(".")
    model.releases.append(Release(name, int(major), int(minor), cur.string("a product name")))


def parse_role(cur, place, model):
    name, uuid = cur.word("a role name"), cur.word("a uuid")
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid):
        cur.fail(f"'{uuid}' is no uuid")
    model.roles.append(Role(place, name, uuid, cur.accept("internal")))


def parse_permission(cur, place, model):
    name = cur.string("a permission")
    cur.expect("roles")
    model.permissions.append((name, cur.word("a role")))


def parse_error(cur, place, model):
    err = Error(place, cur.word("an error code"), [])
    cur.expect("(")
    while not cur.accept(")"):
        if err.params:
            cur.expect(",")
        name = cur.string("a parameter") if cur.kind() == "string" else cur.word("a parameter")
        err.params.append(name + ("?" if cur.accept("?") else ""))
    while cur.kind() == "word":
        word = cur.take()
        if word not in ("inferred", "unraised"):
            cur.fail(f"unknown clause '{word}' of an error")
        setattr(err, word, True)
    err.doc = parse_doc(cur)
    if err.name in model.errors:
        raise ModelError(place, f"error {err.name} is declared twice")
    model.errors[err.name] = err


def parse_alert(cur, place, model):
    name = cur.string("a name") if cur.kind() == "string" else cur.word("an alert name")
    priority = cur.word("a priority")
    if priority not in ("1", "2", "3", "4", "5"):
        cur.fail("a priority is 1 to 5")
    model.alerts.append((name, int(priority)))


def parse_handler(cur, place, model):
    h = Handler(place, cur.word("a name"), cur.word("a method"), cur.string("a path"))
    if h.method not in METHODS:
        raise ModelError(place, f"unknown method '{h.method}'")
    if not h.path.startswith("/"):
        raise ModelError(place, f"the path '{h.path}' does not begin with '/'")
    if h.name in model.handlers:
        raise ModelError(place, f"handler {h.name} is declared twice")
    while cur.kind() == "word":
        parse_handler_clause(cur, h)
    if cur.accept("("):
        parse_queries(cur, h)
    h.doc = parse_doc(cur)
    model.handlers[h.name] = h


def parse_handler_clause(cur, h):
    place, word = cur.place(), cur.take()
    if word in HANDLER_FLAGS:
        h.flags.add(word)
    elif word in HANDLER_FORMS:
        h.form = word
    elif word == "roles":
        h.roles = cur.word("a role")
    elif word == "sub":
        parse_key(cur, h.subs)
    elif word == "task":
        h.task = cur.string("what the task is called")
    elif word == "body":
        h.body = cur.string("what flows")
    elif word == "needs":
        h.needs = cur.string("which parameters")
    else:
        raise ModelError(place, f"unknown clause '{word}' of a handler")


def parse_queries(cur, h):
    while not cur.accept(")"):
        if h.queries:
            cur.expect(",")
        name = cur.string("a parameter") if cur.kind() == "string" else cur.word("a parameter")
        cur.expect(":")
        h.queries.append((name, cur.word("a type")))


def parse_class(cur, place, model):
    cls = Class(place, cur.word("a class name"))
    cls.doc = parse_doc(cur)
    if cls.name in model.classes:
        raise ModelError(place, f"class {cls.name} is declared twice")
    model.classes[cls.name] = cls
    return cls


def parse_doc(cur):
    return cur.string("a sentence") if cur.kind() == "string" else ""


# ---- members of a class --------------------------------------------------------------------------

def parse_member(cur, model, cls):
    place = cur.place()
    parsers = {"enum": parse_enum, "field": parse_field, "message": parse_message,
               "op": parse_class_op}
    if cur.peek() in parsers:
        parsers[cur.take()](cur, place, model, cls)
        if cur.peek():
            cur.fail(f"'{cur.peek()}' does not belong here")
    else:
        while cur.peek():
            parse_class_clause(cur, cls)


def parse_class_clause(cur, cls):
    word = cur.word("a clause of the class")
    if word in CLASS_STORAGE:
        cls.storage = word
    elif word in CLASS_FLAGS:
        cls.flags.add(word)
    elif word == "roles":
        cls.roles = cur.word("a role")
    elif word == "state":
        cls.state = cur.word("a field")
    elif word in ("create", "destroy"):
        made = {"yes"}
        while cur.peek() in ("custom", "unimplemented", "inline"):
            made.add(cur.take())
        if word == "destroy" and cur.accept("op"):
            cls.destroy_op = cur.word("an operation")
        if cur.accept("raises"):
            setattr(cls, word + "_raises", cur.words("an error code"))
        setattr(cls, word, made)
    elif not parse_life(word, cur, cls.life):
        cur.fail(f"unknown clause '{word}' of a class")


def parse_enum(cur, place, model, cls):
    name = cur.word("an enum name")
    cur.expect(":")
    enum = Enum(place, name, cur.words("a value"))
    if name in model.enums:
        raise ModelError(place, f"enum {name} is declared twice")
    model.enums[name] = enum
    cls.enums.append(enum)


def parse_type(cur):
    word = cur.word("a type")
    if word in SIMPLE_TYPES:
        return Type(word)
    if word in ("enum", "ref", "record"):
        return Type(word, cur.word(f"the name of the {word}"))
    if word in ("set", "option"):
        return Type(word, elem=parse_type(cur))
    if word == "map":
        key = parse_type(cur)
        return Type("map", key=key, elem=parse_type(cur))
    cur.at -= 1
    cur.fail(f"unknown type '{word}'")


def parse_life(word, cur, life):
    if word == "since":
        life.since = cur.word("a release")
    elif word == "prototyped":
        life.state = "prototyped"
    elif word == "deprecated":
        life.state = "deprecated"
        life.deprecated = cur.word("a release")
    elif word == "removed":
        life.removed = cur.word("a release")
        if life.state == "published":
            life.deprecated = life.removed
        life.state = "removed"
    else:
        return False
    return True


def parse_key(cur, keys):
    key = cur.string("a map key")
    cur.expect("roles")
    keys.append(KeyRole(key, cur.word("a role")))


def parse_field(cur, place, model, cls):
    field = Field(place, cur.word("a field name"), parse_type(cur), cur.word("ro, sro or rw"))
    if field.qual not in ("ro", "sro", "rw"):
        raise ModelError(place, f"ro, sro or rw expected, found '{field.qual}'")
    if cls.field(field.name):
        raise ModelError(place, f"field {cls.name}.{field.name} is declared twice")
    field.column = field.name
    while cur.kind() not in ("string", "end"):
        parse_field_clause(cur, field)
    field.doc = parse_doc(cur)
    cls.fields.append(field)


def parse_field_clause(cur, field):
    word = cur.take()
    if word == "=":
        field.default = parse_value(cur)
    elif word in FIELD_FLAGS or word == "wire-only":
        setattr(field, word.replace("-", "_"), True)
    elif word == "effect":
        field.effect = True
        field.implemented = not cur.accept("unimplemented")
        if cur.accept("op"):
            field.op = cur.word("an operation")
    elif word == "raises":
        field.raises = cur.words("an error code")
    elif word == "inverse":
        field.inverse = cur.word("Class.field")
    elif word in ("roles", "read"):
        setattr(field, word, cur.word("a role"))
    elif word == "in":
        space = cur.word("a namespace")
        if not field.name.startswith(space + "_"):
            cur.fail(f"{field.name} does not start with '{space}_'")
        field.column = space + "__" + field.name[len(space) + 1:]
    elif word == "key":
        parse_key(cur, field.keys)
    elif not parse_life(word, cur, field.life):
        cur.at -= 1
        cur.fail(f"unknown clause '{word}' of a field")


def parse_value(cur):
    """A default: a bare word or number, a string, {…} for sets and maps. Checked by check.py."""
    if cur.accept("{"):
        items = []
        while not cur.accept("}"):
            if items:
                cur.expect(",")
            key = parse_value(cur)
            items.append((key, parse_value(cur)) if cur.accept(":") else key)
        return items
    if cur.kind() == "string":
        return ("string", cur.string("a string"))
    return ("word", cur.word("a value"))


def parse_message(cur, place, model, cls):
    msg = Message(place, cur.word("a message name"))
    if any(m.name == msg.name for m in cls.explicit):
        raise ModelError(place, f"message {cls.name}.{msg.name} is declared twice")
    cur.expect("(")
    while not cur.accept(")"):
        if msg.params:
            cur.expect(",")
        name = cur.word("a parameter")
        cur.expect(":")
        msg.params.append(Param(name, parse_type(cur)))
        if cur.accept("="):
            msg.params[-1].default = parse_value(cur)
    if cur.accept("->"):
        msg.result = parse_type(cur)
    while cur.kind() not in ("string", "end"):
        parse_message_clause(cur, msg, cls)
    msg.doc = parse_doc(cur)
    cls.explicit.append(msg)


def parse_message_clause(cur, msg, cls):
    place, word = cur.place(), cur.take()
    if word in MESSAGE_FLAGS:
        msg.flags.add(word)
    elif word == "roles":
        msg.roles = cur.word("a role")
    elif word == "key":
        parse_key(cur, msg.keys)
    elif word == "plan":
        msg.plan = cur.word("a plan")
        if msg.plan not in PLANS:
            raise ModelError(place, f"unknown plan '{msg.plan}'")
    elif word == "errors":
        msg.errors = cur.words("an error code")
    elif word == "raises":
        msg.raises = cur.words("an error code")
    elif word == "op":
        msg.op = cur.word("an operation")
        parse_rule(cur, place, msg.op, cls, must=False)
    elif not parse_life(word, cur, msg.life):
        raise ModelError(place, f"unknown clause '{word}' of a message")


# ---- operation rules -----------------------------------------------------------------------------

def parse_class_op(cur, place, model, cls):
    for name in cur.words("an operation"):
        mark = cur.at
        parse_rule(cur, place, name, cls, must=True)
        end = cur.at
        cur.at = mark
    cur.at = end


def parse_rule(cur, place, name, cls, must):
    """The rule of one operation. In a message it may be missing: then it stands elsewhere."""
    rule, said = OpRule(place, name), must
    while cur.kind() == "word":
        word = cur.peek()
        if word == "state":
            cur.take()
            rule.states = cur.words("a state")
            if cur.accept("else"):
                rule.state_error = cur.word("an error code")
        elif word == "excludes":
            cur.take()
            parse_excludes(cur, rule)
        elif word == "claims":
            cur.take()
            rule.claims.append((cur.word("a field"), cur.word("an operation")))
            while cur.accept(","):
                rule.claims.append((cur.word("a field"), cur.word("an operation")))
        elif word == "allows":
            cur.take()
            rule.marks = cur.words("a kind of object")
            unknown = [m for m in rule.marks if m not in OP_MARKS]
            if unknown:
                cur.fail(f"unknown kind of object '{unknown[0]}'")
        elif word == "rule":
            cur.take()
            rule.rule = cur.word("the name of a rule")
        elif word in ("light", "unimplemented") and (must or word == "light"):
            cur.take()
            setattr(rule, word, True)
        else:
            break
        said = True
    if not said:
        return
    if any(r.name == name for r in cls.ops):
        raise ModelError(place, f"operation {name} has two rules")
    cls.ops.append(rule)


def parse_excludes(cur, rule):
    word = cur.word("all, none, all-but or only")
    if word == "all":
        return
    rule.alone = word == "all-but"
    if word == "none":
        return
    if word not in ("all-but", "only"):
        cur.fail(f"all, none, all-but(…) or only(…) expected, found '{word}'")
    cur.expect("(")
    rule.along = cur.words("an operation")
    cur.expect(")")
