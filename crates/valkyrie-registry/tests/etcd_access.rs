//! Who may use an etcd: users with few rights, TLS on both sides, and addresses that are none.

#[path = "support/etcd.rs"]
mod etcd;

use std::fs;
use std::path::{Path, PathBuf};

use etcd::{Etcd, key, put};
use etcd_client::{Client, Permission};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use valkyrie_registry::etcd::{ConnectError, EtcdOptions};
use valkyrie_registry::store::{StoreError, Txn};
use valkyrie_registry::{EtcdStore, Prefix, Store};
use valkyrie_transport::tls::{Certificates, Roots};

const PASSWORD: &str = "same@hunter2";

/// One user, who may use one path and nothing else.
async fn demand_logins(mut client: Client) {
    client.user_add("root", "toor", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_add("registry", PASSWORD, None).await.unwrap();
    client.role_add("registry").await.unwrap();
    let path = Permission::read_write("mine/").with_prefix();
    client.role_grant_permission("registry", path).await.unwrap();
    client.user_grant_role("registry", "registry").await.unwrap();
    client.auth_enable().await.unwrap();
}

fn refused(connected: Result<EtcdStore, ConnectError>) {
    match connected {
        Err(ConnectError::Store(StoreError::Unavailable(reason))) => {
            assert!(reason.contains("etcd refuses this user"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_rights_on_one_path_has_a_registry_there_and_nowhere_else() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let stranger = etcd.store_at(0).await;
    demand_logins(etcd.client(0).await).await;
    let mine = || etcd.options().with_path(key("mine"));
    refused(EtcdStore::connect(mine()).await);
    refused(EtcdStore::connect(mine().with_credentials("registry", "wrong")).await);
    refused(EtcdStore::connect(etcd.options().with_credentials("registry", PASSWORD)).await);
    // A store from before logins were demanded.
    let txn = Txn::new().put(key("a"), "x".into(), None);
    assert!(matches!(
        stranger.commit(txn).await,
        Err(StoreError::Unavailable(_))
    ));

    let options = mine().with_credentials("registry", PASSWORD);
    assert!(!format!("{options:?}").contains("hunter2"));
    let store = EtcdStore::connect(options).await.unwrap();
    let begin = put(&store, "a", "1").await;
    let mut watch = store.watch(&Prefix::all(), begin).await.unwrap();
    let deleted = store.commit(Txn::new().delete(key("a"))).await.unwrap();
    assert_eq!(watch.next(1).await.unwrap().changes[0].revision, deleted.revision);

    // etcd forgets its tokens when it ends. A read notices that the connection is gone, and logs in again.
    etcd.kill(0);
    etcd.restart(0);
    while store.get(&key("a")).await.is_err() {}
    let later = put(&store, "a", "2").await;
    assert_eq!(watch.next(1).await.unwrap().changes[0].revision, later);
}

/// A certificate and its key, as files.
struct Pair {
    chain: PathBuf,
    key: PathBuf,
}

fn files(folder: &Path, name: &str, chain: &str, key: &KeyPair) -> Pair {
    let pair = Pair {
        chain: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    fs::write(&pair.chain, chain).unwrap();
    fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}

/// An authority, and a certificate of it for this machine.
fn authority(folder: &Path, name: &str) -> (PathBuf, Pair) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // What has its signer's name has signed itself, to some.
    params.distinguished_name.push(DnType::CommonName, name);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let roots = folder.join(format!("{name}-roots.pem"));
    fs::write(&roots, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (roots, files(folder, name, &certificate.pem(), &key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_both_sides_show_certificates_that_the_other_takes() {
    let folder = tempfile::tempdir().unwrap();
    let (roots, pair) = authority(folder.path(), "ours");
    let (strange_roots, strange_pair) = authority(folder.path(), "strange");
    let text = |path: &Path| path.display().to_string();
    let arguments = [
        "--client-cert-auth".to_owned(),
        "--trusted-ca-file".to_owned(),
        text(&roots),
        "--cert-file".to_owned(),
        text(&pair.chain),
        "--key-file".to_owned(),
        text(&pair.key),
    ];
    let Some(etcd) = Etcd::start_with(1, "https", &arguments) else {
        return;
    };
    let ours = Certificates::files(&pair.chain, &pair.key).unwrap();
    let strange = Certificates::files(&strange_pair.chain, &strange_pair.key).unwrap();
    let with_roots = |roots: &Path| etcd.options().with_tls(Roots::File(roots.to_owned()));

    let options = with_roots(&roots).with_certificate(ours.clone());
    let store = EtcdStore::connect(options).await.unwrap();
    let begin = put(&store, "a", "1").await;
    let mut watch = store.watch(&Prefix::all(), begin).await.unwrap();
    let later = put(&store, "a", "2").await;
    assert_eq!(watch.next(1).await.unwrap().changes[0].revision, later);

    for options in [
        with_roots(&roots),
        with_roots(&roots).with_certificate(strange),
        with_roots(&strange_roots).with_certificate(ours.clone()),
    ] {
        let connected = EtcdStore::connect(options).await;
        assert!(
            matches!(connected, Err(ConnectError::Store(StoreError::Unavailable(_)))),
            "{connected:?}"
        );
    }
    let anybody = etcd.options().with_certificate(ours).with_tls(Roots::Any);
    assert!(matches!(
        EtcdStore::connect(anybody).await,
        Err(ConnectError::Unverified)
    ));
}

#[tokio::test]
async fn what_is_no_etcd_is_said_to_be_none() {
    let none = EtcdStore::connect(EtcdOptions::new(Vec::<String>::new())).await;
    assert!(matches!(none, Err(ConnectError::NoEndpoints)));
    for endpoint in [
        "",
        "127.0.0.1:2379",
        "http://127.0.0.1",
        "http://me@127.0.0.1:2379",
        "http://127.0.0.1:2379/v3",
        "https://127.0.0.1:2379",
        "tcp://127.0.0.1:2379",
    ] {
        let connected = EtcdStore::connect(EtcdOptions::new([endpoint])).await;
        assert!(
            matches!(connected, Err(ConnectError::Endpoint { .. })),
            "{endpoint}"
        );
    }
    // Nobody listens at port 1, and something else than an etcd at the other.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://{}", other.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1", &other] {
        let connected = EtcdStore::connect(EtcdOptions::new([endpoint])).await;
        assert!(matches!(
            connected,
            Err(ConnectError::Store(StoreError::Unavailable(_)))
        ));
    }
}
