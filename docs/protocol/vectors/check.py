#!/usr/bin/env python3
"""Decodes the vectors with a decoder written from header.md, types.md and extensions.md alone.

It shares nothing with generate.py or any implementation. Run it without arguments; it prints how
many vectors hold and fails at the first that does not. Other files may be named:
`check.py VALID INVALID`.
"""

import json
import pathlib
import sys

LENGTH_MAX = 67_108_864
GREASE_TYPES = {0x6A, 0x7A, 0x8A, 0x9A, 0xAA, 0xBA, 0xCA, 0xDA, 0xEA, 0xFA}
EXTENSION_NAMES = {
    1: "trace_context", 2: "trace_state", 3: "deadline", 4: "idempotency_key",
    5: "sent_at", 6: "sent_at_echo", 7: "route",
}
# The lengths that a known type may have; the route has rules of its own.
EXTENSION_LENGTHS = {
    1: range(26, 27), 2: range(1, 256), 3: range(4, 5), 4: range(16, 17), 5: range(8, 9), 6: range(8, 9),
}


class Refused(Exception):
    pass


class Incomplete(Exception):
    pass


def uint(data):
    return int.from_bytes(data, "big")


def decode_header(data):
    if data[:2] != b"RC"[:len(data)]:
        raise Refused("magic")
    if len(data) > 2 and data[2] != 2:
        raise Refused("version")
    if len(data) < 20:
        raise Incomplete
    header = {
        "magic": uint(data[0:2]), "version": data[2], "type": data[3], "flags": data[4], "priority": data[5],
        "trace": data[6], "ext": data[7], "stream_id": uint(data[8:12]), "length": uint(data[12:16]),
        "correlation": uint(data[16:20]),
    }
    if header["type"] > 0x4F and header["type"] not in GREASE_TYPES:
        raise Refused("type")
    if header["length"] > LENGTH_MAX:
        raise Refused("length")
    if header["flags"] & 0x10 and header["ext"] == 0:
        raise Refused("timestamp_missing")
    if header["flags"] & 0x0A == 0x0A:
        raise Refused("more_after_end")
    return header


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("utf8") from None


def decode_known(kind, value):
    if kind == 7:
        if not value or value[0] == 0 or value[0] > 200 or 1 + value[0] >= len(value):
            raise Refused("ext_length")
        return {"service": utf8(value[1:1 + value[0]]), "method": utf8(value[1 + value[0]:])}
    if len(value) not in EXTENSION_LENGTHS[kind]:
        raise Refused("ext_length")
    if kind == 3:
        return {"ms": uint(value)}
    if kind in (5, 6):
        return {"ns": str(uint(value))}
    return {}


def decode_extensions(area, timestamped):
    found, last = [], 0
    if timestamped:
        found.append({"name": "timestamp", "unix_seconds": uint(area[:4])})
        area = area[4:]
    while area:
        if len(area) < 2 or len(area) < 2 + area[1]:
            raise Refused("truncated")
        kind, must, end = area[0] & 0x7F, area[0] >= 0x80, 2 + area[1]
        padded = (end + 3) // 4 * 4
        if padded > len(area):
            raise Refused("truncated")
        value, padding, area = area[2:end], area[end:padded], area[padded:]
        if any(padding):
            raise Refused("padding")
        if kind <= last:
            raise Refused("order")
        last = kind
        fields = decode_known(kind, value) if kind in EXTENSION_NAMES else {}
        if must and kind not in EXTENSION_NAMES:
            raise Refused("not_understood")
        entry = {"type": kind, "must_understand": must, "name": EXTENSION_NAMES.get(kind, "unknown"),
                 "value_hex": value.hex()}
        found.append(entry | fields)
    return found


def decode_frame(data):
    """Header, extensions, payload, and what follows the frame."""
    header = decode_header(data)
    start = 20 + 4 * header["ext"]
    end = start + header["length"]
    if len(data) < end:
        raise Incomplete
    return header, decode_extensions(data[20:start], bool(header["flags"] & 0x10)), data[start:end], data[end:]


def encode_frame(vector):
    """The other direction: bytes from the fields alone."""
    header = vector["header"]
    raw = header["magic"].to_bytes(2, "big")
    for name in ("version", "type", "flags", "priority", "trace", "ext"):
        raw += bytes([header[name]])
    for name in ("stream_id", "length", "correlation"):
        raw += header[name].to_bytes(4, "big")
    for entry in vector["extensions"]:
        if entry["name"] == "timestamp":
            raw += entry["unix_seconds"].to_bytes(4, "big")
            continue
        value = bytes.fromhex(entry["value_hex"])
        raw += bytes([entry["type"] + (128 if entry["must_understand"] else 0), len(value)]) + value
        raw += bytes((4 - len(raw) % 4) % 4)
    return raw + bytes.fromhex(vector["payload_hex"])


def check_valid(vector):
    data = bytes.fromhex(vector["hex"])
    if vector.get("header_only"):
        header, extensions, payload, rest = decode_header(data), [], b"", data[20:]
    else:
        header, extensions, payload, rest = decode_frame(data)
        for end in range(len(data)):
            try:
                decode_frame(data[:end])
            except Incomplete:
                continue
            raise AssertionError(f"complete after {end} of {len(data)} bytes")
    assert rest == b"", "bytes are left"
    assert header == vector["header"], header
    assert extensions == vector["extensions"], extensions
    assert payload.hex() == vector["payload_hex"], payload
    assert encode_frame(vector) == data, "encoded again it is another frame"


def check_invalid(vector):
    try:
        decode_frame(bytes.fromhex(vector["hex"]))
    except Refused as refused:
        assert str(refused) == vector["error"], f"refused as {refused}, not as {vector['error']}"
    else:
        raise AssertionError("taken")


def main():
    here = pathlib.Path(__file__).parent
    paths = sys.argv[1:] or [here / "valid.json", here / "invalid.json"]
    for path, check in zip(paths, (check_valid, check_invalid), strict=True):
        vectors = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        for vector in vectors:
            try:
                check(vector)
            except (AssertionError, Refused, Incomplete) as fault:
                sys.exit(f"{path}: {vector['name']}: {fault!r}")
        print(f"{path}: {len(vectors)} vectors hold")


main()
