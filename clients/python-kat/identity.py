"""Identity documents, fingerprints, proofs and credentials of security.md."""

import base64
import hashlib
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

from wire import short

STATIC, ED25519, ML_DSA_65 = 1, 2, 3
KEY_LENGTHS = {STATIC: 32, ED25519: 32, ML_DSA_65: 1952}
SIGNATURE_LENGTHS = {1: 64, 2: 3309}
# The purpose of the key that makes the signatures of an algorithm.
PURPOSE_OF = {1: ED25519, 2: ML_DSA_65}
IDENTITY, PROOF, TOKEN, SVID = 1, 2, 3, 4
# The end of the year 9999.
LATEST = 253_402_300_799
ROLES = {"dialler": 1, "acceptor": 2}
TOKEN_TEXT = re.compile("[A-Za-z0-9][A-Za-z0-9._:/-]*", re.ASCII)
CREDENTIALS_MAX = 16_384


class Refused(Exception):
    """What a receiver refuses."""


def u16(number):
    return number.to_bytes(2, "big")


def fingerprint(keys):
    """Of (purpose, key) pairs; those that do not sign are left out."""
    signing = sorted((purpose, key) for purpose, key in keys if purpose != STATIC)
    listed = b"".join(bytes([purpose]) + u16(len(key)) + key for purpose, key in signing)
    return hashlib.sha256(b"valkyrie 2 fingerprint\0" + listed).digest()


def fingerprint_text(value):
    return "SHA256:" + base64.b64encode(value).decode().rstrip("=")


def encode(document):
    """The document up to its signatures."""
    def text(value):
        return short(value.encode())

    out = bytes([1, document["kind"]])
    out += b"".join(document[name].to_bytes(8, "big") for name in ("serial", "not_before", "not_after"))
    out += text(document["name"])
    out += bytes([len(document["roles"])]) + b"".join(map(text, document["roles"]))
    out += bytes([len(document["labels"])])
    out += b"".join(text(name) + text(value) for name, value in document["labels"])
    out += bytes([len(document["keys"])])
    out += b"".join(bytes([purpose]) + u16(len(key)) + key for purpose, key in document["keys"])
    return out + document["issuer"]


def signed_bytes(body):
    return b"valkyrie 2 identity\0" + body


def add_signatures(body, signatures):
    """`signatures` are (algorithm, bytes) pairs."""
    listed = b"".join(bytes([algorithm]) + u16(len(value)) + value for algorithm, value in signatures)
    return body + bytes([len(signatures)]) + listed


def unprintable(c):
    """Control characters, separators of lines and paragraphs, and what changes the direction of writing."""
    control = c < 0x20 or 0x7F <= c < 0xA0
    return control or c in (0x200E, 0x200F) or 0x2028 <= c <= 0x202E or 0x2066 <= c <= 0x2069


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        piece = self.data[self.at:self.at + count]
        if len(piece) < count:
            raise Refused("truncated")
        self.at += count
        return piece

    def uint(self, count):
        return int.from_bytes(self.take(count), "big")

    def text(self, least, most):
        length = self.uint(1)
        if not least <= length <= most:
            raise Refused("text too short or too long")
        try:
            value = self.take(length).decode()
        except UnicodeDecodeError as error:
            raise Refused("text is not UTF-8") from error
        if value != value.strip() or any(unprintable(ord(c)) for c in value):
            raise Refused("text that people would not read as it is")
        return value

    def token(self):
        """A role, or the name of a label."""
        value = self.text(1, 64)
        if not TOKEN_TEXT.fullmatch(value):
            raise Refused("a role or a label name of other characters")
        return value

    def count(self, least, most):
        number = self.uint(1)
        if not least <= number <= most:
            raise Refused("too few or too many")
        return number


def ascending(names):
    encoded = [name.encode() for name in names]
    if any(a >= b for a, b in zip(encoded, encoded[1:])):
        raise Refused("not in ascending order, each once")


def parse(data):
    """The document and its signatures, each rule of the page checked but the signatures themselves."""
    reader = Reader(data)
    if reader.uint(1) != 1:
        raise Refused("version")
    document = {"kind": reader.uint(1)}
    if document["kind"] not in (1, 2):
        raise Refused("kind")
    for name in ("serial", "not_before", "not_after"):
        document[name] = reader.uint(8)
    if document["not_before"] >= document["not_after"] or document["not_after"] > LATEST:
        raise Refused("good at no time")
    document["name"] = reader.text(1, 200)
    document["roles"] = [reader.token() for _ in range(reader.count(0, 16))]
    ascending(document["roles"])
    document["labels"] = [(reader.token(), reader.text(0, 200)) for _ in range(reader.count(0, 16))]
    ascending([name for name, _ in document["labels"]])
    keys = []
    for _ in range(reader.count(1, 8)):
        purpose, length = reader.uint(1), reader.uint(2)
        if KEY_LENGTHS.get(purpose) != length:
            raise Refused("a key of unknown purpose or another length")
        keys.append((purpose, reader.take(length)))
    document["keys"] = keys
    purposes = [purpose for purpose, _ in keys]
    if purposes != sorted(purposes) or len(set(keys)) != len(keys):
        raise Refused("keys not in ascending order of purpose, each once")
    count = {purpose: sum(1 for key in keys if key[0] == purpose) for purpose in KEY_LENGTHS}
    if count[ED25519] > 1 or count[ML_DSA_65] > 1 or count[ED25519] + count[ML_DSA_65] == 0:
        raise Refused("signing keys")
    if count[STATIC] not in (range(1, 5) if document["kind"] == 1 else range(0, 1)):
        raise Refused("static keys")
    document["issuer"] = reader.take(32)
    body = data[:reader.at]
    signatures = []
    for _ in range(reader.count(1, 2)):
        algorithm, length = reader.uint(1), reader.uint(2)
        if SIGNATURE_LENGTHS.get(algorithm) != length:
            raise Refused("a signature of unknown algorithm or another length")
        signatures.append((algorithm, reader.take(length)))
    if reader.at != len(data):
        raise Refused("something follows")
    if [algorithm for algorithm, _ in signatures] != sorted({algorithm for algorithm, _ in signatures}):
        raise Refused("signatures not in ascending order, each once")
    return document, body, signatures


def verify_signature(algorithm, key, signature, message):
    key = {1: Ed25519PublicKey, 2: MLDSA65PublicKey}[algorithm].from_public_bytes(key)
    try:
        key.verify(signature, message)
    except Exception as error:
        raise Refused("a signature does not verify") from error


def verify(data, issuer_keys=None):
    """Checks the signatures against the issuer's (purpose, key) pairs; None for a self-signed document."""
    document, body, signatures = parse(data)
    if issuer_keys is None:
        issuer_keys = document["keys"]
    if fingerprint(issuer_keys) != document["issuer"]:
        raise Refused("another issuer")
    signing = {purpose: key for purpose, key in issuer_keys if purpose != STATIC}
    if sorted(signing) != [PURPOSE_OF[algorithm] for algorithm, _ in signatures]:
        raise Refused("not signed by every key of the issuer and nobody else")
    for algorithm, signature in signatures:
        verify_signature(algorithm, signing[PURPOSE_OF[algorithm]], signature, signed_bytes(body))
    return document


def sign_ed25519(private, message):
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


def proof_bytes(role, h):
    return b"valkyrie 2 proof\0" + bytes([ROLES[role]]) + h


def credentials(items):
    """The payload of AUTH_RESPONSE, of (type, value) pairs."""
    return b"".join(bytes([kind]) + u16(len(value)) + value for kind, value in items)


def parse_credentials(data):
    if len(data) > CREDENTIALS_MAX:
        raise Refused("too long")
    reader, items = Reader(data), {}
    while reader.at < len(data):
        kind = reader.uint(1)
        if kind in items:
            raise Refused("twice")
        items[kind] = reader.take(reader.uint(2))
    if PROOF in items and not items[PROOF]:
        raise Refused("a proof without its algorithm")
    if IDENTITY in items and SVID in items:
        raise Refused("an identity and an svid together")
    return items


def parse_svid(value):
    reader, certificates = Reader(value), []
    while reader.at < len(value):
        certificates.append(reader.take(reader.uint(3)))
    if not certificates:
        raise Refused("an svid without certificates")
    return certificates


def encode_svid(certificates):
    return b"".join(len(der).to_bytes(3, "big") + der for der in certificates)
