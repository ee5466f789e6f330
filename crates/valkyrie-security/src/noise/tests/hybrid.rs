//! The published vector of `Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256`, byte for byte, through both phases of this module.
//!
//! aws-lc cannot be given the randomness of ML-KEM, so a second implementation makes the vector's keys and
//! ciphertext; aws-lc then has to agree with it.

use std::cell::RefCell;

#[expect(deprecated, reason = "aws-lc takes a private key in no other form")]
use ml_kem::ExpandedKeyEncoding;
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey768, EncapsulationKey768};

use crate::Role;
use crate::noise::resolver::Resolver;
use crate::noise::state::{Start, State};
use crate::noise::vault::Vault;
use crate::noise::{Accepted, Accepting, Dialling};
use crate::provider::{KemFailed, KemOps, MlKem768, Providers, SECRET_BYTES, StaticKey};
use crate::suite::{Kem, SuiteId};
use crate::vectors::{array, field, read};

/// ML-KEM-768 with the randomness of a vector.
pub(super) struct Seeded {
    key: Option<DecapsulationKey768>,
    public: Vec<u8>,
    seed: [u8; 64],
    message: [u8; 32],
}

impl Seeded {
    pub(super) fn new(seed: [u8; 64], message: [u8; 32]) -> Self {
        Self {
            key: None,
            public: Vec::new(),
            seed,
            message,
        }
    }
}

impl KemOps for Seeded {
    fn generate(&mut self) -> Result<(), KemFailed> {
        let key = DecapsulationKey768::from_seed(self.seed.into());
        self.public = key.encapsulation_key().to_bytes().to_vec();
        self.key = Some(key);
        Ok(())
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn encapsulate(
        &self,
        public: &[u8],
        ciphertext: &mut [u8],
        secret: &mut [u8; SECRET_BYTES],
    ) -> Result<(), KemFailed> {
        let public = public.try_into().map_err(|_| KemFailed)?;
        let public = EncapsulationKey768::new(public).map_err(|_| KemFailed)?;
        let (made, shared) = public.encapsulate_deterministic(&self.message.into());
        ciphertext.copy_from_slice(&made);
        secret.copy_from_slice(&shared);
        Ok(())
    }

    fn decapsulate(&self, ciphertext: &[u8], secret: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed> {
        let key = self.key.as_ref().ok_or(KemFailed)?;
        let ciphertext = ciphertext.try_into().map_err(|_| KemFailed)?;
        secret.copy_from_slice(&key.decapsulate(ciphertext));
        Ok(())
    }
}

#[test]
fn the_published_hybrid_vector_is_reproduced() {
    let vector = read("hfs/xxhfs_mlkem768.json");
    let key = |name: &str| StaticKey::from_bytes(&array(&field(&vector, name))).unwrap();
    let suite = SuiteId::XX_CHACHA.suite().unwrap();
    assert_eq!(vector["protocol"], suite.name);
    let providers = Providers::default();
    let state = |role: Role, own: &StaticKey, ephemeral: StaticKey| {
        let vault = Vault::default();
        let mut resolver = Resolver::new(suite, &providers, &vault, own).unwrap();
        resolver.ephemeral = Some(ephemeral);
        let seeded = Seeded::new(
            array(&field(&vector, "kem_seed_d_z")),
            array(&field(&vector, "encaps_m")),
        );
        resolver.kem = RefCell::new(Some((Kem::MlKem768, Box::new(seeded))));
        let start = Start {
            suite,
            providers: &providers,
            key: own,
            peer: None,
            psk: None,
            prologue: &field(&vector, "prologue"),
        };
        State::with(&start, role, vault, resolver).unwrap()
    };
    let (ada, bob) = (key("static_i"), key("static_r"));

    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
    let dialler = state(Role::Dialler, &ada, key("eph_i"));
    let dialling = Dialling::begin(dialler, None, &[], &mut first).unwrap();
    assert_eq!(first, field(&vector, "msg_a"));
    let opened = Accepting::open(state(Role::Acceptor, &bob, key("eph_r")), &first).unwrap();
    let Accepted::Waiting(accepting) = opened.answer(&mut second).unwrap() else {
        panic!("XX has a third message");
    };
    assert_eq!(second, field(&vector, "msg_b"));
    let dialled = dialling.second(&second, &mut third).unwrap();
    assert_eq!(third, field(&vector, "msg_c"));
    let accepted = accepting.third(&third).unwrap();

    for finished in [dialled, accepted] {
        assert_eq!(finished.hash()[..], field(&vector, "handshake_hash"));
        assert_eq!(finished.keys().0[..], field(&vector, "cs1_k"));
        assert_eq!(finished.keys().1[..], field(&vector, "cs2_k"));
    }
}

#[test]
fn aws_lc_and_a_second_implementation_share_the_same_secret() {
    let mut here = MlKem768::default();
    let mut there = Seeded::new([3; 64], [4; 32]);
    here.generate().unwrap();
    there.generate().unwrap();
    let (mut ciphertext, mut made, mut recovered) = (vec![0; 1088], [0; 32], [0; 32]);
    for _ in 0..16 {
        here.encapsulate(there.public(), &mut ciphertext, &mut made)
            .unwrap();
        there.decapsulate(&ciphertext, &mut recovered).unwrap();
        assert_eq!(made, recovered);
        there
            .encapsulate(here.public(), &mut ciphertext, &mut made)
            .unwrap();
        here.decapsulate(&ciphertext, &mut recovered).unwrap();
        assert_eq!(made, recovered);
    }
}

#[test]
fn aws_lc_opens_the_published_ciphertext() {
    let vector = read("hfs/xxhfs_mlkem768.json");
    let seeded =
        DecapsulationKey768::from_seed(field(&vector, "kem_seed_d_z").as_slice().try_into().unwrap());
    let mut second = Seeded::new(
        array(&field(&vector, "kem_seed_d_z")),
        array(&field(&vector, "encaps_m")),
    );
    second.generate().unwrap();
    let (mut ciphertext, mut secret) = (vec![0; 1088], [0; 32]);
    second
        .encapsulate(second.public(), &mut ciphertext, &mut secret)
        .unwrap();
    #[expect(deprecated, reason = "aws-lc takes a private key in no other form")]
    let expanded = seeded.to_expanded_bytes();
    let opened = MlKem768::from_private(&expanded).unwrap();
    let mut recovered = [0; 32];
    opened.decapsulate(&ciphertext, &mut recovered).unwrap();
    assert_eq!(secret, recovered);
}
