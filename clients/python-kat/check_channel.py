"""channel.json: keys, records and datagrams computed again and opened, and what a receiver refuses, refused."""

import channel
import wire
from check_handshake import equal, unhex

KINDS = {"control": channel.CONTROL, "data": channel.DATA}
# The fresh acceptor of `refused`.
FRESH = channel.Schedule(bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32)


def check(file):
    equal(sorted(file.keys() ^ {"channels", "refused"}), [], "lists that nothing checks, or that are missing")
    for vector in file["channels"]:
        one(vector)
        yield vector["name"]
    for vector in file["refused"]:
        refused(vector)
        yield vector["name"]


def one(vector):
    h, ticket = unhex(vector, "handshake_hash", "ticket")
    schedule = channel.Schedule(h, *(bytes.fromhex(key) for key in vector["split"]))
    equal(schedule.exporter, vector["exporter"], "exporter")
    equal(schedule.ticket_psk(ticket), vector["ticket_psk"], "PSK of the ticket")
    for direction in vector["epochs"]:
        epoch = channel.Epoch(vector["cipher"], schedule.secret(direction["from"], direction["datagrams"]))
        for keys in direction["keys"]:
            equal(epoch.number, keys["epoch"], "number of the epoch")
            for name in ("secret", "key", "iv"):
                equal(getattr(epoch, name), keys[name], f"{name} of epoch {epoch.number}")
            epoch = epoch.next()
    for direction in vector["records"]:
        records(vector["cipher"], schedule.secret(direction["from"]), direction["records"])
    for direction in vector["datagrams"]:
        datagrams(vector["cipher"], schedule.secret(direction["from"], datagram=True), direction["datagrams"])
    equal({direction["from"] for direction in vector["records"]}, set(wire.ROLES), "directions")


def records(cipher, secret, listed):
    sealer, opener = channel.Sealer(cipher, secret), channel.Opener(cipher, secret)
    for record in listed:
        plaintext, padding, sealed = unhex(record, "plaintext", "padding", "record")
        kind = KINDS[record["kind"]]
        equal(sealer.epoch.number, record["epoch"], "epoch")
        rekey = kind == channel.CONTROL and wire.open_frame(plaintext)[0] == wire.REKEY
        if rekey and not padding:
            equal(sealer.rekey(), record["record"], "REKEY")
        else:
            flag = channel.PADDED if padding else 0
            equal(sealer.seal(kind | flag, plaintext + padding), record["record"], "record")
            if rekey:
                sealer.epoch, sealer.count = sealer.epoch.next(), 0
        for cut in range(len(sealed)):
            incomplete(opener, sealed[:cut])
        opened = opener.open(sealed + b"next")
        equal((opened[0], opened[1].hex(), opened[2]), (kind, record["plaintext"], b"next"), "record as it is opened")


def incomplete(opener, data):
    try:
        opener.open(data)
    except channel.Incomplete:
        return
    raise AssertionError("a part of a record was opened")


def datagrams(cipher, secret, listed):
    epochs = [channel.Epoch(cipher, secret)]
    for datagram in listed:
        while len(epochs) <= datagram["epoch"]:
            epochs.append(epochs[-1].next())
        epoch, number = epochs[datagram["epoch"]], int(datagram["number"])
        plaintext, sealed = unhex(datagram, "plaintext", "datagram")
        equal(channel.seal_datagram(epoch, number, plaintext), datagram["datagram"], "datagram")
        opened_number, opened = channel.open_datagram(epoch, sealed)
        equal((opened_number, opened.hex()), (number, datagram["plaintext"]), "datagram as it is opened")


def refused(vector):
    opener = channel.Opener("AESGCM", FRESH.secret("dialler"))
    rest, data = unhex(vector, "accepted", "input")
    while rest:
        _, _, rest = opener.open(rest)
    try:
        opener.open(data)
    except channel.Refused as error:
        equal(error.code, vector["code"], f"code for: {vector['name']}")
        return
    raise AssertionError(f"{vector['name']}: is not refused")
