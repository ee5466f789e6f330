"""handshake.json and the published hybrid vector: every byte computed again, and read by the side it is meant for."""

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

import channel
import noise
import wire


def unhex(vector, *names):
    return [bytes.fromhex(vector[name]) for name in names]


def equal(found, wanted, what):
    if isinstance(found, bytes):
        found = found.hex()
    if found != wanted:
        raise AssertionError(f"{what}: {found} instead of {wanted}")


def ours(vectors):
    for vector in vectors:
        handshake(vector)
        yield vector["name"]


def handshake(vector):
    suite, protocol = vector["suite"], wire.SUITES[vector["suite"]]
    equal(vector["protocol"], protocol, "name of the protocol")
    cookie, ticket, binding, psk = unhex(vector, "cookie", "ticket", "channel_binding", "psk")
    head = wire.key_exchange_head(suite, vector["offered"], vector["protection"], cookie, ticket)
    prologue = wire.prologue(head, binding)
    equal(prologue, vector["prologue"], "prologue")
    static, ephemeral, peer_static, peer_ephemeral, seed, m = unhex(
        vector, "dialler_static", "dialler_ephemeral", "acceptor_static", "acceptor_ephemeral", "kem_seed",
        "kem_randomness")
    known = noise.public(peer_static) if "_IK" in protocol else None
    dialler = noise.Handshake(
        protocol, True, static, ephemeral, seed or None, known, psk or None, prologue)
    acceptor = noise.Handshake(
        protocol, False, peer_static, peer_ephemeral, m or None, None, psk or None, prologue)
    if seed:
        second_opinion_on_kem(seed, m)

    for index, message in enumerate(vector["messages"]):
        writer, reader = (dialler, acceptor) if index % 2 == 0 else (acceptor, dialler)
        equal(message["from"], wire.ROLES[index % 2], "who sends")
        payload = bytes.fromhex(message["noise_payload"])
        if index == 0 and "_IK" in protocol:
            equal(len(payload), 8, "length of the clock")
        else:
            equal(payload, "", "payload")
        written = writer.write(payload)
        equal(written, message["noise_message"], f"Noise message {index + 1}")
        front = head if index == 0 else bytes([index + 1])
        equal(wire.frame(wire.KEY_EXCHANGE, front + written), message["frame"], f"frame {index + 1}")
        kind, body = wire.open_frame(bytes.fromhex(message["frame"]))
        equal(kind, wire.KEY_EXCHANGE, "type of the frame")
        equal(reader.read(body[len(front):]), message["noise_payload"], "payload as the other side reads it")

    for side in (dialler, acceptor):
        equal(side.hash(), vector["handshake_hash"], "handshake hash")
        equal([key.hex() for key in side.split()], vector["split"], "Split()")
    equal(dialler.peer_static, noise.public(peer_static).hex(), "whom the dialler sees")
    equal(acceptor.peer_static, noise.public(static).hex(), "whom the acceptor sees")

    schedule = channel.Schedule(dialler.hash(), *dialler.split())
    equal(schedule.prk, vector["prk"], "prk")
    equal(schedule.exporter, vector["exporter"], "exporter")
    equal(schedule.resumption, vector["resumption"], "resumption")
    for role in wire.ROLES:
        equal(schedule.secret(role), vector[f"{role}_secret"], f"secret of the {role}")
        equal(schedule.secret(role, datagram=True), vector[f"{role}_datagram_secret"], "datagram secret")
    records(vector, schedule)


def records(vector, schedule):
    cipher = wire.cipher_of(vector["suite"])
    sealers = {role: channel.Sealer(cipher, schedule.secret(role)) for role in wire.ROLES}
    openers = {role: channel.Opener(cipher, schedule.secret(role)) for role in wire.ROLES}
    for record in vector["records"]:
        kind = {"control": channel.CONTROL, "data": channel.DATA}[record["kind"]]
        plaintext, sealed = unhex(record, "plaintext", "record")
        equal(sealers[record["from"]].seal(kind, plaintext), record["record"], "record")
        opened = openers[record["from"]].open(sealed)
        equal((opened[0], opened[1].hex(), opened[2]), (kind, record["plaintext"], b""), "record as it is opened")


def second_opinion_on_kem(seed, m):
    """What kyber-py encapsulates, the ML-KEM of `cryptography` opens."""
    key = MLKEM768PrivateKey.from_seed_bytes(seed)
    ek = key.public_key().public_bytes_raw()
    secret, ciphertext = noise.encapsulate(ek, m)
    equal(key.decapsulate(ciphertext), secret.hex(), "shared secret by the other library")


def published(vector):
    """One handshake that others have computed, with an empty prologue and empty payloads."""
    static, ephemeral, seed, prologue = unhex(vector, "static_i", "eph_i", "kem_seed_d_z", "prologue")
    peer_static, peer_ephemeral, m = unhex(vector, "static_r", "eph_r", "encaps_m")
    dialler = noise.Handshake(vector["protocol"], True, static, ephemeral, seed, prologue=prologue)
    acceptor = noise.Handshake(vector["protocol"], False, peer_static, peer_ephemeral, m, prologue=prologue)
    for writer, reader, name in (
        (dialler, acceptor, "msg_a"), (acceptor, dialler, "msg_b"), (dialler, acceptor, "msg_c"),
    ):
        message = writer.write()
        equal(message, vector[name], name)
        equal(reader.read(message), "", "payload")
    for side in (dialler, acceptor):
        equal(side.hash(), vector["handshake_hash"], "handshake hash")
        equal([key.hex() for key in side.split()], [vector["cs1_k"], vector["cs2_k"]], "Split()")
    second_opinion_on_kem(seed, m)
    yield vector["protocol"]
