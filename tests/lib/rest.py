"""A client of /rest/v1 that holds each reply against the OpenAPI document.

    rest = Rest(daemon)
    vm = rest.get("/vms", filter="name_label=web").json["items"][0]
    rest.patch(vm["href"], {"name_label": "db"})

A path is taken as it stands, behind /rest/v1 or with it. A status that was not expected, a status or
a body that the document does not know for the operation: an AssertionError.
"""
import base64
import http.client
import json
import os
import re
import urllib.parse

import jsonschema

import simhost

ROOT = "/rest/v1"
DOCUMENT = os.path.join(simhost.BUILD, "gen", "openapi.json")


class Description:
    """The OpenAPI document, as what it says about one request."""

    def __init__(self):
        with open(DOCUMENT, encoding="utf-8") as f:
            self.root = json.load(f)
        self.resolver = jsonschema.RefResolver("", self.root)
        self.checkers = {}
        self.routes = [(re.compile("^" + re.sub(r"{\w+}", "[^/]+", path) + "$"), path)
                       for path in sorted(self.root["paths"], key=lambda p: ("{" in p, p))]

    def deref(self, part):
        while "$ref" in part:
            part = self.resolver.resolve(part["$ref"])[1]
        return part

    def operation(self, method, path):
        path = path.split("?")[0] or "/"
        for pattern, name in self.routes:
            if pattern.match(path) and method.lower() in self.root["paths"][name]:
                return self.root["paths"][name][method.lower()]
        return None

    def check(self, method, path, reply):
        op = self.operation(method, path)
        if not op:
            assert reply.status in (404, 405), f"{method} {path} is not described: {reply}"
            return
        known = op["responses"].get(str(reply.status))
        assert known or reply.status >= 400, f"{method} {path}: {reply.status} is not described"
        content = self.deref(known or op["responses"]["default"]).get("content")
        if not content:
            assert not reply.body, f"{method} {path}: a body, though none is described"
            return
        assert reply.type in content, f"{method} {path}: {reply.type}, described is {content}"
        checker = self.checker(content[reply.type]["schema"])
        errors = list(checker.iter_errors(reply.json))
        assert not errors, f"{method} {path}: {errors[0].message} at {list(errors[0].path)}"

    def checker(self, schema):
        key = json.dumps(schema)
        if key not in self.checkers:
            self.checkers[key] = jsonschema.Draft202012Validator(schema, resolver=self.resolver)
        return self.checkers[key]


class Reply:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.type = (self.headers.get("content-type") or "").split(";")[0]

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.type} {self.body[:300]!r}"


class Rest:
    described = None

    def __init__(self, daemon, user="root", password=simhost.PASSWORD):
        Rest.described = Rest.described or Description()
        self.port = daemon.port
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.auth = {"Authorization": f"Basic {token}"} if user else {}

    def send(self, method, path, body=None, expect=None, headers=None, **query):
        """One request on a connection of its own."""
        path = path if path.startswith(ROOT) else ROOT + path
        if query:
            path += "?" + urllib.parse.urlencode(query)
        full = {**self.auth, **(headers or {})}
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            full.setdefault("Content-Type", "application/json")
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request(method, path, body=body, headers=full)
            reply = Reply(c.getresponse())
        finally:
            c.close()
        if method not in ("HEAD", "OPTIONS"):
            self.described.check(method, path[len(ROOT):], reply)
        if expect:
            assert reply.status == expect, reply
        return reply

    def get(self, path, expect=200, headers=None, **query):
        return self.send("GET", path, None, expect, headers, **query)

    def post(self, path, body=None, expect=200, headers=None, **query):
        return self.send("POST", path, body, expect, headers, **query)

    def patch(self, path, body, expect=200, headers=None):
        return self.send("PATCH", path, body, expect, headers)

    def delete(self, path, expect=204, headers=None, **query):
        return self.send("DELETE", path, None, expect, headers, **query)
