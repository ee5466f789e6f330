#!/usr/bin/env python3
"""Recomputes every file of docs/protocol/vectors/security and the published hybrid vector.

It prints how many vectors of each file hold and fails at the first that does not. A file that it does not know fails it
too: nothing lies in that folder unchecked.
"""

import json
import pathlib
import sys
import traceback

import check_channel
import check_handshake
import check_identity
import tokens

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/protocol/vectors/security"
PUBLISHED = ROOT / "crates/valkyrie-security/tests/vectors/hfs/xxhfs_mlkem768.json"

CHECKS = {
    "handshake.json": check_handshake.ours,
    "channel.json": check_channel.check,
    "identity.json": check_identity.check,
    "tokens.json": tokens.check_file,
}


def main():
    files = {path.name: path for path in sorted(FOLDER.glob("*.json"))}
    unknown = sorted(files.keys() - CHECKS.keys())
    missing = sorted(CHECKS.keys() - files.keys())
    if unknown or missing:
        sys.exit(f"in {FOLDER}: nothing checks {unknown or 'nothing'}, missing {missing or 'nothing'}")
    jobs = [(path, CHECKS[name]) for name, path in files.items()]
    jobs.append((PUBLISHED, check_handshake.published))
    total, failed = 0, False
    for path, check in jobs:
        held = 0
        try:
            for _ in check(json.loads(path.read_text())):
                held += 1
            if held == 0:
                raise AssertionError("no vector in it")
            print(f"{path.name}: {held} vectors hold")
        except Exception:
            failed = True
            print(f"{path.name}: the vector after {held} that hold does not:")
            traceback.print_exc(file=sys.stdout)
        total += held
    if failed:
        sys.exit(1)
    print(f"all {total} vectors hold")


if __name__ == "__main__":
    main()
