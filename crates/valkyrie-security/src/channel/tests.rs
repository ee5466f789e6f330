//! What the channel promises, tested between two ends that share a handshake.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use valkyrie_frame::{Header, Kind, StreamId};

use super::keys::EpochKeys;
use super::*;
use crate::{Cipher, Role};

mod attacks;
mod datagrams;
#[cfg(target_os = "linux")]
mod memory;
mod records;
mod rekey;
mod vectors;

const CIPHERS: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

fn schedule(cipher: Cipher, role: Role) -> KeySchedule {
    KeySchedule::new(&[1; 32], &[2; 32], &[3; 32], cipher, role)
}

/// What the dialler sends with and what the acceptor opens that with.
fn pair_with(cipher: Cipher, config: ChannelConfig) -> (Sealer, Opener) {
    let (sealer, _) = schedule(cipher, Role::Dialler).channel(config);
    let (_, opener) = schedule(cipher, Role::Acceptor).channel(config);
    (sealer, opener)
}

fn pair(config: ChannelConfig) -> (Sealer, Opener) {
    pair_with(Cipher::Aes256Gcm, config)
}

fn config(change: impl FnOnce(&mut ChannelConfig)) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    change(&mut config);
    config
}

fn sealed(sealer: &mut Sealer, now: Instant, content: &[u8]) -> BytesMut {
    let mut wire = BytesMut::new();
    sealer.seal(now, [content], &mut wire).unwrap();
    wire
}

fn opened(opener: &mut Opener, now: Instant, wire: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut plain = BytesMut::new();
    opener.open(now, &mut BytesMut::from(wire), &mut plain)?;
    Ok(plain.to_vec())
}

/// A frame of the auth group, or of whichever the kind is.
fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        length: payload.len() as u32,
        ..Header::new(kind, StreamId::new(0))
    };
    [&header.encode()[..], payload].concat()
}

/// A record that holds to nothing but the cipher: what a peer with the keys and no manners would send.
fn record(keys: &EpochKeys, number: u64, kind: u8, plain: &[u8]) -> Vec<u8> {
    let [.., l0, l1, l2] = (plain.len() + RECORD_TAG_BYTES).to_be_bytes();
    let header = [kind, keys.epoch_byte(), l0, l1, l2];
    let mut body = plain.to_vec();
    let tag = keys.seal(number, &header, &mut body).unwrap();
    [&header[..], &body, &tag].concat()
}

/// The dialler's keys for records.
fn dialler_keys() -> EpochKeys {
    schedule(Cipher::Aes256Gcm, Role::Dialler).record_directions().0
}

/// The records in `wire`.
fn cut(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some(len) = record::RecordHeader::record_len(wire) {
        let (record, rest) = wire.split_at(len);
        records.push(record);
        wire = rest;
    }
    assert!(wire.is_empty(), "no whole number of records");
    records
}

#[test]
fn an_idle_channel_is_small() {
    // The ciphers are on the heap beside this, 1.2 KiB in all as aws-lc has them, until the channel is put away.
    let (sealer, opener) = (size_of::<Sealer>(), size_of::<Opener>());
    assert!(sealer + opener <= 384, "{sealer} and {opener} bytes");
}

#[test]
fn no_key_shows_in_debug_output() {
    let keys = schedule(Cipher::Aes256Gcm, Role::Dialler);
    let exports = keys.exports();
    let (secret, key, iv) = dialler_keys().expose();
    let before = format!("{keys:?} {exports:?}");
    let both = keys.channel_and_datagrams(ChannelConfig::default());
    let shown = format!("{before} {both:?}");
    for bytes in [&secret[..], &key[..], &iv[..], exports.exporter()] {
        let list = format!("{:?}", &bytes[..4]);
        assert!(!shown.contains(list.trim_matches(['[', ']'])), "{shown}");
        let hex: String = bytes[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(&hex), "{shown}");
    }
}

#[test]
fn both_directions_exporter_and_tickets_have_keys_of_their_own() {
    let (dialler, acceptor) = (
        schedule(Cipher::Aes256Gcm, Role::Dialler),
        schedule(Cipher::Aes256Gcm, Role::Acceptor),
    );
    assert_eq!(dialler.exporter(), acceptor.exporter());
    assert_eq!(
        dialler.ticket_psk(&[4; 16]),
        acceptor.exports().ticket_psk(&[4; 16])
    );
    assert_ne!(dialler.ticket_psk(&[4; 16]), dialler.ticket_psk(&[5; 16]));
    let ((ds, dr), (dds, ddr)) = (dialler.record_directions(), dialler.datagram_directions());
    let mut secrets: Vec<Vec<u8>> = [ds, dr, dds, ddr]
        .iter()
        .map(|keys| keys.expose().0.to_vec())
        .collect();
    secrets.push(dialler.exporter().to_vec());
    secrets.push(dialler.ticket_psk(&[4; 16]).to_vec());
    for (at, one) in secrets.iter().enumerate() {
        assert!(!secrets[..at].contains(one), "two of them are the same");
    }
    let (acceptor_receives, dialler_sends) = (acceptor.record_directions().1, dialler.record_directions().0);
    assert_eq!(acceptor_receives.expose().0, dialler_sends.expose().0);
}

#[test]
fn a_channel_that_was_put_away_goes_on_where_it_was() {
    let now = Instant::now();
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let mut sealer = schedule(cipher, Role::Dialler)
            .channel(ChannelConfig::default())
            .0;
        let mut opener = schedule(cipher, Role::Acceptor)
            .channel(ChannelConfig::default())
            .1;
        let first = sealed(&mut sealer, now, b"before");
        assert_eq!(opened(&mut opener, now, &first).unwrap(), b"before");
        sealer.put_away();
        assert!(!sealer.is_awake());
        let second = sealed(&mut sealer, now, b"after");
        assert!(sealer.is_awake());
        opener.put_away();
        assert!(!opener.is_awake());
        assert_eq!(opened(&mut opener, now, &second).unwrap(), b"after");
        opener.put_away();
        assert_eq!(
            opened(&mut opener, now, &second),
            Err(OpenError::Tag),
            "a number is not used twice"
        );
    }
}

#[test]
fn another_handshake_gives_other_keys() {
    let base = [[1; 32], [2; 32], [3; 32]];
    let now = Instant::now();
    for at in 0..3 {
        let mut inputs = base;
        inputs[at][31] ^= 1;
        let other = KeySchedule::new(
            &inputs[0],
            &inputs[1],
            &inputs[2],
            Cipher::Aes256Gcm,
            Role::Acceptor,
        );
        let (mut sealer, _) = pair(ChannelConfig::default());
        let wire = sealed(&mut sealer, now, b"for another connection");
        let mut opener = other.channel(ChannelConfig::default()).1;
        assert_eq!(opened(&mut opener, now, &wire), Err(OpenError::Tag));
    }
}

/// Much later than anything here lasts.
const LONG: Duration = Duration::from_secs(100_000);
