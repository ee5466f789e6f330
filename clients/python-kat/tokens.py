#!/usr/bin/env python3
"""Writes docs/protocol/vectors/security/tokens.json with the tokens of Biscuit's own implementation, or asks it again.

Tokens hold keys that are made at random, so the file is recorded: `tokens.py --write` makes other tokens of the same kind.
The tokens that `valkyrie-security` made stay as they are.
"""

import datetime
import json
import pathlib
import random
import sys

import biscuit_auth

FILE = pathlib.Path(__file__).resolve().parents[2] / "docs/protocol/vectors/security/tokens.json"

CLASSES = ["critical", "system", "job", "data", "bulk"]
SERVICES = ["echo", "rustci", "rustci.logs"]
METHODS = ["echo", "submit", "watch"]
PEERS = ["09" * 32, "0a" * 32]
NOON = 1_800_000_000
TIMES = [NOON - 60, NOON - 1, NOON, NOON + 1, NOON + 60]


def date(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def quoted(text):
    return f'"{text}"'


def rights(rng):
    pick = lambda names: quoted(rng.choice(names + ["*"]))
    return [f"right({pick(SERVICES)}, {pick(METHODS)}, {pick(CLASSES)})" for _ in range(rng.randint(1, 4))]


def condition(rng, deep=True):
    """One query of a check, in words of Datalog."""
    name, values = rng.choice(
        [("service", SERVICES), ("method", METHODS), ("class", CLASSES), ("peer", PEERS), ("time", None)])
    if values is None:
        operator = rng.choice(["<", "<=", ">", ">=", "==", "!="])
        return f"time($t), $t {operator} {date(NOON + rng.randint(-1, 1))}"
    value = rng.choice(values)
    some = ", ".join(quoted(text) for text in rng.sample(values, rng.randint(1, len(values))))
    forms = [
        f"{name}({quoted(value)})",
        f"{name}($x), $x == {quoted(value)}",
        f"{name}($x), $x != {quoted(value)}",
        f"{name}($x), {{{some}}}.contains($x)",
        f"{name}($x), [{some}].contains($x)",
        f"{name}($x), !{{{some}}}.contains($x)",
        f"{name}($x), $x.starts_with({quoted(value[:2])})",
        f"{name}($x), $x.ends_with({quoted(value[-2:])})",
        f"{name}($x), $x.contains({quoted(value[1:3])})",
        f"{name}($x), $x.length() > {rng.randint(3, 7)}",
        f"{name}($x), $x == {quoted(value)} || $x.length() < 5",
        f"{name}($x), ($x.length() > 3 && $x.length() <= 6) || $x == {quoted(value)}",
        f"{name}($x), method($x)",
    ]
    if deep and rng.random() < 0.3:
        return condition(rng, False).replace("$x", "$y").replace("$t", "$u") + ", " + condition(rng, False)
    return rng.choice(forms)


def check(rng):
    kind = rng.choices(["check if", "check all", "reject if"], [6, 1, 1])[0]
    # What several queries of a `reject if` mean is read in two ways; nobody should write one.
    queries = 1 if kind == "reject if" else rng.choices([1, 2], [4, 1])[0]
    return f"{kind} " + " or ".join(condition(rng) for _ in range(queries))


def build(root, blocks):
    """A token of blocks, each a list of statements."""
    token = biscuit_auth.BiscuitBuilder(";\n".join(blocks[0]) + ";").build(root.private_key)
    for block in blocks[1:]:
        token = token.append(biscuit_auth.BlockBuilder(";\n".join(block) + ";"))
    return token


def allowed(token, call):
    """Biscuit's answer for one call."""
    service, method, name, time, peer = call
    code = [
        f"service({quoted(service)})", f"method({quoted(method)})", f"class({quoted(name)})", f"time({date(time)})",
        f"peer({quoted(peer)})",
    ]
    for stars in range(8):
        names = [quoted("*") if stars >> place & 1 else quoted(text) for place, text in enumerate((service, method, name))]
        code.append(f"allow if right({', '.join(names)})")
    authorizer = biscuit_auth.AuthorizerBuilder(";\n".join(code) + ";")
    limits = authorizer.limits()
    limits.max_time = datetime.timedelta(seconds=10)
    authorizer.set_limits(limits)
    try:
        authorizer.build(token).authorize()
        return True
    except biscuit_auth.AuthorizationError:
        return False


def calls(rng, count):
    return [
        [rng.choice(SERVICES), rng.choice(METHODS), rng.choice(CLASSES), rng.choice(TIMES), rng.choice(PEERS)]
        for _ in range(count)
    ]


def taken(rng, root, count):
    """Tokens that a receiver takes, and what Biscuit says to calls with them."""
    vectors = []
    for _ in range(count):
        blocks = [rights(rng) + [check(rng) for _ in range(rng.randint(0, 1))]]
        blocks += [[check(rng) for _ in range(rng.randint(1, 2))] for _ in range(rng.randint(0, 3))]
        token = build(root, blocks)
        asked = calls(rng, 40)
        answers = [allowed(token, call) for call in asked]
        # All of what is allowed, and as much of what is not.
        kept = [place for place, answer in enumerate(answers) if answer][:6]
        kept += [place for place, answer in enumerate(answers) if not answer][: max(3, len(kept))]
        vectors.append({
            "blocks": blocks,
            "token": bytes(token.to_bytes()).hex(),
            "calls": [asked[place] + [answers[place]] for place in sorted(kept)],
        })
    return vectors


def refused(root):
    """Tokens that are good Biscuits, and say what is not taken."""
    grant = 'right("echo", "echo", "job")'
    cases = {
        "a fact that is no right": [[grant, 'owner("ada")']],
        "a right of two terms": [['right("echo", "echo")']],
        "a right whose class is a number": [['right("echo", "echo", 2)']],
        "a right of an unknown class": [['right("echo", "echo", "urgent")']],
        "a right in a later block": [[grant], ['right("rustci", "*", "*")']],
        "a rule in the first block": [[grant, 'right($s, "echo", "job") <- service($s)']],
        "a rule in a later block": [[grant], ['right($s, "echo", "job") <- service($s)']],
        "a fact of the call in a later block": [[grant], ['service("echo")']],
        "a check about something else": [[grant], ['check if owner("ada")']],
        "a check about rights": [[grant], ['check if right("echo", $m, $c)']],
        "a regular expression": [[grant], ['check if service($s), $s.matches("^e")']],
        "a loop over a set": [[grant], ['check if service($s), {"e", "f"}.any($p -> $s.starts_with($p))']],
        "a calculation": [[grant], ['check if service($s), $s.length() + 1 == 5']],
        "a value that is null": [[grant], ["check if service($s), $s !== null"]],
        "no right at all": [["check if true"]],
    }
    vectors = [{"name": name, "token": bytes(build(root, blocks).to_bytes()).hex()} for name, blocks in cases.items()]
    other = biscuit_auth.KeyPair()
    vectors.append({"name": "another root", "token": bytes(build(other, [[grant]]).to_bytes()).hex()})
    third = build(root, [[grant]])
    block = third.third_party_request().create_block(other.private_key, biscuit_auth.BlockBuilder('check if service("echo");'))
    third = third.append_third_party(other.public_key, block)
    vectors.append({"name": "a block of somebody else", "token": bytes(third.to_bytes()).hex()})
    return vectors


def make(recorded):
    rng = random.Random(1)
    root = biscuit_auth.KeyPair()
    return {
        "root": bytes(root.public_key.to_bytes()).hex(),
        "taken": taken(rng, root, 100),
        "refused": refused(root),
        "made_here": recorded.get("made_here", {}),
    }


def shown(made):
    """The file's text, a vector a line."""
    line = lambda vectors: "[\n  " + ",\n  ".join(json.dumps(vector) for vector in vectors) + "\n ]"
    ours = made["made_here"]
    parts = {
        "root": json.dumps(made["root"]),
        "taken": line(made["taken"]),
        "refused": line(made["refused"]),
        "made_here": f'{{"root": {json.dumps(ours.get("root", ""))}, "tokens": {line(ours.get("tokens", []))}}}',
    }
    return "{\n" + ",\n".join(f' "{key}": {text}' for key, text in parts.items()) + "\n}\n"


def check_file(recorded):
    """Yields once for each vector that Biscuit's implementation agrees with."""
    root = biscuit_auth.PublicKey.from_bytes(bytes.fromhex(recorded["root"]), biscuit_auth.Algorithm.Ed25519)
    for vector in recorded["taken"]:
        ask(vector, root)
        yield
    ours = recorded["made_here"]
    root = biscuit_auth.PublicKey.from_bytes(bytes.fromhex(ours["root"]), biscuit_auth.Algorithm.Ed25519)
    for vector in ours["tokens"]:
        ask(vector, root)
        yield


def ask(vector, root):
    token = biscuit_auth.Biscuit.from_bytes(bytes.fromhex(vector["token"]), root)
    for *call, expected in vector["calls"]:
        if allowed(token, call) != expected:
            raise AssertionError(f"{call} is not {expected} with {vector['token']}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(shown(make(recorded)))
    else:
        print(f"{sum(1 for _ in check_file(json.loads(FILE.read_text())))} tokens: both implementations agree")
