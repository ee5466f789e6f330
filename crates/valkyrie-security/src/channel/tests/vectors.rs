//! `docs/protocol/vectors/security/channel.json`: what it holds is what this code makes, opens and refuses.

use serde_json::{Value, json};

use super::*;
use crate::vectors::hex;

/// Set to write the file instead of comparing with it.
const WRITE: &str = "VALKYRIE_WRITE_VECTORS";

fn path() -> String {
    format!(
        "{}/../../docs/protocol/vectors/security/channel.json",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn shown(bytes: &[u8]) -> Value {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

#[test]
fn the_published_vectors_are_those_of_this_code() {
    let made = json!({
        "channels": [
            channel("AES-256-GCM, rekeyed and padded", Cipher::Aes256Gcm, [0x11, 0x22, 0x33]),
            channel("ChaCha20-Poly1305, rekeyed and padded", Cipher::ChaCha20Poly1305, [0x44, 0x55, 0x66]),
        ],
        "refused": refused(),
    });
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path(), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    assert!(made == recorded, "the file differs; {WRITE}=1 writes it anew");
}

#[test]
fn every_refused_vector_is_refused_with_its_code() {
    let now = Instant::now();
    let refused = refused();
    let refused = refused.as_array().unwrap();
    assert!(refused.len() > 20);
    for vector in refused {
        let (_, mut opener) = pair(ChannelConfig::default());
        let field = |name: &str| hex(vector[name].as_str().unwrap());
        opened(&mut opener, now, &field("accepted")).unwrap();
        let error = opened(&mut opener, now, &field("input")).unwrap_err();
        assert_eq!(
            error.code().value(),
            vector["code"],
            "{}: {error}",
            vector["name"]
        );
        assert_eq!(opened(&mut opener, now, b""), Err(error), "it stays closed");
    }
}

/// One handshake's keys and what the two ends send under them.
fn channel(name: &str, cipher: Cipher, [h, k1, k2]: [u8; 3]) -> Value {
    let (h, k1, k2) = (filled(h), filled(k1), filled(k2));
    let schedule = |role| KeySchedule::new(&h, &k1, &k2, cipher, role);
    let dialler = schedule(Role::Dialler);
    let ticket: [u8; 16] = filled(0x77)[..16].try_into().unwrap();
    let (dialler_sends, acceptor_sends) = dialler.record_directions();
    let (dialler_datagrams, acceptor_datagrams) = dialler.datagram_directions();
    json!({
        "name": name,
        "cipher": match cipher {
            Cipher::Aes256Gcm => "AESGCM",
            Cipher::ChaCha20Poly1305 => "ChaChaPoly",
        },
        "handshake_hash": shown(&h),
        "split": [shown(&k1), shown(&k2)],
        "exporter": shown(&*dialler.exporter()),
        "ticket": shown(&ticket),
        "ticket_psk": shown(&*dialler.ticket_psk(&ticket)),
        "epochs": [
            epochs("dialler", false, &dialler_sends),
            epochs("acceptor", false, &acceptor_sends),
            epochs("dialler", true, &dialler_datagrams),
            epochs("acceptor", true, &acceptor_datagrams),
        ],
        "records": [
            records(schedule(Role::Dialler), schedule(Role::Acceptor), "dialler", Padding::None),
            records(schedule(Role::Acceptor), schedule(Role::Dialler), "acceptor", Padding::Multiple(64)),
        ],
        "datagrams": [
            datagrams(&dialler_datagrams, "dialler"),
            datagrams(&acceptor_datagrams, "acceptor"),
        ],
    })
}

/// 32 bytes that are not all the same.
fn filled(byte: u8) -> [u8; 32] {
    std::array::from_fn(|at| byte.wrapping_add(at as u8))
}

fn epochs(from: &str, datagrams: bool, first: &EpochKeys) -> Value {
    let second = first.next().unwrap();
    let keys = [first, &second].map(|keys| {
        let (secret, key, iv) = keys.expose();
        json!({ "epoch": keys.epoch(), "secret": shown(&*secret), "key": shown(&*key), "iv": shown(&*iv) })
    });
    json!({ "from": from, "datagrams": datagrams, "keys": keys })
}

/// Content in every form, with a rekey after every four records.
fn records(sends: KeySchedule, receives: KeySchedule, from: &str, padding: Padding) -> Value {
    let now = Instant::now();
    let config = config(|config| {
        config.padding = padding;
        config.rekey.records = 4;
    });
    let (mut sealer, mut opener) = (sends.channel(config).0, receives.channel(config).1);
    let long: Vec<u8> = (0..1000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let contents: Vec<(bool, Vec<u8>)> = vec![
        (true, frame(Kind::AUTH_RESPONSE, b"credentials")),
        (false, b"\0".to_vec()),
        (false, b"many frames together".to_vec()),
        // The fifth record: a REKEY comes before it.
        (false, long),
        (
            false,
            [b"ends with what padding is made of ".as_slice(), &[0x80, 0, 0]].concat(),
        ),
        (true, frame(Kind::AUTH_FAILURE, &[0, 0, 0, 200, 0, 0, 0, 0])),
        (false, b"in the third epoch".to_vec()),
    ];
    let mut list = Vec::new();
    for (is_control, content) in contents {
        let mut wire = BytesMut::new();
        match is_control {
            true => sealer.seal_control(now, &content, &mut wire).unwrap(),
            false => sealer.seal(now, [&content[..]], &mut wire).unwrap(),
        }
        let records = cut(&wire);
        for (at, record) in records.iter().enumerate() {
            let is_last = at + 1 == records.len();
            let epoch = opener.epoch();
            let (plain, is_control) = match is_last {
                true => (content.clone(), is_control),
                false => (control::rekey(epoch + 1).to_vec(), true),
            };
            let len = record.len() - RECORD_HEADER_BYTES - RECORD_TAG_BYTES;
            let mut padding = vec![0; len - plain.len()];
            if let Some(mark) = padding.first_mut() {
                *mark = 0x80;
            }
            let mut out = BytesMut::new();
            let control = opener.open(now, &mut BytesMut::from(*record), &mut out).unwrap();
            match control {
                Some(control) => assert_eq!(control.frame(), &plain),
                None if is_last => assert_eq!(out, plain),
                None => assert_eq!(opener.epoch(), epoch + 1),
            }
            list.push(json!({
                "kind": if is_control { "control" } else { "data" },
                "epoch": epoch,
                "plaintext": shown(&plain),
                "padding": shown(&padding),
                "record": shown(record),
            }));
        }
    }
    assert_eq!(opener.epoch(), 2);
    json!({ "from": from, "records": list })
}

fn datagrams(first: &EpochKeys, from: &str) -> Value {
    let second = first.next().unwrap();
    let mut far = first.next().unwrap();
    while far.epoch() < 257 {
        far = far.next().unwrap();
    }
    let list = [
        (first, 0, &b"the first"[..]),
        (first, 2, b"overtakes"),
        (first, 1, b"was overtaken"),
        (first, u64::MAX - 1, b"the last number"),
        (&second, 0, b"begins the second epoch"),
        (&far, 258, b"epoch 257, of which the byte is 1"),
        (first, 3, b""),
    ];
    let list = list.map(|(keys, number, plain)| {
        let header = datagram::header(keys.epoch_byte(), number);
        let mut body = plain.to_vec();
        let tag = keys.seal(number, &header, &mut body).unwrap();
        json!({
            "epoch": keys.epoch(),
            "number": number.to_string(),
            "plaintext": shown(plain),
            "datagram": shown(&[&header[..], &body, &tag].concat()),
        })
    });
    json!({ "from": from, "datagrams": list })
}

/// Input that an acceptor refuses, all under the keys that `pair` has.
fn refused() -> Value {
    let keys = dialler_keys();
    let second = keys.next().unwrap();
    let good = |number| record(&keys, number, 1, b"good");
    let rekey = |number, epoch: u32| record(&keys, number, 2, &control::rekey(epoch));
    let flipped = |at: usize| {
        let mut record = good(0);
        record[at] ^= 1;
        record
    };
    let lengthened = |by: i32| {
        let mut record = good(0);
        record[4] = (i32::from(record[4]) + by) as u8;
        record.push(0);
        record
    };
    let own = record(
        &schedule(Cipher::Aes256Gcm, Role::Acceptor).record_directions().0,
        0,
        1,
        b"own",
    );
    let header = |kind: u8, length: u32| [&[kind, 0][..], &length.to_be_bytes()[1..]].concat();
    let none = Vec::new;
    let two_frames = [frame(Kind::AUTH_RESPONSE, b""), frame(Kind::AUTH_RESPONSE, b"")].concat();
    let mut cut_frame = frame(Kind::AUTH_RESPONSE, b"cut");
    cut_frame.pop();
    let cases = [
        ("the type is changed", none(), flipped(0), 700),
        ("the epoch is changed", none(), flipped(1), 700),
        ("the ciphertext is changed", none(), flipped(5), 700),
        ("the tag is changed", none(), flipped(24), 700),
        ("the length is one more", none(), lengthened(1), 700),
        ("the length is one less", none(), lengthened(-1), 700),
        ("a record comes again", good(0), good(0), 700),
        ("a record overtakes another", none(), good(1), 700),
        ("a record is left out", good(0), good(2), 700),
        ("a record of the receiver comes back", none(), own, 700),
        ("type 0", none(), header(0, 17), 700),
        ("type 3", none(), header(3, 17), 700),
        ("a datagram", none(), header(4, 17), 700),
        ("type 0x41", none(), header(0x41, 17), 700),
        ("no content", none(), header(1, 16), 700),
        ("no length", none(), header(1, 0), 700),
        ("one byte too long", none(), header(1, 65_553), 700),
        ("as long as can be written", none(), header(1, 0xff_ffff), 700),
        (
            "padding of zeros alone",
            none(),
            record(&keys, 0, 0x81, &[0; 64]),
            700,
        ),
        (
            "padding without its mark",
            none(),
            record(&keys, 0, 0x81, b"content\0\0"),
            700,
        ),
        (
            "a record of the next epoch without REKEY",
            none(),
            record(&second, 0, 1, b"early"),
            700,
        ),
        ("a record of the epoch before", rekey(0, 1), good(1), 700),
        (
            "the number goes on after REKEY",
            rekey(0, 1),
            record(&second, 1, 1, b"late"),
            700,
        ),
        ("REKEY names this epoch", none(), rekey(0, 0), 700),
        ("REKEY leaves out an epoch", none(), rekey(0, 2), 700),
        (
            "REKEY comes twice",
            rekey(0, 1),
            record(&second, 0, 2, &control::rekey(1)),
            700,
        ),
        (
            "REKEY without an epoch",
            none(),
            record(&keys, 0, 2, &frame(Kind::REKEY, b"")),
            100,
        ),
        (
            "REKEY with more than an epoch",
            none(),
            record(&keys, 0, 2, &frame(Kind::REKEY, &[0, 0, 0, 1, 0])),
            100,
        ),
        (
            "a control record with a frame of the session",
            none(),
            record(&keys, 0, 2, &frame(Kind::PING, b"")),
            100,
        ),
        (
            "a control record with two frames",
            none(),
            record(&keys, 0, 2, &two_frames),
            100,
        ),
        (
            "a control record with a part of a frame",
            none(),
            record(&keys, 0, 2, &cut_frame),
            100,
        ),
        (
            "a control record with nothing but padding",
            none(),
            record(&keys, 0, 0x82, &[0x80, 0]),
            100,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, accepted, input, code)| {
            json!({ "name": name, "accepted": shown(&accepted), "input": shown(&input), "code": code })
        })
        .collect()
}
