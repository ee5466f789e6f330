//! Signatures over the handshake: asked for, forged, turned around.

use super::*;
use crate::credentials::Proof;

fn identity(key: fn(u8) -> SigningKey) -> Identity {
    let document = full("ada", 1).sign(&key(1)).unwrap().document().unwrap();
    Identity::new(vec![static_key(1)], Some(key(1)), document).unwrap()
}

fn proving(identity: &Identity, role: Role, h: &[u8; 32]) -> Credentials {
    let mut credentials = Credentials::of(identity);
    credentials.prove(identity, role, h).unwrap();
    credentials
}

#[test]
fn a_proof_says_how_strongly_the_peer_is_bound() {
    let classical_ada = identity(classical);
    let trust = pinning(&classical(1));
    let verified = judge(&trust, &proving(&classical_ada, Role::Dialler, &H)).unwrap();
    assert_eq!(verified.assurance(), Assurance::Signed);
    let hybrid_ada = identity(hybrid);
    let trust = pinning(&hybrid(1)).with_required_proof(RequireProof::PostQuantum);
    let verified = judge(&trust, &proving(&hybrid_ada, Role::Dialler, &H)).unwrap();
    assert_eq!(verified.assurance(), Assurance::PostQuantum);
    assert!(Assurance::PostQuantum > Assurance::Signed && Assurance::Signed > Assurance::StaticKey);
}

#[test]
fn a_proof_that_is_asked_for_must_be_there_and_strong_enough() {
    let ada = identity(classical);
    let signed = pinning(&classical(1)).with_required_proof(RequireProof::Signed);
    let error = judge(&signed, &Credentials::of(&ada)).unwrap_err();
    assert_eq!(
        (error.code(), error),
        (ErrorCode::UNAUTHENTICATED, TrustError::NoProof)
    );
    assert!(judge(&signed, &proving(&ada, Role::Dialler, &H)).is_ok());
    let strong = pinning(&classical(1)).with_required_proof(RequireProof::PostQuantum);
    assert_eq!(judge(&strong, &Credentials::of(&ada)), Err(TrustError::NoProof));
    assert_eq!(
        judge(&strong, &proving(&ada, Role::Dialler, &H)),
        Err(TrustError::WeakProof)
    );
}

#[test]
fn a_proof_of_another_handshake_role_or_identity_is_refused_even_unasked() {
    let trust = pinning(&classical(1));
    let ada = identity(classical);
    let wrong = |credentials: &Credentials| {
        let error = judge(&trust, credentials).unwrap_err();
        assert!(matches!(error, TrustError::Proof(_)), "{error}");
    };
    wrong(&proving(&ada, Role::Acceptor, &H));
    wrong(&proving(&ada, Role::Dialler, &[8; 32]));
    // A hybrid identity's proof beside a document without an ML-DSA key.
    let mut mixed = proving(&identity(hybrid), Role::Dialler, &H);
    let proof = mixed.proof().unwrap().clone();
    mixed = Credentials::of(&ada);
    mixed.set_proof(proof).unwrap();
    wrong(&mixed);
}

#[test]
fn a_damaged_proof_is_refused() {
    let trust = pinning(&classical(1));
    let ada = identity(classical);
    let good = proving(&ada, Role::Dialler, &H).proof().unwrap().clone();
    for at in 0..good.signature.len() {
        let mut signature = good.signature.to_vec();
        signature[at] ^= 1;
        let mut credentials = Credentials::of(&ada);
        let signature = Bytes::from(signature);
        credentials
            .set_proof(Proof {
                algorithm: 1,
                signature,
            })
            .unwrap();
        assert!(
            matches!(judge(&trust, &credentials), Err(TrustError::Proof(_))),
            "byte {at}"
        );
    }
    for len in 0..good.signature.len() {
        let mut credentials = Credentials::of(&ada);
        let signature = good.signature.slice(..len);
        credentials
            .set_proof(Proof {
                algorithm: 1,
                signature,
            })
            .unwrap();
        assert!(judge(&trust, &credentials).is_err(), "{len} bytes");
    }
    for algorithm in [0, 3, 255] {
        let mut credentials = Credentials::of(&ada);
        let signature = good.signature.clone();
        credentials.set_proof(Proof { algorithm, signature }).unwrap();
        assert_eq!(
            judge(&trust, &credentials),
            Err(TrustError::ProofAlgorithm(algorithm))
        );
    }
}
