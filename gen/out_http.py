"""Model -> gen/http.h, gen/http.c: the handlers of the HTTP server, as src/handler/http.h describes them.

A handler that is not `unimplemented` needs a function http_NAME in src/handler; a missing one is a
link error.
"""

import cnames as c

FLAGS = [("sdk", "HTTP_SDK"), ("client-cert", "HTTP_CLIENT_CERT"), ("own-check", "HTTP_OWN_CHECK"),
         ("master", "HTTP_MASTER"), ("house", "HTTP_HOUSE"),
         ("unimplemented", "HTTP_UNIMPLEMENTED")]

PROTOTYPES = {
    "stream": "struct err *http_{}(struct transfer *x, struct val **ret)",
    "raw": "void http_{}(void *arg, const struct net_request *req, struct net_stream *s)",
    "simple": "void http_{}(void *arg, const struct net_request *req, struct net_reply *reply)",
}
PROTOTYPES["rpc"] = PROTOTYPES["simple"]


def implemented(model):
    return [h for h in model.handlers.values()
            if "unimplemented" not in h.flags and h.form != "files"]


def http_h(model):
    names = [c.const("HTTP", h.name) for h in model.handlers.values()]
    out = [c.HEADER, "/* The handlers of the HTTP server: their numbers and functions. */",
           "#pragma once", "", '#include "handler/transfer.h"', '#include "net/net.h"', "",
           "enum http_num {", c.wrap(names), "};", f"#define HTTP_N {len(names)}", ""]
    for h in implemented(model):
        out += [f"/* {h.method} {h.path}{': ' + h.doc if h.doc else ''} */",
                PROTOTYPES[h.form].format(h.name) + ";"]
    return "\n".join(out) + "\n"


def http_c(model):
    out = [c.HEADER, '#include "gen/http.h"', "", '#include "handler/http.h"', ""]
    for h in implemented(model):
        if h.form == "stream":
            out += [f"static void serve_{h.name}(void *arg, const struct net_request *req, "
                    "struct net_stream *s)", "{",
                    f"    transfer_serve(arg, {c.const('HTTP', h.name)}, http_{h.name}, req, s);",
                    "}", ""]
    for h in model.handlers.values():
        if h.subs:
            subs = [f"{{{c.string(s.key)}, {c.role(s.role)}}}" for s in h.subs]
            out += [f"static const struct key_role subs_{h.name}[] = {{",
                    c.wrap(subs + ["{NULL, ROLE_UNCHECKED}"]), "};"]
        if h.queries:
            out += [f"static const struct http_query queries_{h.name}[] = {{",
                    c.wrap([f"{{{c.string(n)}, {c.string(t)}}}" for n, t in h.queries]), "};"]
    rows = [handler(h) for h in model.handlers.values()]
    return "\n".join(out + ["const struct http_desc http_descs[] = {"] + rows + ["};"]) + "\n"


def handler(h):
    def text(value):
        return c.string(value) if value else "NULL"
    flags = [flag for word, flag in FLAGS if word in h.flags]
    subs = f"subs_{h.name}" if h.subs else "NULL"
    queries = f"queries_{h.name}, {len(h.queries)}" if h.queries else "NULL, 0"
    return (f"    {{{c.string(h.name)}, {c.string(h.method)}, {c.string(h.path)}, "
            f"{c.role(h.roles)}, {c.flags(flags)}, {subs}, {queries}, {text(h.task)}, "
            f"{text(h.body)}, {text(h.needs)}, {c.string(h.doc)}, {function(h)}}},")


def function(h):
    if h.form == "files":
        return "HTTP_FILES, NULL, NULL"
    if "unimplemented" in h.flags:
        return "HTTP_STREAM, NULL, NULL"
    if h.form in ("rpc", "simple"):
        return f"HTTP_{h.form.upper()}, http_{h.name}, NULL"
    name = f"http_{h.name}" if h.form == "raw" else f"serve_{h.name}"
    return f"HTTP_STREAM, NULL, {name}"
