#!/usr/bin/env python3
"""Turns model/xe.table into the constant tables of src/cli/xe_desc.h, and into the bash completion.

Usage: xe.py TABLE OUT.c OUT_COMPLETION
The language is described at the head of model/xe.table. A complaint reads 'file:line: message'.
"""
import sys

RW = {"RO": "XE_RO", "RW": "XE_RW", "SRO": "XE_SRO", "SRW": "XE_SRW", "MRO": "XE_MRO", "MRW": "XE_MRW"}
FORMATS = {"text": "XE_TEXT", "uuid": "XE_UUID", "name": "XE_NAME", "date": "XE_DATE", "%.3f": "XE_F3",
           "lower": "XE_LOWER", "ok": "XE_SUCCEEDS"}
COLUMN_FLAGS = {"hidden": "hidden", "expensive": "expensive", "deprecated": "deprecated", "nocase": "any_case"}
WRITERS = ("set", "add", "remove", "set_in_map", "set_map")
VERBS = {"list": "XE_LIST", "show": "XE_PARAM_LIST", "get": "XE_PARAM_GET", "set": "XE_PARAM_SET",
         "add": "XE_PARAM_ADD", "remove": "XE_PARAM_REMOVE", "clear": "XE_PARAM_CLEAR"}
VERB_NAMES = {"list": "list", "show": "param-list", "get": "param-get", "set": "param-set",
              "add": "param-add", "remove": "param-remove", "clear": "param-clear"}
FLAGS = {"standard": "XE_STANDARD", "hidden": "XE_HIDDEN", "vm": "XE_VM_SELECTORS",
         "host": "XE_HOST_SELECTORS", "sr": "XE_SR_SELECTORS", "here": "XE_NEVER_FORWARD",
         "deprecated": "XE_DEPRECATED", "templates": "XE_TEMPLATES", "dom0": "XE_CONTROL_DOMAIN",
         "fd": "XE_WITH_FD", "local": "XE_LOCAL_SESSION"}


class Complaint(Exception):
    pass


class Model:
    def __init__(self):
        self.shown, self.records, self.families, self.commands = {}, {}, [], []


def parse_shown(words):
    if len(words) != 1:
        raise Complaint("shown takes one name")
    return []


def parse_column(words, cls):
    if len(words) < 3 or words[1] not in RW:
        raise Complaint("a column is: name mark source …")
    col = {"name": words[0], "rw": words[1], "source": words[2], "format": "text", "sep": "; ", "shown": None,
           "writers": {}, "flags": []}
    for w in words[3:]:
        key, _, value = w.partition("=")
        if w.rstrip(",") in FORMATS:
            col["format"] = w.rstrip(",")
            col["sep"] = ", " if w.endswith(",") else "; "
        elif value and key in WRITERS:
            col["writers"][key] = value if "." in value else f"{cls}.{value}"
        elif w.startswith("shown:"):
            col["shown"] = w[6:]
        elif w in COLUMN_FLAGS:
            col["flags"].append(COLUMN_FLAGS[w])
        else:
            raise Complaint(f"unknown word '{w}' in a column")
    return col


def parse_family(words):
    fam = {"prefix": words[0], "record": words[1], "cols": [], "filters": [], "verbs": [], "where": "true",
           "standard": False}
    for w in words[2:]:
        key, _, value = w.partition("=")
        if key == "cols":
            fam["cols"] = [c for c in value.split(",") if c]
        elif key == "filter":
            fam["filters"].append(value)
        elif key == "where":
            fam["where"] = value
        elif key == "verbs":
            fam["verbs"] = value.split(",")
        elif w == "standard":
            fam["standard"] = True
        else:
            raise Complaint(f"unknown word '{w}' in a family")
    unknown = [v for v in fam["verbs"] if v not in VERBS]
    if unknown:
        raise Complaint(f"unknown verb '{unknown[0]}'")
    return fam


def parse_command(text):
    flags = []
    if "{" in text:
        text, _, tail = text.partition("{")
        flags = tail.rstrip("} ").split()
    text, _, tail = text.partition("[")
    optional = tail.strip().rstrip("]").split()
    name, *required = text.split()
    unknown = [f for f in flags if f not in FLAGS]
    if unknown:
        raise Complaint(f"unknown flag '{unknown[0]}'")
    return {"name": name, "required": required, "optional": optional, "flags": flags, "call": None}


def parse(path):
    m, section = Model(), None
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            text = line.rstrip()
            if not text or text.startswith("#"):
                continue
            try:
                section = parse_line(m, section, text)
            except Complaint as e:
                sys.exit(f"{path}:{number}: {e}")
    check(m, path)
    return m


def parse_line(m, section, text):
    words = text.split()
    if text[0] == " ":
        if not section:
            raise Complaint("an indented line belongs to a section above it")
        kind, obj = section
        if kind == "shown":
            value, _, shown = text.strip().partition("=")
            obj.append((value, shown))
        elif kind == "record":
            obj["columns"].append(parse_column(words, obj["cls"]))
        elif kind == "command" and words[0] == "=":
            obj["call"] = " ".join(words[1:])
        else:
            raise Complaint("nothing may be indented here")
        return section
    if words[0] == "shown":
        obj = m.shown[words[1]] = parse_shown(words[1:])
    elif words[0] == "record":
        obj = m.records[words[1]] = {"cls": words[2], "columns": []}
    elif words[0] == "family":
        obj = parse_family(words[1:])
        m.families.append(obj)
    elif words[0] == "command":
        obj = parse_command(text[len("command "):])
        m.commands.append(obj)
    else:
        raise Complaint(f"unknown word '{words[0]}'")
    return words[0], obj


def check(m, path):
    names = set()
    for f in m.families:
        if f["record"] not in m.records:
            sys.exit(f"{path}: family '{f['prefix']}' has no record '{f['record']}'")
        names.update(f"{f['prefix']}-{VERB_NAMES[v]}" for v in f["verbs"])
    for c in m.commands:
        if c["name"] in names:
            sys.exit(f"{path}: command '{c['name']}' stands twice")
        names.add(c["name"])
    for name, r in m.records.items():
        for c in r["columns"]:
            if c["shown"] and c["shown"] not in m.shown:
                sys.exit(f"{path}: column '{name}.{c['name']}' refers to no shown '{c['shown']}'")


def quoted(s):
    return "NULL" if s is None else '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


def word_list(words):
    return "(const char *const[]){" + "".join(quoted(w) + ", " for w in words) + "NULL}"


def symbol(name):
    return name.replace("-", "_")


def or_flags(names, table):
    return " | ".join(table[n] for n in names) or "0"


def column_text(c):
    parts = [f".name = {quoted(c['name'])}", f".rw = {RW[c['rw']]}", f".source = {quoted(c['source'])}",
             f".format = {FORMATS[c['format']]}", f".separator = {quoted(c['sep'])}"]
    if c["shown"]:
        parts.append(f".shown = shown_{c['shown']}")
    parts += [f".{k} = {quoted(v)}" for k, v in c["writers"].items()]
    parts += [f".{k} = true" for k in c["flags"]]
    return "    {" + ", ".join(parts) + "},\n"


def emit_c(m, out):
    w = out.write
    w("/* Made from model/xe.table by gen/xe.py. */\n#include <stddef.h>\n\n#include \"cli/xe_desc.h\"\n\n")
    used = {c["shown"] for r in m.records.values() for c in r["columns"]}
    for name, pairs in ((n, p) for n, p in m.shown.items() if n in used):
        w(f"static const struct xe_shown shown_{name}[] = {{\n")
        for value, shown in pairs:
            w(f"    {{{quoted(value)}, {quoted(shown)}}},\n")
        w("    {NULL, NULL},\n};\n")
    for name, r in m.records.items():
        w(f"static const struct xe_column columns_{symbol(name)}[] = {{\n")
        for c in r["columns"]:
            w(column_text(c))
        w("};\n")
    w("const struct xe_record xe_records[] = {\n")
    for name, r in m.records.items():
        w(f"    {{{quoted(name)}, {quoted(r['cls'])}, columns_{symbol(name)}, {len(r['columns'])}}},\n")
    w(f"}};\nconst unsigned xe_n_records = {len(m.records)};\n")
    index = {name: i for i, name in enumerate(m.records)}
    w("const struct xe_family xe_families[] = {\n")
    for f in m.families:
        w(f"    {{{quoted(f['prefix'])}, &xe_records[{index[f['record']]}], {word_list(f['filters'])}, "
          f"{word_list(f['cols'])}, {or_flags(f['verbs'], VERBS)}, {quoted(f['where'])}, "
          f"{'true' if f['standard'] else 'false'}}},\n")
    w(f"}};\nconst unsigned xe_n_families = {len(m.families)};\n")
    w("const struct xe_command xe_commands[] = {\n")
    for c in m.commands:
        w(f"    {{{quoted(c['name'])}, {word_list(c['required'])}, {word_list(c['optional'])}, "
          f"{or_flags(c['flags'], FLAGS)}, {quoted(c['call'])}}},\n")
    w(f"}};\nconst unsigned xe_n_commands = {len(m.commands)};\n")


def parameters(m):
    """All commands with the parameters a shell may complete."""
    for c in m.commands:
        if "hidden" in c["flags"]:
            continue
        extra = [s for s in ("vm", "host", "sr") if s in c["flags"]]
        yield c["name"], [p for p in c["required"] + c["optional"] + extra]
    for f in m.families:
        columns = [c for c in m.records[f["record"]]["columns"] if "hidden" not in c["flags"]]
        for v in f["verbs"]:
            params = {"list": ["params"] + [c["name"] for c in columns], "show": ["uuid"], "get": ["uuid", "param-name",
                      "param-key"], "add": ["uuid", "param-name", "param-key"], "remove": ["uuid", "param-name",
                      "param-key"], "clear": ["uuid", "param-name"],
                      "set": ["uuid"] + [c["name"] for c in columns if "set" in c["writers"]]
                      + [c["name"] + ":" for c in columns if c["rw"] == "MRW"]}[v]
            yield f"{f['prefix']}-{VERB_NAMES[v]}", params
    yield "help", []


def emit_completion(m, out):
    w = out.write
    w("# bash completion for xe; made from model/xe.table\n_xe_params()\n{\n    case \"$1\" in\n")
    for name, params in sorted(parameters(m)):
        # "name=" completes a value next, "name:" a key of a map.
        names = " ".join(p if p.endswith(":") else p + "=" for p in params)
        w(f"    {name}) echo \"{names}\" ;;\n")
    w("    esac\n}\n_xe_fields()\n{\n    case \"$1\" in\n")
    for f in m.families:
        names = " ".join(c["name"] for c in m.records[f["record"]]["columns"] if "hidden" not in c["flags"])
        w(f"    {f['prefix']}) echo \"{names}\" ;;\n")
    # The family that a command is about: the longest whose name begins the command's.
    w("    esac\n}\n_xe_family()\n{\n    case \"$1\" in\n")
    for prefix in sorted((f["prefix"] for f in m.families), key=len, reverse=True):
        w(f"    {prefix}-*) echo {prefix} ;;\n")
    w("    esac\n}\n_xe_families=\"" + " ".join(sorted(f["prefix"] for f in m.families)) + "\"\n")
    w("_xe_commands=\"" + " ".join(sorted(n for n, _ in parameters(m))) + "\"\n")
    w(COMPLETION)


# Values are asked from the host: uuid= of a command completes with the uuids of its class.
COMPLETION = r'''
_xe_values()
{
    local class=$1 what=$2
    xe "$class-list" params="$what" --minimal 2>/dev/null |
        sed 's/\\,/\x01/g; s/,/\n/g' | tr '\001' ','
}
_xe_value_list()
{
    local command=$1 key=$2
    case "$key" in
    vm) _xe_values vm name-label ;;
    host) _xe_values host name-label ;;
    sr) _xe_values sr name-label ;;
    template) _xe_values template name-label ;;
    uuid) _xe_values "$(_xe_family "$command")" uuid ;;
    *-uuid) _xe_values "${key%-uuid}" uuid ;;
    param-name) _xe_fields "$(_xe_family "$command")" | tr ' ' '\n' ;;
    params) _xe_fields "$(_xe_family "$command")" | sed 's/^/all /' | tr ' ' '\n' ;;
    class) tr ' ' '\n' <<<"$_xe_families" ;;
    force | multiple | minimal | progress | paused | dry-run) printf 'true\nfalse\n' ;;
    esac
}
_xe()
{
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT}
    local words=($line) current=
    [[ $line == *' ' ]] || current=${words[-1]}
    local command=${words[1]}
    if [[ ${#words[@]} -le 1 || (${#words[@]} -eq 2 && -n $current) ]]; then
        COMPREPLY=($(compgen -W "$_xe_commands" -- "$current"))
        return
    fi
    case "$current" in
    *=*)
        IFS=$'\n'
        COMPREPLY=($(compgen -W "$(_xe_value_list "$command" "${current%%=*}")" -- "${current#*=}"))
        local i
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=$(printf %q "${COMPREPLY[i]}")
        done
        ;;
    -*)
        COMPREPLY=($(compgen -W "--force --minimal --multiple --progress --trace" -- "$current"))
        ;;
    *)
        [[ $command == help ]] && COMPREPLY=($(compgen -W "$_xe_commands" -- "$current")) && return
        compopt -o nospace 2>/dev/null
        COMPREPLY=($(compgen -W "$(_xe_params "$command")" -- "$current"))
        ;;
    esac
}
complete -F _xe xe
'''


def main():
    model, out_c, out_completion = sys.argv[1:]
    m = parse(model)
    with open(out_c, "w", encoding="utf-8") as out:
        emit_c(m, out)
    with open(out_completion, "w", encoding="utf-8") as out:
        emit_completion(m, out)


if __name__ == "__main__":
    main()
