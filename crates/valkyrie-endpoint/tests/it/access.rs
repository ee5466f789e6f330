//! What a peer may do, and what becomes of it when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use valkyrie_endpoint::{
    AccessPolicy, CallError, Class, CloseReason, Connection, Endpoint, ErrorCode, PolicyHandle, RecvError,
    Services,
};
use valkyrie_security::audit::AuditEvent;
use valkyrie_security::identity::DocumentBuilder;
use valkyrie_security::identity::SigningKey;
use valkyrie_security::provider::StaticKey;
use valkyrie_security::trust::{Revocation, RevocationList};
use valkyrie_security::{Identity, Trust};
use valkyrie_transport::mem::MemTransport;

use crate::people::{Person, now, until, who};
use crate::support::{text, within};

/// A server that counts the calls of its handler `who/am-i`, and somebody connected to it.
struct Served {
    server: Endpoint,
    client: Endpoint,
    connection: Connection,
    policy: PolicyHandle,
    calls: Arc<AtomicUsize>,
    bob: Person,
    ada: Person,
}

impl Served {
    async fn new(policy: &str) -> Self {
        let (ada, bob) = Person::friends("ada", "bob");
        Self::of(ada, bob, policy).await
    }

    async fn of(ada: Person, bob: Person, policy: &str) -> Self {
        let mem = MemTransport::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let policy = PolicyHandle::new(AccessPolicy::parse(policy).unwrap());
        let builder = bob.builder(mem.clone()).services(who(&calls));
        let server = builder.policy(policy.clone()).build().unwrap();
        server.listen("mem://served").await.unwrap();
        let client = ada.endpoint(mem, Services::default());
        let connection = within(client.connect("mem://served")).await.unwrap();
        Self {
            server,
            client,
            connection,
            policy,
            calls,
            bob,
            ada,
        }
    }

    async fn call(&self, service: &str, method: &str, class: Class) -> Result<(), ErrorCode> {
        call_over(&self.connection, service, method, class).await
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn accepted(&self) -> Connection {
        self.server.connections().pop().unwrap()
    }
}

async fn call_over(
    connection: &Connection,
    service: &str,
    method: &str,
    class: Class,
) -> Result<(), ErrorCode> {
    match within(connection.call((service, method), "").class(class)).await {
        Ok(_) => Ok(()),
        Err(CallError::Failed(failure)) => Err(failure.code),
        Err(error) => panic!("{error}"),
    }
}

const ECHO_ONLY: &str = r#"
version = 1
[[allow]]
peers = ["name:ada"]
services = ["echo"]
"#;

const WHO_AS_DATA: &str = r#"
version = 1
[[allow]]
peers = ["name:ada"]
services = ["who", "flow"]
classes = ["data"]
"#;

#[tokio::test]
async fn what_no_rule_permits_is_refused_before_a_handler_runs() {
    let served = Served::new(ECHO_ONLY).await;
    assert_eq!(served.call("echo", "echo", Class::Data).await, Ok(()));
    let refused = Err(ErrorCode::PERMISSION_DENIED);
    assert_eq!(served.call("who", "am-i", Class::Data).await, refused);
    // Who may not call it is not told whether it exists.
    assert_eq!(served.call("who", "ever", Class::Data).await, refused);
    assert_eq!(served.call("no", "such", Class::Data).await, refused);
    assert_eq!(
        served.call("echo", "else", Class::Data).await,
        Err(ErrorCode::NOT_FOUND)
    );
    assert_eq!(served.calls(), 0);
    assert_eq!(served.accepted().stats().refused, 3);
    assert_eq!(served.server.security_stats().refused, 3);
    assert_eq!(served.server.security_stats().security_violations, 3);
}

#[tokio::test]
async fn an_endpoint_without_a_policy_serves_nothing() {
    let mem = MemTransport::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let server = Endpoint::builder()
        .transport(mem.clone())
        .services(who(&calls))
        .build()
        .unwrap();
    server.listen("mem://closed").await.unwrap();
    let client = Endpoint::builder().transport(mem).build().unwrap();
    let connection = within(client.connect("mem://closed")).await.unwrap();
    let error = within(connection.call(("who", "am-i"), "")).await.unwrap_err();
    assert!(matches!(&error, CallError::Failed(failure) if failure.code == ErrorCode::PERMISSION_DENIED));
    assert!(!error.is_safe_to_retry());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_promotes_itself_to_a_better_class() {
    let served = Served::new(WHO_AS_DATA).await;
    assert_eq!(served.call("who", "am-i", Class::Data).await, Ok(()));
    for class in [Class::Critical, Class::System, Class::Job, Class::Bulk] {
        assert_eq!(
            served.call("who", "am-i", class).await,
            Err(ErrorCode::PERMISSION_DENIED),
            "{class:?}"
        );
    }
    assert_eq!(served.calls(), 1);
}

#[tokio::test]
async fn a_refused_notification_is_dropped_and_its_credit_comes_back() {
    let (ada, bob) = Person::friends("ada", "bob");
    let mem = MemTransport::new();
    let told = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&told);
    let services = Services::builder()
        .notify("tell", "it", move |_, _| {
            counting.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .unwrap();
    let server = bob
        .builder(mem.clone())
        .services(services)
        .policy(AccessPolicy::default())
        .build()
        .unwrap();
    server.listen("mem://served").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    let connection = within(client.connect("mem://served")).await.unwrap();
    // More than the window holds, so it must have been returned.
    for _ in 0..200 {
        within(connection.notify(("tell", "it"), vec![0; 60_000]))
            .await
            .unwrap();
    }
    until(|| server.security_stats().refused == 200).await;
    assert_eq!(told.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refused_stream_is_reset() {
    let served = Served::new(ECHO_ONLY).await;
    let (_send, mut recv) = within(served.connection.open(("flow", "both"))).await.unwrap();
    let error = within(recv.recv()).await.unwrap_err();
    assert!(
        matches!(&error, RecvError::Reset(failure) if failure.code == ErrorCode::PERMISSION_DENIED),
        "{error}"
    );
    assert_eq!(served.server.connections().pop().unwrap().stats().refused, 1);
}

#[tokio::test]
async fn a_rate_holds_across_the_connections_of_one_peer() {
    let policy = r#"
        version = 1
        [[allow]]
        peers = ["name:ada"]
        services = ["who"]
        rate = "1/m"
        burst = 3
    "#;
    let served = Served::new(policy).await;
    // Dialling again does not fill what was used up.
    let again = within(served.client.connect("mem://served")).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(served.call("who", "am-i", Class::Data).await);
        answers.push(call_over(&again, "who", "am-i", Class::Data).await);
    }
    assert_eq!(served.server.connections().len(), 2);
    let refused = Err(ErrorCode::RESOURCE_EXHAUSTED);
    assert!(
        answers.iter().all(|answer| answer.is_ok() || *answer == refused),
        "{answers:?}"
    );
    // On a machine that takes a minute for this there is one more.
    assert!((3..=4).contains(&served.calls()), "{answers:?}");
    // Being too fast is no violation.
    assert_eq!(served.server.security_stats().security_violations, 0);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_holds_for_connections_and_streams_that_are_there() {
    let served = Served::new(WHO_AS_DATA).await;
    assert_eq!(served.call("who", "am-i", Class::Data).await, Ok(()));
    let (mut send, mut recv) = within(served.connection.open(("flow", "both"))).await.unwrap();
    send.send(text("there")).await.unwrap();
    assert_eq!(within(recv.recv()).await.unwrap().unwrap().payload, "there");

    // Nobody says anything, and the stream ends all the same.
    served.policy.store(AccessPolicy::parse(ECHO_ONLY).unwrap());
    let begun = tokio::time::Instant::now();
    let error = within(recv.recv()).await.unwrap_err();
    assert!(
        matches!(&error, RecvError::Reset(failure) if failure.code == ErrorCode::PERMISSION_DENIED),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // The peer has done nothing that it should not have.
    assert_eq!(served.server.security_stats().security_violations, 0);
    assert_eq!(
        served.call("who", "am-i", Class::Data).await,
        Err(ErrorCode::PERMISSION_DENIED)
    );
    assert_eq!(served.calls(), 1);
    // What is permitted now works on the connection that was there before.
    assert_eq!(served.call("echo", "echo", Class::Data).await, Ok(()));
    assert_eq!(served.server.connections().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_new_policy_permits_goes_on() {
    let served = Served::new(WHO_AS_DATA).await;
    let (mut send, mut recv) = within(served.connection.open(("flow", "both"))).await.unwrap();
    send.send(text("before")).await.unwrap();
    assert_eq!(within(recv.recv()).await.unwrap().unwrap().payload, "before");
    served.policy.store(AccessPolicy::allow_authenticated());
    tokio::time::sleep(Duration::from_secs(2)).await;
    send.send(text("after")).await.unwrap();
    assert_eq!(within(recv.recv()).await.unwrap().unwrap().payload, "after");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_revoked_loses_its_connections() {
    let served = Served::new(WHO_AS_DATA).await;
    assert_eq!(served.call("who", "am-i", Class::Data).await, Ok(()));
    served.bob.change(|trust| {
        let mut list = RevocationList::new();
        list.add(Revocation::Identity(served.ada.fingerprint)).unwrap();
        trust.revoke(list).unwrap();
    });
    let begun = tokio::time::Instant::now();
    let reason = within(served.connection.closed()).await;
    assert!(
        matches!(&reason, CloseReason::Peer(failure) if failure.code == ErrorCode::IDENTITY_REVOKED),
        "{reason}"
    );
    assert!(!reason.is_transient());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(served.server.connections().is_empty());
}

/// Somebody whose document ends soon, vouched for by an authority.
fn of_an_authority(
    name: &str,
    role: &str,
    lifetime: Duration,
) -> (Person, valkyrie_security::IdentityDocument) {
    let root = SigningKey::generate().unwrap();
    let begin = now().saturating_sub(Duration::from_secs(60));
    let end = now().saturating_add(Duration::from_secs(86_400));
    let authority = DocumentBuilder::authority("the works")
        .valid(begin, end)
        .sign(&root)
        .unwrap();
    let (key, signing) = (StaticKey::generate().unwrap(), SigningKey::generate().unwrap());
    let document = DocumentBuilder::node(name, &[key.public()])
        .signing_keys(signing.public())
        .role(role)
        .valid(begin, now().saturating_add(lifetime))
        .sign(&root)
        .unwrap();
    let identity = Identity::new(vec![key], Some(signing), document.document().unwrap()).unwrap();
    (Person::of(identity), authority.document().unwrap())
}

const RUNNERS: &str = r#"
version = 1
[[allow]]
peers = ["role:runner"]
services = ["who"]
"#;

#[tokio::test(start_paused = true)]
async fn a_peer_whose_document_ends_loses_its_connections() {
    let (ada, authority) = of_an_authority("ada", "runner", Duration::from_secs(3600));
    let bob = Person::new("bob");
    ada.pin("bob", &bob);
    bob.change(|trust: &mut Trust| trust.trust_authority(authority).unwrap());
    let served = Served::of(ada, bob, RUNNERS).await;
    assert_eq!(served.call("who", "am-i", Class::Data).await, Ok(()));
    let begun = tokio::time::Instant::now();
    let reason = tokio::time::timeout(Duration::from_secs(7200), served.connection.closed());
    let reason = reason.await.unwrap();
    assert!(
        matches!(&reason, CloseReason::Peer(failure) if failure.code == ErrorCode::CREDENTIALS_EXPIRED),
        "{reason}"
    );
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(3590) && took < Duration::from_secs(3605),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_forgotten_takes_those_with_it_that_it_vouched_for() {
    let (ada, authority) = of_an_authority("ada", "runner", Duration::from_secs(3600));
    let bob = Person::new("bob");
    ada.pin("bob", &bob);
    let root = authority.fingerprint();
    bob.change(|trust| trust.trust_authority(authority).unwrap());
    let served = Served::of(ada, bob, RUNNERS).await;
    assert_eq!(served.call("who", "am-i", Class::Data).await, Ok(()));
    served.bob.change(|trust| assert!(trust.forget_authority(&root)));
    let reason = within(served.connection.closed()).await;
    assert!(
        matches!(&reason, CloseReason::Peer(failure) if failure.code == ErrorCode::IDENTITY_UNTRUSTED),
        "{reason}"
    );
}

#[tokio::test]
async fn a_role_that_a_peer_gives_itself_is_worth_nothing() {
    let (key, signing) = (StaticKey::generate().unwrap(), SigningKey::generate().unwrap());
    let begin = now().saturating_sub(Duration::from_secs(60));
    let document = DocumentBuilder::node("ada", &[key.public()])
        .role("runner")
        .valid(begin, now().saturating_add(Duration::from_secs(3600)))
        .sign(&signing)
        .unwrap();
    let ada = Person::of(Identity::new(vec![key], Some(signing), document.document().unwrap()).unwrap());
    let bob = Person::new("bob");
    ada.pin("bob", &bob);
    bob.pin("ada", &ada);
    let served = Served::of(ada, bob, RUNNERS).await;
    assert_eq!(
        served.call("who", "am-i", Class::Data).await,
        Err(ErrorCode::PERMISSION_DENIED)
    );
    assert_eq!(served.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_was_let_in_refused_and_dismissed_is_recorded() {
    let (ada, bob) = Person::friends("ada", "bob");
    let mem = MemTransport::new();
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = {
        let events = Arc::clone(&events);
        move |event: &AuditEvent<'_>| {
            let what = match event {
                AuditEvent::Accepted { peer, .. } => peer.to_string(),
                AuditEvent::Refused { code, .. } => code.to_string(),
                AuditEvent::Denied {
                    service,
                    method,
                    denied,
                    ..
                } => format!("{service}/{method}: {}", denied.code()),
                AuditEvent::Dismissed { code, .. } => code.to_string(),
                other => panic!("{other:?}"),
            };
            events.lock().unwrap().push(format!("{} {what}", event.name()));
        }
    };
    let builder = bob.builder(mem.clone()).services(who(&Arc::default()));
    let server = builder
        .policy(AccessPolicy::default())
        .audit(sink)
        .build()
        .unwrap();
    server.listen("mem://served").await.unwrap();
    let stranger = Person::new("eve");
    stranger.pin("bob", &bob);
    let client = stranger.endpoint(mem.clone(), Services::default());
    assert!(within(client.connect("mem://served")).await.is_err());
    until(|| server.security_stats().handshakes_failed == 1).await;
    let client = ada.endpoint(mem, Services::default());
    let connection = within(client.connect("mem://served")).await.unwrap();
    within(connection.call(("who", "am-i"), "")).await.unwrap_err();
    bob.change(|trust| {
        let mut list = RevocationList::new();
        list.add(Revocation::Identity(ada.fingerprint)).unwrap();
        trust.revoke(list).unwrap();
    });
    within(connection.closed()).await;
    assert_eq!(
        *events.lock().unwrap(),
        [
            "refused 204 identity_untrusted".to_owned(),
            format!("accepted ada ({}), pinned", ada.fingerprint),
            "denied who/am-i: 201 permission_denied".to_owned(),
            "dismissed 203 identity_revoked".to_owned(),
        ]
    );
    let stats = server.security_stats();
    assert_eq!(
        (stats.handshakes_failed, stats.refused, stats.dismissed),
        (1, 1, 1)
    );
    assert_eq!(stats.security_violations, 2);
}
