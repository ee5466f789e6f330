//! Chains that lead to a trust domain, and every way in which they do not.

mod handshake;
mod ids;

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    SanType, SignatureAlgorithm, date_time_ymd,
};
use valkyrie_frame::ErrorCode;

use super::*;
use crate::credentials::{Credentials, Proof};
use crate::identity::Identity;
use crate::identity::tests::{NOW, public, static_key};
use crate::role::Role;
use crate::trust::{Expect, Place, RequireProof, Revocation, RevocationList, Trust, TrustError};
use crate::verified::{Assurance, TrustedBy, Verified};

const H: [u8; 32] = [7; 32];
const ID: &str = "spiffe://example.org/ns/ci/runner";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    CertifiedIssuer::self_signed(signer_params("root"), key).unwrap()
}

fn signer_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// What a good leaf says; good through 2026 and 2027.
fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params.subject_alt_names = vec![uri(ID), SanType::DnsName("runner.example".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

/// A workload: its certificates and its key.
struct Workload {
    chain: Vec<Bytes>,
    key: KeyPair,
}

impl Workload {
    fn new(
        root: &CertifiedIssuer<'static, KeyPair>,
        kind: &'static SignatureAlgorithm,
        params: &CertificateParams,
    ) -> Self {
        let key = KeyPair::generate_for(kind).unwrap();
        let leaf = params.signed_by(&key, root).unwrap();
        let chain = vec![Bytes::copy_from_slice(leaf.der())];
        Self { chain, key }
    }

    fn svid(&self) -> Result<X509Svid, SvidError> {
        X509Svid::new(&self.chain, self.key.serialized_der())
    }

    /// What it shows in the handshake, whatever it is.
    fn shows(&self) -> Credentials {
        let mut credentials = Credentials::default();
        credentials.set_svid(&self.chain).unwrap();
        let key = own::SvidKey::parse(self.key.serialized_der()).unwrap();
        let text = crate::credentials::proof_text(Role::Dialler, &H);
        credentials.set_proof(key.sign(&text).unwrap()).unwrap();
        credentials
    }
}

fn trusting(root: &CertifiedIssuer<'static, KeyPair>) -> Trust {
    let bundle = TrustBundle::new("example.org", &[Bytes::copy_from_slice(root.der())]).unwrap();
    let mut trust = Trust::default();
    trust.trust_bundle(bundle).unwrap();
    trust
}

fn judge(trust: &Trust, credentials: &Credentials) -> Result<Verified, TrustError> {
    let place = Place::dialled("tcp://runner:1", false);
    trust.verify(NOW, &public(1), Role::Dialler, &H, credentials, &place)
}

/// Why a leaf with these parameters is refused.
fn refused(change: impl FnOnce(&mut CertificateParams)) -> SvidError {
    let root = authority();
    let mut params = leaf_params();
    change(&mut params);
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &params);
    match judge(&trusting(&root), &workload.shows()) {
        Err(TrustError::Svid(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_workload_is_whom_its_certificate_names() {
    let root = authority();
    let trust = trusting(&root);
    for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let workload = Workload::new(&root, kind, &leaf_params());
        let svid = workload.svid().unwrap();
        assert_eq!(svid.spiffe_id().as_str(), ID);
        assert_eq!(svid.not_after().to_string(), "2028-01-01T00:00:01Z");
        let identity = Identity::of_svid(static_key(1), svid);
        assert!(identity.must_prove() && identity.document().is_none());
        let mut credentials = Credentials::of(&identity);
        credentials.prove(&identity, Role::Dialler, &H).unwrap();

        let verified = judge(&trust, &credentials).unwrap();
        assert_eq!(verified.spiffe_id(), Some(ID));
        assert_eq!((verified.name(), verified.fingerprint()), (None, None));
        let trust_domain = "example.org".to_owned();
        assert_eq!(verified.how(), &TrustedBy::Svid { trust_domain });
        assert_eq!(verified.assurance(), Assurance::Signed);
        assert_eq!(verified.not_after().to_string(), "2028-01-01T00:00:01Z");
        assert!(verified.to_string().starts_with(ID), "{verified}");
    }
}

#[test]
fn trust_that_is_read_anew_from_files_keeps_the_bundles_that_an_agent_gave() {
    let root = authority();
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    let before = trusting(&root);
    let anew = Trust::default().in_place_of(&before);
    judge(&anew, &workload.shows()).unwrap();
    let mut withdrawn = before;
    assert!(withdrawn.forget_trust_domain("example.org"));
    let anew = Trust::default().in_place_of(&withdrawn);
    assert!(judge(&anew, &workload.shows()).is_err());
}

#[test]
fn a_chain_leads_over_an_intermediate_that_is_shown() {
    let root = authority();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = signer_params("intermediate");
    params.not_after = date_time_ymd(2027, 1, 1);
    let intermediate = CertifiedIssuer::signed_by(params, key, &root).unwrap();
    let mut workload = Workload::new(&intermediate, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    let trust = trusting(&root);
    assert!(matches!(
        judge(&trust, &workload.shows()),
        Err(TrustError::Svid(SvidError::Untrusted(_)))
    ));
    workload.chain.push(Bytes::copy_from_slice(intermediate.der()));
    let verified = judge(&trust, &workload.shows()).unwrap();
    // The first of the path to end decides.
    assert_eq!(verified.not_after().to_string(), "2027-01-01T00:00:01Z");
}

#[test]
fn a_trust_domain_speaks_for_itself_alone() {
    let (root, other_root) = (authority(), authority());
    let mut params = leaf_params();
    params.subject_alt_names = vec![uri("spiffe://other.example/x")];
    let foreign = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &params);
    let mut trust = trusting(&root);
    let error = judge(&trust, &foreign.shows()).unwrap_err();
    assert_eq!(
        error,
        SvidError::UnknownTrustDomain("other.example".to_owned()).into()
    );
    assert_eq!(error.code(), ErrorCode::IDENTITY_UNTRUSTED);
    let bundle = TrustBundle::new("other.example", &[Bytes::copy_from_slice(other_root.der())]).unwrap();
    trust.trust_bundle(bundle).unwrap();
    let error = judge(&trust, &foreign.shows()).unwrap_err();
    assert!(
        matches!(error, TrustError::Svid(SvidError::Untrusted(_))),
        "{error}"
    );
    assert_eq!(error.code(), ErrorCode::IDENTITY_UNTRUSTED);
    let federated = Workload::new(&other_root, &PKCS_ECDSA_P256_SHA256, &params);
    assert!(judge(&trust, &federated.shows()).is_ok());
}

#[test]
fn certificates_outside_their_times_are_refused() {
    assert_eq!(
        refused(|params| params.not_after = date_time_ymd(2026, 9, 30)),
        SvidError::Times
    );
    assert_eq!(
        refused(|params| params.not_before = date_time_ymd(2026, 10, 1)),
        SvidError::Times
    );
    let root = authority();
    let mut params = leaf_params();
    params.not_after = date_time_ymd(2026, 9, 30);
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &params);
    let error = judge(&trusting(&root), &workload.shows()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CREDENTIALS_EXPIRED);
}

#[test]
fn certificates_that_are_no_workloads_are_refused() {
    assert_eq!(
        refused(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        SvidError::NotALeaf
    );
    assert_eq!(refused(|params| params.key_usages = vec![]), SvidError::NotALeaf);
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        assert_eq!(
            refused(|params| params.key_usages.push(usage)),
            SvidError::NotALeaf
        );
    }
    assert_eq!(
        refused(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        SvidError::NotALeaf
    );
    assert_eq!(
        refused(|params| params.subject_alt_names = vec![]),
        SvidError::Names(0)
    );
    assert_eq!(
        refused(|params| params.subject_alt_names.push(uri("spiffe://example.org/other"))),
        SvidError::Names(2)
    );
    for wrong in [
        "https://example.org/x",
        "spiffe://Example.org/x",
        "spiffe://example.org/x/",
    ] {
        let error = refused(|params| params.subject_alt_names = vec![uri(wrong)]);
        assert_eq!(error, SvidError::Id(SpiffeIdFormatError), "{wrong}");
    }
    assert_eq!(
        refused(|params| params.subject_alt_names = vec![uri("spiffe://example.org")]),
        SvidError::NoPath
    );
}

#[test]
fn a_certificate_for_servers_alone_does_not_dial() {
    let error = refused(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(matches!(error, SvidError::Untrusted(_)), "{error}");
}

#[test]
fn a_certificate_counts_only_with_a_proof_of_its_key() {
    let root = authority();
    let trust = trusting(&root);
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    let refused = |credentials: &Credentials| match judge(&trust, credentials) {
        Err(TrustError::Svid(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut bare = Credentials::default();
    bare.set_svid(&workload.chain).unwrap();
    assert_eq!(refused(&bare), SvidError::NoProof);

    // Somebody who has seen the certificate and has a key of its own.
    let mut stolen = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    stolen.chain.clone_from(&workload.chain);
    assert_eq!(refused(&stolen.shows()), SvidError::Proof);
    assert_eq!(stolen.svid().unwrap_err(), SvidError::OtherKey);

    let good = workload.shows();
    let proof = good.proof().unwrap().clone();
    for (algorithm, error) in [
        (1, SvidError::Proof),
        (2, SvidError::KeyKind),
        (4, SvidError::Proof),
        (9, SvidError::KeyKind),
    ] {
        let mut wrong = good.clone();
        let signature = proof.signature.clone();
        wrong.set_proof(Proof { algorithm, signature }).unwrap();
        assert_eq!(refused(&wrong), error, "{algorithm}");
    }
    for at in 0..proof.signature.len() {
        let mut signature = proof.signature.to_vec();
        signature[at] ^= 1;
        let mut wrong = good.clone();
        let signature = signature.into();
        wrong
            .set_proof(Proof {
                algorithm: 3,
                signature,
            })
            .unwrap();
        assert_eq!(refused(&wrong), SvidError::Proof, "byte {at}");
    }
    let place = Place::arrived(false);
    let elsewhere = trust.verify(NOW, &public(1), Role::Dialler, &[8; 32], &good, &place);
    assert_eq!(elsewhere, Err(SvidError::Proof.into()));
    let turned = trust.verify(NOW, &public(1), Role::Acceptor, &H, &good, &place);
    assert_eq!(turned, Err(SvidError::Proof.into()));
}

#[test]
fn a_flipped_bit_of_every_byte_of_the_certificate_is_refused() {
    let root = authority();
    let trust = trusting(&root);
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    let good = workload.shows();
    assert!(judge(&trust, &good).is_ok());
    for at in 0..workload.chain[0].len() {
        let mut leaf = workload.chain[0].to_vec();
        leaf[at] ^= 1 << (at % 8);
        let mut wrong = good.clone();
        wrong.set_svid(&[leaf.into()]).unwrap();
        assert!(judge(&trust, &wrong).is_err(), "byte {at}");
    }
    for len in 0..workload.chain[0].len() {
        let mut wrong = good.clone();
        wrong.set_svid(&[workload.chain[0].slice(..len)]).unwrap();
        assert_eq!(
            judge(&trust, &wrong),
            Err(SvidError::Malformed.into()),
            "{len} bytes"
        );
    }
}

#[test]
fn trust_in_workloads_is_judged_like_any_other() {
    let root = authority();
    let mut trust = trusting(&root);
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    let verified = judge(&trust, &workload.shows()).unwrap();
    let meet = |expect| {
        let place = Place::dialled("tcp://runner:1", false).expecting(expect);
        trust.verify(NOW, &public(1), Role::Dialler, &H, &workload.shows(), &place)
    };
    assert!(meet(Expect::SpiffeId(ID.to_owned())).is_ok());
    assert!(meet(Expect::SpiffeId("spiffe://example.org/other".to_owned())).is_err());
    assert_eq!(
        judge(
            &trust.clone().with_required_proof(RequireProof::PostQuantum),
            &workload.shows()
        ),
        Err(TrustError::WeakProof)
    );
    assert!(
        judge(
            &trust.clone().with_required_proof(RequireProof::Signed),
            &workload.shows()
        )
        .is_ok()
    );
    assert_eq!(trust.recheck(NOW, &verified), Ok(()));
    assert!(matches!(
        trust.recheck(verified.not_after(), &verified),
        Err(TrustError::Expired(_))
    ));

    let mut list = RevocationList::new();
    list.add(Revocation::StaticKey(public(1))).unwrap();
    let mut revoking = trust.clone();
    revoking.revoke(list).unwrap();
    assert_eq!(judge(&revoking, &workload.shows()), Err(TrustError::KeyRevoked));
    assert_eq!(revoking.recheck(NOW, &verified), Err(TrustError::KeyRevoked));

    assert!(trust.forget_trust_domain("example.org"));
    assert_eq!(trust.recheck(NOW, &verified), Err(TrustError::NoBundle));
    assert!(judge(&trust, &workload.shows()).is_err());
}

#[test]
fn what_cannot_be_shown_or_signed_with_is_refused_at_home() {
    let root = authority();
    let workload = Workload::new(&root, &PKCS_ECDSA_P521_SHA512, &leaf_params());
    assert_eq!(workload.svid().unwrap_err(), SvidError::KeyKind);
    let workload = Workload::new(&root, &PKCS_ED25519, &leaf_params());
    assert_eq!(
        X509Svid::new(&[], workload.key.serialized_der()).unwrap_err(),
        SvidError::Malformed
    );
    assert_eq!(
        X509Svid::new(&workload.chain, b"key").unwrap_err(),
        SvidError::KeyKind
    );
    let long = vec![workload.chain[0].clone(); 7];
    assert_eq!(
        X509Svid::new(&long, workload.key.serialized_der()).unwrap_err(),
        SvidError::TooMany
    );
    let svid = workload.svid().unwrap();
    assert_eq!(format!("{svid:?}"), format!("X509Svid {{ spiffe_id: {ID}, .. }}"));

    let der = Bytes::copy_from_slice(root.der());
    assert_eq!(
        TrustBundle::new("Example.org", &[]).unwrap_err(),
        SvidError::TrustDomain("Example.org".to_owned())
    );
    assert_eq!(
        TrustBundle::new("a", &[der.slice(1..)]).unwrap_err(),
        SvidError::Malformed
    );
    assert_eq!(
        TrustBundle::new("a", &vec![der; 65]).unwrap_err(),
        SvidError::TooMany
    );
}
