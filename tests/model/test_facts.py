"""The model says what the facts of the API say, all of it and nothing else.

The facts (tests/facts) were written down from the published interface; nothing generated from the
model goes into them.
"""

import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "facts"))

import facts  # noqa: E402

# The published form of the interface, where a copy of it is at hand; the facts were made from it.
SOURCE = os.path.join(HERE, "..", "..", "..", "shared", "xenapi")


def by_name(items):
    return {i["name"]: i for i in items}


class ModelAgrees(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        with open(os.environ["MODEL_JSON"], encoding="utf-8") as f:
            cls.model = facts.from_model(json.load(f))
        cls.facts = facts.load()
        cls.ours = by_name(cls.model["classes"]["classes"])
        cls.theirs = by_name(cls.facts["classes"]["classes"])

    def test_counts(self):
        classes = self.model["classes"]["classes"]
        messages = [m for c in classes for m in c.get("messages", [])]
        self.assertEqual(len(classes), 73)
        self.assertEqual(sum(len(c.get("fields", [])) for c in classes), 951)
        self.assertEqual(sum(m["kind"] == "explicit" for m in messages), 678)
        self.assertEqual(sum(m["kind"] != "explicit" for m in messages), 1580)
        self.assertEqual(len(self.model["errors"]["errors"]), 635)
        self.assertEqual(len(self.model["classes"]["relations"]), 64)

    def test_class_names(self):
        self.assertEqual(sorted(self.ours), sorted(self.theirs))

    def test_classes(self):
        for name, theirs in self.theirs.items():
            with self.subTest(name):
                plain = [{k: v for k, v in c.items() if k not in ("fields", "messages")}
                         for c in (self.ours[name], theirs)]
                self.assertEqual(*plain)

    def test_fields_in_their_order(self):
        for name, theirs in self.theirs.items():
            ours = self.ours[name].get("fields", [])
            self.assertEqual([f["name"] for f in ours],
                             [f["name"] for f in theirs.get("fields", [])], name)
            for a, b in zip(ours, theirs.get("fields", [])):
                with self.subTest(f"{name}.{a['name']}"):
                    self.assertEqual(a, b)

    def test_messages(self):
        for name, theirs in self.theirs.items():
            a, b = by_name(self.ours[name].get("messages", [])), by_name(theirs.get("messages", []))
            self.assertEqual(sorted(a), sorted(b), name)
            for m in a:
                with self.subTest(f"{name}.{m}"):
                    self.assertEqual(a[m], b[m])

    def test_relations(self):
        self.assertEqual(self.model["classes"]["relations"], self.facts["classes"]["relations"])

    def test_handlers(self):
        theirs = self.facts["http"]["handlers"]
        ours = by_name(self.model["http"]["handlers"])
        self.assertEqual(sorted(ours), sorted(h["name"] for h in theirs))
        self.assertEqual(len(theirs), 57)
        for h in theirs:
            with self.subTest(h["name"]):
                self.assertEqual(ours[h["name"]], h)

    def test_enums_errors_roles(self):
        for part in ("enums", "errors", "roles"):
            for key, theirs in self.facts[part].items():
                with self.subTest(f"{part} {key}"):
                    self.assertEqual(self.model[part][key], theirs)


@unittest.skipUnless(os.path.isdir(SOURCE), "the published interface is not at hand")
class FactsAgreeWithSource(unittest.TestCase):
    def test_same(self):
        source, ours = facts.from_source(SOURCE), facts.load()
        for part in facts.FILES:
            self.assertEqual(ours[part], json.loads(json.dumps(source[part])), part)


if __name__ == "__main__":
    unittest.main()
