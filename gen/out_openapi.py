"""Model -> openapi.json: REST as an OpenAPI 3.1 document, served at /openapi.json.

What is a path and what an action says rest.py; here is only how that is written down.
"""

import json

from rest import collections

ROOT = "/rest/v1"
JSON = "application/json"
ROLE = "x-role"


def openapi_json(model):
    return json.dumps(document(model), indent=1, ensure_ascii=False) + "\n"


def document(model):
    cols = collections(model)
    out = Schemas(model, cols)
    paths = fixed_paths()
    for col in cols:
        paths.update(collection_paths(out, col))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cairn", "version": "1", "description": ABOUT,
                 "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": ROOT}],
        "security": [{"basic": []}, {"bearer": []}, {"cookie": []}],
        "tags": [{"name": c.path, "description": c.cls.doc or c.cls.name} for c in cols],
        "paths": paths,
        "components": {"schemas": out.all(), "parameters": PARAMETERS, "responses": RESPONSES,
                       "headers": HEADERS, "securitySchemes": SECURITY},
        "x-roles": [r.name for r in model.roles if not r.internal],
        "x-errors": {e.name: error(e) for e in model.errors.values() if not e.unraised},
    }


ABOUT = ("XenAPI as resources. An object is found at its class's collection by its uuid; a "
         "reference is the path of what it names. What runs as an operation is answered by 202 and "
         "a task; `?wait` keeps the answer until the end. Errors are problems (RFC 9457) that carry "
         "the code of XenAPI and its parameters; `x-errors` says what they mean.")

SECURITY = {
    "basic": {"type": "http", "scheme": "basic", "description": "A session for this request."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "A session, from POST /session."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "session_id",
               "description": "The same, for pages of this host."},
}

HEADERS = {
    "ETag": {"description": "The version of the object, for If-Match and If-None-Match.",
             "schema": {"type": "string"}},
    "Location": {"description": "Where it is.", "schema": {"type": "string"}},
    "Link": {"description": "rel=\"next\": the next page.", "schema": {"type": "string"}},
}


def query(name, schema, text):
    return {"name": name, "in": "query", "description": text, "schema": schema}


PARAMETERS = {
    "id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"},
           "description": "The uuid of the object, or its reference."},
    "filter": query("filter", {"type": "string"},
                    "Terms `field=value`, with =, !=, ~ (has the text), < or >; a key of a map is "
                    "`field.key`; values with blanks stand in double quotes. All have to be true."),
    "fields": query("fields", {"type": "string"}, "Names of the fields that are wanted, by commas."),
    "limit": query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200},
                   "Objects on a page."),
    "after": query("after", {"type": "integer", "minimum": 0}, "As `next` of the page before has it."),
    "wait": query("wait", {"type": "boolean"},
                  "Whether the answer waits for the end of the operation, instead of naming a task."),
    "if_match": {"name": "If-Match", "in": "header", "schema": {"type": "string"},
                 "description": "The ETag that is known; 412 if the object has changed since."},
    "if_none_match": {"name": "If-None-Match", "in": "header", "schema": {"type": "string"},
                      "description": "The ETag that is known; 304 if nothing has changed."},
}

PROBLEM = {
    "type": "object", "description": "What went wrong, as in RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"},
        "code": {"type": "string", "description": "The code of the error in XenAPI."},
        "params": {"type": "array", "items": {"type": "string"},
                   "description": "Its parameters; objects are named by reference."}}}

TASK = {"type": "object", "required": ["task"],
        "properties": {"task": {"type": "string", "description": "The path of the task."}}}

SESSION = {"type": "object", "required": ["user", "superuser", "last_active"],
           "properties": {
               "href": {"type": ["string", "null"]},
               "session": {"type": "string", "description": "The bearer's token; only after login."},
               "user": {"type": "string"}, "superuser": {"type": "boolean"},
               "last_active": {"type": "string", "format": "date-time"}}}

LOGIN = {"type": "object",
         "properties": {"user": {"type": "string"}, "password": {"type": "string"},
                        "originator": {"type": "string"}}}

INDEX = {"type": "object", "required": ["collections"],
         "properties": {"description": {"type": "string"}, "session": {"type": "string"},
                        "events": {"type": "string"},
                        "collections": {"type": "object",
                                        "additionalProperties": {"type": "string"}}}}


def ref(kind, name):
    return {"$ref": f"#/components/{kind}/{name}"}


def content(schema, mime=JSON):
    return {mime: {"schema": schema}}


RESPONSES = {
    "Problem": {"description": "The request is refused, or the operation failed.",
                "content": content(ref("schemas", "Problem"), "application/problem+json")},
    "Task": {"description": "It runs; the task tells what becomes of it.",
             "headers": {"Location": ref("headers", "Location")},
             "content": content(ref("schemas", "TaskStarted"))},
    "Done": {"description": "It is done, and there is nothing to say."},
    "Unchanged": {"description": "The object is as the ETag says.",
                  "headers": {"ETag": ref("headers", "ETag")}},
}


def error(e):
    out = {"params": list(e.params)}
    return {**out, "description": e.doc} if e.doc else out


# ---- types ---------------------------------------------------------------------------------------


class Schemas:
    """Types of the model as schemas; classes and enums by name."""

    def __init__(self, model, cols):
        self.model = model
        self.paths = {c.cls.name: c.path for c in cols}
        self.named = {"Problem": PROBLEM, "TaskStarted": TASK, "Session": SESSION, "Login": LOGIN,
                      "Index": INDEX}

    def all(self):
        return dict(sorted(self.named.items()))

    def of(self, t, sent=False):
        """`sent`: by the client, who may name objects in more ways."""
        simple = {"bool": {"type": "boolean"}, "int": {"type": "integer", "format": "int64"},
                  "float": {"type": "number"} if sent else {"type": ["number", "null"]},
                  "string": {"type": "string"},
                  "datetime": {"type": "string", "format": "date-time"}, "void": {"type": "null"}}
        if t.kind in simple:
            return dict(simple[t.kind])
        if t.kind == "enum":
            return self.enum(t.name)
        if t.kind == "ref":
            return self.link(t.name, sent)
        if t.kind == "set":
            return {"type": "array", "items": self.of(t.elem, sent)}
        if t.kind == "option":
            return {"anyOf": [self.of(t.elem, sent), {"type": "null"}]}
        if t.kind == "map":
            return {"type": "object", "additionalProperties": self.of(t.elem, sent)}
        return self.record(t.name, sent)

    def enum(self, name):
        self.named.setdefault(name, {"type": "string", "enum": list(self.model.enums[name].values)})
        return ref("schemas", name)

    def link(self, name, sent):
        path = self.paths.get(name)
        if sent or not path:
            text = f"A {name}: its path, uuid or reference" if path else f"The reference of a {name}"
            return {"type": ["string", "null"], "description": text + "; null for none."}
        return {"type": ["string", "null"], "pattern": f"^{ROOT}/{path}/",
                "description": f"The path of a {name}; null for none."}

    def record(self, name, sent):
        if name not in self.model.classes:
            return {"type": "object"}
        if name not in self.named:
            self.named[name] = {}
            self.named[name] = self.object(self.model.classes[name])
        return {"type": "object"} if sent else ref("schemas", name)

    def object(self, k):
        fields = {f.name: self.field(f) for f in k.fields if not f.internal}
        here = {"href": {"type": ["string", "null"], "readOnly": True,
                         "description": "The path of this object."},
                "ref": {"type": "string", "readOnly": True,
                        "description": "Its reference in XenAPI."}}
        return {"type": "object", "description": k.doc, "properties": {**here, **fields}}

    def field(self, f, sent=False):
        out = self.of(f.type, sent)
        about = {"description": f.doc} if f.doc else {}
        if f.qual == "ro" and not sent:
            about["readOnly"] = True
        if f.life.state in ("deprecated", "removed"):
            about["deprecated"] = True
        return {**out, **about} if "$ref" not in out or about else out

    def creation(self, k):
        """What a constructor takes that is given a record."""
        name = f"{k.name}_create"
        given = [f for f in k.fields if f.in_constructor() and not f.internal
                 and f.life.state != "removed"]
        required = [f.name for f in given if f.default is None]
        self.named[name] = {"type": "object", "additionalProperties": False,
                            "properties": {f.name: self.field(f, True) for f in given},
                            **({"required": required} if required else {})}
        return ref("schemas", name)

    def patch(self, k, setters):
        name = f"{k.name}_patch"
        props = {}
        for m in setters:
            f = k.field(m.name[len("set_"):])
            t = m.params[1].type
            props[f.name] = {**self.of(t, True), ROLE: m.roles,
                             **({"description": f.doc} if f.doc else {})}
            if t.kind == "map":
                props[f.name]["additionalProperties"] = {
                    "anyOf": [self.of(t.elem, True), {"type": "null"}]}
        self.named[name] = {"type": "object", "additionalProperties": False, "properties": props}
        return ref("schemas", name)

    def params(self, name, params):
        """The body of an action."""
        props, required = {}, []
        for p in params:
            props[p.name] = self.of(p.type, True)
            if needed(p):
                required.append(p.name)
            elif p.default is None:
                props[p.name]["default"] = OMITTED[p.type.kind]
            elif p.type.kind != "ref":
                props[p.name]["default"] = p.default.json
        self.named[name] = {"type": "object", "additionalProperties": False, "properties": props,
                            **({"required": required} if required else {})}
        return ref("schemas", name)


OMITTED = {"bool": False, "set": [], "map": {}}


def needed(p):
    """A switch that is left out is off, a collection empty."""
    return p.default is None and p.type.kind not in OMITTED


# ---- paths ---------------------------------------------------------------------------------------


def parameter(name):
    return ref("parameters", name)


def answer(text, schema, *headers):
    out = {"description": text, "content": content(schema)}
    if headers:
        out["headers"] = {h: ref("headers", h) for h in headers}
    return out


def operation(name, tag, text, **more):
    responses = more.pop("responses")
    first, dot, rest = text.partition(". ")
    out = {"operationId": name, "tags": [tag], "summary": (first + dot.strip()) or name}
    if dot and rest:
        out["description"] = text
    return {**out, **more, "responses": {**responses, "default": ref("responses", "Problem")}}


def fixed_paths():
    events = {"description": "Events without an end: `add`, `mod`, `del`, and `lost` when the "
                             "client has to read everything again. Their data is JSON: operation, "
                             "collection, ref and, unless it is gone, the object.",
              "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    return {
        "/": {"get": operation("index", "rest", "The paths there are.", security=[],
                               responses={"200": answer("Paths by name.", ref("schemas", "Index"))})},
        "/session": {
            "get": operation("session", "rest", "Who the request comes from.", responses={
                "200": answer("The session.", ref("schemas", "Session"))}),
            "post": operation("login", "rest", "Log in.", security=[{"basic": []}, {}],
                              requestBody={"content": content(ref("schemas", "Login"))},
                              responses={"201": answer("The session; also as a cookie.",
                                                       ref("schemas", "Session"), "Location")}),
            "delete": operation("logout", "rest", "Log out.",
                                responses={"204": ref("responses", "Done")})},
        "/events": {"get": operation("events", "rest", "Server-sent events.", parameters=[
            query("collections", {"type": "string"}, "Those of interest, by commas; all."),
            query("since", {"type": "string", "default": "now"},
                  "`now`, `all` (first everything there is), or the id of an event.")],
            responses={"200": events})},
    }


def collection_paths(out, col):
    paths = {}
    if col.listed or col.create:
        paths[f"/{col.path}"] = collection_methods(out, col)
    if col.read or col.setters or col.destroy:
        paths[f"/{col.path}/{{id}}"] = object_methods(out, col)
    for a in col.actions:
        where = f"/{col.path}/{{id}}/{a.name}" if a.on_object else f"/{col.path}/{a.name}"
        paths[where] = {**({"parameters": [parameter("id")]} if a.on_object else {}),
                        a.verb.lower(): action(out, col, a)}
    return paths


def page(schema):
    return {"type": "object", "required": ["items", "next"],
            "properties": {"items": {"type": "array", "items": schema},
                           "next": {"type": ["string", "null"],
                                    "description": "The path of the next page."}}}


def said(m):
    """Who may, and what it may say no with."""
    return {ROLE: m.roles or "local-root", **({"x-errors": sorted(m.errors)} if m.errors else {})}


def collection_methods(out, col):
    name = col.cls.name
    methods = {}
    if col.listed:
        methods["get"] = operation(
            f"{name}.get_all_records", col.path, f"The objects of class {name}, in the order of their making.",
            parameters=[parameter(p) for p in ("filter", "fields", "limit", "after")],
            responses={"200": answer("A page.", page(out.record(name, False)), "Link")})
    if col.create:
        m = col.create
        record = len(m.params) == 1 and m.params[0].type.kind == "record"
        body = out.creation(col.cls) if record else out.params(f"{name}_create", m.params)
        methods["post"] = operation(
            f"{name}.create", col.path, m.doc or f"Make a {name}.",
            **({"parameters": [parameter("wait")]} if "async" in m.flags else {}), **said(m),
            requestBody={"required": True, "content": content(body)},
            responses={"201": answer("It is made.", out.record(name, False), "ETag", "Location"),
                       **({"202": ref("responses", "Task")} if "async" in m.flags else {})})
    return methods


def object_methods(out, col):
    name = col.cls.name
    methods = {"parameters": [parameter("id")]}
    if col.read:
        methods["get"] = operation(
            f"{name}.get_record", col.path, f"A {name}.", parameters=[parameter("if_none_match")],
            responses={"200": answer("The object.", out.record(name, False), "ETag"),
                       "304": ref("responses", "Unchanged")})
    if col.setters:
        body = out.patch(col.cls, col.setters)
        methods["patch"] = operation(
            f"{name}.patch", col.path, f"Set fields of a {name}. A merge patch (RFC 7396): of a map "
            "the named keys alone change, null removes one.",
            parameters=[parameter("if_match")],
            requestBody={"required": True, "content": {JSON: {"schema": body},
                                                       "application/merge-patch+json":
                                                       {"schema": body}}},
            responses={"200": answer("What has become of it.", out.record(name, False), "ETag")})
    if col.destroy:
        asynchronous = "async" in col.destroy.flags
        methods["delete"] = operation(
            f"{name}.destroy", col.path, col.destroy.doc or f"Destroy a {name}.",
            parameters=[parameter("if_match")] + ([parameter("wait")] if asynchronous else []),
            **said(col.destroy),
            responses={"204": ref("responses", "Done"),
                       **({"202": ref("responses", "Task")} if asynchronous else {})})
    return methods


def in_query(out, p):
    schema = out.of(p.type, True)
    what = {"name": p.name, "in": "query", "required": needed(p)}
    if p.type.kind in ("set", "map", "record"):
        return {**what, "content": content(schema)}
    return {**what, "schema": schema}


def action(out, col, a):
    m = a.message
    name = f"{col.cls.name}.{m.name}"
    more, params = {}, []
    if a.verb == "GET":
        params = [in_query(out, p) for p in a.params]
    elif a.params:
        body = out.params(f"{col.cls.name}_{m.name}", a.params)
        more["requestBody"] = {"required": any(needed(p) for p in a.params), "content": content(body)}
    responses = {}
    if m.result.kind == "void":
        responses["204"] = ref("responses", "Done")
    else:
        responses["200"] = answer("The result.", out.of(m.result))
    if a.verb == "POST" and "async" in m.flags:
        params.append(parameter("wait"))
        responses["202"] = ref("responses", "Task")
    if params:
        more["parameters"] = params
    if m.life.state == "deprecated":
        more["deprecated"] = True
    return operation(name, col.path, m.doc or name, **more, **said(m), responses=responses)
