#!/usr/bin/env python3
"""Writes valid.json and invalid.json.

An encoder of its own, written from the pages beside it and not from any implementation, so that
an implementation has something to be compared with. `generate.py --check` writes nothing and
fails when the files differ from what it would write.
"""

import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
LIMIT = 64 * 1024 * 1024
ACK, EOS, CMP, MORE, TS, BEST_EFFORT, NO_REPLY, CRITICAL = (1 << bit for bit in range(8))

TYPES = {
    "HELLO": 0x00, "HELLO_ACK": 0x01, "PING": 0x02, "PONG": 0x03, "ERROR": 0x04, "CLOSE": 0x05,
    "UPGRADE": 0x06, "NEGOTIATE": 0x07, "DRAIN": 0x08, "RESUME": 0x09, "RESUME_ACK": 0x0A, "CREDIT": 0x0B,
    "AUTH_CHALLENGE": 0x10, "AUTH_RESPONSE": 0x11, "AUTH_SUCCESS": 0x12, "AUTH_FAILURE": 0x13,
    "KEY_EXCHANGE": 0x14, "CERT_REQUEST": 0x15, "REKEY": 0x16,
    "JOB_REQUEST": 0x20, "JOB_ACCEPT": 0x21, "JOB_REJECT": 0x22, "JOB_START": 0x23, "JOB_PROGRESS": 0x24,
    "JOB_COMPLETE": 0x25, "JOB_FAILED": 0x26, "JOB_CANCEL": 0x27, "JOB_MIGRATE": 0x28, "JOB_PAUSE": 0x29,
    "JOB_RESUME": 0x2A, "JOB_LEASE": 0x2B,
    "OPEN": 0x30, "DATA": 0x31, "STREAM_CLOSE": 0x32, "STREAM_ACK": 0x33, "RESET": 0x34, "FILE_START": 0x35,
    "FILE_CHUNK": 0x36, "FILE_END": 0x37, "REQUEST": 0x38, "RESPONSE": 0x39, "NOTIFY": 0x3A, "PUBLISH": 0x3B,
    "SUBSCRIBE": 0x3C, "UNSUBSCRIBE": 0x3D,
    "METRICS": 0x40, "LOG": 0x41, "SPAN": 0x42, "HEALTH": 0x43, "STATUS": 0x44, "ALERT": 0x45,
}
GREASE_TYPES = [0x6A, 0x7A, 0x8A, 0x9A, 0xAA, 0xBA, 0xCA, 0xDA, 0xEA, 0xFA]
GREASE_EXTENSIONS = [0x1A, 0x2A, 0x3A, 0x4A, 0x5A, 0x6A, 0x7A]


# Extensions. Each function gives (what the vector says, the bytes on the wire).

def tlv(kind, value, padding=0):
    raw = bytes([kind, len(value)]) + value
    return raw + bytes([padding]) * (-len(raw) % 4)


def value(kind, name, raw, **fields):
    says = {"type": kind & 0x7F, "must_understand": kind >= 0x80, "name": name, "value_hex": raw.hex()}
    return says | fields, tlv(kind, raw)


def timestamp(seconds):
    return {"name": "timestamp", "unix_seconds": seconds}, struct.pack(">I", seconds)


def trace_context(kind=0x01):
    raw = bytes.fromhex("00" "4bf92f3577b34da6a3ce929d0e0e4736" "00f067aa0ba902b7" "01")
    return value(kind, "trace_context", raw)


def trace_state(raw, kind=0x02):
    return value(kind, "trace_state", raw)


def deadline(ms, kind=0x03):
    return value(kind, "deadline", struct.pack(">I", ms), ms=ms)


def idempotency_key(raw=bytes(range(16)), kind=0x04):
    return value(kind, "idempotency_key", raw)


# A u64 is written as text: many readers of JSON keep numbers in 53 bits.
def sent_at(ns, kind=0x05):
    return value(kind, "sent_at", struct.pack(">Q", ns), ns=str(ns))


def sent_at_echo(ns, kind=0x06):
    return value(kind, "sent_at_echo", struct.pack(">Q", ns), ns=str(ns))


def route(service, method, kind=0x87):
    raw = bytes([len(service.encode())]) + service.encode() + method.encode()
    return value(kind, "route", raw, service=service, method=method)


def unknown(kind, raw):
    return value(kind, "unknown", raw)


# Frames.

def head(type=0x31, flags=0, priority=74, trace=0, ext=0, stream=1001, length=0, correlation=0,
         magic=0x5243, version=2):
    return struct.pack(">HBBBBBBIII", magic, version, type, flags, priority, trace, ext, stream, length, correlation)


valid, invalid = [], []


def good(name, extensions=(), payload=b"", length=None, **fields):
    area = b"".join(raw for _, raw in extensions)
    assert len(area) % 4 == 0 and len(area) <= 1020
    if extensions and extensions[0][0]["name"] == "timestamp":
        fields["flags"] = fields.get("flags", 0) | TS
    words = len(area) // 4
    announced = len(payload) if length is None else length
    raw = head(ext=words, length=announced, **fields) + area + payload
    magic, version, kind, flags, priority, trace, ext, stream, length_field, correlation = struct.unpack(
        ">HBBBBBBIII", raw[:20])
    vector = {
        "name": name,
        "hex": raw.hex(),
        "header": {
            "magic": magic, "version": version, "type": kind, "flags": flags, "priority": priority,
            "trace": trace, "ext": ext, "stream_id": stream, "length": length_field, "correlation": correlation,
        },
        "extensions": [says for says, _ in extensions],
        "payload_hex": payload.hex(),
    }
    if length is not None:
        vector["header_only"] = True
    valid.append(vector)


def bad(name, raw, error):
    invalid.append({"name": name, "hex": raw.hex(), "error": error})


def bad_area(name, area, error, flags=0, payload=b""):
    assert len(area) % 4 == 0
    bad(name, head(ext=len(area) // 4, flags=flags, length=len(payload)) + area + payload, error)


def make_valid():
    good("the 20-byte header", type=TYPES["PING"], stream=0, priority=255, correlation=7)
    good("the 24-byte header with its timestamp", [timestamp(1_700_000_000)], type=TYPES["PING"], stream=0,
         priority=255, correlation=7)
    good("the example of header.md", type=TYPES["PING"], stream=0, priority=255, correlation=7, payload=b"hi")
    good("the example of extensions.md", [timestamp(1_700_000_000), deadline(1500)], type=TYPES["REQUEST"])
    good("every field at its lowest", type=0, flags=0, priority=0, trace=0, stream=0, correlation=0)
    good("every field at its highest that fits", [timestamp(0xFFFFFFFF)], type=0x45, flags=0xFF & ~MORE,
         priority=255, trace=255, stream=0xFFFFFFFF, correlation=0xFFFFFFFF)
    good("bytes in the right order", type=TYPES["DATA"], trace=0x9C, stream=0x01020304, correlation=0x05060708,
         payload=bytes(range(256)))
    good("the greatest length, header alone", length=LIMIT)
    good("one byte less than the greatest length, header alone", length=LIMIT - 1)

    for name, kind in TYPES.items():
        stream, priority = {0: (0, 255), 1: (0, 255), 2: (101, 149), 3: (1001, 74), 4: (10001, 25)}[kind >> 4]
        good(f"type {name}", type=kind, stream=stream, priority=priority, correlation=kind + 1, payload=name.encode())
    for kind in (0x0C, 0x17, 0x2C, 0x3E, 0x4F):
        good(f"unassigned type {kind:#04x}", type=kind, payload=b"later")
    good("unassigned type with CRITICAL, whole as a frame", type=0x4E, flags=CRITICAL)
    for kind in GREASE_TYPES:
        good(f"GREASE type {kind:#04x}", type=kind, stream=0, priority=255, payload=bytes([kind] * (kind % 5)))

    for name, flag in [("ACK", ACK), ("EOS", EOS), ("CMP", CMP), ("MORE", MORE), ("BEST_EFFORT", BEST_EFFORT),
                       ("NO_REPLY", NO_REPLY), ("CRITICAL", CRITICAL)]:
        good(f"flag {name}", flags=flag, payload=b"x")
    good("flag TS", [timestamp(0)], payload=b"x")

    for stream, priority in [(0, 255), (1, 200), (2, 254), (99, 227), (100, 100), (101, 199), (999, 149),
                             (1000, 50), (9999, 99), (10000, 1), (10001, 49)]:
        good(f"stream {stream} with priority {priority}", stream=stream, priority=priority)
    good("a priority outside its band is no fault of the frame", stream=1001, priority=255)

    good("extension trace context", [trace_context()], trace=0x36)
    good("extension trace state", [trace_state(b"vendor=opaque,other=1")])
    good("extension trace state of 1 byte", [trace_state(b"a")])
    good("extension trace state of 255 bytes", [trace_state(b"k=" + b"v" * 253)])
    good("extension deadline", [deadline(30_000)])
    good("extension deadline of 0", [deadline(0)])
    good("extension deadline at its highest", [deadline(0xFFFFFFFF)])
    good("extension idempotency key", [idempotency_key()])
    good("extension sent at", [sent_at(1_234_567_890_123_456_789)])
    good("extension sent at, highest", [sent_at(2**64 - 1)])
    good("extension sent at, echoed", [sent_at_echo(42)], type=TYPES["PONG"], stream=0, priority=255)
    good("extension route", [route("ci.Jobs", "submit")], type=TYPES["REQUEST"], payload=b"{}")
    good("extension route, shortest", [route("s", "m")])
    good("extension route, longest service", [route("s" * 200, "m" * 54)])
    good("extension route, longest method", [route("s", "m" * 253)])
    good("extension route outside ASCII", [route("größe", "mäßig")])
    good("extension route without must-understand, as a receiver takes it", [route("s", "m", kind=0x07)])
    for kind in GREASE_EXTENSIONS:
        good(f"GREASE extension {kind:#04x}", [unknown(kind, bytes([0xEE] * (kind >> 4)))], payload=b"after")
    good("unknown extension 0x08", [unknown(0x08, b"")])
    good("unknown extension 0x7f of 255 bytes", [unknown(0x7F, b"\xff" * 255)])
    good("must-understand on known types", [trace_context(0x81), trace_state(b"a=b", 0x82), deadline(1, 0x83),
                                            idempotency_key(kind=0x84), sent_at(1, 0x85), sent_at_echo(2, 0x86)])
    every = [trace_context(), trace_state(b"a=b"), deadline(1500), idempotency_key(), sent_at(1), sent_at_echo(2),
             route("ci.Jobs", "submit")]
    good("every extension", every, payload=b"p")
    good("every extension, a timestamp and GREASE", [timestamp(1)] + every + [unknown(0x1A, b"123")], payload=b"p")
    good("the longest extension area", [unknown(0x1A, bytes(255)), unknown(0x2A, bytes(255)),
                                        unknown(0x3A, bytes(255)), unknown(0x4A, bytes(238))], payload=b"end")
    good("a payload that looks like a frame", payload=head(type=TYPES["PING"], stream=0, priority=255))


def make_invalid():
    bad("magic 0x0000", head(magic=0), "magic")
    bad("magic with its bytes swapped", head(magic=0x4352), "magic")
    bad("magic, first byte wrong", head(magic=0x5343), "magic")
    bad("magic, second byte wrong", head(magic=0x5242), "magic")
    bad("an HTTP request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "magic")
    bad("a TLS client hello", bytes.fromhex("16030100c8010000c403030102030405060708090a0b"), "magic")
    bad("one wrong byte is enough", b"X", "magic")
    bad("R alone, then a wrong byte", b"RX", "magic")
    for version in (0, 1, 3, 255):
        bad(f"version {version}", head(version=version), "version")
    bad("a wrong version as the third byte", b"RC\x01", "version")
    bad("the version is checked before the type", head(version=1, type=0xFF), "version")
    for kind in (0x50, 0x5A, 0x69, 0x6B, 0x80, 0xA9, 0xFF):
        bad(f"type {kind:#04x}", head(type=kind), "type")
    bad("type 0x50 with CRITICAL", head(type=0x50, flags=CRITICAL), "type")
    bad("length one above the limit", head(length=LIMIT + 1), "length")
    bad("length at the highest a field holds", head(length=0xFFFFFFFF), "length")
    bad("length with the top bit alone", head(length=0x80000000), "length")
    bad("the length is refused without a byte of payload, extensions or not", head(length=LIMIT + 1, ext=1), "length")
    bad("TS without a word", head(flags=TS), "timestamp_missing")
    bad("TS and every other flag but MORE without a word", head(flags=0xFF & ~MORE), "timestamp_missing")
    bad("MORE and EOS", head(flags=MORE | EOS), "more_after_end")
    bad("every flag", head(flags=0xFF, ext=1) + bytes(4), "more_after_end")

    bad_area("a known value past the end", b"\x03\x04\x00\x00", "truncated")
    bad_area("a known value cut by one word", tlv(0x01, bytes(26))[:-4], "truncated")
    bad_area("an unknown value past the end", b"\x1a\xff\x00\x00", "truncated")
    bad_area("a second value past the end", tlv(0x1A, b"") + b"\x2a\x03\x00\x00", "truncated")
    bad_area("a value may not reach into the payload", b"\x1a\x06\x00\x00", "truncated", payload=b"1234")
    bad_area("a value past the end behind a timestamp", bytes(4) + b"\x1a\x03\x00\x00", "truncated", flags=TS)
    bad_area("padding of an unknown value", tlv(0x1A, b"1", padding=1), "padding")
    bad_area("padding of a known value, last byte", tlv(0x03, bytes(4))[:-1] + b"\x80", "padding")
    bad_area("padding of a value without bytes", b"\x1a\x00\x00\x01", "padding")
    bad_area("type 0", bytes(4), "order")
    bad_area("type 0 with must-understand", b"\x80\x00\x00\x00", "order")
    bad_area("type 0 behind a timestamp", bytes(8), "order", flags=TS)
    bad_area("a type twice", tlv(0x1A, b"") * 2, "order")
    bad_area("a known type twice", tlv(0x03, bytes(4)) * 2, "order")
    bad_area("types that descend", tlv(0x05, bytes(8)) + tlv(0x03, bytes(4)), "order")
    bad_area("a type twice, once with must-understand", tlv(0x03, bytes(4)) + tlv(0x83, bytes(4)), "order")
    bad_area("must-understand does not lift a type", tlv(0x1A, b"") + tlv(0x87, b"\x01sm"), "order")
    bad_area("trace context of 25 bytes", tlv(0x01, bytes(25)), "ext_length")
    bad_area("trace context of 27 bytes", tlv(0x01, bytes(27)), "ext_length")
    bad_area("trace state without bytes", tlv(0x02, b""), "ext_length")
    bad_area("deadline of 3 bytes", tlv(0x03, bytes(3)), "ext_length")
    bad_area("deadline of 8 bytes", tlv(0x03, bytes(8)), "ext_length")
    bad_area("idempotency key of 15 bytes", tlv(0x04, bytes(15)), "ext_length")
    bad_area("sent at of 4 bytes", tlv(0x05, bytes(4)), "ext_length")
    bad_area("sent at, echoed, of 9 bytes", tlv(0x06, bytes(9)), "ext_length")
    bad_area("route without bytes", tlv(0x87, b""), "ext_length")
    bad_area("route without a service", tlv(0x87, b"\x00method"), "ext_length")
    bad_area("route without a method", tlv(0x87, b"\x07service"), "ext_length")
    bad_area("route with a service past the end", tlv(0x87, b"\x09service"), "ext_length")
    bad_area("route with a service of 201 bytes", tlv(0x87, b"\xc9" + b"s" * 201 + b"m"), "ext_length")
    bad_area("route with a service that is not UTF-8", tlv(0x87, b"\x01\xffm"), "utf8")
    bad_area("route with a method that is not UTF-8", tlv(0x87, b"\x01s\xff"), "utf8")
    bad_area("route that cuts a character in two", tlv(0x87, b"\x02s\xc3\xa9"), "utf8")
    bad_area("route with an overlong encoding", tlv(0x87, b"\x02\xc0\xafm"), "utf8")
    bad_area("route with a surrogate", tlv(0x87, b"\x03\xed\xa0\x80m"), "utf8")
    bad_area("unknown type with must-understand", tlv(0x88, b""), "not_understood")
    bad_area("GREASE with must-understand", tlv(0x9A, b"12"), "not_understood")
    bad_area("the highest type with must-understand", tlv(0xFF, b""), "not_understood")
    bad_area("must-understand behind what is understood", tlv(0x03, bytes(4)) + tlv(0x88, b""), "not_understood")


def text(vectors):
    return "[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors) + "\n]\n"


def main():
    make_valid()
    make_invalid()
    for vectors in (valid, invalid):
        names = [vector["name"] for vector in vectors]
        assert len(names) == len(set(names)), "names are unique"
    stale = 0
    for name, vectors in [("valid.json", valid), ("invalid.json", invalid)]:
        path, new = HERE / name, text(vectors)
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text(encoding="utf-8") != new:
                print(f"{name} is not what generate.py writes")
                stale += 1
        else:
            path.write_text(new, encoding="utf-8")
            print(f"{name}: {len(vectors)} vectors")
    sys.exit(1 if stale else 0)


main()
