//! Handshakes in memory, and files that change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection,
};
use tempfile::TempDir;

use super::*;

const ALPN: &[&[u8]] = &[b"valkyrie/2"];

struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

/// A handshake in memory, to its end or to its first error.
fn shake(
    roots: &Roots,
    certificates: &Certificates,
    host: &str,
    offered: &[&[u8]],
) -> Result<Ends, rustls::Error> {
    shake_as(
        roots.client_config(offered).unwrap(),
        certificates.server_config(ALPN).unwrap(),
        host,
    )
}

fn shake_as(
    client_config: Arc<ClientConfig>,
    server_config: Arc<ServerConfig>,
    host: &str,
) -> Result<Ends, rustls::Error> {
    let mut client = ClientConnection::new(client_config, server_name(host).unwrap())?;
    let mut server = ServerConnection::new(server_config)?;
    assert_eq!(channel_binding(&client), None, "a binding before there is a link");
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(Ends { client, server })
}

fn armoured(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// Certificate and key files for `name` in a directory that goes when this goes.
struct Place {
    _folder: TempDir,
    chain: PathBuf,
    key: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let place = Self {
            _folder: folder,
            chain,
            key,
        };
        place.replace(name);
        place
    }

    /// Puts another certificate and key there, the way that tools which renew do: by a rename.
    fn replace(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        put(&self.chain, &armoured("CERTIFICATE", certificate.der()));
        put(&self.key, &armoured("PRIVATE KEY", &key.serialize_der()));
    }

    fn certificates(&self) -> Certificates {
        Certificates::files(&self.chain, &self.key).unwrap()
    }
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn both_ends_have_one_binding_that_no_other_connection_has() {
    let binding = || {
        let ends = shake(&Roots::Any, &Certificates::self_signed(), "127.0.0.1", ALPN).unwrap();
        let here = channel_binding(&ends.client).unwrap();
        assert_eq!(channel_binding(&ends.server), Some(here));
        here
    };
    assert_ne!(binding(), binding());
}

#[test]
fn keys_are_exchanged_post_quantum_in_tls_1_3() {
    let ends = shake(&Roots::Any, &Certificates::self_signed(), "a.example", ALPN).unwrap();
    let group = ends.server.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    assert_eq!(ends.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(ends.client.alpn_protocol(), Some(ALPN[0]));
}

#[test]
fn a_peer_of_another_protocol_is_refused() {
    let error = shake(&Roots::Any, &Certificates::self_signed(), "a.example", &[b"h2"])
        .err()
        .unwrap();
    assert_eq!(error, rustls::Error::NoApplicationProtocol);
}

#[test]
fn roots_from_a_file_take_their_certificate_and_its_name_alone() {
    let (ours, theirs) = (Place::new("node.example"), Place::new("node.example"));
    let roots = Roots::File(ours.chain.clone());
    assert!(shake(&roots, &ours.certificates(), "node.example", ALPN).is_ok());
    for (certificates, host) in [
        (ours.certificates(), "other.example"),
        (ours.certificates(), "::1"),
        (theirs.certificates(), "node.example"),
        (Certificates::self_signed(), "valkyrie.invalid"),
    ] {
        let error = shake(&roots, &certificates, host, ALPN).err().unwrap();
        assert!(
            matches!(error, rustls::Error::InvalidCertificate(_)),
            "{host}: {error:?}"
        );
    }
}

#[test]
fn a_dialler_shows_its_certificate_to_a_server_that_asks() {
    let (server, client, stranger) = (
        Place::new("server.test"),
        Place::new("client.test"),
        Place::new("other.test"),
    );
    let mut taken = RootCertStore::empty();
    let chain = pem::certificates(&client.chain).unwrap();
    taken.add(chain[0].clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(taken), provider());
    let asking = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            pem::certificates(&server.chain).unwrap(),
            pem::private_key(&server.key).unwrap(),
        )
        .unwrap();
    let asking = Arc::new(asking);
    let shake = |config| shake_as(config, Arc::clone(&asking), "server.test");

    let shown = Roots::Any.client_config_as(&client.certificates(), &[]).unwrap();
    let ends = shake(shown).unwrap();
    assert_eq!(ends.server.peer_certificates().unwrap(), chain);
    assert!(shake(Roots::Any.client_config(&[]).unwrap()).is_err());
    for other in [stranger.certificates(), Certificates::self_signed()] {
        assert!(shake(Roots::Any.client_config_as(&other, &[]).unwrap()).is_err());
    }
}

#[test]
fn roots_of_the_system_do_not_take_a_certificate_of_our_own() {
    match Roots::System.client_config(ALPN) {
        Ok(_) => assert!(
            shake(
                &Roots::System,
                &Certificates::self_signed(),
                "valkyrie.invalid",
                ALPN
            )
            .is_err()
        ),
        // A system without roots trusts nobody, and says so.
        Err(error) => assert!(matches!(error, TlsError::Roots { .. }), "{error:?}"),
    }
}

#[test]
fn a_replaced_certificate_is_shown_after_the_next_look() {
    let place = Place::new("old.example");
    let certificates = place.certificates();
    let files = certificates.loaded_from();
    let start = Instant::now();
    let old = files.at(start).cert.clone();
    place.replace("new.example");
    assert_eq!(files.at(start).cert, old, "looked again within the interval");
    let new = files.at(start + 2 * CHECK_INTERVAL).cert.clone();
    assert_ne!(new, old);
    assert_eq!(files.at(start + 4 * CHECK_INTERVAL).cert, new);
}

#[test]
fn a_broken_replacement_is_told_once_and_the_old_certificate_stays() {
    let place = Place::new("old.example");
    let told = Arc::new(Mutex::new(Vec::new()));
    let certificates = {
        let told = Arc::clone(&told);
        place
            .certificates()
            .with_report(move |error| told.lock().unwrap().push(error.to_string()))
    };
    let files = certificates.loaded_from();
    let mut now = Instant::now();
    let mut look = || {
        now += Duration::from_secs(2);
        files.at(now).cert.clone()
    };
    let old = look();

    put(&place.chain, "nothing of the kind");
    assert_eq!((look(), look()), (old.clone(), old.clone()));
    assert_eq!(told.lock().unwrap().len(), 1);
    assert!(
        told.lock().unwrap()[0].contains("chain.pem"),
        "{:?}",
        told.lock().unwrap()
    );

    fs::remove_file(&place.key).unwrap();
    assert_eq!(look(), old);
    assert_eq!(told.lock().unwrap().len(), 2);

    place.replace("new.example");
    assert_ne!(look(), old);
    assert_eq!(told.lock().unwrap().len(), 2);
}

#[test]
fn files_that_cannot_be_used_say_which_and_why() {
    let (place, other) = (Place::new("a.example"), Place::new("a.example"));
    let missing = place.chain.with_file_name("missing.pem");
    let empty = place.chain.with_file_name("empty.pem");
    fs::write(&empty, "").unwrap();
    let long = place.chain.with_file_name("long.pem");
    fs::write(&long, vec![b'\n'; PEM_BYTES_MAX + 1]).unwrap();

    let error = |chain: &Path, key: &Path| Certificates::files(chain, key).err().unwrap();
    assert!(matches!(error(&missing, &place.key), TlsError::Read { path, .. } if path == missing));
    assert!(matches!(error(&place.chain, &missing), TlsError::Read { path, .. } if path == missing));
    assert!(matches!(
        error(&empty, &place.key),
        TlsError::NotPem {
            wanted: "certificate",
            ..
        }
    ));
    assert!(matches!(
        error(&place.chain, &place.chain),
        TlsError::NotPem {
            wanted: "private key",
            ..
        }
    ));
    assert!(matches!(error(&long, &place.key), TlsError::TooLong { path, .. } if path == long));
    assert!(matches!(error(&place.chain, &other.key), TlsError::Pair { .. }));
    assert!(matches!(
        Roots::File(missing).client_config(ALPN).err(),
        Some(TlsError::Read { .. })
    ));
}

#[test]
fn a_host_is_a_name_an_address_or_an_address_with_a_scope() {
    for host in ["node.example", "localhost", "192.0.2.1", "::1", "fe80::1%eth0"] {
        assert!(server_name(host).is_ok(), "{host}");
    }
    for host in ["", "a b", "-"] {
        assert!(
            matches!(server_name(host), Err(TlsError::Name { .. })),
            "{host:?}"
        );
    }
}

#[test]
fn nothing_of_a_key_is_in_debug_output() {
    let place = Place::new("a.example");
    let text = format!("{:?}", place.certificates());
    assert!(text.contains("key.pem") && text.len() < 500, "{text}");
    assert_eq!(
        format!("{:?}", Certificates::self_signed()),
        "Certificates(self-signed)"
    );
}
