//! Who is at the other end: handshakes over every kind of link, trust, and going without by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use valkyrie_endpoint::{
    AccessPolicy, CallError, CloseReason, ConnectError, Endpoint, ErrorCode, Expect, HandshakeError,
    PlainRule, Services, Transport,
};
use valkyrie_security::trust::{FirstUse, TrustError};
use valkyrie_security::verified::TrustedBy;
use valkyrie_security::{Pattern, Suite};
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport_tcp::TcpTransport;
use valkyrie_transport_uds::UdsTransport;

use crate::people::{Middle, Person, now, until, who};
use crate::support::{echo, within};

fn places() -> [String; 3] {
    let name = format!("uds://@valkyrie-secure-{}", std::process::id());
    ["mem://secure".to_owned(), "tcp://127.0.0.1:0".to_owned(), name]
}

fn everywhere(builder: valkyrie_endpoint::EndpointBuilder) -> valkyrie_endpoint::EndpointBuilder {
    builder
        .transport(TcpTransport::default())
        .transport(UdsTransport::default())
}

fn suite(connection: &valkyrie_endpoint::Connection) -> &'static Suite {
    connection.identity().suite().unwrap().suite().unwrap()
}

fn handshake(error: &ConnectError) -> &HandshakeError {
    match error {
        ConnectError::Handshake { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn both_sides_of_every_link_know_who_the_other_is() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let calls = Arc::new(AtomicUsize::new(0));
    let server = everywhere(bob.builder(mem.clone()))
        .services(who(&calls))
        .build()
        .unwrap();
    let client = everywhere(ada.builder(mem)).build().unwrap();
    for place in places() {
        let bound = server.listen(&place).await.unwrap();
        let connection = within(client.connect(&bound)).await.unwrap();
        let identity = connection.identity();
        assert_eq!(identity.fingerprint(), Some(bob.fingerprint), "{place}");
        assert_eq!(identity.name(), Some("bob"));
        assert_eq!(identity.how(), &TrustedBy::Pin);
        assert_eq!(suite(&connection).pattern, Pattern::Xx);
        assert!(suite(&connection).post_quantum());
        let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
        assert_eq!(
            answer,
            format!("ada ({}), pinned", ada.fingerprint).as_bytes(),
            "{place}"
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(server.security_stats().security_violations, 0);
}

#[tokio::test]
async fn nothing_of_a_session_is_seen_on_a_secure_link() {
    let mem = MemTransport::new();
    let server = Endpoint::builder()
        .transport(mem.clone())
        .services(echo())
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap();
    server.listen("mem://secure").await.unwrap();
    let middle = Middle::new(&mem);
    let client = Endpoint::builder().transport(middle.clone()).build().unwrap();
    let connection = within(client.connect("mem://secure")).await.unwrap();
    let word = "a word that is easy to find";
    assert_eq!(
        within(connection.call(("echo", "echo"), word)).await.unwrap(),
        word
    );
    for way in [crate::people::Way::There, crate::people::Way::Back] {
        let seen = middle.seen(way);
        for text in [word, "echo", "ephemeral"] {
            assert!(
                !seen.windows(text.len()).any(|bytes| bytes == text.as_bytes()),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn plain_needs_both_ends_to_ask_for_it() {
    let mem = MemTransport::new();
    let build = |plain, services| {
        let builder = Endpoint::builder().transport(mem.clone()).services(services);
        builder
            .plain(plain)
            .policy(AccessPolicy::allow_all())
            .build()
            .unwrap()
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let strict = build(PlainRule::Never, who(&calls));
    strict.listen("mem://strict").await.unwrap();
    let lax = build(PlainRule::Always, who(&calls));
    lax.listen("mem://lax").await.unwrap();

    // A plain dialler is told why nobody talks to it.
    let plain = build(PlainRule::Always, Services::default());
    let error = within(plain.connect("mem://strict")).await.unwrap_err();
    let ConnectError::Session {
        reason: CloseReason::Refused(failure),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(failure.code, ErrorCode::UNAUTHENTICATED);
    assert!(!error.is_transient());
    assert_eq!(calls.load(Ordering::SeqCst), 0);

    // A secure dialler is served securely by who would do without.
    let secure = build(PlainRule::Never, Services::default());
    let connection = within(secure.connect("mem://lax")).await.unwrap();
    assert!(suite(&connection).post_quantum());

    // Whoever expects somebody wants proof, and does not do without.
    let expect = Expect::Name("somebody".to_owned());
    let error = within(plain.connect_expecting("mem://lax", expect))
        .await
        .unwrap_err();
    assert!(
        matches!(
            handshake(&error),
            HandshakeError::Trust(TrustError::NotExpected { .. })
        ),
        "{error}"
    );

    let connection = within(plain.connect("mem://lax")).await.unwrap();
    assert_eq!(connection.identity().how(), &TrustedBy::Plain);
    assert_eq!(connection.identity().suite(), None);
    let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
    assert_eq!(answer, "somebody, not authenticated: the connection is plain");
}

#[tokio::test]
async fn peer_credentials_take_the_place_of_a_handshake_only_where_there_are_any() {
    let build = |services| {
        let builder = Endpoint::builder().transport(TcpTransport::default());
        let builder = builder.transport(UdsTransport::default()).services(services);
        let builder = builder.plain(PlainRule::PeerCredentials);
        builder
            .policy(AccessPolicy::allow_authenticated())
            .build()
            .unwrap()
    };
    let server = build(who(&Arc::default()));
    let client = build(Services::default());
    let [_, tcp, uds] = places();
    let uds = server.listen(&format!("{uds}-credentials")).await.unwrap();
    let connection = within(client.connect(&uds)).await.unwrap();
    assert!(matches!(
        connection.identity().how(),
        TrustedBy::PeerCredentials { .. }
    ));
    let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
    assert!(
        String::from_utf8_lossy(&answer).contains("says the system"),
        "{answer:?}"
    );

    let tcp = server.listen(&tcp).await.unwrap();
    let connection = within(client.connect(&tcp)).await.unwrap();
    assert!(suite(&connection).post_quantum());
}

#[tokio::test]
async fn an_endpoint_without_an_identity_takes_nobody_from_elsewhere() {
    let mem = MemTransport::new();
    let far = Middle::far(&mem);
    let server = Endpoint::builder()
        .transport(far.clone())
        .services(echo())
        .policy(AccessPolicy::allow_all())
        .build()
        .unwrap();
    server.listen("mem://far").await.unwrap();
    // The dialler would take the acceptor, and is not taken.
    let eve = Person::new("eve");
    eve.first_use(FirstUse::Anywhere);
    let client = eve.endpoint(far.clone(), Services::default());
    let error = within(client.connect("mem://far")).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Session { reason: CloseReason::Refused(failure), .. }
            if failure.code == ErrorCode::IDENTITY_UNTRUSTED),
        "{error}"
    );
    assert!(!error.is_transient());
    until(|| server.security_stats().handshakes_failed == 1).await;
    assert_eq!(server.security_stats().security_violations, 1);

    // And the other way round.
    let client = Endpoint::builder().transport(far).build().unwrap();
    let error = within(client.connect("mem://far")).await.unwrap_err();
    assert!(
        matches!(
            handshake(&error),
            HandshakeError::Trust(TrustError::Untrusted { .. })
        ),
        "{error}"
    );
    assert!(error.unknown_peer().is_none());
}

#[tokio::test]
async fn a_stranger_can_be_asked_about_and_is_known_from_then_on() {
    let mem = MemTransport::new();
    let far = Middle::far(&mem);
    let (ada, bob) = (Person::new("ada"), Person::new("bob"));
    bob.pin("ada", &ada);
    ada.first_use(FirstUse::Ask);
    let server = bob.endpoint(far.clone(), echo());
    server.listen("mem://far").await.unwrap();
    let client = ada.endpoint(far.clone(), Services::default());
    let error = within(client.connect("mem://far")).await.unwrap_err();
    let stranger = error.unknown_peer().expect("somebody may be asked");
    assert_eq!(stranger.fingerprint(), bob.fingerprint);
    let known = stranger.known(now());
    ada.change(|trust| trust.remember(known).unwrap());
    let connection = within(client.connect("mem://far")).await.unwrap();
    assert_eq!(connection.identity().how(), &TrustedBy::FirstUse);
    drop(server);

    // Somebody else at the same place is not taken for the first one.
    until(|| true).await;
    let mallory = Person::new("bob");
    mallory.pin("ada", &ada);
    let server = mallory.endpoint(far, echo());
    within(async {
        while server.listen("mem://far").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = within(client.connect("mem://far")).await.unwrap_err();
    assert!(
        matches!(
            handshake(&error),
            HandshakeError::Trust(TrustError::Changed { .. })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn who_is_met_for_the_first_time_within_the_machine_is_remembered() {
    let mem = MemTransport::new();
    let (ada, bob) = (Person::new("ada"), Person::new("bob"));
    ada.first_use(FirstUse::Local);
    bob.first_use(FirstUse::Local);
    let met = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = {
        let met = Arc::clone(&met);
        let hook =
            move |peer: &valkyrie_security::trust::KnownPeer| met.lock().unwrap().push(peer.fingerprint());
        let builder = bob.builder(mem.clone()).services(echo()).on_first_use(hook);
        builder.build().unwrap()
    };
    server.listen("mem://near").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    within(client.connect("mem://near")).await.unwrap();
    // The dialler has nobody who keeps a file, so its trust remembers by itself.
    let known = ada
        .security
        .trust()
        .load()
        .known_peers()
        .at("mem://near")
        .cloned();
    assert_eq!(known.unwrap().fingerprint(), bob.fingerprint);
    assert_eq!(*met.lock().unwrap(), [ada.fingerprint]);
    assert!(bob.security.trust().load().known_peers().is_empty());
}

#[tokio::test]
async fn whom_one_trusts_may_still_not_be_whom_one_wants() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let carol = Person::new("carol");
    let server = bob.endpoint(mem.clone(), echo());
    server.listen("mem://bob").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    for (expect, met) in [
        (Expect::Fingerprint(bob.fingerprint), true),
        (Expect::Name("bob".to_owned()), true),
        (Expect::Fingerprint(carol.fingerprint), false),
        (Expect::Name("carol".to_owned()), false),
        (Expect::Role("runner".to_owned()), false),
    ] {
        match within(client.connect_expecting("mem://bob", expect.clone())).await {
            Ok(_) => assert!(met, "{expect}"),
            Err(error) => {
                assert!(!met, "{expect}: {error}");
                let HandshakeError::Trust(TrustError::NotExpected { .. }) = handshake(&error) else {
                    panic!("{expect}: {error}")
                };
                assert!(!error.is_transient());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialer_that_meets_somebody_else_gives_up() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let server = bob.endpoint(mem.clone(), echo());
    server.listen("mem://bob").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    let expect = Expect::Name("carol".to_owned());
    let dialer = client
        .dialer_expecting("mem://bob", expect, Default::default())
        .unwrap();
    let error = within(dialer.call(("echo", "echo"), "")).await.unwrap_err();
    let CallError::NoConnection(error) = error else {
        panic!("{error}")
    };
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("carol"), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::IDENTITY_UNTRUSTED), "{error}");
}

/// Two services of one server without a policy: whether a peer that the system names may call each.
async fn permitted_without_a_policy(plain: PlainRule) -> [bool; 2] {
    let build = |services| {
        let builder = Endpoint::builder().transport(UdsTransport::default());
        builder.services(services).plain(plain).build().unwrap()
    };
    let services = Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .unary("job", "run", |_, payload| async move { Ok(payload) })
        .build()
        .unwrap();
    let (server, client) = (build(services), build(Services::default()));
    let [_, _, uds] = places();
    let uds = server.listen(&format!("{uds}-{plain:?}")).await.unwrap();
    let connection = within(client.connect(&uds)).await.unwrap();
    let mut permitted = [false; 2];
    for (permitted, method) in permitted.iter_mut().zip([("echo", "echo"), ("job", "run")]) {
        *permitted = match within(connection.call(method, "")).await {
            Ok(_) => true,
            Err(CallError::Failed(failure)) if failure.code == ErrorCode::PERMISSION_DENIED => false,
            Err(error) => panic!("{error}"),
        };
    }
    permitted
}

#[tokio::test]
async fn without_a_policy_whom_the_system_names_may_try_the_connection_out_and_no_more() {
    let by_name = permitted_without_a_policy(PlainRule::PeerCredentials).await;
    assert_eq!(by_name, [true, false], "echo alone");
    assert_eq!(permitted_without_a_policy(PlainRule::Always).await, [true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_cut_off_in_five_seconds() {
    let mem = MemTransport::new();
    let server = Endpoint::builder()
        .transport(mem.clone())
        .services(echo())
        .build()
        .unwrap();
    let place = server.listen("mem://patient").await.unwrap();
    let begun = tokio::time::Instant::now();
    // One says nothing at all, one begins and stops in the middle.
    for begin in [
        &b""[..],
        &[
            0x52, 0x43, 2, 0x14, 0x80, 255, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1,
        ],
    ] {
        let mut link = mem.dial(&place).await.unwrap();
        if !begin.is_empty() {
            let slices = [std::io::IoSlice::new(begin)];
            std::future::poll_fn(|cx| link.poll_write(cx, valkyrie_transport::Lane::FIRST, &slices))
                .await
                .unwrap();
        }
        let began = tokio::time::Instant::now();
        let mut said = bytes::BytesMut::new();
        let ended = within(async {
            loop {
                let lane = valkyrie_transport::Lane::FIRST;
                match std::future::poll_fn(|cx| link.poll_read(cx, lane, &mut said)).await {
                    Ok(1..) => {}
                    ended => return ended,
                }
            }
        });
        assert_eq!(ended.await.unwrap(), 0);
        let took = began.elapsed();
        assert!(took.as_secs_f32() >= 5.0 && took.as_secs_f32() < 5.1, "{took:?}");
        // It was told why: AUTH_FAILURE with code 107.
        assert_eq!((said[3], &said[20..24]), (0x13, &107_u32.to_be_bytes()[..]));
    }
    assert!(begun.elapsed().as_secs() < 12);
    until(|| server.security_stats().admission.half_open == 0).await;
}
