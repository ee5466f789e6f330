"""identity.json: documents made again from their seeds, read, and refused; fingerprints, proofs, credentials."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

import identity
from check_handshake import equal, unhex
from identity import ED25519, ML_DSA_65, STATIC


def check(file):
    known = {"documents", "forged", "refused", "proofs", "credentials", "credentials_refused"}
    equal(sorted(file.keys() ^ known), [], "lists that nothing checks, or that are missing")
    for vector in file["documents"]:
        document(vector)
        yield vector["name"]
    for vector in file["forged"]:
        data, issuer = unhex(vector, "document", "issuer_document")
        identity.parse(data)
        issuer_keys = identity.parse(issuer)[0]["keys"]
        refused(vector["name"], lambda: identity.verify(data, issuer_keys))
        yield vector["name"]
    for vector in file["refused"]:
        refused(vector["name"], lambda: identity.parse(bytes.fromhex(vector["document"])))
        yield vector["name"]
    for vector in file["proofs"]:
        proof(vector)
        yield vector["name"]
    for vector in file["credentials"]:
        credentials(vector)
        yield vector["name"]
    for vector in file["credentials_refused"]:
        refused(vector["name"], lambda: read_credentials(bytes.fromhex(vector["payload"])))
        yield vector["name"]


def refused(name, read):
    try:
        read()
    except identity.Refused:
        return
    raise AssertionError(f"{name}: is not refused")


def signing_keys(ed25519_seed, ml_dsa_65_seed):
    """The signers of two seeds in hexadecimal, by algorithm; an empty one is not there."""
    makers = {1: (Ed25519PrivateKey.from_private_bytes, ed25519_seed),
              2: (MLDSA65PrivateKey.from_seed_bytes, ml_dsa_65_seed)}
    return {algorithm: make(bytes.fromhex(seed)) for algorithm, (make, seed) in makers.items() if seed}


def public_keys(signers):
    return [(identity.PURPOSE_OF[algorithm], key.public_key().public_bytes_raw())
            for algorithm, key in signers.items()]


def document(vector):
    data, = unhex(vector, "document")
    own = public_keys(signing_keys(vector["ed25519_seed"], vector["ml_dsa_65_seed"]))
    issuers = signing_keys(vector["issuer_ed25519_seed"], vector["issuer_ml_dsa_65_seed"])
    equal({purpose: key.hex() for purpose, key in own},
          {purpose: vector[name] for purpose, name in ((ED25519, "ed25519_key"), (ML_DSA_65, "ml_dsa_65_key"))
           if vector[name]}, "signing keys")
    issuer = identity.fingerprint(public_keys(issuers))
    equal(identity.fingerprint_text(identity.fingerprint(own)), vector["fingerprint"], "fingerprint")
    equal(identity.fingerprint_text(issuer), vector["issuer"], "issuer")
    fields = {
        "kind": vector["kind"], "serial": vector["serial"], "not_before": vector["not_before"],
        "not_after": vector["not_after"], "name": vector["document_name"], "roles": vector["roles"],
        "labels": [tuple(label) for label in vector["labels"]],
        "keys": [(STATIC, bytes.fromhex(key)) for key in vector["static_keys"]] + own, "issuer": issuer,
    }
    read, body, signatures = identity.parse(data)
    equal(read, fields, "what the document says")
    equal(identity.encode(fields), body.hex(), "the document up to its signatures")
    equal(identity.add_signatures(body, signatures), data.hex(), "the document with its signatures")
    equal([algorithm for algorithm, _ in signatures], sorted(issuers), "algorithms")
    if 1 in issuers:
        equal(issuers[1].sign(identity.signed_bytes(body)), signatures[0][1].hex(), "Ed25519 signature")
    identity.verify(data, public_keys(issuers))
    if vector["issuer"] == vector["fingerprint"]:
        identity.verify(data)


def proof(vector):
    key, h, signature = unhex(vector, "key", "handshake_hash", "signature")
    message = identity.proof_bytes(vector["role"], h)
    equal(message, vector["input"], "what is signed")
    identity.verify_signature(vector["algorithm"], key, signature, message)
    other = {"dialler": "acceptor", "acceptor": "dialler"}[vector["role"]]
    refused(vector["name"], lambda: identity.verify_signature(
        vector["algorithm"], key, signature, identity.proof_bytes(other, h)))


def read_credentials(payload):
    """The items that this version knows, as the file names them."""
    items, said = identity.parse_credentials(payload), {}
    if identity.IDENTITY in items:
        said["identity"] = items[identity.IDENTITY].hex()
    if identity.PROOF in items:
        said["proof_algorithm"], said["proof_signature"] = items[identity.PROOF][0], items[identity.PROOF][1:].hex()
    if identity.TOKEN in items:
        said["token"] = items[identity.TOKEN].hex()
    if identity.SVID in items:
        said["svid"] = [der.hex() for der in identity.parse_svid(items[identity.SVID])]
    return said


def credentials(vector):
    payload, = unhex(vector, "payload")
    said = read_credentials(payload)
    equal(said, vector["items"], "items")
    known = []
    if "identity" in said:
        known.append((identity.IDENTITY, bytes.fromhex(said["identity"])))
    if "proof_algorithm" in said:
        known.append((identity.PROOF, bytes([said["proof_algorithm"]]) + bytes.fromhex(said["proof_signature"])))
    if "token" in said:
        known.append((identity.TOKEN, bytes.fromhex(said["token"])))
    if "svid" in said:
        known.append((identity.SVID, identity.encode_svid([bytes.fromhex(der) for der in said["svid"]])))
    if all(kind in range(1, 5) for kind in identity.parse_credentials(payload)):
        equal(identity.credentials(known), vector["payload"], "payload")
