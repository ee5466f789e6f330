//! Who may use the broker: passwords, users with few rights, TLS, and places that are no broker.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use valkyrie_transport::tls::Roots;
use valkyrie_transport::{Bus, BusError, BusMessage, Locator, Transport, TransportError, accept};
use valkyrie_transport_redis::{RedisBus, RedisTransport};

use crate::ends::{expect_alive, pair};
use crate::support::Redis;

const PASSWORD: &str = "open/se:same@hunter2";

fn with_password(_: &Path) -> Vec<String> {
    ["--requirepass", PASSWORD].map(str::to_owned).to_vec()
}

/// Fails if the text, in any of its shapes, holds the password.
fn expect_silent(what: &(impl std::fmt::Debug + ?Sized), shown: Option<String>) {
    for text in [
        format!("{what:?}"),
        format!("{what:#?}"),
        shown.unwrap_or_default(),
    ] {
        assert!(
            !text.contains("hunter2") && !text.contains("same"),
            "it tells the password: {text}"
        );
    }
}

fn expect_silent_error(error: &TransportError) {
    let mut shown = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        shown += &error.to_string();
        source = error.source();
    }
    expect_silent(error, Some(shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_and_is_never_shown() {
    let Some(redis) = Redis::start_with(with_password) else {
        return;
    };
    let bare = redis.at("kitchen");
    let with = |user: &str, password: &str| -> Locator {
        format!("redis://{user}:{password}@127.0.0.1:{}/kitchen", redis.port)
            .parse()
            .unwrap()
    };
    for (transport, at) in [
        (RedisTransport::new(), with("default", PASSWORD)),
        (RedisTransport::new(), with("", PASSWORD)),
        (
            RedisTransport::new().with_credentials("default", PASSWORD),
            bare.clone(),
        ),
        (
            RedisTransport::new().with_credentials("default", "wrong"),
            with("default", PASSWORD),
        ),
    ] {
        let (mut dialled, mut accepted, listener) = pair(&transport, &at).await;
        expect_alive(&mut *dialled, &mut *accepted).await;
        assert_eq!(listener.locator(), &bare);
        for end in [&dialled, &accepted] {
            expect_silent(&end.peer(), None);
        }
        let bus = transport.bus(&at).await.unwrap();
        expect_silent(&bus, Some(bus.locator().to_string()));
        expect_silent(&transport, None);
    }

    for (transport, at) in [
        (RedisTransport::new(), bare.clone()),
        (RedisTransport::new(), with("default", "hunter2")),
        (RedisTransport::new(), with("nobody", PASSWORD)),
        (
            RedisTransport::new().with_credentials("default", "hunter2"),
            bare.clone(),
        ),
    ] {
        let errors = [
            transport.dial(&at).await.err(),
            transport.listen(&at).await.err(),
            transport.bus(&at).await.err(),
        ];
        for error in errors {
            let error = error.expect("somebody else was let in");
            assert!(
                matches!(error, TransportError::PermissionDenied { .. }),
                "{error:?}"
            );
            assert_eq!(error.locator(), &bare);
            expect_silent_error(&error);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_about_a_locator_shows_its_password() {
    let transport = RedisTransport::new();
    for text in [
        "redis://u:hunter2@127.0.0.1:6379/two/names",
        "redis://u:hunter2@127.0.0.1:6379/a.b",
        "redis://u:hunter2@127.0.0.1:6379",
        "redis://u:hunter2@127.0.0.1/kitchen",
        "redis://u:hunter2@127.0.0.1:0/kitchen",
        "redis://u:hunter2@:6379/kitchen",
        "redis://u:hunter2@/kitchen",
        "redis://u:hunter2@",
        "redis://hunter2@127.0.0.1:6379/kitchen",
        "tcp://u:hunter2@127.0.0.1:6379/kitchen",
        "redis://u:hunter2@127.0.0.1:1/kitchen",
    ] {
        let at: Locator = text.parse().unwrap();
        for error in [transport.dial(&at).await.err(), transport.listen(&at).await.err()] {
            expect_silent_error(&error.unwrap_or_else(|| panic!("{text} was taken")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_four_commands_and_our_channels() {
    let Some(redis) = Redis::start() else { return };
    // A pattern must be allowed in the very words that Redis is asked for.
    let channels = "resetchannels &valkyrie.2.* &valkyrie.2.bus.default.a.*";
    let rules = format!("{channels} -@all +hello +publish +subscribe +psubscribe");
    assert_eq!(
        redis.say(&format!("ACL SETUSER carrier on >hunter2 {rules}")),
        "+OK"
    );
    let transport = RedisTransport::new().with_credentials("carrier", "hunter2");
    let (mut dialled, mut accepted, _listener) = pair(&transport, &redis.at("kitchen")).await;
    expect_alive(&mut *dialled, &mut *accepted).await;
    let bus = transport.bus(&redis.at("")).await.unwrap();
    let _all = bus.subscribe(&["a".into(), "a.*".into()]).await.unwrap();
    let message = BusMessage {
        topic: "a".into(),
        payload: "b".into(),
    };
    bus.publish(&[message]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_do_is_denied_and_part_of_a_batch_is_said_to_be() {
    let Some(redis) = Redis::start() else { return };
    let rules = "resetchannels &valkyrie.2.bus.default.a -@all +hello +publish +subscribe +psubscribe";
    assert_eq!(
        redis.say(&format!("ACL SETUSER guest on >hunter2 {rules}")),
        "+OK"
    );
    let transport = RedisTransport::new().with_credentials("guest", "hunter2");
    let error = transport.dial(&redis.at("kitchen")).await.err().unwrap();
    assert!(
        matches!(error, TransportError::PermissionDenied { .. }),
        "{error:?}"
    );
    let error = transport.listen(&redis.at("kitchen")).await.err().unwrap();
    assert!(
        matches!(error, TransportError::PermissionDenied { .. }),
        "{error:?}"
    );

    let bus = transport.bus(&redis.at("")).await.unwrap();
    let message = |topic: &'static str| BusMessage {
        topic: topic.into(),
        payload: "x".into(),
    };
    let denied = bus.publish(&[message("b")]).await;
    assert!(matches!(denied, Err(BusError::Denied { .. })), "{denied:?}");
    let partial = bus
        .publish(&[message("a"), message("a"), message("b"), message("c")])
        .await;
    assert!(
        matches!(partial, Err(BusError::Partial { taken: 2, .. })),
        "{partial:?}"
    );
    let all = RedisBus::connect(&redis.at("")).await.unwrap();
    for patterns in [&["b"][..], &["a", "b"], &["a", "a.*"]] {
        let patterns: Vec<_> = patterns.iter().map(|&text| text.into()).collect();
        let denied = bus.subscribe(&patterns).await.err().unwrap();
        assert!(matches!(denied, BusError::Denied { .. }), "{denied:?}");
    }
    crate::support::eventually(|| redis.say("PUBSUB CHANNELS") == "*0").await;
    drop(all);
}

/// A certificate authority, and a server that shows a certificate of it; the plain port is off.
fn with_tls(folder: &Path) -> Vec<String> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let authority = write("authority.pem", authority_certificate.pem());
    let certificate = write("server.pem", server.pem());
    let key = write("server.key", server_key.serialize_pem());
    [
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-auth-clients",
        "no",
        "--requirepass",
        PASSWORD,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["--tls-cert-file".to_owned(), certificate])
    .chain(["--tls-key-file".to_owned(), key])
    .chain(["--tls-ca-cert-file".to_owned(), authority])
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_carries_links_and_a_bus_to_a_broker_that_is_verified() {
    let Some(redis) = Redis::start_with(with_tls) else {
        return;
    };
    let at: Locator = format!("rediss://127.0.0.1:{}/kitchen", redis.port)
        .parse()
        .unwrap();
    let roots = Roots::File(redis.folder().join("authority.pem"));
    let transport = RedisTransport::secure(roots).with_credentials("default", PASSWORD);
    assert_eq!(transport.scheme(), "rediss");
    let (mut dialled, mut accepted, _listener) = pair(&transport, &at).await;
    expect_alive(&mut *dialled, &mut *accepted).await;
    assert!(
        !dialled.capabilities().secure,
        "TLS ends at the broker, and the link does not"
    );
    assert_eq!(dialled.channel_binding(), None);
    let bus = transport.bus(&at).await.unwrap();
    let _subscription = bus.subscribe(&["a".into()]).await.unwrap();

    // A broker that shows somebody else's certificate gets no password.
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = redis.folder().join("other.pem");
    std::fs::write(&other, stranger.cert.pem()).unwrap();
    let transport = RedisTransport::secure(Roots::File(other)).with_credentials("default", PASSWORD);
    let error = transport.dial(&at).await.err().unwrap();
    assert!(matches!(error, TransportError::Untrusted { .. }), "{error:?}");
    let transport = RedisTransport::secure(Roots::Any).with_credentials("default", PASSWORD);
    let error = transport.dial(&at).await.err().unwrap();
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
    expect_silent_error(&error);

    // Plain on the port of TLS.
    let plain: Locator = at.as_str().replace("rediss", "redis").parse().unwrap();
    let error = RedisTransport::new().dial(&plain).await.err().unwrap();
    assert!(
        matches!(error, TransportError::Aborted { .. } | TransportError::Io { .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_plain_broker_is_an_error() {
    let Some(redis) = Redis::start() else { return };
    let at: Locator = format!("rediss://127.0.0.1:{}/kitchen", redis.port)
        .parse()
        .unwrap();
    // Redis waits for the end of a line, which no greeting of TLS need have.
    let transport = RedisTransport::secure(Roots::Any).with_connect_timeout(Duration::from_millis(500));
    let error = transport.dial(&at).await.err().unwrap();
    assert!(
        matches!(
            error,
            TransportError::Aborted { .. } | TransportError::TimedOut { .. }
        ),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_broker_is_an_error_and_takes_no_longer_than_allowed() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"",
        b"-ERR unknown command 'HELLO'\r\n",
        b"hang",
    ] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 1000]);
            if answer == b"hang" {
                let _ = stream.read(&mut [0; 1000]);
            } else {
                let _ = stream.write_all(answer);
            }
        });
        let transport = RedisTransport::new()
            .with_connect_timeout(Duration::from_millis(500))
            .with_credentials("u", "hunter2");
        let at: Locator = format!("redis://127.0.0.1:{port}/kitchen").parse().unwrap();
        let error = transport.dial(&at).await.err().unwrap();
        assert!(error.is_transient() || answer.starts_with(b"-ERR"), "{error:?}");
        expect_silent_error(&error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_is_an_error_and_the_listener_survives_it() {
    let limit = |_: &Path| ["--maxclients", "6"].map(str::to_owned).to_vec();
    let Some(redis) = Redis::start_with(limit) else {
        return;
    };
    let transport = RedisTransport::new().with_connect_timeout(Duration::from_secs(2));
    let at = redis.at("kitchen");
    let (first, also_first, mut listener) = pair(&transport, &at).await;
    // Three connections are in use; another link fits, and a third does not.
    let mut links = Vec::new();
    let full = loop {
        let (dialled, accepted) = tokio::join!(transport.dial(&at), async {
            tokio::time::timeout(Duration::from_secs(3), accept(&mut *listener)).await
        });
        links.extend(accepted.into_iter().flatten());
        match dialled {
            Ok(link) => links.push(link),
            Err(error) => break error,
        }
        assert!(links.len() < 10, "a full server takes more");
    };
    assert!(full.is_transient(), "{full:?}");
    drop((links, first, also_first));
    let again = async {
        loop {
            if let Ok(link) = transport.dial(&at).await {
                return link;
            }
        }
    };
    let accepting = async {
        loop {
            if let Ok(link) = accept(&mut *listener).await {
                return link;
            }
        }
    };
    let (mut dialled, mut accepted) = tokio::join!(again, accepting);
    expect_alive(&mut *dialled, &mut *accepted).await;
}
