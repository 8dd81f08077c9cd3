"""Names and types of C, as the emitters need them."""

import re

KEYWORDS = set("""auto break case char const continue default do double else enum extern float for
goto if inline int long register restrict return short signed sizeof static struct switch typedef
union unsigned void volatile while bool true false errno stdin stdout""".split())

HEADER = "/* Made by gen/ from model/; do not edit. */\n"


def ident(name):
    """A member or parameter name."""
    name = re.sub(r"\W+", "_", name.strip())
    return name + "_" if name in KEYWORDS or name[:1].isdigit() else name


def const(*parts):
    """An enum constant: VM_POWER_STATE_HALTED."""
    return re.sub(r"\W", "_", "_".join(parts)).upper()


def string(text):
    if text is None:
        return "NULL"
    out = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{out}"'


def role(name):
    return const("ROLE", name)


def c_type(type_):
    """The C type of a record member or argument, with a trailing space or star."""
    simple = {"bool": "bool ", "int": "int64_t ", "float": "double ", "datetime": "int64_t ",
              "string": "const char *", "ref": "const char *"}
    if type_.kind == "enum":
        return f"enum {type_.name} "
    return simple.get(type_.kind, "const struct val *")


def flags(names):
    return " | ".join(names) or "0"


def wrap(items, indent="    ", width=98):
    """Comma-separated items on lines of at most `width`."""
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + 2 > width and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += item + ", "
    if line.strip():
        lines.append(line.rstrip())
    return "\n".join(lines)


class Pool:
    """Equal constant arrays or initialisers are emitted once: text -> name."""

    def __init__(self, prefix):
        self.prefix, self.names = prefix, {}

    def name(self, text):
        return self.names.setdefault(text, f"{self.prefix}{len(self.names)}")
