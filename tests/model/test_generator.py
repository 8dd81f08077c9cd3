"""What the generator accepts, what it makes of it, and how it complains.

bad/*.model: each line '#= N: text' is a complaint it must make about line N; it may make no other.
good/*.model: the texts made of it are compared with the golden file beside it. UPDATE_GOLDEN=1
writes those anew (tools/regen does).
"""

import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(TOP, "gen"))

from check import check  # noqa: E402
from out_c import error_h, msg_c, msg_h, rec_h  # noqa: E402
from out_desc import desc_c  # noqa: E402
from out_http import http_c, http_h  # noqa: E402
from out_text import api_lock, coverage_md, read_covered  # noqa: E402
from parse import parse  # noqa: E402


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as f:
        return f.read()


def snippets(folder):
    return sorted(n[:-6] for n in os.listdir(os.path.join(HERE, folder)) if n.endswith(".model"))


def run(folder, name):
    model, errors = parse([("prelude.model", read("prelude.model")),
                           (f"{name}.model", read(folder, f"{name}.model"))])
    return model, errors or check(model)


class Complaints(unittest.TestCase):
    def test_each(self):
        names = snippets("bad")
        self.assertGreater(len(names), 40)
        for name in names:
            wanted = [f"{name}.model:" + line[2:].strip()
                      for line in read("bad", f"{name}.model").split("\n")
                      if line.startswith("#=")]
            with self.subTest(name):
                self.assertTrue(wanted, "the snippet expects nothing")
                self.assertEqual([str(e) for e in run("bad", name)[1]], wanted)


class Golden(unittest.TestCase):
    maxDiff = None

    def outputs(self, name):
        model, errors = run("good", name)
        self.assertEqual(errors, [])
        return "\n".join(emit(model) for emit in (api_lock, rec_h, error_h, msg_h, msg_c, desc_c,
                                                  http_h, http_c))

    def test_each(self):
        for name in snippets("good"):
            with self.subTest(name):
                text = self.outputs(name)
                path = os.path.join(HERE, "good", f"{name}.golden")
                if os.environ.get("UPDATE_GOLDEN"):
                    with open(path, "w", encoding="utf-8") as f:
                        f.write(text)
                self.assertEqual(text, read("good", f"{name}.golden"))


class Coverage(unittest.TestCase):
    def covered(self, text):
        model, _ = run("good", "all")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write(text)
            f.flush()
            names, errors = read_covered(model, f.name)
            return model, names, [str(e).replace(f.name, "covered") for e in errors]

    def test_counts_what_is_listed(self):
        model, names, errors = self.covered("# why\nthing.start: tests/x.py\n")
        self.assertEqual((names, errors), ({"thing.start"}, []))
        page = coverage_md(model, names)
        self.assertTrue(page.startswith("1 of 3 explicit messages implemented."))
        self.assertIn("| host | 1 | 2 | 2 |", page)
        self.assertIn("| xen | 0 | 0 | 1 |", page)
        self.assertIn("| thing | 1 | 1 | 2 |", page)

    def test_refuses_what_cannot_be(self):
        for name, why in (("thing.asked", "thing.asked has no handler"),
                          ("thing.gone", "thing.gone has no handler"),
                          ("thing.set_friend", "thing.set_friend has no handler"),
                          ("thing.fly", "no message is called thing.fly")):
            self.assertEqual(self.covered(name + "\n")[2], [f"covered:1: {why}"])


class Committed(unittest.TestCase):
    def test_api_lock(self):
        """If this fails, look at what has changed in the API, then run tools/regen."""
        with open(os.environ["API_LOCK"], encoding="utf-8") as f:
            made = f.read().split("\n")
        with open(os.path.join(TOP, "model", "api.lock"), encoding="utf-8") as f:
            committed = f.read().split("\n")
        gone, new = set(committed) - set(made), set(made) - set(committed)
        self.assertEqual((sorted(gone), sorted(new)), ([], []))
        self.assertEqual(made, committed)


if __name__ == "__main__":
    unittest.main()
