"""The channel of security.md: key schedule, records, rekey, datagrams."""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

import wire

DATA, CONTROL, DATAGRAM, PADDED = 1, 2, 4, 0x80
RECORD_HEADER, DATAGRAM_HEADER, TAG = 5, 10, 16
BODY_LENGTHS = range(17, 65_553)


INTEGRITY, PROTOCOL = 700, 100


class Refused(Exception):
    """A connection error, with its code."""

    def __init__(self, reason, code=INTEGRITY):
        super().__init__(reason)
        self.code = code


def extract(salt, material):
    return hmac.digest(salt, material, "sha256")


def expand(secret, info, length):
    """RFC 5869; no secret here is longer than one block of SHA-256."""
    if length > hashlib.sha256().digest_size:
        raise ValueError("one block is enough for everything that the page derives")
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


class Incomplete(Exception):
    """A record that has not arrived whole."""


class Schedule:
    def __init__(self, h, k1, k2):
        self.prk = extract(h, k1 + k2)
        self.exporter = expand(self.prk, b"valkyrie 2 exporter", 32)
        self.resumption = expand(self.prk, b"valkyrie 2 resumption", 32)

    def secret(self, role, datagram=False):
        return expand(self.prk, b"valkyrie 2 " + role.encode() + (b" datagram" if datagram else b""), 32)

    def ticket_psk(self, ticket):
        return expand(self.resumption, b"ticket" + ticket, 32)


class Epoch:
    """The keys of one direction in one epoch."""

    def __init__(self, cipher, secret, number=0):
        self.cipher, self.secret, self.number = cipher, secret, number
        self.key, self.iv = expand(secret, b"key", 32), expand(secret, b"iv", 12)
        self.aead = {"AESGCM": AESGCM, "ChaChaPoly": ChaCha20Poly1305}[cipher](self.key)

    def next(self):
        return Epoch(self.cipher, expand(self.secret, b"next", 32), self.number + 1)

    def nonce(self, record):
        return bytes(a ^ b for a, b in zip(self.iv, bytes(4) + record.to_bytes(8, "big")))


def pad(plaintext, multiple):
    """0x80 and zeros up to a multiple."""
    return plaintext + b"\x80" + bytes(-(len(plaintext) + 1) % multiple)


def unpad(plaintext):
    bare = plaintext.rstrip(b"\0")
    if not bare.endswith(b"\x80"):
        raise Refused("a padded plaintext without its mark")
    return bare[:-1]


class Sealer:
    """One direction, sending: `kind` is DATA or CONTROL, PADDED added where the plaintext is padded already."""

    def __init__(self, cipher, secret):
        self.epoch, self.count = Epoch(cipher, secret), 0

    def seal(self, kind, plaintext):
        header = bytes([kind, self.epoch.number & 255]) + (len(plaintext) + TAG).to_bytes(3, "big")
        sealed = self.epoch.aead.encrypt(self.epoch.nonce(self.count), plaintext, header)
        self.count += 1
        return header + sealed

    def rekey(self):
        number = self.epoch.number + 1
        record = self.seal(CONTROL, wire.frame(wire.REKEY, number.to_bytes(4, "big")))
        self.epoch, self.count = self.epoch.next(), 0
        return record


class Opener:
    """One direction, receiving."""

    def __init__(self, cipher, secret):
        self.epoch, self.count = Epoch(cipher, secret), 0

    def open(self, data):
        """The kind, the plaintext without padding, and what follows the record."""
        if len(data) < RECORD_HEADER:
            raise Incomplete
        header, length = data[:RECORD_HEADER], int.from_bytes(data[2:5], "big")
        kind = header[0] & ~PADDED
        if kind not in (DATA, CONTROL) or header[1] != self.epoch.number & 255 or length not in BODY_LENGTHS:
            raise Refused("a header that cannot be")
        body, rest = data[RECORD_HEADER:RECORD_HEADER + length], data[RECORD_HEADER + length:]
        if len(body) < length:
            raise Incomplete
        try:
            plaintext = self.epoch.aead.decrypt(self.epoch.nonce(self.count), body, header)
        except Exception as error:
            raise Refused("a tag does not verify") from error
        self.count += 1
        if header[0] & PADDED:
            plaintext = unpad(plaintext)
        if kind == CONTROL:
            self._control(plaintext)
        return kind, plaintext, rest

    def _control(self, plaintext):
        try:
            frame_kind, payload = wire.open_frame(plaintext)
        except ValueError as error:
            raise Refused("a control record with anything but one frame", PROTOCOL) from error
        if frame_kind not in wire.AUTH_GROUP or (frame_kind == wire.REKEY and len(payload) != 4):
            raise Refused("a control record with another frame than its own", PROTOCOL)
        if frame_kind == wire.REKEY:
            if payload != (self.epoch.number + 1).to_bytes(4, "big"):
                raise Refused("a REKEY that names another epoch than the next")
            self.epoch, self.count = self.epoch.next(), 0


def seal_datagram(epoch, number, plaintext):
    header = bytes([DATAGRAM, epoch.number & 255]) + number.to_bytes(8, "big")
    return header + epoch.aead.encrypt(epoch.nonce(number), plaintext, header)


def open_datagram(epoch, data):
    header = data[:DATAGRAM_HEADER]
    if len(data) < DATAGRAM_HEADER + TAG or header[0] != DATAGRAM or header[1] != epoch.number & 255:
        raise Refused("a header that cannot be")
    number = int.from_bytes(header[2:], "big")
    try:
        return number, epoch.aead.decrypt(epoch.nonce(number), data[DATAGRAM_HEADER:], header)
    except Exception as error:
        raise Refused("a tag does not verify") from error
