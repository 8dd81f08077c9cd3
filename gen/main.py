#!/usr/bin/env python3
"""The generator: model/*.model and model/class/*.model -> gen/*.h, gen/*.c, and texts.

    main.py [--depfile FILE] MODEL_DIR OUT_DIR    writes every output into OUT_DIR
    main.py --check MODEL_DIR                     only complains
    main.py docs [--check]                        writes model/api.lock and docs/coverage.md

An output that has not changed is left alone, so nothing is rebuilt for it. Complaints go to stderr
as file:line: message; the exit code is 1 then.
"""

import argparse
import os
import sys

from check import check
from out_c import error_c, error_h, msg_c, msg_h, rec_h, typed_h
from out_desc import desc_c
from out_http import http_c, http_h
from out_openapi import openapi_json
from out_rest import rest_c
from out_json import model_json
from out_text import api_lock, coverage_md, read_covered
from parse import parse

OUTPUTS = {"rec.h": rec_h, "typed.h": typed_h, "desc.c": desc_c, "msg.h": msg_h, "msg.c": msg_c,
           "error.h": error_h, "error.c": error_c, "http.h": http_h, "http.c": http_c, "rest.c": rest_c, "openapi.json": openapi_json,
           "model.json": model_json, "api.lock": api_lock}
COVERED = "tests/covered.txt"


def model_files(folder):
    """The model's files, in an order that does not depend on the file system."""
    for place in (folder, os.path.join(folder, "class")):
        for name in sorted(os.listdir(place)):
            if name.endswith(".model"):
                yield os.path.join(place, name)


def read_model(folder):
    """Returns (Model, complaints)."""
    sources = []
    for name in model_files(folder):
        with open(name, encoding="utf-8") as f:
            sources.append((os.path.relpath(name, os.path.dirname(os.path.abspath(folder))),
                            f.read()))
    model, errors = parse(sources)
    return model, errors or check(model)


def write_depfile(path, folder, covered, out):
    """The folders are among the inputs, so that a new file is noticed."""
    here = os.path.dirname(os.path.abspath(__file__))
    inputs = [folder, os.path.join(folder, "class"), *model_files(folder)]
    inputs.append(covered)
    inputs += sorted(os.path.join(here, n) for n in os.listdir(here) if n.endswith(".py"))
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{os.path.join(out, next(iter(OUTPUTS)))}: {' '.join(inputs)}\n")


def write_if_changed(path, text):
    try:
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def complain(errors):
    for e in errors:
        print(e, file=sys.stderr)
    if errors:
        sys.exit(1)


def docs(check_only):
    """Rewrites what is generated and committed, or says what is out of date."""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    model, errors = read_model(os.path.join(top, "model"))
    complain(errors)
    covered, errors = read_covered(model, os.path.join(top, COVERED))
    complain(errors)
    for name, text in (("model/api.lock", api_lock(model)),
                       ("docs/coverage.md", coverage_md(model, covered))):
        path = os.path.join(top, name)
        if not check_only:
            write_if_changed(path, text)
        elif not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
            complain([f"{name}:1: is not what the model says; tools/regen writes it"])


def main(argv):
    if argv[:1] == ["docs"]:
        docs("--check" in argv)
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="only complain")
    parser.add_argument("--depfile", help="write the list of inputs there")
    parser.add_argument("model_dir")
    parser.add_argument("out_dir", nargs="?")
    args = parser.parse_args(argv)
    model, errors = read_model(args.model_dir)
    complain(errors)
    covered_file = os.path.join(os.path.dirname(os.path.abspath(args.model_dir)), COVERED)
    covered, errors = read_covered(model, covered_file)
    complain(errors)
    if args.check:
        return
    for name, emit in OUTPUTS.items():
        write_if_changed(os.path.join(args.out_dir, name), emit(model))
    write_if_changed(os.path.join(args.out_dir, "coverage.md"), coverage_md(model, covered))
    if args.depfile:
        write_depfile(args.depfile, args.model_dir, covered_file, args.out_dir)


if __name__ == "__main__":
    main(sys.argv[1:])
