"""Frames in clear, the payloads of the auth group, and the prologue: header.md and security.md as bytes."""

PROTOCOL = bytes([0x52, 0x43, 0x02])
FLAG_CRITICAL = 0x80
AUTH_CHALLENGE, AUTH_RESPONSE, AUTH_SUCCESS, AUTH_FAILURE, KEY_EXCHANGE, REKEY = 0x10, 0x11, 0x12, 0x13, 0x14, 0x16
# The types of that group.
AUTH_GROUP = range(0x10, 0x20)

SUITES = {
    1: "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256",
    2: "Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256",
    3: "Noise_IKhfs+psk0_25519+MLKEM768_AESGCM_SHA256",
    4: "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
    5: "Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256",
    6: "Noise_IKhfs+psk0_25519+MLKEM768_ChaChaPoly_SHA256",
    17: "Noise_XX_25519_AESGCM_SHA256",
    18: "Noise_IK_25519_AESGCM_SHA256",
    20: "Noise_XX_25519_ChaChaPoly_SHA256",
    21: "Noise_IK_25519_ChaChaPoly_SHA256",
}


ROLES = ("dialler", "acceptor")


def cipher_of(suite):
    return SUITES[suite].split("_")[3]


def frame(kind, payload):
    """A frame of the auth group: stream 0, priority 255, correlation 0, CRITICAL, no extension words."""
    head = PROTOCOL + bytes([kind, FLAG_CRITICAL, 255, 0, 0]) + bytes(4)
    return head + len(payload).to_bytes(4, "big") + bytes(4) + payload


def open_frame(data):
    """The type and the payload of the one frame that `data` is."""
    if len(data) < 20:
        raise ValueError("not a whole header")
    ext, length = data[7], int.from_bytes(data[12:16], "big")
    begin = 20 + 4 * ext
    if data[:3] != PROTOCOL or len(data) != begin + length:
        raise ValueError("not one whole frame")
    return data[3], data[begin:]


def short(data):
    """A u8 length and the bytes."""
    return bytes([len(data)]) + data


def key_exchange_head(suite, offered, protection=0, cookie=b"", ticket=b""):
    """The payload of the first KEY_EXCHANGE up to the Noise message."""
    return bytes([1, 1, protection, suite]) + short(bytes(offered)) + short(cookie) + short(ticket)


def prologue(head, binding=b""):
    return b"valkyrie 2 noise" + PROTOCOL + short(binding) + head


def challenge(reason, suite, cookie=b""):
    return bytes([reason, suite]) + short(cookie)


def success(lifetime_s, ticket=b""):
    return lifetime_s.to_bytes(4, "big") + short(ticket)
