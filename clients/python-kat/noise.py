"""Noise handshakes: XX, IK and IKpsk0, each plain or with hybrid forward secrecy (hfs), over fixed inputs.

Written from the Noise Protocol Framework, revision 34, and its hfs extension, revision 1. Nothing is random here: every
key and every seed is handed in, so that a handshake can be computed again byte for byte.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from kyber_py.ml_kem import ML_KEM_768

KEY_BYTES = 32
TAG_BYTES = 16
EK_BYTES = 1184
CT_BYTES = 1088

# The messages of each pattern in Noise's own notation; a word before the first message is known beforehand.
PATTERNS = {
    "XX": {"pre": [], "messages": [["e"], ["e", "ee", "s", "es"], ["s", "se"]]},
    "IK": {"pre": ["acceptor"], "messages": [["e", "es", "s", "ss"], ["e", "ee", "se"]]},
    "XXhfs": {"pre": [], "messages": [["e", "e1"], ["e", "ee", "ekem1", "s", "es"], ["s", "se"]]},
    "IKhfs": {"pre": ["acceptor"], "messages": [["e", "es", "e1", "s", "ss"], ["e", "ee", "ekem1", "se"]]},
    "IKhfs+psk0": {
        "pre": ["acceptor"],
        "messages": [["psk", "e", "es", "e1", "s", "ss"], ["e", "ee", "ekem1", "se"]],
    },
}


class Refused(Exception):
    """What a peer MUST refuse."""


def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def dh(private, peer):
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError as error:
        raise Refused("the X25519 result is all zeros") from error


def hkdf(chaining_key, material, outputs):
    """The HKDF of Noise: 2 or 3 outputs of 32 bytes."""
    secret = hmac.digest(chaining_key, material, "sha256")
    blocks, block = [], b""
    for index in range(1, outputs + 1):
        block = hmac.digest(secret, block + bytes([index]), "sha256")
        blocks.append(block)
    return blocks


class CipherState:
    """A key and a counter; without a key it passes bytes through, as the framework says."""

    def __init__(self, cipher, key=None):
        self.cipher, self.key, self.counter = cipher, key, 0

    def _nonce(self):
        order = {"AESGCM": "big", "ChaChaPoly": "little"}[self.cipher]
        nonce = bytes(4) + self.counter.to_bytes(8, order)
        self.counter += 1
        return nonce

    def _aead(self):
        return {"AESGCM": AESGCM, "ChaChaPoly": ChaCha20Poly1305}[self.cipher](self.key)

    def encrypt(self, associated, plaintext):
        if self.key is None:
            return plaintext
        return self._aead().encrypt(self._nonce(), plaintext, associated)

    def decrypt(self, associated, ciphertext):
        if self.key is None:
            return ciphertext
        try:
            return self._aead().decrypt(self._nonce(), ciphertext, associated)
        except Exception as error:
            raise Refused("a tag does not verify") from error


class SymmetricState:
    def __init__(self, name, cipher):
        name = name.encode()
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.ck = self.h
        self.cipher = CipherState(cipher)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, material):
        self.ck, key = hkdf(self.ck, material, 2)
        self.cipher = CipherState(self.cipher.cipher, key)

    def mix_key_and_hash(self, material):
        self.ck, extra, key = hkdf(self.ck, material, 3)
        self.mix_hash(extra)
        self.cipher = CipherState(self.cipher.cipher, key)

    def encrypt_and_hash(self, plaintext):
        ciphertext = self.cipher.encrypt(self.h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext):
        plaintext = self.cipher.decrypt(self.h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self):
        return hkdf(self.ck, b"", 2)


class Handshake:
    """One side of a handshake.

    `static` and `ephemeral` are private keys; the dialler's `kem` is the seed d ‖ z of its key pair, the acceptor's the
    randomness m of its encapsulation.
    """

    def __init__(self, name, dialler, static, ephemeral, kem=None, peer_static=None, psk=None, prologue=b""):
        _, pattern, _, cipher, _ = name.split("_")
        self.pattern, self.dialler = PATTERNS[pattern], dialler
        self.static, self.ephemeral, self.kem, self.psk = static, ephemeral, kem, psk
        self.peer_static, self.peer_ephemeral, self.peer_ek = peer_static, None, None
        self.step = 0
        self.state = SymmetricState(name, cipher)
        self.state.mix_hash(prologue)
        if self.pattern["pre"]:
            self.state.mix_hash(peer_static if dialler else public(static))
        has_psk = any("psk" in message for message in self.pattern["messages"])
        if has_psk != (psk is not None):
            raise ValueError("a PSK is given exactly where the pattern has one")
        self.has_psk = has_psk
        if dialler and kem is not None:
            self.ek, self.dk = ML_KEM_768._keygen_internal(kem[:32], kem[32:])

    def _mix_dh(self, token):
        mine_is_static = token[0 if self.dialler else 1] == "s"
        peers_is_static = token[1 if self.dialler else 0] == "s"
        mine = self.static if mine_is_static else self.ephemeral
        peers = self.peer_static if peers_is_static else self.peer_ephemeral
        self.state.mix_key(dh(mine, peers))

    def write(self, payload=b""):
        state, out = self.state, b""
        for token in self.pattern["messages"][self.step]:
            if token == "e":
                key = public(self.ephemeral)
                out += key
                state.mix_hash(key)
                if self.has_psk:
                    state.mix_key(key)
            elif token == "s":
                out += state.encrypt_and_hash(public(self.static))
            elif token == "psk":
                state.mix_key_and_hash(self.psk)
            elif token == "e1":
                out += state.encrypt_and_hash(self.ek)
            elif token == "ekem1":
                secret, ciphertext = encapsulate(self.peer_ek, self.kem)
                out += state.encrypt_and_hash(ciphertext)
                state.mix_key(secret)
            else:
                self._mix_dh(token)
        self.step += 1
        return out + state.encrypt_and_hash(payload)

    def read(self, message):
        state = self.state

        def take(count, sealed):
            nonlocal message
            count += TAG_BYTES if sealed and state.cipher.key is not None else 0
            if len(message) < count:
                raise Refused("a message is too short")
            head, message = message[:count], message[count:]
            return head

        for token in self.pattern["messages"][self.step]:
            if token == "e":
                self.peer_ephemeral = take(KEY_BYTES, sealed=False)
                state.mix_hash(self.peer_ephemeral)
                if self.has_psk:
                    state.mix_key(self.peer_ephemeral)
            elif token == "s":
                self.peer_static = state.decrypt_and_hash(take(KEY_BYTES, sealed=True))
            elif token == "psk":
                state.mix_key_and_hash(self.psk)
            elif token == "e1":
                self.peer_ek = state.decrypt_and_hash(take(EK_BYTES, sealed=True))
                check_modulus(self.peer_ek)
            elif token == "ekem1":
                ciphertext = state.decrypt_and_hash(take(CT_BYTES, sealed=True))
                state.mix_key(ML_KEM_768.decaps(self.dk, ciphertext))
            else:
                self._mix_dh(token)
        self.step += 1
        return state.decrypt_and_hash(message)

    def finished(self):
        return self.step == len(self.pattern["messages"])

    def hash(self):
        if not self.finished():
            raise ValueError("the handshake is not finished")
        return self.state.h

    def split(self):
        if not self.finished():
            raise ValueError("the handshake is not finished")
        return self.state.split()


def encapsulate(ek, m):
    check_modulus(ek)
    return ML_KEM_768._encaps_internal(ek, m)


def check_modulus(ek):
    """FIPS 203, section 7.2: every 12-bit number of the key is below q."""
    if len(ek) != EK_BYTES:
        raise Refused("an encapsulation key of another length")
    for offset in range(0, EK_BYTES - 32, 3):
        a, b, c = ek[offset:offset + 3]
        if (a | (b & 15) << 8) >= 3329 or (b >> 4 | c << 4) >= 3329:
            raise Refused("an encapsulation key that fails the modulus check")
