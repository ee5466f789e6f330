#!/usr/bin/env python3
"""Makes the files of this folder from the published ones: trim.py FOLDER_WITH_THE_PUBLISHED_FILES

Nothing that is kept is changed. What is left out, and how fields are shared, is said in README.md.
"""

import collections
import json
import pathlib
import sys

SOURCE = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).parent


def write(name, value, rows):
    """JSON with one line for each element of `rows`, so that a change is seen as a change of lines."""
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value[rows])
    head = json.dumps({k: v for k, v in value.items() if k != rows}, separators=(",", ":"))
    head = head[:-1] + ("," if len(value) > 1 else "")
    path.write_text(f'{head}"{rows}":[\n{lines}\n]}}\n')


def noise(name):
    """Curve 25519 alone. A field that most vectors share is in `common`; a vector without it has null."""
    vectors = json.loads((SOURCE / "noise" / f"{name}.txt").read_text())["vectors"]
    vectors = [vector for vector in vectors if "_25519_" in vector["protocol_name"]]
    for vector in vectors:
        messages = vector.pop("messages")
        vector["payloads"] = [message["payload"] for message in messages]
        vector["ciphertexts"] = [message["ciphertext"] for message in messages]
    common = {}
    for key in sorted({key for vector in vectors for key in vector} - {"protocol_name", "ciphertexts"}):
        values = collections.Counter(json.dumps(vector[key]) for vector in vectors if key in vector)
        value, count = values.most_common(1)[0]
        if 2 * count > len(vectors):
            common[key] = json.loads(value)
    for vector in vectors:
        for key, value in common.items():
            if key not in vector:
                vector[key] = None
            elif vector[key] == value:
                del vector[key]
    write(f"noise/{name}.json", {"common": common, "vectors": vectors}, "vectors")


def wycheproof(name, fields, keep_group=lambda group: True, keep_test=lambda test: True):
    """The fields of a group stand in each of its tests, and only the fields that a test of this crate reads."""
    published = json.loads((SOURCE / "wycheproof" / f"{name}.json").read_text())
    tests = [
        {key: {**group, **test}[key] for key in ["tcId", *fields, "result"] if key in group or key in test}
        for group in published["testGroups"]
        if keep_group(group)
        for test in group["tests"]
        if keep_test(test)
    ]
    write(f"wycheproof/{name}.json", {"algorithm": published["algorithm"], "tests": tests}, "tests")


def acvp(name, source, fields, keep):
    """ML-KEM-768. A field of a group stands in the first of its tests alone."""
    published = json.loads((SOURCE / "acvp" / f"{source}.json").read_text())
    tests = [
        {key: {**group, **test}[key] for key in ["tcId", *fields] if key in test or key in group and not n}
        for group in published["testGroups"]
        if group["parameterSet"] == "ML-KEM-768"
        for n, test in enumerate(group["tests"])
        if keep(group, n)
    ]
    write(f"acvp/{name}.json", {"tests": tests}, "tests")


noise("cacophony")
noise("snow")
wycheproof("x25519_test", ["public", "private", "shared"])
aead = ["key", "iv", "aad", "msg", "ct", "tag"]
wycheproof("aes_gcm_test", aead, lambda group: group["keySize"] == 256 and group["ivSize"] == 96)
wycheproof("chacha20_poly1305_test", aead, lambda group: group["ivSize"] == 96)
wycheproof("ed25519_test", ["publicKey", "msg", "sig"], lambda group: group.update(publicKey=group["publicKey"]["pk"]) is None)
wycheproof("hkdf_sha256_test", ["ikm", "salt", "info", "size", "okm"])
wycheproof("mlkem_768_encaps_test", ["ek"], keep_test=lambda test: test["result"] == "invalid" or test["tcId"] % 10 == 0)
wycheproof("mlkem_768_test", ["seed", "c", "K"], keep_test=lambda test: test["result"] == "invalid" or test["tcId"] % 5 == 0)
wycheproof("mlkem_768_keygen_seed_test", ["seed", "ek", "dk"], keep_test=lambda test: test["tcId"] % 10 == 0)
wycheproof("mlkem_768_semi_expanded_decaps_test", ["dk", "c", "K"])
# All ciphertexts of the one key that has ten, and every fifth of the others.
acvp("ml-kem-768-decapsulation", "ml-kem-encap-decap", ["reason", "dk", "c", "k"], lambda group, n: "dk" in group or n % 5 == 0)
acvp("ml-kem-768-encapsulation", "ml-kem-encap-decap", ["ek", "m", "c", "k"], lambda group, n: group["function"] == "encapsulation")
acvp("ml-kem-768-key-generation", "ml-kem-key-gen", ["d", "z", "ek", "dk"], lambda group, n: True)
