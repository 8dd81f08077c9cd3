"""model/xe.table says what the facts of the command line say: commands, families, columns.

The facts (tests/facts/xe.json) were written down from the published interface. Where the table
differs on purpose, DIFFERENCES says why; a difference that is gone must leave the list.
"""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "facts"), os.path.join(HERE, "..", "..", "gen")]

import xe  # noqa: E402
import xe_facts  # noqa: E402

OWN_NAMES = "vm-install reads these too; they are named so that help and completion know them"
OF_REFERENCES = "a column of references shows uuids; the published form does not say so here"
NEW_DISK = "a new disk, or CD image, of the file: sr-uuid and name-label instead of uuid"
DIFFERENCES = {
    ("commands", "vdi-import", "required"): NEW_DISK,
    ("commands", "vdi-import", "optional"): NEW_DISK,
    ("commands", "vm-install", "optional"): OWN_NAMES,
    ("commands", "vm-vif-list", "optional"): "params= is read there too; named for help and completion",
    ("records", "pool_patch", "hosts", "format"): OF_REFERENCES,
    ("records", "host", "patches", "format"): OF_REFERENCES,
    ("records", "vm", "xenstore-data", "writes"): "cleared key by key, like every map",
    ("records", "vtpm", "columns"): "no column tells anything about a vTPM's secret state",
}
# Columns that a function of src/cli/computed.c or a data source gives.
NO_FIELD = "?=~"


def differing(theirs, ours, where, out):
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            out[where + (key,)] = (theirs.get(key), ours.get(key))


def columns(items):
    return {c["name"]: {k: v for k, v in c.items() if k != "reads"} for c in items}


def all_differences(theirs, ours):
    out = {}
    for part in ("commands", "families"):
        for name in theirs[part].keys() | ours[part].keys():
            differing(theirs[part].get(name, {}), ours[part].get(name, {}), (part, name), out)
    for name in theirs["records"].keys() | ours["records"].keys():
        a, b = (columns(side["records"].get(name, [])) for side in (theirs, ours))
        if list(a) != list(b):
            out["records", name, "columns"] = (list(a), list(b))
        for column in a.keys() & b.keys():
            differing(a[column], b[column], ("records", name, column), out)
    return out


class TableAgrees(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.theirs = xe_facts.load()
        cls.ours = xe_facts.from_table(xe.parse(os.path.join(HERE, "..", "..", "model", "xe.table")))

    def test_counts(self):
        self.assertEqual([len(self.theirs[k]) for k in ("commands", "families", "records")], [387, 55, 54])

    def test_only_listed_differences(self):
        found = all_differences(self.theirs, self.ours)
        self.assertEqual({k: v for k, v in found.items() if k not in DIFFERENCES}, {})
        self.assertEqual(DIFFERENCES.keys() - found.keys(), set())

    def test_order(self):
        for part in ("commands", "families"):
            self.assertEqual(list(self.ours[part]), list(self.theirs[part]))

    def test_columns_read_what_they_should(self):
        for name, theirs in self.theirs["records"].items():
            reads = {c["name"]: c["reads"] for c in theirs}
            for c in self.ours["records"][name]:
                if c["reads"][0][0] not in NO_FIELD and c["format"] != "uuid":
                    self.assertIn(c["reads"][0], reads[c["name"]], f"{name} {c['name']}")

    def test_names_that_people_see(self):
        self.assertEqual(self.ours["shown"], self.theirs["shown"])


if __name__ == "__main__":
    unittest.main()
