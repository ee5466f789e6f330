#!/usr/bin/env python3
"""Writes docs/protocol/vectors/security/handshake.json, or compares with it: `generate.py --check`."""

import json
import pathlib
import sys

import channel
import identity
import noise
import wire

FILE = pathlib.Path(__file__).resolve().parents[2] / "docs/protocol/vectors/security/handshake.json"

# What the peers say first, in the cases below; the channel's own vectors go further.
FIRST_DATA = {"dialler": b"what the dialler says first", "acceptor": b"what the acceptor says first"}
CLOCK_MS = 1_800_000_000_123
TICKET_LIFETIME_S = 43_200


def fill(label, count=32):
    """Bytes that look like nothing else in the file and that anyone can make again."""
    return channel.expand(channel.extract(b"valkyrie vectors", label.encode()), b"", 32) * (count // 32)


def case(name, suite, offered, *, cookie=b"", ticket=b"", psk=None, binding=b"", challenge=None, kem=True,
         peers=None):
    """One handshake, from the fixed inputs to the first records each way; `peers` is whose static keys it has."""
    protocol = wire.SUITES[suite]
    inputs = {
        "dialler_static": fill((peers or name) + " dialler static"),
        "acceptor_static": fill((peers or name) + " acceptor static"),
        "dialler_ephemeral": fill(name + " dialler ephemeral"),
        "acceptor_ephemeral": fill(name + " acceptor ephemeral"),
        "kem_seed": fill(name + " kem d") + fill(name + " kem z") if kem else b"",
        "kem_randomness": fill(name + " kem m") if kem else b"",
    }
    head = wire.key_exchange_head(suite, offered, 1 if binding else 0, cookie, ticket)
    prologue = wire.prologue(head, binding)
    dialler, acceptor = sides(protocol, inputs, psk, prologue)
    clock = CLOCK_MS.to_bytes(8, "big") if "_IK" in protocol else b""

    frames = []
    for index in range(len(dialler.pattern["messages"])):
        writer, reader = (dialler, acceptor) if index % 2 == 0 else (acceptor, dialler)
        payload = clock if index == 0 else b""
        message = writer.write(payload)
        if reader.read(message) != payload:
            raise AssertionError("the two sides disagree on a payload")
        before = head if index == 0 else bytes([index + 1])
        frames.append({
            "from": "dialler" if writer is dialler else "acceptor",
            "frame": wire.frame(wire.KEY_EXCHANGE, before + message).hex(),
            "noise_message": message.hex(),
            "noise_payload": payload.hex(),
        })
    if dialler.hash() != acceptor.hash() or dialler.split() != acceptor.split():
        raise AssertionError("the two sides disagree")

    k1, k2 = dialler.split()
    schedule = channel.Schedule(dialler.hash(), k1, k2)
    entry = {"name": name, "suite": suite, "protocol": protocol, "offered": list(offered)}
    entry["protection"] = 1 if binding else 0
    entry |= {key: value.hex() for key, value in {
        "cookie": cookie, "ticket": ticket, "psk": psk or b"", "channel_binding": binding, **inputs}.items()}
    if challenge is not None:
        entry["challenge_frame"] = wire.frame(wire.AUTH_CHALLENGE, challenge).hex()
    entry |= {
        "prologue": prologue.hex(),
        "messages": frames,
        "handshake_hash": dialler.hash().hex(),
        "split": [k1.hex(), k2.hex()],
        "prk": schedule.prk.hex(),
        "exporter": schedule.exporter.hex(),
        "resumption": schedule.resumption.hex(),
        "dialler_secret": schedule.secret("dialler").hex(),
        "acceptor_secret": schedule.secret("acceptor").hex(),
        "dialler_datagram_secret": schedule.secret("dialler", datagram=True).hex(),
        "acceptor_datagram_secret": schedule.secret("acceptor", datagram=True).hex(),
        "records": first_records(name, schedule, wire.cipher_of(suite), bound=bool(binding)),
    }
    return entry, schedule


def sides(protocol, inputs, psk, prologue):
    acceptor_public = noise.public(inputs["acceptor_static"])
    known = acceptor_public if "_IK" in protocol else None
    dialler = noise.Handshake(
        protocol, True, inputs["dialler_static"], inputs["dialler_ephemeral"],
        kem=inputs["kem_seed"] or None, peer_static=known, psk=psk, prologue=prologue)
    acceptor = noise.Handshake(
        protocol, False, inputs["acceptor_static"], inputs["acceptor_ephemeral"],
        kem=inputs["kem_randomness"] or None, psk=psk, prologue=prologue)
    return dialler, acceptor


def first_records(name, schedule, cipher, bound):
    """AUTH_RESPONSE of both, AUTH_SUCCESS, and a data record each way where data travels in records."""
    sealers = {role: channel.Sealer(cipher, schedule.secret(role)) for role in wire.ROLES}
    ticket = fill(name + " issued ticket")[:16]
    records = []

    def control(role, kind, payload):
        plaintext = wire.frame(kind, payload)
        records.append((role, "control", plaintext, sealers[role].seal(channel.CONTROL, plaintext)))

    def data(role):
        if not bound:
            plaintext = FIRST_DATA[role]
            records.append((role, "data", plaintext, sealers[role].seal(channel.DATA, plaintext)))

    control("acceptor", wire.AUTH_RESPONSE, b"")
    control("dialler", wire.AUTH_RESPONSE, identity.credentials([(identity.TOKEN, b"a token")]))
    data("dialler")
    control("acceptor", wire.AUTH_SUCCESS, wire.success(TICKET_LIFETIME_S, ticket))
    data("acceptor")
    return [
        {"from": role, "kind": kind, "plaintext": plaintext.hex(), "record": record.hex()}
        for role, kind, plaintext, record in records
    ]


def cases():
    hybrid, chacha = [2, 1], [5, 4]
    entries = []

    def add(*arguments, **options):
        entry, schedule = case(*arguments, **options)
        entries.append(entry)
        return schedule

    def resume(name, suite, offered, peers, schedule):
        """With the ticket that the AUTH_SUCCESS of the handshake before carried, between the same peers."""
        ticket = fill(peers + " issued ticket")[:16]
        add(name, suite, offered, ticket=ticket, psk=schedule.ticket_psk(ticket), peers=peers)

    add("first contact", 1, [1])
    known = add("known acceptor", 2, hybrid)
    resume("resumption", 3, [3, 2, 1], "known acceptor", known)
    add("first contact without AES", 4, [4, 1])
    known = add("known acceptor without AES", 5, chacha)
    resume("resumption without AES", 6, [6, 5, 4], "known acceptor without AES", known)
    cookie = fill("cookie")
    add("after a cookie", 1, [1, 4], cookie=cookie, challenge=wire.challenge(1, 1, cookie))
    add("after another suite", 1, [2, 1], challenge=wire.challenge(2, 1))
    add("bound to its link", 2, hybrid, binding=fill("channel binding"))
    add("classical first contact", 17, [1, 17], kem=False)
    add("classical known acceptor", 18, [18], kem=False)
    add("classical first contact without AES", 20, [20], kem=False)
    add("classical known acceptor without AES", 21, [21], kem=False)
    return entries


def main():
    text = json.dumps(cases(), indent=2) + "\n"
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text() != text:
            sys.exit(f"{FILE.name} is not what this script writes")
        print(f"{FILE.name} is what this script writes")
        return
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text)


if __name__ == "__main__":
    main()
