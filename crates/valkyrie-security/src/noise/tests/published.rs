//! The vectors of cacophony and of snow: every classical pattern with Curve25519, both ciphers and all four hashes, through
//! the same primitives and the same vault as the suites.

use std::cell::RefCell;

use blake2::Digest;
use serde_json::Value;
use snow::{Builder, HandshakeState};

use crate::noise::primitives::Aead;
use crate::noise::resolver::Resolver;
use crate::noise::vault::Vault;
use crate::provider::{HASH_BYTES_MAX, HashOps, Sha2, StaticKey};
use crate::suite::Cipher;
use crate::vectors::{array, hex, read};

#[test]
fn the_vectors_of_cacophony_are_reproduced() {
    assert_eq!(run("noise/cacophony.json"), 472);
}

#[test]
fn the_vectors_of_snow_are_reproduced() {
    assert_eq!(run("noise/snow.json"), 408);
}

/// Runs every vector of a file and says how many there were.
fn run(file: &str) -> usize {
    let file = read(file);
    let vectors = file["vectors"].as_array().unwrap();
    for vector in vectors {
        let vector = Vector {
            common: &file["common"],
            own: vector,
        };
        vector.run();
    }
    vectors.len()
}

/// A vector and what it shares with the others of its file.
struct Vector<'a> {
    common: &'a Value,
    own: &'a Value,
}

impl Vector<'_> {
    fn field(&self, name: &str) -> &Value {
        self.own.get(name).unwrap_or(&self.common[name])
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.field(name).as_str().map(hex)
    }

    fn list(&self, name: &str) -> Vec<Vec<u8>> {
        let list = self.field(name).as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|item| hex(item.as_str().unwrap())).collect()
    }

    fn name(&self) -> &str {
        self.own["protocol_name"].as_str().unwrap()
    }

    /// One side of the vector's handshake.
    fn side(&self, side: &str) -> (HandshakeState, Vault) {
        let field = |name: &str| format!("{side}_{name}");
        let key = |name: &str| {
            self.bytes(&field(name))
                .map(|bytes| StaticKey::from_bytes(&array(&bytes)).unwrap())
        };
        let vault = Vault::default();
        let own = key("static");
        let (_, cipher, hash) = self.parts();
        let resolver = Resolver {
            vault: vault.clone(),
            own: own.clone().unwrap_or_else(|| StaticKey::generate().unwrap()),
            ephemeral: key("ephemeral"),
            cipher,
            hash_name: "",
            hash: RefCell::new(Some(hash)),
            kem: RefCell::new(None),
        };
        let params = self.name().parse().unwrap();
        let prologue = self.bytes(&field("prologue")).unwrap();
        let peer = self.bytes(&field("remote_static"));
        let mut builder = Builder::with_resolver(params, Box::new(resolver))
            .prologue(&prologue)
            .unwrap();
        if own.is_some() {
            builder = builder.local_private_key(&[0; 32]).unwrap();
        }
        if let Some(peer) = &peer {
            builder = builder.remote_public_key(peer).unwrap();
        }
        // "XXpsk0+psk2" has two keys, for places 0 and 2.
        let pattern = self.name().split('_').nth(1).unwrap();
        let places = pattern
            .split("psk")
            .skip(1)
            .map(|place| place[..1].parse().unwrap());
        let keys: Vec<[u8; 32]> = self.list(&field("psks")).iter().map(|key| array(key)).collect();
        for (place, key) in places.zip(&keys) {
            builder = builder.psk(place, key).unwrap();
        }
        let state = match side {
            "init" => builder.build_initiator(),
            _ => builder.build_responder(),
        };
        (state.unwrap(), vault)
    }

    /// The pattern goes one way only; the cipher; the hash.
    fn parts(&self) -> (bool, Cipher, Box<dyn HashOps>) {
        let parts: Vec<&str> = self.name().split('_').collect();
        let one_way = ["N", "K", "X"].contains(&parts[1].split("psk").next().unwrap());
        let cipher = match parts[3] {
            "AESGCM" => Cipher::Aes256Gcm,
            "ChaChaPoly" => Cipher::ChaCha20Poly1305,
            other => panic!("{other}"),
        };
        let hash: Box<dyn HashOps> = match parts[4] {
            "SHA256" => Box::new(Sha2::sha256()),
            "SHA512" => Box::new(Sha2::sha512()),
            "BLAKE2s" => Box::new(Blake::<blake2::Blake2s256>::new(64)),
            "BLAKE2b" => Box::new(Blake::<blake2::Blake2b512>::new(128)),
            other => panic!("{other}"),
        };
        (one_way, cipher, hash)
    }

    fn run(&self) {
        let name = self.name();
        let (one_way, cipher, _) = self.parts();
        let (mut initiator, vault) = self.side("init");
        let (mut responder, vault_there) = self.side("resp");
        let (payloads, ciphertexts) = (self.list("payloads"), self.list("ciphertexts"));
        assert_eq!(payloads.len(), ciphertexts.len(), "{name}");
        let mut ciphers: Option<[Aead; 2]> = None;
        let mut counters = [0, 0];
        for (turn, (payload, ciphertext)) in payloads.iter().zip(&ciphertexts).enumerate() {
            let from_initiator = one_way || turn % 2 == 0;
            if let Some(ciphers) = &ciphers {
                let (aead, counter) = match from_initiator {
                    true => (&ciphers[0], &mut counters[0]),
                    false => (&ciphers[1], &mut counters[1]),
                };
                let mut sealed = vec![0; payload.len() + 16];
                aead.seal(*counter, &[], payload, &mut sealed).unwrap();
                assert_eq!(&sealed, ciphertext, "{name}: message {turn}");
                let mut opened = vec![0; payload.len()];
                aead.open(*counter, &[], &sealed, &mut opened).unwrap();
                assert_eq!(&opened, payload, "{name}: message {turn}");
                *counter += 1;
                continue;
            }
            let (writer, reader) = match from_initiator {
                true => (&mut initiator, &mut responder),
                false => (&mut responder, &mut initiator),
            };
            let mut message = vec![0; ciphertext.len() + 16];
            let written = writer.write_message(payload, &mut message).unwrap();
            assert_eq!(&message[..written], ciphertext, "{name}: message {turn}");
            let mut read = vec![0; ciphertext.len()];
            let bytes = reader.read_message(ciphertext, &mut read).unwrap();
            assert_eq!(&read[..bytes], payload, "{name}: message {turn}");
            if !initiator.is_handshake_finished() {
                continue;
            }
            if let Some(hash) = self.bytes("handshake_hash") {
                assert_eq!(initiator.get_handshake_hash(), hash, "{name}");
            }
            let (mut here, mut there) = (vault.open(), vault_there.open());
            let keys = [here.k1.take().unwrap(), here.k2.take().unwrap()];
            assert_eq!(
                keys,
                [there.k1.take().unwrap(), there.k2.take().unwrap()],
                "{name}"
            );
            ciphers = Some(keys.map(|key| Aead::with_key(cipher, &key)));
        }
        assert!(ciphers.is_some(), "{name} did not finish");
    }
}

/// A BLAKE2, as a provider would plug it in.
struct Blake<D> {
    digest: D,
    block_bytes: usize,
}

impl<D: Digest> Blake<D> {
    fn new(block_bytes: usize) -> Self {
        Self {
            digest: D::new(),
            block_bytes,
        }
    }
}

impl<D: Digest + Send + Sync> HashOps for Blake<D> {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn output_bytes(&self) -> usize {
        <D as Digest>::output_size()
    }

    fn reset(&mut self) {
        self.digest = D::new();
    }

    fn update(&mut self, data: &[u8]) {
        self.digest.update(data);
    }

    fn finish(&mut self, out: &mut [u8; HASH_BYTES_MAX]) {
        let digest = std::mem::replace(&mut self.digest, D::new()).finalize();
        out[..digest.len()].copy_from_slice(&digest);
    }
}
